//! The payload format of an m-line.

use std::collections::BTreeSet;

use super::super::quirk::{Quirk, Quirks};
use super::{DescribedStream, Lines, MAX_FORMATS, Section, StreamDirection, is, names};
use crate::proto::media::{AacConfig, annexb};
use crate::proto::rtp::{AacFormat, AuHeader, MediaFormat, base64, parameter};

/// Maximum size of a parameter set, in bytes.
const MAX_SET: usize = 4096;

/// Maximum number of parameter sets of one stream.
const MAX_SETS: usize = 16;

/// Rates that an audio clock may have, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Returns the stream of an m-line, or the reason why it is not used.
pub(super) fn stream_of(
    section: &Section<'_>,
    lines: &Lines<'_>,
    quirks: &mut Quirks,
) -> Result<DescribedStream, String> {
    if !is(section.kind, "video") && !is(section.kind, "audio") {
        quirks.count(Quirk::VendorData);
        return Err(names::vendor_data(section));
    }
    let proto = section.proto.to_ascii_uppercase();
    if proto.contains("SAVP") {
        return Err(
            "encrypted RTP (SRTP), which is not supported: turn it off in the camera's settings, or use rtsps".into(),
        );
    }
    if !proto.contains("RTP/AVP") {
        quirks.count(Quirk::BrokenSdp);
    }
    let mut usable = Vec::new();
    let mut first_reason = None;
    for payload_type in payload_types(section, quirks) {
        match format_of(payload_type, section, lines, quirks) {
            Ok(found) => usable.push((payload_type, found)),
            Err(reason) => {
                first_reason.get_or_insert(reason);
            }
        }
    }
    let mut usable = usable.into_iter();
    let Some((payload_type, (format, clock_rate))) = usable.next() else {
        return Err(first_reason.unwrap_or_else(|| "no payload type".into()));
    };
    Ok(DescribedStream {
        kind: format.kind(),
        direction: StreamDirection::FromCamera,
        payload_type,
        clock_rate,
        format,
        others: usable
            .map(|(number, (format, _))| (number, format))
            .collect(),
        control: section.value("control").unwrap_or_default().to_owned(),
        frame_rate: frame_rate(section),
    })
}

/// Returns the payload types of an m-line or, if it names none, those of its attributes.
fn payload_types(section: &Section<'_>, quirks: &mut Quirks) -> Vec<u8> {
    let mut found: Vec<u8> = Vec::new();
    let number = |text: &&str| text.parse().ok().filter(|n: &u8| *n < 128);
    found.extend(section.formats.iter().filter_map(number));
    if found.is_empty() {
        quirks.count(Quirk::BrokenSdp);
        let of_maps = section.typed("rtpmap").chain(section.typed("fmtp"));
        found.extend(
            of_maps
                .map(|(n, _)| n)
                .filter(|n| *n < 128)
                .take(MAX_FORMATS),
        );
    }
    let mut seen = BTreeSet::new();
    found.retain(|n| seen.insert(*n));
    found
}

fn frame_rate(section: &Section<'_>) -> Option<f64> {
    let text = section
        .value("framerate")
        .or_else(|| section.value("x-framerate"))?;
    let rate: f64 = text.parse().ok()?;
    (rate > 0.0 && rate <= 1000.0).then_some(rate)
}

/// Encoding name, clock rate and channels of an `a=rtpmap`.
#[derive(Debug, Clone)]
struct Map {
    name: String,
    clock_rate: Option<u32>,
    channels: Option<u8>,
}

impl Map {
    fn new(name: &str, clock_rate: u32, channels: u8) -> Self {
        Self {
            name: name.into(),
            clock_rate: Some(clock_rate),
            channels: Some(channels),
        }
    }

    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('/').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let clock = parts.next().and_then(|rate| rate.parse().ok());
        let channels = parts.next().and_then(|n| n.parse().ok());
        Some(Self {
            name: name.to_ascii_uppercase(),
            clock_rate: clock.filter(|rate| RATES.contains(rate)),
            channels: channels.filter(|n| (1..=8).contains(n)),
        })
    }

    /// Static payload types (RFC 3551 §6).
    fn of_static(payload_type: u8) -> Option<Self> {
        Some(match payload_type {
            0 => Self::new("PCMU", 8_000, 1),
            2 => Self::new("G726-32", 8_000, 1),
            3 => Self::new("GSM", 8_000, 1),
            4 => Self::new("G723", 8_000, 1),
            5 | 6 | 16 | 17 => Self::new("DVI4", 8_000, 1),
            8 => Self::new("PCMA", 8_000, 1),
            9 => Self::new("G722", 8_000, 1),
            10 => Self::new("L16", 44_100, 2),
            11 => Self::new("L16", 44_100, 1),
            14 => Self::new("MPA", 90_000, 1),
            18 => Self::new("G729", 8_000, 1),
            26 => Self::new("JPEG", 90_000, 1),
            32 => Self::new("MPV", 90_000, 1),
            33 => Self::new("MP2T", 90_000, 1),
            34 => Self::new("H263", 90_000, 1),
            _ => return None,
        })
    }

    /// Guesses from the other attributes what a dynamic payload type without `a=rtpmap` means.
    fn guessed(section: &Section<'_>, fmtp: &str) -> Option<Self> {
        let has = |name| parameter(fmtp, name).is_some();
        if is(section.kind, "video") {
            let h265 = has("sprop-vps") || has("sprop-sps");
            let h264 = has("sprop-parameter-sets") || has("profile-level-id");
            let name = match (h265, h264) {
                (true, _) => "H265",
                (false, true) => "H264",
                (false, false) => return None,
            };
            return Some(Self::new(name, 90_000, 1));
        }
        if has("config") && has("sizelength") {
            return Self::parse("MPEG4-GENERIC");
        }
        // Uncompressed audio of FFmpeg (`pcm_s16le`), which only its bandwidth in kbit/s gives away.
        let (rate, channels) = match section.bandwidth? {
            128 => (8_000, 1),
            256 => (16_000, 1),
            384 => (24_000, 1),
            512 => (32_000, 1),
            705 => (44_100, 1),
            768 => (48_000, 1),
            1411 => (44_100, 2),
            1536 => (48_000, 2),
            _ => return None,
        };
        Some(Self::new("PCM", rate, channels))
    }
}

/// Returns the format of a payload type with its clock rate, or the reason why it is not used.
fn format_of(
    payload_type: u8,
    section: &Section<'_>,
    lines: &Lines<'_>,
    quirks: &mut Quirks,
) -> Result<(MediaFormat, u32), String> {
    let fmtp = fmtp_of(payload_type, section, lines, quirks);
    let map = section.of_type("rtpmap", payload_type).and_then(Map::parse);
    let map = match map.or_else(|| Map::of_static(payload_type)) {
        Some(map) => map,
        None => {
            quirks.count(Quirk::BrokenSdp);
            Map::guessed(section, fmtp).ok_or_else(|| {
                format!("payload type {payload_type}, of which the camera does not say what it is")
            })?
        }
    };
    let clock_rate = |default| map.clock_rate.unwrap_or(default);
    let channels = map.channels.unwrap_or(1);
    Ok(match map.name.as_str() {
        "H264" => (h264(fmtp, quirks)?, clock_rate(90_000)),
        "H265" | "HEVC" => (h265(fmtp, quirks), clock_rate(90_000)),
        "JPEG" | "MJPEG" => {
            let dimensions = section.value("x-dimensions").and_then(dimensions);
            (MediaFormat::Jpeg { dimensions }, clock_rate(90_000))
        }
        "MPEG4-GENERIC" | "AAC" => aac(&map, fmtp, quirks)?,
        "MP4A-LATM" => latm(fmtp, clock_rate(90_000))?,
        "PCMU" | "PCMA" | "G711" | "G711U" | "G711A" => {
            let clock_rate = clock_rate(8_000);
            if clock_rate != 8_000 || channels != 1 {
                quirks.count(Quirk::AudioFormat);
            }
            let format = match map.name.as_str() {
                "PCMA" | "G711A" => MediaFormat::Pcma {
                    clock_rate,
                    channels,
                },
                _ => MediaFormat::Pcmu {
                    clock_rate,
                    channels,
                },
            };
            (format, clock_rate)
        }
        "G722" => (MediaFormat::G722, 8_000),
        "OPUS" => {
            // RFC 7587 §7: always written as 48000/2.
            if (map.clock_rate, map.channels) != (Some(48_000), Some(2)) {
                quirks.count(Quirk::AudioFormat);
            }
            (MediaFormat::Opus, 48_000)
        }
        "L16" | "PCM" | "PCML" | "S16LE" => {
            let little_endian = map.name != "L16";
            if little_endian {
                quirks.count(Quirk::AudioFormat);
            }
            let clock_rate = clock_rate(44_100);
            let format = MediaFormat::L16 {
                clock_rate,
                channels,
                little_endian,
            };
            (format, clock_rate)
        }
        name => {
            match name.contains("G726") {
                true => quirks.count(Quirk::AudioFormat),
                false => quirks.count(Quirk::VendorData),
            };
            return Err(names::unsupported(name));
        }
    })
}

/// Returns the parameters of a payload type; empty if there are none. Some cameras write those of the video behind the
/// audio's m-line.
fn fmtp_of<'a>(
    payload_type: u8,
    section: &Section<'a>,
    lines: &Lines<'a>,
    quirks: &mut Quirks,
) -> &'a str {
    if let Some(own) = section.of_type("fmtp", payload_type) {
        if own.is_empty() {
            quirks.count(Quirk::BrokenSdp);
        }
        return own;
    }
    let claims = |other: &Section<'_>| {
        let maps = other.of_type("rtpmap", payload_type).is_some();
        maps || other.formats.iter().any(|f| f.parse() == Ok(payload_type))
    };
    let elsewhere = lines.sections.iter().filter(|other| !claims(other));
    let found = elsewhere
        .filter_map(|other| other.of_type("fmtp", payload_type))
        .next();
    if found.is_some() {
        quirks.count(Quirk::BrokenSdp);
    }
    found.unwrap_or_default()
}

fn h264(fmtp: &str, quirks: &mut Quirks) -> Result<MediaFormat, String> {
    if parameter(fmtp, "packetization-mode") == Some("2") {
        return Err(
            "H.264 in interleaved mode (packetization-mode=2), which is not supported".into(),
        );
    }
    let mut sets = Sets::default();
    sets.take(parameter(fmtp, "sprop-parameter-sets"));
    // A sequence and a picture parameter set.
    if sets.is_damaged || !sets.have(|unit| unit.first().map_or(0, |b| b & 31), &[7, 8]) {
        quirks.count(Quirk::BadParameterSets);
    }
    Ok(MediaFormat::H264 { sets: sets.units })
}

fn h265(fmtp: &str, quirks: &mut Quirks) -> MediaFormat {
    let mut sets = Sets::default();
    for name in ["sprop-vps", "sprop-sps", "sprop-pps"] {
        sets.take(parameter(fmtp, name));
    }
    if sets.is_damaged
        || !sets.have(
            |unit| unit.first().map_or(0, |b| b >> 1 & 63),
            &[32, 33, 34],
        )
    {
        quirks.count(Quirk::BadParameterSets);
    }
    let difference = parameter(fmtp, "sprop-max-don-diff").and_then(|n| n.parse::<u32>().ok());
    MediaFormat::H265 {
        sets: sets.units,
        has_order_numbers: difference.is_some_and(|n| n > 0),
    }
}

/// Parameter sets of a description.
#[derive(Debug, Default)]
struct Sets {
    units: Vec<Vec<u8>>,
    is_damaged: bool,
}

impl Sets {
    fn take(&mut self, list: Option<&str>) {
        for text in list.unwrap_or_default().split(',') {
            let decoded = match base64::decode(text.trim()) {
                Some(decoded) if !decoded.is_empty() => decoded,
                Some(_) => continue,
                None => {
                    self.is_damaged = true;
                    continue;
                }
            };
            // Annex B inside: one or several sets with start codes.
            if decoded.starts_with(&[0, 0, 0, 1]) || decoded.starts_with(&[0, 0, 1]) {
                self.is_damaged = true;
                for (_, unit) in annexb::units(&decoded) {
                    self.keep(unit);
                }
            } else {
                self.keep(&decoded);
            }
        }
    }

    fn keep(&mut self, unit: &[u8]) {
        if unit.len() <= MAX_SET && self.units.len() < MAX_SETS {
            self.units.push(unit.to_vec());
        } else {
            self.is_damaged = true;
        }
    }

    /// Returns `true` if there is a set of each kind.
    fn have(&self, kind: impl Fn(&[u8]) -> u8, kinds: &[u8]) -> bool {
        let mut kinds = kinds.iter();
        kinds.all(|wanted| self.units.iter().any(|unit| kind(unit) == *wanted))
    }
}

fn aac(map: &Map, fmtp: &str, quirks: &mut Quirks) -> Result<(MediaFormat, u32), String> {
    let number = |name: &str, most: u32| -> u32 {
        let value = parameter(fmtp, name).and_then(|n| n.parse().ok());
        value.filter(|n| *n <= most).unwrap_or(0)
    };
    let bits = |name: &str, most: u8| number(name, most.into()) as u8;
    let stated = parameter(fmtp, "config").and_then(from_hex);
    let config = stated.as_deref().and_then(AacConfig::parse);
    let guessed = || {
        let rate = map.clock_rate.unwrap_or(0);
        AacConfig::new(rate, map.channels.unwrap_or(1))
    };
    let config_is_guessed = config.is_none();
    let config = config.or_else(guessed).ok_or_else(|| {
        match parameter(fmtp, "mode").unwrap_or_default() {
            mode if mode.to_ascii_uppercase().starts_with("CELP") => {
                "MPEG-4 CELP, which browsers do not decode".to_owned()
            }
            _ => "AAC without a usable configuration (config=)".to_owned(),
        }
    })?;
    if config_is_guessed {
        quirks.count(Quirk::AacFraming);
    }
    let has_sizes =
        parameter(fmtp, "sizelength").is_some() || parameter(fmtp, "constantsize").is_some();
    let mode = parameter(fmtp, "mode").unwrap_or_default();
    let header = match has_sizes {
        true => AuHeader {
            size: bits("sizelength", 16),
            index: bits("indexlength", 16),
            index_delta: bits("indexdeltalength", 16),
            cts_delta: bits("CTSDeltaLength", 32),
            dts_delta: bits("DTSDeltaLength", 32),
            random_access: bits("randomAccessIndication", 1),
            stream_state: bits("streamStateIndication", 32),
            auxiliary_size: bits("auxiliaryDataSizeLength", 32),
        },
        // RFC 3640 §3.3.5.
        false if is(mode, "AAC-lbr") => AuHeader {
            size: 6,
            index: 2,
            index_delta: 2,
            ..AuHeader::default()
        },
        false => AuHeader::default(),
    };
    let clock_rate = map.clock_rate.unwrap_or(config.sample_rate);
    let format = AacFormat {
        config,
        config_is_guessed,
        header,
        constant_size: number("constantSize", u16::MAX.into()) as u16,
    };
    Ok((MediaFormat::Aac(format), clock_rate))
}

fn latm(fmtp: &str, clock_rate: u32) -> Result<(MediaFormat, u32), String> {
    let config = parameter(fmtp, "config").and_then(from_hex);
    // RFC 6416 §7.3: in band unless stated otherwise.
    let in_band = parameter(fmtp, "cpresent") != Some("0");
    if !in_band && config.is_none() {
        return Err("AAC (LATM) without a configuration (config=)".into());
    }
    Ok((MediaFormat::Latm { config, in_band }, clock_rate))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    const MAX_DIGITS: usize = 1024;
    let text = text.trim_matches('"').as_bytes();
    if text.is_empty() || text.len() > MAX_DIGITS {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|n| n as u8);
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        [high] => Some(digit(high)? << 4),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

/// Parses `1920,1080`.
fn dimensions(text: &str) -> Option<(u16, u16)> {
    let (width, height) = text.split_once([',', 'x', 'X'])?;
    let side = |text: &str| text.trim().parse().ok().filter(|n: &u16| *n > 0);
    Some((side(width)?, side(height)?))
}
