//! TCP connections of peers: to STUN and TURN servers, with or without TLS, and of ICE-TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{Domain, SockRef, Socket, Type};

use super::tls::{Tls, TlsSetup};
use crate::proto::net::{InterfaceAddress, ServerName, SocketId, SocketReply};

/// First mio token of streams; sockets use the ones below.
pub(super) const FIRST_TOKEN: usize = 1 << 30;

/// Maximum number of queued bytes per stream. Further messages are dropped, as on a congested path.
const MAX_QUEUE: usize = 256 * 1024;

/// Maximum number of bytes queued for an ICE-TCP stream, which serves a single peer: media that waits longer is useless.
const MAX_ICE_QUEUE: usize = 64 * 1024;

/// Maximum number of bytes read from one stream per turn.
const READ_BUDGET: usize = 256 * 1024;

/// Event of a stream.
pub(super) enum StreamEvent {
    /// A reply for the machine that requested the stream.
    Reply(SocketReply),
    /// Received bytes: remote address, local address, content.
    Received(SocketAddr, SocketAddr, Vec<u8>),
}

/// Owner of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamOwner {
    /// The relay of a peer with this socket id.
    Relay(usize, SocketId),
    /// ICE-TCP (see `ice_tcp.rs`).
    Ice,
    /// The STUN bindings of the ICE-TCP port, by this socket id.
    Binding(SocketId),
}

/// All TCP streams of a loop.
#[derive(Default)]
pub(super) struct Streams {
    streams: Slab<Stream>,
    ready: Vec<usize>,
    buffer: Vec<u8>,
    pub dropped: u64,
}

struct Stream {
    owner: StreamOwner,
    tcp: TcpStream,
    tls: Option<Tls>,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    /// Bytes that the system has not accepted yet: plain, or encrypted by TLS.
    queue: Vec<u8>,
    /// Set once the machine was told that the stream is open.
    open: bool,
    listed: bool,
    /// The remote side has closed it, or the connection attempt failed.
    over: bool,
}

impl Streams {
    /// Starts a TCP connection. Its result is reported as an event.
    pub fn open(
        &mut self,
        peer: usize,
        id: SocketId,
        remote: SocketAddr,
        tls: Option<&ServerName>,
        setup: &TlsSetup,
        registry: &Registry,
    ) -> Result<usize, String> {
        let tls = tls.map(|name| setup.connect(name)).transpose()?;
        let tcp = TcpStream::connect(remote).map_err(|e| format!("connecting: {e}"))?;
        self.add(StreamOwner::Relay(peer, id), tcp, tls, remote, registry)
    }

    /// Starts a TCP connection for ICE-TCP from this address.
    pub fn open_from(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        registry: &Registry,
    ) -> Result<usize, String> {
        let tcp = connect_from(local, remote).map_err(|e| format!("connecting: {e}"))?;
        self.add(StreamOwner::Ice, tcp, None, remote, registry)
    }

    /// Starts a TCP connection to a STUN server from the listening port.
    pub fn open_at(
        &mut self,
        id: SocketId,
        (local, listener): (SocketAddr, &TcpListener),
        remote: SocketAddr,
        tls: Option<Tls>,
        registry: &Registry,
    ) -> Result<usize, String> {
        let tcp = connect_at(local, listener, remote).map_err(|e| format!("connecting: {e}"))?;
        self.add(StreamOwner::Binding(id), tcp, tls, remote, registry)
    }

    /// Adds an accepted connection.
    pub fn accept(
        &mut self,
        tcp: TcpStream,
        remote: SocketAddr,
        registry: &Registry,
    ) -> Result<usize, String> {
        let key = self.add(StreamOwner::Ice, tcp, None, remote, registry)?;
        self.on_ready(key);
        Ok(key)
    }

    fn add(
        &mut self,
        owner: StreamOwner,
        mut tcp: TcpStream,
        tls: Option<Tls>,
        remote: SocketAddr,
        registry: &Registry,
    ) -> Result<usize, String> {
        let entry = self.streams.vacant_entry();
        let key = entry.key();
        registry
            .register(
                &mut tcp,
                Token(FIRST_TOKEN + key),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(|e| format!("registering a connection: {e}"))?;
        entry.insert(Stream {
            owner,
            tcp,
            tls,
            remote,
            local: None,
            queue: Vec::new(),
            open: false,
            listed: false,
            over: false,
        });
        Ok(key)
    }

    pub fn close(&mut self, key: usize, registry: &Registry) {
        if let Some(mut stream) = self.streams.try_remove(key) {
            // Queued bytes are sent if the system accepts them now; the rest is lost.
            let _ = stream.flush();
            if matches!(stream.owner, StreamOwner::Binding(_)) && !stream.over {
                // Reset at once; otherwise the port could not connect to that server for a minute (TIME_WAIT).
                let _ = SockRef::from(&stream.tcp).set_linger(Some(Duration::ZERO));
            }
            if let Err(e) = registry.deregister(&mut stream.tcp) {
                log::debug!("deregistering a connection: {e}");
            }
        }
    }

    /// Queues a message, entirely or not at all.
    pub fn send(&mut self, key: usize, contents: &[u8]) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.queue.len() + contents.len() > stream.owner.max_queue() {
            self.dropped += 1;
            return;
        }
        stream.write(contents);
        self.on_ready(key);
    }

    /// Returns local and remote address of a stream, once it is open.
    pub fn ends(&self, key: usize) -> Option<(SocketAddr, SocketAddr)> {
        let stream = self.streams.get(key)?;
        Some((stream.local?, stream.remote))
    }

    /// Marks a stream as ready.
    pub fn on_ready(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.listed
        {
            stream.listed = true;
            self.ready.push(key);
        }
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Runs all ready streams. Calls `each` with the stream, its owner and the event.
    pub fn run(&mut self, mut each: impl FnMut(usize, StreamOwner, StreamEvent)) {
        self.buffer.resize(16 * 1024, 0);
        for key in std::mem::take(&mut self.ready) {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.listed = false;
            let owner = stream.owner;
            match stream.run(&mut self.buffer, |event| each(key, owner, event)) {
                Ok(true) => self.on_ready(key),
                Ok(false) => {}
                // The owner closes it.
                Err(why) => {
                    stream.over = true;
                    each(key, owner, StreamEvent::Reply(SocketReply::Failed(why)));
                }
            }
        }
    }
}

impl StreamOwner {
    fn max_queue(self) -> usize {
        match self {
            Self::Relay(..) | Self::Binding(_) => MAX_QUEUE,
            Self::Ice => MAX_ICE_QUEUE,
        }
    }
}

/// Error code of a connection in progress.
#[cfg(any(target_os = "linux", target_os = "android"))]
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const IN_PROGRESS: i32 = 36;

/// Starts a TCP connection from this address, with any port.
fn connect_from(local: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(local, 0).into())?;
    connect(socket, remote)
}

/// Starts a TCP connection from the port of this listener. The port is shared only during the call: if it were shared
/// permanently, a second program with the same port would not notice that it is in use.
#[cfg(unix)]
fn connect_at(
    local: SocketAddr,
    listener: &TcpListener,
    remote: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    let listener = SockRef::from(listener);
    listener.set_reuse_port(true)?;
    let bound = socket.bind(&local.into());
    listener.set_reuse_port(false)?;
    bound?;
    connect(socket, remote)
}

#[cfg(not(unix))]
fn connect_at(_: SocketAddr, _: &TcpListener, _: SocketAddr) -> io::Result<TcpStream> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "not from the port that is listened on, on this system",
    ))
}

fn connect(socket: Socket, remote: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&remote.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(e) => return Err(e),
    }
    Ok(TcpStream::from_std(socket.into()))
}

impl Stream {
    /// Runs the stream. Returns `true` if there may be more to do at once, and an error if it has ended.
    fn run(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(StreamEvent),
    ) -> Result<bool, String> {
        if self.local.is_none() && !self.is_connected()? {
            return Ok(false);
        }
        let more = self.read(buffer, &mut each)?;
        if let Some(tls) = &mut self.tls {
            tls.take_output(&mut self.queue)?;
        }
        self.flush().map_err(|e| format!("sending: {e}"))?;
        self.announce(&mut each);
        Ok(more)
    }

    fn is_connected(&mut self) -> Result<bool, String> {
        if let Ok(Some(e)) | Err(e) = self.tcp.take_error() {
            return Err(format!("connecting: {e}"));
        }
        match self.tcp.peer_addr() {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(e) => return Err(format!("connecting: {e}")),
        }
        let _ = self.tcp.set_nodelay(true);
        let local = self.tcp.local_addr();
        self.local = Some(local.map_err(|e| format!("its local address: {e}"))?);
        Ok(true)
    }

    /// Reports once that the stream is open: connected and, with TLS, after the handshake.
    fn announce(&mut self, each: &mut impl FnMut(StreamEvent)) {
        let is_shaking = self.tls.as_ref().is_some_and(Tls::is_handshaking);
        if let Some(address) = self.local.filter(|_| !self.open && !is_shaking) {
            self.open = true;
            let interface = String::new();
            let address = InterfaceAddress { interface, address };
            let opened = SocketReply::Opened(vec![address]);
            each(StreamEvent::Reply(opened));
        }
    }

    fn read(
        &mut self,
        buffer: &mut [u8],
        each: &mut impl FnMut(StreamEvent),
    ) -> Result<bool, String> {
        let mut left = READ_BUDGET;
        loop {
            let count = match self.tcp.read(buffer) {
                Ok(0) => return Err("the other side has closed the connection".into()),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(format!("receiving: {e}")),
            };
            let bytes = match &mut self.tls {
                Some(tls) => tls.receive(&buffer[..count])?,
                None => buffer[..count].to_vec(),
            };
            // The machine is told that the stream is open before it gets the first bytes.
            self.announce(each);
            if let (Some(local), false) = (self.local, bytes.is_empty()) {
                each(StreamEvent::Received(self.remote, local, bytes));
            }
            left = left.saturating_sub(count);
            if left == 0 {
                return Ok(true);
            }
        }
    }

    fn write(&mut self, contents: &[u8]) {
        match &mut self.tls {
            Some(tls) => tls.send(contents),
            None => self.queue.extend_from_slice(contents),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        give(&mut self.tcp, &mut self.queue)
    }
}

/// Writes as much of a queue as the system accepts.
pub(crate) fn give(tcp: &mut TcpStream, queue: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < queue.len() {
        match tcp.write(&queue[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    queue.drain(..sent);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mio::Poll;

    use super::*;

    /// Data that the remote side does not read is queued up to a limit; further messages are dropped whole.
    #[test]
    fn what_waits_for_a_stream_has_a_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let poll = Poll::new().unwrap();
        for (owner, limit) in [
            (StreamOwner::Relay(0, SocketId(1)), 256 * 1024),
            (StreamOwner::Ice, 64 * 1024),
        ] {
            let mut streams = Streams::default();
            let tcp = TcpStream::connect(remote).unwrap();
            let key = streams
                .add(owner, tcp, None, remote, poll.registry())
                .unwrap();
            let _silent = listener.accept().unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while streams.dropped < 10 {
                assert!(Instant::now() < end, "the system takes it all");
                streams.send(key, &[7; 1000]);
                streams.run(|_, _, _| {});
                assert!(streams.streams[key].queue.len() <= limit);
            }
            assert!(streams.streams[key].queue.len() > limit - 2000);
        }
    }
}
