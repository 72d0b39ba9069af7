//! Servers that need no STUN: a router or a cloud maps a public address to them (1:1 NAT), which is configured, or they
//! have one and leave all checks to the remote peers (ICE-lite).

use std::time::Duration;

use looprtc::proto::ice::CandidateType;
use looprtc::proto::peer::PeerConfig;

use crate::lab::{Kind, Lab, Whose, ready};
use crate::server::Coturn;
use crate::session::Session;

/// The remote peer, which has no STUN or TURN server either.
const OTHERS: [Kind; 3] = [Kind::None, Kind::PortRestricted, Kind::Symmetric];

#[test]
fn a_mapped_address_needs_no_server() {
    let mut config = PeerConfig::default();
    config.gather.external_addresses = vec!["203.0.113.11".parse().unwrap()];
    meets(Kind::Cone, &config, CandidateType::ServerReflexive);
}

#[test]
fn ice_lite_with_a_public_address() {
    let config = PeerConfig::default().ice_lite(true);
    meets(Kind::None, &config, CandidateType::Host);
}

fn meets(a: Kind, config: &PeerConfig, told: CandidateType) {
    if !ready() {
        return;
    }
    for b in OTHERS {
        let lab = Lab::new(a, b);
        let coturn = Coturn::start(&lab, &[]);
        let configs = [config.clone(), PeerConfig::default()];
        let mut session = Session::begin_each(&lab, &coturn, configs);
        let time = session.connect(Duration::from_secs(20));
        session.talk("without a server", Duration::from_secs(5));
        let paths = session.paths();
        println!(
            "{:8} {:8} connected {} ms, {:?}",
            a.name(),
            b.name(),
            time.as_millis(),
            paths[1]
        );
        assert!(session.candidates[0].iter().any(|c| c.typ == told));
        let mut theirs = session.candidates[1].iter();
        assert!(
            theirs.all(|c| c.typ == CandidateType::Host),
            "nobody told it"
        );
        assert_eq!(paths[0].local, Whose::Host);
        assert_ne!(paths[0].remote, Whose::Relay);
    }
}
