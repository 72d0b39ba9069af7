//! Canonical text for the core: only the attributes it understands, in the order and form that it requires.
//!
//! The core's parser silently stops at the first m-section that it cannot read. Nothing from the remote description is
//! therefore copied unchecked, and each m-line keeps its place, rejected if it cannot be used.

use std::fmt::Write;

use super::line::{Attribute, Media, Sdp};
use super::media_line::{Fate, MediaLine};
use super::rtp::{self, MID_EXTENSION};
use super::transport::{Fingerprint, Setup, Transport};
use super::{SdpError, spaced};

/// Maximum number of repeatable attributes passed on per section. The core has no use for more, and they cost it time.
const MAX_EXTENSIONS: usize = 32;
const MAX_SOURCES: usize = 32;
const MAX_LAYERS: usize = 8;
const MAX_TRACKS: usize = 4;

/// Returns the text for the core, with one section for each of `lines`, in order.
pub(super) fn write(
    sdp: &Sdp<'_>,
    lines: &[MediaLine],
    transport: &Transport<'_>,
) -> Result<String, SdpError> {
    let mut out = String::from("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n");
    let used: Vec<&str> = lines
        .iter()
        .filter(|l| !l.is_rejected())
        .map(|l| l.id.as_str())
        .collect();
    // The core requires the first group, of any semantics, to name the m-lines in order from the first one. The BUNDLE
    // group of a description with rejected m-lines does not, so a group without meaning comes before it.
    if used.len() != lines.len() {
        push(&mut out, format_args!("a=group:LS {}", lines[0].id));
    }
    if !used.is_empty() {
        push(&mut out, format_args!("a=group:BUNDLE {}", used.join(" ")));
    }
    write_transport(&mut out, transport);
    for (media, line) in sdp.media.iter().zip(lines) {
        match (&line.fate, media.kind) {
            (Fate::Used, "application") => write_data(&mut out, media, line, 9),
            (Fate::Used, _) => write_rtp(&mut out, sdp, media, line)?,
            (Fate::Rejected, "application") if media.is_sctp() => {
                write_data(&mut out, media, line, 0);
            }
            (_, kind) => {
                let kind = if kind == "video" { kind } else { "audio" };
                push(&mut out, format_args!("m={kind} 0 UDP/TLS/RTP/SAVPF 0"));
                push(&mut out, format_args!("a=mid:{}\r\na=inactive", line.id));
            }
        }
    }
    Ok(out)
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(line);
    *out += "\r\n";
}

fn write_transport(out: &mut String, transport: &Transport<'_>) {
    if transport.ice_lite {
        *out += "a=ice-lite\r\n";
    }
    push(out, format_args!("a=ice-ufrag:{}", transport.ufrag));
    push(out, format_args!("a=ice-pwd:{}", transport.pwd));
    // The core requires one SHA-256 fingerprint; `Peer` verifies the certificate (`peer/crypto/identity.rs`).
    let sha_256 = transport.fingerprints.iter().find_map(|f| match f {
        Fingerprint::Sha256(bytes) => Some(bytes),
        _ => None,
    });
    let bytes: Vec<String> = sha_256
        .unwrap_or(&[0; 32])
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    push(
        out,
        format_args!("a=fingerprint:sha-256 {}", bytes.join(":")),
    );
    match transport.setup {
        Some(Setup::ActPass) => *out += "a=setup:actpass\r\n",
        Some(Setup::Active) => *out += "a=setup:active\r\n",
        Some(Setup::Passive) => *out += "a=setup:passive\r\n",
        None => {}
    }
}

fn write_data(out: &mut String, media: &Media<'_>, line: &MediaLine, port: u16) {
    push(
        out,
        format_args!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"),
    );
    push(out, format_args!("a=mid:{}", line.id));
    *out += "a=sctp-port:5000\r\n";
    if let Some(size) = media
        .value("max-message-size")
        .and_then(|v| v.parse::<u64>().ok())
    {
        push(
            out,
            format_args!("a=max-message-size:{}", size.min(u32::MAX.into())),
        );
    }
    if let Some(init) = media.value("sctp-init").filter(|v| !v.is_empty()) {
        push(out, format_args!("a=sctp-init:{init}"));
    }
}

fn write_rtp(
    out: &mut String,
    sdp: &Sdp<'_>,
    media: &Media<'_>,
    line: &MediaLine,
) -> Result<(), SdpError> {
    let formats = rtp::formats(media)?;
    let numbers: Vec<String> = formats.iter().map(|f| f.payload_type.to_string()).collect();
    let numbers = numbers.join(" ");
    push(
        out,
        format_args!("m={} 9 UDP/TLS/RTP/SAVPF {numbers}", media.kind),
    );
    push(out, format_args!("a=mid:{}", line.id));
    push(
        out,
        format_args!("a={}", rtp::direction(sdp, media)?.unwrap_or("sendrecv")),
    );
    *out += "a=rtcp-mux\r\n";
    // Session-level extensions apply to every section.
    let extensions = sdp.session.iter().filter(|a| a.name == "extmap").copied();
    let extensions = extensions.chain(media.all("extmap"));
    write_extensions(
        out,
        extensions,
        line.mid.as_deref() == Some(line.id.as_str()),
    );
    for format in &formats {
        if let Some(encoding) = &format.encoding {
            push(
                out,
                format_args!("a=rtpmap:{} {encoding}", format.payload_type),
            );
        }
        for parameters in &format.parameters {
            push(
                out,
                format_args!("a=fmtp:{} {parameters}", format.payload_type),
            );
        }
        for feedback in &format.feedback {
            push(
                out,
                format_args!("a=rtcp-fb:{} {feedback}", format.payload_type),
            );
        }
    }
    for (name, most) in [("msid", MAX_TRACKS), ("rid", MAX_LAYERS), ("simulcast", 1)] {
        for attribute in media.all(name).take(most) {
            push(out, format_args!("a={name}:{}", spaced(attribute.value)));
        }
    }
    write_sources(out, media);
    Ok(())
}

/// Writes header extensions (RFC 8285 §5). The MID (RFC 9143 §15) is left out if the core's name for the m-line differs
/// from the wire's: it is not negotiated then, and neither side sends it.
fn write_extensions<'a>(
    out: &mut String,
    extensions: impl Iterator<Item = Attribute<'a>>,
    keeps_mid: bool,
) {
    for attribute in extensions.take(MAX_EXTENSIONS) {
        let mut words = attribute.value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else {
            continue;
        };
        let number = id.split('/').next().unwrap_or_default();
        let Ok(number @ 1..) = number.parse::<u8>() else {
            continue;
        };
        if keeps_mid || uri != MID_EXTENSION {
            push(out, format_args!("a=extmap:{number} {uri}"));
        }
    }
}

/// Writes the sources (RFC 5576): CNAME and track of each SSRC, and which SSRC repairs which.
fn write_sources(out: &mut String, media: &Media<'_>) {
    let mut known: Vec<(u32, bool, bool)> = Vec::new();
    for attribute in media.all("ssrc") {
        let Some((ssrc, rest)) = attribute
            .value
            .split_once(|c: char| c.is_ascii_whitespace())
        else {
            continue;
        };
        let (name, value) = rest.trim_start().split_once(':').unwrap_or((rest, ""));
        let (Ok(ssrc), false) = (ssrc.parse::<u32>(), value.is_empty()) else {
            continue;
        };
        let at = known.iter().position(|(known, ..)| *known == ssrc);
        let at = match at {
            Some(at) => at,
            None if known.len() >= MAX_SOURCES => continue,
            None => {
                known.push((ssrc, false, false));
                known.len() - 1
            }
        };
        let (_, has_name, has_track) = &mut known[at];
        let is_said = match name {
            "msid" => std::mem::replace(has_track, true),
            _ => std::mem::replace(has_name, true),
        };
        if !is_said {
            push(out, format_args!("a=ssrc:{ssrc} {name}:{}", spaced(value)));
        }
    }
    let pairs = media.all("ssrc-group").filter_map(pair).take(MAX_SOURCES);
    for (first, second) in pairs {
        push(out, format_args!("a=ssrc-group:FID {first} {second}"));
    }
}

fn pair(attribute: Attribute<'_>) -> Option<(u32, u32)> {
    let mut words = attribute.value.split_ascii_whitespace();
    let is_repair = words.next()?.eq_ignore_ascii_case("FID");
    let pair = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (is_repair && words.next().is_none()).then_some(pair)
}
