//! Batched UDP: several datagrams per system call in both directions, where the kernel supports it (`recvmmsg`, GRO,
//! GSO).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Interest, Registry, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::udp_config::{UdpConfig, UdpId};
use crate::proto::net::Transmit;

/// Recipient of datagrams on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The peer that the demultiplexer finds.
    Shared,
    /// This peer.
    Peer(usize),
    /// The application.
    Application(UdpId),
    /// No recipient: the socket is being closed.
    Nobody,
}

/// Maximum payload of a UDP datagram.
const MAX_UDP: usize = 65_507;

/// Receive buffers for one batch, shared by all sockets of a loop.
pub(crate) struct RecvBuffers {
    data: Vec<u8>,
    each: usize,
    metas: [RecvMeta; BATCH_SIZE],
}

impl RecvBuffers {
    /// Allocates room for `BATCH_SIZE` receives, each of the maximum size that the kernel may coalesce.
    pub fn new() -> Self {
        let each = 65_536;
        Self {
            // Pages that no datagram reaches are never touched, and cost no memory.
            data: vec![0; each * BATCH_SIZE],
            each,
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

/// A bound UDP socket.
pub(crate) struct Udp {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    bound: SocketAddr,
    pub owner: Owner,
    interest: Interest,
    queue: VecDeque<Transmit>,
    max_queue: usize,
    scratch: Vec<u8>,
    /// The system accepted no more; it will report when it does.
    blocked: bool,
    /// Set while the socket is in the list of readable sockets, or of those with queued datagrams. Stored here to avoid
    /// searching the lists.
    pub listed_readable: bool,
    pub listed_queued: bool,
    /// The peer is gone; the socket is closed once its queue is empty.
    pub closing: bool,
    pub dropped: u64,
}

/// Result of one read.
pub(crate) enum Read {
    /// This number of datagrams; there may be more.
    Some(usize),
    /// No datagrams are left.
    Empty,
}

/// Set once the log says that the system gives a smaller buffer than requested.
static SAID: AtomicBool = AtomicBool::new(false);

/// Requests socket buffers of this size. Datagrams that arrive while the loop is busy wait there, and are lost if it is
/// full. Exceeding the system's limit needs a privilege (Linux: CAP_NET_ADMIN).
fn size_buffers(state: &UdpSocketState, socket: &std::net::UdpSocket, bytes: usize) {
    let reference = || UdpSockRef::from(socket);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let is_forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_ok();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let is_forced = false;
    let received = match is_forced {
        true => Ok(()),
        false => state.set_recv_buffer_size(reference(), bytes),
    };
    let sent = state.set_send_buffer_size(reference(), bytes);
    for result in [received, sent] {
        if let Err(e) = result {
            log::debug!("socket buffer of {bytes} bytes: {e}");
        }
    }
    let given = state.recv_buffer_size(reference()).unwrap_or(bytes);
    if given < bytes && !SAID.swap(true, Ordering::Relaxed) {
        log::warn!(
            "UDP sockets have a receive buffer of {} KiB, where {} KiB were asked for: bursts may be lost. On Linux, \
             sysctl -w net.core.rmem_max={bytes} allows it",
            given / 1024,
            bytes / 1024
        );
    }
}

impl Udp {
    /// Binds a socket. `buffer` is the requested size of the system's buffers, in bytes.
    pub fn bind(
        config: &UdpConfig,
        owner: Owner,
        buffer: usize,
        max_queue: usize,
    ) -> io::Result<Self> {
        let address = config.address;
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // Each family has a socket of its own, so that addresses are not mapped.
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        if address.ip().is_multicast() {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&bindable(address).into())?;
        set_up_multicast(&socket, config)?;
        let std_socket: std::net::UdpSocket = socket.into();
        let bound = std_socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&std_socket))?;
        size_buffers(&state, &std_socket, buffer);
        Ok(Self {
            socket: mio::net::UdpSocket::from_std(std_socket),
            state,
            bound,
            owner,
            interest: match config.send_only {
                true => Interest::WRITABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            },
            queue: VecDeque::new(),
            max_queue,
            scratch: Vec::new(),
            blocked: false,
            listed_readable: false,
            listed_queued: false,
            closing: false,
            dropped: 0,
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, self.interest)
    }

    pub fn deregister(&mut self, registry: &Registry) {
        if let Err(e) = registry.deregister(&mut self.socket) {
            log::debug!("deregistering a socket: {e}");
        }
    }

    /// Returns the bound address; may be a wildcard.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Returns `true` if this socket can send from this local address; a wildcard socket can send from any of its
    /// family.
    pub fn serves(&self, local: SocketAddr) -> bool {
        let ip = self.bound.ip();
        let is_any = ip.is_unspecified() || local.ip().is_unspecified();
        self.bound.port() == local.port()
            && (ip == local.ip() || (is_any && ip.is_ipv4() == local.is_ipv4()))
    }

    /// Reads one batch. Calls `each` with sender, local address and content of each datagram.
    pub fn read(
        &mut self,
        buffers: &mut RecvBuffers,
        mut each: impl FnMut(SocketAddr, SocketAddr, &[u8]),
    ) -> io::Result<Read> {
        let RecvBuffers {
            data,
            each: size,
            metas,
        } = buffers;
        let mut chunks = data.chunks_exact_mut(*size);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let (socket, state) = (&self.socket, &self.state);
        let received = socket.try_io(|| state.recv(UdpSockRef::from(socket), &mut slices, metas));
        let received = match received {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Empty),
            Err(e) => return Err(e),
        };
        let mut count = 0;
        for (slice, meta) in slices.iter().zip(metas.iter()).take(received) {
            let local = SocketAddr::new(meta.dst_ip.unwrap_or(self.bound.ip()), self.bound.port());
            let joined = slice.get(..meta.len).unwrap_or_default();
            if joined.is_empty() {
                each(meta.addr, local, &[]);
                count += 1;
            }
            for datagram in joined.chunks(meta.stride.max(1)) {
                each(meta.addr, local, datagram);
                count += 1;
            }
        }
        Ok(Read::Some(count))
    }

    /// Queues a datagram. Returns `false` if the queue is full and it was dropped.
    pub fn push(&mut self, transmit: Transmit) -> bool {
        if self.queue.len() >= self.max_queue {
            // A queue exists only while the system accepts no more, so try to flush first.
            self.flush();
            if self.queue.len() >= self.max_queue {
                self.dropped += 1;
                return false;
            }
        }
        self.queue.push_back(transmit);
        true
    }

    /// Handles that the system accepts datagrams again.
    pub fn writable(&mut self) {
        self.blocked = false;
    }

    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Flushes queued datagrams until the system would block.
    pub fn flush(&mut self) {
        while !self.blocked {
            let Some((count, segment)) = self.next_batch() else {
                return;
            };
            match self.send_batch(count, segment) {
                Ok(()) => drop(self.queue.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(e) => {
                    if let Some(t) = self.queue.front() {
                        log::debug!("sending from {} to {}: {e}", t.source, t.destination);
                    }
                    // Unreachable, too large, …: it is lost, as it would be on the network. A batch may have failed as
                    // a whole: then retry one by one, because the socket now knows that batches are unsupported.
                    if count == 1 {
                        self.queue.pop_front();
                        self.dropped += 1;
                    } else {
                        self.send_one_by_one(count);
                    }
                }
            }
        }
    }

    fn send_one_by_one(&mut self, count: usize) {
        for _ in 0..count {
            let size = self.queue.front().map_or(0, |t| t.contents.len());
            match self.send_batch(1, size) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return;
                }
                Err(_) => self.dropped += 1,
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
    }

    /// Returns the number and the size of datagrams at the head of the queue that fit one call: same addresses and
    /// size, except that the last one may be shorter.
    fn next_batch(&self) -> Option<(usize, usize)> {
        let first = self.queue.front()?;
        let size = first.contents.len();
        let most = self.state.max_gso_segments().max(1);
        let mut count = 1;
        let mut total = size;
        for next in self.queue.iter().skip(1).take(most - 1) {
            let len = next.contents.len();
            let same_way = next.destination == first.destination && next.source == first.source;
            if !same_way || len > size || len == 0 || total + len > MAX_UDP {
                break;
            }
            count += 1;
            total += len;
            if len < size {
                break;
            }
        }
        Some((count, size))
    }

    fn send_batch(&mut self, count: usize, segment: usize) -> io::Result<()> {
        let Some(first) = self.queue.front() else {
            return Ok(());
        };
        let contents = if count == 1 {
            &first.contents
        } else {
            self.scratch.clear();
            for t in self.queue.iter().take(count) {
                self.scratch.extend_from_slice(&t.contents);
            }
            &self.scratch
        };
        let transmit = quinn_udp::Transmit {
            destination: first.destination,
            ecn: None,
            contents,
            segment_size: (count > 1).then_some(segment),
            src_ip: source_ip(self.bound.ip(), first.source.ip()),
        };
        let (socket, state) = (&self.socket, &self.state);
        socket.try_io(|| state.try_send(UdpSockRef::from(socket), &transmit))
    }
}

/// Bound to the group itself, a socket receives nothing else; not every system supports that.
fn bindable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_multicast() || cfg!(unix) => address,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()),
    }
}

fn set_up_multicast(socket: &Socket, config: &UdpConfig) -> io::Result<()> {
    let group = Some(config.address.ip()).filter(IpAddr::is_multicast);
    if config.address.is_ipv4() {
        let interface = match config.interface {
            None => Ipv4Addr::UNSPECIFIED,
            Some(IpAddr::V4(address)) => address,
            Some(IpAddr::V6(_)) => return Err(other_family()),
        };
        if let Some(IpAddr::V4(group)) = group {
            socket.join_multicast_v4(&group, &interface)?;
        }
        if !interface.is_unspecified() {
            socket.set_multicast_if_v4(&interface)?;
        }
        if let Some(ttl) = config.multicast_ttl {
            socket.set_multicast_ttl_v4(ttl.into())?;
        }
        return Ok(());
    }
    let index = config.interface.map_or(Ok(0), interface_index)?;
    if let Some(IpAddr::V6(group)) = group {
        socket.join_multicast_v6(&group, index)?;
    }
    if index != 0 {
        socket.set_multicast_if_v6(index)?;
    }
    if let Some(ttl) = config.multicast_ttl {
        socket.set_multicast_hops_v6(ttl.into())?;
    }
    Ok(())
}

fn other_family() -> io::Error {
    let why = "the interface's address is of the other family than the socket's";
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn interface_index(address: IpAddr) -> io::Result<u32> {
    if address.is_ipv4() {
        return Err(other_family());
    }
    let found = if_addrs::get_if_addrs()?
        .into_iter()
        .find(|i| i.ip() == address);
    let index = found.and_then(|i| i.index);
    index.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no interface has that address"))
}

/// Returns the source address to pass to the kernel, for a wildcard socket.
fn source_ip(bound: IpAddr, source: IpAddr) -> Option<IpAddr> {
    (bound.is_unspecified() && !source.is_unspecified()).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Mutex;

    /// Warnings logged by this process.
    static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Warnings;

    impl log::Log for Warnings {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Warn
        }

        fn log(&self, record: &log::Record<'_>) {
            let text = record.args().to_string();
            WARNINGS.lock().unwrap().push(text);
        }

        fn flush(&self) {}
    }

    /// Asks for 1 GiB: more than any system gives without a privilege.
    #[test]
    #[ignore = "needs a process of its own, without privileges; the test below runs it"]
    fn a_small_receive_buffer() {
        log::set_logger(&Warnings).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        let config = UdpConfig::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        for _ in 0..3 {
            Udp::bind(&config, Owner::Shared, 1 << 30, 16).unwrap();
        }
        let warnings = WARNINGS.lock().unwrap();
        let [text] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(text.contains("where 1048576 KiB were asked for"), "{text}");
        assert!(text.contains("net.core.rmem_max=1073741824"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_receive_buffer_smaller_than_requested_is_said_once() {
        let program = std::env::current_exe().unwrap();
        let without = ["--bounding-set=-net_admin", "--inh-caps=-net_admin"];
        let run = |through: &[&str]| {
            let test = "driver::udp::tests::a_small_receive_buffer";
            let mut words = through.iter().map(std::ffi::OsStr::new).collect::<Vec<_>>();
            words.push(program.as_os_str());
            let mut command = Command::new(words[0]);
            command
                .args(&words[1..])
                .args(["--exact", test, "--ignored"]);
            command.output().unwrap()
        };
        let may_drop = Command::new("setpriv").args(without).arg("true").output();
        let output = match may_drop.is_ok_and(|run| run.status.success()) {
            true => run(&["setpriv", without[0], without[1]]),
            // Whoever has no privileges needs not drop any.
            false => run(&[]),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1 passed"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sockets_have_the_receive_buffer_that_the_system_allows() {
        let config = UdpConfig::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let wanted = crate::driver::LoopConfig::default().socket_buffer;
        let udp = Udp::bind(&config, Owner::Shared, wanted, 16).unwrap();
        let given = udp.state.recv_buffer_size(UdpSockRef::from(&udp.socket));
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let given = given.unwrap();
        assert!(given >= wanted.min(most), "{given} of {wanted}, {most}");
    }

    #[test]
    fn what_the_system_does_not_take_waits_up_to_a_limit() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = UdpConfig::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let mut udp = Udp::bind(&config, Owner::Shared, 65_536, 2).unwrap();
        let transmit = |n: u8| Transmit {
            protocol: crate::proto::net::Protocol::Udp,
            source: udp.bound,
            destination: receiver.local_addr().unwrap(),
            contents: vec![n],
        };
        let all = [transmit(0), transmit(1), transmit(2), transmit(3)];
        // The state after EWOULDBLOCK.
        udp.blocked = true;
        let taken: Vec<bool> = all.iter().map(|t| udp.push(t.clone())).collect();
        assert_eq!((taken, udp.dropped), (vec![true, true, false, false], 2));
        udp.writable();
        assert!(udp.push(all[3].clone()), "the queue is emptied first");
        udp.flush();
        assert!(!udp.has_queued());
        let mut buffer = [0; 9];
        let got: Vec<u8> = (0..3)
            .map(|_| {
                receiver.recv(&mut buffer).unwrap();
                buffer[0]
            })
            .collect();
        assert_eq!(got, [0, 1, 3]);
    }
}
