//! Contents of the next offer, and whether the application was told that one is needed (W3C WebRTC §4.7.3).

use super::PeerEvent;

/// Contents of the next offer besides channels and tracks. `O` is the core's part of an offer.
#[derive(Debug)]
pub(super) struct Wanted<O> {
    /// Additions of a rolled-back offer.
    pub additions: Option<O>,
    /// Set if it has to restart ICE.
    pub restart: bool,
    /// Set once negotiation needed was reported to the application.
    is_reported: bool,
}

impl<O> Default for Wanted<O> {
    fn default() -> Self {
        Self {
            additions: None,
            restart: false,
            is_reported: false,
        }
    }
}

impl<O> Wanted<O> {
    /// Reports that negotiation is needed, for this or for `others`, unless that was reported.
    pub fn check(&mut self, others: bool, events: &mut Vec<PeerEvent>) {
        let is_needed = self.additions.is_some() || others;
        if is_needed && !self.is_reported {
            events.push(PeerEvent::NegotiationNeeded);
        }
        self.is_reported = is_needed;
    }

    /// Lets a need that persists be reported again.
    pub fn report_again(&mut self) {
        self.is_reported = false;
    }

    /// Returns `true` if a need was reported and still applies.
    pub fn is_reported(&self) -> bool {
        self.is_reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_reported_once_until_it_is_met() {
        let (mut wanted, mut events) = (Wanted::default(), Vec::new());
        wanted.check(false, &mut events);
        assert!(events.is_empty() && !wanted.is_reported());
        wanted.additions = Some("the core's part");
        wanted.check(false, &mut events);
        wanted.check(true, &mut events);
        assert_eq!(events, [PeerEvent::NegotiationNeeded]);
        wanted.additions = None;
        wanted.check(false, &mut events);
        assert!(!wanted.is_reported());
        wanted.check(true, &mut events);
        wanted.report_again();
        wanted.check(true, &mut events);
        assert_eq!(events.len(), 3);
    }
}
