//! Settling: what a peer does after everything that touches it. The core is drained, channels feed it, the states are
//! worked out, and events are told.

use std::time::Instant;

use str0m::{Rtc, RtcError};

use super::core::{CoreEvent, Drain, NotApplied, Step};
use super::error::PeerError;
use super::negotiation::bad_sdp;
use super::state::{ConnectionState, IceConnectionState, PeerEvent};
use super::{MIN_TIMEOUT_STEP, Output, Peer};
use crate::proto::ice::Gatherer;
use crate::proto::ice::tcp::TcpPaths;

/// How often in a row channels may feed the core that has just been drained.
const MAX_FEEDS: usize = 64;

impl Peer {
    /// Tells the core the time if it has not been told for a while, so that what is sent now is not timed from then.
    pub(super) fn refresh_core_time(&mut self) {
        if self.core.lags(self.now) {
            self.settle();
            self.core_timeout();
            self.settle();
        }
    }

    /// Tells the core the time.
    pub(super) fn core_timeout(&mut self) {
        self.core.timeout(self.now, &mut self.out.events);
    }

    /// Gives the core what has come, drains it, lets channels feed it, works out the states, and queues
    /// what came of it. Cheap when nothing has changed.
    pub(super) fn settle(&mut self) {
        self.settle_core();
        if self.core.receive_joined(self.now, &mut self.out.events) {
            self.settle_core();
        }
        self.release_early();
    }

    /// Gives the core what has waited for an answer, if it has nothing to wait for any more.
    fn release_early(&mut self) {
        let awaits = self.negotiation.awaits_application();
        let Some(held) = self.core.early().release(awaits, self.now) else {
            return;
        };
        for datagram in held {
            self.settle();
            if self.is_closed() {
                return;
            }
            let received = datagram.as_received();
            self.core.receive(&received, self.now, &mut self.out.events);
        }
        self.settle();
    }

    fn settle_core(&mut self) {
        if self.is_closed() {
            return;
        }
        let Some(mut drain) = self.core.drain(self.now, &mut self.out.events) else {
            return;
        };
        for _ in 0..MAX_FEEDS {
            if !self.drain(&mut drain) {
                return;
            }
            let events = &mut self.out.events;
            if !self.channels.settle(&mut self.core, events, self.now) {
                break;
            }
        }
        if self.channels.buffered() == 0 {
            self.resend.forget();
        }
        self.release_due();
        self.evaluate();
        self.out.flush_events();
    }

    /// Returns false when the peer did not survive it.
    fn drain(&mut self, drain: &mut Drain) -> bool {
        loop {
            let fingerprints = self.negotiation.fingerprints();
            let events = &mut self.out.events;
            match self.core.step(drain, fingerprints, self.now, events) {
                Step::Transmit(outgoing) => self.on_transmit(outgoing),
                Step::Event(event) => self.on_core_event(event),
                Step::Drained => return true,
                Step::Dead => {
                    self.on_core_dead();
                    return false;
                }
                Step::Endless(limit) => {
                    self.die(format!(
                        "the core gave {limit} outputs without coming to an end"
                    ));
                    return false;
                }
            }
        }
    }

    fn on_core_event(&mut self, event: CoreEvent) {
        let events = &mut self.out.events;
        match event {
            CoreEvent::Ice(state) => self.connectivity.core_state(state),
            CoreEvent::Connected(version) => {
                self.stats.dtls_version = version;
                self.update_bound();
            }
            CoreEvent::ChannelOpen(id) => {
                let limits = &self.config.limits;
                self.channels.on_open(&mut self.core, id, limits, events);
            }
            CoreEvent::ChannelData(data) => {
                self.stats.messages_received += 1;
                self.channels
                    .on_data(data.id, data.binary, data.data, events);
            }
            CoreEvent::ChannelClosed(id) => self.channels.on_closed(&mut self.core, id, events),
            CoreEvent::RoundTrip(time) => self.stats.round_trip_time = time,
            CoreEvent::Media(event) => self.on_media_event(event),
        }
    }

    /// The core is dead: closed by the other side, or by a fault that has been reported.
    fn on_core_dead(&mut self) {
        if self.core.has_failed() {
            // W3C §4.3.3: a failed handshake is "failed" before it is "closed".
            self.set_states(IceConnectionState::Failed, ConnectionState::Failed);
        }
        self.finish();
    }

    /// Has the core apply a description that was found sound. What it had not thought of is the end of this peer, and
    /// of nothing else: nobody knows what has become of the core then.
    pub(super) fn apply<R>(
        &mut self,
        body: impl FnOnce(&mut Rtc) -> Result<R, RtcError>,
    ) -> Result<R, PeerError> {
        self.core.apply(body).map_err(|why| match why {
            NotApplied::Refused(error) => bad_sdp(error),
            NotApplied::Panicked(why) => {
                self.die(why.clone());
                PeerError::Core(why)
            }
        })
    }

    /// A fault of the core itself: this peer is over, the others are not touched.
    fn die(&mut self, why: String) {
        crate::seldom::seldom!(error, "peer closed: {why}");
        self.out.event(PeerEvent::Error(PeerError::Core(why)));
        self.core.disconnect();
        self.finish();
    }

    /// Says goodbye and frees everything.
    pub(super) fn shut_down(&mut self) {
        let mut budget = self.core.close();
        while let Some(outgoing) = self.core.next_goodbye(&mut budget) {
            self.farewell(outgoing);
        }
        self.core.disconnect();
        self.finish();
    }

    /// The last state. Only outputs are left.
    fn finish(&mut self) {
        let events = &mut self.out.events;
        self.channels.close_all(events);
        self.tracks.close(events);
        self.negotiation.close(events);
        self.pending.clear();
        self.core.clear();
        self.validated.clear();
        self.validated_tcp.clear();
        self.close_streams(TcpPaths::clear);
        self.gathered = Vec::new();
        self.names.clear();
        self.ufrags.clear();
        self.remote_creds = None;
        self.set_states(IceConnectionState::Closed, ConnectionState::Closed);
        self.out.flush_events();
        self.gatherer.release(self.now);
        self.on_gathered();
        self.out.push(Output::CloseSocket(Gatherer::HOST_SOCKET));
    }

    /// Works out the ICE and the connection state, and says what has changed.
    fn evaluate(&mut self) {
        let (ice, why) = self.connectivity.evaluate(self.now);
        if let Some(why) = why {
            self.out.event(PeerEvent::Error(PeerError::IceFailed(why)));
        }
        let timing = &self.config.timing;
        self.core
            .check_handshake(timing, self.now, &mut self.out.events);
        self.set_states(ice, self.core.connection_state(ice));
        self.recover_from_silence();
        let is_over = self.core.is_expired(&self.config.timing, self.now);
        if is_over || self.connectivity.is_expired(self.now) {
            self.shut_down();
        }
    }

    fn set_states(&mut self, ice: IceConnectionState, state: ConnectionState) {
        if self.ice_state != ice {
            self.ice_state = ice;
            if ice == IceConnectionState::Disconnected {
                self.resend.arm(self.path_in_use());
            }
            self.out.event(PeerEvent::IceConnectionStateChange(ice));
        }
        if self.state != state {
            self.state = state;
            self.out.event(PeerEvent::ConnectionStateChange(state));
        }
    }

    /// When this peer next wants to be woken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A time gone by has been dealt with; it must not make a busy loop.
        let not_gone_by = |t: Instant| t.max(self.now + MIN_TIMEOUT_STEP);
        if self.is_closed() {
            return self.gatherer.deadline().map(not_gone_by);
        }
        [
            self.core.deadline(&self.config.timing),
            self.tracks.due(),
            self.connectivity.deadline(self.now),
            self.recovery_deadline(),
            self.resend.deadline(),
            self.feedback.deadline(),
            self.gatherer.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(not_gone_by)
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proto::peer::PeerConfig;

    /// What the core had not thought of ends this peer with its reason; nothing of it is used again.
    #[test]
    fn a_panic_over_a_description_closes_the_peer() {
        let now = Instant::now();
        let mut peer = Peer::new(PeerConfig::default(), now).unwrap();
        let error = peer.apply::<()>(|_| panic!("at {}", 96)).unwrap_err();
        assert_eq!(error, PeerError::Core("the description: at 96".into()));
        assert_eq!(peer.create_offer(now).unwrap_err(), PeerError::Closed);
        let mut told = Vec::new();
        loop {
            match peer.poll_output() {
                Output::Event(event) => told.push(event),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        assert!(told.contains(&PeerEvent::Error(error)), "{told:?}");
        assert_eq!(peer.connection_state(), ConnectionState::Closed);
    }
}
