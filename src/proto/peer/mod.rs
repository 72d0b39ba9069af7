//! One peer connection, sans-IO (W3C WebRTC §4, over one [`str0m::Rtc`]).
//!
//! ```text
//!   application ── create_offer, set_local_description, add_ice_candidate, send, close ──┐
//!                                                                                       ▼
//!   driver ── handle_input: datagram, timeout, socket opened ──► [ negotiation  candidates ]
//!                                                                [ channels   connectivity ]
//!   driver ◄─ poll_output: Transmit, OpenSocket, Resolve, Bind,   [        str0m::Rtc       ]
//!             Route, Event … and last Timeout: drained ────────── [         gathering       ]
//! ```
//!
//! str0m asks that it be drained after each mutation; every method here sees to that. A drain is
//! bounded: one that does not end closes this peer, and only this one.

#[cfg(any(test, feature = "testing"))]
mod audit;
mod candidates;
#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod cases;
mod channel_config;
mod channels;
mod checks;
mod config;
mod connectivity;
mod contract;
mod core;
mod core_access;
pub(crate) mod crypto;
mod description;
mod early;
// Called by the crypto backends, of which the core alone has none.
#[cfg_attr(
    not(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl")),
    allow(dead_code)
)]
mod empty;
mod error;
mod feedback;
mod gathering;
#[cfg_attr(
    not(any(feature = "rust-crypto", feature = "aws-lc", feature = "openssl")),
    allow(dead_code)
)]
mod joined;
mod negotiation;
mod perfect;
mod receiving;
mod recovery;
mod resend;
mod sending;
mod state;
mod stats;
mod tcp;
mod tracks;
mod trickle;
mod window;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::IceCreds;
use str0m::crypto::CryptoProvider;

use self::candidates::PendingCandidates;
use self::channels::{Channels, Payload};
use self::connectivity::{Connectivity, ValidatedAddresses};
use self::core_access::CoreAccess;
use self::negotiation::Negotiation;
use self::tracks::Tracks;
use super::ice::tcp::TcpPaths;
use super::ice::{Gatherer, IceCandidate};
use super::net::Protocol;

pub use self::candidates::CandidateCounts;
pub use self::channel_config::{ChannelConfig, ChannelInfo, ChannelState};
pub use self::channels::{ChannelId, MAX_RECEIVE_MESSAGE};
pub use self::config::{CandidatePolicy, Limits, PeerConfig, Politeness, Timing};
pub use self::contract::{Input, Output, Route};
pub use self::crypto::{Certificate, CryptoBackend, CryptoError, DtlsVersion};
pub(crate) use self::description::check as check_description;
pub use self::error::PeerError;
#[cfg(any(feature = "driver", feature = "testing", test))]
pub(crate) use self::error::panic_text;
pub use self::state::{ConnectionState, IceConnectionState, IceGatheringState};
pub use self::state::{Message, PeerEvent, SignalingState};
pub use self::stats::PeerStats;
pub use self::tracks::{
    BandwidthEstimate, Codec, CodecParameters, Codecs, Direction, EncodedFrame, FrameTime,
    HeaderExtensions, KeyframeRequestKind, MediaKind, MediaMode, PLAYOUT_DELAY, ReceivedFrame,
    ReceivedPacket, ReceivedStats, ReceptionReport, RemoteTrack, RtcpPacket, RtpPacket,
    SenderReport, SentStats, TrackStats, TransceiverConfig, TransceiverId, TransceiverInfo,
    VideoOrientation,
};
pub use super::signal::{IceCandidateInit, SdpType, SessionDescription};

/// The handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dtls {
    New,
    Connected,
    Failed,
}

/// Local ufrags that are routed at once: the one in force, the one offered, the one before.
const MAX_UFRAGS: usize = 3;

/// Outputs for which room is kept while there are none.
const MAX_IDLE_OUTPUTS: usize = 256;

/// The shortest time between two timeouts of a core that wants one at once, over and over.
const MIN_TIMEOUT_STEP: Duration = Duration::from_millis(1);

/// One peer connection. See the [module](self) for how it is driven.
pub struct Peer {
    config: PeerConfig,
    provider: Arc<CryptoProvider>,
    backend: CryptoBackend,
    rtc: CoreAccess,
    now: Instant,
    out: VecDeque<Output>,
    events: Vec<PeerEvent>,
    dirty: bool,
    core_deadline: Option<Instant>,
    /// What the core takes for the time.
    core_now: Instant,
    local_creds: IceCreds,
    remote_creds: Option<IceCreds>,
    ufrags: VecDeque<String>,
    negotiation: Negotiation,
    pending: PendingCandidates,
    gatherer: Gatherer,
    gathering: IceGatheringState,
    gathered: Vec<IceCandidate>,
    names: gathering::Names,
    channels: Channels,
    tracks: Tracks,
    /// Packets given to the core that it has not been told the time for.
    unsent: usize,
    joined: joined::Joined,
    early: early::Early,
    connectivity: Connectivity,
    recovery: recovery::Recovery,
    resend: resend::Resend,
    feedback: feedback::Feedback,
    validated: ValidatedAddresses,
    /// The same for ICE-TCP.
    validated_tcp: ValidatedAddresses,
    tcp: TcpPaths,
    /// The last message over TCP was a check or an answer, and correct.
    tcp_verified: bool,
    /// Streams that have proved themselves: our end and theirs.
    tcp_proved: Vec<(SocketAddr, SocketAddr)>,
    unknown_errors: checks::Errors,
    dtls: Dtls,
    dtls_fault: Option<String>,
    handshake_since: Option<Instant>,
    handshake_failed: Option<Instant>,
    ice_state: IceConnectionState,
    state: ConnectionState,
    /// What is counted here; the rest is looked up when it is asked for.
    stats: PeerStats,
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("signaling", &self.signaling_state())
            .field("ice", &self.ice_state)
            .field("state", &self.state)
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// A new peer. Nothing is sent or gathered before a local description is set.
    ///
    /// # Errors
    ///
    /// [`PeerError::Config`] and [`PeerError::Crypto`].
    pub fn new(config: PeerConfig, now: Instant) -> Result<Self, PeerError> {
        let core = core::build(&config, now)?;
        let limits = &config.limits;
        let tracks = Tracks::new(&config, &core.creds.ufrag);
        let mut peer = Self {
            provider: core.provider,
            backend: core.backend,
            rtc: core.rtc,
            now,
            out: VecDeque::new(),
            events: Vec::new(),
            dirty: true,
            core_deadline: None,
            core_now: now,
            ufrags: VecDeque::new(),
            local_creds: core.creds,
            remote_creds: None,
            negotiation: Negotiation::new(),
            pending: PendingCandidates::new(limits.max_pending_local, limits.max_pending_remote),
            gatherer: gathering::gatherer(&config)?,
            gathering: IceGatheringState::New,
            gathered: Vec::new(),
            names: gathering::Names::new(config.seed),
            channels: Channels::new(),
            tracks,
            unsent: 0,
            joined: joined::Joined::default(),
            early: early::Early::default(),
            connectivity: Connectivity::new(config.timing.clone(), config.ice_lite),
            recovery: recovery::Recovery::default(),
            resend: resend::Resend::default(),
            feedback: feedback::Feedback::new(core.keys),
            validated: ValidatedAddresses::new(limits.max_validated_addresses),
            validated_tcp: ValidatedAddresses::new(limits.max_validated_addresses),
            tcp: TcpPaths::default(),
            tcp_verified: false,
            tcp_proved: Vec::new(),
            unknown_errors: checks::Errors::default(),
            dtls: Dtls::New,
            dtls_fault: None,
            handshake_since: None,
            handshake_failed: None,
            ice_state: IceConnectionState::New,
            state: ConnectionState::New,
            stats: PeerStats::default(),
            #[cfg(test)]
            panics: false,
            config,
        };
        peer.route_ufrag(peer.local_creds.ufrag.clone());
        Ok(peer)
    }

    /// Something happened. See [`Input`].
    ///
    /// What a datagram contains is never an error: junk is counted ([`stats`](Self::stats)) and dropped.
    ///
    /// # Errors
    ///
    /// [`PeerError::Closed`] once the peer is closed. A fault of the connection is an event.
    pub fn handle_input(&mut self, input: Input<'_>) -> Result<(), PeerError> {
        if self.is_closed() {
            return self.after_close(&input);
        }
        #[cfg(test)]
        assert!(!self.panics, "as asked for by a test");
        match input {
            Input::Receive { now, received } => {
                self.advance(now);
                if received.protocol == Protocol::IceTcp {
                    self.on_tcp_message(&received);
                } else if self.gatherer.has_relays()
                    && let Some(relay) = self.gatherer.relay_of(&received)
                {
                    self.on_relay(relay, &received);
                } else {
                    self.on_datagram(&received);
                }
                return Ok(());
            }
            Input::Timeout(now) => {
                self.settle();
                self.advance(now);
                self.gather_timeout();
                self.resend_due();
                self.losses_due();
                self.core_timeout();
            }
            Input::Socket { now, id, reply } => {
                self.settle();
                self.advance(now);
                if TcpPaths::is_stream(id) {
                    self.on_stream(id, &reply);
                } else {
                    self.gatherer.handle_socket(id, &reply, self.now);
                    self.on_gathered();
                }
            }
            Input::StreamLost { now, local, remote } => {
                self.settle();
                self.advance(now);
                self.on_stream_lost(local, remote);
            }
            Input::Resolved { now, host, result } => {
                self.settle();
                self.advance(now);
                self.gatherer.handle_resolved(host, &result);
                self.on_gathered();
                self.on_remote_resolved(host, &result);
            }
            Input::Binding {
                now,
                request,
                reply,
            } => {
                self.settle();
                self.advance(now);
                self.gatherer.handle_binding(&request, &reply);
                self.on_gathered();
            }
            Input::NetworkChanged { now, change } => {
                self.settle();
                self.advance(now);
                self.on_network_changed(&change);
                // Pairs have come and gone.
                self.core_timeout();
            }
        }
        self.dirty = true;
        self.settle();
        Ok(())
    }

    /// The next thing to do. [`Output::Timeout`] comes last and means: drained.
    pub fn poll_output(&mut self) -> Output {
        self.settle();
        while let Some(output) = self.out.pop_front() {
            if !self.is_stale(&output) {
                return output;
            }
        }
        if self.out.capacity() > MAX_IDLE_OUTPUTS {
            // A burst is over; a thousand idle peers must not keep what one burst took.
            self.out = VecDeque::new();
        }
        Output::Timeout(self.deadline())
    }

    /// W3C §4.7.3 asks once more when the event is fired: an offer may have come meanwhile. If one of ours is
    /// still needed after that, it is said anew.
    fn is_stale(&self, output: &Output) -> bool {
        matches!(output, Output::Event(PeerEvent::NegotiationNeeded)) && !self.needs_negotiation()
    }

    /// Closes the connection (W3C §4.4.2 `close`): says goodbye to the other side (SCTP shutdown, DTLS
    /// `close_notify`), frees everything. Allocations on TURN servers are given back: for that, sockets
    /// that have not been [closed](Output::CloseSocket) still bring inputs, for 5 s at most. What is still buffered for sending is lost. Closing twice is
    /// fine.
    pub fn close(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.settle();
        self.advance(now);
        self.shut_down();
    }

    /// Whether the peer is closed. It then only has outputs left to be polled.
    pub fn is_closed(&self) -> bool {
        self.state == ConnectionState::Closed
    }

    /// See [`ConnectionState`].
    pub fn connection_state(&self) -> ConnectionState {
        self.state
    }

    /// See [`IceConnectionState`].
    pub fn ice_connection_state(&self) -> IceConnectionState {
        self.ice_state
    }

    /// See [`IceGatheringState`].
    pub fn ice_gathering_state(&self) -> IceGatheringState {
        self.gathering
    }

    /// The remote addresses that have proved themselves.
    pub fn validated_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.validated.iter().chain(self.validated_tcp.iter())
    }

    /// Makes a data channel (W3C §6.1 `createDataChannel`). The first one needs an offer
    /// ([`PeerEvent::NegotiationNeeded`]); further ones do not.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadChannel`], [`PeerError::LimitReached`], [`PeerError::Closed`].
    pub fn create_data_channel(
        &mut self,
        config: ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, PeerError> {
        self.begin(now)?;
        let id = self.channels.create(config, &self.config.limits)?;
        if self.negotiation.has_application() {
            self.channels.open_waiting(&mut self.rtc, &mut self.events);
            // The core opens channels in its timeout.
            self.core_timeout();
        }
        self.check_negotiation_needed();
        Ok(id)
    }

    /// Accepts text for sending, or says why not; a refused message leaves nothing behind. It goes out
    /// when the peer is polled, so that several in a row share datagrams.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchChannel`], [`PeerError::ChannelNotOpen`], [`PeerError::MessageTooLarge`], and
    /// [`PeerError::BufferFull`]: try again after [`PeerEvent::ChannelBufferedAmountLow`].
    pub fn send_text(
        &mut self,
        channel: ChannelId,
        text: &str,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.send(channel, Payload::Text(text), now)
    }

    /// Accepts bytes for sending, as [`send_text`](Self::send_text) does.
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text).
    pub fn send_binary(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        now: Instant,
    ) -> Result<(), PeerError> {
        self.send(channel, Payload::Binary(data), now)
    }

    fn send(
        &mut self,
        channel: ChannelId,
        payload: Payload<'_>,
        now: Instant,
    ) -> Result<(), PeerError> {
        if self.is_closed() {
            return Err(PeerError::Closed);
        }
        self.advance(now);
        self.refresh_core_time();
        let limits = &self.config.limits;
        self.channels
            .send(&mut self.rtc, channel, payload, limits, self.now)?;
        self.dirty = true;
        Ok(())
    }

    /// Closes a channel once what it holds has been sent. [`PeerEvent::ChannelClosed`] follows.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchChannel`], [`PeerError::Closed`].
    pub fn close_data_channel(
        &mut self,
        channel: ChannelId,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.channels.close(channel, &mut self.events)?;
        self.check_negotiation_needed();
        Ok(())
    }

    /// What is known of a channel; `None` when there is none of that name (any more).
    pub fn channel(&mut self, channel: ChannelId) -> Option<ChannelInfo> {
        self.channels.info(channel, &mut self.rtc)
    }

    /// All channels that are not closed, in the order they were made.
    pub fn channels(&self) -> Vec<ChannelId> {
        self.channels.ids()
    }

    /// Bytes accepted on this channel and not yet acknowledged (W3C `bufferedAmount`); 0 for a closed one.
    pub fn buffered_amount(&self, channel: ChannelId) -> usize {
        self.channels.buffered_amount(channel).unwrap_or(0)
    }

    /// Bytes accepted on all channels and not yet acknowledged.
    pub fn total_buffered_amount(&self) -> usize {
        self.channels.buffered()
    }

    /// The largest message that can be sent, in bytes: what the other side takes, but at most 2 MiB and
    /// [`Limits::max_send_buffer`] (W3C `maxMessageSize`).
    pub fn max_message_size(&self) -> usize {
        self.channels.max_message()
    }

    /// [`PeerEvent::ChannelBufferedAmountLow`] comes when the buffered amount falls to this many bytes
    /// from above (W3C `bufferedAmountLowThreshold`). 0 by default.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchChannel`].
    pub fn set_buffered_amount_low_threshold(
        &mut self,
        channel: ChannelId,
        bytes: usize,
    ) -> Result<(), PeerError> {
        self.channels.set_low_threshold(channel, bytes)
    }

    /// Every verb begins with this: not closed, drained, and at this time.
    fn begin(&mut self, now: Instant) -> Result<(), PeerError> {
        if self.is_closed() {
            // It may still have to give allocations back.
            self.advance(now);
            return Err(PeerError::Closed);
        }
        self.settle();
        self.advance(now);
        self.dirty = true;
        Ok(())
    }

    /// Time never goes back, whatever the caller says.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn event(&mut self, event: PeerEvent) {
        self.events.push(event);
    }

    fn route_ufrag(&mut self, ufrag: String) {
        if self.ufrags.contains(&ufrag) {
            return;
        }
        if self.ufrags.len() >= MAX_UFRAGS {
            let in_force = &self.local_creds.ufrag;
            if let Some(old) = self.ufrags.iter().find(|u| *u != in_force).cloned() {
                self.unroute_ufrag(&old);
            }
        }
        self.ufrags.push_back(ufrag.clone());
        self.out.push_back(Output::Route(Route::Ufrag(ufrag)));
    }

    fn unroute_ufrag(&mut self, ufrag: &str) {
        if let Some(index) = self.ufrags.iter().position(|u| u == ufrag) {
            self.ufrags.remove(index);
            let gone = Route::DropUfrag(ufrag.to_owned());
            self.out.push_back(Output::Route(gone));
        }
    }
}
