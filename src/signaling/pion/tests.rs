//! Two ends with real HTTP between them; the datagrams are handed over directly.

use super::*;
use crate::proto::net::{InterfaceAddress, Received, SocketReply, Transmit};
use crate::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, Input, Message, Output, PeerConfig,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

struct End {
    peer: Peer,
    signaling: PionSignaling,
    socket: SocketAddr,
    events: Vec<PeerEvent>,
    due: Option<Instant>,
}

impl End {
    fn new(config: PionConfig, port: u16) -> Self {
        let quick = PosterConfig::default().first_pause(Duration::from_millis(5));
        let config = config.poster(quick);
        let now = Instant::now();
        let mut peer = Peer::new(PeerConfig::default().include_loopback(true), now).unwrap();
        if config.role == Role::Offer {
            peer.create_data_channel(ChannelConfig::new("data"), now)
                .unwrap();
        }
        let signaling = PionSignaling::new(config, || Box::new(|| {})).unwrap();
        let socket = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            peer,
            signaling,
            socket,
            events: Vec::new(),
            due: None,
        }
    }

    /// One turn; returns the datagrams to send.
    fn turn(&mut self) -> Result<Vec<Transmit>, PionError> {
        let now = Instant::now();
        self.signaling.on_wake(&mut self.peer, now)?;
        if self.due.is_some_and(|due| due <= now) {
            let _ = self.peer.handle_input(Input::Timeout(now));
        }
        let mut sent = Vec::new();
        loop {
            match self.peer.poll_output() {
                Output::Transmit(transmit) => sent.push(transmit),
                Output::OpenSocket(request) => {
                    let address = InterfaceAddress {
                        interface: "lo".to_owned(),
                        address: self.socket,
                    };
                    let reply = SocketReply::Opened(vec![address]);
                    self.peer
                        .handle_input(Input::Socket {
                            now,
                            id: request.id,
                            reply,
                        })
                        .unwrap();
                }
                Output::Event(event) => {
                    self.signaling.on_event(&self.peer, &event)?;
                    self.events.push(event);
                }
                Output::Timeout(due) => {
                    self.due = due;
                    return Ok(sent);
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, transmit: &Transmit) {
        let received = Received {
            protocol: transmit.protocol,
            source: transmit.source,
            destination: transmit.destination,
            contents: &transmit.contents,
        };
        let _ = self.peer.handle_input(Input::Receive {
            now: Instant::now(),
            received,
        });
    }

    fn opened(&self) -> Option<ChannelId> {
        self.events.iter().find_map(|event| match event {
            PeerEvent::ChannelOpen(channel) => Some(*channel),
            _ => None,
        })
    }

    fn heard(&self, text: &str) -> bool {
        self.events.iter().any(|event| {
            matches!(event, PeerEvent::ChannelMessage { message: Message::Text(heard), .. } if heard == text)
        })
    }
}

/// Turns both ends until `done`.
fn run(a: &mut End, b: &mut End, done: impl Fn(&End, &End) -> bool) {
    let start = Instant::now();
    while !done(a, b) {
        assert!(
            start.elapsed() < LONG,
            "nothing came of it: {:?}\n{:?}",
            a.events,
            b.events
        );
        for transmit in a.turn().unwrap() {
            b.receive(&transmit);
        }
        for transmit in b.turn().unwrap() {
            a.receive(&transmit);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Two addresses that are free.
fn free() -> (Address, Address) {
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = sockets.map(|socket| Address::from(socket.local_addr().unwrap()));
    (a, b)
}

fn configs(offer_flow: Flow, answer_flow: Flow) -> (PionConfig, PionConfig) {
    let (offer, answer) = free();
    let config = |role, flow| {
        PionConfig::new(role)
            .flow(flow)
            .offer_address(offer.clone())
            .answer_address(answer.clone())
    };
    (
        config(Role::Offer, offer_flow),
        config(Role::Answer, answer_flow),
    )
}

fn both_open(a: &End, b: &End) -> bool {
    a.opened().is_some() && b.opened().is_some()
}

fn talk(a: &mut End, b: &mut End) {
    let now = Instant::now();
    let (to_b, to_a) = (a.opened().unwrap(), b.opened().unwrap());
    a.peer.send_text(to_b, "there", now).unwrap();
    b.peer.send_text(to_a, "back", now).unwrap();
    run(a, b, |a, b| a.heard("back") && b.heard("there"));
}

fn post(to: SocketAddr, path: &str, body: &str) -> thread::JoinHandle<(u16, String)> {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
    thread::spawn(move || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text[9..12].parse().unwrap(), text)
    })
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
        let (offer, answer) = configs(offer_flow, answer_flow);
        let (mut a, mut b) = (End::new(offer, 1000), End::new(answer, 2000));
        assert_eq!(
            a.signaling.local_addr().is_none(),
            offer_flow == Flow::OneExchange
        );
        a.signaling.start(&mut a.peer, Instant::now()).unwrap();
        b.signaling.start(&mut b.peer, Instant::now()).unwrap();
        run(&mut a, &mut b, both_open);
        talk(&mut a, &mut b);
        assert_eq!(a.peer.connection_state(), ConnectionState::Connected);
    }
}

#[test]
fn either_may_be_started_first() {
    let (offer, answer) = configs(Flow::Trickle, Flow::Trickle);
    let mut a = End::new(offer, 1000);
    a.signaling.start(&mut a.peer, Instant::now()).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        a.turn().unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut b = End::new(answer, 2000);
    run(&mut a, &mut b, both_open);
}

#[test]
fn bad_input_is_refused_and_the_session_stands() {
    let (offer, answer) = configs(Flow::Trickle, Flow::Trickle);
    let (mut a, mut b) = (End::new(offer, 1000), End::new(answer, 2000));
    let (to_a, to_b) = (
        a.signaling.local_addr().unwrap(),
        b.signaling.local_addr().unwrap(),
    );
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.9 4000 typ host";
    let description = |kind, sdp: &str| {
        SessionDescription {
            kind,
            sdp: sdp.to_owned(),
        }
        .to_json()
    };

    let expect = |a: &mut End, b: &mut End, to, path, body: &str, status, reason| {
        let client = post(to, path, body);
        run(a, b, |_, _| client.is_finished());
        let (got, text) = client.join().unwrap();
        assert_eq!(got, status, "{path} {body}: {text}");
        assert!(text.contains(reason), "{path} {body}: {text}");
    };

    // Before any offer.
    expect(
        &mut a,
        &mut b,
        to_b,
        "/candidate",
        candidate,
        404,
        "a candidate for nobody",
    );
    let garbage = description(SdpType::Offer, "hello");
    expect(
        &mut a,
        &mut b,
        to_b,
        "/sdp",
        &garbage,
        400,
        "the offer was not taken",
    );
    let early = description(SdpType::Answer, "v=0\r\n");
    expect(
        &mut a,
        &mut b,
        to_b,
        "/sdp",
        &early,
        409,
        "this end takes offers",
    );
    expect(
        &mut a,
        &mut b,
        to_a,
        "/sdp",
        &early,
        409,
        "no offer awaits an answer",
    );

    // A garbled answer while the offer stands: the right one is taken all the same.
    a.peer.negotiate(Instant::now()).unwrap();
    let garbage = description(SdpType::Answer, "hello");
    expect(
        &mut a,
        &mut b,
        to_a,
        "/sdp",
        &garbage,
        400,
        "the answer was not taken",
    );
    let offer = a.peer.local_description().unwrap();
    a.signaling.poster.post_description(&offer).unwrap();
    run(&mut a, &mut b, both_open);

    // While the session stands.
    let second = offer.to_json();
    expect(
        &mut a,
        &mut b,
        to_b,
        "/sdp",
        &second,
        409,
        "a session stands already",
    );
    expect(
        &mut a,
        &mut b,
        to_a,
        "/sdp",
        &second,
        409,
        "offer has no place here",
    );
    let late = b.peer.local_description().unwrap().to_json();
    expect(
        &mut a,
        &mut b,
        to_a,
        "/sdp",
        &late,
        409,
        "it has come already",
    );
    expect(
        &mut a,
        &mut b,
        to_b,
        "/sdp",
        r#"{"type":"rollback"}"#,
        409,
        "rollback has no place",
    );
    for to in [to_a, to_b] {
        expect(&mut a, &mut b, to, "/sdp", "junk", 400, "not JSON");
        expect(
            &mut a,
            &mut b,
            to,
            "/candidate",
            "junk",
            400,
            "not a candidate line",
        );
        expect(&mut a, &mut b, to, "/candidate", candidate, 200, "");
        expect(&mut a, &mut b, to, "/candidate", "null", 200, "");
        let init = format!(r#"{{"candidate":"{candidate}","sdpMid":"0","sdpMLineIndex":0}}"#);
        expect(&mut a, &mut b, to, "/candidate", &init, 200, "");
    }
    talk(&mut a, &mut b);

    // Afterwards.
    a.peer.close(Instant::now());
    expect(
        &mut a,
        &mut b,
        to_a,
        "/candidate",
        candidate,
        410,
        "the session is over",
    );
}

#[test]
fn an_end_that_never_comes_up_is_reported() {
    let (offer, _) = configs(Flow::Trickle, Flow::Trickle);
    let mut a = End::new(offer.clone(), 1000);
    let patience = PosterConfig::default().give_up_after(Duration::from_millis(100));
    drop(a.signaling);
    a.signaling = PionSignaling::new(offer.poster(patience), || Box::new(|| {})).unwrap();
    a.signaling.start(&mut a.peer, Instant::now()).unwrap();
    let error = failure(&mut a);
    assert!(
        matches!(error, PionError::Post(PostError::NotUp { .. })),
        "{error}"
    );
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
    let verdicts: [fn(Request); 3] = [
        Request::accept,
        |request| request.answer(&SessionDescription::answer("hello")),
        |request| request.reject(Status::Conflict, "busy with another"),
    ];
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let mut a = End::new(offer.clone(), 1000);
        a.signaling.start(&mut a.peer, Instant::now()).unwrap();
        a.turn().unwrap();
        let request = server.wait_for_request(LONG).unwrap();
        let SignalMessage::Description(offer) = request.message() else {
            panic!("{request:?}")
        };
        assert!(offer.sdp.contains("a=candidate:"), "{}", offer.sdp);
        verdict(request);
        let error = failure(&mut a);
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

fn failure(end: &mut End) -> PionError {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LONG);
        if let Err(error) = end.turn() {
            return error;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
