//! Initial configuration of a transceiver, and its validation.

use super::super::error::PeerError;
use super::{Codec, Codecs, Direction, MediaKind};

/// Initial configuration of a transceiver (W3C `RTCRtpTransceiverInit`).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TransceiverConfig {
    /// Wanted direction. Default: [`Direction::SendRecv`].
    pub direction: Direction,
    /// Stream id; tracks of one stream are played in sync. `None`: a generated id shared by all tracks of this peer.
    pub stream_id: Option<String>,
    /// Track id. `None`: a generated id.
    pub track_id: Option<String>,
    /// Wanted codecs, the preferred first (W3C `setCodecPreferences`). Empty: all of the peer's.
    pub codecs: Vec<Codec>,
    /// Simulcast layers offered for sending (RFC 8853), with names of letters and digits. Empty: a single stream.
    pub send_rids: Vec<String>,
    /// Simulcast layers requested for receiving (RFC 8853), with names as in `send_rids`. The remote peer may decline;
    /// [`RemoteTrack::rids`](super::RemoteTrack::rids) has the layers it sends. For an m-line that only receives.
    pub recv_rids: Vec<String>,
    /// Opus in stereo: `stereo=1` requests it from the remote peer, `sprop-stereo=1` announces it for sending (RFC 7587
    /// §6.1). Browsers play announced stereo in stereo, and send it on request. Off by default; stereo audio can be
    /// sent all the same, but may be played in mono.
    pub stereo: bool,
}

impl TransceiverConfig {
    /// Sets [`direction`](Self::direction).
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Sets [`stream_id`](Self::stream_id) and [`track_id`](Self::track_id).
    #[must_use]
    pub fn ids(mut self, stream: impl Into<String>, track: impl Into<String>) -> Self {
        self.stream_id = Some(stream.into());
        self.track_id = Some(track.into());
        self
    }

    /// Sets [`codecs`](Self::codecs).
    #[must_use]
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = Codec>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// Sets [`stereo`](Self::stereo).
    #[must_use]
    pub fn stereo(mut self, stereo: bool) -> Self {
        self.stereo = stereo;
        self
    }

    /// Sets [`send_rids`](Self::send_rids).
    #[must_use]
    pub fn send_rids<S: Into<String>>(mut self, rids: impl IntoIterator<Item = S>) -> Self {
        self.send_rids = rids.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`recv_rids`](Self::recv_rids).
    #[must_use]
    pub fn recv_rids<S: Into<String>>(mut self, rids: impl IntoIterator<Item = S>) -> Self {
        self.recv_rids = rids.into_iter().map(Into::into).collect();
        self
    }
}

/// Validates a configuration. `msid` consists of at most 64 token characters (RFC 8830 §2); so do the names of layers.
pub(super) fn check_config(
    kind: MediaKind,
    config: &TransceiverConfig,
    known: &Codecs,
) -> Result<(), PeerError> {
    for id in [&config.stream_id, &config.track_id].into_iter().flatten() {
        check_id(id)?;
    }
    if !config.recv_rids.is_empty() && config.direction.is_sending() {
        return Err(PeerError::BadTrack(
            "layers can be asked for only where nothing is sent (Direction::RecvOnly)".into(),
        ));
    }
    for rid in config.send_rids.iter().chain(&config.recv_rids) {
        let is_rid = (1..=8).contains(&rid.len()) && rid.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_rid {
            return Err(PeerError::BadTrack(format!(
                "the layer {rid:?} must have 1 to 8 letters and digits"
            )));
        }
    }
    check_preferences(kind, &config.codecs, known)
}

pub(super) fn check_id(id: &str) -> Result<(), PeerError> {
    let is_token = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b));
    match is_token {
        true => Ok(()),
        false => Err(PeerError::BadTrack(format!(
            "the id {id:?} must have 1 to 64 characters: letters, digits and !#$%&'*+-.^_`{{|}}~"
        ))),
    }
}

pub(super) fn check_preferences(
    kind: MediaKind,
    codecs: &[Codec],
    known: &Codecs,
) -> Result<(), PeerError> {
    for codec in codecs {
        if MediaKind::of(*codec) != kind {
            return Err(PeerError::BadTrack(format!(
                "{codec} is not a codec for {kind}"
            )));
        }
        if !known.contains(*codec) {
            return Err(PeerError::BadTrack(format!(
                "{codec} is not among the codecs of this peer (PeerConfig::codecs)"
            )));
        }
    }
    Ok(())
}
