//! Log lines that others can cause at any rate: the first ones are all written, later ones ever more rarely.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of lines that a place in the code writes before it starts leaving some out.
const ALWAYS: u64 = 8;

/// Counts how often a place in the code wanted to log.
#[derive(Debug)]
pub(crate) struct Times(AtomicU64);

/// The number of a line, appended to it. The first ones are not numbered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Number(u64);

impl Times {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Increments the count. Returns the line's number if it should be written: it is one of the first 8, or a power of
    /// two.
    pub fn count(&self) -> Option<Number> {
        let times = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (times <= ALWAYS || times.is_power_of_two()).then_some(Number(times))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..=ALWAYS => Ok(()),
            times => write!(f, " ({times} times so far)"),
        }
    }
}

/// Logs, at this level, what clients can cause: `seldom!(warn, "room {room}: {why}")`. A flood of a million
/// writes 25 lines.
macro_rules! seldom {
    ($level:ident, $($text:tt)+) => {{
        static TIMES: $crate::seldom::Times = $crate::seldom::Times::new();
        if let Some(number) = TIMES.count() {
            log::$level!("{}{number}", format_args!($($text)+));
        }
    }};
}
pub(crate) use seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_lines_are_few() {
        let times = Times::new();
        let written: Vec<String> = (0..1_000_000)
            .filter_map(|_| times.count())
            .map(|number| number.to_string())
            .collect();
        assert_eq!(written.len(), 8 + 16);
        assert_eq!(written[7], "");
        assert_eq!(written[8], " (16 times so far)");
        assert_eq!(written[23], " (524288 times so far)");
    }
}
