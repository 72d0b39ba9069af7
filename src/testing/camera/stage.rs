//! A client and a scripted camera in virtual time, with a network between them.
//!
//! TCP arrives in order, in pieces of random size, after a delay; datagrams may be lost. A seed determines a run exactly.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{
    Behaviour, ConnectionId, Input as CameraInput, Log, Output as CameraOutput, ScriptedCamera,
};
use crate::proto::rtsp::{
    Camera, CameraEvent, CameraOutput as MachineOutput, Disconnected, Input, Output, RtspClient,
    RtspEvent,
};
use crate::testing::Rng;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const CAMERA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 554);
/// The camera's UDP ports.
const PORTS: [u16; 7] = [6000, 6001, 6002, 6003, 6004, 6005, 7777];
/// The client's first UDP port; each stream has two.
const FIRST_PORT: u16 = 40_000;

/// Output of a client, in a form common to all of them.
#[derive(Debug)]
pub enum Wish<E> {
    Connect,
    Send(Vec<u8>),
    Disconnect,
    OpenUdp(usize),
    CloseUdp(usize),
    SendUdp {
        destination: SocketAddr,
        contents: Vec<u8>,
    },
    Event(E),
    Timeout(Option<Instant>),
}

/// A sans-IO client of cameras.
pub trait Client {
    type Event;

    fn input(&mut self, input: Input<'_>, now: Instant);
    fn output(&mut self) -> Wish<Self::Event>;
}

impl Client for RtspClient {
    type Event = RtspEvent;

    fn input(&mut self, input: Input<'_>, now: Instant) {
        self.handle_input(input, now);
    }

    fn output(&mut self) -> Wish<RtspEvent> {
        wish(self.poll_output(), |event| event)
    }
}

impl Client for Camera {
    type Event = CameraEvent;

    fn input(&mut self, input: Input<'_>, now: Instant) {
        self.handle_input(input, now);
    }

    fn output(&mut self) -> Wish<CameraEvent> {
        match self.poll_output() {
            MachineOutput::Event(event) => Wish::Event(event),
            MachineOutput::Timeout(at) => Wish::Timeout(at),
            // It keeps the session's events for itself.
            MachineOutput::Io(io) => wish(io, |_| unreachable!("an event of the session")),
        }
    }
}

fn wish<E>(output: Output, event: impl FnOnce(RtspEvent) -> E) -> Wish<E> {
    match output {
        Output::Connect { .. } => Wish::Connect,
        Output::Send(contents) => Wish::Send(contents),
        Output::Disconnect => Wish::Disconnect,
        Output::OpenUdp { stream, .. } => Wish::OpenUdp(stream),
        Output::CloseUdp { stream } => Wish::CloseUdp(stream),
        Output::SendUdp {
            destination,
            contents,
            ..
        } => Wish::SendUdp {
            destination,
            contents,
        },
        Output::Event(e) => Wish::Event(event(e)),
        Output::Timeout(at) => Wish::Timeout(at),
    }
}

#[derive(Debug)]
enum Parcel {
    /// The client's connection reaches the camera, or nobody.
    Open(ConnectionId),
    /// The client is told.
    Opened(ConnectionId),
    Refused(ConnectionId),
    ToCamera(ConnectionId, Vec<u8>),
    ToClient(ConnectionId, Vec<u8>),
    CameraCloses(ConnectionId),
    ClientCloses(ConnectionId),
    DatagramToCamera(usize, SocketAddr, Vec<u8>),
    DatagramToClient(u16, SocketAddr, Vec<u8>),
}

impl Parcel {
    /// Returns 0 for what goes to the camera, and 1 for what comes from it.
    fn direction(&self) -> usize {
        match self {
            Self::Open(_) | Self::ToCamera(..) | Self::ClientCloses(_) => 0,
            _ => 1,
        }
    }

    fn is_datagram(&self) -> bool {
        matches!(
            self,
            Self::DatagramToCamera(..) | Self::DatagramToClient(..)
        )
    }
}

/// The network between the two.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// One-way delay.
    pub delay: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Set if nothing passes: TCP waits, datagrams are lost.
    pub is_down: bool,
    /// Set if new connections are refused.
    pub refuses: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            loss: 0.0,
            is_down: false,
            refuses: false,
        }
    }
}

/// A client, a camera and the time.
pub struct Stage<C: Client> {
    /// The client; whoever replaces it calls [`begin`](Self::begin).
    pub client: C,
    pub camera: ScriptedCamera,
    pub network: Network,
    /// Events of the client, with their times.
    pub events: Vec<(Instant, C::Event)>,
    now: Instant,
    start: Instant,
    rng: Rng,
    parcels: BTreeMap<(Instant, u64), Parcel>,
    number: u64,
    /// The client's connection.
    connection: Option<ConnectionId>,
    open_ports: Vec<usize>,
    client_at: Option<Instant>,
    camera_at: Option<Instant>,
    /// When the latest TCP piece of each direction arrives; later ones do not overtake it.
    last: [Option<Instant>; 2],
}

impl<C: Client> Stage<C> {
    /// Puts a client in front of a camera.
    pub fn new(seed: u64, behaviour: Behaviour, client: impl FnOnce(Instant) -> C) -> Self {
        // The only use of the real clock: an `Instant` cannot be created otherwise.
        let now = Instant::now();
        let mut stage = Self {
            client: client(now),
            camera: ScriptedCamera::new(behaviour, PORTS, seed, now),
            network: Network::default(),
            events: Vec::new(),
            now,
            start: now,
            rng: Rng::new(seed),
            parcels: BTreeMap::new(),
            number: 0,
            connection: None,
            open_ports: Vec::new(),
            client_at: None,
            camera_at: None,
            last: [None; 2],
        };
        stage.drain_client();
        stage
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Observations of the camera.
    pub fn log(&self) -> &Log {
        self.camera.log()
    }

    /// Replaces the client by another one, which begins at once. The old one's connection is cut.
    pub fn begin(&mut self, client: impl FnOnce(Instant) -> C) {
        self.client = client(self.now);
        if let Some(id) = self.connection.take() {
            self.post(self.network.delay, Parcel::ClientCloses(id));
        }
        self.open_ports.clear();
        self.client_at = None;
        self.drain_client();
    }

    /// Cuts the connection; both ends notice.
    pub fn cut(&mut self) {
        if let Some(id) = self.connection.take() {
            self.camera.handle_input(CameraInput::Closed(id), self.now);
            let why = Disconnected::Failed("connection reset".to_owned());
            self.input(Input::Closed(why));
            self.drain_camera();
        }
    }

    /// Does something to the client, then takes what it wants.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut C, Instant) -> R) -> R {
        let result = f(&mut self.client, self.now);
        self.drain_client();
        result
    }

    /// Does something to the camera.
    pub fn with_camera<R>(&mut self, f: impl FnOnce(&mut ScriptedCamera) -> R) -> R {
        let result = f(&mut self.camera);
        self.drain_camera();
        result
    }

    /// Lets time pass until something holds, or this much of it. Returns `true` if it holds.
    pub fn run_until(&mut self, time: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + time;
        loop {
            if holds(self) {
                return true;
            }
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let next = [parcel, self.client_at, self.camera_at];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return holds(self);
            };
            self.now = self.now.max(next);
            if parcel == Some(next) {
                if let Some((_, parcel)) = self.parcels.pop_first() {
                    self.deliver(parcel);
                }
            } else if self.camera_at == Some(next) {
                self.camera.handle_input(CameraInput::Timeout, self.now);
                self.drain_camera();
            } else {
                self.input(Input::Timeout);
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.input(input, self.now);
        self.drain_client();
    }

    fn post(&mut self, delay: Duration, parcel: Parcel) {
        self.number += 1;
        self.parcels.insert((self.now + delay, self.number), parcel);
    }

    /// Posts in order with what was posted in this direction before.
    fn post_in_order(&mut self, direction: usize, parcel: Parcel) {
        // A network that is down gives what TCP holds when it is up again.
        let delay = match self.network.is_down {
            true => Duration::from_millis(500),
            false => self.network.delay,
        };
        let at = self.last[direction].map_or(self.now + delay, |last| last.max(self.now + delay));
        self.last[direction] = Some(at);
        self.post(at - self.now, parcel);
    }

    fn deliver(&mut self, parcel: Parcel) {
        if self.network.is_down {
            match parcel {
                Parcel::DatagramToCamera(..) | Parcel::DatagramToClient(..) => {}
                parcel => self.hold(parcel),
            }
            return;
        }
        let now = self.now;
        match parcel {
            Parcel::Open(id) if self.network.refuses => {
                self.post(self.network.delay, Parcel::Refused(id));
            }
            Parcel::Open(id) => {
                let client = SocketAddr::new(CLIENT, 30_000);
                self.camera
                    .handle_input(CameraInput::Accepted(id, client), now);
                self.drain_camera();
                self.post_in_order(1, Parcel::Opened(id));
            }
            Parcel::Opened(id) if self.connection == Some(id) => {
                let local = SocketAddr::new(CLIENT, 30_000);
                self.input(Input::Connected {
                    local,
                    remote: CAMERA,
                });
            }
            Parcel::Refused(id) if self.connection == Some(id) => {
                self.connection = None;
                self.input(Input::Closed(Disconnected::Refused));
            }
            Parcel::ToClient(id, contents) if self.connection == Some(id) => {
                self.input(Input::Received(&contents));
            }
            Parcel::CameraCloses(id) if self.connection == Some(id) => {
                self.connection = None;
                self.input(Input::Closed(Disconnected::Closed));
            }
            Parcel::ToCamera(id, contents) => {
                self.camera
                    .handle_input(CameraInput::Received(id, &contents), now);
                self.drain_camera();
            }
            Parcel::ClientCloses(id) => {
                self.camera.handle_input(CameraInput::Closed(id), now);
                self.drain_camera();
            }
            Parcel::DatagramToCamera(port, from, contents) => {
                self.camera
                    .handle_input(CameraInput::Datagram(port, from, &contents), now);
                self.drain_camera();
            }
            Parcel::DatagramToClient(port, source, contents) => {
                let number = port.wrapping_sub(FIRST_PORT);
                let stream = usize::from(number / 2);
                if self.open_ports.contains(&stream) {
                    self.input(Input::Datagram {
                        stream,
                        is_rtcp: number % 2 == 1,
                        source,
                        contents: &contents,
                    });
                }
            }
            // Of a connection that is over.
            Parcel::Opened(_)
            | Parcel::Refused(_)
            | Parcel::ToClient(..)
            | Parcel::CameraCloses(_) => {}
        }
    }

    /// Keeps what has arrived while the network is down, and what follows it in its direction, in order.
    fn hold(&mut self, parcel: Parcel) {
        let later = Duration::from_millis(500);
        let until = self.now + later;
        let direction = parcel.direction();
        self.post(later, parcel);
        let followers = self.parcels.range(..(until, self.number));
        let followers: Vec<_> = followers
            .filter(|(_, parcel)| parcel.direction() == direction && !parcel.is_datagram())
            .map(|(key, _)| *key)
            .collect();
        for key in followers {
            if let Some(parcel) = self.parcels.remove(&key) {
                self.post(later, parcel);
            }
        }
        let last = &mut self.last[direction];
        *last = Some(last.map_or(until, |at| at.max(until)));
    }

    fn drain_client(&mut self) {
        loop {
            match self.client.output() {
                Wish::Connect => {
                    self.number += 1;
                    let id = ConnectionId(self.number);
                    self.connection = Some(id);
                    self.last = [None; 2];
                    self.post_in_order(0, Parcel::Open(id));
                }
                Wish::Send(contents) => {
                    if let Some(id) = self.connection {
                        for piece in self.pieces(&contents) {
                            self.post_in_order(0, Parcel::ToCamera(id, piece));
                        }
                    }
                }
                Wish::Disconnect => {
                    if let Some(id) = self.connection.take() {
                        self.post_in_order(0, Parcel::ClientCloses(id));
                    }
                }
                Wish::OpenUdp(stream) => {
                    self.open_ports.push(stream);
                    let rtp_port = FIRST_PORT + 2 * stream as u16;
                    self.client.input(
                        Input::UdpOpened {
                            stream,
                            rtp_port,
                            rtcp_port: rtp_port + 1,
                        },
                        self.now,
                    );
                }
                Wish::CloseUdp(stream) => self.open_ports.retain(|open| *open != stream),
                Wish::SendUdp {
                    destination,
                    contents,
                } => {
                    let port = PORTS.iter().position(|port| *port == destination.port());
                    if let Some(port) = port.filter(|_| !self.rng.chance(self.network.loss)) {
                        let from = SocketAddr::new(CLIENT, FIRST_PORT);
                        let parcel = Parcel::DatagramToCamera(port, from, contents);
                        self.post(self.network.delay, parcel);
                    }
                }
                Wish::Event(event) => self.events.push((self.now, event)),
                Wish::Timeout(at) => {
                    self.client_at = at;
                    return;
                }
            }
        }
    }

    fn drain_camera(&mut self) {
        loop {
            match self.camera.poll_output() {
                CameraOutput::Send(id, contents) => {
                    for piece in self.pieces(&contents) {
                        self.post_in_order(1, Parcel::ToClient(id, piece));
                    }
                }
                CameraOutput::Close(id) => self.post_in_order(1, Parcel::CameraCloses(id)),
                CameraOutput::Datagram(place, to, contents) => {
                    if !self.rng.chance(self.network.loss) {
                        let from = SocketAddr::new(CAMERA.ip(), PORTS[place.number()]);
                        let parcel = Parcel::DatagramToClient(to.port(), from, contents);
                        self.post(self.network.delay, parcel);
                    }
                }
                CameraOutput::Timeout(at) => {
                    self.camera_at = at;
                    return;
                }
            }
        }
    }

    /// Cuts bytes as TCP may: mostly not at all, sometimes into single bytes.
    fn pieces(&mut self, contents: &[u8]) -> Vec<Vec<u8>> {
        let most = match self.rng.below(20) {
            0 => 1 + contents.len() / 20,
            1 => 1 + self.rng.below(1_500) as usize,
            _ => contents.len().max(1),
        };
        contents.chunks(most).map(<[u8]>::to_vec).collect()
    }
}
