//! The connection and the sockets of one session with a camera, on the loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::driver::{
    Datagram, EventLoop, LoopError, TcpConfig, TcpError, TcpEvent, TcpEventKind, TcpId, TlsMode,
    UdpConfig, UdpId,
};
use crate::proto::rtsp::{Disconnected, Input, MulticastGroup};

/// Ports for media by UDP: those of dynamic use (RFC 6335 §6).
const PORTS: RangeInclusive<u16> = 49_152..=65_535;

/// Time limit for the connection to a camera, with all its addresses and TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// Maximum number of bytes queued to a camera: requests, and audio for its loudspeaker.
const MAX_QUEUE: usize = 256 * 1024;

/// Maximum number of pairs of sockets: more streams are not set up.
const MAX_PAIRS: usize = 8;

/// Sockets of a session.
#[derive(Debug)]
pub(super) struct Wire {
    tls: TlsMode,
    tcp: Option<TcpId>,
    /// Our address towards the camera, which its datagrams come to.
    local: Option<IpAddr>,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    stream: usize,
    rtp: UdpId,
    rtcp: UdpId,
}

impl Wire {
    pub fn new(tls: TlsMode) -> Self {
        Self {
            tls,
            tcp: None,
            local: None,
            pairs: Vec::new(),
        }
    }

    /// Starts a connection; returns an input if it fails at once.
    pub fn connect(
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
    pub fn send(&mut self, net: &mut EventLoop, message: &[u8]) {
        if let Some(tcp) = self.tcp
            && !matches!(net.send_tcp(tcp, message), Ok(true))
        {
            log::debug!("a message to a camera that does not read is dropped");
        }
    }

    pub fn disconnect(&mut self, net: &mut EventLoop) {
        if let Some(tcp) = self.tcp.take() {
            net.close_tcp(tcp);
        }
    }

    /// Opens sockets for a stream's media by UDP; returns the answer.
    pub fn open_udp(
        &mut self,
        net: &mut EventLoop,
        stream: usize,
        group: Option<MulticastGroup>,
    ) -> Input<'static> {
        self.close_udp(net, stream);
        match self.try_open(net, group) {
            Ok((rtp, rtcp)) => {
                self.pairs.push(Pair { stream, rtp, rtcp });
                let port = |id| net.udp_address(id).map_or(0, |address| address.port());
                Input::UdpOpened {
                    stream,
                    rtp_port: port(rtp),
                    rtcp_port: port(rtcp),
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

    pub fn close_udp(&mut self, net: &mut EventLoop, stream: usize) {
        for pair in self.pairs.extract_if(.., |pair| pair.stream == stream) {
            net.close_udp(pair.rtp);
            net.close_udp(pair.rtcp);
        }
    }

    pub fn send_udp(
        &self,
        net: &mut EventLoop,
        (stream, is_rtcp): (usize, bool),
        to: SocketAddr,
        contents: Vec<u8>,
    ) {
        let Some(pair) = self.pairs.iter().find(|pair| pair.stream == stream) else {
            return;
        };
        let socket = if is_rtcp { pair.rtcp } else { pair.rtp };
        if let Err(e) = net.send_datagram(socket, to, contents) {
            log::debug!("a datagram to a camera: {e}");
        }
    }

    /// Closes everything. What is queued to the camera is sent.
    pub fn close(&mut self, net: &mut EventLoop) {
        self.disconnect(net);
        for pair in std::mem::take(&mut self.pairs) {
            net.close_udp(pair.rtp);
            net.close_udp(pair.rtcp);
        }
    }

    pub fn has_tcp(&self, id: TcpId) -> bool {
        self.tcp == Some(id)
    }

    pub fn has_udp(&self, id: UdpId) -> bool {
        self.pairs
            .iter()
            .any(|pair| pair.rtp == id || pair.rtcp == id)
    }

    /// Translates an event of the connection.
    pub fn input_of<'a>(&mut self, event: &'a TcpEvent) -> Option<Input<'a>> {
        match &event.kind {
            TcpEventKind::Connected { local, remote } => {
                self.local = Some(local.ip());
                let (local, remote) = (*local, *remote);
                Some(Input::Connected { local, remote })
            }
            TcpEventKind::Received(bytes) => Some(Input::Received(bytes)),
            TcpEventKind::Closed { reason } => {
                self.tcp = None;
                Some(Input::Closed(disconnected(reason)))
            }
            _ => None,
        }
    }

    /// Translates a datagram.
    pub fn input_of_datagram<'a>(&self, datagram: &'a Datagram) -> Option<Input<'a>> {
        let has = |pair: &&Pair| [pair.rtp, pair.rtcp].contains(&datagram.socket);
        let pair = self.pairs.iter().find(has)?;
        Some(Input::Datagram {
            stream: pair.stream,
            is_rtcp: pair.rtcp == datagram.socket,
            source: datagram.source,
            contents: &datagram.contents,
        })
    }
}

fn disconnected(reason: &TcpError) -> Disconnected {
    match reason {
        TcpError::Resolve { .. } => Disconnected::NoSuchHost,
        TcpError::ConnectTimeout(..) => Disconnected::TimedOut,
        TcpError::Connect { kind, .. } if *kind == std::io::ErrorKind::ConnectionRefused => {
            Disconnected::Refused
        }
        TcpError::Certificate(why) => Disconnected::Tls(format!(
            "its certificate was not accepted: {why}; append #fingerprint=… with the right one, or #insecure to accept any"
        )),
        TcpError::Tls(why) => Disconnected::Tls(why.clone()),
        TcpError::ClosedByRemote | TcpError::Truncated => Disconnected::Closed,
        other => Disconnected::Failed(other.to_string()),
    }
}
