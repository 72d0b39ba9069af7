//! Failed sessions, kept for operators and for the client's next request.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use super::{Kind, SessionId};

/// Maximum number of failed sessions remembered; the oldest is dropped first.
const REMEMBERED: usize = 32;

/// Maximum length of a reason, in characters.
const LONGEST: usize = 400;

/// A failed session, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionFailure {
    /// Purpose of the session.
    pub kind: Kind,
    /// The stream.
    pub name: String,
    /// The client that created it.
    pub client: IpAddr,
    /// When it failed.
    pub at: Instant,
    /// The reason, as a sentence.
    pub why: String,
}

/// The latest failures, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<(SessionId, SessionFailure)>);

impl Failures {
    /// Stores the failure of a session; a later one replaces an earlier one.
    pub fn note(&mut self, id: SessionId, mut failure: SessionFailure) {
        if let Some((end, _)) = failure.why.char_indices().nth(LONGEST) {
            failure.why.truncate(end);
        }
        self.0.retain(|(known, _)| *known != id);
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((id, failure));
    }

    /// Returns the reason why this session failed.
    pub fn why(&self, id: SessionId) -> Option<&str> {
        let known = self.0.iter().find(|(known, _)| *known == id);
        known.map(|(_, failure)| failure.why.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &SessionFailure> + '_ {
        self.0.iter().map(|(_, failure)| failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(why: String) -> SessionFailure {
        SessionFailure {
            kind: Kind::Publish,
            name: "cam".to_owned(),
            client: [192, 0, 2, 9].into(),
            at: Instant::now(),
            why,
        }
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut failures = Failures::default();
        for n in 0..100 {
            failures.note(SessionId(n), failure(format!("{n} {}", "ä".repeat(1000))));
        }
        assert_eq!(failures.iter().count(), REMEMBERED);
        assert!(failures.iter().all(|f| f.why.chars().count() == LONGEST));
        assert!(failures.why(SessionId(99)).unwrap().starts_with("99 "));
        assert_eq!(failures.why(SessionId(0)), None);
        // One per session: the latest.
        failures.note(SessionId(99), failure("closed".to_owned()));
        assert_eq!(failures.iter().count(), REMEMBERED);
        assert_eq!(failures.why(SessionId(99)), Some("closed"));
    }
}
