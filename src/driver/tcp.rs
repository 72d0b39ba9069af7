//! TCP connections of the loop, with or without TLS: peers' to STUN and TURN servers and of ICE-TCP, and the
//! application's.
//!
//! One mechanism serves both. They differ where a limit is reached: a peer's message that does not fit into the queue is
//! dropped, as on a congested path; the application's is refused, and its stream is not read while earlier bytes wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{Domain, SockRef, Socket, Type};

use super::tcp_config::{TcpError, TcpId};
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

/// Maximum number of bytes taken from the system at once. A TLS record has 16 KiB.
const READ_SIZE: usize = 32 * 1024;

/// Event of a stream.
pub(super) enum StreamEvent<'a> {
    /// It is connected, after the TLS handshake if there is one: the local address, and the remote one.
    Opened(SocketAddr, SocketAddr),
    /// Received bytes: remote address, local address, content.
    Received(SocketAddr, SocketAddr, &'a [u8]),
    /// The queue has room again after [`Streams::offer`] was refused.
    Room,
    /// The remote side sends no more. Only for the application's streams; others fail.
    Finished(TcpError),
    /// It has failed, or was closed by the remote side. The owner closes it.
    Failed(TcpError),
}

impl StreamEvent<'_> {
    /// Returns the event as the reply to a machine that requested the stream, if it is one.
    pub fn reply(self) -> Option<SocketReply> {
        match self {
            Self::Opened(address, _) => {
                let interface = String::new();
                let address = InterfaceAddress { interface, address };
                Some(SocketReply::Opened(vec![address]))
            }
            Self::Failed(why) => Some(SocketReply::Failed(why.to_string())),
            Self::Received(..) | Self::Room | Self::Finished(_) => None,
        }
    }
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
    /// The application (see `connections.rs`).
    Application(TcpId),
}

/// All TCP streams of a loop.
#[derive(Default)]
pub(super) struct Streams {
    streams: Slab<Stream>,
    ready: Vec<usize>,
    buffers: Buffers,
    pub dropped: u64,
}

/// Buffers that all streams share: bytes as received, and what TLS makes of them.
#[derive(Default)]
struct Buffers {
    raw: Vec<u8>,
    plain: Vec<u8>,
}

struct Stream {
    owner: StreamOwner,
    tcp: TcpStream,
    tls: Option<Tls>,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    sending: Sending,
    /// Received bytes that the application has not taken, and their limit. Peers' machines take all at once.
    unread: usize,
    max_unread: usize,
    /// Set once the owner was told that the stream is open.
    open: bool,
    listed: bool,
    /// The remote side sends no more, or the stream has failed.
    over: bool,
    /// When bytes were last sent or received.
    moved: Instant,
}

/// Bytes to send, and what follows them.
struct Sending {
    max: usize,
    /// With TLS: bytes that are not encrypted yet.
    plain: Vec<u8>,
    /// Bytes that the system has not accepted yet: plain, or encrypted by TLS.
    queue: Vec<u8>,
    /// The application was refused, and is told once there is room.
    refused: bool,
    end: End,
}

/// End of the sending direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// To be shut down once all is sent.
    Asked,
    /// TLS has ended; the alert is queued.
    Notified,
    Done,
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

    /// Starts a TCP connection of the application. It is not read while `max_unread` bytes are not [`taken`](Self::taken),
    /// and queues at most `max_queue`.
    pub fn open_for(
        &mut self,
        id: TcpId,
        remote: SocketAddr,
        tls: Option<Tls>,
        (max_unread, max_queue): (usize, usize),
        registry: &Registry,
    ) -> Result<usize, TcpError> {
        let tcp = TcpStream::connect(remote).map_err(|e| TcpError::connect(remote, &e))?;
        let key = self
            .add(StreamOwner::Application(id), tcp, tls, remote, registry)
            .map_err(TcpError::Io)?;
        if let Some(stream) = self.streams.get_mut(key) {
            stream.max_unread = max_unread;
            stream.sending.max = max_queue;
        }
        Ok(key)
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
            sending: Sending {
                max: owner.max_queue(),
                plain: Vec::new(),
                queue: Vec::new(),
                refused: false,
                end: End::Open,
            },
            unread: 0,
            max_unread: usize::MAX,
            open: false,
            listed: false,
            over: false,
            moved: Instant::now(),
        });
        Ok(key)
    }

    pub fn close(&mut self, key: usize, registry: &Registry) {
        if let Some(mut stream) = self.streams.try_remove(key) {
            // Queued bytes are sent if the system accepts them now; the rest is lost.
            let _ = stream.flush(Instant::now());
            if matches!(stream.owner, StreamOwner::Binding(_)) && !stream.over {
                // Reset at once; otherwise the port could not connect to that server for a minute (TIME_WAIT).
                let _ = SockRef::from(&stream.tcp).set_linger(Some(Duration::ZERO));
            }
            if let Err(e) = registry.deregister(&mut stream.tcp) {
                log::debug!("deregistering a connection: {e}");
            }
        }
    }

    /// Queues a peer's message, entirely or not at all: one that does not fit is dropped and counted.
    pub fn send(&mut self, key: usize, contents: &[u8]) {
        if self.streams.contains(key) && !self.offer(key, contents) {
            self.dropped += 1;
        }
    }

    /// Queues bytes, all or none. Returns `false` if they do not fit; [`StreamEvent::Room`] follows for the
    /// application. What is queued in one turn of the loop leaves in one write.
    pub fn offer(&mut self, key: usize, contents: &[u8]) -> bool {
        let Some(stream) = self.streams.get_mut(key) else {
            return false;
        };
        let sending = &mut stream.sending;
        if sending.len() + contents.len() > sending.max || sending.end != End::Open {
            sending.refused = true;
            return false;
        }
        match stream.tls {
            Some(_) => sending.plain.extend_from_slice(contents),
            None => sending.queue.extend_from_slice(contents),
        }
        self.on_ready(key);
        true
    }

    /// Ends the sending direction once all queued bytes are sent: with `close_notify` under TLS, then a FIN.
    pub fn finish(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.sending.end == End::Open
        {
            stream.sending.end = End::Asked;
            self.on_ready(key);
        }
    }

    /// Notes that the application has taken this many bytes. A stream that was full is read again once half of them are
    /// taken, so that bytes taken one by one do not become reads of one byte.
    pub fn taken(&mut self, key: usize, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.unread = stream.unread.saturating_sub(bytes);
            if stream.unread <= stream.max_unread / 2 {
                self.on_ready(key);
            }
        }
    }

    /// Discards what a stream receives from now on.
    pub fn discard(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            (stream.unread, stream.max_unread) = (0, usize::MAX);
            self.on_ready(key);
        }
    }

    /// Returns the time at which bytes were last sent or received, and whether the stream is read at all: not while
    /// the application leaves its bytes untaken.
    pub fn moved(&self, key: usize) -> Option<(Instant, bool)> {
        let stream = self.streams.get(key)?;
        Some((stream.moved, stream.unread < stream.max_unread))
    }

    /// Returns the number of bytes that are queued for sending.
    pub fn queued(&self, key: usize) -> usize {
        self.streams.get(key).map_or(0, |s| s.sending.len())
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
    pub fn run(&mut self, now: Instant, mut each: impl FnMut(usize, StreamOwner, StreamEvent<'_>)) {
        self.buffers.raw.resize(READ_SIZE, 0);
        for key in std::mem::take(&mut self.ready) {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.listed = false;
            let owner = stream.owner;
            match stream.run(&mut self.buffers, now, |event| each(key, owner, event)) {
                Ok(true) => self.on_ready(key),
                Ok(false) => {}
                // The owner closes it.
                Err(why) => {
                    stream.over = true;
                    each(key, owner, StreamEvent::Failed(why));
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
            // Replaced by the configured one.
            Self::Application(_) => 0,
        }
    }
}

impl Sending {
    fn len(&self) -> usize {
        self.plain.len() + self.queue.len()
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
        buffers: &mut Buffers,
        now: Instant,
        mut each: impl FnMut(StreamEvent<'_>),
    ) -> Result<bool, TcpError> {
        if self.local.is_none() && !self.is_connected()? {
            return Ok(false);
        }
        let more = self.read(buffers, now, &mut each);
        // Also after an error: the remote side is told of a certificate that was refused.
        let flushed = self.flush(now);
        let more = more?;
        flushed?;
        self.announce(&mut each);
        if self.sending.refused && self.sending.len() <= self.sending.max / 2 {
            self.sending.refused = false;
            each(StreamEvent::Room);
        }
        Ok(more)
    }

    fn is_connected(&mut self) -> Result<bool, TcpError> {
        if let Ok(Some(e)) | Err(e) = self.tcp.take_error() {
            return Err(TcpError::connect(self.remote, &e));
        }
        match self.tcp.peer_addr() {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(e) => return Err(TcpError::connect(self.remote, &e)),
        }
        let _ = self.tcp.set_nodelay(true);
        let local = self.tcp.local_addr();
        self.local = Some(local.map_err(|e| TcpError::Io(format!("its local address: {e}")))?);
        Ok(true)
    }

    /// Reports once that the stream is open: connected and, with TLS, after the handshake.
    fn announce(&mut self, each: &mut impl FnMut(StreamEvent<'_>)) {
        let is_shaking = self.tls.as_ref().is_some_and(Tls::is_handshaking);
        if let Some(address) = self.local.filter(|_| !self.open && !is_shaking) {
            self.open = true;
            each(StreamEvent::Opened(address, self.remote));
        }
    }

    fn read(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        each: &mut impl FnMut(StreamEvent<'_>),
    ) -> Result<bool, TcpError> {
        let mut left = READ_BUDGET;
        while self.unread < self.max_unread && !self.over {
            let size = buffers.raw.len().min(self.max_unread - self.unread);
            let count = match self.tcp.read(&mut buffers.raw[..size]) {
                Ok(0) => return self.finished(each),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(TcpError::Io(format!("receiving: {e}"))),
            };
            self.moved = now;
            let mut has_ended = false;
            let bytes = match &mut self.tls {
                Some(tls) => {
                    buffers.plain.clear();
                    has_ended = tls.receive(&buffers.raw[..count], &mut buffers.plain)?;
                    &buffers.plain[..]
                }
                None => &buffers.raw[..count],
            };
            // The owner is told that the stream is open before it gets the first bytes.
            self.announce(each);
            if let (Some(local), false) = (self.local, bytes.is_empty()) {
                if self.max_unread != usize::MAX {
                    self.unread += bytes.len();
                }
                each(StreamEvent::Received(self.remote, local, bytes));
            }
            if has_ended {
                return self.finished(each);
            }
            left = left.saturating_sub(count);
            if left == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Handles that the remote side sends no more.
    fn finished(&mut self, each: &mut impl FnMut(StreamEvent<'_>)) -> Result<bool, TcpError> {
        self.over = true;
        let why = match &self.tls {
            Some(tls) if !tls.has_ended() => TcpError::Truncated,
            _ => TcpError::ClosedByRemote,
        };
        if !matches!(self.owner, StreamOwner::Application(_)) {
            return Err(TcpError::ClosedByRemote);
        }
        if !self.open {
            return Err(why);
        }
        each(StreamEvent::Finished(why));
        Ok(false)
    }

    /// Encrypts and writes as much as the system accepts; then ends the direction, if that was asked for.
    fn flush(&mut self, now: Instant) -> Result<(), TcpError> {
        if self.local.is_none() {
            return Ok(());
        }
        let sending = &mut self.sending;
        loop {
            if let Some(tls) = &mut self.tls {
                tls.take_output(&mut sending.queue)?;
            }
            let before = sending.queue.len();
            give(&mut self.tcp, &mut sending.queue)
                .map_err(|e| TcpError::Io(format!("sending: {e}")))?;
            if sending.queue.len() < before {
                self.moved = now;
            }
            if !sending.queue.is_empty() {
                return Ok(());
            }
            match &mut self.tls {
                Some(tls) if tls.is_handshaking() => return Ok(()),
                Some(tls) if !sending.plain.is_empty() => {
                    let taken = tls.send(&sending.plain)?;
                    sending.plain.drain(..taken);
                }
                Some(tls) if sending.end == End::Asked => {
                    tls.finish();
                    sending.end = End::Notified;
                }
                _ if matches!(sending.end, End::Asked | End::Notified) => {
                    sending.end = End::Done;
                    return match self.tcp.shutdown(Shutdown::Write) {
                        Err(e) if e.kind() != ErrorKind::NotConnected => {
                            Err(TcpError::Io(format!("closing: {e}")))
                        }
                        _ => Ok(()),
                    };
                }
                _ => return Ok(()),
            }
        }
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
                streams.run(Instant::now(), |_, _, _| {});
                assert!(streams.queued(key) <= limit);
            }
            assert!(streams.queued(key) > limit - 2000);
        }
    }
}
