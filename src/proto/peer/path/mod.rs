//! The path to the remote peer: validated addresses, the candidate pair in use, and recovery when it goes silent.
//!
//! ```text
//!   gathering    our candidates          gate          addresses and streams that have proved themselves
//!   credentials  both sides'             connectivity  the ICE connection state
//!   streams      ICE over TCP            recovery      when to restart
//!                                        resend        what goes out again on a new path
//! ```
//!
//! The core provides the ICE agent. This module depends neither on the core nor on descriptions: it is told which
//! messages were verified, what is sent, and the results of negotiation.

mod checks;
mod connectivity;
mod credentials;
mod gate;
mod gathering;
mod names;
mod recovery;
mod resend;
mod streams;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::contract::{Output, Route};
use super::ends::Ends;
use super::outbox::Outbox;
use super::values::{IceConnectionState, PeerConfig, PeerError, PeerEvent};
use crate::proto::ice::{IceCredentials, ServerTransport};
use crate::proto::net::{NetworkChange, Protocol, Received, SocketId, SocketReply, Transmit};

pub(super) use self::checks::Understood;
use self::connectivity::Connectivity;
pub(super) use self::credentials::Credentials;
use self::gate::Gate;
pub(super) use self::gathering::{Found, Gathering};
use self::recovery::Recovery;
use self::resend::Resend;
use self::streams::Streams;

/// State of the path to the remote peer.
#[derive(Debug)]
pub(super) struct Path {
    gathering: Gathering,
    credentials: Credentials,
    gate: Gate,
    streams: Streams,
    errors: checks::Errors,
    connectivity: Connectivity,
    recovery: Recovery,
    resend: Resend,
    state: IceConnectionState,
    /// The pair that last carried outgoing data.
    in_use: Option<Ends>,
    traffic: Traffic,
}

/// Counters of accepted and dropped datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub datagrams_received: u64,
    pub bytes_received: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    pub unvalidated_dropped: u64,
    pub stun_rejected: u64,
    pub malformed_dropped: u64,
}

/// A STUN message with a valid signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verified {
    /// Set for a success response to one of our checks.
    pub is_success: bool,
    /// Set if it nominates its pair.
    pub nominates: bool,
}

impl Path {
    /// Creates the path. Nothing is gathered before [`Gathering::start`].
    pub fn new(
        config: &PeerConfig,
        creds: IceCredentials,
        out: &mut Outbox,
    ) -> Result<Self, PeerError> {
        Ok(Self {
            gathering: Gathering::new(config)?,
            credentials: Credentials::new(creds, out),
            gate: Gate::new(config.limits.max_validated_addresses),
            streams: Streams::default(),
            errors: checks::Errors::default(),
            connectivity: Connectivity::new(config.timing.clone(), config.ice_lite),
            recovery: Recovery::default(),
            resend: Resend::default(),
            state: IceConnectionState::New,
            in_use: None,
            traffic: Traffic::default(),
        })
    }

    pub fn gathering(&self) -> &Gathering {
        &self.gathering
    }

    pub fn gathering_mut(&mut self) -> &mut Gathering {
        &mut self.gathering
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub fn credentials_mut(&mut self) -> &mut Credentials {
        &mut self.credentials
    }

    pub fn state(&self) -> IceConnectionState {
        self.state
    }

    /// Returns the pair that last carried outgoing data.
    pub fn in_use(&self) -> Option<Ends> {
        self.in_use
    }

    /// Returns the protocol to the server of the relay at our end of the path, if there is one.
    pub fn relay_in_use(&self) -> Option<ServerTransport> {
        self.gathering.relay_transport(self.in_use?.local)
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the validated remote addresses.
    pub fn validated(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.gate.iter()
    }

    // Incoming.

    /// Counts a received datagram.
    pub fn count(&mut self, received: &Received<'_>) {
        self.traffic.datagrams_received += 1;
        self.traffic.bytes_received += received.contents.len() as u64;
    }

    /// Counts a datagram dropped as malformed.
    pub fn count_malformed(&mut self) {
        self.traffic.malformed_dropped += 1;
    }

    /// Counts a STUN message dropped because its signature is invalid.
    pub fn count_rejected(&mut self) {
        self.traffic.stun_rejected += 1;
    }

    /// Handles received data. Returns `true` if it is accepted: its source is validated.
    pub fn on_data(&mut self, received: &Received<'_>, now: Instant) -> bool {
        let ends = Ends::of(received);
        let is_in = self.gate.data(ends, now);
        if is_in {
            self.connectivity.heard(ends, now);
            self.resend.heard(ends);
        } else {
            self.traffic.unvalidated_dropped += 1;
        }
        is_in
    }

    /// Returns the message with a PRIORITY added, if it is a check with our password that has none.
    pub fn with_priority(
        &self,
        message: &[u8],
        hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
    ) -> Option<Vec<u8>> {
        let key = self.credentials.local().password.as_bytes();
        checks::with_priority(message, |data| hmac(key, data))
    }

    /// Answers a verified check that has unknown attributes.
    pub fn understand(
        &mut self,
        message: &[u8],
        hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
        now: Instant,
    ) -> Understood {
        let key = self.credentials.local().password.as_bytes();
        checks::understand(message, &mut self.errors, |data| hmac(key, data), now)
    }

    /// Handles a STUN message with a valid signature.
    pub fn on_verified(&mut self, ends: Ends, message: Verified, now: Instant, out: &mut Outbox) {
        self.connectivity.heard(ends, now);
        self.connectivity.checked(ends, now);
        if message.is_success {
            self.connectivity.consented(now);
            self.resend.answered(ends, now);
        }
        // Datagrams through a relay are routed by the relay's own socket.
        let is_relayed = self.gathering.is_relayed(ends.local);
        self.gate
            .proved(ends, message.nominates, is_relayed, now, out);
    }

    // Outgoing.

    /// Records that a nominating check of ours is sent on this pair.
    pub fn nominated(&mut self, ends: Ends, now: Instant) {
        self.gate.choose(ends, now);
    }

    /// Records that data is sent on this pair. Returns `false` if that is not allowed: consent has expired, and only
    /// checks may be sent to this address (RFC 7675 §5.1).
    pub fn data_leaves(&mut self, ends: Ends, now: Instant) -> bool {
        if self.connectivity.is_failed() {
            return false;
        }
        self.in_use = Some(ends);
        self.connectivity.sent(ends, now);
        true
    }

    /// Keeps a sent datagram, which may have to be repeated on another path.
    pub fn keep_for_resend(&mut self, contents: &[u8]) {
        self.resend.keep(contents);
    }

    /// Drops the kept datagrams: everything was acknowledged.
    pub fn forget_sent(&mut self) {
        self.resend.forget();
    }

    /// Returns the pairs that are known to work, except for this one.
    pub fn others(&self, but: Ends, now: Instant) -> Vec<Ends> {
        self.connectivity.other_paths(but, now)
    }

    /// Sends a datagram on this address pair, regardless of the core's choice: on a stream, through a relay, or
    /// directly. Returns `true` if a relay was used; [`Gathering`] then has to be polled.
    pub fn send(&mut self, ends: Ends, contents: Vec<u8>, now: Instant, out: &mut Outbox) -> bool {
        self.traffic.datagrams_sent += 1;
        self.traffic.bytes_sent += contents.len() as u64;
        if ends.protocol == Protocol::IceTcp {
            self.streams.send(ends, contents, now, out);
            return false;
        }
        let transmit = Transmit {
            protocol: ends.protocol,
            source: ends.local,
            destination: ends.remote,
            contents,
        };
        let is_relayed = self.gathering.send_relayed(&transmit, now);
        if !is_relayed {
            out.push(Output::Transmit(transmit));
        }
        is_relayed
    }

    /// Returns the datagrams to repeat and the pairs to use, if it is time.
    pub fn resend_due(&mut self, now: Instant) -> Option<(Vec<Ends>, Vec<Vec<u8>>)> {
        let ends = self.resend.due(now)?;
        if self.connectivity.is_failed() {
            return None;
        }
        // The first path that answered is not necessarily the one in use now.
        let is_another = |e: &Ends| *e != ends && self.resend.before() != Some(*e);
        let other = self.in_use.filter(is_another);
        let ways = other.into_iter().chain([ends]).collect();
        Some((ways, self.resend.kept()))
    }

    // Streams.

    /// Returns our end of a stream as the core knows it.
    pub fn base_of(&self, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.streams.base_of(local, remote)
    }

    /// Returns `true` if this is the socket of a stream.
    pub fn owns_stream(id: SocketId) -> bool {
        Streams::owns(id)
    }

    /// Registers a remote TCP candidate. Returns `false` if there are too many.
    pub fn add_remote_stream(&mut self, remote: SocketAddr) -> bool {
        self.streams.add_remote(remote)
    }

    /// Handles a verified check on a stream.
    pub fn stream_proved(&mut self, local: SocketAddr, remote: SocketAddr, out: &mut Outbox) {
        if self.gate.stream_proved(local, remote) {
            self.streams.proved(local, remote, out);
            out.push(Output::Route(Route::Stream(local, remote)));
        }
    }

    /// Handles the opening or closing of one of our streams.
    pub fn on_stream(&mut self, id: SocketId, reply: &SocketReply, now: Instant, out: &mut Outbox) {
        if let Some(gone) = self.streams.handle_socket(id, reply, now, out) {
            self.gate.stream_failed(gone.remote);
            self.connectivity.lost(gone, now);
        }
    }

    /// Handles the closing of a stream opened by the remote peer, which has to open another one from another address.
    pub fn on_stream_lost(&mut self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        self.gate.stream_lost(local, remote);
        self.connectivity.lost(Ends::of_stream(local, remote), now);
    }

    // Negotiation.

    /// Handles a completed negotiation. Returns `true` if ICE restarts.
    pub fn negotiated(
        &mut self,
        local: IceCredentials,
        remote: IceCredentials,
        now: Instant,
        out: &mut Outbox,
    ) -> bool {
        let is_restart = self.credentials.negotiated(local, remote, out);
        if is_restart {
            self.resend.arm(self.in_use);
            self.streams.restart(out);
        }
        self.connectivity.start(now, is_restart);
        is_restart
    }

    // State.

    /// Handles a state change of the core's ICE agent.
    pub fn core_state(&mut self, state: IceConnectionState) {
        self.connectivity.core_state(state);
    }

    /// Returns the state at this time, and the reason if it has just failed.
    pub fn evaluate(&mut self, now: Instant) -> (IceConnectionState, Option<String>) {
        self.connectivity.evaluate(now)
    }

    /// Sets the state, and reports a change.
    pub fn set_state(&mut self, state: IceConnectionState, out: &mut Outbox) {
        if self.state != state {
            self.state = state;
            if state == IceConnectionState::Disconnected {
                self.resend.arm(self.in_use);
            }
            out.event(PeerEvent::IceConnectionStateChange(state));
        }
    }

    /// Returns `true` if a failed connection has to be closed now.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.connectivity.is_expired(now)
    }

    /// Returns the next deadline. `patience`: duration of silence before ICE restarts.
    pub fn deadline(&self, patience: Option<Duration>, now: Instant) -> Option<Instant> {
        [
            self.connectivity.deadline(now),
            patience.and_then(|patience| self.recovery.due(self.state, patience)),
            self.resend.deadline(),
            self.gathering.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // Recovery.

    /// Returns `true` if ICE has to restart because of silence for `patience`.
    pub fn recovers_from_silence(&mut self, patience: Option<Duration>, now: Instant) -> bool {
        self.recovery.note(self.state, now);
        patience.is_some_and(|patience| self.recovery.try_now(self.state, patience, now))
    }

    /// Returns `true` if the path starts at one of our candidates, as needed by [`after_change`](Self::after_change).
    pub fn before_change(&self) -> bool {
        let at = self.in_use;
        at.is_some_and(|at| self.gathering.has(at.protocol, at.local))
    }

    /// Handles a network change that was passed to the gatherer. Returns `true` if ICE has to restart now. `has_begun`:
    /// gathering has restarted.
    pub fn after_change(
        &mut self,
        change: &NetworkChange<'_>,
        before: bool,
        has_begun: bool,
        may_restart: bool,
    ) -> bool {
        use IceConnectionState as Ice;
        let is_lost = |at: Ends| before && !self.gathering.has(at.protocol, at.local);
        let is_affected = match (self.in_use, self.state) {
            (_, Ice::Disconnected | Ice::Failed) => has_begun || change.slept,
            (Some(at), Ice::Connected | Ice::Completed) => {
                change.affects(at.local.ip()) || is_lost(at)
            }
            // Still in progress, with candidates being trickled.
            _ => change.slept,
        };
        let is_cut_off = self.gathering.is_cut_off();
        self.recovery.changed(is_affected, may_restart, is_cut_off)
    }

    /// Handles the loss of a relay that its server has forgotten. If data used it, the path is dead, and the remote
    /// peer has to be told of the new relay; silence would show that only after 5 s or more. Returns `true` if data
    /// used it.
    pub fn relay_lost(&mut self, address: SocketAddr, now: Instant) -> bool {
        let Some(at) = self.in_use.filter(|at| at.local == address) else {
            return false;
        };
        let protocol = Protocol::Udp;
        self.connectivity.lost(Ends { protocol, ..at }, now);
        true
    }

    /// Clears everything, because the connection is closed.
    pub fn clear(&mut self, out: &mut Outbox) {
        self.gate.clear();
        self.streams.clear(out);
        self.credentials.clear();
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> Vec<(&'static str, usize, usize)> {
        let mut counts = vec![self.credentials.audit(), self.gathering.audit()];
        counts.extend(self.gate.audit());
        counts
    }
}
