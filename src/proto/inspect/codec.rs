//! Explanations of codecs: rtpmap, fmtp, rtcp-fb.

use super::Explained;
use super::outline::Section;
use crate::proto::media::Codec;

/// Known codecs besides [`Codec::ALL`]: SDP name, description, RFC of the RTP payload format.
const OTHERS: &[(&str, &str, &str)] = &[
    ("rtx", "packets sent again (retransmission)", "RFC 4588"),
    (
        "red",
        "the same more than once, against loss (redundancy)",
        "RFC 2198",
    ),
    (
        "ulpfec",
        "parity packets that lost ones are made from (FEC)",
        "RFC 5109",
    ),
    (
        "flexfec-03",
        "parity packets in a stream of their own (FEC)",
        "RFC 8627",
    ),
    (
        "flexfec",
        "parity packets in a stream of their own (FEC)",
        "RFC 8627",
    ),
    ("G729", "G.729, speech", "RFC 3551 §4.5.6"),
    ("L16", "sound that is not compressed", "RFC 3551 §4.5.11"),
    ("CN", "comfort noise for pauses", "RFC 3389"),
    ("telephone-event", "dialled digits (DTMF)", "RFC 4733"),
    ("iLBC", "iLBC, speech", "RFC 3952"),
    ("ISAC", "iSAC, speech", "draft-ietf-avt-rtp-isac"),
    ("MPEG4-GENERIC", "AAC, usually", "RFC 3640"),
    ("MP4A-LATM", "AAC in LATM", "RFC 6416"),
    ("JPEG", "pictures one by one (JPEG)", "RFC 2435"),
    ("H263-1998", "H.263", "RFC 4629"),
    ("MP4V-ES", "MPEG-4 Visual", "RFC 6416"),
];

fn known(name: &str) -> Option<(&'static str, &'static str)> {
    if let Some(codec) = Codec::named(name) {
        let description = codec.description();
        return Some((description.title, description.payload_format));
    }
    let found = OTHERS.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name));
    found.map(|(_, what, reference)| (*what, *reference))
}

pub(super) fn rtpmap(value: &str, section: &Section<'_>) -> Explained {
    let Some((payload_type, codec)) = value.split_once(' ') else {
        return Explained::new("RFC 8866 §6.6", "Which codec a payload type is")
            .error("expected PAYLOADTYPE CODEC/CLOCKRATE");
    };
    let mut fields = codec.trim().split('/');
    let name = fields.next().unwrap_or_default();
    let clock = fields.next().unwrap_or_default();
    let channels = fields.next();
    let (what, defined) = known(name).unwrap_or((name, ""));
    let meaning = format!("Payload type {payload_type} is {what}");
    let mut explained = Explained::new("RFC 8866 §6.6", meaning);
    if !defined.is_empty() {
        explained = explained.detail(format!("payload format: {defined}"));
    }
    match clock.parse::<u32>() {
        Ok(rate) if rate > 0 => {
            explained = explained.detail(format!("timestamps count {rate} a second"))
        }
        _ => {
            explained = explained.error(format!("the clock rate {clock:?} is not a number above 0"))
        }
    }
    if let Some(channels) = channels.filter(|_| section.kind == "audio") {
        explained = explained.detail(format!("channels: {channels}"));
    }
    if name.eq_ignore_ascii_case("opus") && (clock != "48000" || channels != Some("2")) {
        explained = explained.error("Opus is written opus/48000/2, whatever is sent (RFC 7587 §7)");
    }
    if name.eq_ignore_ascii_case("G722") && clock != "8000" {
        explained =
            explained.warning("G.722 is written with a clock rate of 8000 (RFC 3551 §4.5.2)");
    }
    listed(payload_type, section, explained)
}

/// Adds a problem if the m-line does not list this payload type.
fn listed(payload_type: &str, section: &Section<'_>, explained: Explained) -> Explained {
    match payload_type.parse::<u8>() {
        Ok(0..=127) if section.formats.contains(&payload_type) => explained,
        Ok(64..=95) => explained.error(format!(
            "payload type {payload_type} cannot be told from RTCP (RFC 5761 §4)"
        )),
        Ok(0..=127) => explained.note(format!(
            "the m-line does not have {payload_type}: this line is without effect"
        )),
        _ if payload_type == "*" => explained,
        _ => explained.error(format!(
            "the payload type {payload_type:?} is not a number from 0 to 127"
        )),
    }
}

pub(super) fn fmtp(value: &str, section: &Section<'_>) -> Explained {
    let Some((payload_type, parameters)) = value.split_once(' ') else {
        return Explained::new("RFC 8866 §6.15", "Parameters of a codec")
            .error("expected PAYLOADTYPE PARAMETERS");
    };
    let codec = section.codec(payload_type).unwrap_or_default();
    let meaning = format!("Parameters of {}", section.named(payload_type));
    let mut explained = Explained::new("RFC 8866 §6.15", meaning);
    for parameter in parameters
        .split(';')
        .map(str::trim)
        .filter(|p| !p.is_empty())
    {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        explained = self::parameter(codec, name.trim(), value.trim(), section, explained);
    }
    listed(payload_type, section, explained)
}

fn parameter(
    codec: &str,
    name: &str,
    value: &str,
    section: &Section<'_>,
    explained: Explained,
) -> Explained {
    let codec = codec.to_ascii_lowercase();
    match (codec.as_str(), name) {
        ("h264", "profile-level-id") => match profile_level_id(value) {
            Some(text) => explained.detail(format!("profile-level-id {value}: {text}")),
            None => explained.error(format!(
                "profile-level-id {value:?}: six hexadecimal digits are expected (RFC 6184 §8.1)"
            )),
        },
        ("rtx", "apt") => {
            let explained =
                explained.detail(format!("apt {value}: sends {} again", section.named(value)));
            match section.formats.contains(&value) {
                true => explained,
                false => explained.warning(format!(
                    "the m-line does not have the payload type {value} that it is for"
                )),
            }
        }
        ("red", list) if list.contains('/') => explained.detail(red(list, section)),
        ("telephone-event", events) if value.is_empty() => explained.detail(format!(
            "events {events}: 0 to 9, * and # are 0-11, A to D 12-15"
        )),
        ("av1", "level-idx") => explained.detail(av1_level(value)),
        ("h265", "level-id") => explained.detail(h265_level(value)),
        (codec, name) => match meaning(codec, name, value) {
            Some(text) => explained.detail(format!("{name}={value}: {text}")),
            None if value.is_empty() => explained.detail(name),
            None => explained.detail(format!("{name}={value}")),
        },
    }
}

fn red(list: &str, section: &Section<'_>) -> String {
    let carried: Vec<_> = list.split('/').map(|pt| section.named(pt.trim())).collect();
    format!(
        "carries {}: the newest, and before it older ones",
        carried.join(", then ")
    )
}

/// Explains a parameter whose value needs no decoding.
fn meaning(codec: &str, name: &str, value: &str) -> Option<&'static str> {
    let is_on = value == "1";
    Some(match (codec, name) {
        ("opus", "minptime") => "the fewest milliseconds of sound in a packet",
        ("opus", "useinbandfec") if is_on => {
            "packets may carry the one before them once more, against loss"
        }
        ("opus", "useinbandfec") => "no copies of packets before",
        ("opus", "usedtx") if is_on => "hardly anything is sent in pauses of speech",
        ("opus", "usedtx") => "sends in pauses, too",
        ("opus", "stereo") if is_on => "wants to receive stereo",
        ("opus", "stereo") => "wants to receive mono",
        ("opus", "sprop-stereo") => "whether it will send stereo",
        ("opus", "cbr") => "whether the bitrate is constant",
        ("opus", "maxaveragebitrate") => "bit/s on average that it wants to receive at most",
        ("opus", "maxplaybackrate") => "Hz that it can play at most",
        ("opus", "sprop-maxcapturerate") => "Hz that it sends at most",
        ("opus", "ptime" | "maxptime") => "milliseconds of sound in a packet",
        ("h264", "packetization-mode") if is_on => {
            "pictures may be cut into several packets (FU-A) or put together (STAP-A)"
        }
        ("h264", "packetization-mode") if value == "0" => {
            "a NAL unit in each packet: large pictures need several slices"
        }
        ("h264", "packetization-mode") => "interleaved: WebRTC does not use it",
        ("h264", "level-asymmetry-allowed") if is_on => "each side may send at another level",
        ("h264", "level-asymmetry-allowed") => "both sides send at the same level",
        ("h264", "sprop-parameter-sets") => {
            "SPS and PPS, base64: the decoder can be set up before the first picture"
        }
        ("h264", "max-fs") => "macroblocks of a picture, at most",
        ("h264", "max-mbps") => "macroblocks a second, at most",
        ("h264", "max-br") => "kbit/s (of 1000 or 1200 bits), at most",
        ("vp8" | "vp9", "max-fs") => "macroblocks (16 × 16) of a picture, at most",
        ("vp8" | "vp9", "max-fr") => "pictures a second, at most",
        ("vp9", "profile-id") => match value {
            "0" => "8 bits, 4:2:0",
            "1" => "8 bits, 4:2:2 or 4:4:4",
            "2" => "10 or 12 bits, 4:2:0",
            "3" => "10 or 12 bits, 4:2:2 or 4:4:4",
            _ => "there are 0 to 3",
        },
        ("av1", "profile") => match value {
            "0" => "Main: 8 or 10 bits, 4:2:0",
            "1" => "High: 4:4:4, too",
            "2" => "Professional: 12 bits and 4:2:2, too",
            _ => "there are 0 to 2",
        },
        ("av1" | "h265", "tier" | "tier-flag") if value == "0" => "Main tier",
        ("av1" | "h265", "tier" | "tier-flag") => "High tier: more bits at the same level",
        ("h265", "profile-id") => match value {
            "1" => "Main: 8 bits, 4:2:0",
            "2" => "Main 10: 10 bits",
            "3" => "Main Still Picture",
            _ => "a profile of the extensions",
        },
        ("h265", "tx-mode") => "SRST: one stream; MRST and MRMT: several",
        ("h265", "sprop-vps" | "sprop-sps" | "sprop-pps") => "parameter sets, base64",
        ("rtx", "rtx-time") => "milliseconds for which packets are kept to be sent again",
        ("flexfec-03" | "flexfec", "repair-window") => {
            "microseconds within which packets are repaired"
        }
        (_, "x-google-start-bitrate" | "x-google-min-bitrate" | "x-google-max-bitrate") => {
            "kbit/s; libwebrtc's own"
        }
        _ => return None,
    })
}

/// Decodes `profile-level-id` (RFC 6184 §8.1 table 5, H.264 annex A).
fn profile_level_id(value: &str) -> Option<String> {
    if value.len() != 6 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(value, 16).ok()?;
    let (profile, flags, level) = ((number >> 16) as u8, (number >> 8) as u8, number as u8);
    let set = |n: u8| flags & 0x80 >> n != 0;
    let name = match profile {
        0x42 if set(1) => "Constrained Baseline",
        0x42 => "Baseline",
        0x4d if set(0) => "Constrained Baseline",
        0x4d => "Main",
        0x58 if set(0) && set(1) => "Constrained Baseline",
        0x58 if set(0) => "Baseline",
        0x58 => "Extended",
        0x64 if set(4) && set(5) => "Constrained High",
        0x64 if set(4) => "Progressive High",
        0x64 => "High",
        0x6e if set(3) => "High 10 Intra",
        0x6e => "High 10",
        0x7a if set(3) => "High 4:2:2 Intra",
        0x7a => "High 4:2:2",
        0xf4 if set(3) => "High 4:4:4 Intra",
        0xf4 => "High 4:4:4 Predictive",
        0x2c => "CAVLC 4:4:4 Intra",
        _ => "a profile not known here",
    };
    let is_1b = level == 9 || level == 11 && set(3) && matches!(profile, 0x42 | 0x4d | 0x58);
    let level_name = match is_1b {
        true => "1b".to_owned(),
        false => format!("{}.{}", level / 10, level % 10),
    };
    let enough = match level {
        _ if is_1b => "176 × 144 at 15 pictures a second",
        10 => "176 × 144 at 15 pictures a second",
        11 => "176 × 144 at 30 pictures a second",
        12 => "352 × 288 at 15 pictures a second",
        13 | 20 => "352 × 288 at 30 pictures a second",
        21 | 22 => "352 × 480 at 30 pictures a second",
        30 => "720 × 576 at 25 pictures a second",
        31 => "1280 × 720 at 30 pictures a second",
        32 => "1280 × 720 at 60 pictures a second",
        40 | 41 => "1920 × 1080 at 30 pictures a second",
        42 => "1920 × 1080 at 60 pictures a second",
        50 => "1920 × 1080 at 72 pictures a second",
        51 => "3840 × 2160 at 30 pictures a second",
        52 => "3840 × 2160 at 60 pictures a second",
        60..=62 => "7680 × 4320",
        _ => {
            return Some(format!(
                "{name} profile, level {level_name}, which there is not"
            ));
        }
    };
    Some(format!(
        "{name} profile, level {level_name}: enough for {enough}"
    ))
}

/// Decodes a level index of AV1 (annex A.3).
fn av1_level(value: &str) -> String {
    match value.parse::<u8>() {
        Ok(index @ 0..=23) => format!(
            "level-idx={value}: level {}.{}",
            2 + (index >> 2),
            index & 3
        ),
        Ok(31) => "level-idx=31: no limit".into(),
        _ => format!("level-idx={value}: there are 0 to 23, and 31"),
    }
}

/// Decodes a level of H.265: general_level_idc is thirty times the level.
fn h265_level(value: &str) -> String {
    match value.parse::<u8>() {
        Ok(idc) if idc > 0 => format!("level-id={value}: level {}.{}", idc / 30, idc % 30 / 3),
        _ => format!("level-id={value}: expected thirty times the level, for example 93 for 3.1"),
    }
}

pub(super) fn feedback(value: &str, section: &Section<'_>) -> Explained {
    let Some((payload_type, kind)) = value.split_once(' ') else {
        return Explained::new("RFC 4585 §4.2", "Feedback by RTCP")
            .error("expected PAYLOADTYPE KIND");
    };
    let (reference, meaning) = match kind.trim() {
        "nack" => ("RFC 4585 §6.2.1", "lost packets can be asked for"),
        "nack pli" => (
            "RFC 4585 §6.3.1",
            "a keyframe can be asked for when pictures are broken (PLI)",
        ),
        "nack sli" => (
            "RFC 4585 §6.3.2",
            "lost parts of a picture can be told (SLI)",
        ),
        "nack rpsi" => (
            "RFC 4585 §6.3.3",
            "the picture to build upon can be told (RPSI)",
        ),
        "ccm fir" => (
            "RFC 5104 §7.1",
            "keyframes can be requested, for example for a new viewer (FIR)",
        ),
        "ccm tmmbr" => (
            "RFC 5104 §7.1",
            "the other side can ask for fewer bits (TMMBR)",
        ),
        "ccm tstr" => (
            "RFC 5104 §7.1",
            "sharpness can be traded for smoothness (TSTR)",
        ),
        "goog-remb" => (
            "draft-alvestrand-rmcat-remb-03",
            "the receiver estimates the bandwidth and tells it (REMB)",
        ),
        "transport-cc" => (
            "draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "the receiver tells when each packet came; the sender estimates the bandwidth (TWCC)",
        ),
        "rrtr" => ("RFC 3611 §4.4", "receivers can measure the round trip, too"),
        other => {
            let meaning = format!(
                "For {}: feedback of the kind {other}",
                whom(payload_type, section)
            );
            return listed(
                payload_type,
                section,
                Explained::new("RFC 4585 §4.2", meaning),
            );
        }
    };
    let meaning = format!("For {}: {meaning}", whom(payload_type, section));
    listed(payload_type, section, Explained::new(reference, meaning))
}

fn whom(payload_type: &str, section: &Section<'_>) -> String {
    match payload_type {
        "*" => "all codecs".into(),
        one => section.named(one),
    }
}
