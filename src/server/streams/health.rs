//! Detection of live video that no viewer can start to decode.

use std::time::{Duration, Instant};

use crate::proto::media::Codec;

/// Maximum time without a keyframe. Encoders write one every ten seconds by default.
const PATIENCE: Duration = Duration::from_secs(12);

/// Maximum time if parameter sets are known to be missing.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Health of a live source's video.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Time since which no keyframe has arrived.
    since: Option<Instant>,
    seen_keyframe: bool,
    told: bool,
}

/// A fault of live video.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody can decode the video; the reason.
    Undecodable(String),
    /// New viewers see nothing for a while; the reason.
    Rare(String),
}

impl Health {
    /// Records incoming video. `lacks_sets`: keyframes have no parameter sets, and none are known.
    pub fn note(
        &mut self,
        codec: Codec,
        is_key: bool,
        lacks_sets: bool,
        now: Instant,
    ) -> Option<Fault> {
        if is_key && !lacks_sets {
            *self = Self {
                since: Some(now),
                seen_keyframe: true,
                told: self.told && self.seen_keyframe,
            };
            return None;
        }
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        let patience = if lacks_sets { SHORT_PATIENCE } else { PATIENCE };
        if self.told || waited < patience {
            return None;
        }
        self.told = true;
        Some(match (self.seen_keyframe, lacks_sets) {
            (_, true) => Fault::Undecodable(no_sets(codec)),
            (false, false) => Fault::Undecodable(no_keyframe(codec, waited)),
            (true, false) => Fault::Rare(format!(
                "keyframes are more than {} s apart: whoever comes between them waits for a picture. Have the encoder \
                 make more: -g 60 (ffmpeg), --intra 60 (rpicam-vid)",
                waited.as_secs()
            )),
        })
    }
}

fn no_sets(codec: Codec) -> String {
    format!(
        "{codec} without parameter sets: nobody can decode it. Give the SDP file that names them \
         (ffmpeg … -sdp_file cam.sdp, then rtp:cam.sdp), or have them sent before each keyframe \
         (ffmpeg … -bsf:v dump_extra)"
    )
}

fn no_keyframe(codec: Codec, waited: Duration) -> String {
    let what = codec.description().keyframe;
    let advice = match codec.description().has_intra_refresh {
        true => {
            "; turn intra refresh off in the encoder, or have it make more of them: -g 60 (ffmpeg), --intra 60 (rpicam-vid)"
        }
        false => "",
    };
    format!(
        "{codec} has come for {} s without {what}, at which browsers begin to decode{advice}",
        waited.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the faults reported for these frames, at 25 per second.
    fn told(frames: u64, key: impl Fn(u64) -> bool, lacks_sets: bool) -> Vec<Fault> {
        let (start, mut health) = (Instant::now(), Health::default());
        let at = |n| start + Duration::from_millis(40 * n);
        let each = (0..frames).filter_map(|n| health.note(Codec::H264, key(n), lacks_sets, at(n)));
        each.collect()
    }

    #[test]
    fn what_cannot_be_decoded_is_told_once() {
        assert_eq!(told(2000, |n| n % 250 == 0, false), []);
        let none = told(2000, |_| false, false);
        assert!(
            matches!(&none[..], [Fault::Undecodable(why)] if why.contains("IDR")),
            "{none:?}"
        );
        let bare = told(2000, |n| n % 25 == 0, true);
        assert!(
            matches!(&bare[..], [Fault::Undecodable(why)] if why.contains("-sdp_file")),
            "{bare:?}"
        );
        let rare = told(2000, |n| n % 500 == 0, false);
        assert!(
            matches!(&rare[..], [Fault::Rare(why)] if why.contains("-g 60")),
            "{rare:?}"
        );
        assert_eq!(told(50, |_| false, true), [], "it has just begun");
    }
}
