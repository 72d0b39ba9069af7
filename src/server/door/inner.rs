//! tiny_http behind the door, and the thread that carries requests and responses between them.
//!
//! tiny_http bounds nothing: not the time a client takes, not its threads, and its accept loop ends for good when
//! there are no descriptors left. So it never meets a client. A fixed number of lines to it is laid when the door
//! opens, over a socket of the file system in a directory of our own, which is gone before the first request: nobody
//! else can ever connect, and it accepts nothing any more. Each line carries one request at a time, whole and checked.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token, Waker};
use tiny_http::{Header, StatusCode};

use crate::server::http::{RequestId, Response};

/// The header by which a request is known again. Clients' own of this name are not passed on.
pub(super) const MARK: &str = "x-looprtc-request";

/// How often the carrying thread looks whether it is to end, should nobody tell it.
const LOOK_UP: Duration = Duration::from_secs(60);

/// How long a new line may take; there are no strangers on it.
const TRY_OUT: Duration = Duration::from_secs(5);

/// Bytes read from a line in one turn, about.
const READ_BUDGET: usize = 256 * 1024;

/// A response of more bytes has a thread of its own, so that others do not wait until the door has taken it.
const LARGE: usize = 128 * 1024;

/// More than this is no head of ours.
const MAX_HEAD: usize = 64 * 1024;

/// Lines' tokens count down from here.
const FIRST_LINE: usize = usize::MAX - 2;

type Reply = (tiny_http::Request, Response);

/// A request that tiny_http has read.
pub(super) struct Arrived {
    pub id: RequestId,
    pub http: tiny_http::Request,
    pub parts: Parts,
}

/// What it has read.
pub(super) struct Parts {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What has come of a line.
pub(super) enum LineEvent {
    /// The whole response to this request, its head still without a `Connection`.
    Response(RequestId, Vec<u8>),
    /// There is more to read.
    More,
    /// A line is dead, and so is all of it.
    Broken(String),
}

/// One life of tiny_http.
pub(super) struct Inner {
    lines: Vec<Line>,
    free: Vec<usize>,
    pub arrived: Receiver<Arrived>,
    replies: Sender<Reply>,
    server: Option<Arc<tiny_http::Server>>,
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
    /// The listening socket's place in the file system, which has no name any more.
    place: Option<File>,
}

/// A connection to tiny_http.
struct Line {
    stream: UnixStream,
    request: Option<RequestId>,
    /// The request is a HEAD.
    is_head: bool,
    out: Vec<u8>,
    sent: usize,
    response: Vec<u8>,
}

impl Inner {
    pub fn start(registry: &Registry, waker: &Arc<Waker>, count: usize) -> io::Result<Self> {
        let directory = own_directory()?;
        let path = directory.join("door");
        let laid = Self::lay(registry, waker, count, &path);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&directory);
        laid
    }

    fn lay(
        registry: &Registry,
        waker: &Arc<Waker>,
        count: usize,
        path: &PathBuf,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // O_PATH: only to find it again when it has no name any more.
        let place = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(0o10_000_000)
            .open(path)
            .ok();
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let server = Arc::new(server);
        let mut lines = Vec::new();
        for index in 0..count {
            let stream = std::os::unix::net::UnixStream::connect(path)?;
            try_out(&server, &stream)?;
            stream.set_nonblocking(true)?;
            let mut stream = UnixStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(FIRST_LINE - index), interest)?;
            lines.push(Line {
                stream,
                request: None,
                is_head: false,
                out: Vec::new(),
                sent: 0,
                response: Vec::new(),
            });
        }
        let (arrive, arrived) = channel();
        let (replies, to_send) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = {
            let (server, waker, stop) = (Arc::clone(&server), Arc::clone(waker), Arc::clone(&stop));
            thread::Builder::new()
                .name("door".to_owned())
                .spawn(move || carry(&server, &arrive, &to_send, &waker, &stop))?
        };
        Ok(Self {
            free: (0..lines.len()).collect(),
            lines,
            arrived,
            replies,
            server: Some(server),
            stop,
            carrier: Some(carrier),
            place,
        })
    }

    /// Which line this token is of.
    pub fn line_of(&self, token: Token) -> Option<usize> {
        let index = FIRST_LINE.checked_sub(token.0)?;
        (index < self.lines.len()).then_some(index)
    }

    /// Whether a request could go this way now.
    pub fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Passes a whole request on, if a line is free: which one.
    pub fn submit(&mut self, id: RequestId, is_head: bool, bytes: Vec<u8>) -> Option<usize> {
        let index = self.free.pop()?;
        let line = &mut self.lines[index];
        line.request = Some(id);
        line.is_head = is_head;
        (line.out, line.sent) = (bytes, 0);
        Some(index)
    }

    /// Hands the response to the carrying thread.
    pub fn respond(&self, http: tiny_http::Request, response: Response) {
        if self.replies.send((http, response)).is_ok()
            && let Some(server) = &self.server
        {
            server.unblock();
        }
    }

    /// Reads and writes a line, up to its budget.
    pub fn attend(&mut self, index: usize) -> Option<LineEvent> {
        let line = &mut self.lines[index];
        let read = line.write().and_then(|()| line.read());
        let done = read.and_then(|more| Ok((line.finished()?, more)));
        match done {
            Ok((None, false)) => None,
            Ok((None, true)) => Some(LineEvent::More),
            Ok((Some(response), _)) => {
                self.free.push(index);
                Some(LineEvent::Response(line.request.take()?, response))
            }
            Err(error) => Some(LineEvent::Broken(error.to_string())),
        }
    }

    /// As if tiny_http had hung up.
    #[cfg(test)]
    pub fn break_down(&self) {
        for line in &self.lines {
            line.stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }

    /// Requests that are under way.
    pub fn under_way(&self) -> Vec<RequestId> {
        let lines = self.lines.iter();
        lines.filter_map(|line| line.request).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What waits to be written to a line is not written any more, so that nobody waits for it.
        self.lines.clear();
        self.stop.store(true, Ordering::Relaxed);
        let Some(server) = self.server.take() else {
            return;
        };
        server.unblock();
        while self.arrived.try_recv().is_ok() {}
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
        while self.arrived.try_recv().is_ok() {}
        drop(server);
        // tiny_http would end its wait for a connection by the name that is gone.
        if let Some(place) = &self.place {
            use std::os::fd::AsRawFd;
            let name = format!("/proc/self/fd/{}", place.as_raw_fd());
            let _ = std::os::unix::net::UnixStream::connect(name);
        }
    }
}

impl Line {
    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let mut left = READ_BUDGET;
        while left > 0 {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) if self.request.is_some() => {
                    self.response.extend_from_slice(&chunk[..count]);
                    left = left.saturating_sub(count);
                }
                Ok(_) => return Err(io::Error::other("a response without a request")),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// The response, once it is whole.
    fn finished(&mut self) -> io::Result<Option<Vec<u8>>> {
        let scanned = &self.response[..self.response.len().min(MAX_HEAD)];
        let Some(end) = scanned.windows(4).position(|four| four == b"\r\n\r\n") else {
            return match scanned.len() {
                MAX_HEAD => Err(io::Error::other("a head without end")),
                _ => Ok(None),
            };
        };
        let head = String::from_utf8_lossy(&scanned[..end]);
        let mut words = head.split(' ');
        let status = words.nth(1).unwrap_or_default();
        let has_body = !self.is_head && !matches!(status, "204" | "304");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse::<usize>().ok())?
        });
        let length = if has_body { length.unwrap_or(0) } else { 0 };
        let whole = end + 4 + length;
        if self.response.len() < whole {
            return Ok(None);
        }
        if self.response.len() > whole {
            return Err(io::Error::other("more than the response"));
        }
        Ok(Some(std::mem::take(&mut self.response)))
    }
}

/// Has one request go there and back. tiny_http gives a connection to a thread that it believes to be idle, though that
/// may have got another one at the same moment; then it waits until a thread has nothing to do, which ours never have.
/// So the next line is laid when this one is known to have its thread.
fn try_out(
    server: &tiny_http::Server,
    mut stream: &std::os::unix::net::UnixStream,
) -> io::Result<()> {
    let late = || io::Error::new(ErrorKind::TimedOut, "tiny_http does not answer");
    stream.write_all(b"GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")?;
    let request = server.recv_timeout(TRY_OUT)?.ok_or_else(late)?;
    request.respond(tiny_http::Response::empty(204))?;
    stream.set_read_timeout(Some(TRY_OUT))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(())
}

/// The thread between tiny_http and the door.
fn carry(
    server: &tiny_http::Server,
    arrive: &Sender<Arrived>,
    replies: &Receiver<Reply>,
    waker: &Waker,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        match server.recv_timeout(LOOK_UP) {
            Ok(Some(http)) => {
                if let Some(arrived) = take(http)
                    && arrive.send(arrived).is_ok()
                    && let Err(e) = waker.wake()
                {
                    log::error!("the door cannot be woken: {e}");
                }
            }
            Ok(None) => {}
            // It accepts no more, which it has no need to.
            Err(e) => log::debug!("the HTTP parser has stopped accepting: {e}"),
        }
        // tiny_http waits for one thing only, so a response calls it off its wait (`unblock`).
        while let Ok((http, response)) = replies.try_recv() {
            if response.body.len() <= LARGE {
                write(http, response);
                continue;
            }
            // There are as many at a time as there are lines, at most. Without a thread it is dropped, and so 500.
            let large = thread::Builder::new().name("door-large".to_owned());
            if let Err(e) = large.spawn(move || write(http, response)) {
                crate::seldom::seldom!(warn, "no thread for a large response: {e}");
            }
        }
    }
}

fn take(mut http: tiny_http::Request) -> Option<Arrived> {
    let mut body = Vec::with_capacity(http.body_length().unwrap_or(0));
    http.as_reader().read_to_end(&mut body).ok()?;
    let mut id = None;
    let mut headers = Vec::with_capacity(http.headers().len());
    for header in http.headers() {
        let name = header.field.as_str().as_str().to_ascii_lowercase();
        let value = header.value.as_str();
        match name.as_str() {
            MARK => id = value.parse().ok().map(RequestId),
            _ => headers.push((name, value.to_owned())),
        }
    }
    let parts = Parts {
        method: http.method().to_string(),
        target: http.url().to_owned(),
        headers,
        body,
    };
    Some(Arrived {
        id: id?,
        http,
        parts,
    })
}

fn write(http: tiny_http::Request, response: Response) {
    let length = response.body.len();
    let mut headers = Vec::with_capacity(response.headers.len() + 1);
    // Otherwise tiny_http would say its own name.
    headers.extend(Header::from_bytes("Server", "looprtc"));
    for (name, value) in &response.headers {
        match Header::from_bytes(name.as_bytes(), value.as_bytes()) {
            Ok(header) => headers.push(header),
            Err(()) => crate::seldom::seldom!(
                warn,
                "the header {name} of a response is not ASCII: left out"
            ),
        }
    }
    let status = StatusCode(response.status);
    let body = Cursor::new(response.body);
    let response = tiny_http::Response::new(status, headers, body, Some(length), None);
    // The door takes the whole response whatever its client does, so that this ends soon.
    if let Err(error) = http.respond(response.with_chunked_threshold(usize::MAX)) {
        log::debug!("a response could not be handed over: {error}");
    }
}

/// A new directory that nobody else may look into.
fn own_directory() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = [Some(std::env::temp_dir()), runtime, Some("/dev/shm".into())];
    let mut last = io::Error::other("no directory for temporary files");
    for place in places.into_iter().flatten() {
        for _ in 0..8 {
            // Not to be foreseen, though that it exists already would only be an error.
            use std::hash::{BuildHasher, Hasher};
            let random = std::hash::RandomState::new().build_hasher().finish();
            let path = place.join(format!("looprtc-{random:016x}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(path),
                Err(e) => last = e,
            }
        }
    }
    Err(last)
}
