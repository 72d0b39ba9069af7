use std::f64::consts::TAU;

use super::framer::{FRAME, MAX_DRIFT, Samples};
use super::resample::{PASSBAND, Resampler};
use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sine(rate: u32, frequency: f64, count: usize) -> Vec<f32> {
    let sample =
        |n: usize| (10_000.0 * (TAU * frequency * n as f64 / f64::from(rate)).sin()) as f32;
    (0..count).map(sample).collect()
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64
}

fn decibels(ratio: f64) -> f64 {
    10.0 * ratio.max(1e-12).log10()
}

/// Amplitude of one frequency.
fn tone(samples: &[f32], rate: u32, frequency: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = TAU * frequency * n as f64 / f64::from(rate);
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    2.0 * re.hypot(im) / samples.len() as f64
}

/// Rates of cameras, and the two of the encoders.
const RATES_IN: [u32; 11] = [
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 96_000,
];

fn resampled(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    Resampler::new(from, to).unwrap().push(input, &mut out);
    out
}

#[test]
fn resampling_keeps_a_constant() {
    for from in RATES_IN {
        for to in [8_000, 16_000] {
            let out = resampled(from, to, &vec![1000.0; from as usize / 5]);
            let settled = &out[100..];
            assert!(
                settled.iter().all(|s| (s - 1000.0).abs() < 0.01),
                "{from} to {to}"
            );
        }
    }
}

/// A sweep over all frequencies of the input: what lies in the passband keeps its loudness and its time, and what the output
/// cannot have is gone.
#[test]
fn resampling_passes_what_fits_and_nothing_else() {
    for from in RATES_IN {
        for to in [8_000, 16_000] {
            if from == to {
                continue;
            }
            let low = f64::from(from.min(to));
            for step in 1..=20 {
                let frequency = f64::from(from) / 2.0 * f64::from(step) / 20.5;
                let out = resampled(from, to, &sine(from, frequency, from as usize / 8));
                let settled = &out[200..];
                let level = decibels(power(settled) / 5e7);
                if frequency <= PASSBAND * low {
                    assert!(
                        level.abs() < 0.1,
                        "{from} to {to}: {frequency} Hz at {level} dB"
                    );
                    // Images and aliases, and a shift in time, would all be in the difference.
                    let wanted = sine(to, frequency, out.len());
                    let rest: Vec<f32> = settled
                        .iter()
                        .zip(&wanted[200..])
                        .map(|(a, b)| a - b)
                        .collect();
                    let rest = decibels(power(&rest) / 5e7);
                    assert!(
                        rest < -45.0,
                        "{from} to {to}: {frequency} Hz leaves {rest} dB"
                    );
                } else if frequency >= 0.5 * low {
                    assert!(
                        level < -70.0,
                        "{from} to {to}: {frequency} Hz at {level} dB"
                    );
                }
            }
        }
    }
}

/// Upsampling: the images of a tone, mirrored at half the input rate, are not there.
#[test]
fn resampling_makes_no_images() {
    for (frequency, from, to) in [
        (1_000.0, 8_000, 16_000),
        (3_000.0, 8_000, 16_000),
        (2_000.0, 11_025, 16_000),
    ] {
        let out = resampled(from, to, &sine(from, frequency, from as usize));
        // A whole number of periods of both.
        let settled = &out[1_600..1_600 + 8_000];
        let image = tone(settled, to, f64::from(from) - frequency);
        let level = 2.0 * decibels(image / tone(settled, to, frequency));
        assert!(level < -65.0, "{frequency} Hz: {level} dB");
    }
}

#[test]
fn resampling_does_not_depend_on_the_pieces() {
    let input = sine(44_100, 700.0, 5_000);
    let whole = resampled(44_100, 16_000, &input);
    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    let mut out = Vec::new();
    let mut pieces = [1, 7, 300, 2, 99].iter().cycle();
    let mut rest = &input[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
        resampler.push(piece, &mut out);
        rest = after;
    }
    assert_eq!(out, whole);
    let held = resampler.held();
    let expected = 5_000.0 - whole.len() as f64 * 44_100.0 / 16_000.0;
    assert!((held - expected).abs() < 1e-6, "{held} {expected}");
}

#[test]
fn odd_rates_are_refused() {
    for (from, to) in [
        (0, 8_000),
        (8_000, 0),
        (0, 0),
        (15_999, 16_000),
        (11_111, 16_000),
    ] {
        assert!(Resampler::new(from, to).is_none(), "{from} to {to}");
    }
    let odd = AudioFormat::L16 {
        clock_rate: 15_999,
        channels: 1,
        big_endian: true,
    };
    let error = AudioTranscoder::new(&odd, Codec::G722).unwrap_err();
    assert!(error.to_string().contains("15999 Hz"), "{error}");
}

#[test]
fn g711_is_what_the_standard_says() {
    for (law, silence, loudest) in [(Law::Mu, 0xFF, 32_124), (Law::A, 0xD5, 32_256)] {
        let table = law.table();
        assert_eq!(law.encode(0), silence);
        assert_eq!(table[usize::from(law.encode(i16::MAX))], loudest);
        assert_eq!(table[usize::from(law.encode(i16::MIN))], -loudest);
        for code in 0..=255 {
            let again = law.encode(table[usize::from(code)]);
            // µ-law has two zeros.
            assert!(
                again == code || (code == 0x7F && again == 0xFF),
                "{law:?} {code:#x} {again:#x}"
            );
        }
        for sample in i16::MIN..=i16::MAX {
            // Half of a step, which is a 33rd of the smallest level of a segment at most.
            let level = i32::from(table[usize::from(law.encode(sample))]);
            let distance = (level - i32::from(sample)).abs();
            assert!(
                distance <= (level.abs() + 132) / 33 + 8,
                "{law:?} {sample} becomes {level}"
            );
        }
    }
    // Ends of the segments (tables 1a and 2a), in 16 bits.
    assert_eq!(Law::Mu.table()[0x80], 32_124);
    assert_eq!(Law::Mu.table()[0xF0], 120);
    assert_eq!(Law::Mu.table()[0x00], -32_124);
    assert_eq!(Law::A.table()[0xAA], 32_256);
    assert_eq!(Law::A.table()[0xD4], 24);
    assert_eq!(Law::A.table()[0x2A], -32_256);
}

/// The bytes that another implementation, libg722, makes of the same noise and square wave. ffmpeg's makes them, too.
#[test]
fn g722_is_bit_exact() {
    let mut random = 12_345u32;
    let mut samples = Vec::new();
    for n in 0..16_000i32 {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7FFF_FFFF;
        let noise = (random >> 12 & 0xFFFF) as i32 - 32_768;
        let square = if n / 37 % 2 == 1 { 8_000 } else { -8_000 };
        let sample = (noise >> (n / 400 % 9 + 1)) + square;
        samples.push(sample.clamp(-32_768, 32_767) as i16);
    }
    let mut out = Vec::new();
    let mut encoder = G722Encoder::new();
    samples
        .chunks(320)
        .for_each(|frame| encoder.encode(frame, &mut out));
    assert_eq!(out.len(), 8_000);
    assert_eq!(
        out[..16],
        [
            0x28, 0x84, 0x20, 0x84, 0x20, 0x84, 0x84, 0x8E, 0xB3, 0x94, 0x9A, 0x09, 0x88, 0xBC,
            0x8A, 0x0E
        ]
    );
    // FNV-1a.
    let hash = out.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    assert_eq!(hash, 0x6cfa_8897_cc2b_8e50);
}

#[test]
fn g722_survives_the_loudest_noise() {
    let mut out = Vec::new();
    let mut encoder = G722Encoder::new();
    for n in 0..20_000u32 {
        let loud = |bit: u32| {
            if n.wrapping_mul(2_654_435_761) >> bit & 1 == 1 {
                i16::MAX
            } else {
                i16::MIN
            }
        };
        encoder.encode(&[loud(31), loud(30)], &mut out);
    }
    assert_eq!(out.len(), 20_000);
}

/// Feeds an hour of units of 64 ms whose samples come a little too fast or slow for their times.
fn drifted(parts_per_million: f64) -> (Vec<Samples>, f64) {
    let mut framer = Framer::new(16_000, 16_000).unwrap();
    let unit = vec![100.0; 1_024];
    let mut frames = Vec::new();
    let mut worst = 0.0f64;
    for n in 0..56_250u32 {
        let time = f64::from(n) * 0.064 * (1.0 + parts_per_million / 1e6);
        let before = frames.len();
        let placed = framer.push(&unit, Duration::from_secs_f64(time), &mut frames);
        assert_eq!(placed == Placed::Started, n == 0);
        assert_ne!(placed, Placed::Overlapped);
        // The unit's samples stand in this frame and those after it.
        if let Some(frame) = frames.get(before) {
            let early = frame.time.as_secs_f64() - time;
            worst = worst.max(early.abs() - 0.02);
        }
    }
    (frames, worst)
}

#[test]
fn a_clock_that_drifts_is_followed_without_a_seam() {
    for parts_per_million in [-400.0, 0.0, 400.0] {
        let (frames, worst) = drifted(parts_per_million);
        for (n, frame) in frames.iter().enumerate() {
            assert_eq!(frame.time, FRAME * n as u32);
            assert_eq!(frame.discontinuity, n == 0);
            assert_eq!(frame.samples, [100; 320]);
        }
        // 1.44 s in the hour, if nobody followed.
        assert!(worst < 0.006, "{parts_per_million}: off by {worst} s");
        let length = 3600.0 * (1.0 + parts_per_million / 1e6);
        assert!((frames.len() as f64 * 0.02 - length).abs() < 0.04);
    }
}

#[test]
fn a_stretched_frame_has_no_click() {
    let mut framer = Framer::new(8_000, 8_000).unwrap();
    let mut frames = Vec::new();
    let sound = sine(8_000, 300.0, 8_000);
    for (n, unit) in sound.chunks(160).enumerate() {
        // 10 ms too late from the second unit on.
        let late = if n == 0 { 0 } else { 10 };
        framer.push(unit, ms(20 * n as u64 + late), &mut frames);
    }
    let out: Vec<i16> = frames.into_iter().flat_map(|frame| frame.samples).collect();
    let steepest = out
        .windows(2)
        .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
        .max();
    // 10,000 · 2π · 300 / 8000 = 2356.
    assert!(steepest < Some(2_450), "{steepest:?}");
}

#[test]
fn gaps_and_overlaps() {
    let format = AudioFormat::Pcmu {
        clock_rate: 16_000,
        channels: 1,
    };
    let mut transcoder = AudioTranscoder::new(&format, Codec::G722).unwrap();
    let mut times = Vec::new();
    let mut push = |at: u64, transcoder: &mut AudioTranscoder| {
        let frames = transcoder.push(&[0xFF; 480], ms(at)).unwrap();
        times.extend(frames.iter().map(|f| (f.time, f.discontinuity)));
    };
    // 30 ms each; a gap of 1 s; a repetition; again in order.
    for at in [1_000, 1_030, 2_060, 2_090, 2_060, 2_060, 2_120, 2_150] {
        push(at, &mut transcoder);
    }
    let expected = [
        (1_000, true),
        (1_020, false),
        (1_040, false),
        (2_060, true),
        (2_080, false),
        (2_100, false),
    ];
    let begun = expected.map(|(time, gap)| (ms(time), gap));
    assert_eq!(times[..6], begun);
    assert!(
        times.windows(2).all(|w| w[1].0 - w[0].0 >= FRAME),
        "{times:?}"
    );
    let stats = transcoder.stats();
    assert_eq!((stats.gaps, stats.overlapping), (1, 2));
    assert_eq!(stats.frames, times.len() as u64);
}

/// However wild the times, frames are in order and never closer than 20 ms.
#[test]
fn frames_go_forward_only() {
    let mut framer = Framer::new(48_000, 8_000).unwrap();
    let mut frames = Vec::new();
    let mut random = 1u64;
    let mut time = Duration::ZERO;
    for _ in 0..1_500 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let jump = Duration::from_micros(random >> 33 & 0x1_FFFF);
        time = match random >> 60 {
            0..8 => time + ms(20),
            8..12 => time + jump,
            12..15 => time.saturating_sub(jump),
            _ => Duration::MAX.min(time + jump * 50),
        };
        framer.push(&[1.0; 960], time, &mut frames);
    }
    assert!(frames.len() > 300);
    assert!(frames.windows(2).all(|w| w[1].time >= w[0].time + FRAME));
    let joined = |w: &[Samples]| w[1].time == w[0].time + FRAME;
    assert!(frames.windows(2).all(|w| joined(w) || w[1].discontinuity));
    framer.push(&[1.0; 9_600], Duration::MAX, &mut frames);
    assert!(ms(0) < MAX_DRIFT);
}

#[test]
fn samples_of_any_order_and_number_of_channels() {
    let l16 = |channels, big_endian| AudioFormat::L16 {
        clock_rate: 8_000,
        channels,
        big_endian,
    };
    for (format, unit) in [
        (l16(1, true), [0x20, 0x00].repeat(160)),
        (l16(1, false), [0x00, 0x20].repeat(160)),
        (l16(2, true), [0x10, 0x00, 0x30, 0x00].repeat(160)),
    ] {
        let mut transcoder = AudioTranscoder::new(&format, Codec::Pcma).unwrap();
        let frames = transcoder.push(&unit, ms(0)).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].data, [Law::A.encode(0x2000); 160]);
        // A sample that is cut off is left out.
        assert!(transcoder.push(&unit[..3], ms(20)).unwrap().is_empty());
    }
}

#[test]
fn the_codec_suits_the_bandwidth() {
    let pcmu = |clock_rate, channels| AudioFormat::Pcmu {
        clock_rate,
        channels,
    };
    let pcma = |clock_rate, channels| AudioFormat::Pcma {
        clock_rate,
        channels,
    };
    let aac = |config: [u8; 2]| AudioFormat::Aac {
        config: AacConfig::parse(&config).unwrap(),
    };
    assert_eq!(pcmu(8_000, 1).played_as_is(), Some(Codec::Pcmu));
    assert_eq!(pcma(8_000, 1).played_as_is(), Some(Codec::Pcma));
    assert_eq!(pcma(8_000, 2).played_as_is(), None);
    assert_eq!(pcma(8_000, 2).browser_codec(), Codec::Pcma);
    assert_eq!(pcmu(48_000, 1).played_as_is(), None);
    assert_eq!(pcmu(48_000, 1).browser_codec(), Codec::G722);
    assert_eq!(aac([0x15, 0x88]).browser_codec(), Codec::Pcmu);
    assert_eq!(aac([0x14, 0x08]).browser_codec(), Codec::G722);
    let opus = AudioTranscoder::new(&pcmu(8_000, 2), Codec::Opus).unwrap_err();
    assert_eq!(opus.kind, TranscodeErrorKind::Unsupported);
    for broken in [
        pcmu(8_000, 0),
        pcmu(0, 1),
        pcmu(u32::MAX, 1),
        pcmu(8_000, 9),
    ] {
        let error = AudioTranscoder::new(&broken, Codec::Pcmu).unwrap_err();
        assert_eq!(error.kind, TranscodeErrorKind::Unsupported);
    }
}

#[test]
#[cfg(not(feature = "aac"))]
fn without_the_feature_aac_says_so() {
    let config = AacConfig::new(16_000, 1).unwrap();
    let error = AudioTranscoder::new(&AudioFormat::Aac { config }, Codec::G722).unwrap_err();
    assert!(error.to_string().contains("without the feature aac"));
}

#[cfg(feature = "aac")]
mod with_aac {
    use super::*;

    /// Splits a file into the configuration and the access units.
    fn adts(file: &[u8]) -> (AacConfig, Vec<&[u8]>) {
        let mut units = Vec::new();
        let mut rest = file;
        while rest.len() > 7 {
            let length = usize::from(rest[3] & 3) << 11
                | usize::from(rest[4]) << 3
                | usize::from(rest[5] >> 5);
            let header = if rest[1] & 1 == 1 { 7 } else { 9 };
            units.push(&rest[header..length]);
            rest = &rest[length..];
        }
        let (rate, channels) = (file[2] >> 2 & 15, (file[2] & 1) << 2 | file[3] >> 6);
        let config = 2u16 << 11 | u16::from(rate) << 7 | u16::from(channels) << 3;
        (AacConfig::parse(&config.to_be_bytes()).unwrap(), units)
    }

    const FILES: [(&str, u32, &[u8]); 5] = [
        (
            "ffmpeg, 8 kHz",
            8_000,
            include_bytes!("../../../../tests/data/media/aac-8000-1.adts"),
        ),
        (
            "ffmpeg, 16 kHz",
            16_000,
            include_bytes!("../../../../tests/data/media/aac-16000-1.adts"),
        ),
        (
            "VisualOn",
            16_000,
            include_bytes!("../../../../tests/data/media/aac-voaac.adts"),
        ),
        (
            "ffmpeg, 44.1 kHz",
            44_100,
            include_bytes!("../../../../tests/data/media/aac-44100-2.adts"),
        ),
        (
            "ffmpeg, 48 kHz",
            48_000,
            include_bytes!("../../../../tests/data/media/aac-48000-2.adts"),
        ),
    ];

    /// A tone of 440 Hz at an eighth of full scale, by two encoders, comes out as one, and at its time.
    #[test]
    fn a_tone_stays_a_tone() {
        for (name, rate, file) in FILES {
            let (config, units) = adts(file);
            let format = AudioFormat::Aac { config };
            let mut transcoder = AudioTranscoder::new(&format, Codec::Pcma).unwrap();
            let mut out = Vec::new();
            for (n, unit) in units.iter().enumerate() {
                let time = Duration::from_secs(7) + Duration::from_secs(1024 * n as u64) / rate;
                for frame in transcoder.push(unit, time).unwrap() {
                    assert_eq!(
                        frame.time,
                        Duration::from_secs(7) + FRAME * (out.len() / 160) as u32
                    );
                    out.extend(
                        frame
                            .data
                            .iter()
                            .map(|code| f32::from(Law::A.table()[usize::from(*code)])),
                    );
                }
            }
            // Held back: less than a frame, and half of the filter.
            let length = units.len() * 1024 * 8_000 / rate as usize;
            assert!(
                out.len() + 160 + 40 > length,
                "{name}: {} of {length}",
                out.len()
            );
            // In the middle, where it has begun and has not ended.
            let middle = &out[2_000..2_000 + 1_600];
            let level = tone(middle, 8_000, 440.0);
            assert!((level / 4_096.0 - 1.0).abs() < 0.05, "{name}: {level}");
            let rest = power(middle) - level * level / 2.0;
            assert!(decibels(rest / power(middle)) < -25.0, "{name}: {rest}");
            let stats = transcoder.stats();
            assert_eq!(
                (stats.damaged, stats.gaps, stats.overlapping),
                (0, 0, 0),
                "{name}"
            );
        }
    }

    #[test]
    fn a_damaged_unit_leaves_a_gap_and_no_more() {
        let (config, units) = adts(FILES[1].2);
        let mut transcoder =
            AudioTranscoder::new(&AudioFormat::Aac { config }, Codec::G722).unwrap();
        let time = |n: usize| ms(64 * n as u64);
        let mut frames = Vec::new();
        for (n, unit) in units.iter().enumerate() {
            match n {
                3 => {
                    // Cut off within its first element.
                    let error = transcoder.push(&unit[..4], time(n)).unwrap_err();
                    assert_eq!(error.kind, TranscodeErrorKind::Damaged);
                }
                _ => frames.extend(transcoder.push(unit, time(n)).unwrap()),
            }
        }
        let gaps: Vec<_> = frames
            .iter()
            .filter(|f| f.discontinuity)
            .map(|f| f.time)
            .collect();
        assert_eq!(gaps, [time(0), time(4)]);
        assert_eq!(transcoder.stats().damaged, 1);
        assert_eq!(transcoder.stats().gaps, 1);
    }

    #[test]
    fn nothing_but_damage_ends_it() {
        let config = AacConfig::new(16_000, 1).unwrap();
        let mut transcoder =
            AudioTranscoder::new(&AudioFormat::Aac { config }, Codec::G722).unwrap();
        for n in 0..u64::from(MAX_DAMAGED) {
            let error = transcoder.push(&[], ms(n)).unwrap_err();
            assert_eq!(error.kind, TranscodeErrorKind::Damaged, "{n}");
        }
        for _ in 0..2 {
            let error = transcoder.push(&[0xFF; 9_000], ms(0)).unwrap_err();
            assert_eq!(error.kind, TranscodeErrorKind::Ended);
        }
    }

    #[test]
    fn what_is_not_decoded_has_its_reason() {
        let reason = |config: &[u8]| {
            let config = AacConfig::parse(config).unwrap();
            let made = AudioTranscoder::new(&AudioFormat::Aac { config }, Codec::G722);
            made.map_or_else(|error| error.to_string(), |_| "decoded".into())
        };
        assert_eq!(reason(&[0x14, 0x08]), "decoded");
        // HE-AAC: object type 5, 16 kHz mono, doubled to 32 kHz, over object type 2.
        assert_eq!(reason(&[0x2C, 0x0A, 0x88, 0x00]), "decoded");
        assert!(reason(&[0x0C, 0x08]).contains("Main"));
        assert!(reason(&[0x14, 0x0C]).contains("960 samples"));
        assert!(reason(&[0x14, 0x30]).contains("6 channels"));
        assert!(reason(&[0x14, 0x00]).contains("0 channels"));
    }
}
