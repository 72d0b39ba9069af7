//! What a set of streams is limited to.

use std::time::Duration;

use crate::setters::setters;

/// Limits and delays of [`Streams`](super::Streams). Every default is explained here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsConfig {
    /// Streams. 256; above it [`StreamError::LimitReached`](super::StreamError::LimitReached).
    pub max_streams: usize,
    /// Viewers of all streams together. 1,000; above it
    /// [`StreamError::LimitReached`](super::StreamError::LimitReached).
    pub max_viewers: usize,
    /// Viewers of one stream. 1,000; above it the same.
    pub max_viewers_per_stream: usize,
    /// How long a source goes on when nobody watches any more: a page that is loaded again finds it running.
    /// 5 s.
    pub grace: Duration,
    /// How long after a failure a source is started again. 1 s; twice as long after each further failure.
    pub min_backoff: Duration,
    /// The longest of these waits. 30 s.
    pub max_backoff: Duration,
    /// A publisher is asked for a keyframe at most this often, however many viewers want one. 500 ms.
    pub keyframe_interval: Duration,
    /// A publisher of whom nothing has come for this long is replaced by the next one that comes; before,
    /// that is refused. 2 s.
    pub publisher_patience: Duration,
    /// What is kept of pictures for viewers to come: the latest keyframe and what follows it, as long as this
    /// is not more than so many bytes of payload, for each codec of a stream. 4 MiB: two seconds of a camera at
    /// 16 Mbit/s. When it is more, only the keyframe
    /// is kept, of files and pipes, or nothing, and the publisher asked for a new one.
    pub max_kept_bytes: usize,
    /// The same in packets or frames. 2,048.
    pub max_kept_packets: usize,
    /// The same in time: a viewer decodes all of it in a hurry. 12 s, a little more than what x264 and ffmpeg have
    /// between two keyframes unless told otherwise; packets, whose sender can mostly be asked for a
    /// keyframe, are kept for 3 s at most.
    pub max_kept_age: Duration,
    /// Frames read ahead from files and pipes, of each stream. 64.
    pub max_read_frames: usize,
    /// The same in bytes; one frame may always be read. 4 MiB.
    pub max_read_bytes: usize,
    /// Where no keyframe is to be had for this long, a viewer is sent pictures without: perhaps it can decode
    /// them all the same. 5 s.
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
        max_kept_packets: usize,
        max_kept_age: Duration,
        max_read_frames: usize,
        max_read_bytes: usize,
        keyframe_patience: Duration,
    }
}
