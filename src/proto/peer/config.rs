//! What a peer can be told before it begins. Every default is explained here.

use std::time::Duration;

use super::crypto::{Certificate, CryptoBackend, DtlsVersion};
use super::tracks::{Codecs, MediaMode};
use crate::proto::ice::{GatherConfig, IceServer, IceTcp, IceTransportPolicy};
use crate::proto::media::jitter::JitterConfig;

/// Configuration of one [`Peer`](super::Peer).
///
/// ```
/// use looprtc::proto::peer::{PeerConfig, Politeness};
/// let config = PeerConfig::default().politeness(Politeness::Polite).include_loopback(true);
/// assert!(config.gather.include_loopback);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerConfig {
    /// Which addresses become host candidates, and on whose port.
    pub gather: GatherConfig,
    /// STUN and TURN servers (W3C `iceServers`). None by default: host candidates only, which reach
    /// peers in the same network and those with a public address. At most 16 URLs.
    pub ice_servers: Vec<IceServer>,
    /// Whether all candidates are used or only relayed ones (W3C `iceTransportPolicy`).
    /// [`IceTransportPolicy::All`] by default.
    pub ice_transport_policy: IceTransportPolicy,
    /// Who gives way when both sides make an offer at once. [`Politeness::Polite`] by default.
    pub politeness: Politeness,
    /// When local candidates are given to the application.
    /// [`CandidatePolicy::HoldUntilAnswered`] by default.
    pub candidates: CandidatePolicy,
    /// The identity shown in DTLS. `None` lets the peer make one, which costs 0.1–1.3 ms by backend;
    /// share one among peers to save that (the event loop does).
    pub certificate: Option<Certificate>,
    /// Who does the cryptography. `None` takes the default of this build.
    pub crypto: Option<CryptoBackend>,
    /// Which DTLS versions are spoken. [`DtlsVersion::Auto`] by default: 1.3 with those that know it.
    pub dtls: DtlsVersion,
    /// Begin the SCTP association from this side when we make the first offer, whatever the DTLS roles
    /// (RFC 8841 §9.3 has both sides begin). Off by default: the DTLS client begins. For an answerer that
    /// never begins, as werift. Channels of both sides then draw their ids from the same half, so let one
    /// side make the first; messages to it have at most 64 KiB.
    pub begin_sctp: bool,
    /// Answer connectivity checks but make none (RFC 8445 §2.5): for servers with a public address.
    /// Such a peer has host candidates alone: those by servers and by
    /// [`external_addresses`](crate::proto::ice::GatherConfig::external_addresses) are left out.
    pub ice_lite: bool,
    /// When silence becomes *disconnected*, *failed* and *closed*.
    pub timing: Timing,
    /// Ask for an ICE restart when the networks of this machine change under the path, and when it has
    /// slept. On by default. It is said as
    /// [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded): the application makes the offer
    /// and carries it to the other side, as after [`restart_ice`](super::Peer::restart_ice).
    pub restart_on_network_change: bool,
    /// Ask for an ICE restart, in the same way, when the connection has been *disconnected* for this long:
    /// a NAT may have forgotten us, or the other side's network may have changed. 2 s by default, which
    /// makes 7 s of silence; twice that for the side that did not make the last offer, so that offers do not
    /// cross. Once more when it has *failed*; then it is left to the application until there is a path again.
    /// `None`: never.
    pub restart_after_disconnected: Option<Duration>,
    /// Use remote candidates with loopback addresses. `None`, the default: only if the peer is at home there itself,
    /// with loopback candidates ([`GatherConfig::include_loopback`]) or with an ICE server on loopback. A peer that does
    /// not use them still answers checks that come from there.
    pub take_loopback: Option<bool>,
    /// What is bounded, and where.
    pub limits: Limits,
    /// The size of datagrams that DTLS and SCTP aim for, in bytes of UDP payload. 1,200 by default:
    /// what crosses every path that carries IPv6 (RFC 8831 §5). Between 1,100 and 1,500.
    pub mtu: usize,
    /// The codecs that tracks can use, the preferred first. All that browsers know by default.
    pub codecs: Codecs,
    /// Whether media is given and taken in frames or in packets. [`MediaMode::Frames`] by default.
    pub media_mode: MediaMode,
    /// Holds received media back until it can be given out in order and evenly, as long as the network
    /// makes that necessary; each layer of each track by itself, within the limits of the
    /// [`JitterConfig`], whose clock rate is set by the codec. `None` by default: all is given out as soon
    /// as it is there, which is right for recording and passing on.
    pub jitter_buffer: Option<JitterConfig>,
    /// Finds out how much may be sent ([`PeerEvent::BandwidthEstimate`](super::PeerEvent)), beginning with
    /// so many bits a second, and sends no faster: large frames are spread over time. `None` by default:
    /// everything is sent at once.
    pub bandwidth_estimation: Option<u64>,
    /// How often the figures behind [`Peer::track_stats`](super::Peer::track_stats) are taken. `None` by
    /// default: never; browsers' pages mostly ask once a second.
    pub stats_interval: Option<Duration>,
    /// Gives every RTCP packet that comes ([`PeerEvent::Rtcp`](super::PeerEvent::Rtcp)), to be looked at. Off by
    /// default: it costs a copy of every packet, RTP too, both ways.
    pub rtcp_events: bool,
    /// RTP header extensions to negotiate beside the standard ones (audio level, MID, RID, send times,
    /// transport-wide sequence numbers, video orientation), by URI; at most 7. None by default. Those that
    /// the core does not know are passed on as [bytes](super::HeaderExtensions::raw).
    pub header_extensions: Vec<String>,
    /// Fixes ICE credentials and DTLS randomness, so that a run can be replayed. **Only for tests**: a
    /// peer with a known seed has no secrets.
    pub seed: Option<u64>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            gather: GatherConfig::default(),
            ice_servers: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
            politeness: Politeness::Polite,
            candidates: CandidatePolicy::HoldUntilAnswered,
            certificate: None,
            crypto: None,
            dtls: DtlsVersion::Auto,
            begin_sctp: false,
            ice_lite: false,
            timing: Timing::default(),
            restart_on_network_change: true,
            restart_after_disconnected: Some(Duration::from_secs(2)),
            take_loopback: None,
            limits: Limits::default(),
            mtu: 1200,
            codecs: Codecs::default(),
            media_mode: MediaMode::Frames,
            jitter_buffer: None,
            bandwidth_estimation: None,
            stats_interval: None,
            rtcp_events: false,
            header_extensions: Vec::new(),
            seed: None,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $($path:ident).+;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, value: $type) -> Self {
            self.$($path).+ = value;
            self
        }
    )*};
}

impl PeerConfig {
    setters! {
        /// Sets [`gather`](Self::gather).
        gather: GatherConfig => gather;
        /// Sets [`GatherConfig::include_loopback`]: for two peers on one machine.
        include_loopback: bool => gather.include_loopback;
        /// Sets [`GatherConfig::port`].
        port: crate::proto::net::PortPolicy => gather.port;
        /// Sets [`GatherConfig::tcp`]: ICE over TCP (RFC 6544). Where others may connect to us, STUN servers are asked
        /// by TCP and TLS, too.
        ice_tcp: IceTcp => gather.tcp;
        /// Sets [`GatherConfig::udp`].
        udp: bool => gather.udp;
        /// Sets [`ice_servers`](Self::ice_servers).
        ice_servers: Vec<IceServer> => ice_servers;
        /// Sets [`ice_transport_policy`](Self::ice_transport_policy).
        ice_transport_policy: IceTransportPolicy => ice_transport_policy;
        /// Sets [`politeness`](Self::politeness).
        politeness: Politeness => politeness;
        /// Sets [`candidates`](Self::candidates).
        candidates: CandidatePolicy => candidates;
        /// Sets [`certificate`](Self::certificate).
        certificate: Option<Certificate> => certificate;
        /// Sets [`crypto`](Self::crypto).
        crypto: Option<CryptoBackend> => crypto;
        /// Sets [`dtls`](Self::dtls).
        dtls: DtlsVersion => dtls;
        /// Sets [`begin_sctp`](Self::begin_sctp).
        begin_sctp: bool => begin_sctp;
        /// Sets [`ice_lite`](Self::ice_lite).
        ice_lite: bool => ice_lite;
        /// Sets [`timing`](Self::timing).
        timing: Timing => timing;
        /// Sets [`restart_on_network_change`](Self::restart_on_network_change).
        restart_on_network_change: bool => restart_on_network_change;
        /// Sets [`restart_after_disconnected`](Self::restart_after_disconnected).
        restart_after_disconnected: Option<Duration> => restart_after_disconnected;
        /// Sets [`take_loopback`](Self::take_loopback).
        take_loopback: Option<bool> => take_loopback;
        /// Sets [`limits`](Self::limits).
        limits: Limits => limits;
        /// Sets [`mtu`](Self::mtu).
        mtu: usize => mtu;
        /// Sets [`codecs`](Self::codecs).
        codecs: Codecs => codecs;
        /// Sets [`media_mode`](Self::media_mode).
        media_mode: MediaMode => media_mode;
        /// Sets [`jitter_buffer`](Self::jitter_buffer).
        jitter_buffer: Option<JitterConfig> => jitter_buffer;
        /// Sets [`bandwidth_estimation`](Self::bandwidth_estimation).
        bandwidth_estimation: Option<u64> => bandwidth_estimation;
        /// Sets [`stats_interval`](Self::stats_interval).
        stats_interval: Option<Duration> => stats_interval;
        /// Sets [`rtcp_events`](Self::rtcp_events).
        rtcp_events: bool => rtcp_events;
        /// Sets [`header_extensions`](Self::header_extensions).
        header_extensions: Vec<String> => header_extensions;
        /// Sets [`seed`](Self::seed).
        seed: Option<u64> => seed;
    }
}

/// The two roles of perfect negotiation (W3C WebRTC §10.7). Give each side another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Politeness {
    /// Takes its own offer back when the other side's crosses it.
    #[default]
    Polite,
    /// Ignores an offer that crosses its own.
    Impolite,
}

/// When a local candidate reaches the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CandidatePolicy {
    /// While our offer is unanswered they are held, then given in the order they were found. The other
    /// side may not know of this connection before it has answered, and refuse what comes early.
    #[default]
    HoldUntilAnswered,
    /// At once, as browsers do: for signaling that keeps the order and does not lose what comes early.
    Immediately,
}

/// When silence becomes a state. The defaults are pion's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Timing {
    /// Nothing heard for this long: *disconnected*. 5 s.
    pub disconnected: Duration,
    /// Disconnected (or checking without success) for this much longer: *failed*. 25 s, which makes the
    /// 30 s of consent freshness (RFC 7675 §5.1).
    pub failed: Duration,
    /// Failed for this much longer without an ICE restart: *closed*, and all is freed. 60 s.
    pub closed: Duration,
    /// How often a path in use is checked. 2 s.
    pub keepalive: Duration,
    /// The handshake (DTLS) has this long once ICE is connected. 30 s.
    pub handshake: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            disconnected: Duration::from_secs(5),
            failed: Duration::from_secs(25),
            closed: Duration::from_secs(60),
            keepalive: Duration::from_secs(2),
            handshake: Duration::from_secs(30),
        }
    }
}

/// What is bounded in one peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one session description. 256 KiB; above it: error.
    pub max_sdp_size: usize,
    /// m-lines of one session description, and transceivers. 128; above it: error. Those of stopped
    /// transceivers count: their places are not used again.
    pub max_m_lines: usize,
    /// Local candidates held back. 64; above it the newest is dropped and counted.
    pub max_pending_local: usize,
    /// Remote candidates held until their description comes. 64; above it the oldest is dropped and
    /// counted.
    pub max_pending_remote: usize,
    /// Remote candidates used in one ICE generation. 100; above it the candidate is dropped and counted.
    pub max_remote_candidates: usize,
    /// Open data channels, of both sides together. 1,024; above it: error for ours, a reset for theirs.
    pub max_channels: usize,
    /// Bytes of label and protocol together of one channel. 1,024; above it, or above 1,400: error.
    pub max_label_size: usize,
    /// Bytes accepted for sending and not yet acknowledged, over all channels. 4 MiB; above it:
    /// [`PeerError::BufferFull`](super::PeerError::BufferFull).
    pub max_send_buffer: usize,
    /// Bytes of media that wait because the path carries less than is written, of one stream
    /// ([`PeerConfig::bandwidth_estimation`]). 1 MiB; above it:
    /// [`PeerError::BufferFull`](super::PeerError::BufferFull).
    pub max_media_buffer: usize,
    /// Bytes of one frame that is sent. 4 MiB; above it: error.
    pub max_frame_size: usize,
    /// Remote addresses that have proved themselves (a correct STUN integrity). 16; above it one is forgotten that
    /// data does not take, the one longest unheard.
    pub max_validated_addresses: usize,
    /// Outputs of one drain of the core. 50,000; above it the core is taken to be in an endless loop and
    /// the peer is closed.
    pub max_drain: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sdp_size: 256 * 1024,
            max_m_lines: 128,
            max_pending_local: 64,
            max_pending_remote: 64,
            max_remote_candidates: 100,
            max_channels: 1024,
            max_label_size: 1024,
            max_send_buffer: 4 * 1024 * 1024,
            max_media_buffer: 1024 * 1024,
            max_frame_size: 4 * 1024 * 1024,
            max_validated_addresses: 16,
            max_drain: 50_000,
        }
    }
}
