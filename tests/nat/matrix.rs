//! Every kind of NAT on both sides: they connect, over the expected path.

use std::time::{Duration, Instant};

use crate::lab::{Kind, Lab, Whose, ready};
use crate::server::Coturn;
use crate::session::{Path, Session};

/// Time limit for connecting on a busy machine. The actual time is printed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time limit for finding the best path once there is one.
const SETTLING: Duration = Duration::from_secs(10);

/// The path between two kinds of NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Directly between the addresses.
    Host,
    /// Through at least one NAT, without a relay.
    Reflexive,
    /// Through one relay.
    Relay,
    /// Through two relays.
    Relays,
    /// The two sides report different paths.
    Changing,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Reflexive => "srflx",
            Self::Relay => "relay",
            Self::Relays => "relay, relay",
            Self::Changing => "changing",
        }
    }
}

/// Returns the required path (RFC 4787, RFC 5128): where UDP is allowed out, two NATs connect unless both filter by
/// port and one of them has address-dependent mapping.
fn expected(a: Kind, b: Kind) -> Way {
    let picky = |k| matches!(k, Kind::PortRestricted | Kind::Symmetric);
    let changing = |k| k == Kind::Symmetric;
    match (a.lets_udp_out(), b.lets_udp_out()) {
        (false, false) => Way::Relays,
        (false, true) | (true, false) => Way::Relay,
        (true, true) if changing(a) && picky(b) || changing(b) && picky(a) => Way::Relay,
        (true, true) if a == Kind::None && b == Kind::None => Way::Host,
        (true, true) => Way::Reflexive,
    }
}

/// The path that both sides report.
fn way(paths: &[Path; 2]) -> Way {
    // Data of each side may use a relay of its own: `a` sends to the relay of `b`, and `b` to that of `a`.
    let relays = |p: &Path| {
        let ends = [p.local, p.remote];
        ends.iter().filter(|w| **w == Whose::Relay).count()
    };
    let [a, b] = paths;
    if relays(a) != relays(b) {
        // One side has switched, the other has not yet.
        return Way::Changing;
    }
    match relays(a) {
        2 => Way::Relays,
        1 => Way::Relay,
        _ if a.remote == Whose::Nat || b.remote == Whose::Nat => Way::Reflexive,
        _ => Way::Host,
    }
}

/// Returns the protocol to the relay: UDP if that is allowed out.
fn check_transport(kind: Kind, path: &Path) {
    let Some(url) = &path.relay_url else { return };
    let is_right = match kind {
        Kind::Tcp443 => url.starts_with("turns:") && url.contains(":443"),
        Kind::UdpBlocked => url.contains("transport=tcp") || url.starts_with("turns:"),
        _ => url == "turn:203.0.113.10" || url.ends_with("transport=udp"),
    };
    assert!(is_right, "behind {kind:?} the relay was reached by {url}");
}

/// Runs one session; returns the time to connect, and the path. Occasionally one direction stays on a relay though
/// there is a better path (docs/nat.md); that is reported, and tried twice more.
fn meet(a: Kind, b: Kind) -> (Duration, Way) {
    for _ in 0..2 {
        match attempt(a, b) {
            Ok(met) => return met,
            Err(why) => println!("once more: {why}"),
        }
    }
    attempt(a, b).unwrap_or_else(|why| panic!("{why}"))
}

fn attempt(a: Kind, b: Kind) -> Result<(Duration, Way), String> {
    let lab = Lab::new(a, b);
    let server = Coturn::start(&lab, &[]);
    let mut session = Session::begin(&lab, &server);
    let time = session.connect(PATIENCE);
    session.talk("there and back", Duration::from_secs(5));
    // The first path need not be the best: relays may answer before the NATs have opened.
    let mut paths = session.paths();
    let end = Instant::now() + SETTLING;
    while way(&paths) != expected(a, b) && Instant::now() < end {
        session.run_for(Duration::from_millis(100));
        // The path is the one that data used last.
        session.talk("by which path now?", Duration::from_secs(5));
        paths = session.paths();
    }
    let settled = session.begun.elapsed();
    session.run_for(Duration::from_millis(300));
    session.talk("and it stays so", Duration::from_secs(5));
    let paths = session.paths();
    let taken = way(&paths);
    println!(
        "{:8} {:8} {:12} connected {:5} ms, path {:5} ms  {} | {}",
        a.name(),
        b.name(),
        taken.name(),
        time.as_millis(),
        settled.as_millis(),
        describe(&paths[0]),
        describe(&paths[1]),
    );
    if taken != expected(a, b) {
        return Err(format!("{a:?} {b:?}: {} {}", taken.name(), session.story()));
    }
    check_transport(a, &paths[0]);
    check_transport(b, &paths[1]);
    drop(session);
    // Nothing is left on the server.
    let empty = |s: &Coturn| s.allocations() == 0;
    assert!(
        server.wait_until(3000, empty),
        "{} allocations are left",
        server.allocations()
    );
    Ok((time, taken))
}

fn describe(path: &Path) -> String {
    let url = path.relay_url.as_deref().unwrap_or("");
    format!("{:?}→{:?} {url}", path.local, path.remote)
}

/// Every unordered pair; `LOOPRTC_NAT=masq,sym` selects one.
#[test]
fn every_pair_of_nats_meets() {
    if !ready() {
        return;
    }
    if let Ok(pair) = std::env::var("LOOPRTC_NAT") {
        let kind = |name: &str| Kind::ALL.into_iter().find(|k| k.name() == name);
        let (a, b) = pair.split_once(',').expect("LOOPRTC_NAT=masq,sym");
        meet(kind(a).expect("a kind"), kind(b).expect("a kind"));
        return;
    }
    for (n, a) in Kind::ALL.into_iter().enumerate() {
        for b in Kind::ALL.into_iter().skip(n) {
            if runs(a) && runs(b) {
                meet(a, b);
            }
        }
    }
}

/// Without TLS, port 443 cannot be used.
fn runs(kind: Kind) -> bool {
    cfg!(feature = "tls") || kind != Kind::Tcp443
}

/// Prints the table of docs/nat.md.
#[test]
fn matrix() {
    if std::env::var_os("LOOPRTC_MATRIX").is_none() || !ready() {
        return;
    }
    let mut table = String::new();
    for a in Kind::ALL {
        table.push_str(&format!("| {} |", a.name()));
        for b in Kind::ALL {
            let mut times: Vec<_> = (0..3).map(|_| meet(a, b)).collect();
            times.sort_by_key(|(time, _)| *time);
            let (median, way) = times[1];
            table.push_str(&format!(" {} {} ms |", way.name(), median.as_millis()));
        }
        table.push('\n');
    }
    let names: Vec<_> = Kind::ALL.iter().map(|k| k.name()).collect();
    println!("\n| offers ↓, answers → | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    println!("{table}");
}
