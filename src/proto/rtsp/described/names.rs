//! Names of what is not used, for people.

use super::{Section, short};

/// Returns the reason why an m-line that is neither video nor audio is not used.
pub(super) fn vendor_data(section: &Section<'_>) -> String {
    let maps = section.attributes.iter();
    let mut maps = maps.filter(|(name, _)| name.eq_ignore_ascii_case("rtpmap"));
    let first = maps.next().and_then(|(_, value)| value.split_once(' '));
    let name = first.map_or("", |(_, map)| map.split('/').next().unwrap_or(map));
    match name.trim().to_ascii_uppercase().as_str() {
        "" => "neither video nor audio".into(),
        name if name.starts_with("VND.ONVIF.METADATA") => "ONVIF metadata".into(),
        name => format!("neither video nor audio ({})", short(name)),
    }
}

/// Returns the reason why a codec is not used, by its name in capitals.
pub(super) fn unsupported(name: &str) -> String {
    let known = match name {
        "G726" | "G726-16" | "G726-24" | "G726-32" | "G726-40" | "AAL2-G726-16"
        | "AAL2-G726-24" | "AAL2-G726-32" | "AAL2-G726-40" => "G.726",
        "G723" | "G723.1" => "G.723",
        "G729" => "G.729",
        "GSM" => "GSM",
        "DVI4" | "ADPCM" => "ADPCM",
        "MPA" | "MPA-ROBUST" | "X-MP3-DRAFT-00" => "MP3",
        "AMR" | "AMR-WB" => "AMR",
        "AC3" => "AC-3",
        "MP4V-ES" => "MPEG-4 Part 2 video",
        "MPV" => "MPEG-2 video",
        "H263" | "H263-1998" | "H263-2000" => "H.263",
        "MP2T" => "MPEG-TS inside RTP",
        "AV1" => "AV1",
        "VP8" => "VP8",
        "VP9" => "VP9",
        "SPEEX" => "Speex",
        "TELEPHONE-EVENT" => return "dial tones".into(),
        "VND.ONVIF.METADATA" => return "ONVIF metadata".into(),
        other => return format!("{}, which is not a codec of WebRTC", short(other)),
    };
    match known {
        "AV1" | "VP8" | "VP9" => format!("{known}, which is not supported from cameras"),
        "MPEG-4 Part 2 video" | "MPEG-2 video" | "H.263" | "MPEG-TS inside RTP" => {
            format!("{known}, which browsers do not decode: choose H.264 in the camera's settings")
        }
        _ => format!(
            "{known}, which browsers do not decode: choose G.711, Opus or AAC in the camera's settings"
        ),
    }
}
