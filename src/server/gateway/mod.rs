//! Gateway: one program that serves streams, rooms and calls, with HTTP, peers and services on one thread.
//!
//! ```text
//!            ┌──────────────────── Gateway::run_once ─────────────────┐
//!  browser ─▶│ Door ─▶ access ─▶ pages, /api, /metrics                │
//!            │              ├──▶ WhipServer ─▶ Streams ─┐              │
//!            │              └──▶ Rooms, Calls ──────────┴▶ EventLoop ─│─▶ UDP
//!            │ TurnServer (embedded, if configured)                   │
//!            └────────────────────────────────────────────────────────┘
//! ```
//!
//! | path | service |
//! |---|---|
//! | `/`, `/watch/NAME`, `/publish`, `/room/NAME`, `/call`, `/stats`, `/admin` | pages |
//! | `/whip/NAME`, `/whep/NAME` | publishing and playing (RFC 9725, WHEP) |
//! | `/room/NAME/ws`, `/websocket` | a room (the latter: the room `lobby`, for clients of pion's sfu-ws) |
//! | `/call/ws` | the call relay |
//! | `/api/config` | available services, and the rights of the request |
//! | `/api/login`, `/api/logout` | exchange a token for a cookie; delete the cookie |
//! | `/api/streams`, `/api/live` | the streams; their changes by WebSocket |
//! | `/api/streams/NAME` | a stream; with the admin right, cameras are added, edited and removed |
//! | `/api/discover` | with the admin right, a search for cameras on the network |
//! | `/api/stats`, `/metrics` | figures, as JSON and for Prometheus |
//! | `/api/openapi.json` | the description of all of these |
//! | `/embed.js`, `/embed/NAME` | the player for other pages, and the same as a page for an iframe |
//! | `/healthz` | 204 |
//! | `/stream…`, `/streams…`, `/static…` | RTSPtoWebRTC's and RTSPtoWeb's interfaces, if [`GatewayConfig::deepch`] is set |

pub(crate) mod access;
mod cameras;
mod compat;
mod config;
mod discover;
mod live;
mod metrics;
mod relay;
mod report;
mod routes;
mod source;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::access::{Access, AccessConfig};
use self::cameras::Asker;
use self::compat::Interfaces;
use self::discover::Searches;
use self::live::Live;
use self::relay::Relay;
use crate::driver::{EventLoop, LoopConfig, LoopError, LoopHandle, PeerId};
use crate::proto::peer::{PLAYOUT_DELAY, PeerConfig, PeerEvent};
use crate::server::calls::{Calls, CallsConfig};
use crate::server::cameras::{Cameras, MAX_CAMERAS};
use crate::server::compat::Port;
use crate::server::door::{Door, DoorConfig, DoorEvent};
use crate::server::http::{Request, SocketOutput, WebSocketId};
use crate::server::proxies::TrustedProxies;
use crate::server::rooms::{Rooms, RoomsConfig};
use crate::server::streams::{Streams, StreamsConfig};
use crate::server::tls::TlsIdentity;
use crate::server::whip::{Origins, WhipConfig, WhipServer};

pub use self::config::{ConfigError, DoorTls, GatewayConfig};

/// Maximum number of peer events handled before the HTTP server is polled again.
const EVENT_BUDGET: usize = 512;

/// Interval of receiver statistics for viewers.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Service that a WebSocket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketOwner {
    Live,
    Rooms,
    Calls,
}

/// The complete server. See the [module](self).
pub struct Gateway {
    config: GatewayConfig,
    net: EventLoop,
    door: Door,
    access: Access,
    streams: Streams,
    cameras: Cameras<Asker>,
    searches: Searches,
    whip: WhipServer,
    rooms: Option<Rooms>,
    calls: Option<Calls>,
    relay: Relay,
    live: Live,
    interfaces: Option<Interfaces>,
    sockets: HashMap<WebSocketId, SocketOwner>,
    started: Instant,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("listening", &self.door.local_addr())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens the HTTP listener and adds the streams.
    ///
    /// # Errors
    ///
    /// Returns [`GatewayError`], whose text names the problem and a remedy.
    pub fn new(config: GatewayConfig) -> Result<Self, GatewayError> {
        config.check()?;
        let mut net = EventLoop::new(
            LoopConfig::default()
                .port(config.udp_port)
                // Plus the peers that play streams of other servers.
                .max_peers(config.max_peers + config.sources.len() + MAX_CAMERAS),
        )?;
        let door = open_door(config.listen, &config)?;
        net.watch(&door)?;
        let interfaces = Interfaces::open(&config, &mut net)?;
        let relay = Relay::start(&config, &mut net)?;
        let peer = peer_config(&config);
        // Their number is limited by the sessions of WHIP and WHEP.
        let viewers = StreamsConfig::default()
            .max_viewers(config.max_peers)
            .max_viewers_per_stream(config.max_peers);
        let mut streams = Streams::new(viewers).pull_with(peer.clone());
        let cameras = Cameras::open(config.cameras_file.clone(), net.handle())
            .map_err(|error| GatewayError::Cameras(error.to_string()))?;
        for (name, source) in source::all(&config, |name| cameras.get(name).is_some())? {
            let added = streams.add(&name, source);
            added.map_err(|error| GatewayError::Source(name, error.to_string()))?;
        }
        cameras.start(&mut streams).map_err(GatewayError::Cameras)?;
        let access = Access::new(AccessConfig {
            view: config.token.clone(),
            publish: config.publish_token.clone(),
            stats: config.stats_token.clone(),
            admin: config.admin_token.clone(),
            open: config.open,
            origins: config.origins.clone(),
            local: config.listen.ip().is_loopback(),
            proxied: config.proxies != TrustedProxies::default() || !config.base_path.is_empty(),
        });
        Ok(Self {
            whip: WhipServer::new(whip_config(&config, peer.clone())),
            rooms: config.rooms.then(|| rooms(&config, peer)),
            calls: config.calls.then(|| calls(&config)),
            net,
            door,
            access,
            streams,
            cameras,
            searches: Searches::default(),
            relay,
            live: Live::default(),
            interfaces,
            sockets: HashMap::new(),
            started: Instant::now(),
            config,
        })
    }

    /// Returns the listening address.
    pub fn local_addr(&self) -> SocketAddr {
        self.door.local_addr()
    }

    /// Returns the URL for a browser on this machine.
    pub fn url(&self) -> String {
        let scheme = if self.door.is_secure() {
            "https"
        } else {
            "http"
        };
        let address = self.local_addr();
        let port = address.port();
        match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => format!("{scheme}://localhost:{port}"),
            _ => format!("{scheme}://{address}"),
        }
    }

    /// Returns the listening address of go2rtc's API, if it is served.
    pub fn go2rtc_addr(&self) -> Option<SocketAddr> {
        self.interfaces.as_ref().and_then(Interfaces::go2rtc_addr)
    }

    /// Returns the streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Returns a handle that ends the wait of [`run_once`](Self::run_once) from another thread.
    pub fn handle(&self) -> LoopHandle {
        self.net.handle()
    }

    /// Runs one turn: waits for activity for at most `max_wait`, and handles it.
    ///
    /// # Errors
    ///
    /// Returns [`GatewayError::Loop`] if the system refuses to wait. Problems of a single client are not errors here.
    pub fn run_once(&mut self, max_wait: Duration) -> Result<(), GatewayError> {
        let wait = self.next_deadline().map_or(max_wait, |at| {
            at.saturating_duration_since(Instant::now()).min(max_wait)
        });
        let mut event = self.net.next_event(Some(wait))?;
        let mut budget = EVENT_BUDGET;
        while let Some((peer, what)) = event {
            self.on_peer_event(peer, what);
            budget -= 1;
            event = if budget > 0 {
                self.net.poll_event()
            } else {
                None
            };
        }
        while let Some(datagram) = self.net.poll_datagram() {
            self.streams.handle_datagram(&mut self.net, &datagram);
        }
        while let Some(event) = self.net.poll_tcp() {
            self.streams.handle_tcp(&mut self.net, &event);
        }
        let now = Instant::now();
        self.door.turn(now);
        while let Some(event) = self.door.poll_event() {
            self.on_door_event(event, now);
        }
        self.turn_interfaces(now);
        self.relay.turn(&self.config, &self.net);
        self.on_timeouts(now);
        self.pass_on();
        Ok(())
    }

    /// Closes all connections gracefully. Accepted data is sent, for at most this time.
    ///
    /// # Errors
    ///
    /// Returns [`GatewayError::Loop`].
    pub fn shutdown(mut self, within: Duration) -> Result<(), GatewayError> {
        self.whip.close(&mut self.net);
        self.streams.close(&mut self.net);
        let now = Instant::now();
        for socket in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.door.close(socket, 1001, "the server is shutting down");
        }
        self.pass_on();
        self.door.turn(now);
        Ok(self.net.shutdown(within)?)
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.door.next_deadline(),
            self.streams.next_deadline(),
            self.whip.next_deadline(),
            self.rooms.as_ref().and_then(Rooms::next_deadline),
            self.calls.as_ref().and_then(Calls::next_deadline),
            self.relay.next_deadline(),
            self.live.next_deadline(),
            self.interfaces.as_ref().and_then(Interfaces::next_deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_peer_event(&mut self, peer: PeerId, event: PeerEvent) {
        if self.whip.owns(peer) {
            let streams = &mut self.streams;
            self.whip
                .handle_peer_event(&mut self.net, streams, peer, &event);
        } else if let Some(rooms) = self.rooms.as_mut().filter(|rooms| rooms.owns(peer)) {
            rooms.handle_peer_event(&mut self.net, peer, event);
        } else {
            self.streams.handle_peer_event(&mut self.net, peer, &event);
        }
    }

    fn on_timeouts(&mut self, now: Instant) {
        self.streams.handle_timeout(&mut self.net, now);
        self.whip.handle_timeout(&mut self.net, now);
        if let Some(rooms) = &mut self.rooms {
            rooms.handle_timeout(&mut self.net, now);
        }
        if let Some(calls) = &mut self.calls {
            calls.handle_timeout(now);
        }
        while let Some(event) = self.streams.poll_event() {
            log::info!("{event}");
        }
        if self.live.is_due(now) {
            let text = report::streams(&self.streams, &self.cameras, false).to_string();
            for socket in self.live.news(text, now) {
                let text = self.live.latest();
                // A page that does not read is disconnected by the door, which reports it.
                let _ = self.door.send(socket, text);
            }
        }
    }

    /// Passes the services' output to the door. It is sent in the next turn, which does not wait.
    fn pass_on(&mut self) {
        self.cameras.turn(&mut self.net, &mut self.streams);
        while let Some(answer) = self.cameras.poll_answer() {
            self.answer_change(answer);
            // An interface of another program may have asked for its next change.
            self.cameras.turn(&mut self.net, &mut self.streams);
        }
        self.answer_search();
        while let Some((id, response)) = self.whip.poll_response() {
            self.door.respond(id, response);
        }
        let rooms = self.rooms.as_mut();
        let rooms = rooms.map(|rooms| std::iter::from_fn(|| rooms.poll_socket()));
        let calls = self.calls.as_mut();
        let calls = calls.map(|calls| std::iter::from_fn(|| calls.poll_socket()));
        let outputs = rooms.into_iter().flatten();
        for output in outputs.chain(calls.into_iter().flatten()) {
            match output {
                SocketOutput::Send(socket, text) => {
                    // The door reports that it is closed.
                    let _ = self.door.send(socket, &text);
                }
                SocketOutput::Close(socket, code, reason) => self.door.close(socket, code, &reason),
            }
        }
    }

    fn on_door_event(&mut self, event: DoorEvent, now: Instant) {
        match event {
            DoorEvent::Request(id, mut request) => {
                self.place(&mut request);
                self.on_request(id, request, now);
            }
            DoorEvent::WebSocketRequest(id, mut request) => {
                self.place(&mut request);
                self.on_socket_request(id, &request, now);
            }
            // Scripts cannot see WebSocket pings, so pages use this message.
            DoorEvent::Message(socket, text) if text == "ping" => {
                // The door reports that it is closed.
                let _ = self.door.send(socket, "pong");
            }
            DoorEvent::Message(socket, text) => match self.sockets.get(&socket) {
                Some(SocketOwner::Rooms) => {
                    if let Some(rooms) = &mut self.rooms {
                        rooms.socket_message(&mut self.net, socket, &text, now);
                    }
                }
                Some(SocketOwner::Calls) => {
                    if let Some(calls) = &mut self.calls {
                        calls.socket_message(socket, &text, now);
                    }
                }
                Some(SocketOwner::Live) | None => {}
            },
            DoorEvent::Closed(socket) => match self.sockets.remove(&socket) {
                Some(SocketOwner::Rooms) => {
                    if let Some(rooms) = &mut self.rooms {
                        rooms.socket_closed(&mut self.net, socket, now);
                    }
                }
                Some(SocketOwner::Calls) => {
                    if let Some(calls) = &mut self.calls {
                        calls.socket_closed(socket, now);
                    }
                }
                Some(SocketOwner::Live) => self.live.remove(socket),
                None => {}
            },
            DoorEvent::Gone(id) => {
                self.whip.handle_gone(&mut self.net, id);
                self.compat_gone(Port::Main, id, now);
            }
        }
    }
}

impl Gateway {
    /// Removes the base path from a request if the proxy did not.
    fn place(&self, request: &mut Request) {
        let base = self.config.base_path.as_str();
        if base.is_empty() {
            return;
        }
        base.clone_into(&mut request.prefix);
        let rest = request.path.strip_prefix(base);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            request.path = match rest {
                "" => "/".to_owned(),
                rest => rest.to_owned(),
            };
        }
    }
}

fn open_door(address: SocketAddr, config: &GatewayConfig) -> Result<Door, GatewayError> {
    let tls = match &config.tls {
        DoorTls::Off => None,
        DoorTls::Given { certificate, key } => {
            Some(TlsIdentity::from_pem(certificate, key).map_err(GatewayError::Certificate)?)
        }
        DoorTls::SelfSigned => Some(self_signed().map_err(GatewayError::Certificate)?),
    };
    let door = DoorConfig::default()
        .tls(tls)
        .proxies(config.proxies.clone())
        .max_connections_per_address(config.max_connections_per_client);
    Door::listen(address, door).map_err(|e| GatewayError::Listen(address, e))
}

#[cfg(feature = "self-signed")]
fn self_signed() -> Result<TlsIdentity, String> {
    let names = crate::server::door::local_names();
    crate::server::door::SelfSigned::new(&names)?.identity()
}

#[cfg(not(feature = "self-signed"))]
fn self_signed() -> Result<TlsIdentity, String> {
    Err("this build makes none; it needs the feature self-signed".into())
}

fn peer_config(config: &GatewayConfig) -> PeerConfig {
    let local = config.listen.ip().is_loopback();
    let mut peer = PeerConfig::default()
        // Not the embedded one: whoever reaches it reaches this server directly.
        .ice_servers(config.ice_servers.clone())
        .stats_interval(Some(STATS_INTERVAL))
        // With a loopback listener, the browser may have no other address.
        .include_loopback(local)
        // Behind a proxy, clients are remote: services of this machine must not be reachable.
        .take_loopback(Some(local && config.token.is_none()));
    peer.gather.external_addresses.clone_from(&config.external);
    peer
}

fn whip_config(config: &GatewayConfig, peer: PeerConfig) -> WhipConfig {
    // Viewers with packet loss wait for retransmissions.
    let peer = peer.header_extensions(vec![PLAYOUT_DELAY.into()]);
    WhipConfig::default()
        .peer(peer)
        .max_sessions(config.share())
        .max_per_client(config.max_per_client)
        .offer_burst(u32::try_from(config.max_per_client).unwrap_or(u32::MAX))
        .offers_per_second(config.offers_per_second)
        // Requests have passed `Access`: with a token, or from our own pages.
        .origins(Origins::Any)
        // Pages get them from /api/config, with credentials of their own.
        .offer_ice_servers(true)
}

/// Pages get the ICE servers from /api/config.
fn rooms(config: &GatewayConfig, peer: PeerConfig) -> Rooms {
    let rooms = RoomsConfig::default()
        .peer(peer)
        .max_peers(config.share())
        .max_per_client(config.max_per_client)
        .joins_per_second(config.offers_per_second);
    Rooms::new(rooms, Instant::now())
}

fn calls(config: &GatewayConfig) -> Calls {
    Calls::new(CallsConfig::default().max_per_client(config.max_per_client))
}

/// Reason why a gateway did not start or cannot continue.
#[derive(Debug)]
#[non_exhaustive]
pub enum GatewayError {
    /// The configuration is invalid.
    Config(ConfigError),
    /// Listening on this address failed.
    Listen(SocketAddr, io::Error),
    /// The certificate cannot be used.
    Certificate(String),
    /// A stream cannot be added: its name, and the reason.
    Source(String, String),
    /// The file with the cameras that were added cannot be used: its name, the line, and the reason.
    Cameras(String),
    /// The embedded TURN server failed.
    Turn(String),
    /// The event loop failed.
    Loop(LoopError),
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use, perhaps by another looprtc; choose another one, for example --listen {}:{}",
                address.ip(),
                address.port().wrapping_add(1)
            ),
            Self::Listen(address, error) => write!(f, "listening at {address}: {error}"),
            Self::Certificate(error) => write!(f, "the certificate: {error}"),
            Self::Source(name, error) => write!(f, "stream {name:?}: {error}"),
            Self::Cameras(error) => f.write_str(error),
            Self::Turn(error) => write!(f, "the TURN server: {error}"),
            Self::Loop(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GatewayError {}

impl From<ConfigError> for GatewayError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<LoopError> for GatewayError {
    fn from(error: LoopError) -> Self {
        Self::Loop(error)
    }
}
