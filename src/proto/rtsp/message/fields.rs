//! Values of the headers that the client reads.

use std::net::IpAddr;
use std::time::Duration;

/// Maximum length of a session identifier, in bytes; real ones have 8 to 20.
const MAX_SESSION: usize = 256;

/// Value of `Session` (RFC 2326 §12.37).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionField {
    pub id: String,
    /// `None` if it is missing or 0.
    pub timeout: Option<Duration>,
}

impl SessionField {
    /// Parses a value; `None` if there is no identifier that could be sent back.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';');
        let id = parts.next()?.trim();
        if id.is_empty() || id.len() > MAX_SESSION || !id.bytes().all(|c| c.is_ascii_graphic()) {
            return None;
        }
        let timeout = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let seconds = value.trim().parse().ok().filter(|seconds| *seconds > 0)?;
            let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
            is_timeout.then(|| Duration::from_secs(u64::from(u32::min(seconds, 86_400))))
        });
        Some(Self {
            id: id.to_owned(),
            timeout,
        })
    }
}

/// Value of `Transport` in a response (RFC 2326 §12.39): what is needed of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TransportField {
    /// `RTP/AVP/TCP`.
    pub is_tcp: bool,
    pub is_multicast: bool,
    /// Channels for RTP and RTCP.
    pub interleaved: Option<(u8, u8)>,
    /// Both channels were given.
    pub has_both_channels: bool,
    /// Ports of the camera for RTP and RTCP; never 0.
    pub server_port: Option<(u16, u16)>,
    /// Ports of the multicast group.
    pub port: Option<(u16, u16)>,
    /// Address that the camera sends from.
    pub source: Option<IpAddr>,
    /// Multicast group.
    pub destination: Option<IpAddr>,
}

impl TransportField {
    /// Parses the first transport of a value. Parameters that are unknown or invalid are skipped.
    pub fn parse(value: &str) -> Self {
        let first = value.split(',').next().unwrap_or_default();
        let mut parts = first.split(';').map(str::trim);
        let protocol = parts.next().unwrap_or_default();
        let mut field = Self {
            is_tcp: protocol.to_ascii_uppercase().ends_with("/TCP"),
            ..Self::default()
        };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "multicast" => field.is_multicast = true,
                "interleaved" => {
                    field.interleaved = channels(value);
                    field.has_both_channels = value.contains('-');
                }
                "server_port" => field.server_port = ports(value),
                "port" => field.port = ports(value),
                "source" => field.source = value.parse().ok(),
                "destination" => field.destination = value.parse().ok(),
                _ => {}
            }
        }
        field
    }
}

/// `2-3`, or `2` alone, which means 2 and 3.
fn channels(value: &str) -> Option<(u8, u8)> {
    let (first, second) = match value.split_once('-') {
        Some((first, second)) => (first, second.trim().parse().ok()),
        None => (value, None),
    };
    let first: u8 = first.trim().parse().ok()?;
    let second = second.or_else(|| first.checked_add(1))?;
    Some((first, second))
}

/// `5000-5001`, or `5000` alone, which means 5000 and 5001; `None` for 0 and 1, which some cameras say for nothing.
fn ports(value: &str) -> Option<(u16, u16)> {
    let (first, second) = match value.split_once('-') {
        Some((first, second)) => (first, second.trim().parse().ok()),
        None => (value, None),
    };
    let first: u16 = first.trim().parse().ok().filter(|port| *port > 1)?;
    let second = second.filter(|port| *port > 1);
    Some((first, second.or_else(|| first.checked_add(1))?))
}

/// Returns `true` if a list of methods (`Public`) contains this one.
pub(crate) fn has_method(list: &str, method: &str) -> bool {
    let mut names = list.split([',', ' ']).map(str::trim);
    names.any(|name| name.eq_ignore_ascii_case(method))
}

/// Returns `true` if the numbers of `RTP-Info` are numbers. They are only compared with what arrives.
pub(crate) fn is_readable_rtp_info(value: &str) -> bool {
    let parameters = value.split([',', ';']).map(str::trim);
    parameters
        .filter_map(|p| p.split_once('='))
        .all(|(name, value)| {
            let is_number = value.trim().parse::<u32>().is_ok();
            !matches!(name.trim(), "seq" | "rtptime") || is_number
        })
}

/// Returns the sequence numbers of `RTP-Info`, in its order, which is that of the SETUPs where cameras have one.
pub(crate) fn first_sequences(value: &str) -> impl Iterator<Item = Option<u16>> {
    value.split(',').map(|stream| {
        let mut parameters = stream.split(';').filter_map(|p| p.trim().split_once('='));
        parameters.find_map(|(name, value)| match name.trim() {
            "seq" => value.trim().parse().ok(),
            _ => None,
        })
    })
}
