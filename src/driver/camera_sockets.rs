//! The sockets of a session with an RTSP camera.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{
    Datagram, EventLoop, LoopError, TcpConfig, TcpError, TcpEvent, TcpEventKind, TcpId, TlsMode,
    UdpConfig, UdpId,
};
use crate::proto::rtsp::{Disconnected, Input, MulticastGroup, Output};

/// Ports for media by UDP: those of dynamic use (RFC 6335 §6).
const PORTS: RangeInclusive<u16> = 49_152..=65_535;

/// Time limit for the connection to a camera, with all its addresses and TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// Maximum number of bytes queued to a camera: requests, and audio for its loudspeaker.
const MAX_QUEUE: usize = 256 * 1024;

/// Maximum number of pairs of sockets: more streams are not set up.
const MAX_PAIRS: usize = 8;

/// Sockets of one session with an RTSP camera: carries out what its machine
/// ([`Camera`](crate::proto::rtsp::Camera), [`RtspClient`](crate::proto::rtsp::RtspClient) or
/// [`Talk`](crate::proto::rtsp::Talk)) asks for, and translates events of the loop into its inputs.
///
/// Call [`close`](Self::close) at the end: dropping it leaves its sockets to the loop.
#[derive(Debug)]
pub struct CameraSockets {
    tls: TlsMode,
    /// Advice for a camera whose certificate was not accepted.
    advice: &'static str,
    tcp: Option<TcpId>,
    /// Our address towards the camera, which its datagrams come to.
    local: Option<IpAddr>,
    pairs: Vec<Pair>,
}

/// Sockets of one stream.
#[derive(Debug)]
struct Pair {
    stream: usize,
    rtp: UdpId,
    rtcp: UdpId,
}

impl CameraSockets {
    /// Creates it without sockets. `tls` is how a camera's certificate is verified, if the session uses TLS; `advice` is
    /// appended to the reason if it is not accepted, and tells people how to change that.
    pub fn new(tls: TlsMode, advice: &'static str) -> Self {
        Self {
            tls,
            advice,
            tcp: None,
            local: None,
            pairs: Vec::new(),
        }
    }

    /// Carries out an output of the machine. Returns the input that answers it, if there is one at once; events and
    /// timeouts are the caller's, and nothing is done for them.
    pub fn perform(&mut self, net: &mut EventLoop, output: Output) -> Option<Input<'static>> {
        match output {
            Output::Connect { host, port, tls } => return self.connect(net, &host, port, tls),
            Output::Send(message) => self.send(net, &message),
            Output::Disconnect => self.disconnect(net),
            Output::OpenUdp { stream, multicast } => {
                return Some(self.open_udp(net, stream, multicast));
            }
            Output::CloseUdp { stream } => self.close_pairs(net, |pair| pair.stream == stream),
            Output::SendUdp {
                stream,
                is_rtcp,
                destination,
                contents,
            } => {
                if let Some(pair) = self.pairs.iter().find(|pair| pair.stream == stream) {
                    let socket = if is_rtcp { pair.rtcp } else { pair.rtp };
                    if let Err(e) = net.send_datagram(socket, destination, contents) {
                        log::debug!("a datagram to a camera: {e}");
                    }
                }
            }
            Output::Event(_) | Output::Timeout(_) => {}
        }
        None
    }

    /// Closes everything. Bytes queued to the camera are still sent.
    pub fn close(&mut self, net: &mut EventLoop) {
        self.disconnect(net);
        self.close_pairs(net, |_| true);
    }

    /// Returns `true` if the connection belongs to this session.
    pub fn has_tcp(&self, id: TcpId) -> bool {
        self.tcp == Some(id)
    }

    /// Returns `true` if the socket belongs to this session.
    pub fn has_udp(&self, id: UdpId) -> bool {
        self.pairs.iter().any(|pair| pair.has(id))
    }

    /// Returns the input for an event of the connection; `None` if it is another connection's, or of no interest.
    pub fn input_of_tcp<'a>(&mut self, event: &'a TcpEvent) -> Option<Input<'a>> {
        if !self.has_tcp(event.socket) {
            return None;
        }
        match &event.kind {
            TcpEventKind::Connected { local, remote } => {
                self.local = Some(local.ip());
                let (local, remote) = (*local, *remote);
                Some(Input::Connected { local, remote })
            }
            TcpEventKind::Received(bytes) => Some(Input::Received(bytes)),
            TcpEventKind::Closed { reason } => {
                self.tcp = None;
                Some(Input::Closed(self.disconnected(reason)))
            }
            _ => None,
        }
    }

    /// Returns the input for a datagram; `None` if it was received on another socket.
    pub fn input_of_datagram<'a>(&self, datagram: &'a Datagram) -> Option<Input<'a>> {
        let pair = self.pairs.iter().find(|pair| pair.has(datagram.socket))?;
        Some(Input::Datagram {
            stream: pair.stream,
            is_rtcp: pair.rtcp == datagram.socket,
            source: datagram.source,
            contents: &datagram.contents,
        })
    }

    /// Starts a connection; returns an input if it fails at once.
    fn connect(
        &mut self,
        net: &mut EventLoop,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Option<Input<'static>> {
        self.disconnect(net);
        let config = TcpConfig::new(host, port)
            .tls(tls.then_some(self.tls))
            .connect_timeout(CONNECT)
            .max_queue(MAX_QUEUE);
        match net.add_tcp(config) {
            Ok(id) => {
                self.tcp = Some(id);
                None
            }
            Err(e) => Some(Input::Closed(Disconnected::Failed(e.to_string()))),
        }
    }

    /// Sends a message. One that does not fit is dropped whole: the camera reads nothing, and the session ends by its
    /// time limits.
    fn send(&mut self, net: &mut EventLoop, message: &[u8]) {
        if let Some(tcp) = self.tcp
            && !matches!(net.send_tcp(tcp, message), Ok(true))
        {
            log::debug!("a message to a camera that does not read is dropped");
        }
    }

    fn disconnect(&mut self, net: &mut EventLoop) {
        if let Some(tcp) = self.tcp.take() {
            net.close_tcp(tcp);
        }
    }

    /// Opens sockets for a stream's media by UDP; returns the answer.
    fn open_udp(
        &mut self,
        net: &mut EventLoop,
        stream: usize,
        group: Option<MulticastGroup>,
    ) -> Input<'static> {
        self.close_pairs(net, |pair| pair.stream == stream);
        match self.try_open(net, group) {
            Ok((rtp, rtcp)) => {
                let port = |id| net.udp_address(id).map_or(0, |address| address.port());
                let (rtp_port, rtcp_port) = (port(rtp), port(rtcp));
                self.pairs.push(Pair { stream, rtp, rtcp });
                Input::UdpOpened {
                    stream,
                    rtp_port,
                    rtcp_port,
                }
            }
            Err(e) => Input::UdpFailed {
                stream,
                reason: e.to_string(),
            },
        }
    }

    fn try_open(
        &self,
        net: &mut EventLoop,
        group: Option<MulticastGroup>,
    ) -> Result<(UdpId, UdpId), LoopError> {
        if self.pairs.len() >= MAX_PAIRS {
            let (limit, value) = ("the number of a camera's streams by UDP", MAX_PAIRS);
            return Err(LoopError::LimitReached { limit, value });
        }
        let Some(group) = group else {
            let ip = self.local.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            return net.add_udp_pair(ip, PORTS);
        };
        let config = |port| {
            UdpConfig::new(SocketAddr::new(group.group, port)).interface(Some(group.interface))
        };
        let rtp = net.add_udp(config(group.rtp_port))?;
        match net.add_udp(config(group.rtcp_port)) {
            Ok(rtcp) => Ok((rtp, rtcp)),
            Err(e) => {
                net.close_udp(rtp);
                Err(e)
            }
        }
    }

    fn close_pairs(&mut self, net: &mut EventLoop, is_closed: impl Fn(&Pair) -> bool) {
        for pair in self.pairs.extract_if(.., |pair| is_closed(pair)) {
            net.close_udp(pair.rtp);
            net.close_udp(pair.rtcp);
        }
    }

    fn disconnected(&self, reason: &TcpError) -> Disconnected {
        match reason {
            TcpError::Resolve { .. } => Disconnected::NoSuchHost,
            TcpError::ConnectTimeout(..) => Disconnected::TimedOut,
            TcpError::Connect { kind, .. } if *kind == std::io::ErrorKind::ConnectionRefused => {
                Disconnected::Refused
            }
            TcpError::Certificate(why) => Disconnected::Tls(format!(
                "its certificate was not accepted: {why}; {}",
                self.advice
            )),
            TcpError::Tls(why) => Disconnected::Tls(why.clone()),
            TcpError::ClosedByRemote | TcpError::Truncated => Disconnected::Closed,
            other => Disconnected::Failed(other.to_string()),
        }
    }
}

impl Pair {
    fn has(&self, id: UdpId) -> bool {
        self.rtp == id || self.rtcp == id
    }
}
