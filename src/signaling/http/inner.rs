//! tiny_http behind the gate, and the thread that carries messages between it and the application.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use tiny_http::Response;
use tiny_http::{Header, Method, StatusCode};

use super::{MAX_BODY, SignalRequest, Wake};
use crate::proto::signal::{SignalError, SignalMessage};

/// Interval at which the carrying thread checks whether it has to end.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Time limit for connecting to tiny_http, on this machine.
const CONNECT: Duration = Duration::from_secs(2);

/// Destination of valid requests.
pub(super) struct Deliver {
    pub queue: SyncSender<SignalRequest>,
    pub wake: Wake,
}

/// Verdicts on their way back.
#[derive(Clone)]
pub(super) struct Replies {
    queue: Sender<(tiny_http::Request, Response<Cursor<Vec<u8>>>)>,
    server: Arc<tiny_http::Server>,
}

impl Replies {
    /// Passes the response to the carrying thread. The queue holds at most one entry per connection.
    pub fn send(&self, http: tiny_http::Request, response: Response<Cursor<Vec<u8>>>) {
        if self.queue.send((http, response)).is_ok() {
            self.server.unblock();
        }
    }
}

/// An instance of tiny_http. If it fails (its accept loop ends at the first error, and panics when descriptors run
/// out), [`connect`](Self::connect) starts another one.
pub(super) struct Inner {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Shared {
    deliver: Mutex<Deliver>,
    /// The gate's connections by local address, with the real client of each. Connections that are not in it did not
    /// come through the gate.
    clients: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    server: Arc<tiny_http::Server>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.server.unblock();
    }
}

impl Inner {
    pub fn start(deliver: Deliver) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            deliver: Mutex::new(deliver),
            clients: Mutex::default(),
        });
        let running = Mutex::new(Some(Running::start(&shared)?));
        Ok(Self { shared, running })
    }

    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        lock(&self.running).as_ref().unwrap().address
    }

    /// Simulates that tiny_http has stopped listening.
    #[cfg(test)]
    pub fn break_down(&self) {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        lock(&self.running).as_mut().unwrap().address = nobody.local_addr().unwrap();
    }

    /// Opens a connection to tiny_http on behalf of `client`.
    pub fn connect(&self, client: SocketAddr) -> io::Result<Connection> {
        let mut running = lock(&self.running);
        let tried = running
            .as_ref()
            .map(|running| TcpStream::connect_timeout(&running.address, CONNECT));
        let stream = match tried {
            Some(Ok(stream)) => stream,
            _ => {
                log::warn!("the HTTP parser's socket is gone: starting it anew");
                *running = None;
                let anew = Running::start(&self.shared)?;
                TcpStream::connect_timeout(&running.insert(anew).address, CONNECT)?
            }
        };
        drop(running);
        let local = stream.local_addr()?;
        lock(&self.shared.clients).insert(local, client);
        Ok(Connection {
            stream,
            local,
            shared: Arc::clone(&self.shared),
        })
    }
}

/// A connection from the gate to tiny_http.
pub(super) struct Connection {
    pub stream: TcpStream,
    local: SocketAddr,
    shared: Arc<Shared>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.shared.clients).remove(&self.local);
    }
}

impl Running {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let server = Arc::new(server);
        let (queue, replies) = channel();
        let carrier = Carrier {
            shared: Arc::clone(shared),
            replies: Replies {
                queue,
                server: Arc::clone(&server),
            },
            stop: Arc::new(AtomicBool::new(false)),
        };
        let stop = Arc::clone(&carrier.stop);
        thread::Builder::new()
            .name("signaling".to_owned())
            .spawn(move || carrier.run(&replies))?;
        Ok(Self {
            address,
            stop,
            server,
        })
    }
}

/// The thread between tiny_http and the application.
struct Carrier {
    shared: Arc<Shared>,
    replies: Replies,
    stop: Arc<AtomicBool>,
}

impl Carrier {
    fn run(&self, replies: &Receiver<(tiny_http::Request, Response<Cursor<Vec<u8>>>)>) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.replies.server.recv_timeout(LOOK_UP) {
                Ok(Some(http)) => self.carry(http),
                Ok(None) => {}
                Err(error) => {
                    log::warn!("the HTTP parser stopped accepting: {error}");
                    break;
                }
            }
            // tiny_http can wait for one thing only, so a verdict ends its wait (`unblock`).
            while let Ok((http, response)) = replies.try_recv() {
                respond(http, response);
            }
        }
    }

    fn carry(&self, mut http: tiny_http::Request) {
        let client = http
            .remote_addr()
            .and_then(|address| lock(&self.shared.clients).get(address).copied());
        let Some(client) = client else {
            // A local process that bypassed the gate, or a connection of the gate that is closed by now. Dropping a
            // request makes tiny_http allocate the rest of its declared length, so an unchecked one must not be
            // touched.
            if http.body_length().is_some_and(|length| length > MAX_BODY) {
                std::mem::forget(http);
            }
            return;
        };
        match read_message(&mut http) {
            Ok(message) => self.deliver(http, message, client),
            Err(refusal) => respond(http, *refusal),
        }
    }

    fn deliver(&self, http: tiny_http::Request, message: SignalMessage, client: SocketAddr) {
        let request = SignalRequest {
            message,
            client,
            arrived: Instant::now(),
            http: Some(http),
            replies: self.replies.clone(),
        };
        let deliver = lock(&self.shared.deliver);
        match deliver.queue.try_send(request) {
            Ok(()) => (deliver.wake)(),
            Err(TrySendError::Full(mut request)) => {
                let response = text(503, "too many requests wait already: try again");
                request.reply(with_header(response, "Retry-After", "1"));
            }
            Err(TrySendError::Disconnected(mut request)) => {
                request.reply(text(503, "this end is closing"));
            }
        }
    }
}

type Refused = Box<Response<Cursor<Vec<u8>>>>;

fn read_message(http: &mut tiny_http::Request) -> Result<SignalMessage, Refused> {
    let refuse = |status, message: &str| Box::new(text(status, message));
    let path = http.url().split('?').next().unwrap_or_default().to_owned();
    if path == "/" && matches!(http.method(), Method::Get | Method::Head) {
        return Err(refuse(
            200,
            "looprtc signaling: POST /sdp and POST /candidate",
        ));
    }
    if path != "/sdp" && path != "/candidate" {
        return Err(refuse(
            404,
            "no such path: there are POST /sdp and POST /candidate",
        ));
    }
    if *http.method() != Method::Post {
        let response = refuse(405, "only POST is taken here");
        return Err(Box::new(with_header(*response, "Allow", "POST")));
    }
    // Otherwise any web page open on this machine could send requests.
    if http
        .headers()
        .iter()
        .any(|header| header.field.equiv("Origin"))
    {
        return Err(refuse(
            403,
            "requests from web pages (with an Origin) are not taken",
        ));
    }
    let mut body = Vec::new();
    let limit = MAX_BODY as u64 + 1;
    http.as_reader()
        .take(limit)
        .read_to_end(&mut body)
        .map_err(|error| refuse(400, &format!("the body cannot be read: {error}")))?;
    let message = if path == "/sdp" {
        SignalMessage::parse_description(&body).map(SignalMessage::Description)
    } else {
        SignalMessage::parse_candidate(&body)
    };
    message.map_err(|error| refuse(status_of(&error), &format!("POST {path}: {error}")))
}

fn status_of(error: &SignalError) -> u16 {
    match error {
        SignalError::TooLong { .. } => 413,
        SignalError::UnknownSdpType { .. } | SignalError::WrongType { .. } => 422,
        _ => 400,
    }
}

fn respond(http: tiny_http::Request, response: Response<Cursor<Vec<u8>>>) {
    // The gate reads the whole response whatever its client does, so this ends soon.
    if let Err(error) = http.respond(response) {
        log::debug!("a response could not be handed over: {error}");
    }
}

/// Returns a one-line text response.
pub(super) fn text(status: u16, message: &str) -> Response<Cursor<Vec<u8>>> {
    let response = Response::from_data(format!("{message}\n"))
        .with_status_code(StatusCode(status))
        .with_chunked_threshold(usize::MAX);
    with_header(response, "Content-Type", "text/plain; charset=utf-8")
}

pub(super) fn with_header(
    mut response: Response<Cursor<Vec<u8>>>,
    name: &str,
    value: &str,
) -> Response<Cursor<Vec<u8>>> {
    // Names and values are ASCII constants of this module, which always parse.
    if let Ok(header) = Header::from_bytes(name.as_bytes(), value.as_bytes()) {
        response.add_header(header);
    }
    response.with_chunked_threshold(usize::MAX)
}

/// A panic elsewhere does not leave these maps and queues inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
