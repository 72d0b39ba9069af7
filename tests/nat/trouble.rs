//! Failures during relayed sessions, and recovery from them.

use std::time::Duration;

use crate::lab::{Kind, Lab, Whose, ready};
use crate::server::Coturn;
use crate::session::{Path, Session};

const SOON: Duration = Duration::from_secs(5);

/// Connects two clients that can only use relays.
fn relayed(lab: &Lab, server: &Coturn) -> Session {
    let mut session = Session::begin(lab, server);
    session.connect(Duration::from_secs(20));
    session.talk("there and back", SOON);
    session
}

/// Exchanges messages twice a second for this long.
fn go_on(session: &mut Session, seconds: u32) {
    for n in 0..seconds * 2 {
        session.talk(&format!("still there {n}"), SOON);
        session.run_for(Duration::from_millis(500));
    }
}

#[test]
fn a_nonce_that_expires_and_a_lifetime_of_seconds() {
    if !ready() {
        return;
    }
    let lab = Lab::new(Kind::Symmetric, Kind::Symmetric);
    let server = Coturn::start(&lab, &["--stale-nonce=1", "--max-allocate-lifetime=3"]);
    let mut session = relayed(&lab, &server);
    go_on(&mut session, 8);
    assert!(server.count("REFRESH processed, success") >= 1);
    let paths = session.paths();
    // From its own relay, or to the remote peer's.
    let is_relayed = |p: &Path| p.relay_url.is_some() || p.remote == Whose::Relay;
    assert!(paths.iter().any(is_relayed), "{paths:?}");
    drop(session);
    assert!(
        server.wait_until(3000, |s| s.allocations() == 0),
        "{:?}",
        server.log()
    );
    // At the latest, the request that releases the allocation was signed with a stale nonce.
    assert!(server.count("438") >= 1, "{:?}", server.log());
}

#[test]
fn a_server_that_is_killed_and_started_again() {
    if !ready() {
        return;
    }
    for kind in [Kind::Symmetric, Kind::UdpBlocked] {
        let lab = Lab::new(kind, kind);
        let server = Coturn::start(&lab, &[]);
        let mut session = relayed(&lab, &server);
        let server = server.restart(&lab, Duration::from_secs(1));
        let time = session.talk("once it is back", Duration::from_secs(40));
        println!(
            "{:8} the server was gone for 1 s; data came through again after {time:?}",
            kind.name()
        );
        go_on(&mut session, 2);
        drop(session);
        assert!(
            server.wait_until(3000, |s| s.allocations() == 0),
            "{:?}",
            server.log()
        );
    }
}
