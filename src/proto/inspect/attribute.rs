//! Explanations of `a=` lines: dispatch by attribute name.

use super::outline::{Outline, Section};
use super::{Explained, candidate, codec, header_extension, source, transport};

pub(super) fn explain(
    value: &str,
    line: &str,
    outline: &Outline<'_>,
    section: Option<&Section<'_>>,
) -> Explained {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    let (name, value) = (name.trim(), value.trim());
    let none = Section::default();
    let place = section.unwrap_or(&none);
    match name {
        "candidate" => candidate::explain(line, Some((outline, place))),
        "rtpmap" => codec::rtpmap(value, place),
        "fmtp" => codec::fmtp(value, place),
        "rtcp-fb" => codec::feedback(value, place),
        "extmap" => header_extension::explain(value, place),
        "ssrc" => source::ssrc(value, place),
        "ssrc-group" => source::ssrc_group(value, place),
        "msid" => source::msid(value),
        "rid" => source::rid(value, place),
        "simulcast" => source::simulcast(value, place),
        "group" => transport::group(value, outline),
        "mid" => transport::mid(value, outline, place),
        "setup" => transport::setup(value),
        "fingerprint" => transport::fingerprint(value),
        "ice-ufrag" => transport::ufrag(value),
        "ice-pwd" => transport::pwd(value),
        "ice-options" => transport::ice_options(value),
        "sctp-port" => transport::sctp_port(value),
        "max-message-size" => transport::max_message_size(value),
        "sctpmap" => Explained::new(
            "draft-ietf-mmusic-sctp-sdp-05",
            "Data channels as they were written before RFC 8841",
        )
        .note("newer peers write a=sctp-port"),
        "crypto" => Explained::new(
            "RFC 4568 §4",
            "A key for SRTP, in the description itself (SDES)",
        )
        .error("WebRTC takes keys from DTLS only (RFC 8827 §6.5): a browser refuses this"),
        "rtcp" => rtcp(value),
        "ptime" | "maxptime" | "framerate" => amount(name, value),
        "msid-semantic" => Explained::new(
            "draft-ietf-mmusic-msid-05",
            "Says that a=msid is meant as in WebRTC",
        )
        .detail("of an old draft of RFC 8830; still written, not needed"),
        _ => simple(name, value),
    }
}

fn rtcp(value: &str) -> Explained {
    Explained::new(
        "RFC 3605 §2.1",
        format!("Where RTCP goes without ICE: {value}"),
    )
    .detail("not used with rtcp-mux: then RTCP goes where RTP goes")
}

fn amount(name: &str, value: &str) -> Explained {
    let (reference, meaning) = match name {
        "ptime" => (
            "RFC 8866 §6.4",
            format!("Wanted: {value} ms of sound in a packet"),
        ),
        "maxptime" => (
            "RFC 8866 §6.5",
            format!("At most {value} ms of sound in a packet"),
        ),
        _ => (
            "RFC 8866 §6.13",
            format!("At most {value} pictures a second"),
        ),
    };
    let explained = Explained::new(reference, meaning);
    match value.parse::<f64>() {
        Ok(number) if number > 0.0 => explained,
        _ => explained.error("a number above 0 is expected"),
    }
}

/// Explains attributes whose name says everything.
fn simple(name: &str, value: &str) -> Explained {
    for (known, reference, meaning) in SIMPLE {
        if *known == name {
            let explained = Explained::new(reference, *meaning);
            return match value {
                "" => explained,
                value => explained.detail(format!("value: {value}")),
            };
        }
    }
    if name.starts_with("x-") || name.starts_with("X-") {
        return Explained::new("", format!("An attribute of some program's own: {name}"));
    }
    Explained::new("", format!("An attribute that is not known here: {name}"))
        .note("peers pass over attributes that they do not know (RFC 8866 §5.13)")
}

const SIMPLE: &[(&str, &str, &str)] = &[
    (
        "sendrecv",
        "RFC 8866 §6.7.2",
        "This side wants to send and to receive",
    ),
    (
        "sendonly",
        "RFC 8866 §6.7.3",
        "This side sends, and does not receive",
    ),
    (
        "recvonly",
        "RFC 8866 §6.7.1",
        "This side receives, and does not send",
    ),
    (
        "inactive",
        "RFC 8866 §6.7.4",
        "Nothing is sent either way for now",
    ),
    (
        "rtcp-mux",
        "RFC 5761 §5.1.1",
        "RTCP goes the same way as RTP, which needs one port less",
    ),
    (
        "rtcp-mux-only",
        "RFC 8858 §3",
        "This side cannot do otherwise than rtcp-mux",
    ),
    (
        "rtcp-rsize",
        "RFC 5506 §5",
        "RTCP packets may be short ones, without reports: feedback comes sooner",
    ),
    (
        "rtcp-xr",
        "RFC 3611 §5.1",
        "Extended reports that may be sent",
    ),
    (
        "bundle-only",
        "RFC 9143 §6",
        "This section is there only if the other side bundles",
    ),
    (
        "extmap-allow-mixed",
        "RFC 8285 §6",
        "Header extensions with one and two bytes of header may follow each other",
    ),
    (
        "end-of-candidates",
        "RFC 8840 §8.1",
        "No more candidates will come in this ICE generation",
    ),
    (
        "remote-candidates",
        "RFC 8839 §5.2",
        "The candidates of the other side that were chosen",
    ),
    (
        "ice-lite",
        "RFC 8839 §5.3",
        "This side only answers ICE checks: it can be reached at a public address, as servers can",
    ),
    (
        "ice-mismatch",
        "RFC 8839 §5.3",
        "The address in the offer was no candidate: something on the way has changed it",
    ),
    (
        "ice-pacing",
        "RFC 8839 §5.5",
        "Milliseconds between ICE checks",
    ),
    (
        "tls-id",
        "RFC 8842 §4",
        "Tells DTLS associations apart: a new one means a new handshake",
    ),
    (
        "identity",
        "RFC 8827 §5",
        "An identity provider vouches for the fingerprint",
    ),
    (
        "label",
        "RFC 4574 §4",
        "A name for the stream, for other protocols to refer to",
    ),
    (
        "content",
        "RFC 4796 §5",
        "What the stream shows: main, alt, slides, speaker, sl",
    ),
    (
        "imageattr",
        "RFC 6236 §3.1",
        "Picture sizes that are sent and received",
    ),
    ("tool", "RFC 8866 §6.3", "The program that made this"),
    ("type", "RFC 8866 §6.9", "The type of the conference"),
    (
        "charset",
        "RFC 8866 §6.10",
        "The character set of texts for people",
    ),
    ("lang", "RFC 8866 §6.12", "The language of the media"),
    (
        "sdplang",
        "RFC 8866 §6.11",
        "The language of texts for people",
    ),
    (
        "quality",
        "RFC 8866 §6.14",
        "Quality or frame rate: 0 to 10",
    ),
    ("orient", "RFC 8866 §6.8", "How a whiteboard is turned"),
    (
        "control",
        "RFC 2326 §C.1.1",
        "The URL by which RTSP controls this stream",
    ),
    (
        "range",
        "RFC 2326 §C.1.5",
        "The part of the recording, in RTSP",
    ),
    (
        "ts-refclk",
        "RFC 7273 §4",
        "The clock that timestamps are taken from",
    ),
    (
        "mediaclk",
        "RFC 7273 §5",
        "How timestamps belong to that clock",
    ),
    ("source-filter", "RFC 4570 §3", "Whose packets are taken"),
    ("framesize", "3GPP TS 26.234", "The size of pictures"),
    (
        "rtcp-fb-trr-int",
        "RFC 4585 §4.2",
        "Least time between reports",
    ),
    (
        "key-mgmt",
        "RFC 4567 §3",
        "Key management in the description (MIKEY)",
    ),
    ("cname", "RFC 5576 §6.1", "The name of the sender in RTCP"),
    (
        "ice-renomination",
        "draft-thatcher-ice-renomination",
        "The chosen pair may be changed later",
    ),
];
