//! Names of participants and of the tracks they send.

use std::fmt;

use crate::proto::peer::TransceiverId;

/// Names a participant. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ParticipantId(pub u32);

impl fmt::Display for ParticipantId {
    /// As its streams are called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// Names a track that somebody sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId {
    pub owner: ParticipantId,
    pub transceiver: TransceiverId,
}
