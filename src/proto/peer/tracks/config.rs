//! How a transceiver begins, and whether that can be.

use super::super::error::PeerError;
use super::{Codec, Codecs, Direction, MediaKind};

/// How a transceiver begins (W3C `RTCRtpTransceiverInit`).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TransceiverConfig {
    /// What is wanted. [`Direction::SendRecv`] by default.
    pub direction: Direction,
    /// Tracks of one stream are played in step. `None`: one that all tracks of this peer share.
    pub stream_id: Option<String>,
    /// The name of the track. `None`: one is made up.
    pub track_id: Option<String>,
    /// The codecs wanted, the best first (W3C `setCodecPreferences`). Empty: all of the peer's.
    pub codecs: Vec<Codec>,
    /// Layers of simulcast that are offered for sending (RFC 8853), each a name of letters and digits.
    /// Empty: one stream.
    pub send_rids: Vec<String>,
    /// Layers of simulcast that are asked for (RFC 8853), as `send_rids`. The other side need not follow; what it
    /// does send, [`RemoteTrack::rids`](super::RemoteTrack::rids) tells. For an m-line that only receives.
    pub recv_rids: Vec<String>,
    /// Opus in stereo: `stereo=1` asks the other side for it, `sprop-stereo=1` says that it comes from here
    /// (RFC 7587 §6.1). Browsers play in stereo what is announced so, and send it when asked. Off by
    /// default; sound in stereo can be sent all the same, but may be played in mono.
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

/// `msid` is made of token characters (RFC 8830 §2), at most 64 of them; so are the names of layers.
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
