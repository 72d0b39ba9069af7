//! Automatic recovery: ICE restarts after network changes, and when the path goes silent.
//!
//! | event | action |
//! |---|---|
//! | a new address; the path still works | its candidates are trickled in the current generation |
//! | an address that the path does not use is lost | its candidates are removed |
//! | the path's address or relay is lost, the default route has changed, or the machine was suspended | ICE restart |
//! | the same, and the machine has no address at all | ICE restart once there is one, so that the offer contains it |
//! | any change while there is no path | ICE restart |
//! | a TURN server has forgotten the relay that the path uses | ICE restart |
//! | *disconnected* for a configured time; then *failed* | ICE restart, once for each |
//!
//! A restart is reported as [`PeerEvent::NegotiationNeeded`](super::super::PeerEvent::NegotiationNeeded), as after
//! [`Peer::restart_ice`](super::super::Peer::restart_ice): the application creates an offer and signals it. Until a new
//! path is found the old one is used, and channels keep unacknowledged data.

use std::time::{Duration, Instant};

use super::super::values::IceConnectionState as Ice;

/// State of ICE restarts caused by silence.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Time since which the path has been silent.
    since: Option<Instant>,
    /// Set once this outage has caused a restart in *disconnected*, and in *failed*.
    tried: [bool; 2],
    /// Set while the machine has no address. A restart follows when it has one.
    cut_off: bool,
}

impl Recovery {
    /// Records the state. `since` is kept during one outage.
    pub fn note(&mut self, state: Ice, now: Instant) {
        match state {
            Ice::Disconnected | Ice::Failed => _ = self.since.get_or_insert(now),
            Ice::Connected | Ice::Completed => (self.since, self.tried) = (None, [false; 2]),
            // A restart is in progress.
            Ice::New | Ice::Checking | Ice::Closed => self.since = None,
        }
    }

    /// Returns when silence causes a restart.
    pub fn due(&self, state: Ice, patience: Duration) -> Option<Instant> {
        let since = self.since?;
        match state {
            Ice::Disconnected if !self.tried[0] => Some(since + patience),
            Ice::Failed if !self.tried[1] => Some(since),
            _ => None,
        }
    }

    /// Returns `true` if it is time to restart because of silence, and records the attempt.
    pub fn try_now(&mut self, state: Ice, patience: Duration, now: Instant) -> bool {
        let is_due = self.due(state, patience).is_some_and(|at| now >= at);
        if is_due {
            self.tried[usize::from(state == Ice::Failed)] = true;
        }
        is_due
    }

    /// Handles a network change. Returns `true` if ICE has to restart now. A machine without an address waits until it
    /// has one: an offer without candidates is of no use, and trickled candidates would arrive too late.
    pub fn changed(&mut self, is_affected: bool, may_restart: bool, is_cut_off: bool) -> bool {
        let was_cut_off = std::mem::take(&mut self.cut_off);
        let restarts = may_restart && (is_affected || was_cut_off);
        self.cut_off = restarts && is_cut_off;
        restarts && !is_cut_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_restart_for_disconnected_and_one_for_failed() {
        let t0 = Instant::now();
        let s = Duration::from_secs;
        let mut r = Recovery::default();
        r.note(Ice::Connected, t0);
        assert_eq!(r.due(Ice::Connected, s(2)), None);
        r.note(Ice::Disconnected, t0);
        r.note(Ice::Disconnected, t0 + s(1));
        assert_eq!(r.due(Ice::Disconnected, s(2)), Some(t0 + s(2)));
        assert!(!r.try_now(Ice::Disconnected, s(2), t0 + s(1)));
        assert!(r.try_now(Ice::Disconnected, s(2), t0 + s(2)));
        assert_eq!(r.due(Ice::Disconnected, s(2)), None);
        // The restart fails.
        r.note(Ice::Checking, t0 + s(3));
        r.note(Ice::Failed, t0 + s(33));
        assert_eq!(r.due(Ice::Failed, s(2)), Some(t0 + s(33)));
        assert!(r.try_now(Ice::Failed, s(2), t0 + s(33)));
        r.note(Ice::Checking, t0 + s(34));
        r.note(Ice::Failed, t0 + s(64));
        assert_eq!(r.due(Ice::Failed, s(2)), None, "for ever it is not tried");
        // Connected again: the next outage is a new one.
        r.note(Ice::Connected, t0 + s(70));
        r.note(Ice::Disconnected, t0 + s(80));
        assert_eq!(r.due(Ice::Disconnected, s(2)), Some(t0 + s(82)));
    }

    #[test]
    fn a_machine_without_an_address_restarts_when_it_has_one() {
        let mut r = Recovery::default();
        assert!(!r.changed(false, true, false), "the path still stands");
        assert!(!r.changed(true, true, true), "it has no address");
        assert!(!r.changed(false, true, true), "nor now");
        assert!(r.changed(false, true, false));
        assert!(!r.changed(false, true, false), "once");
        assert!(
            !r.changed(true, false, false),
            "the application does it itself"
        );
    }
}
