//! A session with a camera: its streams, and when something is due.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::reception::Reception;
use crate::proto::rtsp::config::RtspTiming;
use crate::proto::rtsp::contract::{Output, RtspEvent, Transport};
use crate::proto::rtsp::described::Described;
use crate::proto::rtsp::message::SessionField;

/// Timeout of sessions that state none (RFC 2326 §12.37).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Media that is kept between PLAY and its answer, at most, in packets and in bytes.
const MAX_EARLY: usize = 1024;
const MAX_EARLY_BYTES: usize = 4 * 1024 * 1024;

/// A stream that is set up, or will be.
pub(super) struct Stream {
    /// Index in the description.
    pub index: usize,
    /// URL for SETUP.
    pub uri: String,
    pub is_backchannel: bool,
    pub is_audio: bool,
    pub clock_rate: u32,
    pub path: Path,
    pub announced: Announced,
}

/// Announced properties of a stream's packets, used for comparison only.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// Sequence number of the first packet, in `RTP-Info`.
    pub sequence: Option<u16>,
    /// SSRC of the packets.
    ssrc: Option<u32>,
}

/// How far the first sequence number may be from the announced one: packets are lost, and overtake each other.
const MAX_AHEAD: u16 = 500;

impl Announced {
    /// Compares a packet. Returns `false` for a lie, which is told once.
    pub fn is_true(&mut self, is_rtcp: bool, packet: &[u8]) -> bool {
        match (is_rtcp, packet) {
            (false, [_, _, high, low, _, _, _, _, a, b, c, d, ..]) => {
                self.ssrc = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                let sequence = u16::from_be_bytes([*high, *low]);
                let announced = self.sequence.take();
                announced.is_none_or(|first| sequence.wrapping_sub(first) <= MAX_AHEAD)
            }
            // A sender report.
            (true, [_, 200, _, _, a, b, c, d, ..]) => {
                let ssrc = u32::from_be_bytes([*a, *b, *c, *d]);
                self.ssrc.is_none_or(|own| own == ssrc)
            }
            _ => true,
        }
    }
}

/// How the packets of a stream travel.
pub(super) enum Path {
    /// Not known yet.
    None,
    /// Channels for RTP and RTCP.
    Channels(u8, u8),
    Udp(Box<UdpPath>),
}

/// The two sockets of a stream.
#[derive(Debug, Default)]
pub(super) struct UdpPath {
    pub is_multicast: bool,
    /// The camera's addresses: that of the connection, and `source=`.
    pub sources: [Option<IpAddr>; 2],
    /// Ports that the camera has announced.
    pub ports: Option<(u16, u16)>,
    /// Addresses of the first RTP and RTCP packet.
    pub pinned: [Option<SocketAddr>; 2],
    pub reception: Reception,
}

impl UdpPath {
    /// Decides whether a datagram is the camera's: it comes from its address. The first one pins the port, because some
    /// cameras send from others than they say; the announced one always counts.
    pub fn judge(&mut self, is_rtcp: bool, source: SocketAddr) -> Verdict {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let announced = self
            .ports
            .map(|(rtp, rtcp)| if is_rtcp { rtcp } else { rtp });
        let pinned = &mut self.pinned[usize::from(is_rtcp)];
        if *pinned == Some(source) {
            return Verdict::Accepted;
        }
        if !self.sources.contains(&Some(source.ip())) {
            return Verdict::Foreign;
        }
        // The sending port of a multicast stream is not announced.
        let is_announced = announced == Some(source.port());
        if pinned.is_some() && !is_announced {
            return Verdict::Foreign;
        }
        *pinned = Some(source);
        match is_announced || self.is_multicast {
            true => Verdict::Accepted,
            false => Verdict::OtherPort,
        }
    }

    /// Returns the address to send to: where the camera sends from, or where it has said.
    pub fn destination(&self, is_rtcp: bool) -> Option<SocketAddr> {
        let announced = || {
            let (rtp, rtcp) = self.ports?;
            let ip = self.sources[1].or(self.sources[0])?;
            Some(SocketAddr::new(ip, if is_rtcp { rtcp } else { rtp }))
        };
        self.pinned[usize::from(is_rtcp)].or_else(announced)
    }
}

/// Verdict on whether a datagram is the camera's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// Accepted, from a port that was not announced.
    OtherPort,
    /// Somebody else's.
    Foreign,
}

/// A session.
pub(super) struct Session {
    pub described: Described,
    /// URL of the whole session, for PLAY, keep-alives and TEARDOWN.
    pub uri: String,
    pub transport: Transport,
    pub streams: Vec<Stream>,
    /// The first identifier that the camera gave.
    pub id: Option<String>,
    pub timeout: Duration,
    /// A stream was set up: the camera holds resources.
    pub is_begun: bool,
    pub is_play_asked: bool,
    /// The stream whose sockets are being opened, and until when.
    pub opening: Option<(usize, Instant)>,
    /// When the session began: the origin of arrival times.
    pub begun: Instant,
    /// Media that arrived before the answer to PLAY.
    early: Vec<RtspEvent>,
    early_bytes: usize,
    pub timers: Timers,
}

/// When something is due while a session plays.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pub keepalive: Option<Instant>,
    pub silence: Option<Instant>,
    pub first_datagram: Option<Instant>,
    pub report: Option<Instant>,
}

impl Session {
    pub fn new(
        described: Described,
        uri: String,
        transport: Transport,
        streams: Vec<Stream>,
        now: Instant,
    ) -> Self {
        Self {
            described,
            uri,
            transport,
            streams,
            id: None,
            timeout: DEFAULT_TIMEOUT,
            is_begun: false,
            is_play_asked: false,
            opening: None,
            begun: now,
            early: Vec::new(),
            early_bytes: 0,
            timers: Timers::default(),
        }
    }

    /// Takes the session's identifier from an answer. Returns `false` if it is another one than before.
    pub fn identify(&mut self, field: SessionField) -> bool {
        if let Some(timeout) = field.timeout {
            self.timeout = timeout;
        }
        match &self.id {
            Some(id) => *id == field.id,
            None => {
                self.id = Some(field.id);
                true
            }
        }
    }

    /// Returns the interval between keep-alives: half the timeout, between 1 s and the configured maximum.
    pub fn keepalive(&self, timing: &RtspTiming) -> Duration {
        (self.timeout / 2)
            .min(timing.keepalive)
            .max(Duration::from_secs(1))
    }

    /// Returns `true` if media is expected from the camera.
    pub fn has_media(&self) -> bool {
        self.streams.iter().any(|s| !s.is_backchannel)
    }

    pub fn is_udp(&self) -> bool {
        self.transport != Transport::Tcp
    }

    pub fn stream_of_channel(&self, channel: u8) -> Option<(&Stream, bool)> {
        self.streams.iter().find_map(|stream| match stream.path {
            Path::Channels(rtp, _) if rtp == channel => Some((stream, false)),
            Path::Channels(_, rtcp) if rtcp == channel => Some((stream, true)),
            _ => None,
        })
    }

    /// Returns `true` if a datagram of the camera has arrived.
    pub fn has_datagrams(&self) -> bool {
        self.streams.iter().any(|stream| match &stream.path {
            Path::Udp(path) => path.pinned.iter().any(Option::is_some),
            _ => false,
        })
    }

    /// Keeps media until PLAY is answered. What exceeds the limits is dropped.
    pub fn keep_early(&mut self, event: RtspEvent, length: usize) {
        if self.early.len() < MAX_EARLY && self.early_bytes + length <= MAX_EARLY_BYTES {
            self.early_bytes += length;
            self.early.push(event);
        }
    }

    pub fn take_early(&mut self) -> Vec<RtspEvent> {
        self.early_bytes = 0;
        std::mem::take(&mut self.early)
    }

    pub fn deadline(&self) -> Option<Instant> {
        let timers = &self.timers;
        let all = [
            timers.keepalive,
            timers.silence,
            timers.first_datagram,
            timers.report,
        ];
        all.into_iter().flatten().min()
    }

    /// Returns what closes the session's sockets.
    pub fn close_sockets(&mut self) -> Vec<Output> {
        let opening = self.opening;
        let streams = self.streams.iter().enumerate();
        let open = streams.filter(|(n, stream)| {
            matches!(stream.path, Path::Udp(_)) || opening.is_some_and(|(at, _)| at == *n)
        });
        open.map(|(_, stream)| Output::CloseUdp {
            stream: stream.index,
        })
        .collect()
    }
}
