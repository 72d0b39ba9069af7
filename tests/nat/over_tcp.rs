//! ICE over TCP (RFC 6544) where UDP does not get through: without a relay, if one side can be connected to.

use std::time::Duration;

use looprtc::proto::ice::IceTcp;
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
        let mut session = Session::begin_with(&lab, &server, config);
        let time = session.connect(Duration::from_secs(20));
        // A relay may have been there first.
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
}
