//! Properties of Opus packets (RFC 6716 §3).

use std::time::Duration;

/// Sample rate of Opus timestamps in Hz, independent of the recording's (RFC 7845 §4).
pub const SAMPLE_RATE: u32 = 48_000;

/// Maximum duration of a packet, in samples: 120 ms (RFC 6716 §3.2.5, rule R5).
pub const MAX_SAMPLES: u32 = 5_760;

/// Returns the duration of a packet in samples at 48 kHz. `None` if it violates RFC 6716 §3.4.
pub fn samples(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let frames = match toc & 3 {
        0 => 1,
        // R3: two frames of the same size.
        1 if rest.len() % 2 == 1 => return None,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3F),
    };
    let total = frames * frame_samples(toc);
    (1..=MAX_SAMPLES).contains(&total).then_some(total)
}

/// Returns the duration of a packet. `None` if it violates RFC 6716 §3.4.
pub fn duration(packet: &[u8]) -> Option<Duration> {
    samples(packet).map(|n| time(u64::from(n)))
}

/// Converts a number of samples to a time, rounded down to a nanosecond.
pub fn time(samples: u64) -> Duration {
    let rate = u64::from(SAMPLE_RATE);
    let nanos = samples % rate * 1_000_000_000 / rate;
    Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
}

/// Returns the number of samples at 48 kHz in one frame (RFC 6716 §3.1, table 2).
pub(super) fn frame_samples(toc: u8) -> u32 {
    let config = u32::from(toc >> 3);
    match config {
        0..=11 => [480, 960, 1920, 2880][config as usize % 4],
        12..=15 => [480, 960][config as usize % 2],
        _ => 120 << (config % 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (config, ms_tenths) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 600),
            (11, 600),
            (12, 100),
            (15, 200),
            (16, 25),
            (17, 50),
            (18, 100),
            (31, 200),
        ] {
            assert_eq!(frame_samples(config << 3), ms_tenths * 48 / 10, "{config}");
        }
        assert_eq!(samples(&[0xFC, 0x00]), Some(960)); // CELT, fullband, one frame of 20 ms
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[0xFC | 1, 1, 2]), Some(1920));
        assert_eq!(samples(&[0xFC | 1, 1, 2, 3]), None);
        assert_eq!(samples(&[0xFC | 3]), None);
        assert_eq!(samples(&[0xFC | 3, 0]), None);
        assert_eq!(samples(&[0xFC | 3, 6]), Some(5760));
        assert_eq!(samples(&[0xFC | 3, 7]), None);
        assert_eq!(time(u64::MAX / 1000).as_secs(), u64::MAX / 1000 / 48_000);
    }
}
