//! With a TURN server (coturn).

use std::net::{IpAddr, UdpSocket};

use looprtc::proto::ice::{IceServer, IceTransportPolicy};
use looprtc::proto::peer::PeerConfig;

use crate::call::Offerer::{Looprtc, RealPeer};
use crate::coturn::{self, Coturn, PASSWORD, USER};
use crate::scenario::{self, Profile};

/// Our side has relayed candidates only; theirs has its usual ones.
pub fn of_ours(profile: &Profile, query: &str) {
    let Some(coturn) = server() else { return };
    for offerer in [Looprtc, RealPeer] {
        scenario::full(profile, offerer, relayed(&coturn, query));
    }
    is_empty(&coturn, 2);
}

/// Their side has relayed candidates only; ours as well, or all.
pub fn of_theirs(profile: &Profile, ours_too: bool) {
    let Some(coturn) = server() else { return };
    // Arguments of a test live as long as the test.
    let server = format!("{},{USER},{PASSWORD}", coturn.url("?transport=udp"));
    let args: &'static [&'static str] = Vec::leak(vec!["--relay", String::leak(server)]);
    let profile = Profile { args, ..*profile };
    let config = if ours_too {
        relayed(&coturn, "")
    } else {
        scenario::config()
    };
    for offerer in [Looprtc, RealPeer] {
        scenario::they_close(&profile, offerer, config.clone());
    }
    is_empty(&coturn, if ours_too { 4 } else { 2 });
}

fn relayed(coturn: &Coturn, query: &str) -> PeerConfig {
    let server = IceServer::turn(coturn.url(query), USER, PASSWORD);
    scenario::config()
        .ice_servers(vec![server])
        .ice_transport_policy(IceTransportPolicy::Relay)
}

fn server() -> Option<Coturn> {
    (!coturn::is_missing()).then(|| Coturn::start_on(own_address()))
}

/// Returns a non-loopback address of this machine, if there is one. Sends nothing.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let to_anywhere = socket.connect("198.51.100.1:9");
    let address = to_anywhere.and_then(|()| socket.local_addr());
    address.map_or(IpAddr::from([127, 0, 0, 1]), |a| a.ip())
}

/// Returns `true` if there were allocations, and all of them have been released.
fn is_empty(coturn: &Coturn, at_least: usize) {
    let made = coturn.count("ALLOCATE processed, success");
    assert!(made >= at_least, "{made} allocations: {:?}", coturn.log());
    let closed = coturn.wait_log("closed (2nd stage)", made, 5000);
    assert!(closed, "{:?}", coturn.log());
}
