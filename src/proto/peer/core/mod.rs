//! Drives str0m: datagrams and the time are passed in, transmits and events come out one at a time.
//!
//! ```text
//!   receive ──► joined, early ──►  Rtc  ──► step: Transmit, Event … Drained
//!   timeout ─────────────────────►  │
//!                                   └── DTLS and SRTP, of `peer/crypto`
//! ```
//!
//! str0m has to be drained after each mutation. A drain is bounded: see [`Step::Endless`].

mod access;
mod build;
mod candidates;
mod channels;
mod codecs;
mod drain;
mod dtls;
mod early;
mod extensions;
mod media;
mod names;
mod offer;
mod rtcp;
mod sdp;
mod streams;
mod stun;

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::RtcError;
use str0m::net::{Protocol as CoreProtocol, Receive};

use self::access::CoreAccess;
use self::dtls::Dtls;
use self::early::Early;
use super::crypto::joined::{self, Joined};
use super::crypto::{self, CryptoBackend, CryptoProvider};
use super::values::{ConnectionState, IceConnectionState, PeerError, PeerEvent, Timing};
use crate::proto::ice::IceCredentials;
use crate::proto::net::{Protocol, Received};

pub(super) use self::access::replace_credentials;
pub(super) use self::build::build;
pub(super) use self::candidates::RemoteCandidate;
pub(super) use self::channels::{CoreChannelId, CoreChannels, CoreMessage};
pub(super) use self::drain::{CoreEvent, Drain, Outgoing, Step};
#[cfg(any(test, feature = "testing"))]
pub(super) use self::early::MAX_HELD;
pub(super) use self::media::{CoreFrame, CorePacket, MediaEvent, SenderClock};
pub(super) use self::names::{Mid, Rid};
pub(super) use self::offer::{CoreOffers, NewLine, NewOffer, PendingOffer};
pub(super) use self::sdp::NotApplied;
pub(super) use self::streams::{CoreMedia, FrameToSend, PacketToSend, ReceiveStream, SendStream};
pub(super) use self::stun::Check;

/// The core's own limit of buffered bytes over all channels. Larger than the total that channels feed in practice; if
/// it is reached, feeding waits.
pub(super) const SEND_BUFFER: usize = 2 * 1024 * 1024;

/// Maximum error of the core's clock when it is given data to send.
const MAX_CORE_LAG: Duration = Duration::from_millis(1);

/// One peer's core: str0m, its clock and its handshake.
pub(super) struct Core {
    rtc: CoreAccess,
    provider: Arc<CryptoProvider>,
    backend: CryptoBackend,
    dtls: Dtls,
    clock: Clock,
    joined: Joined,
    early: Early,
    max_drain: usize,
    counts: CoreCounts,
}

/// When the core was last passed the time, and when it has to be called again.
#[derive(Debug)]
struct Clock {
    /// The time of the core's clock.
    told: Instant,
    deadline: Option<Instant>,
    /// Set if it was changed since it was drained.
    is_dirty: bool,
    /// Number of RTP packets written since it was last passed the time.
    unsent: usize,
}

/// Counters of refused input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CoreCounts {
    /// Number of inputs that ended in an error.
    pub errors: u64,
    /// Number of datagrams of unknown protocols.
    pub malformed: u64,
}

impl Core {
    fn new(
        rtc: CoreAccess,
        provider: Arc<CryptoProvider>,
        backend: CryptoBackend,
        max_drain: usize,
        now: Instant,
    ) -> Self {
        Self {
            rtc,
            provider,
            backend,
            dtls: Dtls::new(),
            clock: Clock {
                told: now,
                deadline: None,
                is_dirty: true,
                unsent: 0,
            },
            joined: Joined::default(),
            early: Early::default(),
            max_drain,
            counts: CoreCounts::default(),
        }
    }

    pub fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// Borrows the data channels for a change.
    pub fn channels(&mut self) -> CoreChannels<'_> {
        CoreChannels(self.rtc.change())
    }

    /// Borrows the media for a change.
    pub fn media(&mut self) -> CoreMedia<'_> {
        CoreMedia(self.rtc.change())
    }

    /// Borrows the media for a change, and the crypto provider.
    pub fn media_and_provider(&mut self) -> (CoreMedia<'_>, &CryptoProvider) {
        (CoreMedia(self.rtc.change()), &self.provider)
    }

    /// Borrows the core for an offer.
    pub fn offers(&mut self) -> CoreOffers<'_> {
        CoreOffers(self.rtc.change())
    }

    /// Starts the SCTP association from this side.
    pub fn start_sctp(&mut self) {
        self.rtc.change().direct_api().start_sctp(true);
    }

    pub fn counts(&self) -> CoreCounts {
        self.counts
    }

    /// Returns new ICE credentials.
    pub fn credentials(&mut self) -> IceCredentials {
        self.rtc.credentials()
    }

    /// Returns the ICE credentials that the core uses.
    pub fn local_credentials(&mut self) -> IceCredentials {
        access::from_core(self.rtc.change().direct_api().local_ice_credentials())
    }

    /// Sets the core's ICE credentials.
    pub fn set_local_credentials(&mut self, creds: &IceCredentials) {
        let creds = access::to_core(creds);
        self.rtc
            .change()
            .direct_api()
            .set_local_ice_credentials(creds);
    }

    /// Returns `true` once the DTLS handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.dtls.is_connected()
    }

    /// Returns `true` if the DTLS handshake ended with an error.
    pub fn has_failed(&self) -> bool {
        self.dtls.is_failed()
    }

    /// Returns the connection state (W3C §4.3.3), derived from the handshake and the ICE state.
    pub fn connection_state(&self, ice: IceConnectionState) -> ConnectionState {
        self.dtls.connection_state(ice)
    }

    /// Requires a drain before anything else is done with the core.
    pub fn touch(&mut self) {
        self.clock.is_dirty = true;
    }

    /// Counts an RTP packet that was written; it is sent when the core is next passed the time.
    pub fn note_written(&mut self) {
        self.clock.unsent += 1;
        self.clock.is_dirty = true;
    }

    /// Returns the number of RTP packets written since the core was last passed the time.
    pub fn unsent(&self) -> usize {
        self.clock.unsent
    }

    /// Returns `true` if the core's clock is so far behind that data sent now would get a wrong send time: the core
    /// would consider it lost as soon as the clock advances, and SCTP would send slowly for a long time (RFC 9260
    /// §6.3.3, §7.2.3).
    pub fn lags(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.clock.told) >= MAX_CORE_LAG
    }

    /// Passes the time to the core.
    pub fn timeout(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        self.clock.told = now;
        let result = self.rtc.change().handle_input(str0m::Input::Timeout(now));
        if let Err(e) = result {
            self.on_fault(&e, now, events);
        }
        self.clock.is_dirty = true;
    }

    /// Passes a datagram to the core.
    pub fn receive(&mut self, received: &Received<'_>, now: Instant, events: &mut Vec<PeerEvent>) {
        let protocol = match received.protocol {
            Protocol::Udp => CoreProtocol::Udp,
            Protocol::Tcp | Protocol::IceTcp => CoreProtocol::Tcp,
        };
        let receive = Receive::new(
            protocol,
            received.source,
            received.destination,
            received.contents,
        );
        match receive {
            Ok(receive) => {
                self.clock.told = now;
                self.clock.is_dirty = true;
                let input = str0m::Input::Receive(now, receive);
                let result = self.rtc.change().handle_input(input);
                if let Err(e) = result {
                    self.on_fault(&e, now, events);
                }
            }
            Err(e) => {
                self.counts.malformed += 1;
                log::trace!("datagram from {}: {e}", received.source);
            }
        }
    }

    /// Holds a datagram, to be passed to the core together with others that arrive at the same time: DTLS (RFC 7983 §7)
    /// of this connection, after the handshake. Returns `false` if it cannot wait.
    pub fn join(&mut self, received: &Received<'_>) -> bool {
        self.is_connected()
            && received.protocol == Protocol::Udp
            && self.backend != CryptoBackend::OpenSsl
            && matches!(received.contents.first(), Some(20..=63))
            && self.joined.push(received)
    }

    /// Passes the joined datagrams to the core. Returns `true` if there were any.
    pub fn receive_joined(&mut self, now: Instant, events: &mut Vec<PeerEvent>) -> bool {
        let Some((source, destination, contents)) = self.joined.take() else {
            return false;
        };
        let received = Received {
            protocol: Protocol::Udp,
            source,
            destination,
            contents: &contents,
        };
        self.receive(&received, now, events);
        true
    }

    /// Returns `true` if this would be mistaken for joined datagrams.
    pub fn looks_joined(contents: &[u8]) -> bool {
        joined::is_joined(contents)
    }

    /// Returns the datagrams that are held until an answer arrives.
    pub fn early(&mut self) -> &mut Early {
        &mut self.early
    }

    /// Returns the number of datagrams held until an answer arrives.
    #[cfg(any(test, feature = "testing"))]
    pub fn early_len(&self) -> usize {
        self.early.len()
    }

    /// Returns `true` if the core has started an association without knowing the remote maximum message size.
    pub fn began_sctp_early(&self) -> bool {
        self.early.has_given_up()
    }

    /// Returns the next deadline of the core, or of held datagrams.
    pub fn deadline(&self, timing: &Timing) -> Option<Instant> {
        let handshake = self.dtls.deadline(timing.handshake, timing.closed);
        [self.clock.deadline, self.early.deadline(), handshake]
            .into_iter()
            .flatten()
            .min()
    }

    /// Handles an error on input. An invalid datagram does not end the session, otherwise anyone who can forge a source
    /// address could end it (RFC 6347 §4.1.2.7). A handshake that cannot succeed does.
    fn on_fault(&mut self, error: &RtcError, now: Instant, events: &mut Vec<PeerEvent>) {
        self.counts.errors += 1;
        log::debug!("core: {error}");
        if self.dtls.is_connected() {
            return;
        }
        match crypto::explain_dtls_error(error, self.backend) {
            Some(why) => self.fail_handshake(why, now, events),
            None => self.dtls.note(error.to_string()),
        }
    }

    /// Handles an error in place of an output: the core has closed itself, or is unusable.
    fn on_end(&mut self, error: &RtcError, now: Instant, events: &mut Vec<PeerEvent>) {
        log::debug!("core ended: {error}");
        if self.dtls.is_new() {
            let why = crypto::explain_dtls_error(error, self.backend)
                .unwrap_or_else(|| error.to_string());
            self.fail_handshake(why, now, events);
        } else if self.dtls.is_connected() {
            events.push(PeerEvent::Error(PeerError::Core(error.to_string())));
        }
        self.rtc.change().disconnect();
    }

    fn fail_handshake(&mut self, why: String, now: Instant, events: &mut Vec<PeerEvent>) {
        if self.dtls.fail(now) {
            events.push(PeerEvent::Error(PeerError::Handshake(why)));
        }
    }

    /// Fails a handshake that takes too long.
    pub fn check_handshake(&mut self, timing: &Timing, now: Instant, events: &mut Vec<PeerEvent>) {
        if let Some(fault) = self.dtls.overdue(now, timing.handshake) {
            let limit = timing.handshake.as_secs();
            self.fail_handshake(format!("not finished within {limit} s{fault}"), now, events);
        }
    }

    /// Returns `true` if the handshake failed long enough ago to close the connection.
    pub fn is_expired(&self, timing: &Timing, now: Instant) -> bool {
        self.dtls.is_expired(now, timing.closed)
    }

    /// Starts closing. Returns the budget for [`next_goodbye`](Self::next_goodbye).
    pub fn close(&mut self) -> usize {
        match self.rtc.change().close() {
            Ok(()) => self.max_drain,
            Err(_) => 0,
        }
    }

    /// Returns the next datagram of the close messages.
    pub fn next_goodbye(&mut self, budget: &mut usize) -> Option<Outgoing> {
        while *budget > 0 && self.rtc.is_alive() {
            *budget -= 1;
            match self.rtc.change().poll_output() {
                Ok(str0m::Output::Transmit(transmit)) => {
                    return Some(Outgoing::from_core(transmit));
                }
                Ok(str0m::Output::Event(_)) => {}
                Ok(str0m::Output::Timeout(_)) | Err(_) => break,
            }
        }
        None
    }

    /// Closes the core without sending anything.
    pub fn disconnect(&mut self) {
        self.rtc.change().disconnect();
    }

    /// Clears everything, because the connection is closed.
    pub fn clear(&mut self) {
        self.early.clear();
        self.clock.deadline = None;
    }
}
