//! Messages of pages, and offers to them.

use std::time::Instant;

use super::Rooms;
use super::ids::ParticipantId;
use super::message::{self, FromPage};
use crate::driver::EventLoop;
use crate::proto::peer::{PeerError, SignalingState};

impl Rooms {
    /// Handles a message of a page.
    pub(super) fn on_message(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        message: FromPage,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        match message {
            FromPage::Answer(answer) => {
                let Ok(mut peer) = net.peer(participant.peer) else {
                    return;
                };
                if peer.signaling_state() != SignalingState::HaveLocalOffer {
                    // The answer to an offer that was sent twice.
                    return;
                }
                participant.offered_at = None;
                if let Err(why) = peer.set_remote_description(answer) {
                    log::info!("{id}: its answer is not taken: {why}");
                    self.stats.bad_messages += 1;
                    return self.remove(net, id, 1008, "the answer is not taken", now);
                }
                self.offer_if_owed(net, id, now);
            }
            FromPage::Candidate(candidate) => {
                let Ok(mut peer) = net.peer(participant.peer) else {
                    return;
                };
                if let Err(why) = peer.add_ice_candidate(candidate.as_ref()) {
                    log::debug!("{id}: a candidate is not taken: {why}");
                }
            }
            FromPage::State(state) => {
                if std::mem::replace(&mut participant.state, state) != state {
                    self.lists.note(&participant.room, now);
                }
            }
            FromPage::Renegotiate => {
                participant.owes_offer = true;
                self.offer_if_owed(net, id, now);
            }
            FromPage::Restart => {
                if let Ok(mut peer) = net.peer(participant.peer) {
                    // A closed peer is reported by its own event.
                    let _ = peer.restart_ice();
                }
            }
            FromPage::Leave => self.remove(net, id, 1000, "left", now),
            FromPage::Unknown(event) => log::debug!("{id}: the event {event:?} is unknown"),
        }
    }

    /// Sends an offer, or schedules one for when that is possible.
    pub(super) fn offer(&mut self, net: &mut EventLoop, id: ParticipantId, now: Instant) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.owes_offer = true;
        if !participant.can_offer(net) || !participant.offers.allows(now) {
            return;
        }
        let offer = net
            .peer(participant.peer)
            .map_err(|_| PeerError::Closed)
            .and_then(|mut peer| peer.negotiate());
        match offer {
            Ok(offer) => {
                participant.owes_offer = false;
                participant.offered_at = Some(now);
                self.send(id, message::offer(&offer));
            }
            Err(why) => {
                crate::seldom::seldom!(warn, "{id}: no offer can be made: {why}");
                self.remove(net, id, 1011, "no offer can be made", now);
            }
        }
    }

    /// Sends an offer if one is owed and can be made.
    pub(super) fn offer_if_owed(&mut self, net: &mut EventLoop, id: ParticipantId, now: Instant) {
        if self.participants.get(&id).is_some_and(|p| p.owes_offer) {
            self.offer(net, id, now);
        }
    }
}
