//! Finding a new path without being asked: when networks change, and when the path goes silent.
//!
//! | what happened | what is done |
//! |---|---|
//! | a new address; the path still stands | candidates on it are trickled, in this generation |
//! | an address is gone that the path does not use | its candidates are not used any more |
//! | the path's address or relay is gone, the default route is another one, the machine slept | ICE restart |
//! | the same, and the machine has no address at all | ICE restart as soon as there is one: it is in the offer then |
//! | a change of any kind while there is no path | ICE restart |
//! | a TURN server has forgotten the relay that the path uses | ICE restart |
//! | *disconnected* for so long; then *failed* | ICE restart, once each |
//!
//! A restart is [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded), as after
//! [`Peer::restart_ice`]: the application makes an offer and carries it over. Until the new path is found
//! the old one is used, and channels keep what has not been acknowledged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Peer;
use super::connectivity::Ends;
use super::state::IceConnectionState as Ice;
use crate::proto::net::{NetworkChange, Protocol};

/// When silence is answered by an ICE restart.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Since when the path is silent.
    since: Option<Instant>,
    /// This outage has been answered while it was *disconnected*; while it was *failed*.
    tried: [bool; 2],
    /// The machine has no address. There will be a restart when it has one.
    cut_off: bool,
}

impl Recovery {
    /// Notes the state. `since` stays what it is during one outage.
    fn note(&mut self, state: Ice, now: Instant) {
        match state {
            Ice::Disconnected | Ice::Failed => _ = self.since.get_or_insert(now),
            Ice::Connected | Ice::Completed => (self.since, self.tried) = (None, [false; 2]),
            // A restart is under way.
            Ice::New | Ice::Checking | Ice::Closed => self.since = None,
        }
    }

    /// When to restart because of silence.
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
        // The gathering state is that of the generation that was signalled; what comes now is more of it.
        self.on_gathered();
        let is_lost =
            |local: SocketAddr| before == Some(true) && !self.has_gathered(protocol, local);
        let is_affected = match (local, self.ice_state) {
            (_, Ice::Disconnected | Ice::Failed) => has_begun || change.slept,
            (Some(local), Ice::Connected | Ice::Completed) => {
                change.affects(local.ip()) || is_lost(local)
            }
            // Still on the way, with candidates that are being trickled.
            _ => change.slept,
        };
        // An offer without candidates helps nobody, and who gets them one by one hears of them too late: see `younger`.
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

    /// A relay is gone, as its server has forgotten us. If data took it, nobody will answer there: the other side has
    /// to be told of the new one, which silence would say 5 s and more later.
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

    /// Restarts ICE if it has been silent for long enough.
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
        // Who made the last offer goes first, so that offers do not cross.
        let patience = match self.negotiation.is_offerer() {
            true => patience,
            false => patience * 2,
        };
        self.recovery.due(self.ice_state, patience)
    }

    /// Has the application make an offer with new credentials, if there is anything to restart.
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
        // The restart comes to nothing.
        r.note(Ice::Checking, t0 + s(3));
        r.note(Ice::Failed, t0 + s(33));
        assert_eq!(r.due(Ice::Failed, s(2)), Some(t0 + s(33)));
        r.tried[1] = true;
        r.note(Ice::Checking, t0 + s(34));
        r.note(Ice::Failed, t0 + s(64));
        assert_eq!(r.due(Ice::Failed, s(2)), None, "for ever it is not tried");
        // Back again: the next outage is another one.
        r.note(Ice::Connected, t0 + s(70));
        r.note(Ice::Disconnected, t0 + s(80));
        assert_eq!(r.due(Ice::Disconnected, s(2)), Some(t0 + s(82)));
    }
}
