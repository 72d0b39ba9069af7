//! The media that a scripted camera sends: clips of the tests, cut into access units, and audio made on the spot.

use super::behaviour::{Aac, Audio, Video};

/// Frames of video per second.
pub const RATE: u64 = 25;

const PLAIN: &[u8] = include_bytes!("../../../tests/data/media/plain.h264");
const B_FRAMES: &[u8] = include_bytes!("../../../tests/data/media/bframes.h264");
const H265: &[u8] = include_bytes!("../../../tests/data/media/plain.h265");
/// Another size, and so other parameter sets.
const OTHER: &[u8] = include_bytes!("../../server/streams/assets/testcard.h264");

/// One picture, or one packet's time of audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// NAL units of a picture; the one payload of anything else.
    pub parts: Vec<Vec<u8>>,
    /// Set if a decoder can start here.
    pub is_key: bool,
    /// Place in the order of display, against the order of decoding, in frames.
    pub shown_after: i64,
}

impl Unit {
    /// Returns a hash of what has to arrive whatever happens to parameter sets and SEI.
    pub fn fingerprint(&self, is_h265: bool) -> u64 {
        fingerprint(self.parts.iter().map(Vec::as_slice), is_h265)
    }
}

/// Returns a hash of the slices among these NAL units.
pub fn fingerprint<'a>(units: impl Iterator<Item = &'a [u8]>, is_h265: bool) -> u64 {
    let slices = units.filter(|nal| is_slice(nal, is_h265)).flatten();
    slices.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns the NAL units of a byte stream with start codes (Annex B).
pub fn split(stream: &[u8]) -> Vec<&[u8]> {
    let codes = stream.windows(3).enumerate();
    let starts: Vec<usize> = codes
        .filter(|(_, code)| *code == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|at| at - 3);
    let ends = ends.chain([stream.len()]);
    let units = starts.iter().zip(ends).map(|(from, to)| {
        let unit = stream.get(*from..to).unwrap_or_default();
        // A start code of four bytes has its first zero here.
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        &unit[..unit.len() - zeros]
    });
    units.filter(|unit| !unit.is_empty()).collect()
}

pub fn kind(nal: &[u8], is_h265: bool) -> u8 {
    let first = nal.first().copied().unwrap_or_default();
    if is_h265 {
        first >> 1 & 0x3f
    } else {
        first & 0x1f
    }
}

pub fn is_set(nal: &[u8], is_h265: bool) -> bool {
    match is_h265 {
        true => (32..=34).contains(&kind(nal, true)),
        false => matches!(kind(nal, false), 7 | 8),
    }
}

fn is_slice(nal: &[u8], is_h265: bool) -> bool {
    match is_h265 {
        true => kind(nal, true) < 32,
        false => (1..=5).contains(&kind(nal, false)),
    }
}

fn is_key(nal: &[u8], is_h265: bool) -> bool {
    match is_h265 {
        true => (16..=21).contains(&kind(nal, true)),
        false => kind(nal, false) == 5,
    }
}

/// Pictures, over and over.
#[derive(Debug, Clone, Default)]
pub struct Film {
    units: Vec<Unit>,
    /// Another film that takes turns with this one, 50 pictures each.
    other: Vec<Unit>,
    is_h265: bool,
}

impl Film {
    pub fn new(video: Video) -> Self {
        let is_h265 = video == Video::H265;
        let (units, other) = match video {
            Video::None => (Vec::new(), Vec::new()),
            Video::H264 => (pictures(PLAIN, false), Vec::new()),
            Video::H264BFrames => (b_frames(), Vec::new()),
            Video::H264Changing => (pictures(PLAIN, false), pictures(OTHER, false)),
            Video::H265 => (pictures(H265, true), Vec::new()),
            Video::Jpeg => ((0..25).map(jpeg).collect(), Vec::new()),
        };
        Self {
            units,
            other,
            is_h265,
        }
    }

    /// Returns the picture with this number.
    pub fn unit(&self, number: u64) -> Option<&Unit> {
        let chosen = match (number / 50) % 2 {
            1 if !self.other.is_empty() => &self.other,
            _ => &self.units,
        };
        let number = match self.other.is_empty() {
            true => number,
            false => number % 50,
        };
        let length = u64::try_from(chosen.len()).ok().filter(|n| *n > 0)?;
        chosen.get(usize::try_from(number % length).ok()?)
    }

    /// Returns the parameter sets of the first picture.
    pub fn sets(&self) -> Vec<&[u8]> {
        let first = self.units.first();
        let parts = first.into_iter().flat_map(|unit| &unit.parts);
        let sets = parts.map(Vec::as_slice);
        sets.filter(|nal| is_set(nal, self.is_h265)).collect()
    }

    pub fn is_h265(&self) -> bool {
        self.is_h265
    }
}

/// Cuts a byte stream into pictures of one slice each.
fn pictures(stream: &[u8], is_h265: bool) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut parts = Vec::new();
    for nal in split(stream) {
        parts.push(nal.to_vec());
        if is_slice(nal, is_h265) {
            units.push(Unit {
                parts: std::mem::take(&mut parts),
                is_key: is_key(nal, is_h265),
                shown_after: 0,
            });
        }
    }
    units
}

/// The film with B-frames: each picture's place in the order of display, from the types of its slices. The first one of
/// several B-frames may be a reference, which x264 puts in the middle of them.
fn b_frames() -> Vec<Unit> {
    let mut units = pictures(B_FRAMES, false);
    let kinds: Vec<(bool, bool)> = units.iter().map(|unit| kinds(&unit.parts)).collect();
    let run = |from: usize| kinds[from..].iter().take_while(|(is_b, _)| *is_b).count();
    let mut at = 0;
    while at < units.len() {
        let length = run(at);
        if length == 0 {
            // One frame of delay for all, which lets B-frames go before their references.
            units[at].shown_after = 1 + run(at + 1) as i64;
            at += 1;
            continue;
        }
        let middle = if kinds[at].1 {
            (length as i64 - 1) / 2
        } else {
            0
        };
        for (place, unit) in units[at..at + length].iter_mut().enumerate() {
            unit.shown_after = match place as i64 {
                0 => middle,
                place if place <= middle => -1,
                _ => 0,
            };
        }
        at += length;
    }
    units
}

/// Returns whether the slice is a B-slice, and whether it is a reference. `first_mb_in_slice` is 0 (one bit), then comes
/// `slice_type`, Exp-Golomb.
fn kinds(parts: &[Vec<u8>]) -> (bool, bool) {
    let slice = parts.iter().find(|nal| is_slice(nal, false));
    let Some([header, byte, ..]) = slice.map(Vec::as_slice) else {
        return (false, false);
    };
    // 1 | 010 is 0, 1; 1 | 00111 is 0, 6.
    let is_b = byte & 0xf0 == 0xa0 || byte & 0xfc == 0x9c;
    (is_b, header & 0x60 != 0)
}

/// A picture of RFC 2435: the main header (type 1, 64 by 48, quality 50), and a scan that decodes to something grey.
fn jpeg(number: u8) -> Unit {
    let mut payload = vec![0, 0, 0, 0, 1, 50, 8, 6];
    let scan = (0..600u16).map(|at| (at as u8 ^ number.wrapping_mul(31)) & 0x7f);
    payload.extend(scan);
    Unit {
        parts: vec![payload],
        is_key: true,
        shown_after: 0,
    }
}

/// Ticks of the RTP clock in one packet of audio, and the clock's rate.
pub fn audio_clock(audio: Audio) -> Option<(u32, u32)> {
    Some(match audio {
        Audio::None => return None,
        Audio::Pcmu(rate) => (rate / 50, rate),
        Audio::Pcma | Audio::G726 => (160, 8_000),
        Audio::L16 { .. } => (320, 16_000),
        Audio::Opus => (960, 48_000),
        Audio::Aac(Aac::Several) => (3 * 1024, 16_000),
        Audio::Aac(_) => (1024, 16_000),
    })
}

/// A silent access unit of AAC-LC, mono.
pub const SILENCE: [u8; 6] = [0x00, 0xc8, 0x00, 0x80, 0x23, 0x80];

/// Returns the payloads of one packet's time of audio.
pub fn sound(audio: Audio, number: u64) -> Vec<Vec<u8>> {
    let tone = |length: usize, quiet: u8| -> Vec<u8> {
        let wave = (0..length).map(|at| quiet ^ (((at as u64 + number) % 8) as u8));
        wave.collect()
    };
    match audio {
        Audio::None => Vec::new(),
        Audio::Pcmu(rate) => vec![tone(rate as usize / 50, 0xff)],
        Audio::Pcma => vec![tone(160, 0xd5)],
        Audio::G726 => vec![tone(80, 0)],
        Audio::L16 { little_endian } => {
            let samples = (0..320u16).map(|at| ((at % 40) as i16 - 20) * 300);
            let bytes = samples.flat_map(|sample| match little_endian {
                true => sample.to_le_bytes(),
                false => sample.to_be_bytes(),
            });
            vec![bytes.collect()]
        }
        // A silent frame of 20 ms (CELT, fullband).
        Audio::Opus => vec![vec![0xf8, 0xff, 0xfe]],
        Audio::Aac(form) => aac(form),
    }
}

fn adts(length: usize) -> [u8; 7] {
    let whole = length + 7;
    // AAC-LC, 16 kHz (index 8), one channel.
    [
        0xff,
        0xf1,
        1 << 6 | 8 << 2,
        1 << 6 | (whole >> 11) as u8,
        (whole >> 3) as u8,
        ((whole & 7) << 5) as u8 | 0x1f,
        0xfc,
    ]
}

fn aac(form: Aac) -> Vec<Vec<u8>> {
    let unit = SILENCE.as_slice();
    let with_adts = [&adts(unit.len()), unit].concat();
    let header = |size: usize| ((size as u16) << 3).to_be_bytes();
    let packet = |content: &[u8], size: usize| [&[0, 16], &header(size)[..], content].concat();
    match form {
        Aac::Proper => vec![packet(unit, unit.len())],
        Aac::AdtsInside => vec![packet(&with_adts, with_adts.len())],
        Aac::AdtsOnly => vec![with_adts],
        Aac::Low => vec![[&[0, 8, (unit.len() as u8) << 2], unit].concat()],
        Aac::Several => {
            let headers = header(unit.len()).repeat(3);
            vec![[&[0, 48], headers.as_slice(), &unit.repeat(3)].concat()]
        }
        Aac::Fragments => {
            let (first, rest) = unit.split_at(unit.len() / 2);
            vec![packet(first, unit.len()), packet(rest, unit.len())]
        }
        // PayloadLengthInfo, then the payload (ISO 14496-3 §1.7.3); the configuration is in the description.
        Aac::Latm => vec![[&[unit.len() as u8], unit].concat()],
    }
}
