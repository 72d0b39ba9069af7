//! Limits and delays of streams.

use std::time::Duration;

use crate::setters::setters;

/// Limits and delays of [`Streams`](super::Streams).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsConfig {
    /// Maximum number of streams. Default: 256; beyond it
    /// [`StreamError::LimitReached`](super::StreamError::LimitReached) is returned.
    pub max_streams: usize,
    /// Maximum number of viewers of all streams. Default: 1,000; beyond it
    /// [`StreamError::LimitReached`](super::StreamError::LimitReached) is returned.
    pub max_viewers: usize,
    /// Maximum number of viewers per stream. Default: 1,000; beyond it the same error is returned.
    pub max_viewers_per_stream: usize,
    /// Time for which a source continues without viewers, so that a reloaded page finds it running. Default: 5 s.
    pub grace: Duration,
    /// Delay before a failed source is restarted; doubles with each further failure. Default: 1 s.
    pub min_backoff: Duration,
    /// Maximum of that delay. Default: 30 s.
    pub max_backoff: Duration,
    /// Minimum interval of keyframe requests to a publisher, however many viewers need one. Default: 500 ms.
    pub keyframe_interval: Duration,
    /// Time of silence after which a publisher can be replaced by a new one, which is refused before. Default: 2 s.
    pub publisher_patience: Duration,
    /// Maximum number of payload bytes cached for new viewers per codec of a stream: the latest keyframe and what
    /// follows it. Default: 4 MiB, two seconds of a camera at 16 Mbit/s. Beyond it only the keyframe is kept (files and
    /// pipes), or nothing, and the publisher is asked for a new one.
    pub max_kept_bytes: usize,
    /// Maximum number of payload bytes cached for RTSP cameras: a keyframe of a camera with 4K alone may have 2 MiB, and few can be asked for one.
    /// Default: 16 MiB.
    pub max_kept_camera_bytes: usize,
    /// Maximum number of packets or frames cached. Default: 2,048.
    pub max_kept_packets: usize,
    /// Maximum age of cached media, which a new viewer decodes all at once. Default: 12 s, slightly more than the
    /// default keyframe interval of x264 and ffmpeg; packets, whose sender can usually be asked for a keyframe, are
    /// cached for 3 s at most.
    pub max_kept_age: Duration,
    /// Maximum number of frames read ahead from files and pipes, per stream. Default: 64.
    pub max_read_frames: usize,
    /// Maximum number of bytes read ahead; one frame may always be read. Default: 4 MiB.
    pub max_read_bytes: usize,
    /// Time without a keyframe after which a viewer is sent video anyway, in case it can be decoded. Default: 5 s.
    pub keyframe_patience: Duration,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            max_streams: 256,
            max_viewers: 1000,
            max_viewers_per_stream: 1000,
            grace: Duration::from_secs(5),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            keyframe_interval: Duration::from_millis(500),
            publisher_patience: Duration::from_secs(2),
            max_kept_bytes: 4 << 20,
            max_kept_camera_bytes: 16 << 20,
            max_kept_packets: 2048,
            max_kept_age: Duration::from_secs(12),
            max_read_frames: 64,
            max_read_bytes: 4 << 20,
            keyframe_patience: Duration::from_secs(5),
        }
    }
}

impl StreamsConfig {
    setters! {
        max_streams: usize,
        max_viewers: usize,
        max_viewers_per_stream: usize,
        grace: Duration,
        min_backoff: Duration,
        max_backoff: Duration,
        keyframe_interval: Duration,
        publisher_patience: Duration,
        max_kept_bytes: usize,
        max_kept_camera_bytes: usize,
        max_kept_packets: usize,
        max_kept_age: Duration,
        max_read_frames: usize,
        max_read_bytes: usize,
        keyframe_patience: Duration,
    }
}
