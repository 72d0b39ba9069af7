//! Configuration of a peer.

use std::time::Duration;

use super::super::crypto::{Certificate, CryptoBackend, DtlsVersion};
use super::codec::Codecs;
use super::packet::MediaMode;
use crate::proto::ice::{GatherConfig, IceServer, IceTcp, IceTransportPolicy};
use crate::proto::media::jitter::JitterConfig;

/// Configuration of one [`Peer`](super::super::Peer).
///
/// ```
/// use looprtc::proto::peer::{PeerConfig, Politeness};
/// let config = PeerConfig::default().politeness(Politeness::Polite).include_loopback(true);
/// assert!(config.gather.include_loopback);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerConfig {
    /// Selection of host candidates, and the policy for their port.
    pub gather: GatherConfig,
    /// STUN and TURN servers (W3C `iceServers`), at most 16 URLs. None by default: host candidates only, which reach
    /// peers on the same network and those with a public address.
    pub ice_servers: Vec<IceServer>,
    /// Use all candidates, or relayed ones only (W3C `iceTransportPolicy`). Default: [`IceTransportPolicy::All`].
    pub ice_transport_policy: IceTransportPolicy,
    /// Role in perfect negotiation when both sides make an offer at once. Default: [`Politeness::Polite`].
    pub politeness: Politeness,
    /// When local candidates are reported to the application. Default: [`CandidatePolicy::HoldUntilAnswered`].
    pub candidates: CandidatePolicy,
    /// DTLS certificate. `None`, the default, creates one, which takes 0.1–1.3 ms depending on the backend; peers can
    /// share one to save that (those of an event loop do).
    pub certificate: Option<Certificate>,
    /// Crypto backend. `None` uses the default of this build.
    pub crypto: Option<CryptoBackend>,
    /// DTLS versions to negotiate. Default: [`DtlsVersion::Auto`], 1.3 with peers that support it.
    pub dtls: DtlsVersion,
    /// Start the SCTP association from this side after making the first offer, whatever the DTLS roles (RFC 8841 §9.3
    /// has both sides start). Off by default: the DTLS client starts it. For answerers that never start it, such as
    /// werift. Channels of both sides then take stream ids from the same half, so let one side create the first
    /// channel; messages to it are limited to 64 KiB.
    pub begin_sctp: bool,
    /// ICE-lite: answer connectivity checks but send none (RFC 8445 §2.5), for servers with a public address. Such a
    /// peer has host candidates only: those from servers and from
    /// [`external_addresses`](crate::proto::ice::GatherConfig::external_addresses) are left out.
    pub ice_lite: bool,
    /// Times after which a silent connection becomes *disconnected*, *failed* and *closed*.
    pub timing: Timing,
    /// Request an ICE restart when this machine's networks change in a way that affects the path, and after a suspend.
    /// On by default. The request is a [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded): the
    /// application makes the offer and sends it to the remote peer, as after [`restart_ice`](super::super::Peer::restart_ice).
    pub restart_on_network_change: bool,
    /// Request an ICE restart, in the same way, after the connection has been *disconnected* for this time: a NAT
    /// mapping may have expired, or the remote peer's network may have changed. Default: 2 s, which is 7 s of silence;
    /// twice that on the side that did not make the last offer, so that offers do not collide. The request is repeated
    /// once on *failed*; after that it is up to the application until there is a path again. `None` disables it.
    pub restart_after_disconnected: Option<Duration>,
    /// Use remote candidates with loopback addresses. `None`, the default, uses them only if the peer has loopback
    /// candidates itself ([`GatherConfig::include_loopback`]) or an ICE server on loopback. Checks from loopback
    /// addresses are answered in any case.
    pub take_loopback: Option<bool>,
    /// Limits of the peer.
    pub limits: Limits,
    /// Target size of datagrams with DTLS and SCTP, in bytes of UDP payload; between 1,100 and 1,500. Default: 1,200,
    /// which fits every path that carries IPv6 (RFC 8831 §5).
    pub mtu: usize,
    /// Codecs for tracks, in order of preference. Default: all that browsers support.
    pub codecs: Codecs,
    /// Read and write media as frames or as packets. Default: [`MediaMode::Frames`].
    pub media_mode: MediaMode,
    /// Jitter buffer for received media: media is held until it can be released in order and evenly, as long as the
    /// network requires; separately for each layer of each track, within the limits of the [`JitterConfig`], whose
    /// clock rate is set from the codec. `None`, the default, releases media as soon as possible, which is right for
    /// recording and forwarding.
    pub jitter_buffer: Option<JitterConfig>,
    /// Enables bandwidth estimation with this initial estimate, in bits per second. The peer reports estimates
    /// ([`PeerEvent::BandwidthEstimate`](super::PeerEvent)) and sends no faster: large frames are spread over time.
    /// `None`, the default, sends everything at once.
    pub bandwidth_estimation: Option<u64>,
    /// Interval at which the figures of [`Peer::track_stats`](super::super::Peer::track_stats) are updated. `None`, the
    /// default, never updates them; web pages usually poll once per second.
    pub stats_interval: Option<Duration>,
    /// Report every received RTCP packet as an event ([`PeerEvent::Rtcp`](super::PeerEvent::Rtcp)), for diagnostics.
    /// Off by default: it costs a copy of every packet, including RTP, in both directions.
    pub rtcp_events: bool,
    /// URIs of RTP header extensions to negotiate in addition to the standard ones (audio level, MID, RID, send times,
    /// transport-wide sequence numbers, video orientation); at most 7. None by default. Those unknown to the core are
    /// passed through as [bytes](super::HeaderExtensions::raw).
    pub header_extensions: Vec<String>,
    /// Seed for ICE credentials and DTLS randomness, for repeatable tests. **Only for tests**: a peer with a known seed
    /// has no secrets.
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
        /// Sets [`GatherConfig::tcp`]: ICE over TCP (RFC 6544). A passive peer also asks STUN servers over TCP and TLS.
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

/// Role in perfect negotiation (W3C WebRTC §10.7). Give the two sides different roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Politeness {
    /// Rolls back its own offer when it collides with one of the remote peer.
    #[default]
    Polite,
    /// Ignores a remote offer that collides with its own.
    Impolite,
}

/// When local candidates are reported to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CandidatePolicy {
    /// Held while our offer is unanswered, then reported in the order they were gathered. Until the remote side has
    /// answered it may not know the connection, and refuse early candidates.
    #[default]
    HoldUntilAnswered,
    /// At once, as in browsers: for signaling that keeps messages in order and does not lose early ones.
    Immediately,
}

/// Times after which silence changes the connection state. The defaults are pion's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Timing {
    /// Silence until *disconnected*. Default: 5 s.
    pub disconnected: Duration,
    /// Further time in *disconnected*, or in checking without success, until *failed*. Default: 25 s, which makes the
    /// 30 s of consent freshness (RFC 7675 §5.1).
    pub failed: Duration,
    /// Further time in *failed* without an ICE restart until *closed*, which frees all resources. Default: 60 s.
    pub closed: Duration,
    /// Interval of checks on the path in use. Default: 2 s.
    pub keepalive: Duration,
    /// Time limit of the DTLS handshake once ICE is connected. Default: 30 s.
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

/// Limits of a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a session description, in bytes. Default: 256 KiB; larger ones are errors.
    pub max_sdp_size: usize,
    /// Maximum number of m-lines in a session description, and of transceivers. Default: 128; more are errors. M-lines
    /// of stopped transceivers count, because they are not reused.
    pub max_m_lines: usize,
    /// Maximum number of local candidates held. Default: 64; the newest is dropped and counted beyond it.
    pub max_pending_local: usize,
    /// Maximum number of remote candidates held until their description arrives. Default: 64; the oldest is dropped and
    /// counted beyond it.
    pub max_pending_remote: usize,
    /// Maximum number of remote candidates per ICE generation. Default: 100; further ones are dropped and counted.
    pub max_remote_candidates: usize,
    /// Maximum number of open data channels, local and remote. Default: 1,024; beyond it creating one is an error, and
    /// a remote one is reset.
    pub max_channels: usize,
    /// Maximum length of label and protocol of a channel together, in bytes. Default: 1,024, at most 1,400; more is an
    /// error.
    pub max_label_size: usize,
    /// Maximum number of bytes accepted for sending and not yet acknowledged, over all channels. Default: 4 MiB; beyond
    /// it sending returns [`PeerError::BufferFull`](super::PeerError::BufferFull).
    pub max_send_buffer: usize,
    /// Maximum number of bytes of media per stream that wait because more is written than the path carries
    /// ([`PeerConfig::bandwidth_estimation`]). Default: 1 MiB; beyond it writing returns
    /// [`PeerError::BufferFull`](super::PeerError::BufferFull).
    pub max_media_buffer: usize,
    /// Maximum size of a frame that is sent, in bytes. Default: 4 MiB; larger ones are errors.
    pub max_frame_size: usize,
    /// Maximum number of validated remote addresses (a STUN message with valid integrity came from them). Default: 16;
    /// beyond it the one that was silent longest is removed, except the one in use.
    pub max_validated_addresses: usize,
    /// Maximum number of outputs in one drain of the core. Default: 50,000; beyond it the core is assumed to loop
    /// endlessly, and the peer is closed.
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
