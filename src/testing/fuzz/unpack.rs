//! What cameras send: descriptions, packets, timestamps.

use crate::proto::rtp::MediaFormat;
use crate::proto::rtsp::{Described, DescribedError, MAX_DESCRIPTION};

/// Parses a camera's description. White space around lines and other line ends change nothing.
pub fn camera_sdp(data: &[u8]) {
    let described = match Described::parse(data) {
        Ok(described) => described,
        Err(DescribedError::TooLong) => return assert!(data.len() > MAX_DESCRIPTION),
        Err(_) => return,
    };
    assert!(described.streams.len() <= 32 && described.left_out.len() <= 32);
    for stream in &described.streams {
        assert!(stream.payload_type < 128 && stream.clock_rate > 0);
        assert_eq!(stream.kind, stream.format.kind());
        if let MediaFormat::H264 { sets } | MediaFormat::H265 { sets, .. } = &stream.format {
            assert!(sets.len() <= 16 && sets.iter().all(|set| set.len() <= 4096));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if !text.contains('\r') && 3 * data.len() < MAX_DESCRIPTION {
        let wrapped = Described::parse(text.replace('\n', " \r\n").as_bytes());
        let wrapped = wrapped.map(|wrapped| wrapped.streams);
        assert_eq!(wrapped, Ok(described.streams));
    }
}
