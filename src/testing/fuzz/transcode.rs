//! Audio of cameras.

use std::time::Duration;

use super::Bytes;
use crate::proto::media::transcode::{AudioFormat, AudioTranscoder, MAX_UNIT};
use crate::proto::media::{AacConfig, Codec};

/// Transcodes units of a format that the first bytes select. Each unit has its length, and the time since the one before
/// it, in front of it.
pub fn transcode(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(format) = format(&mut bytes) else {
        return;
    };
    let to = match bytes.byte() {
        0 => format.browser_codec(),
        n => [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus][usize::from(n) % 4],
    };
    super::contained(|| {
        let Ok(mut transcoder) = AudioTranscoder::new(&format, to) else {
            return;
        };
        let mut bytes = Bytes(bytes.0);
        let (mut time, mut last) = (Duration::ZERO, None);
        let (mut frames, mut samples) = (0u64, 0u64);
        while !bytes.is_empty() {
            let header = bytes.word();
            // Mostly forward; the highest bit means back.
            let step = Duration::from_millis(u64::from(bytes.byte()));
            time = match header >> 15 {
                0 => time + step,
                _ => time.saturating_sub(step),
            };
            let unit = bytes.take(usize::from(header & 0x1FFF));
            samples += unit.len().max(1024) as u64;
            let Ok(transcoded) = transcoder.push(unit, time) else {
                continue;
            };
            for frame in transcoded {
                assert_eq!(frame.data.len(), 160);
                let follows =
                    last.is_none_or(|last| frame.time >= last + Duration::from_millis(20));
                assert!(follows, "{last:?} {:?}", frame.time);
                last = Some(frame.time);
                frames += 1;
            }
        }
        // At most four times as many samples as there were: 4 kHz to 16 kHz, and 320 to a frame.
        assert!(
            frames * 319 <= samples * 4,
            "{frames} frames of {samples} samples"
        );
        assert_eq!(transcoder.stats().frames, frames);
        assert!(transcoder.push(&vec![0; MAX_UNIT + 1], time).is_err());
    });
}

fn format(bytes: &mut Bytes<'_>) -> Option<AudioFormat> {
    let kind = bytes.byte();
    if kind == 0 {
        let length = usize::from(bytes.byte() & 15);
        let config = AacConfig::parse(bytes.take(length))?;
        return Some(AudioFormat::Aac { config });
    }
    let rate = bytes.byte();
    let clock_rate = match rate {
        0..8 => [8_000, 16_000, 48_000, 44_100, 32_000, 96_000, 11_025, 4_000][usize::from(rate)],
        _ => u32::from(rate) << 10 | u32::from(bytes.byte()),
    };
    let channels = bytes.byte() & 15;
    Some(match kind & 3 {
        0 => AudioFormat::Pcmu {
            clock_rate,
            channels,
        },
        1 => AudioFormat::Pcma {
            clock_rate,
            channels,
        },
        n => AudioFormat::L16 {
            clock_rate,
            channels,
            big_endian: n == 2,
        },
    })
}
