//! A participant: its peer, its sources, and the m-lines for the tracks of others.

use std::net::IpAddr;
use std::time::Instant;

use super::ids::{ParticipantId, SourceId};
use super::message::{Member, MemberState};
use super::source::Source;
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{
    Direction, MediaKind, PeerError, SignalingState, TransceiverConfig, TransceiverId,
};
use crate::server::http::WebSocketId;
use crate::server::limits::RateLimit;
use crate::server::token::Token;

/// An m-line for another participant's track. Those whose track is gone are kept inactive for the next one.
/// Descriptions therefore grow with the maximum number of participants only, and an m-line that others are bundled with
/// is never rejected.
#[derive(Debug)]
pub(super) struct Slot {
    pub transceiver: TransceiverId,
    pub kind: MediaKind,
    pub source: Option<SourceId>,
}

#[derive(Debug)]
pub(super) struct Participant {
    pub room: String,
    pub name: String,
    /// The client whose limits it counts against.
    pub client: IpAddr,
    /// Set once its peer has been connected.
    pub was_connected: bool,
    pub state: MemberState,
    pub peer: PeerId,
    /// Key for resuming.
    pub resume: Token,
    pub socket: Option<WebSocketId>,
    /// Time since which it has no socket.
    pub away_since: Option<Instant>,
    pub rate: RateLimit,
    /// Limit for offers: a change by one participant causes offers to all others.
    pub offers: RateLimit,
    pub sources: Vec<Source>,
    pub slots: Vec<Slot>,
    /// Time at which the unanswered offer was sent.
    pub offered_at: Option<Instant>,
    /// Set if an offer is to be sent as soon as possible.
    pub owes_offer: bool,
    /// Estimated capacity of its path, in bits per second; `None` if unknown.
    pub budget: Option<u64>,
    /// Rate it would receive with unlimited capacity.
    pub desired: u64,
}

impl Participant {
    pub fn member(&self, id: ParticipantId) -> Member<'_> {
        Member {
            id: id.to_string(),
            name: &self.name,
            state: self.state,
            away: self.socket.is_none(),
        }
    }

    pub fn source(&mut self, transceiver: TransceiverId) -> Option<&mut Source> {
        self.sources
            .iter_mut()
            .find(|s| s.transceiver == transceiver)
    }

    pub fn slot_source(&self, transceiver: TransceiverId) -> Option<SourceId> {
        let slot = self.slots.iter().find(|s| s.transceiver == transceiver)?;
        slot.source
    }

    /// Frees the m-lines of sources that are no longer wanted; returns those sources.
    pub fn release(
        &mut self,
        net: &mut EventLoop,
        is_wanted: impl Fn(SourceId) -> bool,
    ) -> Result<Vec<SourceId>, PeerError> {
        let mut peer = net.peer(self.peer).map_err(|_| PeerError::Closed)?;
        let mut released = Vec::new();
        for slot in &mut self.slots {
            if let Some(source) = slot.source.filter(|s| !is_wanted(*s)) {
                slot.source = None;
                peer.set_direction(slot.transceiver, Direction::Inactive)?;
                released.push(source);
            }
        }
        Ok(released)
    }

    /// Assigns an m-line to a source: one that both sides know to be inactive, or a new one.
    pub fn admit(
        &mut self,
        net: &mut EventLoop,
        source: SourceId,
        kind: MediaKind,
    ) -> Result<TransceiverId, PeerError> {
        let mut peer = net.peer(self.peer).map_err(|_| PeerError::Closed)?;
        let stream = source.owner.to_string();
        let track = match kind {
            MediaKind::Audio => format!("{stream}-audio"),
            MediaKind::Video => format!("{stream}-video"),
        };
        let free = self.slots.iter_mut().find(|slot| {
            slot.kind == kind
                && slot.source.is_none()
                && peer
                    .transceiver(slot.transceiver)
                    .is_some_and(|t| t.current_direction == Some(Direction::Inactive))
        });
        if let Some(slot) = free {
            peer.set_track_ids(slot.transceiver, &stream, &track)?;
            peer.set_direction(slot.transceiver, Direction::SendOnly)?;
            slot.source = Some(source);
            return Ok(slot.transceiver);
        }
        let config = TransceiverConfig::default().direction(Direction::SendOnly);
        let transceiver = peer.add_transceiver(kind, config.ids(stream, track))?;
        self.slots.push(Slot {
            transceiver,
            kind,
            source: Some(source),
        });
        Ok(transceiver)
    }

    /// Returns `true` if an offer can be created and delivered now.
    pub fn can_offer(&self, net: &mut EventLoop) -> bool {
        let peer = net.peer(self.peer);
        self.socket.is_some() && peer.is_ok_and(|p| p.signaling_state() == SignalingState::Stable)
    }
}
