//! Sequence numbers of packets that come in order, but for what is lost or repeated.

/// Maximum forward jump within a stream (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// Place of a packet in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It follows the one before, or is the first.
    Next,
    /// This many packets are missing before it.
    Gap(u16),
    /// It came twice, too late or from nowhere.
    Drop,
    /// A new stream starts with it.
    Restart,
}

#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// SSRC, and the next number.
    next: Option<(u32, u16)>,
    /// Successor of a distant number: if it comes, the sender has restarted.
    suspect: Option<u16>,
}

impl Sequence {
    pub fn take(&mut self, ssrc: u32, number: u16) -> Step {
        let step = self.step(ssrc, number);
        if step == Step::Drop {
            self.suspect = Some(number.wrapping_add(1));
        } else {
            self.suspect = None;
            self.next = Some((ssrc, number.wrapping_add(1)));
        }
        step
    }

    fn step(&self, ssrc: u32, number: u16) -> Step {
        let Some((own, next)) = self.next else {
            return Step::Next;
        };
        if own != ssrc {
            return Step::Restart;
        }
        match number.wrapping_sub(next) {
            0 => Step::Next,
            distance @ 1..=MAX_DROPOUT => Step::Gap(distance),
            _ if self.suspect == Some(number) => Step::Restart,
            _ => Step::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let mut sequence = Sequence::default();
        let mut take = |number| sequence.take(7, number);
        assert_eq!([65_534, 65_535, 0].map(&mut take), [Step::Next; 3]);
        assert_eq!(take(3), Step::Gap(2));
        assert_eq!(
            [3, 1, 4].map(&mut take),
            [Step::Drop, Step::Drop, Step::Next]
        );
        // A stray one, and then a sender that has restarted.
        assert_eq!([30_000, 5].map(&mut take), [Step::Drop, Step::Next]);
        assert_eq!(
            [40_000, 40_001, 40_002].map(&mut take),
            [Step::Drop, Step::Restart, Step::Next]
        );
        assert_eq!(sequence.take(8, 1), Step::Restart);
        assert_eq!(sequence.take(8, 2), Step::Next);
    }
}
