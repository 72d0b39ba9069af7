//! How the peers of a schedule are configured.

use std::net::SocketAddr;

use super::step::{Flag, Nat, Rarely, Setup};
use crate::proto::ice::{IceServer, IceTransportPolicy};
use crate::proto::media::jitter::JitterConfig;
use crate::proto::peer::{CandidatePolicy, DtlsVersion, Limits, PeerConfig};
use crate::testing::NatKind;
#[cfg(feature = "turn-server")]
use crate::testing::TurnServer;

/// Where the STUN and TURN server is.
pub(super) const SERVER: ([u8; 4], u16) = ([198, 51, 100, 1], 3478);

pub(super) fn nat_kind(nat: Nat) -> Option<NatKind> {
    match nat {
        Nat::None => None,
        Nat::FullCone => Some(NatKind::FullCone),
        Nat::PortRestricted => Some(NatKind::PortRestricted),
        Nat::Symmetric => Some(NatKind::Symmetric),
        Nat::UdpBlocked => Some(NatKind::UdpBlocked),
    }
}

pub(super) fn config(setup: &Setup, nat: Nat, has_turn: bool, relay_only: bool) -> PeerConfig {
    let Setup::World {
        small_limits,
        dtls_1_2,
        trickle_early,
        jitter_buffer,
        estimation,
        ..
    } = setup;
    let stun = || {
        vec![IceServer::stun(format!(
            "stun:{}",
            SocketAddr::from(SERVER)
        ))]
    };
    #[cfg(feature = "turn-server")]
    let servers = match has_turn {
        true => TurnServer::ice_servers(nat == Nat::UdpBlocked),
        false => stun(),
    };
    #[cfg(not(feature = "turn-server"))]
    let servers = stun();
    let _ = (nat, has_turn);
    let mut config = PeerConfig::default().ice_servers(servers);
    if relay_only {
        config = config.ice_transport_policy(IceTransportPolicy::Relay);
    }
    if *small_limits == Flag::Yes {
        config = config.limits(Limits {
            max_pending_local: 4,
            max_pending_remote: 6,
            max_remote_candidates: 12,
            max_channels: 8,
            max_send_buffer: 100_000,
            max_media_buffer: 20_000,
            // As many as are made, and one for channels.
            max_m_lines: 9,
            max_validated_addresses: 4,
            ..Limits::default()
        });
    }
    if *dtls_1_2 == Rarely::Yes {
        config = config.dtls(DtlsVersion::V1_2);
    }
    if *trickle_early == Rarely::Yes {
        config = config.candidates(CandidatePolicy::Immediately);
    }
    if *jitter_buffer == Rarely::Yes {
        config = config.jitter_buffer(Some(JitterConfig::new(48_000)));
    }
    if *estimation == Rarely::Yes {
        config = config.bandwidth_estimation(Some(300_000));
    }
    config
}
