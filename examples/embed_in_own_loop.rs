//! WebRTC in a program with a poll loop of its own.
//!
//!     cargo run --example embed_in_own_loop
//!     echo hello | nc -u -w1 127.0.0.1 9000          # in another terminal
//!
//! The application owns a `mio::Poll`, a UDP socket and a timer. The event loop joins as one more descriptor and one
//! more deadline; the same works with `epoll`, `poll`, libuv or GLib. Datagrams received on the socket are sent through
//! a data channel, from one peer to another in the same loop, and what arrives there is returned to the sender of the
//! datagram.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, IceCandidateInit, PeerConfig, PeerEvent, Politeness,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// What this application waits for: WebRTC, as one descriptor, and a socket of its own.
const WEBRTC: Token = Token(0);
const SOCKET: Token = Token(1);

/// Interval of the application's timer.
const TICK: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let Some(address) = address_from_args()? else {
        return Ok(());
    };

    let mut app = App::new(address)?;
    let mut poll = Poll::new()?;
    let registry = poll.registry();
    registry.register(
        &mut SourceFd(&app.net.as_raw_fd()),
        WEBRTC,
        Interest::READABLE,
    )?;
    registry.register(&mut app.socket, SOCKET, Interest::READABLE)?;
    println!("Listening at {}", app.socket.local_addr()?);

    let mut ready = Events::with_capacity(16);
    let mut tick = Instant::now() + TICK;
    loop {
        // Wait for a descriptor or a deadline: the timer's or WebRTC's, whichever is first.
        let until = app
            .net
            .next_deadline()
            .map_or(tick, |deadline| deadline.min(tick));
        let wait = until.saturating_duration_since(Instant::now());
        match poll.poll(&mut ready, Some(wait)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        if ready.iter().any(|event| event.token() == SOCKET) {
            app.on_socket()?;
        }
        // One turn does everything WebRTC has to do now, without waiting. A turn with nothing to do costs a system
        // call, so the reason for waking need not be known.
        app.net.run_once(Some(Duration::ZERO))?;
        while let Some((id, event)) = app.net.poll_event() {
            app.on_event(id, event)?;
        }
        if Instant::now() >= tick {
            tick += TICK;
            app.on_timer();
        }
    }
}

/// The application, with WebRTC inside.
struct App {
    net: EventLoop,
    near: PeerId,
    far: PeerId,
    /// The near peer's channel, once it is open.
    channel: Option<ChannelId>,
    socket: mio::net::UdpSocket,
    /// The sender of the last datagram.
    client: Option<SocketAddr>,
    relayed: usize,
}

impl App {
    fn new(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let mut net = EventLoop::new(LoopConfig::default())?;
        // Two peers of one loop that connect to each other cannot share a port; loopback needs no network.
        let config = PeerConfig::default().include_loopback(true);
        let near = net.add_peer(config.clone().port(PortPolicy::Own))?;
        let far = net.add_peer(config.politeness(Politeness::Impolite))?;
        net.peer(near)?
            .create_data_channel(ChannelConfig::new("relay"))?;
        Ok(Self {
            net,
            near,
            far,
            channel: None,
            socket: mio::net::UdpSocket::bind(address)?,
            client: None,
            relayed: 0,
        })
    }

    /// Handles a readable socket. mio reports that once, so read until nothing is left.
    fn on_socket(&mut self) -> Result<(), Box<dyn Error>> {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            self.client = Some(from);
            match self.channel {
                Some(channel) => self
                    .net
                    .peer(self.near)?
                    .send_binary(channel, &buffer[..length])?,
                None => println!("Not connected yet; dropped what {from} sent"),
            }
        }
    }

    fn on_event(&mut self, id: PeerId, event: PeerEvent) -> Result<(), Box<dyn Error>> {
        match event {
            PeerEvent::ChannelOpen(channel) if id == self.near => {
                println!("Channel open");
                self.channel = Some(channel);
            }
            // At the far peer: return it to the sender through the socket.
            PeerEvent::ChannelMessage { message, .. } => {
                self.relayed += 1;
                std::io::stdout().write_all(message.as_bytes())?;
                if let Some(client) = self.client {
                    self.socket.send_to(message.as_bytes(), client)?;
                }
            }
            // Both peers are here: signaling is passed directly.
            PeerEvent::NegotiationNeeded => {
                let offer = self.net.peer(id)?.negotiate()?;
                let answer = self.net.peer(self.other(id))?.receive(offer)?;
                if let Some(answer) = answer {
                    self.net.peer(id)?.receive(answer)?;
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let candidate = IceCandidateInit::new(candidate.to_string());
                self.net
                    .peer(self.other(id))?
                    .add_ice_candidate(Some(&candidate))?;
            }
            PeerEvent::Error(error) => return Err(error.into()),
            _ => {}
        }
        Ok(())
    }

    fn on_timer(&self) {
        let stats = self.net.stats();
        println!(
            "{} relayed; {} turns of the loop so far",
            self.relayed, stats.turns
        );
    }

    fn other(&self, id: PeerId) -> PeerId {
        if id == self.near { self.far } else { self.near }
    }
}

/// Returns the listening address; `None` if only help was requested.
fn address_from_args() -> Result<Option<SocketAddr>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut address = SocketAddr::from(([127, 0, 0, 1], 9000));
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => address = parser.value()?.parse()?,
            Long("help") | Short('h') => {
                println!("embed_in_own_loop [--listen IP:PORT]   the UDP socket [127.0.0.1:9000]");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(address))
}
