//! RTP header extensions (RFC 8285): their values in packets.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Bytes;

/// Maximum number of raw values in a packet that are kept or sent: as many as can be negotiated.
const MAX_RAW: usize = 7;

/// Maximum total size of raw values in a packet that are kept or sent, in bytes; further ones are left out.
const MAX_RAW_SIZE: usize = 255;

/// End-to-end header extensions of a packet. Hop-by-hop ones (MID, RID, transport-wide sequence numbers, send times)
/// are handled by the peer. Empty for most packets, at no cost; clones share the values.
///
/// Only extensions negotiated with the receiving peer are sent, with its ids.
#[derive(Clone, Default, PartialEq)]
pub struct HeaderExtensions(Option<Arc<ExtensionValues>>);

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

/// Values of the end-to-end extensions, as they are in a packet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct ExtensionValues {
    /// In dB relative to the maximum: 0 to -127.
    pub audio_level: Option<i8>,
    pub voice_activity: Option<bool>,
    pub orientation: Option<VideoOrientation>,
    pub content_type: Option<u8>,
    /// With the offset of the sender's clock from the one that captured, as NTP fixed-point.
    pub capture_time: Option<(SystemTime, Option<i64>)>,
    /// Minimum and maximum, in hundredths of a second.
    pub playout_delay: (Option<u16>, Option<u16>),
    /// Times at which a frame passed the stages of its sender (`video-timing`), whose type the core does not export.
    pub timing: Option<Opaque>,
    pub frame_mark: Option<u32>,
    /// Values that are passed through as bytes, by URI.
    pub raw: Vec<(Arc<str>, Bytes)>,
}

/// A value that only the core can read. It is equal to its clones.
#[derive(Clone)]
pub(in super::super) struct Opaque(pub Arc<dyn Any + Send + Sync>);

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ExtensionValues {
    /// Returns the raw value of an extension.
    pub fn raw(&self, uri: &str) -> Option<&[u8]> {
        let (_, value) = self.raw.iter().find(|(known, _)| **known == *uri)?;
        Some(value)
    }

    /// Sets the raw value of an extension, within the limits.
    pub fn set_raw(&mut self, uri: Arc<str>, value: &[u8]) {
        self.raw.retain(|(known, _)| *known != uri);
        let others: usize = self.raw.iter().map(|(_, v)| v.len()).sum();
        if value.len() + others <= MAX_RAW_SIZE && self.raw.len() < MAX_RAW {
            self.raw.push((uri, value.into()));
        }
    }
}

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
        let values = self.change();
        // At most 127, so it fits.
        values.audio_level = Some(-i8::try_from(level.min(127)).unwrap_or(i8::MAX));
        values.voice_activity = Some(voice);
    }

    /// Returns the rotation for display (3GPP TS 26.114 §7.4.5).
    pub fn video_orientation(&self) -> Option<VideoOrientation> {
        self.0.as_ref()?.orientation
    }

    /// Sets [`video_orientation`](Self::video_orientation).
    pub fn set_video_orientation(&mut self, orientation: VideoOrientation) {
        self.change().orientation = Some(orientation);
    }

    /// Returns the capture time by the first sender's clock (`abs-capture-time`).
    pub fn capture_time(&self) -> Option<SystemTime> {
        let (time, _) = self.0.as_ref()?.capture_time?;
        Some(time)
    }

    /// Sets [`capture_time`](Self::capture_time).
    pub fn set_capture_time(&mut self, time: SystemTime) {
        self.change().capture_time = Some((time, None));
    }

    /// Returns the minimum time that a receiver should delay playout (`playout-delay`).
    pub fn playout_delay(&self) -> Option<Duration> {
        let least = self.0.as_ref()?.playout_delay.0?;
        Some(Duration::from_millis(10 * u64::from(least)))
    }

    /// Sets [`playout_delay`](Self::playout_delay), in steps of 10 ms up to 40 s.
    pub fn set_playout_delay(&mut self, least: Duration) {
        let (least, most) = playout_delay(least);
        self.change().playout_delay = (Some(least), Some(most));
    }

    /// Returns the value of an extension named in
    /// [`PeerConfig::header_extensions`](super::super::PeerConfig::header_extensions) that the core does not know.
    pub fn raw(&self, uri: &str) -> Option<&[u8]> {
        self.0.as_ref()?.raw(uri)
    }

    /// Sets [`raw`](Self::raw). All values together are limited to 255 bytes; further ones are left out.
    pub fn set_raw(&mut self, uri: &str, value: &[u8]) {
        self.change().set_raw(uri.into(), value);
    }

    fn change(&mut self) -> &mut ExtensionValues {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Returns the values, unless there are none.
    pub(in super::super) fn values(&self) -> Option<&Arc<ExtensionValues>> {
        self.0.as_ref()
    }
}

impl From<ExtensionValues> for HeaderExtensions {
    fn from(values: ExtensionValues) -> Self {
        Self(Some(Arc::new(values)))
    }
}

/// URI of the header extension that delays playout at the receiver. If it is in
/// [`PeerConfig::header_extensions`](super::super::PeerConfig::header_extensions) and
/// [`PeerConfig::stats_interval`](super::super::PeerConfig::stats_interval) is set, a peer that loses packets is told
/// to wait for retransmissions, unless the application sets a value itself.
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Maximum delay that the extension can express, in hundredths of a second.
const MAX_PLAYOUT_DELAY: u16 = 0xfff;

/// Returns minimum and maximum playout delay for a receiver that should wait at least this long, in hundredths of a
/// second. They must not both be 0, which would make it display frames in order of arrival.
pub(in super::super) fn playout_delay(least: Duration) -> (u16, u16) {
    let least = least.as_millis().div_ceil(10);
    let least = u16::try_from(least).unwrap_or(MAX_PLAYOUT_DELAY);
    (least.min(MAX_PLAYOUT_DELAY), MAX_PLAYOUT_DELAY)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_set_are_there() {
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
        ext.set_playout_delay(Duration::from_millis(41));
        assert_eq!(ext.playout_delay(), Some(Duration::from_millis(50)));
        ext.set_playout_delay(Duration::MAX);
        assert_eq!(ext.playout_delay(), Some(Duration::from_millis(40_950)));
    }

    #[test]
    fn a_change_of_a_clone_is_none_of_the_original() {
        let mut ext = HeaderExtensions::default();
        ext.set_audio_level(30, true);
        let mut clone = ext.clone();
        assert!(Arc::ptr_eq(ext.values().unwrap(), clone.values().unwrap()));
        clone.set_audio_level(7, false);
        assert_eq!(ext.audio_level(), Some((30, true)));
    }

    #[test]
    fn raw_values_beyond_the_limits_are_left_out() {
        let mut ext = HeaderExtensions::default();
        ext.set_raw("urn:large", &[0; MAX_RAW_SIZE]);
        ext.set_raw("urn:x", &[1]);
        assert_eq!(ext.raw("urn:x"), None);
        ext.set_raw("urn:large", &[0; MAX_RAW_SIZE + 1]);
        assert_eq!(ext.raw("urn:large"), None);
        for n in 0..2 * MAX_RAW {
            ext.set_raw(&format!("urn:{n}"), &[1]);
        }
        assert_eq!(ext.values().unwrap().raw.len(), MAX_RAW);
    }
}
