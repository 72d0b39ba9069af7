//! Explanations of RTP header extensions (RFC 8285).

use super::Explained;
use super::outline::Section;

const EXTENSIONS: &[(&str, &str, &str)] = &[
    (
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "RFC 6464",
        "how loud it is, without decoding",
    ),
    (
        "urn:ietf:params:rtp-hdrext:csrc-audio-level",
        "RFC 6465",
        "how loud each of the mixed ones is",
    ),
    (
        "urn:ietf:params:rtp-hdrext:toffset",
        "RFC 5450",
        "how much later than its timestamp the packet was sent",
    ),
    (
        "urn:ietf:params:rtp-hdrext:encrypt",
        "RFC 6904",
        "extensions that are encrypted",
    ),
    (
        "urn:ietf:params:rtp-hdrext:sdes:mid",
        "RFC 9143 §15",
        "which media section the packet belongs to",
    ),
    (
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "RFC 8852 §3.1",
        "which of the simulcast layers it is (rid)",
    ),
    (
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        "RFC 8852 §3.2",
        "which of the simulcast layers the packet repairs",
    ),
    (
        "urn:ietf:params:rtp-hdrext:framemarking",
        "RFC 9626",
        "where pictures begin and end, and whether others need them",
    ),
    (
        "urn:3gpp:video-orientation",
        "3GPP TS 26.114",
        "how the camera was held",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        "libwebrtc",
        "when the packet was sent, for bandwidth estimation by the receiver",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        "libwebrtc",
        "when it was captured, by the sender's clock",
    ),
    (
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a number counted over all streams, for bandwidth estimation by the sender (TWCC)",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02",
        "libwebrtc",
        "the same with feedback on demand",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        "libwebrtc",
        "how long the receiver should wait before showing",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
        "libwebrtc",
        "whether it is a screen",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
        "libwebrtc",
        "how long capturing, encoding and sending took",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
        "libwebrtc",
        "the colours, and HDR",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
        "libwebrtc",
        "which layers are sent, at which bitrates",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/generic-frame-descriptor-00",
        "libwebrtc",
        "which pictures need which",
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/corruption-detection",
        "libwebrtc",
        "samples of the picture, to find broken ones",
    ),
    (
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        "AV1 RTP payload, appendix A",
        "which pictures need which (dependency descriptor)",
    ),
];

/// Explains `ID[/DIRECTION] URI [ATTRIBUTES]`.
pub(super) fn explain(value: &str, section: &Section<'_>) -> Explained {
    let mut fields = value.split_ascii_whitespace();
    let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
        return Explained::new("RFC 8285 §5", "A header extension of RTP").error("expected ID URI");
    };
    let (id, direction) = id.split_once('/').unwrap_or((id, ""));
    let known = EXTENSIONS.iter().find(|(known, ..)| *known == uri);
    let meaning = match known {
        Some((_, _, what)) => format!("Header extension {id} tells {what}"),
        None => format!("Header extension {id}, which is not known here: {uri}"),
    };
    let mut explained = Explained::new("RFC 8285 §5", meaning);
    if let Some((_, defined, _)) = known {
        explained = explained.detail(format!("defined by {defined}"));
    }
    explained = match direction {
        "" => explained,
        "sendonly" | "recvonly" | "sendrecv" | "inactive" => {
            explained.detail(format!("{direction}, seen from who wrote this"))
        }
        other => explained.warning(format!("{other:?} is not a direction")),
    };
    let twice = section
        .all("extmap")
        .filter(|other| id_of(other) == id)
        .count()
        > 1;
    if twice {
        explained = explained.error(format!("the id {id} is given twice in this section"));
    }
    match id.parse::<u32>() {
        Ok(1..=14) => explained,
        Ok(15) => explained.error("15 is reserved (RFC 8285 §4.2)"),
        Ok(16..=255) => {
            explained.detail("an id above 14 needs the two-byte form of headers (RFC 8285 §4.3)")
        }
        Ok(4096..=4351) => {
            explained.detail("an id from 4096 on is to be chosen by the answer (RFC 8285 §7)")
        }
        _ => explained.error("ids go from 1 to 14, and to 255 in the two-byte form"),
    }
}

fn id_of(value: &str) -> &str {
    value.split([' ', '/']).next().unwrap_or_default()
}
