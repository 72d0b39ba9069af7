//! Configuration of a schedule's peers.

use std::net::SocketAddr;

use super::step::{Flag, Lite, Mostly, Nat, Rarely, RelayOnly, Setup, Tcp};
use crate::proto::ice::{IceServer, IceTcp, IceTransportPolicy};
use crate::proto::media::jitter::JitterConfig;
use crate::proto::peer::{CandidatePolicy, DtlsVersion, Limits, MediaMode, PeerConfig};
use crate::testing::NatKind;
#[cfg(feature = "turn-server")]
use crate::testing::TurnServer;

/// Address of the STUN and TURN server.
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

/// Network access of one side, by its place in its pair.
pub(super) struct Access {
    pub nat: Nat,
    pub has_turn: bool,
    pub relay_only: bool,
    pub tcp: IceTcp,
    pub lite: bool,
}

impl Access {
    pub fn new(setup: &Setup, place: usize) -> Self {
        let Setup::World {
            nat_a,
            nat_b,
            turn,
            relay_only,
            tcp,
            lite,
            ..
        } = setup;
        // Where only ICE-TCP is possible, the server provides STUN only.
        let has_turn = cfg!(feature = "turn-server") && *turn == Mostly::Yes && *tcp != Tcp::Only;
        let lite = *lite == [Lite::A, Lite::B][place];
        let is_only = [RelayOnly::A, RelayOnly::B][place] == *relay_only;
        let tcp = match (tcp, place) {
            (Tcp::Nobody, _) => IceTcp::Off,
            (Tcp::Both | Tcp::Only, _) => IceTcp::Both,
            (Tcp::ALetsIn, 0) | (Tcp::BLetsIn, 1) => IceTcp::Passive,
            (Tcp::ALetsIn | Tcp::BLetsIn, _) => IceTcp::Active,
        };
        Self {
            nat: match lite {
                true => Nat::None,
                false => [*nat_a, *nat_b][place],
            },
            has_turn,
            relay_only: (is_only || *relay_only == RelayOnly::Both) && has_turn && !lite,
            tcp,
            lite,
        }
    }
}

pub(super) fn config(setup: &Setup, access: &Access) -> PeerConfig {
    let Setup::World {
        small_limits,
        dtls_1_2,
        trickle_early,
        jitter_buffer,
        estimation,
        tcp,
        packets,
        ..
    } = setup;
    let stun = || {
        let server = SocketAddr::from(SERVER);
        let by_tcp = IceServer::stun(format!("stun:{server}?transport=tcp"));
        let by_udp = IceServer::stun(format!("stun:{server}"));
        match tcp {
            Tcp::Only => vec![by_tcp],
            Tcp::Nobody => vec![by_udp],
            _ => vec![by_udp, by_tcp],
        }
    };
    #[cfg(feature = "turn-server")]
    let servers = match access.has_turn {
        true => TurnServer::ice_servers(access.nat == Nat::UdpBlocked),
        false => stun(),
    };
    #[cfg(not(feature = "turn-server"))]
    let servers = stun();
    let mut config = PeerConfig::default()
        .ice_servers(servers)
        .ice_tcp(access.tcp)
        .ice_lite(access.lite);
    if access.relay_only {
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
            // As many as are created, and one for channels.
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
    if *packets == Rarely::Yes {
        config = config.media_mode(MediaMode::Packets);
    }
    config
}
