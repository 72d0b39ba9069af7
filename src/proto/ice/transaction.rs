//! STUN transactions (RFC 8489 §6): ids and retransmission.

use std::time::{Duration, Instant};

use turn_types::stun::message::{MessageClass, MessageType, Method, TransactionId};

use crate::proto::random::Random;

/// Initial retransmission timeout over UDP (RFC 8489 §6.2.1).
pub(super) const RTO: Duration = Duration::from_millis(500);

/// Number of times that a request is sent over UDP: Rc of RFC 8489 §6.2.1.
const MAX_SENDS: u32 = 7;

/// Time to wait after the last transmission, in units of [`RTO`]: Rm.
const LAST_WAIT: u32 = 16;

/// Time to wait for an answer over TCP: Ti of RFC 8489 §6.2.2.
pub(super) const STREAM_WAIT: Duration = Duration::from_millis(39_500);

/// Source of transaction ids. Their 96 unpredictable bits keep others from answering in the server's place.
#[derive(Debug)]
pub(crate) struct TransactionIds(Random);

impl TransactionIds {
    /// Creates a source from the operating system's randomness, or from a seed for repeatable tests.
    pub fn new(seed: Option<u64>) -> Self {
        Self(Random::new(seed))
    }

    pub fn next(&mut self) -> TransactionId {
        let mut half = || u128::from(self.0.bits());
        TransactionId::from((half() << 64) | half())
    }
}

/// Returns the message type of a request.
pub(super) fn request_type(method: Method) -> MessageType {
    MessageType::from_class_method(MessageClass::Request, method)
}

/// Retransmission timer of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retransmit {
    sends: u32,
    next: Instant,
    stream: bool,
}

/// Action that is due for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Wait,
    /// Retransmit the request.
    Again,
    /// Give up: no answer has arrived.
    GiveUp,
}

impl Retransmit {
    /// Starts the timer of a request that is sent now. `stream`: over TCP, which retransmits by itself.
    pub fn new(stream: bool, now: Instant) -> Self {
        Self {
            sends: 1,
            next: now + if stream { STREAM_WAIT } else { RTO },
            stream,
        }
    }

    pub fn deadline(&self) -> Instant {
        self.next
    }

    pub fn on_time(&mut self, now: Instant) -> Due {
        if now < self.next {
            return Due::Wait;
        }
        if self.stream || self.sends >= MAX_SENDS {
            return Due::GiveUp;
        }
        self.sends += 1;
        let wait = if self.sends == MAX_SENDS {
            RTO * LAST_WAIT
        } else {
            RTO * (1 << (self.sends - 1))
        };
        // From now, not from when it was due: after a suspend not all repetitions must be sent at once.
        self.next = now + wait;
        Due::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_of_the_rfc() {
        let start = Instant::now();
        let mut r = Retransmit::new(false, start);
        let mut sent = vec![0];
        let end = loop {
            let now = r.deadline();
            let at = (now - start).as_millis();
            match r.on_time(now) {
                Due::Again => sent.push(at),
                Due::GiveUp => break at,
                Due::Wait => panic!("due at its deadline"),
            }
        };
        assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(end, 39_500);
    }

    #[test]
    fn a_stream_repeats_nothing() {
        let start = Instant::now();
        let mut r = Retransmit::new(true, start);
        assert_eq!(r.on_time(start + Duration::from_secs(39)), Due::Wait);
        assert_eq!(r.on_time(start + STREAM_WAIT), Due::GiveUp);
    }

    #[test]
    fn seeded_ids_repeat_and_others_do_not() {
        let ids = |seed| {
            let mut ids = TransactionIds::new(seed);
            [ids.next(), ids.next()]
        };
        assert_eq!(ids(Some(7)), ids(Some(7)));
        assert_ne!(ids(Some(7))[0], ids(Some(7))[1]);
        assert_ne!(ids(None), ids(None));
    }
}
