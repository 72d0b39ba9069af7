//! Invariants: after each step, after recovery, and after the end.

use super::report::Report;
use super::world::World;
use crate::proto::net::Protocol;
use crate::proto::peer::{ConnectionState, PeerEvent};
use crate::testing::Link;

/// Maximum time for which a closed peer may continue to send, to release its allocations, in milliseconds.
const FAREWELL: u64 = 5_100;

/// Maximum timeouts per second of an idle peer: the core's bandwidth estimation causes most, about 60, and two more for
/// each padding datagram that it sends.
const QUIET_TIMEOUTS: u64 = 100;

impl World {
    /// Handles the events of the peers, and checks their state.
    pub(super) fn look(&mut self) {
        for side in 0..self.seats.len() {
            while let Some(event) = self.sim.next_event(self.seats[side].node) {
                assert!(
                    !self.seats[side].said_closed,
                    "an event after the last: {event:?}"
                );
                self.on_event(side, event);
            }
            self.look_at(side);
        }
        self.report.held = self.report.held.max(self.held());
    }

    /// Returns the number of bytes held by the simulation itself, to be subtracted from the total memory.
    fn held(&self) -> u64 {
        let messages = self.flows.list.iter().map(|f| f.held());
        let sum = messages.sum::<usize>() + self.sim.held();
        sum as u64 + self.media.held()
    }

    fn on_event(&mut self, side: usize, event: PeerEvent) {
        let other = Self::partner(side);
        self.report.count(&event);
        match event {
            PeerEvent::DataChannel(channel) => {
                let info = self.with(side, |p, _| p.channel(channel));
                // It may have closed meanwhile; then its label is unknown.
                match info {
                    Some(info) => self.flows.know(side, other, channel, &info.config),
                    None => self.flows.ignore(side, channel),
                }
            }
            PeerEvent::ChannelOpen(channel) => self.flows.opened(side, channel),
            PeerEvent::ChannelMessage { channel, message } => {
                self.report.messages += 1;
                self.flows.received(side, channel, &message);
                if let Some(to) = self.passes_to(side) {
                    self.pass_on_message(to, message);
                }
            }
            PeerEvent::ChannelClosed(channel) => self.flows.closed(side, channel),
            PeerEvent::Frame(frame) => {
                self.report.frames += 1;
                self.on_media(side, frame.rid.as_deref(), &frame.data);
                if let Some(to) = self.passes_to(side) {
                    self.pass_on_frame(side, to, &frame);
                }
            }
            PeerEvent::Packet(packet) => {
                self.report.packets += 1;
                self.on_media(side, packet.rid.as_deref(), &packet.payload);
                if let Some(to) = self.passes_to(side) {
                    self.pass_on_packet(side, to, &packet);
                }
            }
            PeerEvent::KeyframeRequest { .. } => {
                if let Some(to) = self.passes_to(side) {
                    self.pass_on_keyframe_request(to);
                }
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                self.seats[side].said_closed = true;
                self.seats[side].closed = Some(self.sim.elapsed_ms());
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let seat = &mut self.seats[side];
                let ufrag = candidate.username_fragment;
                if ufrag.is_some() && seat.ufrag != ufrag {
                    self.report.restarts += u64::from(seat.ufrag.is_some());
                    seat.ufrag = ufrag;
                }
            }
            _ => {}
        }
    }

    fn look_at(&mut self, side: usize) {
        let seat = &self.seats[side];
        let peer = self.sim.peer(seat.node);
        if let Err(why) = peer.audit() {
            panic!("{why}");
        }
        assert_eq!(
            peer.is_closed(),
            seat.said_closed,
            "closed without a word, or not closed"
        );
        let sent_at = self.sim.places[seat.node.0].sent_at;
        if let (Some(closed), Some(sent_at)) = (seat.closed, sent_at) {
            let ago = (self.sim.now() - sent_at).as_millis() as u64;
            let sent = self.sim.elapsed_ms().saturating_sub(ago);
            assert!(
                sent <= closed + FAREWELL,
                "closed at {closed} ms, and sends at {sent} ms"
            );
        }
        if self.is_up([side, Self::partner(side)]) {
            self.report.connected = 1;
            self.report.behind_nat |= u64::from(seat.behind_nat);
            self.report.lite |= u64::from(seat.lite);
            self.report.by_tcp |= u64::from(peer.stats().path_protocol == Some(Protocol::IceTcp));
            #[cfg(feature = "turn-server")]
            {
                self.report.relayed |= u64::from(peer.stats().relay_protocol.is_some());
            }
        }
    }

    /// Restores the network and waits until everything has been delivered, then closes all peers.
    pub(super) fn finish(mut self) -> Report {
        self.report.closed = u64::from(self.seats.iter().any(|s| s.closed.is_some()));
        self.settle();
        self.check_settled();
        self.end();
        let (streams, media_bytes) = self.media.sizes();
        (self.report.streams, self.report.media_bytes) = (streams, media_bytes);
        let Report {
            simulated_ms,
            simulation_steps,
            ..
        } = &mut self.report;
        (*simulated_ms, *simulation_steps) = (self.sim.elapsed_ms(), self.sim.steps());
        self.report
    }

    fn settle(&mut self) {
        self.sim.clear_filter();
        self.sim.set_link(Link::default());
        #[cfg(feature = "turn-server")]
        if let Some(turn) = &self.turn {
            turn.set_silent(false);
        }
        for seat in 0..self.seats.len() {
            self.sim.unplug(self.seats[seat].node, false);
        }
        // SCTP retries after 3, 6, 12, 24, 48, 60, 60 s, rarely so many times.
        for _ in 0..60 {
            self.run(4_000);
            self.look();
            if self.is_settled() {
                break;
            }
        }
    }

    /// Returns `true` if nothing more will happen by itself.
    fn is_settled(&self) -> bool {
        let sides = 0..self.seats.len();
        let is_final = |side: usize| {
            let state = self.state(side);
            let peer = self.sim.peer(self.seats[side].node);
            match state {
                ConnectionState::Closed => true,
                ConnectionState::Connected => peer.total_buffered_amount() == 0,
                ConnectionState::New => {
                    peer.signaling_state() == crate::proto::peer::SignalingState::Stable
                }
                _ => false,
            }
        };
        let all_received = || {
            let mut flows = self.flows.list.iter();
            flows.all(|f| {
                let is_done = !f.reliable || f.received == f.accepted;
                f.closed || is_done && self.flows.is_open(f.from, f.channel)
            })
        };
        sides.into_iter().all(is_final) && all_received()
    }

    fn check_settled(&mut self) {
        let pairs = (0..self.seats.len()).step_by(2);
        let pairs = pairs.map(|pair| [pair, pair + 1]);
        // All pairs together: time advances while one of them is checked.
        pairs.clone().for_each(|pair| self.check_pair(pair));
        for pair in pairs {
            if self.is_orderly && self.is_up(pair) {
                self.check_quiet(pair);
            }
        }
    }

    fn is_up(&self, sides: [usize; 2]) -> bool {
        let states = sides.map(|s| self.state(s));
        states == [ConnectionState::Connected; 2]
    }

    fn check_pair(&mut self, sides: [usize; 2]) {
        let states = sides.map(|s| self.state(s));
        let is_up = self.is_up(sides);
        if is_up && sides.iter().any(|s| self.seats[*s].slept) {
            self.report.woken += 1;
        }
        if self.is_orderly {
            let both_done = states.iter().all(|s| {
                matches!(
                    s,
                    ConnectionState::Connected | ConnectionState::Closed | ConnectionState::New
                )
            });
            let elapsed = self.elapsed_ms();
            assert!(
                both_done,
                "neither connected nor closed at {elapsed} ms: {states:?}"
            );
            let has_begun = sides.iter().any(|s| self.seats[*s].ufrag.is_some());
            if self.is_gentle && self.has_path && has_begun {
                assert!(is_up, "nothing was in the way, and {states:?}");
            }
        }
        if !(self.is_orderly && is_up) {
            return;
        }
        // The core reuses a stream before the remote peer has acknowledged its reset, and loses the channel created on
        // it (docs/upstream.md).
        let is_reused = !self.is_gentle && self.flows.any_closed();
        for flow in self.flows.list.iter().filter(|f| sides.contains(&f.from)) {
            let (sent, got) = (flow.accepted, flow.received);
            if flow.reliable && !flow.closed {
                let label = &flow.label;
                let of = |s: usize| self.sim.peer(self.seats[s].node).stats();
                assert!(
                    got == sent,
                    "{label}: {got} of {sent} came, and both sides are connected: {:?} {:?}",
                    of(flow.from),
                    of(flow.to)
                );
                let is_open = self.flows.is_open(flow.from, flow.channel);
                assert!(
                    is_open || is_reused,
                    "{label}: not open, and both sides are connected"
                );
            }
        }
    }

    /// Checks that idle peers are rarely woken.
    fn check_quiet(&mut self, sides: [usize; 2]) {
        let nodes = sides.map(|s| self.seats[s].node);
        let sent = |w: &Self, n| w.sim.peer(n).stats().datagrams_sent;
        let before = nodes.map(|n| (self.sim.timeouts(n), sent(self, n)));
        self.run(2_000);
        self.look();
        for (node, (timeouts, datagrams)) in nodes.into_iter().zip(before) {
            let count = self.sim.timeouts(node) - timeouts;
            let sent = sent(self, node) - datagrams;
            assert!(
                count <= 2 * QUIET_TIMEOUTS + 2 * sent,
                "woken {count} times in 2 s, for {sent} datagrams"
            );
        }
    }

    /// Checks that nothing is left after everything was closed.
    fn end(&mut self) {
        for side in 0..self.seats.len() {
            self.with(side, |p, now| p.close(now));
        }
        self.look();
        self.run(FAREWELL + 1_000);
        self.look();
        for seat in &self.seats {
            let next = self.sim.places[seat.node.0].peer.poll_output();
            let is_done = matches!(next, crate::proto::peer::Output::Timeout(None));
            assert!(is_done, "a closed peer still wants {next:?}");
        }
        #[cfg(feature = "turn-server")]
        if let Some(turn) = &self.turn {
            let left = turn.allocations();
            // A lost answer leaves an allocation that its client does not know of; it expires.
            if self.is_gentle {
                assert_eq!(left, 0, "allocations of closed peers");
            }
            if left > 0 {
                self.sim.run_for(601_000);
                let left = self.turn.as_ref().map_or(0, |t| t.allocations());
                assert_eq!(left, 0, "allocations that do not run out");
            }
        }
    }
}
