//! What an [`RtpSource`](super::RtpSource) takes, why it does not, and what it counts.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::super::h265::H265ParameterSets;
use super::super::parameter_sets::ParameterSets;
use super::super::sdp_file::StreamDescription;
use crate::proto::media::Codec;

/// What an [`RtpSource`](super::RtpSource) takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpSourceConfig {
    /// Payload types taken; empty, the default: all.
    pub payload_types: Vec<u8>,
    /// Who may send, from whatever port. `None`, the default: anybody.
    pub from: Option<IpAddr>,
    /// The only SSRC that is taken. `None`, the default: any, one at a time.
    pub ssrc: Option<u32>,
    /// All SSRCs are taken, side by side. Default: one at a time.
    pub every_ssrc: bool,
    /// How long the current source must have been silent before another takes over. Default: 500 ms:
    /// longer than between two packets of sound or of slow video, shorter than a program takes to start. What
    /// is held meanwhile reaches viewers late by as much.
    pub patience: Duration,
    /// Bytes held of the source that may take over; the oldest go first. Default: 2 MiB.
    pub max_held: usize,
    /// H.264, and H.265 where [`parameter_sets`](Self::parameter_sets) are of it: parameter sets are put before a keyframe that comes without them: those seen last, and at
    /// first those of [`parameter_sets`](Self::parameter_sets). Who comes late then has them, too. Default:
    /// no.
    pub repeat_parameter_sets: bool,
    /// Parameter sets known beforehand, from an SDP file.
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
    /// For a stream of an SDP file: its payload type, and its parameter sets repeated if it has some.
    pub fn for_stream(stream: &StreamDescription) -> Self {
        Self {
            payload_types: vec![stream.payload_type],
            repeat_parameter_sets: matches!(stream.codec, Codec::H264 | Codec::H265),
            parameter_sets: match stream.codec {
                Codec::H264 => Some(ParameterSets::H264(
                    stream.parameter_sets().unwrap_or_default(),
                )),
                Codec::H265 => Some(ParameterSets::H265(
                    H265ParameterSets::from_fmtp(&stream.fmtp).unwrap_or_default(),
                )),
                _ => None,
            },
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

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// It is no RTP or RTCP packet.
    Malformed,
    /// It is not from [`RtpSourceConfig::from`].
    WrongAddress,
    /// It is none of [`RtpSourceConfig::payload_types`].
    WrongPayloadType,
    /// It is not of [`RtpSourceConfig::ssrc`].
    WrongSsrc,
    /// The current source is alive, and this is another. It is held, and given out if that one takes over.
    NotCurrent,
    /// It came twice.
    Duplicate,
    /// Nobody polls: 8,192 events wait.
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

/// What an [`RtpSource`](super::RtpSource) has counted, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RtpSourceStats {
    /// Taken.
    pub packets: u64,
    /// Bytes of payload taken.
    pub bytes: u64,
    /// Gaps in the sequence numbers of the sources, less what came later after all.
    pub lost: u64,
    /// Came behind one with a higher sequence number.
    pub reordered: u64,
    /// Came twice.
    pub duplicates: u64,
    /// Were no RTP or RTCP.
    pub malformed: u64,
    /// Had another address, payload type or SSRC than is taken.
    pub unwanted: u64,
    /// Of another source, while the current one was alive; held, perhaps.
    pub not_current: u64,
    /// Dropped because nobody polled.
    pub unpolled: u64,
    /// Parameter sets put before keyframes.
    pub parameter_sets: u64,
    /// Keyframes that came without parameter sets while none were known: nobody can decode them. Counted where
    /// [`RtpSourceConfig::repeat_parameter_sets`] is set.
    pub bare_keyframes: u64,
    /// Sources taken so far.
    pub sources: u32,
}
