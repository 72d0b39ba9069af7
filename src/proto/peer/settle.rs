//! Settling: the steps of a peer after every input. The core is drained, channels feed it, the states are evaluated,
//! and events are queued.

use std::time::{Duration, Instant};

use super::core::{CoreEvent, Drain, NotApplied, Step};
use super::values::{ConnectionState, IceConnectionState, PeerError, PeerEvent};
use super::{MIN_TIMEOUT_STEP, Output, Peer};
use crate::proto::ice::Gatherer;

/// Maximum number of times that channels may feed the core per settling.
const MAX_FEEDS: usize = 64;

impl Peer {
    /// Passes the time to the core if its clock is behind, so that data sent now gets the right send time.
    pub(super) fn refresh_core_time(&mut self) {
        if self.core.lags(self.now) {
            self.settle();
            self.core_timeout();
            self.settle();
        }
    }

    /// Passes the time to the core.
    pub(super) fn core_timeout(&mut self) {
        self.core.timeout(self.now, &mut self.out.events);
    }

    /// Passes pending input to the core, drains it, lets channels feed it, evaluates the states, and queues the
    /// results. Cheap if nothing has changed.
    pub(super) fn settle(&mut self) {
        self.settle_core();
        if self.core.receive_joined(self.now, &mut self.out.events) {
            self.settle_core();
        }
        self.release_early();
    }

    /// Passes held datagrams to the core, if there is no reason to hold them any longer.
    fn release_early(&mut self) {
        let awaits = self.session.awaits_application();
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
            if !self
                .channels
                .settle(&mut self.core.channels(), events, self.now)
            {
                break;
            }
        }
        if self.channels.buffered() == 0 {
            self.path.forget_sent();
        }
        self.release_due();
        self.evaluate();
        self.out.flush_events();
    }

    /// Drains the core. Returns `false` if the peer was closed.
    fn drain(&mut self, drain: &mut Drain) -> bool {
        loop {
            let fingerprints = self.session.fingerprints();
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
            CoreEvent::Ice(state) => self.path.core_state(state),
            CoreEvent::Connected(version) => {
                self.stats.dtls_version = version;
                self.update_bound();
            }
            CoreEvent::ChannelOpen(id) => {
                let limits = &self.config.limits;
                self.channels
                    .on_open(&mut self.core.channels(), id, limits, events);
            }
            CoreEvent::ChannelMessage(message) => {
                self.stats.messages_received += 1;
                self.channels.on_message(message, events);
            }
            CoreEvent::ChannelClosed(id) => {
                self.channels
                    .on_closed(&mut self.core.channels(), id, events);
            }
            CoreEvent::RoundTrip(time) => self.stats.round_trip_time = time,
            CoreEvent::Media(event) => self.on_media_event(event),
        }
    }

    /// Handles the end of the core: closed by the remote peer, or by an error that was reported.
    fn on_core_dead(&mut self) {
        if self.core.has_failed() {
            // W3C §4.3.3: a failed handshake is "failed" before it is "closed".
            self.set_states(IceConnectionState::Failed, ConnectionState::Failed);
        }
        self.finish();
    }

    /// Closes this peer, and no other, if the core has panicked over a description: its state is unknown then.
    pub(super) fn applied<R>(&mut self, result: Result<R, NotApplied>) -> Result<R, PeerError> {
        result.map_err(|why| match why {
            NotApplied::Refused(error) => error,
            NotApplied::Panicked(why) => {
                self.die(why.clone());
                PeerError::Core(why)
            }
        })
    }

    /// Handles a fault of the core: closes this peer; others are not affected.
    fn die(&mut self, why: String) {
        crate::seldom::seldom!(error, "peer closed: {why}");
        self.out.event(PeerEvent::Error(PeerError::Core(why)));
        self.core.disconnect();
        self.finish();
    }

    /// Sends close messages and frees everything.
    pub(super) fn shut_down(&mut self) {
        let mut budget = self.core.close();
        while let Some(outgoing) = self.core.next_goodbye(&mut budget) {
            self.farewell(outgoing);
        }
        self.core.disconnect();
        self.finish();
    }

    /// Enters the last state. Only queued output is left.
    fn finish(&mut self) {
        let events = &mut self.out.events;
        self.channels.close_all(events);
        self.tracks.close(events);
        self.session.close(events);
        self.core.clear();
        self.path.clear(&mut self.out);
        self.set_states(IceConnectionState::Closed, ConnectionState::Closed);
        self.out.flush_events();
        self.path.gathering_mut().release(self.now);
        self.on_gathered();
        self.out.push(Output::CloseSocket(Gatherer::HOST_SOCKET));
    }

    /// Evaluates the ICE state and the connection state, and reports changes.
    fn evaluate(&mut self) {
        let (ice, why) = self.path.evaluate(self.now);
        if let Some(why) = why {
            self.out.event(PeerEvent::Error(PeerError::IceFailed(why)));
        }
        let timing = &self.config.timing;
        self.core
            .check_handshake(timing, self.now, &mut self.out.events);
        self.set_states(ice, self.core.connection_state(ice));
        let patience = self.patience();
        if self.path.recovers_from_silence(patience, self.now) {
            self.recover("nothing is heard from the other side");
        }
        let is_over = self.core.is_expired(&self.config.timing, self.now);
        if is_over || self.path.is_expired(self.now) {
            self.shut_down();
        }
    }

    fn set_states(&mut self, ice: IceConnectionState, state: ConnectionState) {
        self.path.set_state(ice, &mut self.out);
        if self.state != state {
            self.state = state;
            self.out.event(PeerEvent::ConnectionStateChange(state));
        }
    }

    /// Returns the duration of silence before ICE restarts; `None` if it does not. The side that made the last offer
    /// restarts first, so that offers do not collide.
    fn patience(&self) -> Option<Duration> {
        let patience = self.config.restart_after_disconnected?;
        Some(match self.session.is_offerer() {
            true => patience,
            false => patience * 2,
        })
    }

    /// Returns the next deadline of this peer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A deadline in the past was handled already; it must not cause a busy loop.
        let not_gone_by = |t: Instant| t.max(self.now + MIN_TIMEOUT_STEP);
        if self.is_closed() {
            return self.path.gathering().deadline().map(not_gone_by);
        }
        [
            self.core.deadline(&self.config.timing),
            self.tracks.due(),
            self.path.deadline(self.patience(), self.now),
            self.feedback.deadline(),
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

    /// A panic of the core closes this peer with the reason; the core is not used again.
    #[test]
    fn a_panic_over_a_description_closes_the_peer() {
        let now = Instant::now();
        let mut peer = Peer::new(PeerConfig::default(), now).unwrap();
        let result = peer.core.apply::<()>(|_| panic!("at {}", 96));
        let error = peer.applied(result).unwrap_err();
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
