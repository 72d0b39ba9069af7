//! The gate: accepts connections, reads each request whole within limits and a deadline, and passes it to tiny_http.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::inner::{Deliver, Inner};
use super::{HttpConfig, MAX_BODY};
use crate::proto::http::{RawRequest, ReadLimits, Refusal, Reply, RequestReader, Step, Version};

const LIMITS: ReadLimits = ReadLimits {
    head: 8 * 1024,
    body: MAX_BODY,
    needs_length: true,
};

/// Maximum size of a response that is passed back: an answer escaped for JSON, and its head.
const MAX_RESPONSE: u64 = 4 * MAX_BODY as u64;

/// Time to keep reading from a client that was refused before it had sent everything: closing at once would reset the
/// connection, and the client might never read the reason.
const LINGER: Duration = Duration::from_millis(500);

/// Maximum number of bytes that such a client may still send.
const MAX_LINGER: u64 = 1024 * 1024;

/// The listening socket and the accepting thread.
pub(super) struct Gate {
    local: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    inner: Inner,
    slots: Slots,
    stop: AtomicBool,
    request_deadline: Duration,
    verdict_deadline: Duration,
}

impl Gate {
    pub fn start(listener: TcpListener, config: &HttpConfig, deliver: Deliver) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            inner: Inner::start(deliver)?,
            slots: Slots {
                free: Mutex::new(config.max_connections.max(1)),
                freed: Condvar::new(),
            },
            stop: AtomicBool::new(false),
            request_deadline: config.request_deadline,
            verdict_deadline: config.verdict_deadline,
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("signaling-gate".to_owned())
                .spawn(move || accept(&listener, &shared))?
        };
        Ok(Self {
            local,
            shared,
            accepting: Some(accepting),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    #[cfg(test)]
    pub fn inner(&self) -> &Inner {
        &self.shared.inner
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.slots.give();
        // Ends the wait for a connection.
        let mut address = self.local;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let called = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        // Joined so that the port is free again; if the wait cannot be ended, the thread may never end.
        if let (Ok(_), Some(accepting)) = (called, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let slot = shared.slots.take(shared);
        let accepted = listener.accept();
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The connection was closed before it was accepted, or no descriptors are left: both are temporary.
                log::warn!("signaling: accepting a connection failed: {error}");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let started = thread::Builder::new()
            .name("signaling-client".to_owned())
            .spawn(move || {
                slot.shared.serve(&stream, client);
            });
        if let Err(error) = started {
            log::warn!("signaling: no thread for {client}: {error}");
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream, client: SocketAddr) {
        let mut timed = Timed {
            stream,
            deadline: Instant::now() + self.request_deadline,
        };
        let response = match read_request(&mut timed) {
            Ok(Some(request)) => self.pass_on(&forward(&request), client),
            Ok(None) => return,
            Err(refusal) => Err(refusal),
        };
        timed.deadline = Instant::now() + self.request_deadline;
        let written = match response {
            Ok(response) => timed.write_all(&response),
            Err(refusal) => {
                log::debug!("{client}: {} {}", refusal.status, refusal.message);
                timed
                    .write_all(&refusal.response().encode(Reply::LAST, None))
                    .inspect(|()| linger(stream))
            }
        };
        if let Err(error) = written {
            log::debug!("{client} did not take its response: {error}");
        }
    }

    /// Passes the request through tiny_http to the application; returns the response.
    fn pass_on(&self, request: &[u8], client: SocketAddr) -> Result<Vec<u8>, Refusal> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::TimedOut => {
                let seconds = self.verdict_deadline.as_secs_f32();
                Refusal::new(
                    504,
                    format!("the application gave no verdict within {seconds} s"),
                )
            }
            _ => Refusal::new(500, format!("the request could not be passed on: {error}")),
        };
        let connection = self.inner.connect(client).map_err(failed)?;
        let deadline = Instant::now() + self.verdict_deadline;
        let mut inner = Timed {
            stream: &connection.stream,
            deadline,
        };
        inner.write_all(request).map_err(failed)?;
        let mut response = Vec::new();
        inner
            .take(MAX_RESPONSE)
            .read_to_end(&mut response)
            .map_err(failed)?;
        // tiny_http does not let its user announce that the connection closes.
        let Some(end) = response.windows(2).position(|two| two == b"\r\n") else {
            return Err(Refusal::new(
                500,
                "the request could not be passed on: no response",
            ));
        };
        response.splice(end..end, *b"\r\nConnection: close");
        Ok(response)
    }
}

/// Reads one complete request; data after it is ignored. `None`: the client closed the connection without sending
/// anything.
fn read_request(client: &mut Timed<'_>) -> Result<Option<RawRequest>, Refusal> {
    let mut reader = RequestReader::new(LIMITS);
    let mut chunk = [0; 2048];
    loop {
        match reader.step() {
            Step::More => {}
            Step::Continue => client
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .map_err(|error| Refusal::bad(format!("the client is gone: {error}")))?,
            Step::Request(request) => return Ok(Some(*request)),
            Step::Refused(refusal) => return Err(refusal),
        }
        let read = client
            .read(&mut chunk)
            .map_err(|error| match error.kind() {
                ErrorKind::TimedOut => Refusal::new(408, "the request took too long to arrive"),
                _ => Refusal::bad(format!("the request cannot be read: {error}")),
            })?;
        if read == 0 {
            return reader.ended().map_or(Ok(None), Err);
        }
        reader.push(&chunk[..read]);
    }
}

/// Returns the request as tiny_http is to see it: without the headers that concern only the client's connection, and
/// with the length of the body given once.
fn forward(request: &RawRequest) -> Vec<u8> {
    let RawRequest { head, body } = request;
    let version = match head.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    let mut text = format!("{} {} {version}\r\n", head.method, head.target);
    for (name, value) in &head.headers {
        if !concerns_connection(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let length = body.len();
    text.push_str(&format!(
        "content-length: {length}\r\nconnection: close\r\n\r\n"
    ));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Returns `true` for headers, in lower case, that concern only the connection they came by, or the way the body is
/// transferred.
fn concerns_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Gives the client time to read a response that was sent before its request was complete.
fn linger(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let timed = Timed {
        stream,
        deadline: Instant::now() + LINGER,
    };
    let _ = io::copy(&mut timed.take(MAX_LINGER), &mut io::sink());
}

/// A stream on which all reads and writes together end by a deadline.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

/// Unix reports a socket timeout as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Number of connections that may still be served at the same time.
struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

struct Slot {
    shared: Arc<Shared>,
}

impl Slots {
    /// Waits for a slot.
    fn take(&self, shared: &Arc<Shared>) -> Slot {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot {
            shared: Arc::clone(shared),
        }
    }

    fn give(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.slots.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<RawRequest> {
        let mut reader = RequestReader::new(LIMITS);
        reader.push(bytes);
        match reader.step() {
            Step::Request(request) => Some(*request),
            _ => None,
        }
    }

    #[test]
    fn passes_on_what_matters_and_says_the_length_once() {
        let request = read(
            b"POST /sdp HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\
              content-length:  3\r\nExpect: 100-Continue\r\nX-A:\tb c \r\n\r\nabc",
        );
        let forwarded = forward(&request.unwrap());
        assert_eq!(
            String::from_utf8(forwarded).unwrap(),
            "POST /sdp HTTP/1.1\r\nhost: a:1\r\nx-a: b c\r\ncontent-length: 3\r\n\
             connection: close\r\n\r\nabc"
        );
    }

    #[test]
    fn what_passes_passes_again() {
        let seed = b"POST /sdp HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n1234567";
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize
        };
        let mut passed = 0;
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..next() % 4 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.insert(at, b":\r\n 09"[next() % 6]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let Some(request) = read(&bytes) else {
                continue;
            };
            passed += 1;
            let again = read(&forward(&request)).expect("what passes must pass again");
            assert_eq!(again.head.method, request.head.method);
            assert_eq!(again.head.target, request.head.target);
            assert_eq!(again.body, request.body);
        }
        assert!(passed > 1_000);
    }
}
