//! An application behind an HTTP port, on a thread of its own, and raw clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use looprtc::server::door::{Door, DoorConfig, DoorEvent, DoorStats};
use looprtc::server::http::{Request, Response};

/// Time limit for anything that is expected to happen.
pub const LONG: Duration = Duration::from_secs(20);

/// Input received by the application.
pub type Seen = Arc<Mutex<Vec<String>>>;

pub struct App {
    pub address: SocketAddr,
    pub seen: Seen,
    stop: Arc<AtomicBool>,
    ask: Sender<Sender<DoorStats>>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    pub fn start(config: DoorConfig) -> Self {
        Self::listen("127.0.0.1:0", config)
    }

    pub fn listen(address: &str, config: DoorConfig) -> Self {
        let mut door = Door::listen(address.parse().unwrap(), config).unwrap();
        let address = door.local_addr();
        let seen = Seen::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (ask, asked) = channel();
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    turn(&mut door, &seen, &asked);
                }
            })
        };
        Self {
            address,
            seen,
            stop,
            ask,
            thread: Some(thread),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn stats(&self) -> DoorStats {
        let (sender, receiver) = channel();
        self.ask.send(sender).unwrap();
        receiver.recv_timeout(LONG).unwrap()
    }

    /// Waits until the counters have the expected values.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&DoorStats) -> bool) -> DoorStats {
        let start = std::time::Instant::now();
        loop {
            let stats = self.stats();
            if is_so(&stats) {
                return stats;
            }
            assert!(start.elapsed() < LONG, "{what}: {stats:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn saw(&self, what: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|line| line == what)
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends bytes and reads one response.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        Answer::read(&mut stream, false)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the program has panicked");
        }
    }
}

fn turn(door: &mut Door, seen: &Seen, asked: &Receiver<Sender<DoorStats>>) {
    door.wait(Some(Duration::from_millis(20)));
    let see = |line: String| seen.lock().unwrap().push(line);
    while let Some(event) = door.poll_event() {
        match event {
            DoorEvent::Request(id, request) => {
                see(format!("{} {}", request.method, request.path));
                if let Some(response) = answer(&request) {
                    door.respond(id, response);
                }
            }
            DoorEvent::WebSocketRequest(id, request) if request.path == "/ws" => {
                door.accept(id);
            }
            DoorEvent::WebSocketRequest(id, _) => door.respond(id, Response::new(404)),
            DoorEvent::Message(socket, text) => match text.as_str() {
                "close" => door.close(socket, 4000, "as you wish"),
                "flood" => {
                    let flood = "x".repeat(64 * 1024);
                    while door.send(socket, &flood).is_ok() {}
                    see("flooded".into());
                }
                _ => {
                    let _ = door.send(socket, &text);
                }
            },
            DoorEvent::Closed(_) => see("closed".into()),
            DoorEvent::Gone(_) => see("gone".into()),
            _ => {}
        }
    }
    while let Ok(sender) = asked.try_recv() {
        let _ = sender.send(door.stats());
    }
}

/// The application's handlers, by path.
fn answer(request: &Request) -> Option<Response> {
    let number = || request.query.parse::<usize>().unwrap_or(0);
    Some(match request.path.as_str() {
        "/never" => return None,
        "/large" => Response::new(200).body("application/octet-stream", vec![b'x'; number()]),
        "/status" => Response::new(u16::try_from(number()).unwrap()),
        "/echo" => Response::new(200).body("application/octet-stream", request.body.clone()),
        _ => {
            let Request {
                method,
                path,
                query,
                ..
            } = request;
            let length = request.body.len();
            let text = format!(
                "{method} {path} ?{query} {length} {}\n",
                if request.secure { "secure" } else { "plain" }
            );
            Response::new(200).body("text/plain", text)
        }
    })
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Connects from another address of this machine.
pub fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Reads one response, and no more bytes than belong to it.
    pub fn read(stream: &mut impl Read, is_head: bool) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1);
        let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        let mut body = vec![0; if is_head { 0 } else { length }];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Self { status, head, body }
    }
}

/// Returns `true` if the connection has ended.
pub fn has_ended(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1024]), Ok(0) | Err(_))
}
