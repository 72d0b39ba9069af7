//! What the other side sends of SCTP before its answer is here.
//!
//! Data channels may come into a session that is up already. The side that answers begins the association at once
//! (RFC 8841 §9.3), and its INIT overtakes its answer wherever signaling is slower than the path, which is nearly
//! everywhere. The core makes the association of that INIT, and then passes over what the answer says of the largest
//! message: 64 KiB it is for ever. So DTLS waits here until the answer is there, or has been waited for long enough.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Dtls, Peer};
use crate::proto::net::{Protocol, Received};

/// How long. A lost INIT would be sent again after as long (RFC 9260 §16).
const PATIENCE: Duration = Duration::from_secs(3);

/// Datagrams that wait; more are dropped. It is an INIT, and what DTLS 1.3 says of its own handshake.
pub(super) const MAX_HELD: usize = 32;

/// DTLS datagrams that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Early {
    held: VecDeque<(Protocol, SocketAddr, SocketAddr, Vec<u8>)>,
    /// When the first came.
    since: Option<Instant>,
    /// The answer did not come: the core has had them before it.
    given_up: bool,
}

impl Early {
    /// Datagrams that wait.
    #[cfg(any(test, feature = "testing"))]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Until when, if there are any.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }

    /// Whether the core has begun an association without knowing what the other side takes.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// The connection is over.
    pub fn clear(&mut self) {
        self.held = VecDeque::new();
        self.since = None;
    }
}

impl Peer {
    /// Keeps a datagram of DTLS (RFC 7983 §7) if an answer with data channels is waited for. Whether it was kept.
    pub(super) fn hold_early(&mut self, received: &Received<'_>) -> bool {
        let is_dtls = matches!(received.contents.first(), Some(20..=63));
        if !is_dtls || self.dtls != Dtls::Connected || !self.negotiation.awaits_application() {
            return false;
        }
        if self.early.given_up {
            return false;
        }
        self.early.since.get_or_insert(self.now);
        if self.early.held.len() < MAX_HELD {
            let (source, destination) = (received.source, received.destination);
            let contents = received.contents.to_vec();
            let datagram = (received.protocol, source, destination, contents);
            self.early.held.push_back(datagram);
        }
        true
    }

    /// Gives the core what has waited, if it has nothing to wait for any more.
    pub(super) fn release_early(&mut self) {
        let Some(deadline) = self.early.deadline() else {
            return;
        };
        if self.negotiation.awaits_application() {
            if self.now < deadline {
                return;
            }
            log::debug!("no answer for so long: data channels begin without it");
            self.early.given_up = true;
        }
        self.early.since = None;
        for (protocol, source, destination, contents) in std::mem::take(&mut self.early.held) {
            self.settle();
            if self.is_closed() {
                return;
            }
            self.core_receive(&Received {
                protocol,
                source,
                destination,
                contents: &contents,
            });
        }
        self.settle();
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use crate::proto::peer::{
        ChannelConfig, ConnectionState, MediaKind, PeerError, PeerEvent, TransceiverConfig,
    };
    use crate::testing::{Link, Node, Simulation};

    /// A session of sound, into which one side brings a data channel while signaling takes so long. What the sides then
    /// take for the largest message, and whether the largest message arrives.
    fn late_channel(signaling_ms: u64, offerer: usize) -> ([usize; 2], bool) {
        let mut sim = Simulation::new(3, Link::default().delay(5, 0));
        let (a, b) = sim.pair();
        let kind = MediaKind::Audio;
        let track = TransceiverConfig::default();
        sim.with(a, |p, now| p.add_track(kind, track, now)).unwrap();
        let is_up = |sim: &Simulation, n: Node| {
            sim.peer(n).connection_state() == ConnectionState::Connected
        };
        assert!(sim.run_until(30_000, |sim| is_up(sim, a) && is_up(sim, b)));
        sim.signaling_ms = signaling_ms;
        let from = [a, b][offerer];
        let to = [b, a][offerer];
        let config = ChannelConfig::new("late");
        let channel = sim.with(from, |p, now| p.create_data_channel(config, now));
        let channel = channel.unwrap();
        let is_open = |sim: &Simulation| {
            let info = sim.peer(from).channels();
            info.len() == 1 && sim.peer(to).channels().len() == 1
        };
        assert!(sim.run_until(60_000, is_open));
        sim.run_for(10_000);
        let limits = [from, to].map(|n| sim.peer(n).max_message_size());
        let message = vec![7; limits[0]];
        sim.with(from, |p, now| p.send_binary(channel, &message, now))
            .unwrap();
        let more = vec![7; limits[0] + 1];
        let refused = sim.with(from, |p, now| p.send_binary(channel, &more, now));
        assert!(matches!(refused, Err(PeerError::MessageTooLarge { .. })));
        sim.run_for(10_000);
        let mut arrived = false;
        while let Some(event) = sim.next_event(to) {
            if let PeerEvent::ChannelMessage { message: m, .. } = event {
                arrived |= m.as_bytes() == message;
            }
        }
        (limits, arrived)
    }

    /// An INIT that overtakes the answer does not make messages smaller.
    #[test]
    fn the_answer_may_come_late() {
        for offerer in [0, 1] {
            for signaling in [0, 100, 1_000] {
                let (limits, arrived) = late_channel(signaling, offerer);
                assert_eq!(limits, [256 * 1024; 2], "{signaling} ms");
                assert!(arrived);
            }
        }
    }

    /// One that comes later than anybody waits does; what is said to be the limit is one.
    #[test]
    fn the_answer_may_come_very_late() {
        for offerer in [0, 1] {
            let (limits, arrived) = late_channel(8_000, offerer);
            assert!(limits[0] == 64 * 1024 || limits[0] == 256 * 1024);
            assert!(arrived, "{limits:?}");
        }
        // Whoever is the DTLS server finds itself begun by the other.
        let limits = [0, 1].map(|offerer| late_channel(8_000, offerer).0[0]);
        assert!(limits.contains(&(64 * 1024)), "{limits:?}");
    }
}
