//! The connection and the sockets of a probe, on its loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::ArgMatches;
use looprtc::driver::{
    Datagram, EventLoop, LoopError, TcpConfig, TcpError, TcpEvent, TcpEventKind, TcpId, TlsMode,
    UdpConfig, UdpId,
};
use looprtc::proto::rtsp::{Disconnected, Input, MulticastGroup, Output};

use crate::Usage;
use crate::cli::value;

#[derive(Debug)]
pub struct Wire {
    tls: TlsMode,
    tcp: Option<TcpId>,
    local: Option<IpAddr>,
    pairs: Vec<Pair>,
}

/// The sockets of a stream.
#[derive(Debug)]
struct Pair {
    stream: usize,
    rtp: UdpId,
    rtcp: UdpId,
}

/// Returns how the camera's certificate is checked.
pub fn tls_mode(options: &ArgMatches) -> Result<TlsMode, Usage> {
    if options.get_flag("insecure") {
        return Ok(TlsMode::Unverified);
    }
    let Some(text) = value::<String>(options, "fingerprint") else {
        return Ok(TlsMode::SystemRoots);
    };
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map_while(|c| c.to_digit(16).map(|n| n as u8))
        .collect();
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    let fingerprint = <[u8; 32]>::try_from(bytes);
    let fingerprint = fingerprint.ok().filter(|_| digits.len() == 64);
    fingerprint.map(TlsMode::Fingerprint).ok_or_else(|| {
        Usage("--fingerprint: a SHA-256 fingerprint has 64 hexadecimal digits, with or without colons".into())
    })
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

    /// Does what the camera's machine wants. Returns the answer, if there is one at once.
    pub fn perform(&mut self, net: &mut EventLoop, output: Output) -> Option<Input<'static>> {
        match output {
            Output::Connect { host, port, tls } => {
                self.disconnect(net);
                let config = TcpConfig::new(host, port).tls(tls.then_some(self.tls));
                match net.add_tcp(config) {
                    Ok(id) => self.tcp = Some(id),
                    Err(error) => {
                        return Some(Input::Closed(Disconnected::Failed(error.to_string())));
                    }
                }
            }
            Output::Send(message) => {
                if let Some(id) = self.tcp {
                    // A camera that does not read gets no keep-alives, and ends the session.
                    let _ = net.send_tcp(id, &message);
                }
            }
            Output::Disconnect => self.disconnect(net),
            Output::OpenUdp { stream, multicast } => {
                return Some(self.open(net, stream, multicast));
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
                    let _ = net.send_datagram(socket, destination, contents);
                }
            }
            _ => {}
        }
        None
    }

    fn open(
        &mut self,
        net: &mut EventLoop,
        stream: usize,
        multicast: Option<MulticastGroup>,
    ) -> Input<'static> {
        match self.sockets(net, multicast) {
            Ok((rtp, rtcp)) => {
                self.pairs.push(Pair { stream, rtp, rtcp });
                let port = |id| net.udp_address(id).map_or(0, |address| address.port());
                Input::UdpOpened {
                    stream,
                    rtp_port: port(rtp),
                    rtcp_port: port(rtcp),
                }
            }
            Err(error) => Input::UdpFailed {
                stream,
                reason: error.to_string(),
            },
        }
    }

    fn sockets(
        &self,
        net: &mut EventLoop,
        multicast: Option<MulticastGroup>,
    ) -> Result<(UdpId, UdpId), LoopError> {
        let Some(group) = multicast else {
            let ip = self.local.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            return net.add_udp_pair(ip, 49_152..=65_535);
        };
        let config = |port| {
            UdpConfig::new(SocketAddr::new(group.group, port)).interface(Some(group.interface))
        };
        let rtp = net.add_udp(config(group.rtp_port))?;
        Ok((rtp, net.add_udp(config(group.rtcp_port))?))
    }

    fn disconnect(&mut self, net: &mut EventLoop) {
        if let Some(id) = self.tcp.take() {
            net.close_tcp(id);
        }
    }

    fn close_pairs(&mut self, net: &mut EventLoop, is_closed: impl Fn(&Pair) -> bool) {
        self.pairs.retain(|pair| {
            if is_closed(pair) {
                net.close_udp(pair.rtp);
                net.close_udp(pair.rtcp);
            }
            !is_closed(pair)
        });
    }

    pub fn close(&mut self, net: &mut EventLoop) {
        self.disconnect(net);
        self.close_pairs(net, |_| true);
    }

    pub fn input_of_tcp<'a>(&mut self, event: &'a TcpEvent) -> Option<Input<'a>> {
        if self.tcp != Some(event.socket) {
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
                Some(Input::Closed(disconnected(reason)))
            }
            _ => None,
        }
    }

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
            "its certificate was not accepted: {why}; --fingerprint accepts one certificate, --insecure any"
        )),
        TcpError::Tls(why) => Disconnected::Tls(why.clone()),
        TcpError::ClosedByRemote | TcpError::Truncated => Disconnected::Closed,
        other => Disconnected::Failed(other.to_string()),
    }
}
