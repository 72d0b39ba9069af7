//! SCTP packets that arrive before the answer.
//!
//! Data channels may be added to an established session. The answerer starts the association at once (RFC 8841 §9.3),
//! and its INIT overtakes its answer wherever signaling is slower than the path, which is usual. The core creates the
//! association from that INIT, and then ignores the maximum message size in the answer: it stays at 64 KiB forever.
//! DTLS datagrams are therefore held here until the answer arrives, or a time limit is over.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::net::{Protocol, Received};

/// Time limit. A lost INIT would be retransmitted after the same time (RFC 9260 §16).
const PATIENCE: Duration = Duration::from_secs(3);

/// Maximum number of datagrams held; further ones are dropped. They are an INIT and messages of the DTLS 1.3 handshake.
pub(in super::super) const MAX_HELD: usize = 32;

/// DTLS datagrams held until the answer arrives.
#[derive(Debug, Default)]
pub(in super::super) struct Early {
    held: VecDeque<Datagram>,
    /// When the first one arrived.
    since: Option<Instant>,
    /// Set if the answer was late and the core got the datagrams before it.
    given_up: bool,
}

/// A received datagram with its contents.
#[derive(Debug)]
pub(in super::super) struct Datagram {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
    contents: Vec<u8>,
}

impl Datagram {
    pub fn as_received(&self) -> Received<'_> {
        Received {
            protocol: self.protocol,
            source: self.source,
            destination: self.destination,
            contents: &self.contents,
        }
    }
}

impl Early {
    /// Returns the number of datagrams held.
    #[cfg(any(test, feature = "testing"))]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Returns the end of the time limit, if there are any.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }

    /// Returns `true` if the core has started an association without knowing the remote maximum message size.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Drops everything, because the connection is over.
    pub fn clear(&mut self) {
        self.held = VecDeque::new();
        self.since = None;
    }

    /// Holds a DTLS datagram (RFC 7983 §7), which may contain the INIT of an association whose answer is awaited.
    /// Returns `false` if it has to be passed to the core now.
    pub fn hold(&mut self, received: &Received<'_>, now: Instant) -> bool {
        let is_dtls = matches!(received.contents.first(), Some(20..=63));
        if !is_dtls || self.given_up {
            return false;
        }
        self.since.get_or_insert(now);
        if self.held.len() < MAX_HELD {
            self.held.push_back(Datagram {
                protocol: received.protocol,
                source: received.source,
                destination: received.destination,
                contents: received.contents.to_vec(),
            });
        }
        true
    }

    /// Returns the held datagrams, to be passed to the core, if there is no reason to hold them any longer. `awaits`:
    /// the answer has not arrived.
    pub fn release(&mut self, awaits: bool, now: Instant) -> Option<VecDeque<Datagram>> {
        let deadline = self.deadline()?;
        if awaits {
            if now < deadline {
                return None;
            }
            log::debug!("no answer for so long: data channels begin without it");
            self.given_up = true;
        }
        self.since = None;
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use crate::proto::peer::{
        ChannelConfig, ConnectionState, MediaKind, PeerError, PeerEvent, TransceiverConfig,
    };
    use crate::testing::{Link, Node, Simulation};

    /// Runs an audio session to which one side adds a data channel while signaling takes this long. Returns the maximum
    /// message size of both sides, and whether the largest message arrives.
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

    /// An INIT that overtakes the answer does not reduce the maximum message size.
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

    /// An answer after the time limit does reduce it, and the reported limit is true.
    #[test]
    fn the_answer_may_come_very_late() {
        for offerer in [0, 1] {
            let (limits, arrived) = late_channel(8_000, offerer);
            assert!(limits[0] == 64 * 1024 || limits[0] == 256 * 1024);
            assert!(arrived, "{limits:?}");
        }
        // The association of the DTLS server is started by the remote peer.
        let limits = [0, 1].map(|offerer| late_channel(8_000, offerer).0[0]);
        assert!(limits.contains(&(64 * 1024)), "{limits:?}");
    }
}
