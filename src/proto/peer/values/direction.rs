//! Direction of media.

use std::fmt;

/// Direction of media on an m-line (RFC 8829 §4.2.3), as seen from this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Send and receive.
    #[default]
    SendRecv,
    /// Send only.
    SendOnly,
    /// Receive only.
    RecvOnly,
    /// Neither send nor receive.
    Inactive,
}

impl Direction {
    /// Returns `true` if the direction includes sending.
    pub fn is_sending(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Returns `true` if the direction includes receiving.
    pub fn is_receiving(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns the direction as the remote peer sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::of(self.is_receiving(), self.is_sending())
    }

    /// Returns the directions that both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::of(
            self.is_sending() && other.is_sending(),
            self.is_receiving() && other.is_receiving(),
        )
    }

    /// Returns the direction with or without sending; receiving is unchanged.
    #[must_use]
    pub fn with_sending(self, sending: bool) -> Self {
        Self::of(sending, self.is_receiving())
    }

    fn of(sending: bool, receiving: bool) -> Self {
        match (sending, receiving) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Parses the direction in a line of SDP.
    pub(in super::super) fn from_line(line: &str) -> Option<Self> {
        Some(match line.trim_end() {
            "a=sendrecv" => Self::SendRecv,
            "a=sendonly" => Self::SendOnly,
            "a=recvonly" => Self::RecvOnly,
            "a=inactive" => Self::Inactive,
            _ => return None,
        })
    }
}

impl fmt::Display for Direction {
    /// Formats the direction as in SDP.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        })
    }
}
