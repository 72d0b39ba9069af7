//! Rooms and calls behind a door, on a thread of their own.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::proto::peer::PeerConfig;
use looprtc::server::calls::{Calls, CallsConfig};
use looprtc::server::door::{Door, DoorConfig, DoorEvent};
use looprtc::server::http::{Request, RequestId, Response, SocketOutput, WebSocketId};
use looprtc::server::pages;
use looprtc::server::rooms::{Rooms, RoomsConfig, RoomsStats};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A page that does what that of pion's sfu-ws example does, and knows no more than that.
const SFU_WS: &str = include_str!("../interop/pages/sfu_ws.html");

/// A running server. It ends with this.
pub struct Server {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<RoomsStats>>,
}

impl Server {
    /// In this network namespace, if one is named.
    pub fn start(space: Option<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let is_over = over.clone();
        let thread = thread::spawn(move || {
            if let Some(space) = space {
                let file = File::open(format!("/run/netns/{space}")).expect("the namespace");
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).expect("the right to enter it");
            }
            let mut house = House::new();
            tell.send(house.door.local_addr()).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                house.turn();
            }
            house.rooms.stats()
        });
        Self {
            address: told.recv().unwrap(),
            over,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it. What the rooms have counted.
    pub fn end(mut self) -> RoomsStats {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Rooms,
    Calls,
}

struct House {
    net: EventLoop,
    door: Door,
    rooms: Rooms,
    calls: Calls,
    sockets: HashMap<WebSocketId, Service>,
}

impl House {
    fn new() -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let door = Door::listen(([127, 0, 0, 1], 0).into(), DoorConfig::default()).unwrap();
        net.watch(&door).unwrap();
        let peer = PeerConfig::default().include_loopback(true);
        Self {
            net,
            door,
            rooms: Rooms::new(RoomsConfig::default().peer(peer), Instant::now()),
            calls: Calls::new(CallsConfig::default()),
            sockets: HashMap::new(),
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let deadlines = [
            self.door.next_deadline(),
            self.rooms.next_deadline(),
            self.calls.next_deadline(),
            Some(now + Duration::from_millis(200)),
        ];
        let until = deadlines.into_iter().flatten().min().unwrap_or(now);
        let wait = until.saturating_duration_since(now);
        let mut event = self.net.next_event(Some(wait)).unwrap();
        while let Some((peer, of_peer)) = event {
            self.rooms.handle_peer_event(&mut self.net, peer, of_peer);
            event = self.net.poll_event();
        }
        let now = Instant::now();
        self.door.turn(now);
        while let Some(event) = self.door.poll_event() {
            self.at_the_door(event, now);
        }
        self.rooms.handle_timeout(&mut self.net, now);
        self.calls.handle_timeout(now);
        while let Some(output) = self
            .rooms
            .poll_socket()
            .or_else(|| self.calls.poll_socket())
        {
            match output {
                SocketOutput::Send(socket, text) => {
                    // Who does not read is closed, and an event.
                    let _ = self.door.send(socket, &text);
                }
                SocketOutput::Close(socket, code, why) => self.door.close(socket, code, &why),
            }
        }
        self.door.turn(now);
    }

    fn at_the_door(&mut self, event: DoorEvent, now: Instant) {
        match event {
            DoorEvent::Request(id, request) => {
                let response = self.answer(&request);
                self.door.respond(id, response);
            }
            DoorEvent::WebSocketRequest(id, request) => self.open(id, &request, now),
            DoorEvent::Message(socket, text) => match self.sockets.get(&socket) {
                Some(Service::Rooms) => {
                    self.rooms.socket_message(&mut self.net, socket, &text, now);
                }
                Some(Service::Calls) => self.calls.socket_message(socket, &text, now),
                None => {}
            },
            DoorEvent::Closed(socket) => match self.sockets.remove(&socket) {
                Some(Service::Rooms) => self.rooms.socket_closed(&mut self.net, socket, now),
                Some(Service::Calls) => self.calls.socket_closed(socket, now),
                None => {}
            },
            _ => {}
        }
    }

    fn open(&mut self, id: RequestId, request: &Request, now: Instant) {
        let service = match request.path.as_str() {
            "/call/ws" => Service::Calls,
            _ => Service::Rooms,
        };
        if request.header("origin").is_some() && !request.is_same_origin() {
            return self.door.respond(id, Response::new(403));
        }
        let Some(socket) = self.door.accept(id) else {
            return;
        };
        self.sockets.insert(socket, service);
        match service {
            Service::Rooms => self
                .rooms
                .socket_opened(&mut self.net, socket, request, now),
            Service::Calls => self.calls.socket_opened(socket, request, now),
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        match request.path.as_str() {
            "/sfu-ws" => Response::new(200).body("text/html", SFU_WS),
            "/api/config" => {
                let config = serde_json::json!({ "rooms": true, "calls": true });
                Response::json(200, &config)
            }
            // As a server that is started anew, but for what it remembers.
            "/test/close-sockets" => {
                for socket in self.sockets.keys() {
                    self.door.close(*socket, 1012, "for a test");
                }
                Response::new(204)
            }
            path => pages::page(path).unwrap_or_else(|| Response::new(404)),
        }
    }
}
