//! RTP header extensions (RFC 8285): negotiation, and values in packets.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use str0m::RtcConfig;
use str0m::media::MediaTime;
use str0m::rtp::{self as core, AbsCaptureTime, Extension, ExtensionSerializer, ExtensionValues};

use super::super::error::PeerError;

/// Maximum number of extensions in addition to the standard ones: one-byte headers have 14 ids.
const MAX_EXTRA: usize = 7;

/// Maximum size of a value in the one-byte form, in bytes (RFC 8285 §4.2).
const ONE_BYTE_FORM: usize = 16;

/// Maximum total size of raw values in a packet that are kept or sent, in bytes; further ones are left out.
const MAX_VALUES: usize = 255;

/// End-to-end header extensions of a packet. Hop-by-hop ones (MID, RID, transport-wide sequence numbers, send times)
/// are handled by the peer. Empty for most packets, at no cost.
///
/// Only extensions negotiated with the receiving peer are sent, with its ids.
#[derive(Clone, Default, PartialEq)]
pub struct HeaderExtensions(Option<Box<ExtensionValues>>);

/// Rotation of a video frame for display (3GPP TS 26.114 §7.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VideoOrientation {
    /// Not rotated.
    #[default]
    Deg0,
    /// 90 degrees clockwise.
    Deg90,
    /// Upside down.
    Deg180,
    /// 90 degrees counter-clockwise.
    Deg270,
}

impl VideoOrientation {
    fn from_core(orientation: core::VideoOrientation) -> Self {
        match orientation {
            core::VideoOrientation::Deg0 => Self::Deg0,
            core::VideoOrientation::Deg90 => Self::Deg90,
            core::VideoOrientation::Deg180 => Self::Deg180,
            core::VideoOrientation::Deg270 => Self::Deg270,
        }
    }

    fn to_core(self) -> core::VideoOrientation {
        match self {
            Self::Deg0 => core::VideoOrientation::Deg0,
            Self::Deg90 => core::VideoOrientation::Deg90,
            Self::Deg180 => core::VideoOrientation::Deg180,
            Self::Deg270 => core::VideoOrientation::Deg270,
        }
    }
}

/// Values of extensions that are passed through as bytes, by URI.
#[derive(Debug, Default, Clone, PartialEq)]
struct RawValues(Vec<(Arc<str>, Arc<[u8]>)>);

impl HeaderExtensions {
    /// No extensions.
    pub const EMPTY: Self = Self(None);

    /// Returns `true` if there are no extensions.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the audio level in dB below the maximum, 0 to 127, and whether it contains speech (RFC 6464).
    pub fn audio_level(&self) -> Option<(u8, bool)> {
        let values = self.0.as_ref()?;
        let level = values.audio_level?.unsigned_abs().min(127);
        Some((level, values.voice_activity.unwrap_or(false)))
    }

    /// Sets [`audio_level`](Self::audio_level).
    pub fn set_audio_level(&mut self, level: u8, voice: bool) {
        let values = self.values();
        // At most 127, so it fits.
        values.audio_level = Some(-i8::try_from(level.min(127)).unwrap_or(i8::MAX));
        values.voice_activity = Some(voice);
    }

    /// Returns the rotation for display (3GPP TS 26.114 §7.4.5).
    pub fn video_orientation(&self) -> Option<VideoOrientation> {
        let orientation = self.0.as_ref()?.video_orientation?;
        Some(VideoOrientation::from_core(orientation))
    }

    /// Sets [`video_orientation`](Self::video_orientation).
    pub fn set_video_orientation(&mut self, orientation: VideoOrientation) {
        self.values().video_orientation = Some(orientation.to_core());
    }

    /// Returns the capture time by the first sender's clock (`abs-capture-time`).
    pub fn capture_time(&self) -> Option<SystemTime> {
        Some(self.0.as_ref()?.abs_capture_time?.capture_time)
    }

    /// Sets [`capture_time`](Self::capture_time).
    pub fn set_capture_time(&mut self, time: SystemTime) {
        self.values().abs_capture_time = Some(AbsCaptureTime {
            capture_time: time,
            clock_offset: None,
        });
    }

    /// Returns the minimum time that a receiver should delay playout (`playout-delay`).
    pub fn playout_delay(&self) -> Option<Duration> {
        let least = self.0.as_ref()?.play_delay_min?;
        Some(least.into())
    }

    /// Sets [`playout_delay`](Self::playout_delay), in steps of 10 ms up to 40 s.
    pub fn set_playout_delay(&mut self, least: Duration) {
        let values = self.values();
        let (least, most) = playout_delay(least);
        (values.play_delay_min, values.play_delay_max) = (Some(least), Some(most));
    }

    /// Returns the value of an extension named in
    /// [`PeerConfig::header_extensions`](super::super::PeerConfig::header_extensions) that the core does not know.
    pub fn raw(&self, uri: &str) -> Option<&[u8]> {
        let raw = self.0.as_ref()?.user_values.get::<RawValues>()?;
        let (_, value) = raw.0.iter().find(|(u, _)| **u == *uri)?;
        Some(value)
    }

    /// Sets [`raw`](Self::raw). All values together are limited to 255 bytes; further ones are left out.
    pub fn set_raw(&mut self, uri: &str, value: &[u8]) {
        set_raw(self.values(), uri.into(), value);
    }

    fn values(&mut self) -> &mut ExtensionValues {
        self.0.get_or_insert_default()
    }

    /// Returns the end-to-end extensions of a received packet.
    pub(super) fn from_core(values: ExtensionValues) -> Self {
        let is_empty = values.audio_level.is_none()
            && values.video_orientation.is_none()
            && values.video_content_type.is_none()
            && values.abs_capture_time.is_none()
            && values.play_delay_min.is_none()
            && values.play_delay_max.is_none()
            && values.video_timing.is_none()
            && values.frame_mark.is_none()
            && values.user_values.get::<RawValues>().is_none();
        if is_empty {
            return Self::EMPTY;
        }
        Self(Some(Box::new(ExtensionValues {
            tx_time_offs: None,
            abs_send_time: None,
            transport_cc: None,
            rid: None,
            rid_repair: None,
            mid: None,
            ..values
        })))
    }

    pub(super) fn to_core(&self) -> ExtensionValues {
        self.0.as_deref().cloned().unwrap_or_default()
    }
}

/// URI of the header extension that delays playout at the receiver. If it is in
/// [`PeerConfig::header_extensions`](super::super::PeerConfig::header_extensions) and
/// [`PeerConfig::stats_interval`](super::super::PeerConfig::stats_interval) is set, a peer that loses packets is told
/// to wait for retransmissions, unless the application sets a value itself.
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Maximum delay that the extension can express, in hundredths of a second.
const MAX_PLAYOUT_DELAY: u64 = 0xfff;

/// Returns minimum and maximum playout delay for a receiver that should wait at least this long. They must not both be
/// 0, which would make it display frames in order of arrival.
pub(super) fn playout_delay(least: Duration) -> (MediaTime, MediaTime) {
    let least = least.as_millis().div_ceil(10) as u64;
    (
        MediaTime::from_hundredths(least.min(MAX_PLAYOUT_DELAY)),
        MediaTime::from_hundredths(MAX_PLAYOUT_DELAY),
    )
}

impl fmt::Debug for HeaderExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("{}"),
            Some(values) => values.fmt(f),
        }
    }
}

impl Eq for HeaderExtensions {}

fn set_raw(values: &mut ExtensionValues, uri: Arc<str>, value: &[u8]) {
    let mut raw = values
        .user_values
        .get::<RawValues>()
        .cloned()
        .unwrap_or_default();
    raw.0.retain(|(u, _)| *u != uri);
    let others: usize = raw.0.iter().map(|(_, v)| v.len()).sum();
    if value.len() + others <= MAX_VALUES && raw.0.len() < MAX_EXTRA {
        raw.0.push((uri, value.into()));
    }
    values.user_values.set(raw);
}

/// An extension that the core does not know; its value is passed through as bytes.
#[derive(Debug)]
struct Passed(Arc<str>);

impl Passed {
    fn value<'a>(&self, values: &'a ExtensionValues) -> Option<&'a [u8]> {
        let raw = values.user_values.get::<RawValues>()?;
        let (_, value) = raw.0.iter().find(|(u, _)| *u == self.0)?;
        Some(value)
    }
}

impl ExtensionSerializer for Passed {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        match self.value(values) {
            Some(value) if value.len() <= buf.len() => {
                buf[..value.len()].copy_from_slice(value);
                value.len()
            }
            _ => 0,
        }
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        set_raw(values, self.0.clone(), buf);
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        true
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
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
pub(in super::super) fn configure(
    mut core: RtcConfig,
    uris: &[String],
) -> Result<RtcConfig, PeerError> {
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
        assert!(ext.is_empty());
        ext.set_audio_level(30, true);
        ext.set_raw("urn:x", &[1, 2, 3]);
        ext.set_raw("urn:x", &[4]);
        for degrees in [
            VideoOrientation::Deg0,
            VideoOrientation::Deg90,
            VideoOrientation::Deg180,
            VideoOrientation::Deg270,
        ] {
            ext.set_video_orientation(degrees);
            assert_eq!(ext.video_orientation(), Some(degrees));
        }
        assert_eq!(ext.audio_level(), Some((30, true)));
        assert_eq!(ext.raw("urn:x"), Some(&[4][..]));
        assert_eq!(ext.raw("urn:y"), None);
        let mut core = ext.to_core();
        core.transport_cc = Some(7);
        core.mid = Some("0".into());
        assert_eq!(HeaderExtensions::from_core(core), ext);
        let only_hops = ExtensionValues {
            transport_cc: Some(7),
            ..ExtensionValues::default()
        };
        assert!(HeaderExtensions::from_core(only_hops).is_empty());
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
