//! Two peers of one loop, with real HTTP and real datagrams between them.

use super::*;
use crate::driver::LoopConfig;
use crate::proto::net::PortPolicy;
use crate::proto::peer::{ChannelConfig, ChannelId, ConnectionState, Message, PeerConfig};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

/// A loop with an offering and an answering side.
struct Ends {
    net: EventLoop,
    ends: [Option<End>; 2],
}

struct End {
    peer: PeerId,
    signaling: PionSignaling,
    events: Vec<PeerEvent>,
}

impl Ends {
    fn none() -> Self {
        Self {
            net: EventLoop::new(LoopConfig::default()).unwrap(),
            ends: [None, None],
        }
    }

    fn both((offer, answer): (PionConfig, PionConfig)) -> Self {
        let mut ends = Self::none();
        ends.add(offer).unwrap();
        ends.add(answer).unwrap();
        ends
    }

    fn add(&mut self, config: PionConfig) -> Result<(), PionError> {
        let role = config.role;
        // A port each: with a shared one, each peer's remote address would be its own.
        let peer_config = PeerConfig::default()
            .include_loopback(true)
            .port(PortPolicy::Own);
        let peer = self.net.add_peer(peer_config).unwrap();
        if role == Role::Offer {
            let mut peer = self.net.peer(peer).unwrap();
            peer.create_data_channel(ChannelConfig::new("data"))
                .unwrap();
        }
        let signaling = PionSignaling::start(&mut self.net, peer, config)?;
        self.ends[role as usize] = Some(End {
            peer,
            signaling,
            events: Vec::new(),
        });
        Ok(())
    }

    fn end(&self, role: Role) -> &End {
        self.ends[role as usize].as_ref().unwrap()
    }

    fn turn(&mut self) -> Result<(), PionError> {
        let event = self
            .net
            .next_event(Some(Duration::from_millis(20)))
            .unwrap();
        for end in self.ends.iter_mut().flatten() {
            end.signaling.on_turn(&mut self.net, event.as_ref())?;
            if let Some((peer, event)) = &event
                && *peer == end.peer
            {
                end.events.push(event.clone());
            }
        }
        Ok(())
    }

    /// Runs the loop until `done` returns `true`.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let events = self
                .ends
                .iter()
                .flatten()
                .map(|end| &end.events)
                .collect::<Vec<_>>();
            assert!(start.elapsed() < LONG, "nothing came of it: {events:#?}");
            self.turn().unwrap();
        }
    }

    fn failure(&mut self) -> PionError {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LONG, "no error came");
            if let Err(error) = self.turn() {
                return error;
            }
        }
    }

    fn both_open(&self) -> bool {
        self.end(Role::Offer).opened().is_some() && self.end(Role::Answer).opened().is_some()
    }

    fn talk(&mut self) {
        for (role, text) in [(Role::Offer, "there"), (Role::Answer, "back")] {
            let (peer, channel) = (self.end(role).peer, self.end(role).opened().unwrap());
            self.net
                .peer(peer)
                .unwrap()
                .send_text(channel, text)
                .unwrap();
        }
        self.run(|ends| {
            ends.end(Role::Offer).heard("back") && ends.end(Role::Answer).heard("there")
        });
    }

    /// Posts while the loop runs, and checks the response.
    fn expect(&mut self, to: Role, path: &str, body: &str, status: u16, reason: &str) {
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        let to = self.end(to).signaling.local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        self.run(|_| client.is_finished());
        let text = client.join().unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {body}: {text}"
        );
        assert!(text.contains(reason), "{path} {body}: {text}");
    }

    fn description(&mut self, role: Role) -> String {
        let peer = self.end(role).peer;
        self.net
            .peer(peer)
            .unwrap()
            .local_description()
            .unwrap()
            .to_json()
    }
}

impl End {
    fn opened(&self) -> Option<ChannelId> {
        self.events.iter().find_map(|event| match event {
            PeerEvent::ChannelOpen(channel) => Some(*channel),
            _ => None,
        })
    }

    fn heard(&self, text: &str) -> bool {
        let wanted = Message::Text(text.to_owned());
        self.events.iter().any(
            |event| matches!(event, PeerEvent::ChannelMessage { message, .. } if *message == wanted),
        )
    }
}

fn configs(offer_flow: Flow, answer_flow: Flow) -> (PionConfig, PionConfig) {
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [offer, answer] = sockets.map(|socket| Address::from(socket.local_addr().unwrap()));
    let config = |role, flow| {
        PionConfig::new(role)
            .flow(flow)
            .offer_address(offer.clone())
            .answer_address(answer.clone())
            .poster(PosterConfig::default().first_pause(Duration::from_millis(5)))
    };
    (
        config(Role::Offer, offer_flow),
        config(Role::Answer, answer_flow),
    )
}

#[test]
fn connects_in_every_form() {
    for (offer_flow, answer_flow) in [
        (Flow::Trickle, Flow::Trickle),
        (Flow::Trickle, Flow::AnswerInResponse),
        (Flow::AnswerInResponse, Flow::Trickle),
        (Flow::AnswerInResponse, Flow::AnswerInResponse),
        (Flow::OneExchange, Flow::OneExchange),
        (Flow::OneExchange, Flow::Trickle),
    ] {
        let mut ends = Ends::both(configs(offer_flow, answer_flow));
        let listens = ends.end(Role::Offer).signaling.local_addr().is_some();
        assert_eq!(listens, offer_flow != Flow::OneExchange);
        ends.run(Ends::both_open);
        ends.talk();
        let peer = ends.end(Role::Offer).peer;
        let state = ends.net.peer(peer).unwrap().connection_state();
        assert_eq!(state, ConnectionState::Connected);
    }
}

#[test]
fn either_may_be_started_first() {
    for wait in [0, 5, 300] {
        let (offer, answer) = configs(Flow::Trickle, Flow::Trickle);
        let mut ends = Ends::none();
        ends.add(offer).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(wait) {
            ends.turn().unwrap();
        }
        ends.add(answer).unwrap();
        ends.run(Ends::both_open);
    }
}

#[test]
fn bad_input_is_refused_and_the_session_stands() {
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.9 4000 typ host";
    let description = |kind, sdp: &str| {
        SessionDescription {
            kind,
            sdp: sdp.to_owned(),
        }
        .to_json()
    };
    let garbage_offer = description(SdpType::Offer, "hello");
    let garbage_answer = description(SdpType::Answer, "hello");
    let (offer, answer) = configs(Flow::Trickle, Flow::Trickle);

    // Before any offer.
    let mut ends = Ends::none();
    ends.add(answer).unwrap();
    ends.expect(
        Role::Answer,
        "/candidate",
        candidate,
        404,
        "a candidate for nobody",
    );
    ends.expect(
        Role::Answer,
        "/sdp",
        &garbage_offer,
        400,
        "the offer was not taken",
    );
    ends.expect(
        Role::Answer,
        "/sdp",
        &garbage_answer,
        409,
        "this end takes offers",
    );

    // An invalid answer while the offer is pending; the valid one, to another address, has not arrived.
    let nobody = configs(Flow::Trickle, Flow::Trickle).1.answer_address;
    let mut lonely = Ends::none();
    lonely.add(offer.clone().answer_address(nobody)).unwrap();
    lonely.expect(
        Role::Offer,
        "/sdp",
        &garbage_answer,
        400,
        "the answer was not taken",
    );
    lonely.expect(Role::Offer, "/candidate", candidate, 200, "");
    drop(lonely);

    ends.add(offer).unwrap();
    ends.run(Ends::both_open);

    // While the session is established.
    let second = ends.description(Role::Offer);
    ends.expect(
        Role::Answer,
        "/sdp",
        &second,
        409,
        "a session stands already",
    );
    ends.expect(Role::Offer, "/sdp", &second, 409, "offer has no place here");
    let late = ends.description(Role::Answer);
    ends.expect(Role::Offer, "/sdp", &late, 409, "it has come already");
    ends.expect(
        Role::Answer,
        "/sdp",
        r#"{"type":"rollback"}"#,
        409,
        "rollback has no place",
    );
    for to in [Role::Offer, Role::Answer] {
        ends.expect(to, "/sdp", "junk", 400, "not JSON");
        ends.expect(to, "/candidate", "junk", 400, "not a candidate line");
        ends.expect(to, "/candidate", candidate, 200, "");
        ends.expect(to, "/candidate", "null", 200, "");
        let init = format!(r#"{{"candidate":"{candidate}","sdpMid":"0","sdpMLineIndex":0}}"#);
        ends.expect(to, "/candidate", &init, 200, "");
    }
    ends.talk();

    // After the session.
    let peer = ends.end(Role::Offer).peer;
    ends.net.peer(peer).unwrap().close();
    ends.expect(
        Role::Offer,
        "/candidate",
        candidate,
        410,
        "the session is over",
    );
}

#[test]
fn an_end_that_never_comes_up_is_reported() {
    let patience = PosterConfig::default().give_up_after(Duration::from_millis(100));
    let mut ends = Ends::none();
    ends.add(configs(Flow::Trickle, Flow::Trickle).0.poster(patience))
        .unwrap();
    let error = ends.failure();
    assert!(
        matches!(error, PionError::Post(PostError::NotUp { .. })),
        "{error}"
    );
}

#[test]
fn a_taken_port_is_reported() {
    let (offer, _) = configs(Flow::Trickle, Flow::Trickle);
    let _taken = offer.offer_address.listen().unwrap();
    let error = Ends::none().add(offer).unwrap_err();
    assert!(matches!(error, PionError::Start(_)), "{error}");
}

#[test]
fn an_answer_that_does_not_come_back_is_reported() {
    let (offer, answer) = configs(Flow::OneExchange, Flow::OneExchange);
    let server = HttpServer::bind(
        &answer.answer_address,
        &HttpConfig::default(),
        Box::new(|| {}),
    )
    .unwrap();
    let verdicts: [fn(SignalRequest); 3] = [
        SignalRequest::accept,
        |request| request.answer(&SessionDescription::answer("hello")),
        |request| request.reject(Status::Conflict, "busy with another"),
    ];
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let mut ends = Ends::none();
        ends.add(offer.clone()).unwrap();
        let request = loop {
            ends.turn().unwrap();
            if let Some(request) = server.next_request() {
                break request;
            }
        };
        let SignalMessage::Description(offer) = request.message() else {
            panic!("{request:?}")
        };
        assert!(offer.sdp.contains("a=candidate:"), "{}", offer.sdp);
        verdict(request);
        let error = ends.failure();
        match index {
            0 => assert!(matches!(error, PionError::NoAnswer), "{error}"),
            1 => assert!(matches!(error, PionError::BadAnswer(_)), "{error}"),
            _ => assert!(
                error.to_string().contains("409: busy with another"),
                "{error}"
            ),
        }
    }
}
