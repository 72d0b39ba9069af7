//! UDP sockets of the application on the same loop: for RTP from a camera, to a player, or any other purpose.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::udp::Owner;
use super::udp_config::{UdpConfig, UdpId};
use super::{EventLoop, LoopError};
use crate::proto::net::{Protocol, Transmit};

/// Maximum payload of a UDP datagram.
const MAX_UDP: usize = 65_507;

/// Maximum number of pairs of ports that are tried.
const MAX_PAIRS: u32 = 256;

/// A datagram received on a socket of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// The socket that received it.
    pub socket: UdpId,
    /// The sender's address. UDP does not authenticate it: anyone can forge it.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: Vec<u8>,
}

/// Received datagrams that were not taken yet.
pub(super) struct Inbox {
    queue: VecDeque<Datagram>,
    bytes: usize,
    max: usize,
    pub dropped: u64,
}

impl Inbox {
    pub fn new(max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            max,
            dropped: 0,
        }
    }

    pub fn push(&mut self, socket: UdpId, from: SocketAddr, to: SocketAddr, contents: &[u8]) {
        let cost = size_of::<Datagram>() + contents.len();
        if self.bytes + cost > self.max {
            self.dropped += 1;
            return;
        }
        self.bytes += cost;
        self.queue.push_back(Datagram {
            socket,
            source: from,
            destination: to,
            contents: contents.to_vec(),
        });
    }

    fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.queue.pop_front()?;
        self.bytes -= size_of::<Datagram>() + datagram.contents.len();
        Some(datagram)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl EventLoop {
    /// Opens a UDP socket for the application. The loop serves it like those of peers: in batches, with a limit per
    /// turn. Take received datagrams with [`poll_datagram`](Self::poll_datagram).
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Bind`] if the system refuses, and [`LoopError::LimitReached`].
    pub fn add_udp(&mut self, config: impl Into<UdpConfig>) -> Result<UdpId, LoopError> {
        let config = config.into();
        let limit = self.config.max_udp_sockets;
        if self.sockets.application_count() >= limit {
            return Err(LoopError::LimitReached {
                limit: "max_udp_sockets",
                value: limit,
            });
        }
        self.udp_generation = self.udp_generation.wrapping_add(1);
        let generation = self.udp_generation;
        let id = |index: usize| UdpId {
            // The number of sockets is limited by the system's descriptors; slab keys are dense.
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation,
        };
        let opened = self.sockets.open_udp(&config, self.poll.registry(), id);
        opened.map_err(|e| LoopError::Bind(config.address, e))
    }

    /// Opens two UDP sockets of the application on an even port of this range and the odd one above it, as RTP and RTCP
    /// have them (RFC 3550 §11). Pairs that are in use are passed over; the first one tried differs from call to call.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Bind`] if the range has no free pair (at most 256 are tried), and
    /// [`LoopError::LimitReached`].
    pub fn add_udp_pair(
        &mut self,
        ip: IpAddr,
        ports: RangeInclusive<u16>,
    ) -> Result<(UdpId, UdpId), LoopError> {
        let first = u32::from(*ports.start()).next_multiple_of(2);
        let pairs = (u32::from(*ports.end()) + 1).saturating_sub(first) / 2;
        let mut failure = LoopError::Io(
            "opening a pair of ports: the range has none",
            io::ErrorKind::InvalidInput.into(),
        );
        let start = self.udp_generation / 2;
        for n in 0..pairs.min(MAX_PAIRS) {
            let pair = start.wrapping_add(n) % pairs;
            let Ok(port) = u16::try_from(first + 2 * pair) else {
                continue;
            };
            let even = match self.add_udp(SocketAddr::new(ip, port)) {
                Ok(even) => even,
                Err(LoopError::Bind(address, e)) => {
                    failure = LoopError::Bind(address, e);
                    continue;
                }
                Err(e) => return Err(e),
            };
            match self.add_udp(SocketAddr::new(ip, port | 1)) {
                Ok(odd) => return Ok((even, odd)),
                Err(LoopError::Bind(address, e)) => failure = LoopError::Bind(address, e),
                Err(e) => {
                    self.close_udp(even);
                    return Err(e);
                }
            }
            self.close_udp(even);
        }
        Err(failure)
    }

    /// Returns the local address of a socket of the application, with the actual port; `None` if it was closed.
    pub fn udp_address(&self, socket: UdpId) -> Option<SocketAddr> {
        let udp = self.sockets.get(socket.index as usize)?;
        (udp.owner == Owner::Application(socket)).then_some(udp.bound())
    }

    /// Returns the next datagram received on a socket of the application. While there are any,
    /// [`next_event`](Self::next_event) does not wait: take them all, or make the socket
    /// [`send_only`](UdpConfig::send_only).
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.inbox.pop()
    }

    /// Queues a datagram on a socket of the application; it is sent in the next turn. Delivery is not guaranteed;
    /// datagrams that the system refuses are counted in [`LoopStats::send_dropped`](super::LoopStats::send_dropped).
    ///
    /// Send only to addresses chosen by a person or a configuration. Replying to the source address of received
    /// datagrams can be abused to flood a third party.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::NoSuchSocket`], or [`LoopError::Io`] if the destination is of the other address family or
    /// the datagram exceeds 65,507 bytes.
    pub fn send_datagram(
        &mut self,
        socket: UdpId,
        destination: SocketAddr,
        contents: impl Into<Vec<u8>>,
    ) -> Result<(), LoopError> {
        let contents = contents.into();
        let source = self.udp_address(socket).ok_or(LoopError::NoSuchSocket)?;
        let why = if source.is_ipv4() != destination.is_ipv4() {
            Some("sending to an address of the other family than the socket's")
        } else if contents.len() > MAX_UDP {
            Some("sending a datagram of more than 65,507 bytes")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(LoopError::Io(why, io::ErrorKind::InvalidInput.into()));
        }
        self.stats.datagrams_sent += 1;
        let transmit = Transmit {
            protocol: Protocol::Udp,
            source,
            destination,
            contents,
        };
        self.sockets.send(&[socket.index as usize], transmit);
        Ok(())
    }

    /// Closes a socket of the application once its queued datagrams are sent. Datagrams received earlier can still be
    /// taken. Does nothing if it is already closed.
    pub fn close_udp(&mut self, socket: UdpId) {
        if self.udp_address(socket).is_some() {
            let registry = self.poll.registry();
            self.sockets.close(&[socket.index as usize], registry);
        }
    }
}
