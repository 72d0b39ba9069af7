//! Automatic search for a new path: after network changes, and when the path becomes silent.
//!
//! | situation | reaction |
//! |---|---|
//! | a new address, and the path still works | candidates on it are trickled, in the current generation |
//! | an address that the path does not use is gone | its candidates are removed |
//! | the path's address or relay is gone, the default route changed, or the machine was suspended | ICE restart |
//! | the same, and the machine has no address at all | ICE restart as soon as there is one, so that the offer contains it |
//! | any change while there is no path | ICE restart |
//! | a TURN server has lost the relay that the path uses | ICE restart |
//! | *disconnected* for some time, then *failed* | ICE restart, once each |
//!
//! A restart is requested with [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded), as by
//! [`Peer::restart_ice`]: the application creates an offer and sends it. Until the new path is found the old one is
//! used, and channels keep what was not acknowledged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Peer;
use super::ends::Ends;
use super::state::IceConnectionState as Ice;
use crate::proto::net::{NetworkChange, Protocol};

/// ICE restarts because of silence.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Time since which the path has been silent.
    since: Option<Instant>,
    /// Whether this outage was answered in *disconnected*, and in *failed*.
    tried: [bool; 2],
    /// Set while the machine has no address. A restart follows when it has one.
    cut_off: bool,
}

impl Recovery {
    /// Records the state. `since` is kept during one outage.
    fn note(&mut self, state: Ice, now: Instant) {
        match state {
            Ice::Disconnected | Ice::Failed => _ = self.since.get_or_insert(now),
            Ice::Connected | Ice::Completed => (self.since, self.tried) = (None, [false; 2]),
            // A restart is in progress.
            Ice::New | Ice::Checking | Ice::Closed => self.since = None,
        }
    }

    /// Returns when to restart because of silence.
    fn due(&self, state: Ice, patience: Duration) -> Option<Instant> {
        let since = self.since?;
        match state {
            Ice::Disconnected if !self.tried[0] => Some(since + patience),
            Ice::Failed if !self.tried[1] => Some(since),
            _ => None,
        }
    }
}

impl Peer {
    pub(super) fn on_network_changed(&mut self, change: &NetworkChange<'_>) {
        let local = self.stats.path.map(|(local, _)| local);
        let protocol = self.stats.path_protocol.unwrap_or(Protocol::Udp);
        let before = local.map(|l| self.has_gathered(protocol, l));
        let has_begun = self.gatherer.network_changed(change, self.now);
        // The gathering state is that of the signaled generation, to which this adds.
        self.on_gathered();
        let is_lost =
            |local: SocketAddr| before == Some(true) && !self.has_gathered(protocol, local);
        let is_affected = match (local, self.ice_state) {
            (_, Ice::Disconnected | Ice::Failed) => has_begun || change.slept,
            (Some(local), Ice::Connected | Ice::Completed) => {
                change.affects(local.ip()) || is_lost(local)
            }
            // Still in progress, with candidates being trickled.
            _ => change.slept,
        };
        // An offer without candidates is useless, and a peer that gets them one by one gets them too late: see
        // `younger`.
        let was_cut_off = std::mem::take(&mut self.recovery.cut_off);
        if !(is_affected || was_cut_off) || !self.config.restart_on_network_change {
            return;
        }
        if self.gatherer.is_cut_off() {
            self.recovery.cut_off = true;
        } else {
            self.recover("the network has changed");
        }
    }

    fn has_gathered(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.position_gathered(protocol, address).is_some()
    }

    /// Handles a relay lost because its server no longer knows us. If it carried data, nobody will answer there: the
    /// remote peer has to learn the new one, which would take 5 s and more of silence otherwise.
    pub(super) fn on_relay_lost(&mut self, address: SocketAddr) {
        let path = self.stats.path.filter(|(local, _)| *local == address);
        let Some((local, remote)) = path.filter(|_| !self.is_closed()) else {
            return;
        };
        let protocol = Protocol::Udp;
        let ends = Ends {
            protocol,
            local,
            remote,
        };
        self.connectivity.lost(ends, self.now);
        if self.config.restart_after_disconnected.is_some() {
            self.recover("the relay that data was sent from is gone");
        }
    }

    /// Restarts ICE if the path has been silent long enough.
    pub(super) fn recover_from_silence(&mut self) {
        self.recovery.note(self.ice_state, self.now);
        if self.recovery_deadline().is_none_or(|at| self.now < at) {
            return;
        }
        let index = usize::from(self.ice_state == Ice::Failed);
        self.recovery.tried[index] = true;
        self.recover("nothing is heard from the other side");
    }

    pub(super) fn recovery_deadline(&self) -> Option<Instant> {
        let patience = self.config.restart_after_disconnected?;
        // The side that made the last offer goes first, so that offers do not collide.
        let patience = match self.negotiation.is_offerer() {
            true => patience,
            false => patience * 2,
        };
        self.recovery.due(self.ice_state, patience)
    }

    /// Requests an offer with new credentials from the application, if there is anything to restart.
    fn recover(&mut self, why: &str) {
        if self.remote_creds.is_none() {
            return;
        }
        log::debug!("{why}: ICE is to be restarted");
        self.negotiation.restart_wanted = true;
        self.check_negotiation_needed();
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
        r.tried[0] = true;
        assert_eq!(r.due(Ice::Disconnected, s(2)), None);
        // The restart fails.
        r.note(Ice::Checking, t0 + s(3));
        r.note(Ice::Failed, t0 + s(33));
        assert_eq!(r.due(Ice::Failed, s(2)), Some(t0 + s(33)));
        r.tried[1] = true;
        r.note(Ice::Checking, t0 + s(34));
        r.note(Ice::Failed, t0 + s(64));
        assert_eq!(r.due(Ice::Failed, s(2)), None, "for ever it is not tried");
        // Connected again: the next outage is a new one.
        r.note(Ice::Connected, t0 + s(70));
        r.note(Ice::Disconnected, t0 + s(80));
        assert_eq!(r.due(Ice::Disconnected, s(2)), Some(t0 + s(82)));
    }
}
