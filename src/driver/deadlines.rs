//! Deadlines of many machines, in a heap.
//!
//! A busy peer changes its deadline with every packet, usually to a later time. A heap entry is therefore added only if
//! the deadline becomes earlier than the one in the heap; an entry that is popped too early is pushed again with the
//! current deadline.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines of machines, which are identified by small numbers.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    wanted: Option<Instant>,
    /// The earliest entry of this machine in the heap.
    scheduled: Option<Instant>,
}

impl Deadlines {
    /// Sets the deadline of machine `index`, replacing the previous one.
    pub fn set(&mut self, index: usize, at: Option<Instant>) {
        if index >= self.slots.len() {
            if at.is_none() {
                return;
            }
            self.slots.resize(index + 1, Slot::default());
        }
        let slot = &mut self.slots[index];
        slot.wanted = at;
        let Some(at) = at else { return };
        if slot.scheduled.is_none_or(|s| at < s) {
            slot.scheduled = Some(at);
            self.heap.push(Reverse((at, index)));
            self.compact();
        }
    }

    /// Returns the time at which a machine may be due. Never too late, possibly too early.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns a machine that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, index))) = self.heap.peek().copied() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let slot = &mut self.slots[index];
            if slot.scheduled != Some(at) {
                continue;
            }
            slot.scheduled = None;
            match slot.wanted {
                Some(wanted) if wanted <= now => {
                    slot.wanted = None;
                    return Some(index);
                }
                Some(wanted) => {
                    slot.scheduled = Some(wanted);
                    self.heap.push(Reverse((wanted, index)));
                }
                None => {}
            }
        }
        None
    }

    /// Rebuilds the heap if it has many obsolete entries, which otherwise stay until their time.
    fn compact(&mut self) {
        if self.heap.len() <= 64 + 4 * self.slots.len() {
            return;
        }
        self.heap.clear();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.scheduled = slot.wanted;
            if let Some(at) = slot.wanted {
                self.heap.push(Reverse((at, index)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn wakes_in_order_and_once() {
        let t = Instant::now();
        let mut d = Deadlines::default();
        d.set(1, Some(t + ms(20)));
        d.set(0, Some(t + ms(10)));
        assert_eq!(d.next(), Some(t + ms(10)));
        assert_eq!(d.pop_due(t + ms(9)), None);
        assert_eq!(d.pop_due(t + ms(20)), Some(0));
        assert_eq!(d.pop_due(t + ms(20)), Some(1));
        assert_eq!(d.pop_due(t + ms(99)), None);
        assert_eq!(d.next(), None);
    }

    #[test]
    fn a_deadline_that_moved_later_does_not_fire_early() {
        let t = Instant::now();
        let mut d = Deadlines::default();
        d.set(0, Some(t + ms(10)));
        d.set(0, Some(t + ms(50)));
        assert_eq!(d.pop_due(t + ms(10)), None);
        assert_eq!(d.next(), Some(t + ms(50)));
        d.set(0, Some(t + ms(30)));
        assert_eq!(d.pop_due(t + ms(30)), Some(0));
        assert_eq!(d.pop_due(t + ms(60)), None);
    }

    #[test]
    fn one_that_wants_nothing_is_left_alone() {
        let t = Instant::now();
        let mut d = Deadlines::default();
        d.set(7, None);
        d.set(3, Some(t + ms(1)));
        d.set(3, None);
        assert_eq!(d.pop_due(t + ms(9)), None);
    }

    #[test]
    fn restless_deadlines_do_not_pile_up() {
        let t = Instant::now();
        let mut d = Deadlines::default();
        for i in 0..100_000u64 {
            d.set(0, Some(t + ms(1_000_000 - i)));
        }
        assert!(d.heap.len() <= 70, "{}", d.heap.len());
        assert_eq!(d.pop_due(t + ms(1_000_000)), Some(0));
    }
}
