//! Our own client, against our own server.

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::IceServer;
use looprtc::proto::peer::{
    Codec, ConnectionState, Direction, EncodedFrame, MediaKind, PeerConfig, PeerEvent,
    ReceivedPacket, TransceiverConfig, TransceiverId,
};
use looprtc::server::token::Token;
use looprtc::server::whip::WhipConfig;
use looprtc::signaling::whip::{WhipClient, WhipClientConfig, WhipError, WhipEvent};

use crate::server::{PATIENCE, Server, Setup};

/// A publisher or a viewer.
pub struct Party {
    pub net: EventLoop,
    pub peer: PeerId,
    pub client: WhipClient,
    track: Option<TransceiverId>,
    begin: Instant,
    next_frame: Duration,
    pub frames: usize,
    /// Packets of a peer in packet mode, with their arrival times.
    pub packets: Vec<(Instant, ReceivedPacket)>,
    pub said: Vec<WhipEvent>,
    pub state: ConnectionState,
}

impl Party {
    pub fn publish(config: WhipClientConfig) -> Self {
        Self::new(config, PeerConfig::default(), true)
    }

    pub fn watch(config: WhipClientConfig) -> Self {
        Self::new(config, PeerConfig::default(), false)
    }

    pub fn new(config: WhipClientConfig, peer: PeerConfig, sends: bool) -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let id = net.add_peer(peer.include_loopback(true)).unwrap();
        let mut peer = net.peer(id).unwrap();
        let video = TransceiverConfig::default();
        let track = match sends {
            true => {
                let video = video.direction(Direction::SendOnly).codecs([Codec::Vp8]);
                Some(peer.add_track(MediaKind::Video, video).unwrap())
            }
            false => {
                let video = video.direction(Direction::RecvOnly);
                peer.add_transceiver(MediaKind::Video, video).unwrap();
                None
            }
        };
        let client = WhipClient::start(&mut net, id, config).unwrap();
        Self {
            net,
            peer: id,
            client,
            track,
            begin: Instant::now(),
            next_frame: Duration::ZERO,
            frames: 0,
            packets: Vec::new(),
            said: Vec::new(),
            state: ConnectionState::New,
        }
    }

    fn step(&mut self) {
        let wait = Some(Duration::from_millis(10));
        if let Some((peer, event)) = self.net.next_event(wait).unwrap() {
            self.client.handle_peer_event(&mut self.net, peer, &event);
            match event {
                PeerEvent::ConnectionStateChange(state) => self.state = state,
                PeerEvent::Frame(_) => self.frames += 1,
                PeerEvent::Packet(packet) => self.packets.push((Instant::now(), packet)),
                _ => {}
            }
        }
        self.client.handle_timeout(&mut self.net, Instant::now());
        self.said
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        let now = self.begin.elapsed();
        if let Some(track) = self.track
            && self.state == ConnectionState::Connected
            && now >= self.next_frame
        {
            // Keyframes only, 25 a second.
            let picture = [0x50, 1, 0, 0x9D, 1, 0x2A, 64, 0, 48, 0, 7, 7, 7];
            let frame = EncodedFrame::new(picture.to_vec(), now);
            let _ = self
                .net
                .peer(self.peer)
                .map(|mut p| p.write_frame(track, &frame));
            self.next_frame = now + Duration::from_millis(40);
        }
    }

    pub fn until<T>(&mut self, what: &str, is: impl Fn(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = is(self) {
                return found;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:?}",
                self.said
            );
            self.step();
        }
    }

    pub fn connected(&mut self) {
        self.until("the connection", |party| {
            assert!(!party.client.is_over(), "{:?}", party.said);
            (party.state == ConnectionState::Connected).then_some(())
        });
    }

    fn close(&mut self) {
        self.client.close(&mut self.net);
        self.until("the end", |party| party.client.is_over().then_some(()));
        let last = self.said.last();
        assert!(matches!(last, Some(WhipEvent::Closed)), "{:?}", self.said);
    }

    fn failure(&mut self) -> WhipError {
        self.until("a failure", |party| party.client.is_over().then_some(()));
        match self.said.pop() {
            Some(WhipEvent::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn config(server: &Server, path: &str) -> WhipClientConfig {
    WhipClientConfig::new(server.url(path))
}

#[test]
fn publish_and_watch() {
    let server = Server::start(Setup::default());
    // The URL is reached through a redirection.
    let mut publisher = Party::publish(config(&server, "/balanced/cam"));
    publisher.connected();
    let mut viewer = Party::watch(config(&server, "/whep/cam"));
    let both = |a: &mut Party, b: &mut Party, what: &str, is: &dyn Fn(&Party) -> bool| {
        let end = Instant::now() + PATIENCE;
        while !is(b) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:?}",
                b.said
            );
            a.step();
            b.step();
        }
    };
    both(&mut publisher, &mut viewer, "frames", &|v| v.frames > 5);
    // Both restart ICE, and nothing is lost.
    for party in [&mut publisher, &mut viewer] {
        party.net.peer(party.peer).unwrap().restart_ice().unwrap();
        party.until("a restart", |p| {
            let restarted = |e: &WhipEvent| matches!(e, WhipEvent::Restarted);
            p.said.iter().any(restarted).then_some(())
        });
    }
    let frames = viewer.frames;
    both(
        &mut publisher,
        &mut viewer,
        "frames after the restarts",
        &|v| v.frames > frames + 20,
    );
    assert_eq!(server.stats().restarts, 2);
    viewer.close();
    publisher.close();
    server.until("no sessions", |s| (s.publishers, s.viewers) == (0, 0));
}

#[test]
fn refusals_say_what_to_do() {
    let whip = WhipConfig::default().publish_token(Some(Token::new("secret")));
    let server = Server::start(Setup {
        whip,
        ..Setup::default()
    });
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/whip/cam", listener.local_addr().unwrap())
    };
    for (url, says, temporary) in [
        (server.url("/whip/cam"), "is the token right?", false),
        (server.url("/whip/other"), "is the token right?", false),
        (
            server.url("/nowhere"),
            "is the name in the URL right?",
            false,
        ),
        (
            server.url("/abroad/cam"),
            "192.0.2.1; allow that origin",
            false,
        ),
        (server.url("/round"), "more than 5 times", false),
        (server.url("/page"), "status 200", false),
        (dead, "cannot be reached", true),
    ] {
        let error = Party::publish(WhipClientConfig::new(&url)).failure();
        let text = error.to_string();
        assert!(text.contains(says), "{url}: {text}");
        assert_eq!(error.is_temporary(), temporary, "{text}");
    }
    let right = config(&server, "/whip/cam").token(Some("secret".into()));
    assert!(!format!("{right:?}").contains("secret"));
    let mut first = Party::publish(right.clone());
    first.connected();
    let busy = Party::publish(right.clone()).failure();
    assert!(
        busy.to_string().contains("somebody else is publishing"),
        "{busy}"
    );
    assert!(busy.is_temporary());
    // A waiting publisher gets its turn.
    let patient = right.give_up_after(PATIENCE);
    let mut second = Party::publish(patient);
    for _ in 0..20 {
        second.step();
        first.step();
    }
    assert!(!second.client.is_over());
    first.close();
    second.connected();
    second.close();
}

#[test]
fn servers_that_the_answer_names_are_used() {
    let silent = "turn:127.0.0.1:9?transport=udp";
    let peer = PeerConfig::default().ice_servers(vec![IceServer::turn(silent, "u", "p")]);
    let whip = WhipConfig::default()
        .peer(peer)
        .gather_deadline(Duration::from_millis(100));
    let server = Server::start(Setup {
        whip,
        ..Setup::default()
    });
    let mut publisher = Party::publish(config(&server, "/whip/cam"));
    publisher.connected();
    // There is no TURN server behind it; but it is contacted, and that is reported.
    publisher.until("the server to be asked", |party| {
        let peer = party.net.peer(party.peer).unwrap();
        let state = peer.ice_gathering_state();
        (state == looprtc::proto::peer::IceGatheringState::Complete).then_some(())
    });
    publisher.close();
}

#[test]
fn a_server_that_is_gone_is_noticed_and_found_again() {
    let server = Server::start(Setup::default());
    let address = server.address;
    let mut viewer = Party::watch(config(&server, "/whep/card"));
    viewer.until("frames", |v| (v.frames > 5).then_some(()));
    drop(server);
    // An ICE restart is attempted, and distinguished from a refusal.
    viewer.net.peer(viewer.peer).unwrap().restart_ice().unwrap();
    for _ in 0..30 {
        viewer.step();
    }
    assert!(!viewer.client.is_over(), "{:?}", viewer.said);
    let server = Server::start(Setup {
        address: Some(address),
        ..Setup::default()
    });
    // The new server does not know the session.
    let error = viewer.failure();
    assert!(error.is_session_gone(), "{error}");
    let mut again = Party::watch(config(&server, "/whep/card"));
    again.until("frames", |v| (v.frames > 5).then_some(()));
    again.close();
}

#[cfg(feature = "self-signed")]
#[test]
fn over_tls() {
    use looprtc::server::door::{DoorConfig, SelfSigned};

    let made = SelfSigned::new(&["localhost".to_owned()]).unwrap();
    let tls = Some(made.identity().unwrap());
    let server = Server::start(Setup {
        door: DoorConfig::default().tls(tls),
        ..Setup::default()
    });
    let url = format!("https://localhost:{}/whep/card", server.address.port());
    let trusting = WhipClientConfig::new(&url).authorities(Some(made.certificate.into_bytes()));
    let mut viewer = Party::watch(trusting.clone());
    viewer.until("frames", |v| (v.frames > 5).then_some(()));
    viewer.close();
    server.until("no sessions", |s| s.viewers == 0);
    // Nothing else vouches for it, and it is valid for no other name.
    let other_name = url.replace("localhost", "127.0.0.1");
    let doubting = WhipClientConfig::new(&url);
    let mut other = trusting;
    other.url = other_name;
    for config in [doubting, other] {
        let error = Party::watch(config).failure();
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(!error.is_temporary());
    }
}
