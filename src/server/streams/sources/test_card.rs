//! The built-in test card.

use std::io::Cursor;

use crate::proto::media::Codec;
use crate::proto::peer::MediaMode;
use crate::server::streams::kind::{Contents, Context, Kind, Source, SourceConfig};
use crate::server::streams::play::{AtEnd, Input, Part, Player};

const CARD: [(&str, &[u8]); 3] = [
    ("testcard.ivf", include_bytes!("../assets/testcard.ivf")),
    ("testcard.h264", include_bytes!("../assets/testcard.h264")),
    ("testcard.ogg", include_bytes!("../assets/testcard.ogg")),
];

#[derive(Debug)]
struct TestCard;

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    Some(match url.strip_prefix("testcard:")? {
        "" => Ok(SourceConfig::test_card()),
        _ => Err("nothing may stand behind testcard:".into()),
    })
}

impl SourceConfig {
    /// Creates the test card source, `testcard:`.
    pub fn test_card() -> Self {
        Self::new(TestCard)
    }
}

impl Kind for TestCard {
    fn describe(&self) -> String {
        "test card".into()
    }

    fn media_mode(&self) -> MediaMode {
        MediaMode::Frames
    }

    fn probe(&self) -> Option<Result<Contents, String>> {
        Some(Ok(contents()))
    }

    fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        Player::start(input(), ctx)
    }
}

fn contents() -> Contents {
    Contents {
        codecs: vec![Codec::Vp8, Codec::H264, Codec::Opus],
        notes: Vec::new(),
    }
}

fn open() -> Result<Vec<Part>, String> {
    CARD.iter()
        .map(|(name, bytes)| Part::open((*name).to_owned(), Box::new(Cursor::new(*bytes))))
        .collect()
}

fn input() -> Input {
    Input {
        open: Box::new(open),
        is_checked: false,
        at_end: AtEnd::Repeat,
        is_live: false,
        is_kept: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::{EventLoop, LoopConfig};
    use crate::server::streams::StreamsConfig;
    use crate::server::streams::play::{Reading, probe};

    #[test]
    fn the_card_holds_what_it_should() {
        assert_eq!(probe(&input()).unwrap(), contents());
        let size: usize = CARD.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size < 600 * 1024, "{size} bytes");
        // A keyframe every second, and equally many frames in both.
        for (name, bytes) in &CARD[..2] {
            let part = Part::open((*name).into(), Box::new(Cursor::new(*bytes))).unwrap();
            let frames = part.frames();
            assert_eq!(frames.len(), 200, "{name}");
            for (n, frame) in frames.iter().enumerate() {
                assert_eq!(frame.keyframe, n % 25 == 0, "{name}, frame {n}");
                assert_eq!(frame.time, Duration::from_millis(40) * n as u32, "{name}");
            }
        }
    }

    /// Returns the number of items read ahead of the loop, and of their bytes.
    fn ahead(max_frames: usize, max_bytes: usize) -> (usize, usize) {
        let net = EventLoop::new(LoopConfig::default()).unwrap();
        let config = StreamsConfig::default()
            .max_read_frames(max_frames)
            .max_read_bytes(max_bytes);
        let reading = Reading::start(input(), net.handle(), &config).unwrap();
        let (mut before, mut still) = ((0, 0), 0);
        // Until nothing has arrived for 200 ms.
        while still < 20 {
            std::thread::sleep(Duration::from_millis(10));
            let now = reading.held();
            still = if now == before && now.0 > 0 {
                still + 1
            } else {
                0
            };
            before = now;
        }
        before
    }

    #[test]
    fn no_more_is_read_ahead_than_configured() {
        let (frames, bytes) = ahead(64, 4 << 20);
        assert_eq!(frames, 64, "{bytes} bytes");
        let (frames, bytes) = ahead(10_000, 100_000);
        assert!(
            (50_000..=100_000).contains(&bytes),
            "{frames} frames of {bytes} bytes"
        );
        let default = StreamsConfig::default();
        assert_eq!(
            (default.max_read_frames, default.max_read_bytes),
            (64, 4 << 20)
        );
    }
}
