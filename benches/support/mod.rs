//! Shared by the benchmarks: two peers on a wire without sockets.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use looprtc::proto::net::{InterfaceAddress, Protocol, Received, SocketReply, Transmit};
use looprtc::proto::peer::{
    Certificate, ChannelConfig, ChannelId, Codec, CryptoBackend, IceCandidateInit, Input,
    MediaKind, Output, Peer, PeerConfig, PeerError, PeerEvent, TransceiverConfig, TransceiverId,
};

/// Returns the default configuration with a certificate shared by all peers of a benchmark, as in an event loop.
pub fn shared_config() -> PeerConfig {
    let backend = CryptoBackend::default_backend().expect("a crypto backend is compiled in");
    let certificate = Certificate::generate(backend).expect("a certificate");
    PeerConfig::default()
        .certificate(Some(certificate))
        .crypto(Some(backend))
}

/// One end of the wire.
pub struct End {
    pub peer: Peer,
    pub address: SocketAddr,
    /// The channel, once it is open.
    pub open: Option<ChannelId>,
    /// The track, once it is bound.
    pub bound: Option<TransceiverId>,
    /// Number of frames or packets received from the other end.
    pub media: usize,
    pub deadline: Option<Instant>,
    pub messages: usize,
    pub bytes: usize,
    pub low: bool,
    sent: VecDeque<Transmit>,
    candidates: Vec<IceCandidateInit>,
}

impl End {
    pub fn new(index: u8, config: PeerConfig, now: Instant) -> Self {
        Self {
            peer: Peer::new(config, now).expect("a valid configuration"),
            address: SocketAddr::from(([10, 0, 0, 1 + index], 5000)),
            open: None,
            bound: None,
            media: 0,
            deadline: None,
            messages: 0,
            bytes: 0,
            low: false,
            sent: VecDeque::new(),
            candidates: Vec::new(),
        }
    }

    /// Polls until it is drained; answers requests for sockets.
    pub fn poll(&mut self, now: Instant) {
        loop {
            match self.peer.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Transmit(transmit) => self.sent.push_back(transmit),
                Output::OpenSocket(request) => {
                    let address = InterfaceAddress {
                        interface: "wire".into(),
                        address: self.address,
                    };
                    let input = Input::Socket {
                        now,
                        id: request.id,
                        reply: SocketReply::Opened(vec![address]),
                    };
                    self.peer.handle_input(input).expect("the peer is open");
                }
                Output::Event(event) => self.on_event(event),
                // One socket, no servers, no names.
                _ => {}
            }
        }
    }

    fn on_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::ChannelOpen(id) => self.open = Some(id),
            PeerEvent::ChannelMessage { message, .. } => {
                self.messages += 1;
                self.bytes += message.as_bytes().len();
            }
            PeerEvent::TrackBound { transceiver, .. } => self.bound = Some(transceiver),
            PeerEvent::Frame(_) | PeerEvent::Packet(_) => self.media += 1,
            PeerEvent::ChannelBufferedAmountLow(_) => self.low = true,
            PeerEvent::IceCandidate(Some(candidate)) => self
                .candidates
                .push(IceCandidateInit::new(candidate.to_sdp_line())),
            PeerEvent::Error(e) => panic!("the peer reports: {e}"),
            _ => {}
        }
    }

    /// Takes the datagrams for the other end.
    pub fn take_sent(&mut self) -> VecDeque<Transmit> {
        std::mem::take(&mut self.sent)
    }

    pub fn receive(&mut self, transmit: &Transmit, now: Instant) {
        let received = Received {
            protocol: Protocol::Udp,
            source: transmit.source,
            destination: transmit.destination,
            contents: &transmit.contents,
        };
        self.peer
            .handle_input(Input::Receive { now, received })
            .expect("the peer is open");
        self.poll(now);
    }
}

/// Two peers with immediate delivery, in virtual time.
pub struct Wire {
    pub ends: [End; 2],
    pub now: Instant,
}

impl Wire {
    /// Creates two peers with an open channel.
    pub fn connect(config: &PeerConfig) -> Self {
        let mut wire = Self::new(config);
        let now = wire.now;
        wire.ends[0]
            .peer
            .create_data_channel(ChannelConfig::new("data"), now)
            .expect("a channel");
        wire.until(|wire| wire.ends.iter().all(|end| end.open.is_some()));
        wire
    }

    /// Creates two peers, the first of which sends a VP8 track.
    pub fn connect_track(config: &PeerConfig) -> Self {
        let mut wire = Self::new(config);
        let (now, track) = (wire.now, TransceiverConfig::default().codecs([Codec::Vp8]));
        wire.ends[0]
            .peer
            .add_track(MediaKind::Video, track, now)
            .expect("a track");
        wire.until(|wire| wire.ends[0].bound.is_some());
        wire
    }

    fn new(config: &PeerConfig) -> Self {
        let now = Instant::now();
        let ends = [0, 1].map(|index| End::new(index, config.clone(), now));
        Self { ends, now }
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        self.negotiate();
        for _ in 0..10_000 {
            self.exchange();
            if done(self) {
                return;
            }
            self.wait();
        }
        panic!("the peers do not come that far");
    }

    fn negotiate(&mut self) {
        let now = self.now;
        let [a, b] = &mut self.ends;
        let offer = a.peer.negotiate(now).expect("an offer");
        let answer = b
            .peer
            .receive(offer, now)
            .expect("a good offer")
            .expect("an answer");
        a.peer.receive(answer, now).expect("a good answer");
        self.candidates();
    }

    /// Passes all candidates gathered so far to the other end.
    pub fn candidates(&mut self) {
        let now = self.now;
        let [a, b] = &mut self.ends;
        a.poll(now);
        b.poll(now);
        for candidate in std::mem::take(&mut a.candidates) {
            b.peer
                .add_ice_candidate(Some(&candidate), now)
                .expect("a candidate");
        }
        for candidate in std::mem::take(&mut b.candidates) {
            a.peer
                .add_ice_candidate(Some(&candidate), now)
                .expect("a candidate");
        }
        a.poll(now);
        b.poll(now);
    }

    /// Delivers datagrams one after the other until there are none.
    pub fn exchange(&mut self) {
        while self.hop(0) | self.hop(1) {}
    }

    /// Delivers one datagram from this end to the other. Returns `true` if there was one.
    pub fn hop(&mut self, from: usize) -> bool {
        let Some(transmit) = self.ends[from].sent.pop_front() else {
            return false;
        };
        self.ends[1 - from].receive(&transmit, self.now);
        true
    }

    /// Advances to the next deadline.
    pub fn wait(&mut self) {
        let next = self.ends.iter().filter_map(|end| end.deadline).min();
        let step = Duration::from_millis(1);
        self.now = next.unwrap_or(self.now + step).max(self.now + step);
        self.due();
    }

    /// Passes timeouts to peers that are due.
    pub fn due(&mut self) {
        for end in &mut self.ends {
            if end.deadline.is_some_and(|at| at <= self.now) {
                end.peer
                    .handle_input(Input::Timeout(self.now))
                    .expect("the peer is open");
                end.poll(self.now);
            }
        }
    }

    pub fn send(&mut self, from: usize, data: &[u8]) -> Result<(), PeerError> {
        let end = &mut self.ends[from];
        let id = end.open.expect("an open channel");
        end.peer.send_binary(id, data, self.now)
    }

    /// Sends a message there and back.
    pub fn round_trip(&mut self, data: &[u8]) {
        for (from, to) in [(0, 1), (1, 0)] {
            let before = self.ends[to].messages;
            self.send(from, data).expect("room for a message");
            self.ends[from].poll(self.now);
            while self.ends[to].messages == before {
                if !(self.hop(from) | self.hop(to)) {
                    self.wait();
                }
            }
        }
        self.now += Duration::from_micros(50);
    }

    /// Sends messages in one direction, `total` bytes in all; the sender fills up to `high` bytes whenever it is at
    /// `high / 2` or below.
    pub fn transfer(&mut self, data: &[u8], total: usize, high: usize) {
        let id = self.ends[0].open.expect("an open channel");
        let goal = self.ends[1].bytes + total;
        let mut sent = 0;
        while self.ends[1].bytes < goal {
            if self.ends[0].peer.buffered_amount(id) <= high / 2 {
                while self.ends[0].peer.buffered_amount(id) < high && sent < total {
                    self.send(0, data).expect("room for a message");
                    sent += data.len();
                }
                self.ends[0].poll(self.now);
            }
            if !(self.hop(0) | self.hop(1)) {
                self.wait();
            }
            self.now += Duration::from_micros(10);
        }
    }
}
