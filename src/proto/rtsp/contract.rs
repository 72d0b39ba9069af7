//! Inputs, outputs and events of the client.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::described::Described;
use super::error::{Disconnected, RtspError};
use super::quirk::Quirk;

/// Way in which media is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Interleaved in the RTSP connection (RFC 2326 §10.12).
    Tcp,
    /// Unicast datagrams, a pair of ports for each stream.
    Udp,
    /// Multicast datagrams, in groups that the camera chooses.
    Multicast,
}

impl Transport {
    /// Returns the name: `TCP`, `UDP` or `multicast`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Multicast => "multicast",
        }
    }
}

/// Input of an [`RtspClient`](super::RtspClient).
///
/// Inputs of a connection or socket that the client has since asked to close must not be passed on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The connection requested by [`Output::Connect`] is established, for `rtsps` including TLS.
    Connected {
        /// Our address.
        local: SocketAddr,
        /// The camera's address.
        remote: SocketAddr,
    },
    /// Bytes arrived on the connection, in pieces of any size.
    Received(&'a [u8]),
    /// The connection could not be made or has ended.
    Closed(Disconnected),
    /// The sockets requested by [`Output::OpenUdp`] are open. For unicast, `rtp_port` is even and `rtcp_port` the next one.
    UdpOpened {
        /// Index of the stream in [`Described::streams`].
        stream: usize,
        /// Our port for RTP.
        rtp_port: u16,
        /// Our port for RTCP.
        rtcp_port: u16,
    },
    /// The sockets requested by [`Output::OpenUdp`] could not be opened.
    UdpFailed {
        /// Index of the stream.
        stream: usize,
        /// The reason, in words.
        reason: String,
    },
    /// A datagram arrived on a socket of a stream.
    Datagram {
        /// Index of the stream.
        stream: usize,
        /// `true` for the stream's RTCP socket.
        is_rtcp: bool,
        /// Address of the sender.
        source: SocketAddr,
        /// The whole datagram.
        contents: &'a [u8],
    },
    /// The time of [`Output::Timeout`] has come.
    Timeout,
}

/// A multicast group to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MulticastGroup {
    /// Address of the group.
    pub group: IpAddr,
    /// Port for RTP.
    pub rtp_port: u16,
    /// Port for RTCP.
    pub rtcp_port: u16,
    /// The interface to join on: the one that the connection to the camera uses.
    pub interface: IpAddr,
}

/// Output of an [`RtspClient`](super::RtspClient). `Debug` shows the length of what is sent, not the contents.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Connect to this host, with TLS if `tls`. Answer with [`Input::Connected`] or [`Input::Closed`].
    Connect {
        /// Host name or address; IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
        /// `true` for TLS.
        tls: bool,
    },
    /// Send these bytes on the connection. They may contain secrets.
    Send(Vec<u8>),
    /// Close the connection after sending what is queued. There is no answer.
    Disconnect,
    /// Open two UDP sockets for a stream: an even port for RTP and the next one for RTCP, or the ports of the group.
    /// Answer with [`Input::UdpOpened`] or [`Input::UdpFailed`].
    OpenUdp {
        /// Index of the stream in [`Described::streams`].
        stream: usize,
        /// The group to join; `None` for unicast.
        multicast: Option<MulticastGroup>,
    },
    /// Close both UDP sockets of a stream.
    CloseUdp {
        /// Index of the stream.
        stream: usize,
    },
    /// Send a datagram from a socket of a stream.
    SendUdp {
        /// Index of the stream.
        stream: usize,
        /// `true` for the stream's RTCP socket.
        is_rtcp: bool,
        /// Where to.
        destination: SocketAddr,
        /// The datagram.
        contents: Vec<u8>,
    },
    /// An event for the application.
    Event(RtspEvent),
    /// No more output. Pass [`Input::Timeout`] at this time, if there is one; `None` once the session has ended.
    Timeout(Option<Instant>),
}

impl fmt::Debug for Output {
    /// Hides what is sent: it may contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { host, port, tls } => {
                write!(f, "Connect({host}, port {port}, tls: {tls})")
            }
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Disconnect => f.write_str("Disconnect"),
            Self::OpenUdp { stream, multicast } => write!(f, "OpenUdp({stream}, {multicast:?})"),
            Self::CloseUdp { stream } => write!(f, "CloseUdp({stream})"),
            Self::SendUdp {
                stream,
                is_rtcp,
                destination,
                contents,
            } => {
                let kind = if *is_rtcp { "RTCP" } else { "RTP" };
                let length = contents.len();
                write!(
                    f,
                    "SendUdp({stream}, {kind}, {destination}, {length} bytes)"
                )
            }
            Self::Event(event) => write!(f, "Event({event:?})"),
            Self::Timeout(at) => write!(f, "Timeout({at:?})"),
        }
    }
}

/// Direction of traced messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From us to the camera.
    Sent,
    /// From the camera to us.
    Received,
}

/// Event of an [`RtspClient`](super::RtspClient). `Debug` hides passwords in URLs and the contents of packets.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum RtspEvent {
    /// The camera has described its streams. Comes again after a redirect or a change of transport.
    Described(Box<Described>),
    /// The camera has accepted PLAY. Comes again after a change of transport, with sequence numbers and SSRCs unrelated to
    /// those before.
    Playing {
        /// Indices of the streams that were set up, in ascending order.
        streams: Vec<usize>,
        /// Index of the stream for two-way audio. It is not among `streams`. `None` if it was not asked for, or if the
        /// camera has none or refuses it ([`Quirk::Backchannel`]).
        backchannel: Option<usize>,
        /// The transport.
        transport: Transport,
    },
    /// An RTP packet of a stream that was set up. Not parsed: it may be anything.
    Packet {
        /// Index of the stream in [`Described::streams`].
        stream: usize,
        /// The packet.
        contents: Vec<u8>,
    },
    /// An RTCP packet of a stream that was set up. Not parsed.
    Rtcp {
        /// Index of the stream.
        stream: usize,
        /// The compound packet.
        contents: Vec<u8>,
    },
    /// A tolerance was needed for the first time in this session. [`RtspClient::quirks`](super::RtspClient::quirks) has the
    /// counters.
    Quirk(Quirk),
    /// The camera redirected the client to this address, without secrets.
    Redirected(String),
    /// The transport changes, for this reason. A new connection follows.
    TransportChanged {
        /// The new transport.
        to: Transport,
        /// The reason, in words.
        because: String,
    },
    /// A message, without secrets; only if [`RtspClientConfig::trace`](super::RtspClientConfig::trace) is set.
    Trace(Direction, String),
    /// The session is over; the last event. `None` if the application asked for it.
    Ended(Option<RtspError>),
}

impl fmt::Debug for RtspEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Described(described) => write!(f, "{described:?}"),
            Self::Playing {
                streams,
                backchannel,
                transport,
            } => write!(f, "Playing({streams:?}, {backchannel:?}, {transport:?})"),
            Self::Packet { stream, contents } => {
                write!(f, "Packet({stream}, {} bytes)", contents.len())
            }
            Self::Rtcp { stream, contents } => {
                write!(f, "Rtcp({stream}, {} bytes)", contents.len())
            }
            Self::Quirk(quirk) => write!(f, "Quirk({quirk})"),
            Self::Redirected(to) => write!(f, "Redirected({to})"),
            Self::TransportChanged { to, because } => {
                write!(f, "TransportChanged({to:?}, {because})")
            }
            Self::Trace(direction, text) => write!(f, "Trace({direction:?}, {text:?})"),
            Self::Ended(error) => write!(f, "Ended({error:?})"),
        }
    }
}
