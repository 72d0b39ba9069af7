//! Which way media flows.

use std::fmt;
use std::time::Instant;

use super::super::Peer;
use super::super::error::PeerError;
use super::TransceiverId;
use super::config::check_id;

/// Which way media flows on an m-line (RFC 8829 §4.2.3), seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// From here.
    SendOnly,
    /// To here.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// Whether something goes out.
    pub fn is_sending(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether something comes in.
    pub fn is_receiving(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// As the other side sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::of(self.is_receiving(), self.is_sending())
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::of(
            self.is_sending() && other.is_sending(),
            self.is_receiving() && other.is_receiving(),
        )
    }

    /// With or without sending, receiving as it was.
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

    /// The direction that a line of SDP states.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        Some(match line.trim_end() {
            "a=sendrecv" => Self::SendRecv,
            "a=sendonly" => Self::SendOnly,
            "a=recvonly" => Self::RecvOnly,
            "a=inactive" => Self::Inactive,
            _ => return None,
        })
    }

    pub(super) fn to_core(self) -> str0m::media::Direction {
        use str0m::media::Direction as Core;
        match self {
            Self::SendRecv => Core::SendRecv,
            Self::SendOnly => Core::SendOnly,
            Self::RecvOnly => Core::RecvOnly,
            Self::Inactive => Core::Inactive,
        }
    }
}

impl fmt::Display for Direction {
    /// As in SDP.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        })
    }
}

impl Peer {
    /// Says that what is sent on a transceiver belongs to this stream, as this track, from the next negotiation on
    /// (W3C §5.2 `setStreams`). So an m-line that is not in use ([`Direction::Inactive`]) can be given to another
    /// source; it then gets another SSRC, too, without which Chromium shows nothing.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`] when an id is not 1 to 64 token characters; [`PeerError::NoSuchTransceiver`],
    /// [`PeerError::Closed`].
    pub fn set_track_ids(
        &mut self,
        transceiver: TransceiverId,
        stream: &str,
        track: &str,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        check_id(stream)?;
        check_id(track)?;
        let found = self.tracks.find(transceiver)?;
        if (&*found.stream_id, &*found.track_id) == (stream, track) {
            return Ok(());
        }
        (found.stream_id, found.track_id) = (stream.into(), track.into());
        found.preference += 1;
        let is_idle = !found.agreed.is_some_and(|a| a.current.is_sending());
        let mid = found.mid.filter(|_| is_idle && found.send_rids.is_empty());
        if let Some(mid) = mid {
            // The next offer declares another one.
            found.is_tuned = false;
            let mut api = self.rtc.direct_api();
            let ssrc = api.stream_tx_by_mid(mid, None).map(|stream| stream.ssrc());
            ssrc.map(|ssrc| api.remove_stream_tx(ssrc));
        }
        self.check_negotiation_needed();
        Ok(())
    }
}
