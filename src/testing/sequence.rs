//! Schedules: short programs of actions by applications, networks and unauthenticated sources on two or four peers, a
//! TURN server and NATs, in simulated time.
//!
//! A [`Schedule`] can be created from a seed, from a fuzzer's bytes or from text, and converted back to bytes and text.
//! Invariants are checked while it is [played](Schedule::play) and at its end; a violation panics. [`shrink()`]
//! minimizes a failing schedule.

mod channels;
mod check;
mod field;
mod forward;
mod media;
mod report;
mod setup;
mod shrink;
mod step;
mod tracks;
mod world;

use std::fmt;
use std::str::FromStr;

use self::step::{Setup, Step};
use self::world::World;
use super::bytes::Bytes;
use crate::testing::Rng;

pub use self::report::Report;
pub use self::shrink::{Failure, failure, shrink};

/// Maximum number of steps per schedule; further ones are not read.
const MAX_STEPS: usize = 400;

/// A setup, and the steps performed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    setup: Setup,
    steps: Vec<Step>,
}

impl Schedule {
    /// Decodes a schedule from a fuzzer's bytes; all input is valid.
    pub fn from_bytes(data: &[u8]) -> Self {
        let mut bytes = Bytes(data);
        let setup = Setup::decode(&mut bytes);
        let mut steps = Vec::new();
        while !bytes.is_empty() && steps.len() < MAX_STEPS {
            steps.push(Step::decode(&mut bytes));
        }
        Self { setup, steps }
    }

    /// Encodes the schedule as bytes. Numbers in its text that no bytes represent are replaced by similar ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.setup.encode(&mut out);
        for step in &self.steps {
            step.encode(&mut out);
        }
        out
    }

    /// Generates the schedule of this seed; most are short.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5e90_ce5e);
        let longest = [12, 25, 25, 50, 120][rng.below(5) as usize];
        let count = 3 + rng.below(longest);
        let data: Vec<u8> = (0..40 + count * 100)
            .map(|_| rng.next_u64() as u8)
            .collect();
        let mut schedule = Self::from_bytes(&data);
        schedule.steps.truncate(count as usize);
        schedule
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns `true` if there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Plays the schedule to its end.
    ///
    /// # Panics
    ///
    /// Panics if an invariant is violated.
    pub fn play(&self) -> Report {
        let mut world = World::new(&self.setup);
        for step in &self.steps {
            log::debug!("{:6} ms: {step}", world.elapsed_ms());
            world.step(step);
        }
        world.finish()
    }
}

/// Formats the schedule as a program: a line for the setup, and one per step.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setup)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Parses a program. Empty lines, and comments after `#`, are ignored.
impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(n, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (n + 1, line)
        });
        let mut lines = lines.filter(|(_, line)| !line.is_empty());
        let at = |n: usize| move |why: String| format!("line {n}: {why}");
        let (n, first) = lines.next().ok_or("an empty program")?;
        let setup = Setup::read(first).map_err(at(n))?;
        let steps = lines
            .map(|(n, line)| Step::read(line).map_err(at(n)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { setup, steps })
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests;
