//! Codecs of a stream as RTSPtoWebRTC and RTSPtoWeb describe them.

use serde_json::{Map, Value, json};

use crate::proto::media::annexb::units;
use crate::proto::media::{Codec, Timebase, h264, h265};
use crate::proto::peer::MediaKind;
use crate::proto::rtp::base64;

/// Returns the kinds of media, each once, video first.
pub(super) fn kinds(codecs: &[Codec]) -> Vec<&'static str> {
    let has = |kind| codecs.iter().any(|codec| MediaKind::of(*codec) == kind);
    let all = [(MediaKind::Video, "video"), (MediaKind::Audio, "audio")];
    all.into_iter()
        .filter(|(kind, _)| has(*kind))
        .map(|(_, name)| name)
        .collect()
}

/// Returns what RTSPtoWebRTC's page makes a transceiver each of: `[{"Type":"video"},…]`, or `null`.
pub(super) fn types(codecs: &[Codec]) -> Value {
    let kinds = kinds(codecs);
    match kinds.is_empty() {
        true => Value::Null,
        false => kinds.iter().map(|kind| json!({ "Type": kind })).collect(),
    }
}

/// Returns the objects of RTSPtoWeb's `codec`. They have no field for the type: clients tell by their shape. One for
/// each kind of media; of several video codecs, the one that its clients know.
pub(super) fn objects(codecs: &[Codec], keyframe: impl Fn(Codec) -> Option<Vec<u8>>) -> Value {
    let is_known = |codec: &&Codec| matches!(codec, Codec::H264 | Codec::H265);
    let of = |kind| codecs.iter().filter(move |c| MediaKind::of(**c) == kind);
    let video = of(MediaKind::Video).find(is_known);
    let video = video.or_else(|| of(MediaKind::Video).next());
    let audio = of(MediaKind::Audio).next();
    let object = |codec: &Codec| object(*codec, keyframe(*codec).as_deref());
    video.into_iter().chain(audio).map(object).collect()
}

fn object(codec: Codec, keyframe: Option<&[u8]>) -> Value {
    match codec {
        Codec::H264 => h264_object(keyframe.unwrap_or_default()),
        Codec::H265 => h265_object(keyframe.unwrap_or_default()),
        // Two channels, front left (2) and front right (4).
        Codec::Opus => json!({ "SampleRate_": 48_000, "ChannelLayout_": 6 }),
        _ => json!({}),
    }
}

fn h264_object(keyframe: &[u8]) -> Value {
    let find = |kind: u8| nals(keyframe).find(|nal| h264::nal_type(nal) == kind);
    let (Some(sps), Some(pps)) = (find(h264::SPS), find(h264::PPS)) else {
        return json!({ "Record": "", "RecordInfo": {}, "SPSInfo": {} });
    };
    let [profile, compatibility, level] = first_three(sps);
    let mut record = vec![1, profile, compatibility, level, 0xFF, 0xE1];
    push_sized(&mut record, sps);
    record.push(1);
    push_sized(&mut record, pps);
    let mut info = Map::new();
    if let Some(sps) = h264::Sps::parse(sps) {
        info.extend(picture(sps.width, sps.height, sps.frame_time));
        info.insert("Id".into(), json!(sps.id));
        info.insert("ProfileIdc".into(), json!(sps.profile));
        info.insert("LevelIdc".into(), json!(sps.level));
        info.insert("ConstraintSetFlag".into(), json!(sps.constraints >> 2));
        info.insert("MbWidth".into(), json!(sps.width.div_ceil(16)));
        info.insert("MbHeight".into(), json!(sps.height.div_ceil(16)));
    }
    json!({
        "Record": base64::encode(&record),
        "RecordInfo": {
            "AVCProfileIndication": profile,
            "ProfileCompatibility": compatibility,
            "AVCLevelIndication": level,
            "LengthSizeMinusOne": 3,
            "SPS": [base64::encode(sps)],
            "PPS": [base64::encode(pps)],
        },
        "SPSInfo": info,
    })
}

fn h265_object(keyframe: &[u8]) -> Value {
    let of = |kind: u8| -> Vec<String> {
        let all = nals(keyframe).filter(|nal| h265::nal_type(nal) == kind);
        all.map(base64::encode).collect()
    };
    let mut info = Map::new();
    let sps = nals(keyframe).find(|nal| h265::nal_type(nal) == h265::SPS);
    if let Some(sps) = sps.and_then(h265::Sps::parse) {
        info.extend(picture(sps.width, sps.height, sps.frame_time));
        info.insert("PicWidthInLumaSamples".into(), json!(sps.width));
        info.insert("PicHeightInLumaSamples".into(), json!(sps.height));
    }
    json!({
        "RecordInfo": {
            "LengthSizeMinusOne": 3,
            "VPS": of(h265::VPS),
            "SPS": of(h265::SPS),
            "PPS": of(h265::PPS),
        },
        "SPSInfo": info,
    })
}

fn picture(width: u32, height: u32, frame_time: Option<Timebase>) -> Map<String, Value> {
    let mut info = Map::new();
    for crop in ["CropLeft", "CropRight", "CropTop", "CropBottom"] {
        // Width and height are those after cropping.
        info.insert(crop.into(), json!(0));
    }
    info.insert("Width".into(), json!(width));
    info.insert("Height".into(), json!(height));
    let fps = frame_time.map_or(0, |time| {
        time.denominator()
            .checked_div(time.numerator())
            .unwrap_or(0)
    });
    info.insert("FPS".into(), json!(fps));
    info
}

/// Returns the NAL units of an access unit.
fn nals(access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    units(access_unit).map(|(_, nal)| nal)
}

fn first_three(sps: &[u8]) -> [u8; 3] {
    let bytes = sps.get(1..4).and_then(|bytes| bytes.try_into().ok());
    bytes.unwrap_or_default()
}

fn push_sized(record: &mut Vec<u8>, nal: &[u8]) {
    let length = u16::try_from(nal.len()).unwrap_or(u16::MAX);
    record.extend(length.to_be_bytes());
    record.extend(nal.iter().take(usize::from(length)));
}
