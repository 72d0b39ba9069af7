//! Ids of participants and of their tracks.

use std::fmt;

use crate::proto::peer::TransceiverId;

/// Identifies a participant. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ParticipantId(pub u32);

impl fmt::Display for ParticipantId {
    /// Formats the id as it is used for stream ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// Identifies a source: a track of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId {
    pub owner: ParticipantId,
    pub transceiver: TransceiverId,
}
