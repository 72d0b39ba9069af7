//! State of the DTLS handshake.

use std::time::{Duration, Instant};

use super::super::values::{ConnectionState, IceConnectionState};

/// The state of the handshake.
#[derive(Debug)]
pub(in super::super) enum Dtls {
    /// The handshake is not complete.
    New {
        /// When ICE found the first path, so that the handshake could start.
        since: Option<Instant>,
        /// The last error that does not end the handshake, reported if it takes too long.
        fault: Option<String>,
    },
    /// The handshake is complete.
    Connected,
    /// An error has ended the handshake.
    Failed {
        /// When it ended.
        at: Instant,
    },
}

impl Dtls {
    pub fn new() -> Self {
        Self::New {
            since: None,
            fault: None,
        }
    }

    pub fn is_new(&self) -> bool {
        matches!(self, Self::New { .. })
    }

    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Starts the time limit of the handshake: there is a path.
    pub fn path_found(&mut self, now: Instant) {
        if let Self::New { since, .. } = self {
            since.get_or_insert(now);
        }
    }

    /// Stores an error that the handshake may survive.
    pub fn note(&mut self, error: String) {
        if let Self::New { fault, .. } = self {
            *fault = Some(error);
        }
    }

    /// Records that the handshake is complete; also after an unauthenticated error, which may have been forged.
    pub fn finish(&mut self) {
        *self = Self::Connected;
    }

    /// Ends an unfinished handshake. Returns `true` if there was one.
    pub fn fail(&mut self, now: Instant) -> bool {
        let is_new = self.is_new();
        if is_new {
            *self = Self::Failed { at: now };
        }
        is_new
    }

    /// Returns the last stored error, to be appended to a message, if the handshake has taken longer than `limit`.
    pub fn overdue(&self, now: Instant, limit: Duration) -> Option<String> {
        match self {
            Self::New {
                since: Some(since),
                fault,
            } if now >= *since + limit => {
                let fault = fault.as_ref().map(|f| format!(" (last error: {f})"));
                Some(fault.unwrap_or_default())
            }
            _ => None,
        }
    }

    /// Returns when the handshake times out, or when a failed one closes the connection.
    pub fn deadline(&self, limit: Duration, closed: Duration) -> Option<Instant> {
        match self {
            Self::New { since, .. } => since.map(|since| since + limit),
            Self::Connected => None,
            Self::Failed { at } => Some(*at + closed),
        }
    }

    /// Returns `true` if the handshake failed long enough ago to close the connection.
    pub fn is_expired(&self, now: Instant, closed: Duration) -> bool {
        matches!(self, Self::Failed { at } if now >= *at + closed)
    }

    /// Returns the connection state (W3C §4.3.3) that follows from this and the ICE state.
    pub fn connection_state(&self, ice: IceConnectionState) -> ConnectionState {
        use IceConnectionState as I;
        match (ice, self) {
            (I::Closed, _) => ConnectionState::Closed,
            (I::Failed, _) | (_, Self::Failed { .. }) => ConnectionState::Failed,
            (I::Disconnected, _) => ConnectionState::Disconnected,
            (I::New, _) => ConnectionState::New,
            (I::Connected | I::Completed, Self::Connected) => ConnectionState::Connected,
            (I::Checking | I::Connected | I::Completed, _) => ConnectionState::Connecting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const CLOSED: Duration = Duration::from_secs(60);

    #[test]
    fn a_handshake_is_late_only_once_there_is_a_path() {
        let t0 = Instant::now();
        let mut dtls = Dtls::new();
        assert_eq!(dtls.overdue(t0 + 2 * LIMIT, LIMIT), None);
        assert_eq!(dtls.deadline(LIMIT, CLOSED), None);
        dtls.path_found(t0);
        dtls.path_found(t0 + LIMIT);
        assert_eq!(dtls.deadline(LIMIT, CLOSED), Some(t0 + LIMIT));
        dtls.note("bad record".into());
        let why = dtls.overdue(t0 + LIMIT, LIMIT);
        assert_eq!(why.as_deref(), Some(" (last error: bad record)"));
        assert!(dtls.fail(t0 + LIMIT));
        assert!(!dtls.fail(t0 + 2 * LIMIT), "it fails once");
        assert_eq!(dtls.deadline(LIMIT, CLOSED), Some(t0 + LIMIT + CLOSED));
        assert!(!dtls.is_expired(t0 + CLOSED, CLOSED));
        assert!(dtls.is_expired(t0 + LIMIT + CLOSED, CLOSED));
    }

    #[test]
    fn a_forged_error_does_not_undo_a_finished_handshake() {
        let t0 = Instant::now();
        let mut dtls = Dtls::new();
        assert!(dtls.fail(t0));
        let state = |dtls: &Dtls| dtls.connection_state(IceConnectionState::Connected);
        assert_eq!(state(&dtls), ConnectionState::Failed);
        dtls.finish();
        assert_eq!(state(&dtls), ConnectionState::Connected);
        assert!(!dtls.fail(t0) && !dtls.is_expired(t0 + 2 * CLOSED, CLOSED));
        assert_eq!(dtls.deadline(LIMIT, CLOSED), None);
    }
}
