//! Validated addresses, and connection states derived from silence.
//!
//! ```text
//!             both descriptions                 a pair works
//!       New ───────────────────► Checking ────────────────────► Connected ⇄ Completed
//!                                   │                            │     ▲
//!                      30 s without │            5 s of silence  ▼     │ heard again
//!                            a path │                        Disconnected
//!                                   ▼                            │ 25 s more
//!                                Failed ◄────────────────────────┘
//!                                   │ 60 s without an ICE restart
//!                                   ▼
//!                                Closed
//! ```

use std::time::{Duration, Instant};

use super::super::ends::Ends;
use super::super::values::{IceConnectionState, Timing};

/// The ICE connection state, derived from the core's state and from received packets.
#[derive(Debug)]
pub(super) struct Connectivity {
    timing: Timing,
    core: IceConnectionState,
    /// When the current generation started to look for a path.
    since: Option<Instant>,
    /// When a validated address was last heard from in this generation.
    heard: Option<Instant>,
    /// When the remote peer last gave consent (RFC 7675): a verified response to one of our checks.
    consent: Option<Instant>,
    failed: Option<Instant>,
    path: Option<Path>,
    /// Address pairs with verified checks or responses in this generation.
    checked: Vec<Checked>,
    ice_lite: bool,
}

/// Maximum number of pairs remembered.
const MAX_CHECKED: usize = 8;

/// An address pair over which the remote peer has been verified.
#[derive(Debug, Clone, Copy)]
struct Checked {
    ends: Ends,
    at: Instant,
}

/// The address pair that carries data. Other pairs may still answer when it no longer does.
#[derive(Debug, Clone, Copy)]
struct Path {
    ends: Ends,
    /// When it is known to have been lost.
    lost: Option<Instant>,
    /// When anything last arrived on it, or when it was first used.
    heard: Instant,
    /// When data was last sent on it.
    sent: Instant,
}

impl Connectivity {
    pub fn new(timing: Timing, ice_lite: bool) -> Self {
        Self {
            timing,
            core: IceConnectionState::New,
            since: None,
            heard: None,
            consent: None,
            failed: None,
            path: None,
            checked: Vec::new(),
            ice_lite,
        }
    }

    pub fn core_state(&mut self, state: IceConnectionState) {
        self.core = state;
    }

    /// Starts the search for a path once both descriptions are set, or restarts it after an ICE restart.
    pub fn start(&mut self, now: Instant, restart: bool) {
        if self.since.is_none() || restart {
            self.since = Some(now);
            self.failed = None;
            if restart {
                self.consent = None;
                self.heard = None;
                self.path = None;
                self.checked = Vec::new();
            }
        }
    }

    /// Records that a packet arrived from a validated address on this pair.
    pub fn heard(&mut self, ends: Ends, now: Instant) {
        self.heard = Some(now);
        if let Some(path) = self.path.as_mut().filter(|p| p.ends == ends) {
            (path.heard, path.lost) = (now, None);
        }
    }

    /// Records a verified check or response on this pair.
    pub fn checked(&mut self, ends: Ends, now: Instant) {
        if let Some(known) = self.checked.iter_mut().find(|c| c.ends == ends) {
            known.at = now;
            return;
        }
        if self.checked.len() >= MAX_CHECKED {
            let oldest = (0..self.checked.len()).min_by_key(|i| self.checked[*i].at);
            self.checked.swap_remove(oldest.unwrap_or(0));
        }
        self.checked.push(Checked { ends, at: now });
    }

    /// Returns the pairs that work as far as is known, except this one.
    pub fn other_paths(&self, but: Ends, now: Instant) -> Vec<Ends> {
        let patience = self.timing.disconnected;
        let alive = self.checked.iter().filter(|c| now < c.at + patience);
        alive.map(|c| c.ends).filter(|ends| *ends != but).collect()
    }

    /// Records that this pair is lost because its stream is closed.
    pub fn lost(&mut self, ends: Ends, now: Instant) {
        self.checked.retain(|c| c.ends != ends);
        if let Some(path) = self.path.as_mut().filter(|p| p.ends == ends) {
            path.lost = Some(now);
        }
    }

    /// Records that data (not a check) is sent on this pair.
    pub fn sent(&mut self, ends: Ends, now: Instant) {
        match &mut self.path {
            Some(path) if path.ends == ends => path.sent = now,
            path => {
                *path = Some(Path {
                    ends,
                    lost: None,
                    heard: now,
                    sent: now,
                });
            }
        }
    }

    /// Returns `true` if data is sent on a pair from which nothing arrives. The core keeps the best pair that has
    /// worked until all its checks have timed out, even if others work.
    ///
    /// If no data was sent on the pair since it was lost, nothing is missed: another pair that has answered since is as
    /// good.
    fn is_path_silent(&self, now: Instant) -> bool {
        let silence = self.timing.disconnected;
        let has_other = |but: Ends, since: Instant| {
            let mut others = self.checked.iter().filter(|c| c.ends != but);
            others.any(|c| c.at > since && now < c.at + silence)
        };
        self.path.is_some_and(|p| match p.lost {
            Some(at) => p.sent > at || !has_other(p.ends, at),
            None => p.sent >= p.heard + silence,
        })
    }

    /// Records a verified response to one of our checks.
    pub fn consented(&mut self, now: Instant) {
        self.consent = Some(now);
    }

    pub fn is_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the state at this time, and the reason if it has just failed.
    pub fn evaluate(&mut self, now: Instant) -> (IceConnectionState, Option<String>) {
        use IceConnectionState as S;
        if self.failed.is_some() {
            return (S::Failed, None);
        }
        let Some(since) = self.since else {
            return (S::New, None);
        };
        let patience = self.timing.disconnected + self.timing.failed;
        let is_up = matches!(
            self.core,
            IceConnectionState::Connected | IceConnectionState::Completed
        );
        let Some(heard) = self.heard.filter(|_| is_up || self.consent.is_some()) else {
            if now >= since + patience {
                self.failed = Some(now);
                return (S::Failed, Some(no_path(patience)));
            }
            return (S::Checking, None);
        };
        // An ICE-lite peer sends no checks, so the remote peer's checks show consent.
        let consent = if self.ice_lite {
            heard
        } else {
            self.consent.unwrap_or(since)
        };
        if now >= heard + patience || now >= consent + patience {
            self.failed = Some(now);
            return (S::Failed, Some(silent(patience)));
        }
        if now >= heard + self.timing.disconnected || self.is_path_silent(now) {
            return (S::Disconnected, None);
        }
        match self.core {
            IceConnectionState::Completed => (S::Completed, None),
            IceConnectionState::Connected => (S::Connected, None),
            IceConnectionState::Disconnected => (S::Disconnected, None),
            // The core looks for a better pair after one has worked; that one still carries data. It never says
            // that it has failed or is closed.
            S::New | S::Checking | S::Failed | S::Closed => (S::Connected, None),
        }
    }

    /// Returns `true` if a failed connection has to be closed now.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.failed.is_some_and(|t| now >= t + self.timing.closed)
    }

    /// Returns the time at which the state may change without input.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if let Some(failed) = self.failed {
            return Some(failed + self.timing.closed);
        }
        let since = self.since?;
        let patience = self.timing.disconnected + self.timing.failed;
        let heard = self.heard.unwrap_or(since);
        let consent = if self.ice_lite {
            heard
        } else {
            self.consent.unwrap_or(since)
        };
        [
            heard + self.timing.disconnected,
            heard + patience,
            consent + patience,
            since + patience,
        ]
        .into_iter()
        .filter(|t| *t > now)
        .min()
    }
}

fn no_path(after: Duration) -> String {
    format!(
        "no path to the other side within {} s. Check that candidates reach it, and that a firewall \
         lets UDP through; between two NATs a TURN server may be needed",
        after.as_secs()
    )
}

fn silent(after: Duration) -> String {
    format!(
        "nothing heard from the other side for {} s (consent expired, RFC 7675)",
        after.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::net::Protocol;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1);
    const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 2);
    const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 3);

    const fn ends(local: SocketAddr, remote: SocketAddr) -> Ends {
        let protocol = Protocol::Udp;
        Ends {
            protocol,
            local,
            remote,
        }
    }

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn connected(t0: Instant) -> Connectivity {
        let mut c = Connectivity::new(Timing::default(), false);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::New);
        c.start(t0, false);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Checking);
        c.core_state(IceConnectionState::Connected);
        c.heard(ends(HERE, THERE), t0);
        c.consented(t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Connected);
        c
    }

    #[test]
    fn silence_disconnects_then_fails_then_closes() {
        let t0 = Instant::now();
        let mut c = connected(t0);
        assert_eq!(c.deadline(t0), Some(t0 + secs(5)));
        assert_eq!(c.evaluate(t0 + secs(5)).0, IceConnectionState::Disconnected);
        c.heard(ends(HERE, THERE), t0 + secs(6));
        assert_eq!(c.evaluate(t0 + secs(6)).0, IceConnectionState::Connected);
        let (state, why) = c.evaluate(t0 + secs(36));
        assert_eq!(state, IceConnectionState::Failed);
        assert!(why.unwrap().contains("30 s"));
        assert_eq!(
            c.evaluate(t0 + secs(37)),
            (IceConnectionState::Failed, None)
        );
        assert!(!c.is_expired(t0 + secs(95)));
        assert!(c.is_expired(t0 + secs(96)));
    }

    #[test]
    fn data_without_consent_is_not_enough() {
        let t0 = Instant::now();
        let mut c = connected(t0);
        for s in 1..30 {
            c.heard(ends(HERE, THERE), t0 + secs(s));
            assert_eq!(c.evaluate(t0 + secs(s)).0, IceConnectionState::Connected);
        }
        c.heard(ends(HERE, THERE), t0 + secs(30));
        assert_eq!(c.evaluate(t0 + secs(30)).0, IceConnectionState::Failed);
    }

    #[test]
    fn a_path_that_is_silent_is_no_path_though_others_answer() {
        let t0 = Instant::now();
        let mut c = Connectivity::new(Timing::default(), false);
        c.start(t0, false);
        c.core_state(IceConnectionState::Connected);
        for s in 0..20 {
            c.heard(ends(ELSEWHERE, THERE), t0 + secs(s));
            c.consented(t0 + secs(s));
            if s < 10 {
                c.heard(ends(HERE, THERE), t0 + secs(s));
            }
            c.sent(ends(HERE, THERE), t0 + secs(s));
            let is_up = c.evaluate(t0 + secs(s)).0 == IceConnectionState::Connected;
            assert_eq!(is_up, s < 14, "after {s} s");
        }
        // Data now takes the other path.
        c.sent(ends(ELSEWHERE, THERE), t0 + secs(20));
        c.heard(ends(ELSEWHERE, THERE), t0 + secs(20));
        let (state, _) = c.evaluate(t0 + secs(20));
        assert_eq!(state, IceConnectionState::Connected);
        // If nothing is sent, nothing is missed.
        c.heard(ends(THERE, HERE), t0 + secs(30));
        c.consented(t0 + secs(30));
        let (state, _) = c.evaluate(t0 + secs(30));
        assert_eq!(state, IceConnectionState::Connected);
    }

    #[test]
    fn paths_are_known_by_their_checks_until_a_restart() {
        let t0 = Instant::now();
        let mut c = connected(t0);
        c.checked(ends(HERE, THERE), t0);
        c.checked(ends(ELSEWHERE, THERE), t0 + secs(2));
        assert_eq!(
            c.other_paths(ends(HERE, THERE), t0),
            [ends(ELSEWHERE, THERE)]
        );
        assert_eq!(c.other_paths(ends(THERE, HERE), t0).len(), 2);
        let late = c.other_paths(ends(THERE, HERE), t0 + secs(6));
        assert_eq!(late, [ends(ELSEWHERE, THERE)], "one has been silent");
        for port in 0..100 {
            let there = SocketAddr::new(THERE.ip(), port);
            c.checked(ends(HERE, there), t0 + secs(3));
        }
        assert_eq!(c.checked.len(), MAX_CHECKED);
        c.start(t0 + secs(3), true);
        assert_eq!(c.other_paths(ends(THERE, HERE), t0 + secs(3)), []);
    }

    #[test]
    fn a_stream_that_is_gone_is_no_path_until_something_comes_again() {
        let t0 = Instant::now();
        let mut c = connected(t0);
        c.sent(ends(HERE, THERE), t0);
        c.lost(ends(ELSEWHERE, THERE), t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Connected);
        c.lost(ends(HERE, THERE), t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Disconnected);
        c.sent(ends(HERE, THERE), t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Disconnected);
        c.heard(ends(HERE, THERE), t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Connected);
        c.lost(ends(HERE, THERE), t0);
        c.sent(ends(ELSEWHERE, THERE), t0);
        assert_eq!(c.evaluate(t0).0, IceConnectionState::Connected);
    }

    /// Nothing is sent, so nothing shows that another stream has replaced the lost one.
    #[test]
    fn another_path_answers_in_place_of_one_that_is_gone() {
        let t0 = Instant::now();
        let mut c = connected(t0);
        c.sent(ends(HERE, THERE), t0);
        c.checked(ends(ELSEWHERE, THERE), t0);
        c.lost(ends(HERE, THERE), t0 + secs(1));
        let at = t0 + secs(1);
        assert_eq!(c.evaluate(at).0, IceConnectionState::Disconnected);
        c.checked(ends(ELSEWHERE, THERE), t0 + secs(2));
        let at = t0 + secs(2);
        assert_eq!(c.evaluate(at).0, IceConnectionState::Connected);
        c.sent(ends(HERE, THERE), at);
        assert_eq!(c.evaluate(at).0, IceConnectionState::Disconnected);
    }

    #[test]
    fn no_path_fails_and_a_restart_begins_anew() {
        let t0 = Instant::now();
        let mut c = Connectivity::new(Timing::default(), false);
        c.start(t0, false);
        assert_eq!(c.evaluate(t0 + secs(29)).0, IceConnectionState::Checking);
        let (state, why) = c.evaluate(t0 + secs(30));
        assert_eq!(state, IceConnectionState::Failed);
        assert!(why.unwrap().contains("no path"));
        c.start(t0 + secs(31), true);
        assert_eq!(c.evaluate(t0 + secs(31)).0, IceConnectionState::Checking);
    }
}
