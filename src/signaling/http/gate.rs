//! The gate: accepts connections, reads each request whole within limits and a deadline, and passes
//! it on to tiny_http.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::head::{self, MAX_HEAD, Refusal};
use super::inner::{Deliver, Inner};
use super::{HttpConfig, MAX_BODY};

/// The longest response passed back: an answer, escaped for JSON, and its head.
const MAX_RESPONSE: u64 = 4 * MAX_BODY as u64;

/// How long is listened to a client that was refused before it had sent everything: closing at once
/// would reset the connection, and the client might never read why.
const LINGER: Duration = Duration::from_millis(500);

/// How much such a client may still send.
const MAX_LINGER: u64 = 1024 * 1024;

/// The listening socket and the thread that accepts.
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
        // Joined so that the port is free again; without the call it may never end.
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
                // A connection gone before it was accepted, or no descriptor left: both pass.
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
            Ok(Some(request)) => self.pass_on(&request, client),
            Ok(None) => return,
            Err(refusal) => Err(refusal),
        };
        timed.deadline = Instant::now() + self.request_deadline;
        let written = match response {
            Ok(response) => timed.write_all(&response),
            Err(refusal) => {
                log::debug!("{client}: {} {}", refusal.status, refusal.message);
                timed
                    .write_all(&refusal.response())
                    .inspect(|()| linger(stream))
            }
        };
        if let Err(error) = written {
            log::debug!("{client} did not take its response: {error}");
        }
    }

    /// Has tiny_http and the application see the request, and returns the response.
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
        // tiny_http does not let its user say that the connection ends here.
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

/// Reads one request whole. `None` when the client left without a word.
fn read_request(client: &mut Timed<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut bytes = Vec::with_capacity(1024);
    let end = loop {
        if let Some(end) = head::end_of_head(&bytes) {
            break end;
        }
        if bytes.len() >= MAX_HEAD {
            return Err(Refusal::new(
                431,
                format!("the head is over {MAX_HEAD} bytes"),
            ));
        }
        let room = MAX_HEAD - bytes.len();
        if read_some(client, &mut bytes, room)? == 0 {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(Refusal::new(400, "the connection ended within the head")),
            };
        }
    };
    let head = head::check(&bytes[..end], MAX_BODY)?;
    let mut body = bytes.split_off(end);
    if head.expects_continue && body.is_empty() && head.content_length > 0 {
        let written = client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        written.map_err(|error| Refusal::new(400, format!("the client is gone: {error}")))?;
    }
    // More than declared would be another request, and each connection carries one.
    body.truncate(head.content_length);
    while body.len() < head.content_length {
        let room = head.content_length - body.len();
        if read_some(client, &mut body, room)? == 0 {
            let (got, said) = (body.len(), head.content_length);
            return Err(Refusal::new(
                400,
                format!("the body ended after {got} of {said} bytes"),
            ));
        }
    }
    let mut request = head.forward;
    request.extend_from_slice(&body);
    Ok(Some(request))
}

fn read_some(client: &mut Timed<'_>, bytes: &mut Vec<u8>, room: usize) -> Result<usize, Refusal> {
    let mut chunk = [0; 2048];
    let room = room.min(chunk.len());
    let read = client
        .read(&mut chunk[..room])
        .map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Refusal::new(408, "the request took too long to arrive"),
            _ => Refusal::new(400, format!("the request cannot be read: {error}")),
        })?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// Gives the client time to read a response that came before it had sent all of its request.
fn linger(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let timed = Timed {
        stream,
        deadline: Instant::now() + LINGER,
    };
    let _ = io::copy(&mut timed.take(MAX_LINGER), &mut io::sink());
}

impl Refusal {
    fn response(&self) -> Vec<u8> {
        let reason = match self.status {
            400 => "Bad Request",
            408 => "Request Timeout",
            411 => "Length Required",
            413 => "Content Too Large",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Internal Server Error",
        };
        let Self { status, message } = self;
        let length = message.len() + 1;
        format!(
            "HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/plain; \
             charset=utf-8\r\nContent-Length: {length}\r\n\r\n{message}\n"
        )
        .into_bytes()
    }
}

/// A stream of which every read and write together ends by a deadline.
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

/// Unix reports a socket's timeout as `WouldBlock`.
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

/// How many connections may still be served at the same time.
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
