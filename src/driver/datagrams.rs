//! UDP sockets of the application's own, on the same loop: for RTP from a camera, to a player, or anything
//! else that is no peer's.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::sockets::Owner;
use super::{EventLoop, LoopError};
use crate::proto::net::{Protocol, Transmit};

/// The largest payload of a UDP datagram.
const MAX_UDP: usize = 65_507;

/// Names a UDP socket of the application. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UdpId {
    index: u32,
    generation: u32,
}

/// Which UDP socket is wanted. An address alone will do: `net.add_udp("127.0.0.1:5004".parse()?)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Where to bind it; port 0: the system chooses. A multicast group is joined, and the socket then
    /// receives what is sent to that group only; several programs may do so at once.
    pub address: SocketAddr,
    /// For multicast, in and out: the interface with this address. `None`, the default: the system's
    /// choice, by its routes.
    pub interface: Option<IpAddr>,
    /// How many routers a multicast datagram sent from here may pass. `None`, the default: none (1).
    pub multicast_ttl: Option<u8>,
    /// Nothing is received: what comes, as the reports that players of RTP send back, stays with the system,
    /// which drops it. Default: no.
    pub send_only: bool,
}

impl From<SocketAddr> for UdpConfig {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            interface: None,
            multicast_ttl: None,
            send_only: false,
        }
    }
}

impl UdpConfig {
    /// A socket bound to this address.
    pub fn new(address: SocketAddr) -> Self {
        address.into()
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub fn interface(mut self, address: Option<IpAddr>) -> Self {
        self.interface = address;
        self
    }

    /// Sets [`multicast_ttl`](Self::multicast_ttl).
    #[must_use]
    pub fn multicast_ttl(mut self, routers: Option<u8>) -> Self {
        self.multicast_ttl = routers;
        self
    }

    /// Sets [`send_only`](Self::send_only).
    #[must_use]
    pub fn send_only(mut self, send_only: bool) -> Self {
        self.send_only = send_only;
        self
    }
}

/// A datagram that came to a socket of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// To which.
    pub socket: UdpId,
    /// Who sent it, or says so: anybody can write any address there.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: Vec<u8>,
}

/// Those that have come and were not taken yet.
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
    /// Opens a UDP socket for the application, served by this loop like those of the peers: in batches, and
    /// so many datagrams a turn. What comes to it is taken with [`poll_datagram`](Self::poll_datagram).
    ///
    /// # Errors
    ///
    /// [`LoopError::Bind`] when the system refuses; [`LoopError::LimitReached`].
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
            // The slab is bounded by what the system has of descriptors; its keys are dense.
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation,
        };
        let opened = self.sockets.open_udp(&config, self.poll.registry(), id);
        opened.map_err(|e| LoopError::Bind(config.address, e))
    }

    /// The local address of a socket of the application, with the port that the system chose; `None` when
    /// it was closed.
    pub fn udp_address(&self, socket: UdpId) -> Option<SocketAddr> {
        let udp = self.sockets.get(socket.index as usize)?;
        (udp.owner == Owner::Application(socket)).then_some(udp.bound())
    }

    /// The next datagram that has come to a socket of the application. While there are any,
    /// [`next_event`](Self::next_event) does not wait: take them all, or make the socket
    /// [`send_only`](UdpConfig::send_only).
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.inbox.pop()
    }

    /// Sends a datagram from a socket of the application; it goes out with the next turn. As ever with UDP,
    /// whether it arrives is not known; what the system does not take is counted in
    /// [`LoopStats::send_dropped`](super::LoopStats::send_dropped).
    ///
    /// Send to addresses that a person or a configuration has named. Whoever sends to where datagrams seem to
    /// come from can be made to flood somebody else.
    ///
    /// # Errors
    ///
    /// [`LoopError::NoSuchSocket`]; [`LoopError::Io`] when the destination is of the other address family, or
    /// the datagram is over 65,507 bytes.
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

    /// Closes a socket of the application, once what it has queued is sent. Datagrams that it has received
    /// can still be taken. Nothing happens when it is closed already.
    pub fn close_udp(&mut self, socket: UdpId) {
        if self.udp_address(socket).is_some() {
            let registry = self.poll.registry();
            self.sockets.close(&[socket.index as usize], registry);
        }
    }
}
