//! Networks that change under a session, in network namespaces: an interface goes down, another comes up,
//! an address is replaced. A channel sends and a video plays both ways all the while; within 3 s both go
//! on, and no message is lost.
//!
//! ```text
//!   looprtc-nc<n>-a  wifi0 10.71.1.2 ── router ── eth0 10.71.3.2  looprtc-nc<n>-b
//!                    lte0  10.71.2.2 ──┘
//! ```
//!
//! Needs `ip` and the right to make namespaces. Where that is missing it is said loudly, and fails when the
//! environment variable `CI` is set.
#![cfg(target_os = "linux")]

#[path = "../real_peers/child.rs"]
#[expect(dead_code, reason = "a part of it is enough here")]
mod child;
mod lab;
mod others;
#[cfg(feature = "cli")]
mod pages;
mod session;

use std::thread;
use std::time::Duration;

use looprtc::driver::{LoopConfig, NetworkWatching};
use looprtc::proto::ice::{IceTcp, IceTransportPolicy};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::PeerConfig;

use lab::{Lab, Turn};
use session::{Record, Session};

fn auto() -> LoopConfig {
    LoopConfig::default()
}

#[test]
fn the_interface_in_use_goes_down() {
    for (mobile_offers, port) in [(true, PortPolicy::Shared), (false, PortPolicy::Own)] {
        let Some(lab) = Lab::new() else { return };
        let session = Session::start(&lab, auto(), port, mobile_offers);
        let who = if mobile_offers { "offerer" } else { "answerer" };
        session.survives(&format!("{who}: wifi0 down, lte0 is there"), || {
            lab.must("a", "link set wifi0 down");
        });
        session.survives(&format!("{who}: wifi0 up again, lte0 down"), || {
            lab.must("a", "link set wifi0 up");
            lab.must("a", "route add default via 10.71.1.1 metric 100");
            lab.must("a", "link set lte0 down");
        });
        let [a, b] = session.finish();
        assert!(a.network_changes >= 2, "{}", a.network_changes);
        assert_eq!(b.network_changes, 0);
        assert!(a.restarts >= 1 && b.restarts == 0);
    }
}

/// From one network to the next, without a gap.
#[test]
fn one_network_is_left_before_the_next_is_there() {
    let Some(lab) = Lab::new() else { return };
    lab.must("a", "link set lte0 down");
    let session = Session::start(&lab, auto(), PortPolicy::Shared, true);
    session.survives("wifi0 down, lte0 up a little later", || {
        lab.must("a", "link set wifi0 down");
        thread::sleep(Duration::from_millis(200));
        lab.must("a", "link set lte0 up");
        lab.must("a", "route add default via 10.71.2.1 metric 200");
    });
    session.finish();
}

#[test]
fn an_address_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    lab.must("a", "link set lte0 down");
    let session = Session::start(&lab, auto(), PortPolicy::Shared, false);
    session.survives("10.71.1.2 becomes 10.71.1.77", || {
        lab.must("a", "addr del 10.71.1.2/24 dev wifi0");
        lab.must("a", "addr add 10.71.1.77/24 dev wifi0");
        lab.must("a", "route add default via 10.71.1.1 metric 100");
    });
    let [a, _] = session.finish();
    assert!(a.path.starts_with("10.71.1.77:"), "{}", a.path);
}

/// Without a UDP socket, only the network listener reports addresses.
#[test]
fn without_udp_streams_move_too() {
    for mobile in [IceTcp::Both, IceTcp::Active, IceTcp::Passive] {
        let Some(lab) = Lab::new() else { return };
        let over_tcp = |tcp| PeerConfig::default().udp(false).ice_tcp(tcp);
        let peers = [over_tcp(mobile), over_tcp(IceTcp::Both)];
        let session = Session::start_pair(&lab, auto(), peers, true);
        session.survives(&format!("{mobile:?}: wifi0 down, by TCP"), || {
            lab.must("a", "link set wifi0 down");
        });
        session.survives("wifi0 up again, lte0 down, by TCP", || {
            lab.must("a", "link set wifi0 up");
            lab.must("a", "route add default via 10.71.1.1 metric 100");
            lab.must("a", "link set lte0 down");
        });
        let [a, _] = session.finish();
        assert!(a.path.starts_with("10.71.1.2:"), "{}", a.path);
    }
}

/// A TURN server identifies an allocation by the client's address: a new one is created from the new address.
#[test]
fn a_relay_is_made_anew() {
    let Some(lab) = Lab::new() else { return };
    let Some(server) = Turn::start(&lab) else {
        return;
    };
    let peer = PeerConfig::default()
        .ice_servers(vec![server.ice_server()])
        .ice_transport_policy(IceTransportPolicy::Relay);
    let session = Session::start_with(&lab, auto(), peer, true);
    let before = session.records().0.path.clone();
    assert!(before.starts_with("10.71.3.1:"), "not relayed: {before}");
    session.survives("wifi0 down, relayed", || {
        lab.must("a", "link set wifi0 down");
    });
    let [a, _] = session.finish();
    assert!(a.path.starts_with("10.71.3.1:"), "not relayed: {}", a.path);
    assert_ne!(a.path, before, "another allocation has another port");
}

/// Where the system does not report changes.
#[test]
fn found_by_polling() {
    let Some(lab) = Lab::new() else { return };
    let config = LoopConfig::default().network(NetworkWatching::Polling(Duration::from_secs(1)));
    let session = Session::start(&lab, config, PortPolicy::Shared, true);
    session.survives("wifi0 down, by polling", || {
        lab.must("a", "link set wifi0 down");
    });
    session.finish();
}

/// A session whose network does not change is unaffected by other changes.
#[test]
fn what_does_not_concern_the_path_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let session = Session::start(&lab, auto(), PortPolicy::Shared, true);
    lab.must("a", "link add other0 type veth peer name other1");
    lab.must("a", "link set other1 up");
    lab.must("a", "addr add 10.99.0.1/24 dev other0");
    lab.must("a", "link set other0 up");
    thread::sleep(Duration::from_millis(800));
    lab.must("a", "link del other0");
    thread::sleep(Duration::from_millis(800));
    let [a, b] = session.finish();
    assert!(a.network_changes >= 1);
    assert_eq!((a.restarts, b.restarts), (0, 0));
    let gap = |r: &Record| {
        let times = r.messages.windows(2).map(|w| w[1].0 - w[0].0);
        times.max().unwrap_or_default()
    };
    assert!(gap(&a).max(gap(&b)) < Duration::from_secs(1));
}
