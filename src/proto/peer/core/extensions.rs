//! RTP header extensions (RFC 8285): negotiation, and their values as the core has them.

use std::sync::Arc;

use str0m::RtcConfig;
use str0m::media::{Frequency, MediaTime};
use str0m::rtp::{
    self as core, AbsCaptureTime, Extension, ExtensionSerializer, ExtensionValues as CoreValues,
};

use super::super::values::{
    ExtensionValues, HeaderExtensions, Opaque, PeerError, VideoOrientation,
};

/// Maximum number of extensions in addition to the standard ones: one-byte headers have 14 ids.
const MAX_EXTRA: usize = 7;

/// Maximum size of a value in the one-byte form, in bytes (RFC 8285 §4.2).
const ONE_BYTE_FORM: usize = 16;

/// Raw values in a received packet, in an otherwise empty set.
#[derive(Debug, Default, Clone, PartialEq)]
struct Received(ExtensionValues);

/// Values of a packet that is sent, which has the raw ones.
#[derive(Debug)]
struct Sent(Arc<ExtensionValues>);

/// Returns the end-to-end extensions of a received packet.
pub(super) fn from_core(values: &CoreValues) -> HeaderExtensions {
    let raw = values.user_values.get::<Received>();
    let is_empty = values.audio_level.is_none()
        && values.video_orientation.is_none()
        && values.video_content_type.is_none()
        && values.abs_capture_time.is_none()
        && values.play_delay_min.is_none()
        && values.play_delay_max.is_none()
        && values.video_timing.is_none()
        && values.frame_mark.is_none()
        && raw.is_none();
    if is_empty {
        return HeaderExtensions::EMPTY;
    }
    HeaderExtensions::from(ExtensionValues {
        audio_level: values.audio_level,
        voice_activity: values.voice_activity,
        orientation: values.video_orientation.map(orientation_of),
        content_type: values.video_content_type,
        capture_time: (values.abs_capture_time).map(|c| (c.capture_time, c.clock_offset)),
        playout_delay: (
            values.play_delay_min.map(hundredths),
            values.play_delay_max.map(hundredths),
        ),
        timing: values.video_timing.map(|_| {
            Opaque(Arc::new(CoreValues {
                video_timing: values.video_timing,
                ..CoreValues::default()
            }))
        }),
        frame_mark: values.frame_mark,
        raw: raw.map(|raw| raw.0.raw.clone()).unwrap_or_default(),
    })
}

/// Returns the extensions of a packet to send.
pub(super) fn to_core(extensions: &HeaderExtensions) -> CoreValues {
    let mut core = CoreValues::default();
    let Some(values) = extensions.values() else {
        return core;
    };
    core.audio_level = values.audio_level;
    core.voice_activity = values.voice_activity;
    core.video_orientation = values.orientation.map(core_orientation);
    core.video_content_type = values.content_type;
    core.abs_capture_time =
        (values.capture_time).map(|(capture_time, clock_offset)| AbsCaptureTime {
            capture_time,
            clock_offset,
        });
    core.play_delay_min = values.playout_delay.0.map(of_hundredths);
    core.play_delay_max = values.playout_delay.1.map(of_hundredths);
    let timing = values.timing.as_ref();
    let timing = timing.and_then(|opaque| opaque.0.downcast_ref::<CoreValues>());
    core.video_timing = timing.and_then(|kept| kept.video_timing);
    core.frame_mark = values.frame_mark;
    if !values.raw.is_empty() {
        core.user_values.set(Sent(values.clone()));
    }
    core
}

fn hundredths(time: MediaTime) -> u16 {
    u16::try_from(time.rebase(Frequency::HUNDREDTHS).numer()).unwrap_or(u16::MAX)
}

/// Converts hundredths of a second.
pub(super) fn of_hundredths(hundredths: u16) -> MediaTime {
    MediaTime::from_hundredths(hundredths.into())
}

fn orientation_of(orientation: core::VideoOrientation) -> VideoOrientation {
    match orientation {
        core::VideoOrientation::Deg0 => VideoOrientation::Deg0,
        core::VideoOrientation::Deg90 => VideoOrientation::Deg90,
        core::VideoOrientation::Deg180 => VideoOrientation::Deg180,
        core::VideoOrientation::Deg270 => VideoOrientation::Deg270,
    }
}

fn core_orientation(orientation: VideoOrientation) -> core::VideoOrientation {
    match orientation {
        VideoOrientation::Deg0 => core::VideoOrientation::Deg0,
        VideoOrientation::Deg90 => core::VideoOrientation::Deg90,
        VideoOrientation::Deg180 => core::VideoOrientation::Deg180,
        VideoOrientation::Deg270 => core::VideoOrientation::Deg270,
    }
}

/// An extension that the core does not know; its value is passed through as bytes.
#[derive(Debug)]
struct Passed(Arc<str>);

impl Passed {
    fn value<'a>(&self, values: &'a CoreValues) -> Option<&'a [u8]> {
        values.user_values.get::<Sent>()?.0.raw(&self.0)
    }
}

impl ExtensionSerializer for Passed {
    fn write_to(&self, buf: &mut [u8], values: &CoreValues) -> usize {
        match self.value(values) {
            Some(value) if value.len() <= buf.len() => {
                buf[..value.len()].copy_from_slice(value);
                value.len()
            }
            _ => 0,
        }
    }

    fn parse_value(&self, buf: &[u8], values: &mut CoreValues) -> bool {
        let before = values.user_values.get::<Received>();
        let mut raw = before.cloned().unwrap_or_default();
        raw.0.set_raw(self.0.clone(), buf);
        values.user_values.set(raw);
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        true
    }

    fn requires_two_byte_form(&self, values: &CoreValues) -> bool {
        // An empty value has no one-byte form.
        self.value(values)
            .is_some_and(|v| v.is_empty() || v.len() > ONE_BYTE_FORM)
    }
}

/// Extensions that the core knows but does not offer by itself.
const KNOWN: [Extension; 5] = [
    Extension::AbsoluteCaptureTime,
    Extension::PlayoutDelay,
    Extension::VideoContentType,
    Extension::VideoTiming,
    Extension::FrameMarking,
];

/// Adds extensions to those that are negotiated.
pub(super) fn configure(mut core: RtcConfig, uris: &[String]) -> Result<RtcConfig, PeerError> {
    if uris.len() > MAX_EXTRA {
        return Err(PeerError::Config(format!(
            "{} header extensions are more than {MAX_EXTRA}",
            uris.len()
        )));
    }
    for uri in uris {
        let is_uri = (1..=255).contains(&uri.len()) && uri.bytes().all(|b| b.is_ascii_graphic());
        if !is_uri {
            return Err(PeerError::Config(format!(
                "the header extension {uri:?} is not a URI"
            )));
        }
        let map = core.extension_map();
        if map.iter().any(|(_, e)| e.as_uri() == uri) {
            continue;
        }
        let free = (1..=14).find(|id| map.lookup(*id).is_none());
        let Some(id) = free else {
            return Err(PeerError::Config(format!(
                "no id is left for the header extension {uri}"
            )));
        };
        let known = KNOWN.into_iter().find(|e| e.as_uri() == uri);
        let passed = || Extension::with_serializer(uri, Passed(uri.as_str().into()));
        map.set(id, known.unwrap_or_else(passed));
    }
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_and_hops_forgotten() {
        let mut ext = HeaderExtensions::default();
        ext.set_audio_level(30, true);
        ext.set_video_orientation(VideoOrientation::Deg90);
        ext.set_playout_delay(std::time::Duration::from_millis(120));
        ext.set_capture_time(std::time::UNIX_EPOCH);
        let mut core = to_core(&ext);
        core.transport_cc = Some(7);
        core.mid = Some("0".into());
        assert_eq!(from_core(&core), ext);
        let only_hops = CoreValues {
            transport_cc: Some(7),
            ..CoreValues::default()
        };
        assert!(from_core(&only_hops).is_empty());
    }

    #[test]
    fn values_that_the_core_does_not_know_pass() {
        let mut ext = HeaderExtensions::default();
        ext.set_raw("urn:x", &[4, 5]);
        let passed = Passed("urn:x".into());
        let (mut wire, sent) = ([0; 8], to_core(&ext));
        assert_eq!(passed.write_to(&mut wire, &sent), 2);
        let mut received = CoreValues::default();
        assert!(passed.parse_value(&wire[..2], &mut received));
        assert_eq!(from_core(&received), ext);
        assert!(!passed.requires_two_byte_form(&sent));
        ext.set_raw("urn:x", &[0; ONE_BYTE_FORM + 1]);
        assert!(passed.requires_two_byte_form(&to_core(&ext)));
    }

    #[test]
    fn what_cannot_be_negotiated_is_refused() {
        let many: Vec<String> = (0..8).map(|i| format!("urn:{i}")).collect();
        assert!(configure(RtcConfig::new(), &many).is_err());
        assert!(configure(RtcConfig::new(), &["no uri".into()]).is_err());
        let fine =
            configure(RtcConfig::new(), &many[..7]).map(|mut c| c.extension_map().iter().count());
        assert_eq!(fine.ok(), Some(14));
    }
}
