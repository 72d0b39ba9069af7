//! Cost of transcoding a camera's audio for browsers: processor time for a second of audio.
//!
//!     cargo bench --bench audio

use std::time::{Duration, Instant};

use looprtc::proto::media::AacConfig;
use looprtc::proto::media::transcode::{AudioFormat, AudioTranscoder};

/// Splits an ADTS file into the configuration and the access units.
fn adts(file: &[u8]) -> (AacConfig, Vec<&[u8]>) {
    let mut units = Vec::new();
    let mut rest = file;
    while rest.len() > 7 {
        let length =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let header = if rest[1] & 1 == 1 { 7 } else { 9 };
        units.push(&rest[header..length]);
        rest = &rest[length..];
    }
    let (rate, channels) = (file[2] >> 2 & 15, (file[2] & 1) << 2 | file[3] >> 6);
    let config = 2u16 << 11 | u16::from(rate) << 7 | u16::from(channels) << 3;
    let config = AacConfig::parse(&config.to_be_bytes()).expect("a valid file");
    (config, units)
}

/// Feeds the units over and over for a second, and prints a row.
fn row(name: &str, format: &AudioFormat, units: &[&[u8]], unit: Duration) {
    let codec = format.browser_codec();
    let mut transcoder = AudioTranscoder::new(format, codec).expect("a format that is supported");
    let begin = Instant::now();
    let (mut time, mut frames) = (Duration::ZERO, 0);
    while begin.elapsed() < Duration::from_secs(1) {
        for data in units {
            frames += transcoder.push(data, time).expect("a valid unit").len();
            time += unit;
        }
    }
    let milliseconds = begin.elapsed().as_secs_f64() * 1e3 / (frames as f64 * 0.02);
    println!("| {name} | {codec} | {milliseconds:.2} ms |");
}

fn main() {
    println!("| from | to | for a second of audio |");
    println!("|---|---|---|");
    let files: [(&str, u32, &[u8]); 4] = [
        (
            "AAC, 8 kHz mono",
            8_000,
            include_bytes!("../tests/data/media/aac-8000-1.adts"),
        ),
        (
            "AAC, 16 kHz mono",
            16_000,
            include_bytes!("../tests/data/media/aac-16000-1.adts"),
        ),
        (
            "AAC, 44.1 kHz stereo",
            44_100,
            include_bytes!("../tests/data/media/aac-44100-2.adts"),
        ),
        (
            "AAC, 48 kHz stereo",
            48_000,
            include_bytes!("../tests/data/media/aac-48000-2.adts"),
        ),
    ];
    for (name, rate, file) in files {
        let (config, units) = adts(file);
        row(
            name,
            &AudioFormat::Aac { config },
            &units,
            Duration::from_secs(1024) / rate,
        );
    }
    for clock_rate in [16_000, 48_000] {
        let unit = vec![0x55; clock_rate as usize / 50];
        let format = AudioFormat::Pcma {
            clock_rate,
            channels: 1,
        };
        row(
            &format!("G.711, {} kHz mono", clock_rate / 1000),
            &format,
            &[&unit],
            Duration::from_millis(20),
        );
    }
}
