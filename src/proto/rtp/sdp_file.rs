//! SDP files (RFC 8866) that describe plain RTP streams, as written by ffmpeg (`-sdp_file`) and opened by players.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use sdp_types::{
    Connection, Fmtp, Media, MediaType, Origin, ParserError, RtpMap, Session, Time, TransportProto,
};

use super::h264::H264ParameterSets;
use super::sets::parameter;
use crate::proto::media::Codec;
use crate::proto::peer::MediaKind;
use crate::proto::sdp;

/// Maximum size of a file, in bytes; real ones have hundreds.
const MAX_FILE: usize = 64 * 1024;

/// Maximum number of streams in a file.
const MAX_STREAMS: usize = 64;

/// An SDP file: a group of streams, one for each m-line in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SdpFile {
    /// Session name; players may display it.
    pub name: String,
    /// The streams in order of the m-lines; at most 64.
    pub streams: Vec<StreamDescription>,
    /// M-lines that WebRTC cannot carry, for example `AAC audio`, `ONVIF metadata`.
    pub left_out: Vec<String>,
}

/// A stream: its format and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamDescription {
    /// Address that the receiver listens on; may be a multicast group.
    pub address: SocketAddr,
    /// RTCP port of the receiver: the next one after the RTP port, unless specified (RFC 3605, RFC 5761).
    pub rtcp_port: u16,
    /// Multicast TTL; IPv4 only.
    pub ttl: Option<u8>,
    /// RTP payload type: 0 to 127.
    pub payload_type: u8,
    /// The codec.
    pub codec: Codec,
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// Number of audio channels, as in `a=rtpmap` (Opus: always 2); 0 for video.
    pub channels: u8,
    /// Codec parameters, as in `a=fmtp`; empty if there are none.
    pub fmtp: String,
}

/// Error in an SDP file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SdpFileError {
    /// The line number, from 1; 0 if the error concerns the whole file.
    pub line: usize,
    /// Description of the error.
    pub reason: String,
}

impl fmt::Display for SdpFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "SDP file: {}", self.reason),
            line => write!(f, "SDP file, line {line}: {}", self.reason),
        }
    }
}

impl std::error::Error for SdpFileError {}

impl StreamDescription {
    /// Creates a stream of this codec, with the codec's usual parameters.
    pub fn new(codec: Codec, payload_type: u8, address: SocketAddr) -> Self {
        Self {
            address,
            rtcp_port: address.port().saturating_add(1),
            ttl: None,
            payload_type,
            codec,
            clock_rate: codec.clock_rate(),
            channels: codec.description().channels,
            fmtp: codec.description().fmtp.into(),
        }
    }

    /// Sets [`ttl`](Self::ttl).
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Returns the address that the receiver listens on for RTCP.
    pub fn rtcp_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.rtcp_port)
    }

    /// Returns the H.264 parameter sets in the stream's parameters, if any.
    pub fn parameter_sets(&self) -> Option<H264ParameterSets> {
        match self.codec {
            Codec::H264 => H264ParameterSets::from_fmtp(&self.fmtp),
            _ => None,
        }
    }

    /// Writes H.264 parameter sets into the stream's parameters, so that a player can start before they arrive in band.
    pub fn set_parameter_sets(&mut self, sets: &H264ParameterSets) {
        if let Some(known) = sets.to_fmtp() {
            self.fmtp = format!("packetization-mode=1; {known}");
        }
    }
}

impl FromStr for StreamDescription {
    type Err = String;

    /// Parses a stream in command line notation: `vp8@5004`, `h264/102@192.0.2.1:5004`. The default IP address is
    /// 127.0.0.1; the default payload type is that of RFC 3551, or 96.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?}: {what}; a stream is CODEC[/TYPE]@[IP:]PORT");
        let (codec, place) = text.split_once('@').ok_or_else(|| wrong("no @"))?;
        let (name, number) = match codec.split_once('/') {
            None => (codec, None),
            Some((name, number)) => (name, Some(number)),
        };
        let codec = Codec::named(name).ok_or_else(|| wrong("WebRTC knows no such codec"))?;
        let payload_type = match number.map(str::parse) {
            Some(Ok(number @ 0..=127)) => number,
            Some(_) => return Err(wrong("no payload type")),
            None => codec.description().static_payload_type.unwrap_or(96),
        };
        let address = match place.parse() {
            Ok(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            Err(_) => place.parse().map_err(|_| wrong("no port or address"))?,
        };
        Ok(Self::new(codec, payload_type, address))
    }
}

impl SdpFile {
    /// Creates a file with these streams.
    pub fn new(name: impl Into<String>, streams: Vec<StreamDescription>) -> Self {
        Self {
            name: name.into(),
            streams,
            left_out: Vec::new(),
        }
    }

    /// Parses a file. Lines end in CRLF, LF or CR; white space around them and a title above them (`SDP:`, as FFmpeg
    /// prints) are ignored. If an m-line has several payload types, the first supported one is used; m-lines with port
    /// 0 are unused and skipped. M-lines that WebRTC cannot carry (AAC, metadata, encrypted streams) are listed in
    /// [`left_out`](Self::left_out), provided that another one is supported.
    ///
    /// # Errors
    ///
    /// Returns [`SdpFileError`] with the line number if this is not SDP, or if all streams are encrypted, not RTP, or
    /// of a codec that WebRTC does not support.
    pub fn parse(text: &str) -> Result<Self, SdpFileError> {
        let whole = |reason: String| SdpFileError { line: 0, reason };
        if text.len() > MAX_FILE {
            return Err(whole(format!("longer than {MAX_FILE} bytes")));
        }
        let tidied = sdp::tidied(text);
        let session = Session::parse(tidied.as_bytes()).map_err(|e| SdpFileError {
            line: line_of_error(&e),
            reason: e.to_string(),
        })?;
        if session.medias.len() > MAX_STREAMS {
            return Err(whole(format!("more than {MAX_STREAMS} m-lines")));
        }
        let (mut streams, mut left_out, mut first) = (Vec::new(), Vec::new(), None);
        for (index, media) in session.medias.iter().enumerate() {
            let lines = Lines {
                text: &tidied,
                index,
            };
            if media.port == 0 {
                continue;
            }
            match stream_of(media, session.connection.as_ref(), &lines) {
                Ok(stream) => streams.push(stream),
                Err(Refusal::Foreign { what, error }) => {
                    left_out.push(what);
                    first.get_or_insert(error);
                }
                Err(Refusal::Wrong(error)) => return Err(error),
            }
        }
        if let Some(error) = first.filter(|_| streams.is_empty()) {
            return Err(error);
        }
        if streams.is_empty() {
            return Err(whole("no stream in it (no m-line with a port)".into()));
        }
        Ok(Self {
            name: session.session_name,
            streams,
            left_out,
        })
    }

    /// Formats the file.
    pub fn to_text(&self) -> String {
        let local = match self.streams.first().map(|s| s.address) {
            Some(SocketAddr::V6(_)) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        let name = match self.name.trim() {
            "" => "-",
            name => name,
        };
        let mut session = Session::new(Origin::with_ip_addr("0", 0, local), name);
        session.add_time(Time::new(0, 0));
        for stream in &self.streams {
            session.add_media(media_of(stream));
        }
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = session.write(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Reason why an m-line is not usable as a stream.
enum Refusal {
    /// WebRTC cannot carry it.
    Foreign { what: String, error: SdpFileError },
    /// It is invalid.
    Wrong(SdpFileError),
}

impl From<SdpFileError> for Refusal {
    fn from(error: SdpFileError) -> Self {
        Self::Wrong(error)
    }
}

fn media_of(stream: &StreamDescription) -> Media {
    let kind = match MediaKind::of(stream.codec) {
        MediaKind::Audio => MediaType::Audio,
        MediaKind::Video => MediaType::Video,
    };
    let StreamDescription {
        address,
        payload_type,
        ..
    } = stream;
    let mut media = Media::new(kind, address.port(), TransportProto::RtpAvp, payload_type);
    let ttl = address.ip().is_multicast().then(|| stream.ttl.unwrap_or(1));
    media.add_connection(Connection::from_ip_addr_ttl(address.ip(), ttl));
    let mut map = RtpMap::new(*payload_type, stream.codec.name(), stream.clock_rate);
    if stream.channels > 1 {
        map.set_encoding_params(stream.channels);
    }
    media.add_attribute_with_value("rtpmap", map);
    if !stream.fmtp.is_empty() {
        media.add_attribute_with_value("fmtp", format!("{payload_type} {}", stream.fmtp));
    }
    if stream.rtcp_port == address.port() {
        media.add_attribute_from_str("rtcp-mux");
    } else if stream.rtcp_port != address.port().saturating_add(1) {
        media.add_attribute_with_value("rtcp", stream.rtcp_port);
    }
    media
}

fn stream_of(
    media: &Media,
    of_session: Option<&Connection>,
    lines: &Lines<'_>,
) -> Result<StreamDescription, Refusal> {
    let m_line = |reason: String| lines.error("m=", reason);
    match media.parse_transport_proto() {
        TransportProto::RtpAvp | TransportProto::RtpAvpf => {}
        _ => {
            let reason = format!("{} is not plain RTP (RTP/AVP, RTP/AVPF)", media.proto);
            return Err(Refusal::Foreign {
                what: format!("{} ({})", media.media, media.proto),
                error: m_line(reason),
            });
        }
    }
    let (payload_type, codec, clock_rate, channels) = format_of(media, lines)?;
    if media.media != MediaKind::of(codec).to_string() {
        return Err(m_line(format!("{codec} is not {}", media.media)).into());
    }
    let connection = media.connections.first().or(of_session);
    let connection = connection.ok_or_else(|| m_line("no c-line says where to".into()))?;
    let address = connection.try_address();
    let address = address.map_err(|e| lines.error("c=", e.to_string()))?;
    let mut stream =
        StreamDescription::new(codec, payload_type, SocketAddr::new(address.ip, media.port));
    stream.ttl = address.ttl;
    stream.clock_rate = clock_rate;
    stream.channels = channels;
    stream.fmtp = fmtp_of(media, payload_type).unwrap_or_default();
    if media.has_attribute("rtcp-mux") {
        stream.rtcp_port = media.port;
    } else if let Some(Some(value)) = media.get_first_attribute_value("rtcp") {
        let port = value.split(' ').next().unwrap_or_default();
        stream.rtcp_port = port
            .parse()
            .map_err(|_| lines.error("a=rtcp:", format!("{port:?} is not a port")))?;
    }
    if let Some(mode) = parameter(&stream.fmtp, "packetization-mode")
        && codec == Codec::H264
        && !matches!(mode, "0" | "1")
    {
        let reason = format!("packetization-mode {mode}: WebRTC has 0 and 1 (RFC 7742 §6.2)");
        return Err(lines.error("a=fmtp:", reason).into());
    }
    Ok(stream)
}

/// Returns payload type, codec, clock rate and channels.
fn format_of(media: &Media, lines: &Lines<'_>) -> Result<(u8, Codec, u32, u8), Refusal> {
    let mut unknown = Vec::new();
    for format in media.fmt.split_ascii_whitespace() {
        let payload_type: u8 = match format.parse() {
            Ok(number) if number < 128 => number,
            _ => {
                let reason = format!("{format:?} is not a payload type");
                return Err(lines.error("m=", reason).into());
            }
        };
        let of_this = format!("a=rtpmap:{payload_type} ");
        let map = media
            .get_attribute_values("rtpmap")
            .flatten()
            .find(|v| v.split(' ').next() == Some(format));
        let map = match map {
            Some(value) => value
                .parse::<RtpMap>()
                .map_err(|e| lines.error(&of_this, e.to_string()))?,
            // RFC 3551 §6: these need no rtpmap.
            None => match Codec::of_static_payload_type(payload_type) {
                Some(codec) => RtpMap::new(payload_type, codec.name(), codec.clock_rate()),
                None => {
                    unknown.push(format!("{payload_type} (without a=rtpmap)"));
                    continue;
                }
            },
        };
        let Some(codec) = Codec::named(&map.encoding_name) else {
            unknown.push(map.encoding_name);
            continue;
        };
        let channels = map.encoding_params.as_deref().unwrap_or("1");
        let channels = match (channels.parse(), codec.is_video()) {
            (_, true) => 0,
            (Ok(number @ 1..=8), _) => number,
            _ => {
                return Err(lines
                    .error(&of_this, format!("{channels:?} channels"))
                    .into());
            }
        };
        if map.clock_rate != codec.clock_rate() {
            let (is, must) = (map.clock_rate, codec.clock_rate());
            let reason = format!("{codec} with a clock of {is} Hz; in WebRTC it has {must}");
            return Err(lines.error(&of_this, reason).into());
        }
        return Ok((payload_type, codec, map.clock_rate, channels));
    }
    let names: Vec<String> = unknown
        .iter()
        .map(|name| foreign(name, &media.media))
        .collect();
    let known: Vec<&str> = Codec::ALL.iter().map(|c| c.name()).collect();
    let reason = format!(
        "no codec of WebRTC: {}; known are {}",
        unknown.join(", "),
        known.join(", ")
    );
    Err(Refusal::Foreign {
        what: names.join(", "),
        error: lines.error("m=", reason),
    })
}

/// Returns the common name of an encoding name.
fn foreign(name: &str, kind: &str) -> String {
    let known = match name.to_ascii_uppercase().as_str() {
        "MPEG4-GENERIC" | "MP4A-LATM" => "AAC audio",
        "MPA" | "MPA-ROBUST" => "MP3 audio",
        "L16" | "L24" => "uncompressed audio",
        "VND.ONVIF.METADATA" => "ONVIF metadata",
        _ => return format!("{kind} ({name})"),
    };
    known.to_owned()
}

fn fmtp_of(media: &Media, payload_type: u8) -> Option<String> {
    let values = media.get_attribute_values(<Fmtp as sdp_types::TypedAttribute>::NAME);
    values.flatten().find_map(|value| {
        let (format, parameters) = value.split_once(' ')?;
        (format.parse() == Ok(payload_type)).then(|| parameters.trim().to_owned())
    })
}

/// The lines of the file, to find the line number of something that the parser has extracted.
struct Lines<'a> {
    text: &'a str,
    /// Index of the m-line.
    index: usize,
}

impl Lines<'_> {
    /// Creates an error on the first line of this m-line's section with this beginning, or else on one of the session,
    /// or else on the m-line itself.
    fn error(&self, begin: &str, reason: String) -> SdpFileError {
        let lines = || self.text.lines().enumerate();
        let starts: Vec<usize> = lines()
            .filter_map(|(n, line)| line.starts_with("m=").then_some(n))
            .collect();
        let start = starts.get(self.index).copied().unwrap_or(0);
        let end = starts.get(self.index + 1).copied().unwrap_or(usize::MAX);
        let first = starts.first().copied().unwrap_or(0);
        let found = |from: usize, to: usize| {
            lines()
                .find(|(n, line)| (from..to).contains(n) && line.starts_with(begin))
                .map(|(n, _)| n)
        };
        let line = found(start, end).or(found(0, first)).unwrap_or(start) + 1;
        SdpFileError { line, reason }
    }
}

fn line_of_error(error: &ParserError) -> usize {
    use ParserError::*;
    match error {
        InvalidLineFormat(n, _)
        | InvalidFieldEncoding(n, _)
        | InvalidFieldFormat(n, _)
        | MissingField(n, _)
        | FieldTrailingData(n, _)
        | InvalidVersion(n, _)
        | MultipleVersions(n)
        | MultipleOrigins(n)
        | MultipleSessionNames(n)
        | MultipleSessionDescription(n)
        | MultipleUris(n)
        | MultipleConnections(n)
        | MultipleTimeZones(n)
        | MultipleMediaTitles(n)
        | MultipleKeys(n)
        | RepeatWithoutTime(n) => *n,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
