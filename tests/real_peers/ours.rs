//! Our side: one `Peer` on sockets of the test's own.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use looprtc::proto::net::{InterfaceAddress, Protocol, Received, SocketReply};
use looprtc::proto::peer::{Input, Output, Peer, PeerConfig, PeerError, PeerEvent};

pub struct Ours {
    peer: Peer,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    events: VecDeque<PeerEvent>,
    deadline: Option<Instant>,
}

impl Ours {
    pub fn new(config: PeerConfig) -> Self {
        Self {
            peer: Peer::new(config, Instant::now()).expect("a peer"),
            sockets: Vec::new(),
            events: VecDeque::new(),
            deadline: None,
        }
    }

    pub fn with<T>(
        &mut self,
        verb: impl FnOnce(&mut Peer, Instant) -> Result<T, PeerError>,
    ) -> Result<T, PeerError> {
        let done = verb(&mut self.peer, Instant::now());
        self.drain();
        done
    }

    /// The next event, if one comes within this time.
    pub fn event(&mut self, wait: Duration) -> Option<PeerEvent> {
        let end = Instant::now() + wait;
        let mut buffer = vec![0; 65536];
        loop {
            for (local, socket) in &self.sockets {
                while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                    let received = Received {
                        protocol: Protocol::Udp,
                        source,
                        destination: *local,
                        contents: &buffer[..length],
                    };
                    let _ = self.peer.handle_input(Input::Receive {
                        now: Instant::now(),
                        received,
                    });
                }
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                let _ = self.peer.handle_input(Input::Timeout(now));
            }
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn drain(&mut self) {
        loop {
            match self.peer.poll_output() {
                Output::Transmit(transmit) => {
                    for (local, socket) in &self.sockets {
                        if *local == transmit.source {
                            let _ = socket.send_to(&transmit.contents, transmit.destination);
                        }
                    }
                }
                Output::OpenSocket(request) => {
                    let mut addresses = Vec::new();
                    for interface in if_addrs::get_if_addrs().expect("interfaces") {
                        if interface.is_loopback() || interface.is_link_local() {
                            continue;
                        }
                        let socket = UdpSocket::bind((interface.ip(), 0)).expect("a socket");
                        socket.set_nonblocking(true).expect("nonblocking");
                        let address = socket.local_addr().expect("address");
                        self.sockets.push((address, socket));
                        addresses.push(InterfaceAddress {
                            interface: interface.name,
                            address,
                        });
                    }
                    let _ = self.peer.handle_input(Input::Socket {
                        now: Instant::now(),
                        id: request.id,
                        reply: SocketReply::Opened(addresses),
                    });
                }
                Output::CloseSocket(_) | Output::Route(_) => {}
                Output::Event(event) => self.events.push_back(event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }
}
