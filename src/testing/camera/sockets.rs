//! A scripted camera on TCP and UDP sockets of this machine, with a thread of its own.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Behaviour, ConnectionId, Input, Log, Output, ScriptedCamera};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How long the thread sleeps at most; nothing wakes it.
const TICK: Duration = Duration::from_millis(2);

/// Bytes that may wait for a client that does not read. A real camera drops its packets then; this one hangs up.
const MAX_UNSENT: usize = 4 << 20;

/// A change of the camera while it runs.
type Job = Box<dyn FnOnce(&mut ScriptedCamera) + Send>;

/// A camera that listens until it is dropped.
pub struct CameraOnSockets {
    address: SocketAddr,
    path: &'static str,
    jobs: Option<Sender<Job>>,
    log: Arc<Mutex<Log>>,
    thread: Option<JoinHandle<()>>,
}

impl CameraOnSockets {
    /// Starts a camera on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        Self::start_at(behaviour, SocketAddr::new(LOOPBACK, 0))
    }

    /// Starts a camera at this address.
    ///
    /// # Errors
    ///
    /// If the address is in use.
    pub fn start_at(behaviour: Behaviour, address: SocketAddr) -> std::io::Result<Self> {
        let path = behaviour.description.path;
        let path = path.filter(|_| behaviour.messages.redirects == 0);
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let sockets = udp_sockets(address.ip())?;
        let log = Arc::new(Mutex::new(Log::default()));
        let (jobs, incoming) = channel();
        let seed = u64::from(address.port());
        let ports = std::array::from_fn(|n| {
            let local = sockets.get(n).and_then(|socket| socket.local_addr().ok());
            local.map_or(0, |local| local.port())
        });
        let mut running = Running {
            listener,
            sockets,
            clients: HashMap::new(),
            next: 0,
            camera: ScriptedCamera::new(behaviour, ports, seed, Instant::now()),
            log: Arc::clone(&log),
        };
        let thread = std::thread::Builder::new().name("camera".to_owned());
        let thread = thread.spawn(move || running.run(&incoming))?;
        Ok(Self {
            address,
            path: path.unwrap_or("/cam"),
            jobs: Some(jobs),
            log,
            thread: Some(thread),
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its URL, with the right password if it asks for one.
    pub fn url(&self) -> String {
        format!("rtsp://cam:secret@{}{}", self.address, self.path)
    }

    /// Returns what the camera has seen so far.
    pub fn log(&self) -> Log {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Does something to the camera, on its thread, soon.
    pub fn with(&self, job: impl FnOnce(&mut ScriptedCamera) + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // It fails only if the thread has panicked, which is told when it is joined.
            let _ = jobs.send(Box::new(job));
        }
    }
}

impl Drop for CameraOnSockets {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            !matches!(ended, Some(Err(_))) || std::thread::panicking(),
            "the camera's thread has panicked"
        );
    }
}

/// Three pairs of an even and the next port, and one more.
fn udp_sockets(ip: IpAddr) -> std::io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    while sockets.len() < 6 {
        let first = UdpSocket::bind((ip, 0))?;
        let port = first.local_addr()?.port();
        if port % 2 == 1 {
            continue;
        }
        // Somebody else may have the next one.
        if let Ok(second) = UdpSocket::bind((ip, port + 1)) {
            sockets.extend([first, second]);
        }
    }
    sockets.push(UdpSocket::bind((ip, 0))?);
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    Ok(sockets)
}

struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
    is_ending: bool,
}

struct Running {
    listener: TcpListener,
    sockets: Vec<UdpSocket>,
    clients: HashMap<ConnectionId, Client>,
    next: u64,
    camera: ScriptedCamera,
    log: Arc<Mutex<Log>>,
}

impl Running {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            loop {
                match jobs.try_recv() {
                    Ok(job) => job(&mut self.camera),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.accept();
            self.read(&mut buffer);
            self.camera.handle_input(Input::Timeout, Instant::now());
            let deadline = self.write();
            *self.log.lock().unwrap_or_else(PoisonError::into_inner) = self.camera.log().clone();
            let now = Instant::now();
            let wait = deadline.map_or(TICK, |at| at.saturating_duration_since(now));
            std::thread::sleep(wait.min(TICK));
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, from)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let id = ConnectionId(self.next);
            self.next += 1;
            let client = Client {
                stream,
                unsent: Vec::new(),
                is_ending: false,
            };
            self.clients.insert(id, client);
            self.camera
                .handle_input(Input::Accepted(id, from), Instant::now());
        }
    }

    fn read(&mut self, buffer: &mut [u8]) {
        let ids: Vec<_> = self.clients.keys().copied().collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match client.stream.read(buffer) {
                Ok(length @ 1..) => {
                    let contents = &buffer[..length];
                    self.camera
                        .handle_input(Input::Received(id, contents), Instant::now());
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                _ => {
                    self.clients.remove(&id);
                    self.camera.handle_input(Input::Closed(id), Instant::now());
                }
            }
        }
        for (number, socket) in self.sockets.iter().enumerate() {
            while let Ok((length, from)) = socket.recv_from(buffer) {
                let input = Input::Datagram(number, from, &buffer[..length]);
                self.camera.handle_input(input, Instant::now());
            }
        }
    }

    fn write(&mut self) -> Option<Instant> {
        let deadline = loop {
            match self.camera.poll_output() {
                Output::Timeout(at) => break at,
                Output::Send(id, contents) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.unsent.extend(contents);
                    }
                }
                Output::Close(id) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.is_ending = true;
                    }
                }
                Output::Datagram(place, to, contents) => {
                    if let Some(socket) = self.sockets.get(place.number()) {
                        // What does not fit is lost, as elsewhere.
                        let _ = socket.send_to(&contents, to);
                    }
                }
            }
        };
        let camera = &mut self.camera;
        self.clients.retain(|id, client| {
            let mut failed = client.unsent.len() > MAX_UNSENT;
            while !client.unsent.is_empty() && !failed {
                match client.stream.write(&client.unsent) {
                    Ok(written) => drop(client.unsent.drain(..written)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => failed = true,
                }
            }
            let ends = failed || (client.is_ending && client.unsent.is_empty());
            if ends {
                camera.handle_input(Input::Closed(*id), Instant::now());
            }
            !ends
        });
        deadline
    }
}
