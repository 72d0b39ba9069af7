//! Datagrams, segments and signaling in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Instant;

use super::Node;

/// Maximum number of parcels in flight; more are dropped, as by a router whose queue is full.
pub(super) const MAX_IN_FLIGHT: usize = 100_000;

/// Something in flight.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parcel {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        contents: Vec<u8>,
    },
    /// A piece of a TCP stream.
    Piece {
        from: SocketAddr,
        to: SocketAddr,
        contents: Vec<u8>,
    },
    /// A segment of ICE-TCP.
    Tcp(Segment),
    Opened {
        node: Node,
        id: u32,
        local: SocketAddr,
    },
    Description {
        to: Node,
        kind: &'static str,
        sdp: String,
    },
    Candidate {
        to: Node,
        line: String,
        ufrag: Option<String>,
    },
}

impl Parcel {
    /// Returns its approximate size in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Datagram { contents, .. } | Self::Piece { contents, .. } => contents.len(),
            Self::Tcp(segment) => segment.size(),
            Self::Description { sdp, .. } => sdp.len(),
            Self::Opened { .. } | Self::Candidate { .. } => 200,
        }
    }
}

/// A segment on its way to an end of a connection, or from a STUN server.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    Syn(usize),
    SynAck(usize),
    GiveUp(usize),
    Message(usize, usize, Vec<u8>),
    Retry(usize, usize),
    Reset(usize, usize),
    Answer(usize, u32, Vec<u8>),
}

impl Segment {
    /// Returns the number of bytes that it carries.
    pub fn size(&self) -> usize {
        match self {
            Self::Message(_, _, contents) | Self::Answer(_, _, contents) => contents.len(),
            _ => 0,
        }
    }
}

/// Parcels in flight, ordered by arrival, then by sending.
#[derive(Default)]
pub(super) struct Transit {
    parcels: BinaryHeap<Reverse<(Instant, u64, Parcel)>>,
    sequence: u64,
}

impl Transit {
    /// Sends a parcel that arrives at this time.
    pub fn post(&mut self, at: Instant, parcel: Parcel) {
        if self.parcels.len() < MAX_IN_FLIGHT {
            self.sequence += 1;
            self.parcels.push(Reverse((at, self.sequence, parcel)));
        }
    }

    /// Returns when the next parcel arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.parcels.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next parcel.
    pub fn pop(&mut self) -> Option<Parcel> {
        self.parcels.pop().map(|Reverse((_, _, parcel))| parcel)
    }

    /// Returns the memory that all parcels take, in bytes.
    pub fn bytes(&self) -> usize {
        let size = |entry: &Reverse<(Instant, u64, Parcel)>| entry.0.2.size() + size_of_val(entry);
        self.parcels.iter().map(size).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn parcels_arrive_by_time_then_in_order_and_have_a_limit() {
        let mut transit = Transit::default();
        let start = Instant::now();
        let parcel = |port: u16| Parcel::Datagram {
            from: ([10, 0, 0, 1], port).into(),
            to: ([10, 0, 0, 2], 1).into(),
            contents: vec![0; 10],
        };
        let later = start + Duration::from_millis(1);
        transit.post(later, parcel(1));
        transit.post(start, parcel(3));
        transit.post(start, parcel(2));
        assert_eq!(transit.next_at(), Some(start));
        assert!(transit.bytes() >= 30);
        let all: Vec<Parcel> = std::iter::from_fn(|| transit.pop()).collect();
        assert_eq!(all, [parcel(3), parcel(2), parcel(1)]);
        (0..=MAX_IN_FLIGHT).for_each(|_| transit.post(start, parcel(1)));
        assert_eq!(std::iter::from_fn(|| transit.pop()).count(), MAX_IN_FLIGHT);
    }
}
