//! Failures of schedules, and their minimization.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::{Report, Schedule};
use crate::proto::peer::panic_text;

/// A failure of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The panic message.
    pub message: String,
    /// File and line of the panic.
    pub place: String,
}

thread_local! {
    static QUIET: RefCell<Option<Failure>> = const { RefCell::new(None) };
    static IS_QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Plays a schedule; a failure is not printed.
///
/// # Errors
///
/// Returns the failure.
pub fn failure(schedule: &Schedule) -> Result<Report, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.with_borrow(|quiet| *quiet) {
                return before(info);
            }
            let place = info
                .location()
                .map(|l| format!("{}:{}", l.file(), l.line()));
            let failure = Failure {
                message: panic_text(info.payload()).unwrap_or("a panic").to_owned(),
                place: place.unwrap_or_default(),
            };
            QUIET.set(Some(failure));
        }));
    });
    IS_QUIET.set(true);
    let played = panic::catch_unwind(AssertUnwindSafe(|| schedule.play()));
    IS_QUIET.set(false);
    played.map_err(|_| {
        QUIET.take().unwrap_or(Failure {
            message: "a panic".into(),
            place: String::new(),
        })
    })
}

/// Returns the shortest and simplest schedule found in this time that fails at the same place.
///
/// Random values of DTLS and SCTP cannot be seeded, so not every schedule fails each time: each is played up to `tries`
/// times.
pub fn shrink(schedule: &Schedule, how: &Failure, tries: usize, time: Duration) -> Schedule {
    // The only use of real time in simulations: a person waits for the result.
    let end = Instant::now() + time;
    let mut shrinker = Shrinker {
        best: schedule.clone(),
        place: how.place.clone(),
        tries: tries.max(1),
        end,
    };
    // A simplification may make another step unnecessary.
    while shrinker.fewer() | shrinker.simpler() {
        if Instant::now() >= end {
            break;
        }
    }
    shrinker.best
}

struct Shrinker {
    best: Schedule,
    place: String,
    tries: usize,
    end: Instant,
}

impl Shrinker {
    /// Keeps this schedule if it fails as well.
    fn take(&mut self, schedule: Schedule) -> bool {
        let fails = (0..self.tries).any(|_| {
            Instant::now() < self.end && failure(&schedule).is_err_and(|f| f.place == self.place)
        });
        if fails {
            self.best = schedule;
        }
        fails
    }

    /// Removes steps, in large groups first.
    fn fewer(&mut self) -> bool {
        let mut found = false;
        let mut length = self.best.steps.len().div_ceil(2);
        while length > 0 {
            // From the end, where the steps after the failure are.
            let mut from = self.best.steps.len();
            while from > 0 {
                from = from.saturating_sub(length);
                let mut shorter = self.best.clone();
                let to = (from + length).min(shorter.steps.len());
                shorter.steps.drain(from..to);
                found |= self.take(shorter);
            }
            length = match length {
                1 => 0,
                n => n.div_ceil(2),
            };
        }
        found
    }

    /// Simplifies the remaining steps.
    fn simpler(&mut self) -> bool {
        let mut found = false;
        let mut again = true;
        while std::mem::take(&mut again) {
            for setup in self.best.setup.simpler() {
                let steps = self.best.steps.clone();
                if self.take(Schedule { setup, steps }) {
                    (again, found) = (true, true);
                    break;
                }
            }
        }
        for index in 0..self.best.steps.len() {
            let mut again = true;
            while std::mem::take(&mut again) {
                for step in self.best.steps[index].simpler() {
                    let mut simpler = self.best.clone();
                    simpler.steps[index] = step;
                    if self.take(simpler) {
                        (again, found) = (true, true);
                        break;
                    }
                }
            }
        }
        found
    }
}
