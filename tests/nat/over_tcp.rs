//! ICE over TCP (RFC 6544) where UDP is blocked: without a relay, if one side accepts connections.

use std::time::Duration;

use looprtc::proto::ice::{CandidateType, IceCandidate, IceServer, IceTcp};
use looprtc::proto::peer::PeerConfig;

use crate::lab::{Kind, Lab, Whose, ready};
use crate::server::Coturn;
use crate::session::Session;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn without_udp_they_meet_without_a_relay() {
    if !ready() {
        return;
    }
    for (a, b) in [
        (Kind::TcpOnly, Kind::TcpOnly),
        (Kind::UdpBlocked, Kind::None),
        (Kind::TcpOnly, Kind::UdpBlocked),
    ] {
        let lab = Lab::new(a, b);
        let server = Coturn::start(&lab, &[]);
        let config = PeerConfig::default().ice_tcp(IceTcp::Both);
        let session = Session::begin_with(&lab, &server, config);
        meets(session, a, b);
    }
}

/// A NAT that accepts TCP once something was sent from that port: a STUN server reports the address, and no relay is
/// needed.
#[test]
fn a_nat_that_lets_tcp_in_is_passed_by_what_a_stun_server_says() {
    if !ready() {
        return;
    }
    let urls: &[&str] = match cfg!(feature = "tls") {
        true => &["stun:203.0.113.10", "stuns:203.0.113.10:443"],
        false => &["stun:203.0.113.10"],
    };
    for url in urls {
        for b in [Kind::UdpBlocked, Kind::TcpCone] {
            let a = Kind::TcpCone;
            let lab = Lab::new(a, b);
            let server = Coturn::start(&lab, &[]);
            let config = PeerConfig::default().ice_tcp(IceTcp::Both);
            let servers = vec![IceServer::stun(*url)];
            let mut session = Session::begin_at(&lab, &server, config.ice_servers(servers));
            session.connect(Duration::from_secs(20));
            let reflexive = |s: &Session| {
                let mut found = s.candidates[0].iter();
                let is_it = |c: &&IceCandidate| c.typ == CandidateType::ServerReflexive;
                found.find(is_it).cloned()
            };
            session.run_until(SOON, |s| reflexive(s).is_some());
            let seen = reflexive(&session).expect("what the server has seen");
            println!("{url}: {seen}");
            let is = |a: Option<std::net::SocketAddr>| a.map(|a| a.ip().to_string());
            assert_eq!(is(seen.socket_addr()).as_deref(), Some("203.0.113.11"));
            assert_eq!(is(seen.related_address).as_deref(), Some("10.11.0.2"));
            assert_eq!(seen.tcp_type.as_deref(), Some("passive"));
            meets(session, a, b);
        }
    }
}

/// Waits until they are connected by TCP without a relay.
fn meets(mut session: Session, a: Kind, b: Kind) {
    let time = session.connect(Duration::from_secs(20));
    // A relay may have been faster at first.
    let mut paths = session.paths();
    let settled = |s: &Session| s.begun.elapsed() > Duration::from_secs(10);
    while !paths.iter().all(|p| p.is_tcp) && !settled(&session) {
        session.run_for(Duration::from_millis(100));
        session.talk("by which path now?", SOON);
        paths = session.paths();
    }
    println!(
        "{:8} {:8} connected {:5} ms, path {:5} ms  {:?}→{:?}",
        a.name(),
        b.name(),
        time.as_millis(),
        session.begun.elapsed().as_millis(),
        paths[0].local,
        paths[0].remote,
    );
    for path in &paths {
        assert!(path.is_tcp, "{paths:?} {}", session.story());
        assert_eq!(path.local, Whose::Host);
        assert_ne!(path.remote, Whose::Relay);
    }
    session.talk("and it stays so", SOON);
}
