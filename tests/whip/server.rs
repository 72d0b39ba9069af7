//! A server on a thread of its own: an HTTP port, streams, and WHIP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, LoopHandle};
use looprtc::proto::peer::{CryptoBackend, PeerConfig};
use looprtc::server::door::{Door, DoorConfig, DoorEvent};
use looprtc::server::http::{Request, Response};
use looprtc::server::streams::{SourceConfig, Streams, StreamsConfig};
use looprtc::server::whip::{WhipConfig, WhipServer, WhipStats};

/// Time limit for anything that has to happen, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct Server {
    pub address: SocketAddr,
    handle: LoopHandle,
    stop: Arc<AtomicBool>,
    stats: Arc<Mutex<WhipStats>>,
    thread: Option<JoinHandle<()>>,
}

/// Configuration of a server.
pub struct Setup {
    pub whip: WhipConfig,
    pub door: DoorConfig,
    /// `None`: port 0.
    pub address: Option<SocketAddr>,
    pub crypto: Option<CryptoBackend>,
    /// As `name=URL`.
    pub sources: &'static [&'static str],
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            whip: WhipConfig::default(),
            door: DoorConfig::default(),
            address: None,
            crypto: None,
            sources: &["cam=whip:", "card=testcard:"],
        }
    }
}

impl Server {
    pub fn start(setup: Setup) -> Self {
        let any = ([127, 0, 0, 1], 0).into();
        let door = Door::listen(setup.address.unwrap_or(any), setup.door).unwrap();
        let net = EventLoop::new(LoopConfig::default().crypto(setup.crypto)).unwrap();
        let mut streams = Streams::new(StreamsConfig::default());
        for source in setup.sources {
            let (name, source) = SourceConfig::parse(source).unwrap();
            streams.add(&name, source).unwrap();
        }
        let peer = PeerConfig::default()
            .include_loopback(true)
            .ice_servers(setup.whip.peer.ice_servers.clone());
        let address = door.local_addr();
        let handle = net.handle();
        let (stop, stats) = (Arc::<AtomicBool>::default(), Arc::default());
        let running = Running {
            net,
            door,
            streams,
            whip: WhipServer::new(setup.whip.peer(peer)),
            stop: Arc::clone(&stop),
            stats: Arc::clone(&stats),
        };
        Self {
            address,
            handle,
            stop,
            stats,
            thread: Some(std::thread::spawn(|| running.run())),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn stats(&self) -> WhipStats {
        *self.stats.lock().unwrap()
    }

    pub fn until(&self, what: &str, is: impl Fn(WhipStats) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(self.stats()) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:?}",
                self.stats()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.handle.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the server panicked");
        }
    }
}

struct Running {
    net: EventLoop,
    door: Door,
    streams: Streams,
    whip: WhipServer,
    stop: Arc<AtomicBool>,
    stats: Arc<Mutex<WhipStats>>,
}

impl Running {
    fn run(mut self) {
        self.net.watch(&self.door).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            let deadlines = [
                self.door.next_deadline(),
                self.streams.next_deadline(),
                self.whip.next_deadline(),
            ];
            let next = deadlines.into_iter().flatten().min();
            let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
            let mut event = self.net.next_event(wait).unwrap();
            while let Some((peer, e)) = event {
                self.whip
                    .handle_peer_event(&mut self.net, &mut self.streams, peer, &e);
                event = self.net.poll_event();
            }
            self.serve();
            let now = Instant::now();
            self.streams.handle_timeout(&mut self.net, now);
            self.whip.handle_timeout(&mut self.net, now);
            while self.streams.poll_event().is_some() {}
            while let Some((id, response)) = self.whip.poll_response() {
                self.door.respond(id, response);
            }
            *self.stats.lock().unwrap() = self.whip.stats();
        }
        // A killed server sends nothing. Its peers notice by themselves.
    }

    fn serve(&mut self) {
        let now = Instant::now();
        self.door.turn(now);
        while let Some(event) = self.door.poll_event() {
            match event {
                DoorEvent::Request(id, request) if self.whip.serves(&request.path) => {
                    self.whip
                        .handle_request(&mut self.net, &mut self.streams, id, request, now);
                }
                DoorEvent::Request(id, request) => self.door.respond(id, elsewhere(&request)),
                DoorEvent::Gone(id) => self.whip.handle_gone(&mut self.net, id),
                _ => {}
            }
        }
    }
}

/// Responses of a load balancer, and pages for browsers.
fn elsewhere(request: &Request) -> Response {
    let to = |target: String| Response::new(307).header("Location", target);
    match request.path.as_str() {
        "/balanced/cam" => to("../whip/cam".into()),
        "/abroad/cam" => to("http://192.0.2.1/whip/cam".into()),
        "/round" => to("/round".into()),
        "/page" => Response::new(200).body("text/html", "<!doctype html>"),
        _ => Response::problem(404, "Not found", "nothing is there"),
    }
}
