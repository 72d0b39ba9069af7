//! Configuration, refusal reasons and statistics of an [`RtpSource`](super::RtpSource).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::super::parameter_sets::ParameterSets;
use super::super::sdp_file::StreamDescription;

/// Configuration of an [`RtpSource`](super::RtpSource).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpSourceConfig {
    /// Accepted payload types; empty, the default, accepts all.
    pub payload_types: Vec<u8>,
    /// Accepted sender address, with any port. `None`, the default, accepts all.
    pub from: Option<IpAddr>,
    /// The only accepted SSRC. `None`, the default, accepts any, one at a time.
    pub ssrc: Option<u32>,
    /// Accepts all SSRCs in parallel. Default: one at a time.
    pub every_ssrc: bool,
    /// Time of silence of the current source after which another one takes over. Default: 500 ms: longer than the
    /// interval of audio packets or slow video, shorter than the start of a program. Packets held meanwhile reach
    /// viewers late by this time.
    pub patience: Duration,
    /// Maximum number of bytes held of a source that may take over; the oldest packets are dropped first. Default: 2
    /// MiB.
    pub max_held: usize,
    /// Inserts parameter sets before a keyframe that comes without them, for viewers that join late: the latest ones
    /// received, initially those of [`parameter_sets`](Self::parameter_sets). Applies to H.264, and to H.265 if
    /// [`parameter_sets`](Self::parameter_sets) is of that kind. Default: off.
    pub repeat_parameter_sets: bool,
    /// Parameter sets known in advance, for example from an SDP file.
    pub parameter_sets: Option<ParameterSets>,
}

impl Default for RtpSourceConfig {
    fn default() -> Self {
        Self {
            payload_types: Vec::new(),
            from: None,
            ssrc: None,
            every_ssrc: false,
            patience: Duration::from_millis(500),
            max_held: 2 << 20,
            repeat_parameter_sets: false,
            parameter_sets: None,
        }
    }
}

impl RtpSourceConfig {
    /// Creates a configuration for a stream of an SDP file: accepts its payload type, and repeats its parameter sets if
    /// it has any.
    pub fn for_stream(stream: &StreamDescription) -> Self {
        let parameter_sets = ParameterSets::of_stream(stream.codec, &stream.fmtp);
        Self {
            payload_types: vec![stream.payload_type],
            repeat_parameter_sets: parameter_sets.is_some(),
            parameter_sets,
            ..Self::default()
        }
    }

    /// Sets [`payload_types`](Self::payload_types).
    #[must_use]
    pub fn payload_types(mut self, types: impl Into<Vec<u8>>) -> Self {
        self.payload_types = types.into();
        self
    }

    /// Sets [`from`](Self::from).
    #[must_use]
    pub fn from(mut self, address: Option<IpAddr>) -> Self {
        self.from = address;
        self
    }

    /// Sets [`ssrc`](Self::ssrc).
    #[must_use]
    pub fn ssrc(mut self, ssrc: Option<u32>) -> Self {
        self.ssrc = ssrc;
        self
    }

    /// Sets [`every_ssrc`](Self::every_ssrc).
    #[must_use]
    pub fn every_ssrc(mut self, every: bool) -> Self {
        self.every_ssrc = every;
        self
    }

    /// Sets [`patience`](Self::patience).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// Reason why a datagram was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// It is not a valid RTP or RTCP packet.
    Malformed,
    /// The sender is not [`RtpSourceConfig::from`].
    WrongAddress,
    /// The payload type is not in [`RtpSourceConfig::payload_types`].
    WrongPayloadType,
    /// The SSRC is not [`RtpSourceConfig::ssrc`].
    WrongSsrc,
    /// Another source is current and active. The packet is held, and returned if its source takes over.
    NotCurrent,
    /// It is a duplicate.
    Duplicate,
    /// Events are not polled: 8,192 are waiting.
    Unpolled,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "no RTP or RTCP packet",
            Self::WrongAddress => "not from the address that may send",
            Self::WrongPayloadType => "another payload type than expected",
            Self::WrongSsrc => "another SSRC than the one chosen",
            Self::NotCurrent => "another source, while the current one is alive",
            Self::Duplicate => "it came twice",
            Self::Unpolled => "too many packets wait to be polled",
        })
    }
}

impl std::error::Error for Ignored {}

/// Statistics of an [`RtpSource`](super::RtpSource), in packets unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RtpSourceStats {
    /// Packets accepted.
    pub packets: u64,
    /// Payload bytes accepted.
    pub bytes: u64,
    /// Packets missing in the sequence numbers, less those that arrived later.
    pub lost: u64,
    /// Packets that arrived after one with a higher sequence number.
    pub reordered: u64,
    /// Duplicates.
    pub duplicates: u64,
    /// Datagrams that were neither RTP nor RTCP.
    pub malformed: u64,
    /// Packets with another address, payload type or SSRC than configured.
    pub unwanted: u64,
    /// Packets of another source while the current one was active, including those held.
    pub not_current: u64,
    /// Packets dropped because events were not polled.
    pub unpolled: u64,
    /// Parameter sets inserted before keyframes.
    pub parameter_sets: u64,
    /// Keyframes without parameter sets while none were known, which cannot be decoded. Counted if
    /// [`RtpSourceConfig::repeat_parameter_sets`] is set.
    pub bare_keyframes: u64,
    /// Number of sources accepted so far.
    pub sources: u32,
}
