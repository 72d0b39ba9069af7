//! One peer connection, sans-IO (W3C WebRTC §4).
//!
//! ```text
//!   application ── create_offer, set_local_description, add_ice_candidate, send, close ──┐
//!                                                                                       ▼
//!   driver ── handle_input: datagram, timeout, socket opened ─────►  [ session     path     ]
//!                                                                    [ channels    tracks   ]
//!   driver ◄─ poll_output: Transmit, OpenSocket, Resolve, Bind,      [ core        feedback ]
//!             Route, Event … and last Timeout: drained ────────────  [        outbox        ]
//! ```
//!
//! A peer owns machines that do not know each other: `core` (str0m, its clock and the handshake), `session` (offer and
//! answer), `path` (the way to the remote peer), `channels`, `tracks` and `feedback` (media). The methods of [`Peer`]
//! pass values between them.
//!
//! The core has to be drained after each mutation; every method here ensures that. A drain is bounded: one that does not
//! end closes this peer, and only this one.

#[cfg(any(test, feature = "testing"))]
mod audit;
#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod cases;
mod channels;
mod contract;
mod core;
pub(crate) mod crypto;
mod ends;
mod feedback;
mod gather;
mod media;
mod negotiation;
mod outbox;
mod path;
mod perfect;
mod receiving;
mod sending;
mod session;
mod settle;
mod stats;
mod tracks;
mod trickle;
mod values;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::channels::{Channels, Payload};
use self::core::{Core, PendingOffer};
use self::outbox::Outbox;
use self::path::Path;
use self::session::Session;
use self::tracks::Tracks;
use super::net::{Protocol, Received};

pub use self::channels::MAX_RECEIVE_MESSAGE;
pub use self::contract::{Input, Output, Route};
pub use self::crypto::{Certificate, CryptoBackend, CryptoError, DtlsVersion};
pub(crate) use self::negotiation::check_description;
pub use self::session::CandidateCounts;
pub use self::stats::PeerStats;
#[cfg(any(feature = "driver", feature = "testing", test))]
pub(crate) use self::values::panic_text;
pub use self::values::{
    BandwidthEstimate, CandidatePolicy, ChannelConfig, ChannelId, ChannelInfo, ChannelState,
    CodecParameters, Codecs, ConnectionState, Direction, EncodedFrame, FrameTime, HeaderExtensions,
    IceConnectionState, IceGatheringState, KeyframeRequestKind, Limits, MediaKind, MediaMode,
    Message, PLAYOUT_DELAY, PeerConfig, PeerError, PeerEvent, Politeness, ReceivedFrame,
    ReceivedPacket, ReceivedStats, ReceptionReport, RemoteTrack, RtcpPacket, RtpPacket,
    SenderReport, SentStats, SignalingState, Timing, TrackStats, TransceiverConfig, TransceiverId,
    TransceiverInfo, VideoOrientation,
};
pub use super::media::Codec;
pub use super::signal::{IceCandidateInit, SdpType, SessionDescription};

/// Minimum time between two timeouts, for a core that keeps requesting one at once.
const MIN_TIMEOUT_STEP: Duration = Duration::from_millis(1);

/// A peer connection. See the [module](self) for how to drive it.
pub struct Peer {
    config: PeerConfig,
    core: Core,
    now: Instant,
    out: Outbox,
    session: Session<PendingOffer>,
    channels: Channels,
    tracks: Tracks,
    path: Path,
    feedback: feedback::Feedback,
    state: ConnectionState,
    /// Counters kept here; other figures are looked up on request.
    stats: PeerStats,
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("signaling", &self.signaling_state())
            .field("ice", &self.path.state())
            .field("state", &self.state)
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Creates a peer. Nothing is sent or gathered before a local description is set.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Config`] or [`PeerError::Crypto`].
    pub fn new(config: PeerConfig, now: Instant) -> Result<Self, PeerError> {
        let built = core::build(&config, now)?;
        let tracks = Tracks::new(&config, &built.creds.ufrag);
        let mut out = Outbox::default();
        let path = Path::new(&config, built.creds, &mut out)?;
        Ok(Self {
            core: built.core,
            now,
            out,
            session: Session::new(&config.limits),
            channels: Channels::new(),
            tracks,
            path,
            feedback: feedback::Feedback::new(built.keys),
            state: ConnectionState::New,
            stats: PeerStats::default(),
            #[cfg(test)]
            panics: false,
            config,
        })
    }

    /// Handles input. See [`Input`].
    ///
    /// The content of a datagram never causes an error: invalid ones are counted ([`stats`](Self::stats)) and dropped.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Closed`] once the peer is closed. A failure of the connection is reported as an event.
    pub fn handle_input(&mut self, input: Input<'_>) -> Result<(), PeerError> {
        if self.is_closed() {
            return self.after_close(&input);
        }
        #[cfg(test)]
        assert!(!self.panics, "as asked for by a test");
        if let Input::Receive { now, received } = &input {
            self.advance(*now);
            self.receive_from_wire(received);
            return Ok(());
        }
        self.settle();
        self.advance(input.time());
        match input {
            // Dealt with above: datagrams are settled by themselves.
            Input::Receive { .. } => {}
            Input::Timeout(_) => {
                self.gather_timeout();
                self.resend_due();
                self.losses_due();
                self.core_timeout();
            }
            Input::Socket { id, reply, .. } => {
                if Path::owns_stream(id) {
                    self.path.on_stream(id, &reply, self.now, &mut self.out);
                } else {
                    let gathering = self.path.gathering_mut();
                    gathering.handle_socket(id, &reply, self.now);
                    self.on_gathered();
                }
            }
            Input::StreamLost { local, remote, .. } => {
                self.path.on_stream_lost(local, remote, self.now);
                self.core.remove_stream(remote);
            }
            Input::Resolved { host, result, .. } => {
                self.path.gathering_mut().handle_resolved(host, &result);
                self.on_gathered();
                self.on_remote_resolved(host, &result);
            }
            Input::Binding { request, reply, .. } => {
                self.path.gathering_mut().handle_binding(&request, &reply);
                self.on_gathered();
            }
            Input::NetworkChanged { change, .. } => {
                self.on_network_changed(&change);
                // Candidate pairs were added or removed.
                self.core_timeout();
            }
        }
        self.core.touch();
        self.settle();
        Ok(())
    }

    fn receive_from_wire(&mut self, received: &Received<'_>) {
        if received.protocol == Protocol::IceTcp {
            self.on_tcp_message(received);
        } else if let Some(relay) = self.path.gathering().relay_of(received) {
            self.on_relay(relay, received);
        } else {
            self.on_datagram(received);
        }
    }

    /// Returns the next output. Call it until it returns [`Output::Timeout`], which means that the peer is drained.
    pub fn poll_output(&mut self) -> Output {
        self.settle();
        while let Some(output) = self.out.pop() {
            if !self.is_stale(&output) {
                return output;
            }
        }
        self.out.shrink();
        Output::Timeout(self.deadline())
    }

    /// Returns `true` for a `NegotiationNeeded` that no longer applies. W3C §4.7.3 checks again when the event is
    /// fired: an offer may have arrived meanwhile. If negotiation is still needed after that, the event is repeated.
    fn is_stale(&self, output: &Output) -> bool {
        matches!(output, Output::Event(PeerEvent::NegotiationNeeded)) && !self.needs_negotiation()
    }

    /// Closes the connection (W3C §4.4.2 `close`): sends close messages to the remote peer (SCTP shutdown, DTLS
    /// `close_notify`) and frees all resources. Allocations on TURN servers are released: for that, sockets that were
    /// not [closed](Output::CloseSocket) still need their input passed, for 5 s at most. Data still buffered for
    /// sending is lost. Closing twice is allowed.
    pub fn close(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.settle();
        self.advance(now);
        self.shut_down();
    }

    /// Returns `true` if the peer is closed. Only its remaining output has to be polled then.
    pub fn is_closed(&self) -> bool {
        self.state == ConnectionState::Closed
    }

    /// Returns the connection state. See [`ConnectionState`].
    pub fn connection_state(&self) -> ConnectionState {
        self.state
    }

    /// Returns the ICE connection state. See [`IceConnectionState`].
    pub fn ice_connection_state(&self) -> IceConnectionState {
        self.path.state()
    }

    /// Returns the ICE gathering state. See [`IceGatheringState`].
    pub fn ice_gathering_state(&self) -> IceGatheringState {
        self.path.gathering().state()
    }

    /// Iterates over the validated remote addresses.
    pub fn validated_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.path.validated()
    }

    /// Creates a data channel (W3C §6.1 `createDataChannel`). The first one needs an offer
    /// ([`PeerEvent::NegotiationNeeded`]); further ones do not. [`PeerEvent::ChannelOpen`] follows once it is open.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadChannel`], [`PeerError::LimitReached`] or [`PeerError::Closed`].
    pub fn create_data_channel(
        &mut self,
        config: ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, PeerError> {
        self.begin(now)?;
        let id = self.channels.create(config, &self.config.limits)?;
        if self.session.has_application() {
            self.channels
                .open_waiting(&mut self.core.channels(), &mut self.out.events);
            // The core opens channels in its timeout.
            self.core_timeout();
        }
        self.check_negotiation_needed();
        Ok(id)
    }

    /// Queues a text message for sending. It is sent when the peer is polled, so that several messages in a row share
    /// datagrams. If an error is returned, nothing of the message was accepted.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchChannel`], [`PeerError::ChannelNotOpen`], [`PeerError::MessageTooLarge`], or
    /// [`PeerError::BufferFull`]: retry after [`PeerEvent::ChannelBufferedAmountLow`].
    pub fn send_text(
        &mut self,
        channel: ChannelId,
        text: &str,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.send(channel, Payload::Text(text), now)
    }

    /// Queues a binary message for sending, see [`send_text`](Self::send_text).
    ///
    /// # Errors
    ///
    /// The same as [`send_text`](Self::send_text).
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
        self.channels.send(
            &mut self.core.channels(),
            channel,
            payload,
            limits,
            self.now,
        )?;
        self.core.touch();
        Ok(())
    }

    /// Closes a channel after its queued messages were sent. [`PeerEvent::ChannelClosed`] follows.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchChannel`] or [`PeerError::Closed`].
    pub fn close_data_channel(
        &mut self,
        channel: ChannelId,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.channels.close(channel, &mut self.out.events)?;
        self.check_negotiation_needed();
        Ok(())
    }

    /// Returns properties and state of a channel; `None` if it does not exist or has closed.
    pub fn channel(&mut self, channel: ChannelId) -> Option<ChannelInfo> {
        self.channels.info(channel, &mut self.core.channels())
    }

    /// Returns all channels that are not closed, in order of creation.
    pub fn channels(&self) -> Vec<ChannelId> {
        self.channels.ids()
    }

    /// Returns the number of bytes accepted on this channel and not yet acknowledged (W3C `bufferedAmount`); 0 for a
    /// closed one.
    pub fn buffered_amount(&self, channel: ChannelId) -> usize {
        self.channels.buffered_amount(channel).unwrap_or(0)
    }

    /// Returns the number of bytes accepted on all channels and not yet acknowledged.
    pub fn total_buffered_amount(&self) -> usize {
        self.channels.buffered()
    }

    /// Returns the maximum size of a message that can be sent, in bytes: the remote peer's limit, but at most 2 MiB and
    /// [`Limits::max_send_buffer`] (W3C `maxMessageSize`).
    pub fn max_message_size(&self) -> usize {
        self.channels.max_message()
    }

    /// Sets the threshold for [`PeerEvent::ChannelBufferedAmountLow`], in bytes: the event follows when the buffered
    /// amount falls to it from above (W3C `bufferedAmountLowThreshold`). 0 by default.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchChannel`].
    pub fn set_buffered_amount_low_threshold(
        &mut self,
        channel: ChannelId,
        bytes: usize,
    ) -> Result<(), PeerError> {
        self.channels.set_low_threshold(channel, bytes)
    }

    /// Starts every public operation: fails if the peer is closed, drains it and advances its time.
    fn begin(&mut self, now: Instant) -> Result<(), PeerError> {
        if self.is_closed() {
            // It may still have to release allocations.
            self.advance(now);
            return Err(PeerError::Closed);
        }
        self.settle();
        self.advance(now);
        self.core.touch();
        Ok(())
    }

    /// Advances the time, which never goes back, whatever the caller passes.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}
