//! Validation of a transceiver's configuration.

use super::super::values::{Codecs, MediaKind, PeerError, TransceiverConfig};
use super::Codec;

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
