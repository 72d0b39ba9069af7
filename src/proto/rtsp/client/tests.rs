//! Each quirk by its number, with a scripted camera.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::proto::rtsp::config::RtspLimits;
use crate::proto::rtsp::contract::Direction;
use crate::proto::rtsp::message;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z2QAFKzZQUH7ARAAAAMAEAAAAwCg8UKZYA==,aOvjyyLA\r\na=control:track1\r\n\
    m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:track2\r\n";

const TALK: &str =
    "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\na=control:talk\r\n";

const CAMERA: &str = "192.0.2.1:554";

/// A request as the camera reads it.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    uri: String,
    text: String,
    /// Number of the connection, from 1.
    connection: usize,
}

impl Asked {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Writes a response with these headers, each with its line end, and a body.
    fn answer(&self, code: u16, fields: &str, body: &str) -> Vec<u8> {
        let cseq = self.field("CSeq").unwrap_or("-");
        let length = match body.len() {
            0 => String::new(),
            n => format!("Content-Length: {n}\r\n"),
        };
        format!("RTSP/1.0 {code} Status\r\nCSeq: {cseq}\r\n{fields}{length}\r\n{body}").into_bytes()
    }

    fn sdp(&self, sdp: &str) -> Vec<u8> {
        let fields = "Content-Type: application/sdp\r\nContent-Base: rtsp://192.0.2.1/cam/\r\n";
        self.answer(200, fields, sdp)
    }

    fn is_udp(&self) -> bool {
        self.field("Transport")
            .is_some_and(|t| t.contains("client_port"))
    }

    /// The answer of a camera without faults.
    fn well(&self) -> Vec<u8> {
        match self.method.as_str() {
            "OPTIONS" => self.answer(200, "Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER\r\n", ""),
            "DESCRIBE" => self.sdp(SDP),
            "SETUP" => {
                let asked = self.field("Transport").unwrap();
                let more = if self.is_udp() {
                    ";server_port=7000-7001"
                } else {
                    ""
                };
                let fields = format!("Transport: {asked}{more}\r\nSession: 77;timeout=60\r\n");
                self.answer(200, &fields, "")
            }
            _ => self.answer(200, "Session: 77\r\n", ""),
        }
    }
}

/// A client, its camera, and what has happened.
struct Rig<C> {
    client: RtspClient,
    camera: C,
    now: Instant,
    connections: usize,
    asked: Vec<Asked>,
    events: Vec<RtspEvent>,
    datagrams: Vec<(usize, bool, SocketAddr)>,
    sent: Vec<Vec<u8>>,
    open_sockets: Vec<usize>,
    is_open: bool,
    /// Sockets are never opened.
    is_slow: bool,
    timeout: Option<Instant>,
}

fn config() -> RtspClientConfig {
    RtspClientConfig::new(RtspUrl::parse("rtsp://192.0.2.1/cam").unwrap()).seed(Some(1))
}

fn with_password() -> RtspClientConfig {
    RtspClientConfig::new(RtspUrl::parse("rtsp://admin:geheim@192.0.2.1/cam").unwrap())
        .seed(Some(1))
}

fn rtp(channel: u8) -> Vec<u8> {
    let mut frame = vec![b'$', channel, 0, 12, 0x80, 96];
    frame.extend([0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    frame
}

impl<C: FnMut(&Asked) -> Vec<u8>> Rig<C> {
    fn new(config: RtspClientConfig, camera: C) -> Self {
        Self::with(config, camera, false)
    }

    fn with(config: RtspClientConfig, camera: C, is_slow: bool) -> Self {
        let mut rig = Self {
            client: RtspClient::new(config),
            camera,
            now: Instant::now(),
            connections: 0,
            asked: Vec::new(),
            events: Vec::new(),
            datagrams: Vec::new(),
            sent: Vec::new(),
            open_sockets: Vec::new(),
            is_open: false,
            is_slow,
            timeout: None,
        };
        rig.drain();
        rig
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            match self.client.poll_output() {
                Output::Connect { .. } => {
                    assert!(!self.is_open);
                    self.is_open = true;
                    self.connections += 1;
                    let (local, remote) =
                        ("192.0.2.2:4000".parse().unwrap(), CAMERA.parse().unwrap());
                    self.input(Input::Connected { local, remote });
                }
                Output::Send(bytes) => self.on_sent(bytes),
                Output::Disconnect => {
                    assert!(self.is_open);
                    self.is_open = false;
                }
                Output::OpenUdp { stream, multicast } => {
                    self.open_sockets.push(stream);
                    if self.is_slow {
                        continue;
                    }
                    let port = 6000 + 2 * stream as u16;
                    let ports = multicast.map_or((port, port + 1), |m| (m.rtp_port, m.rtcp_port));
                    self.input(Input::UdpOpened {
                        stream,
                        rtp_port: ports.0,
                        rtcp_port: ports.1,
                    });
                }
                Output::CloseUdp { stream } => self.open_sockets.retain(|s| *s != stream),
                Output::SendUdp {
                    stream,
                    is_rtcp,
                    destination,
                    ..
                } => {
                    self.datagrams.push((stream, is_rtcp, destination));
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
            }
        }
        panic!("outputs without end");
    }

    fn on_sent(&mut self, bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut words = text.split(' ');
        let (method, uri) = (
            words.next().unwrap().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        self.sent.push(bytes);
        if text.starts_with("RTSP/") || text.starts_with('$') {
            return;
        }
        let asked = Asked {
            method,
            uri,
            text: text.clone(),
            connection: self.connections,
        };
        let answer = (self.camera)(&asked);
        self.asked.push(asked);
        if self.is_open && !answer.is_empty() {
            self.client.handle_input(Input::Received(&answer), self.now);
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(input, self.now);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input(Input::Received(bytes));
        self.drain();
    }

    fn datagram(&mut self, stream: usize, is_rtcp: bool, source: &str) {
        let source = source.parse().unwrap();
        let contents = &rtp(0)[4..];
        self.input(Input::Datagram {
            stream,
            is_rtcp,
            source,
            contents,
        });
        self.drain();
    }

    /// Lets time pass, with a packet each second if there is a channel.
    fn pass(&mut self, seconds: u64, channel: Option<u8>) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let next = self.now + Duration::from_secs(1);
            self.now = self
                .timeout
                .map_or(next, |at| at.max(self.now).min(next))
                .min(end);
            if self.timeout.is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
                self.drain();
            }
            if let Some(channel) = channel.filter(|_| self.is_open) {
                self.receive(&rtp(channel));
            }
            if self.client.has_ended() {
                return;
            }
        }
    }

    fn methods(&self) -> Vec<&str> {
        self.asked.iter().map(|a| a.method.as_str()).collect()
    }

    fn packets(&self) -> usize {
        let is_packet = |e: &&RtspEvent| matches!(e, RtspEvent::Packet { .. });
        self.events.iter().filter(is_packet).count()
    }

    fn playing(&self) -> Option<(&[usize], Option<usize>, Transport)> {
        self.events.iter().rev().find_map(|event| match event {
            RtspEvent::Playing {
                streams,
                backchannel,
                transport,
            } => Some((streams.as_slice(), *backchannel, *transport)),
            _ => None,
        })
    }

    fn error(&self) -> Option<&RtspError> {
        match self.events.last() {
            Some(RtspEvent::Ended(error)) => error.as_ref(),
            other => panic!("it has not ended: {other:?}"),
        }
    }

    fn met(&self, quirk: Quirk) -> bool {
        let is_it = |e: &RtspEvent| *e == RtspEvent::Quirk(quirk);
        let reported = self.events.iter().filter(|e| is_it(e)).count();
        assert_eq!(
            reported,
            usize::from(self.client.quirks().of(quirk) > 0),
            "{quirk}"
        );
        reported > 0
    }
}

#[test]
fn a_session_with_a_camera_without_faults() {
    let mut rig = Rig::new(config(), Asked::well);
    let expected = ["OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY"];
    assert_eq!(rig.methods(), expected);
    assert_eq!(rig.playing(), Some((&[0, 1][..], None, Transport::Tcp)));
    let uris: Vec<&str> = rig.asked.iter().map(|a| a.uri.as_str()).collect();
    assert_eq!(
        uris,
        [
            "rtsp://192.0.2.1/cam",
            "rtsp://192.0.2.1/cam",
            "rtsp://192.0.2.1/cam/track1",
            "rtsp://192.0.2.1/cam/track2",
            "rtsp://192.0.2.1/cam/"
        ]
    );
    let transport = rig.asked[3].field("Transport");
    assert_eq!(transport, Some("RTP/AVP/TCP;unicast;interleaved=2-3"));
    assert_eq!(rig.asked[2].field("Session"), None);
    assert_eq!(rig.asked[3].field("Session"), Some("77"));
    rig.receive(&[rtp(0), rtp(1), rtp(2)].concat());
    let got = rig.events.iter().filter_map(|event| match event {
        RtspEvent::Packet { stream, .. } => Some((*stream, false)),
        RtspEvent::Rtcp { stream, .. } => Some((*stream, true)),
        _ => None,
    });
    let got: Vec<_> = got.collect();
    assert_eq!(got, [(0, false), (0, true), (1, false)]);
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.methods().last(), Some(&"TEARDOWN"));
    assert_eq!(rig.asked.last().unwrap().field("Session"), Some("77"));
    assert_eq!(rig.error(), None);
    assert!(!rig.is_open && rig.timeout.is_none());
    assert_eq!(
        rig.client.quirks().met().count(),
        0,
        "{:?}",
        rig.client.quirks()
    );
}

#[test]
fn video_or_audio_alone() {
    let rig = Rig::new(config().audio(false), Asked::well);
    assert_eq!(rig.playing().unwrap().0, [0]);
    let rig = Rig::new(config().video(false), Asked::well);
    assert_eq!(rig.playing().unwrap().0, [1]);
    let rig = Rig::new(config().video(false), |a: &Asked| match a.method.as_str() {
        "DESCRIBE" => a.sdp(SDP.split("m=audio").next().unwrap()),
        _ => a.well(),
    });
    let error = rig.error().unwrap();
    assert_eq!(error, &RtspError::NoMedia("it has only video".to_owned()));
}

#[test]
fn audio_that_is_refused_is_left_out() {
    let rig = Rig::new(config(), |a: &Asked| match a.uri.ends_with("track2") {
        true => a.answer(500, "", ""),
        false => a.well(),
    });
    assert_eq!(rig.playing().unwrap().0, [0]);
}

#[test]
fn quirk_1_early_data_is_kept_from_play_on() {
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "PLAY" => [rtp(0), rtp(1), a.well(), rtp(0)].concat(),
        "SETUP" => [a.well(), rtp(0)].concat(),
        _ => a.well(),
    });
    // Before PLAY is sent there is nothing to keep; the second SETUP is answered in the same breath as PLAY is sent.
    assert_eq!(rig.packets(), 3);
    let at = |wanted: fn(&RtspEvent) -> bool| rig.events.iter().position(wanted).unwrap();
    let playing = at(|e| matches!(e, RtspEvent::Playing { .. }));
    assert!(playing < at(|e| matches!(e, RtspEvent::Packet { .. })));
    assert!(rig.met(Quirk::EarlyData));
    // Not without end.
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "PLAY" => [rtp(0).repeat(3000), a.well()].concat(),
        _ => a.well(),
    });
    assert_eq!(rig.packets(), 1024);
}

#[test]
fn quirk_2_channels_nobody_set_up_are_ignored() {
    let mut rig = Rig::new(config(), |a: &Asked| [rtp(9), a.well()].concat());
    rig.receive(&[rtp(8), rtp(0), rtp(200)].concat());
    assert_eq!(rig.packets(), 1);
    assert_eq!(rig.client.quirks().of(Quirk::UnassignedChannel), 7);
}

#[test]
fn quirk_3_the_answered_channels_count() {
    for (answer, channel) in [
        ("RTP/AVP/TCP;interleaved=8-9", 8),
        ("RTP/AVP/TCP;interleaved=8", 8),
        ("RTP/AVP;unicast;interleaved=4-5", 4),
        ("RTP/AVP/TCP;unicast", 0),
        ("", 0),
    ] {
        let mut rig = Rig::new(config().audio(false), |a: &Asked| match a.method.as_str() {
            "SETUP" => a.answer(200, &format!("Transport: {answer}\r\nSession: 1\r\n"), ""),
            _ => a.well(),
        });
        rig.receive(&rtp(channel));
        assert_eq!(rig.packets(), 1, "{answer}");
        assert!(rig.met(Quirk::OtherChannels), "{answer}");
    }
    // The same channels for both streams: those that were asked for.
    let mut rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "SETUP" => a.answer(
            200,
            "Transport: RTP/AVP/TCP;interleaved=0-1\r\nSession: 1\r\n",
            "",
        ),
        _ => a.well(),
    });
    rig.receive(&[rtp(0), rtp(2)].concat());
    assert_eq!(rig.packets(), 2);
}

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"cam\", nonce=\"n1\"\r\n";

/// Answers 401 unless there is an `Authorization` that contains this.
fn guarded(a: &Asked, wanted: &str, challenges: &str) -> Vec<u8> {
    match a.field("Authorization") {
        Some(value) if value.contains(wanted) => a.well(),
        _ => a.answer(401, challenges, ""),
    }
}

#[test]
fn quirk_4_the_strongest_challenge_first_and_the_next_once() {
    let both = "WWW-Authenticate: Basic realm=\"cam\"\r\nWWW-Authenticate: Digest realm=\"cam\", nonce=\"n1\"\r\n";
    let rig = Rig::new(with_password(), |a: &Asked| guarded(a, "Digest", both));
    assert!(rig.playing().is_some() && rig.met(Quirk::SeveralChallenges));
    assert_eq!(rig.methods()[..3], ["OPTIONS", "OPTIONS", "DESCRIBE"]);
    let rig = Rig::new(with_password(), |a: &Asked| guarded(a, "Basic", both));
    assert!(rig.playing().is_some());
    let rig = Rig::new(with_password(), |a: &Asked| guarded(a, "nothing", both));
    assert_eq!(rig.error(), Some(&RtspError::WrongPassword));
    // Without, with Digest, with Basic: no more, or the account is locked.
    assert_eq!(rig.asked.len(), 3);
    assert!(!rig.is_open);
}

#[test]
fn quirk_5_and_6_qop_and_sha() {
    let challenge =
        "WWW-Authenticate: Digest realm=\"cam\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n";
    let rig = Rig::new(with_password(), |a: &Asked| {
        guarded(a, "qop=auth, nc=0000000", challenge)
    });
    assert!(rig.playing().is_some());
    assert!(rig.met(Quirk::DigestQop) && rig.met(Quirk::DigestSha));
    let play = rig.asked.last().unwrap().field("Authorization").unwrap();
    assert!(
        play.contains("nc=00000005") && play.contains("algorithm=SHA-256"),
        "{play}"
    );
}

#[test]
fn quirk_7_the_uri_of_digest_is_that_of_the_request_and_nonces_may_change() {
    let mut nonce = 1;
    let mut uses = 0;
    let mut rig = Rig::new(with_password(), |a: &Asked| {
        // Each nonce counts for three requests, and the fourth is refused without `stale`.
        let value = a.field("Authorization").unwrap_or_default();
        let is_right = value.contains(&format!("nonce=\"n{nonce}\""));
        uses += 1;
        if is_right && uses < 4 {
            assert!(value.contains(&format!("uri=\"{}\"", a.uri)), "{value}");
            assert!(!a.uri.contains('@'));
            return a.well();
        }
        (nonce, uses) = (nonce + 1, 0);
        a.answer(
            401,
            &format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"n{nonce}\"\r\n"),
            "",
        )
    });
    assert!(rig.playing().is_some(), "{:?}", rig.events);
    assert!(rig.met(Quirk::DigestNonceChanges));
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.error(), None);
    // A wrong password is wrong even if each refusal has another nonce.
    let mut nonce = 0;
    let rig = Rig::new(with_password(), |a: &Asked| {
        nonce += 1;
        a.answer(
            401,
            &format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"n{nonce}\"\r\n"),
            "",
        )
    });
    assert_eq!(rig.error(), Some(&RtspError::WrongPassword));
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn passwords_are_asked_for_by_a_sentence() {
    let rig = Rig::new(config(), |a: &Asked| guarded(a, "Digest", CHALLENGE));
    let error = rig.error().unwrap();
    assert_eq!(error, &RtspError::PasswordNeeded);
    assert!(error.needs_a_person());
    assert_eq!(
        error.to_string(),
        "the camera wants a user name and a password"
    );
    assert_eq!(
        RtspError::WrongPassword.to_string(),
        "the camera refused the password"
    );
}

#[test]
fn a_camera_that_closes_with_its_challenge_is_connected_to_again() {
    let mut rig = Rig::new(with_password(), |a: &Asked| match a.connection {
        1 if a.field("Authorization").is_some() => Vec::new(),
        _ => guarded(a, "Digest", CHALLENGE),
    });
    rig.is_open = false;
    rig.input(Input::Closed(Disconnected::Closed));
    rig.drain();
    assert!(rig.playing().is_some());
    assert_eq!(rig.connections, 2);
}

#[test]
fn quirk_11_every_request_names_us() {
    let rig = Rig::new(config(), |a: &Asked| match a.field("User-Agent") {
        Some(name) if name.starts_with("looprtc/") => a.well(),
        _ => a.answer(401, "", ""),
    });
    assert!(rig.playing().is_some());
}

#[test]
fn quirk_12_keepalives_every_half_timeout_with_the_method_that_works() {
    let mut rig = Rig::new(config().audio(false), |a: &Asked| match a.method.as_str() {
        "GET_PARAMETER" => a.answer(400, "", ""),
        "SETUP" => {
            let fields = "Session: 77 ; timeout = 10\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n";
            a.answer(200, fields, "")
        }
        _ => a.well(),
    });
    rig.pass(16, Some(0));
    assert_eq!(
        rig.methods()[4..],
        ["GET_PARAMETER", "OPTIONS", "OPTIONS", "OPTIONS"]
    );
    let last = rig.asked.last().unwrap();
    assert_eq!(
        (last.uri.as_str(), last.field("Session")),
        ("rtsp://192.0.2.1/cam/", Some("77"))
    );
    assert!(rig.met(Quirk::KeepaliveRefused));
    // Unanswered ones end nothing, and the interval is 25 s at most.
    let mut rig = Rig::new(config().audio(false), |a: &Asked| match a.method.as_str() {
        "GET_PARAMETER" => Vec::new(),
        "OPTIONS" if a.field("Session").is_some() => Vec::new(),
        _ => a.well(),
    });
    rig.pass(102, Some(0));
    assert_eq!(
        rig.methods()[4..],
        ["GET_PARAMETER", "GET_PARAMETER", "GET_PARAMETER", "OPTIONS"]
    );
    assert!(rig.met(Quirk::KeepaliveRefused));
    assert!(!rig.client.has_ended());
    // A keep-alive answered late is not taken for the answer to something else.
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.error(), None);
}

#[test]
fn quirk_13_requests_of_the_camera_are_answered() {
    let mut rig = Rig::new(config(), Asked::well);
    rig.receive(b"OPTIONS * RTSP/1.0\r\nCSeq: 31\r\n\r\nFOO");
    assert!(
        rig.sent
            .last()
            .unwrap()
            .starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 31\r\nPublic: ")
    );
    let mut rig = Rig::new(config(), Asked::well);
    rig.receive(b"RECORD * RTSP/1.0\r\nCSeq: 32\r\n\r\n");
    assert!(rig.sent.last().unwrap().starts_with(b"RTSP/1.0 501"));
    assert!(rig.met(Quirk::CameraAsks));
    rig.receive(b"TEARDOWN rtsp://h RTSP/1.0\r\nCSeq: 33\r\n\r\n");
    assert_eq!(rig.error(), Some(&RtspError::EndedByCamera));
    assert_eq!(rig.methods().last(), Some(&"PLAY"));
}

#[test]
fn quirk_14_the_first_session_identifier_is_kept() {
    let mut count = 0;
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "SETUP" => {
            count += 1;
            a.answer(
                200,
                &format!("Session:  s{count};timeout=30\r\nTransport: RTP/AVP/TCP\r\n"),
                "",
            )
        }
        _ => a.well(),
    });
    assert_eq!(rig.asked.last().unwrap().field("Session"), Some("s1"));
    assert!(rig.met(Quirk::SessionChanges));
    // It comes with PLAY only.
    let mut rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "SETUP" => a.answer(200, "Transport: RTP/AVP/TCP\r\n", ""),
        "PLAY" => a.answer(200, "Session: late\r\n", ""),
        _ => a.well(),
    });
    assert!(rig.met(Quirk::SessionChanges) && rig.playing().is_some());
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.asked.last().unwrap().field("Session"), Some("late"));
}

#[test]
fn quirk_15_another_transport_is_another_connection() {
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "SETUP" if !a.is_udp() => a.answer(461, "", ""),
        "DESCRIBE" if a.connection == 1 && a.text.contains("CSeq: 5") => a.answer(455, "", ""),
        _ => a.well(),
    });
    assert_eq!(rig.connections, 2);
    let expected = [
        "OPTIONS", "DESCRIBE", "SETUP", "OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY",
    ];
    assert_eq!(rig.methods(), expected);
    assert_eq!(rig.playing().unwrap().2, Transport::Udp);
    assert!(rig.met(Quirk::TransportNeedsReconnect));
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "SETUP" => a.answer(461, "", ""),
        _ => a.well(),
    });
    assert_eq!(
        rig.error(),
        Some(&RtspError::TransportRefused("TCP and UDP".to_owned()))
    );
    assert!(rig.open_sockets.is_empty());
}

#[test]
fn quirk_16_redirects() {
    let mut config = with_password();
    config.trace = true;
    let rig = Rig::new(config, |a: &Asked| {
        match (a.method.as_str(), a.connection) {
            ("DESCRIBE", 1) => a.answer(302, "Location: rtsp://192.0.2.1:8554/sub\r\n", ""),
            ("DESCRIBE", 2) => a.answer(301, "Location: /other\r\n", ""),
            ("DESCRIBE", 3) => a.answer(302, "Location: rtsp://elsewhere/x\r\n", ""),
            _ => guarded(a, "Digest", CHALLENGE),
        }
    });
    // The password goes to the same host, and to nobody else.
    assert!(
        rig.asked
            .iter()
            .all(|a| a.connection < 4 || a.field("Authorization").is_none())
    );
    assert!(
        rig.asked
            .iter()
            .any(|a| a.connection == 3 && a.field("Authorization").is_some())
    );
    assert_eq!(rig.error(), Some(&RtspError::PasswordNeeded));
    let to = rig.events.iter().filter_map(|event| match event {
        RtspEvent::Redirected(to) => Some(to.as_str()),
        _ => None,
    });
    let to: Vec<_> = to.collect();
    assert_eq!(
        to,
        [
            "rtsp://192.0.2.1:8554/sub",
            "rtsp://192.0.2.1:8554/other",
            "rtsp://elsewhere/x"
        ]
    );
    assert!(rig.met(Quirk::Redirect));
    let rig = Rig::new(with_password(), |a: &Asked| {
        a.answer(302, "Location: rtsp://192.0.2.1/cam\r\n", "")
    });
    assert_eq!(rig.error(), Some(&RtspError::TooManyRedirects(5)));
    assert_eq!(rig.connections, 6);
    let rig = Rig::new(with_password(), |a: &Asked| {
        a.answer(302, "Location: http://192.0.2.1/\r\n", "")
    });
    assert!(matches!(rig.error(), Some(RtspError::BadRedirect(_))));
    // While it plays.
    let mut rig = Rig::new(self::config(), Asked::well);
    rig.receive(b"REDIRECT * RTSP/1.0\r\nCSeq: 1\r\nLocation: rtsp://192.0.2.1/new\r\n\r\n");
    assert_eq!(rig.connections, 2);
    assert!(rig.methods().contains(&"TEARDOWN"));
    assert_eq!(rig.asked.last().unwrap().method, "PLAY");
}

#[test]
fn quirk_17_a_camera_without_room() {
    for code in [453, 503] {
        let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
            "SETUP" => a.answer(code, "", ""),
            _ => a.well(),
        });
        assert_eq!(rig.error(), Some(&RtspError::Busy));
        assert!(rig.error().unwrap().retry_after().is_some());
        assert!(rig.met(Quirk::FewConnections));
    }
}

#[test]
fn quirk_17_a_camera_that_is_busy_with_our_own_former_connection() {
    for busy in [3, 4] {
        let mut rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
            "SETUP" if a.connection == 1 => a.answer(461, "", ""),
            "DESCRIBE" if a.connection > 1 && a.connection <= busy + 1 => a.answer(503, "", ""),
            _ => a.well(),
        });
        assert_eq!(rig.connections, 2);
        rig.pass(1, None);
        assert_eq!(rig.connections, 3);
        rig.pass(2, None);
        match busy {
            3 => assert_eq!(rig.playing().unwrap().2, Transport::Udp),
            _ => assert_eq!(rig.error(), Some(&RtspError::Busy)),
        }
    }
    // Closed meanwhile.
    let mut rig = Rig::new(config(), |a: &Asked| match a.connection {
        1 if a.method == "SETUP" => a.answer(461, "", ""),
        1 => a.well(),
        _ => a.answer(503, "", ""),
    });
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.error(), None);
}

#[test]
fn quirk_18_teardown_is_waited_for_a_second_and_any_answer_will_do() {
    for code in [200, 401, 454, 0] {
        let mut rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
            "TEARDOWN" if code == 0 => Vec::new(),
            "TEARDOWN" => a.answer(code, "", ""),
            _ => a.well(),
        });
        rig.client.close(rig.now);
        rig.drain();
        assert_eq!(rig.client.has_ended(), code != 0);
        // What still comes is not given out.
        rig.receive(&rtp(0));
        rig.pass(1, None);
        assert_eq!(rig.error(), None, "{code}");
        assert_eq!(rig.packets(), 0);
        assert_eq!(rig.met(Quirk::TeardownUnanswered), code != 200);
        assert!(!rig.is_open);
    }
    // With a nonce that has become stale.
    let mut rig = Rig::new(with_password(), |a: &Asked| match a.method.as_str() {
        "TEARDOWN" => guarded(
            a,
            "n2",
            "WWW-Authenticate: Digest realm=\"c\", nonce=\"n2\", stale=true\r\n",
        ),
        _ => guarded(a, "n1", CHALLENGE),
    });
    rig.client.close(rig.now);
    rig.drain();
    assert_eq!(rig.error(), None);
    assert!(!rig.met(Quirk::TeardownUnanswered));
}

#[test]
fn quirk_19_and_21_urls_lead_to_the_camera_whatever_it_says() {
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "DESCRIBE" => {
            let sdp = SDP.replace("a=control:track1", "a=control:rtsp://10.0.0.5:554/cam/t1");
            a.answer(200, "Content-Base: rtsp://10.0.0.5/inner/\r\n", &sdp)
        }
        _ => a.well(),
    });
    let uris: Vec<&str> = rig.asked[2..].iter().map(|a| a.uri.as_str()).collect();
    assert_eq!(
        uris,
        [
            "rtsp://192.0.2.1/cam/t1",
            "rtsp://192.0.2.1/inner/track2",
            "rtsp://192.0.2.1/inner/"
        ]
    );
    assert!(
        rig.met(Quirk::BadContentBase) && rig.met(Quirk::ControlUrl) && rig.met(Quirk::BrokenSdp)
    );
}

#[test]
fn quirk_20_stale_sessions_of_old_live555() {
    let camera = |tool: &'static str| {
        move |a: &Asked| match a.method.as_str() {
            "DESCRIBE" => a.sdp(&SDP.replace("s=x", &format!("s=x\r\na=tool:{tool}"))),
            _ => a.well(),
        }
    };
    let old = "LIVE555 Streaming Media v2013.04.08";
    let mut rig = Rig::new(config(), camera(old));
    rig.receive(&rtp(6));
    assert_eq!(rig.playing().unwrap().2, Transport::Udp);
    assert!(rig.met(Quirk::StaleSession) && rig.methods().contains(&"TEARDOWN"));
    let mut rig = Rig::new(config().transports(vec![Transport::Tcp]), camera(old));
    rig.receive(&rtp(6));
    let wait = rig.error().unwrap().retry_after();
    assert_eq!(wait, Some(Duration::from_secs(65)));
    let mut rig = Rig::new(config(), camera("LIVE555 Streaming Media v2017.06.04"));
    rig.receive(&rtp(6));
    assert!(!rig.client.has_ended() && !rig.met(Quirk::StaleSession));
}

#[test]
fn quirk_32_rtp_info_may_be_junk() {
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "PLAY" => a.answer(
            200,
            "RTP-Info: url=x;seq=no;rtptime=;\r\nSession: 77\r\n",
            "",
        ),
        _ => a.well(),
    });
    assert!(rig.playing().is_some() && rig.met(Quirk::RtpInfoLies));
    // Numbers that have nothing to do with the packets, whose first has 1.
    for (seq, is_lie) in [
        (0, false),
        (1, false),
        (2, true),
        (40_000, true),
        (65_400, false),
    ] {
        let mut rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
            "PLAY" => a.answer(
                200,
                &format!("RTP-Info: url=x;seq={seq},url=y;seq=1\r\n"),
                "",
            ),
            _ => a.well(),
        });
        rig.receive(&rtp(0));
        assert_eq!(rig.met(Quirk::RtpInfoLies), is_lie, "{seq}");
        // A sender report of another SSRC.
        let report = [0x80, 200, 0, 6, 0, 0, 0, 8, 0, 0, 0, 0];
        rig.receive(&message::frame(1, &report).unwrap());
        assert!(rig.met(Quirk::RtpInfoLies));
    }
}

#[test]
fn quirk_39_a_silent_camera_is_given_up() {
    let mut rig = Rig::new(config(), Asked::well);
    rig.pass(9, None);
    assert!(!rig.client.has_ended());
    rig.pass(2, None);
    let expected = RtspError::Silent {
        after: Duration::from_secs(5),
    };
    assert_eq!(rig.error(), Some(&expected));
    assert_eq!(rig.methods().last(), Some(&"TEARDOWN"));
    let mut rig = Rig::new(config(), Asked::well);
    rig.pass(60, Some(2));
    // Reports are no media.
    rig.pass(6, Some(1));
    assert_eq!(rig.error(), Some(&expected));
    assert!(rig.met(Quirk::Silent));
    assert_eq!(expected.to_string(), "the camera sent nothing for 5 s");
}

fn udp() -> RtspClientConfig {
    config().transports(vec![Transport::Udp, Transport::Tcp])
}

#[test]
fn udp_with_ports_punches_and_reports() {
    let mut rig = Rig::new(udp(), Asked::well);
    assert_eq!(rig.playing().unwrap().2, Transport::Udp);
    let asked = rig.asked[3].field("Transport");
    assert_eq!(asked, Some("RTP/AVP;unicast;client_port=6002-6003"));
    let to = |port| SocketAddr::new([192, 0, 2, 1].into(), port);
    let punches = [
        (0, false, to(7000)),
        (0, true, to(7001)),
        (1, false, to(7000)),
        (1, true, to(7001)),
    ];
    assert_eq!(rig.datagrams, punches);
    rig.datagram(0, false, "192.0.2.1:7000");
    rig.datagram(0, true, "192.0.2.1:7001");
    // Strangers, other ports once one is known, and the mapped form of the right address.
    rig.datagram(0, false, "192.0.2.9:7000");
    rig.datagram(0, false, "192.0.2.1:7002");
    rig.datagram(0, false, "[::ffff:192.0.2.1]:7000");
    assert_eq!(rig.packets(), 2);
    assert_eq!(rig.client.quirks().of(Quirk::UdpPorts), 2);
    rig.datagrams.clear();
    for _ in 0..11 {
        rig.pass(1, None);
        rig.datagram(0, false, "192.0.2.1:7000");
    }
    let reports = [(0, true, to(7001)), (1, true, to(7001))].repeat(2);
    assert_eq!(rig.datagrams, reports);
    rig.client.close(rig.now);
    rig.drain();
    assert!(rig.open_sockets.is_empty());
}

#[test]
fn quirk_40_ports_that_are_not_told_or_wrong() {
    for transport in [
        "RTP/AVP;unicast;client_port=6000-6001",
        "RTP/AVP;server_port=0-0",
        "RTP/AVP;server_port=0-1;source=192.0.2.7",
    ] {
        let mut rig = Rig::new(udp(), |a: &Asked| match a.method.as_str() {
            "SETUP" => a.answer(
                200,
                &format!("Session: 1\r\nTransport: {transport}\r\n"),
                "",
            ),
            _ => a.well(),
        });
        // The first packet of the camera, from any port, pins it.
        rig.datagram(0, false, "192.0.2.1:9999");
        rig.datagram(0, false, "192.0.2.1:9998");
        rig.datagram(0, false, "192.0.2.1:9999");
        assert_eq!(rig.packets(), 2, "{transport}");
        rig.datagram(1, false, "192.0.2.7:9999");
        assert_eq!(rig.packets(), 2 + usize::from(transport.contains("source")));
        assert!(rig.met(Quirk::UdpPorts));
    }
    // Another port than it says, until the right one sends.
    let mut rig = Rig::new(udp(), Asked::well);
    for port in [9999, 9998, 9999, 7000, 9999] {
        rig.datagram(0, false, &format!("192.0.2.1:{port}"));
    }
    assert_eq!(rig.packets(), 3);
}

#[test]
fn quirk_40_without_datagrams_tcp_is_used_after_3_s() {
    let mut rig = Rig::new(udp(), Asked::well);
    rig.pass(2, None);
    assert_eq!(rig.connections, 1);
    rig.pass(1, None);
    assert_eq!(rig.playing().unwrap().2, Transport::Tcp);
    assert!(rig.open_sockets.is_empty());
    assert!(rig.met(Quirk::UdpPorts));
    let mut rig = Rig::new(config().transports(vec![Transport::Udp]), Asked::well);
    rig.pass(11, None);
    assert_eq!(
        rig.error(),
        Some(&RtspError::NoDatagrams {
            after: Duration::from_secs(10)
        })
    );
    let mut rig = Rig::new(udp(), Asked::well);
    rig.datagram(0, false, "192.0.2.1:7000");
    rig.pass(11, None);
    assert_eq!(
        rig.error(),
        Some(&RtspError::Silent {
            after: Duration::from_secs(10)
        })
    );
}

#[test]
fn quirk_40_a_camera_that_knows_tcp_only() {
    let rig = Rig::new(udp(), |a: &Asked| match a.method.as_str() {
        "SETUP" if a.is_udp() => a.answer(
            200,
            "Session: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n",
            "",
        ),
        _ => a.well(),
    });
    assert_eq!(rig.playing().unwrap().2, Transport::Tcp);
    assert!(rig.open_sockets.is_empty());
}

#[test]
fn quirk_41_multicast_on_request() {
    let camera = |transport: &'static str| {
        move |a: &Asked| match a.method.as_str() {
            "SETUP" if a.field("Transport") == Some("RTP/AVP;multicast") => a.answer(
                200,
                &format!("Session: 1\r\nTransport: {transport}\r\n"),
                "",
            ),
            _ => a.well(),
        }
    };
    let multicast = || config().transports(vec![Transport::Multicast, Transport::Tcp]);
    let mut rig = Rig::new(
        multicast(),
        camera("RTP/AVP;multicast;destination=239.1.1.1;port=5000-5001;ttl=1"),
    );
    assert_eq!(rig.playing().unwrap().2, Transport::Multicast);
    assert_eq!(rig.open_sockets, [0, 1]);
    rig.datagram(0, false, "192.0.2.1:40000");
    rig.datagram(0, false, "192.0.2.66:40000");
    assert_eq!(rig.packets(), 1);
    // No group, or none that is one.
    for transport in [
        "RTP/AVP;multicast",
        "RTP/AVP;multicast;destination=192.0.2.3;port=5000-5001",
    ] {
        let rig = Rig::new(multicast(), camera(transport));
        assert_eq!(rig.playing().unwrap().2, Transport::Tcp);
    }
}

#[test]
fn quirk_41_tls_is_asked_of_the_driver() {
    let url = RtspUrl::parse("rtsps://192.0.2.1/cam").unwrap();
    let mut client = RtspClient::new(RtspClientConfig::new(url));
    let Output::Connect { port, tls, .. } = client.poll_output() else {
        panic!();
    };
    assert!(tls && port == 322);
    let why = Disconnected::Tls("certificate of nobody".to_owned());
    client.handle_input(Input::Closed(why.clone()), Instant::now());
    let ended = RtspEvent::Ended(Some(RtspError::Tls("certificate of nobody".to_owned())));
    assert_eq!(client.poll_output(), Output::Event(ended));
}

#[test]
fn quirk_42_two_way_audio() {
    let sdp = format!("{SDP}{TALK}");
    let camera = |a: &Asked| match a.method.as_str() {
        "DESCRIBE" if a.field("Require") == Some("www.onvif.org/ver20/backchannel") => a.sdp(&sdp),
        _ => a.well(),
    };
    let mut rig = Rig::new(config().backchannel(true), camera);
    assert_eq!(rig.playing(), Some((&[0, 1][..], Some(2), Transport::Tcp)));
    let with: Vec<_> = rig
        .asked
        .iter()
        .map(|a| a.field("Require").is_some())
        .collect();
    assert_eq!(with, [false, true, false, false, true, true]);
    assert!(rig.client.send_backchannel(b"packet"));
    assert!(!rig.client.send_backchannel(&[0; 65_536]));
    rig.drain();
    assert_eq!(rig.sent.last().unwrap(), b"$\x04\0\x06packet");
    rig.client.close(rig.now);
    rig.drain();
    assert!(rig.asked.last().unwrap().field("Require").is_some());
    assert!(!rig.client.send_backchannel(b"packet"));
    // By UDP, and alone: without media there is no silence to complain of.
    let only = udp().backchannel(true).video(false).audio(false);
    let mut rig = Rig::new(only, camera);
    rig.pass(30, None);
    assert_eq!(rig.playing(), Some((&[][..], Some(2), Transport::Udp)));
    assert!(rig.client.send_backchannel(b"packet"));
    rig.drain();
    assert_eq!(
        rig.datagrams.last(),
        Some(&(2, false, "192.0.2.1:7000".parse().unwrap()))
    );
    // Refused, or not there: media goes on without it.
    let refusing = |a: &Asked| match (a.field("Require"), a.method.as_str()) {
        (Some(_), _) => a.answer(551, "", ""),
        (None, "SETUP") if a.uri.ends_with("talk") => a.answer(500, "", ""),
        _ => a.well(),
    };
    for camera in [refusing, Asked::well] {
        let rig = Rig::new(config().backchannel(true), camera);
        assert_eq!(rig.playing(), Some((&[0, 1][..], None, Transport::Tcp)));
        assert!(rig.met(Quirk::Backchannel));
        let alone = config().backchannel(true).video(false).audio(false);
        let rig = Rig::new(alone, camera);
        assert_eq!(rig.error(), Some(&RtspError::NoBackchannel));
    }
    let rig = Rig::new(config().backchannel(true), |a: &Asked| {
        match a.uri.ends_with("talk") {
            true => a.answer(500, "", ""),
            false => camera(a),
        }
    });
    assert_eq!(rig.playing(), Some((&[0, 1][..], None, Transport::Tcp)));
}

#[test]
fn every_answer_has_its_time() {
    for (n, method) in ["OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY"]
        .into_iter()
        .enumerate()
    {
        let mut count = 0;
        let mut rig = Rig::new(config(), |a: &Asked| {
            count += 1;
            if count > n { Vec::new() } else { a.well() }
        });
        rig.pass(9, None);
        assert!(!rig.client.has_ended(), "{method}");
        rig.pass(2, None);
        let after = Duration::from_secs(10);
        assert_eq!(rig.error(), Some(&RtspError::NoAnswer { method, after }));
        assert_eq!(rig.methods().contains(&"TEARDOWN"), n >= 3);
    }
}

#[test]
fn the_opening_of_sockets_has_its_time() {
    let mut rig = Rig::with(udp(), Asked::well, true);
    rig.pass(9, None);
    assert!(rig.playing().is_none() && rig.open_sockets == [0]);
    rig.pass(2, None);
    assert_eq!(rig.playing().unwrap().2, Transport::Tcp);
    assert!(rig.open_sockets.is_empty());
    let only = config().transports(vec![Transport::Udp]);
    let mut rig = Rig::with(only, Asked::well, true);
    rig.pass(11, None);
    let reason = "they were not opened within 10 s".to_owned();
    assert_eq!(rig.error(), Some(&RtspError::Udp(reason)));
    assert!(!rig.is_open && rig.open_sockets.is_empty());
}

/// A camera may have created a session when it is no longer wanted: it is named by the answer, and ended.
#[test]
fn teardown_waits_for_the_answer_to_setup() {
    let closing = |answer: Option<u16>| {
        let mut setup = None;
        let mut rig = Rig::new(with_password(), |a: &Asked| match a.method.as_str() {
            "SETUP" => Vec::new(),
            _ => a.well(),
        });
        rig.client.close(rig.now);
        rig.drain();
        assert!(!rig.client.has_ended() && !rig.methods().contains(&"TEARDOWN"));
        let asked = rig.asked.last().cloned();
        if let (Some(code), Some(asked)) = (answer, asked) {
            setup = Some(match code {
                200 => asked.well(),
                code => asked.answer(code, "", ""),
            });
        }
        match setup {
            Some(answer) => rig.receive(&answer),
            None => rig.pass(2, None),
        }
        assert_eq!(rig.error(), None);
        assert!(!rig.is_open && !rig.met(Quirk::TeardownUnanswered));
        rig.asked.pop().unwrap()
    };
    let last = closing(Some(200));
    assert_eq!(
        (last.method.as_str(), last.field("Session")),
        ("TEARDOWN", Some("77"))
    );
    for answer in [Some(401), Some(302), Some(454), None] {
        assert_eq!(closing(answer).method, "SETUP", "{answer:?}");
    }
}

#[test]
fn answers_without_or_with_wrong_numbers_count_if_there_is_no_doubt() {
    let rig = Rig::new(config(), |a: &Asked| {
        let text = String::from_utf8(a.well()).unwrap();
        let cseq = format!("CSeq: {}\r\n", a.field("CSeq").unwrap());
        text.replace(&cseq, "").into_bytes()
    });
    assert!(rig.playing().is_some());
    let rig = Rig::new(config(), |a: &Asked| {
        let text = String::from_utf8(a.well()).unwrap();
        text.replace(&format!("CSeq: {}", a.field("CSeq").unwrap()), "CSeq: 0")
            .into_bytes()
    });
    assert!(rig.playing().is_some() && rig.met(Quirk::HeaderJunk));
    // Provisional and stray answers are none.
    let rig = Rig::new(config(), |a: &Asked| {
        [a.answer(100, "", ""), a.well(), a.answer(500, "", "")].concat()
    });
    assert!(rig.playing().is_some());
}

#[test]
fn errors_of_connections_and_statuses_are_sentences() {
    for (why, expected) in [
        (Disconnected::NoSuchHost, "there is no host named 192.0.2.1"),
        (
            Disconnected::Refused,
            "the host is there, but nothing listens on its port 554",
        ),
        (
            Disconnected::TimedOut,
            "the camera did not answer: it may be off, or the address wrong",
        ),
        (Disconnected::Closed, "the camera closed the connection"),
        (
            Disconnected::Failed("reset".to_owned()),
            "the connection to the camera failed: reset",
        ),
    ] {
        let mut client = RtspClient::new(config());
        let _ = client.poll_output();
        client.handle_input(Input::Closed(why), Instant::now());
        let Output::Event(RtspEvent::Ended(Some(error))) = client.poll_output() else {
            panic!();
        };
        assert_eq!(error.to_string(), expected);
        assert_eq!(client.poll_output(), Output::Timeout(None));
    }
    for (code, expected) in [
        (
            403,
            "the camera does not let this user see the stream (403)",
        ),
        (404, "the camera has no stream at this path (404)"),
        (454, "the camera has forgotten the session (454)"),
        (500, "the camera refused DESCRIBE with status 500: Status"),
    ] {
        let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
            "DESCRIBE" => a.answer(code, "", ""),
            _ => a.well(),
        });
        assert_eq!(rig.error().unwrap().to_string(), expected);
    }
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "DESCRIBE" => a.sdp("nothing"),
        _ => a.well(),
    });
    assert!(matches!(rig.error(), Some(RtspError::Description(_))));
    // A status of OPTIONS does not matter, and 457 is a matter of the range.
    let rig = Rig::new(config(), |a: &Asked| match a.method.as_str() {
        "OPTIONS" => a.answer(501, "", ""),
        "PLAY" if a.field("Range").is_some() => a.answer(457, "", ""),
        _ => a.well(),
    });
    assert!(rig.playing().is_some());
}

#[test]
fn a_stream_of_garbage_ends_the_session_at_once() {
    let limits = RtspLimits::default().max_skipped(100);
    let mut rig = Rig::new(config().limits(limits), Asked::well);
    rig.receive(&[b'x'; 200]);
    let Some(RtspError::Protocol { at, .. }) = rig.error() else {
        panic!();
    };
    assert_eq!(*at, "while playing");
    assert_eq!(rig.methods().last(), Some(&"TEARDOWN"));
    assert!(!rig.is_open);
}

#[test]
fn outputs_that_nobody_takes_are_limited() {
    let limits = RtspLimits::default().max_outputs(10);
    let mut rig = Rig::new(config().limits(limits), Asked::well);
    rig.input(Input::Received(&rtp(0).repeat(30)));
    assert_eq!(rig.client.dropped(), 20);
    rig.drain();
    assert_eq!(rig.packets(), 10);
}

#[test]
fn neither_traces_nor_debug_show_secrets() {
    let url = "rtsp://admin:geheim@192.0.2.1/user=admin&password=geheim&channel=1";
    let config = RtspClientConfig::new(RtspUrl::parse(url).unwrap())
        .trace(true)
        .seed(Some(1));
    let mut shown = format!("{config:?}");
    let mut rig = Rig::new(config, |a: &Asked| {
        let fields = format!("Content-Base: {}/\r\n", a.uri);
        match (a.field("Authorization"), a.method.as_str()) {
            (None, _) => a.answer(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", ""),
            (_, "DESCRIBE") => {
                let sdp = SDP.replace("control:track1", &format!("control:{}/track1", a.uri));
                a.answer(200, &fields, &sdp)
            }
            _ => a.well(),
        }
    });
    assert!(rig.playing().is_some());
    rig.client.close(rig.now);
    for _ in 0..3 {
        let output = rig.client.poll_output();
        shown += &format!("{output:?} {:?}", rig.client);
        if let Output::Event(event) = output {
            rig.events.push(event);
        }
    }
    shown += &format!("{:?} {:?}", rig.events, rig.client);
    assert!(shown.contains("Authorization: Basic ***"), "{shown}");
    assert!(shown.contains("password=***"), "{shown}");
    // `admin:geheim` in base64.
    assert!(shown.len() < 20_000);
    for secret in ["geheim", "YWRtaW46Z2VoZWlt"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let traced = |wanted| {
        rig.events
            .iter()
            .any(|e| matches!(e, RtspEvent::Trace(d, _) if *d == wanted))
    };
    assert!(traced(Direction::Sent) && traced(Direction::Received));
}

/// Runs a session in which all of the camera's bytes come in pieces of a length.
fn events_in_pieces(length: usize) -> Vec<RtspEvent> {
    let mut rig = Rig::new(with_password().trace(true), |a: &Asked| {
        let mut answer = guarded(a, "Digest", CHALLENGE);
        answer.extend(b"\r\n");
        answer.extend(rtp(0));
        answer.extend(b"junk");
        answer.extend(b"OPTIONS * RTSP/1.0\r\ncseq: 9\r\n\r\n");
        answer.extend(rtp(2));
        answer
    });
    // `Rig` hands over whole answers; here they are taken apart.
    rig.events.clear();
    let now = rig.now;
    let mut client = RtspClient::new(with_password().trace(true));
    let mut events = Vec::new();
    let mut camera = rig.camera;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    loop {
        match client.poll_output() {
            Output::Connect { .. } => {
                let (local, remote) = ("192.0.2.2:4000".parse().unwrap(), CAMERA.parse().unwrap());
                client.handle_input(Input::Connected { local, remote }, now);
            }
            Output::Send(bytes) if !bytes.starts_with(b"RTSP/") => {
                let text = String::from_utf8(bytes).unwrap();
                let mut words = text.split(' ').map(str::to_owned);
                let (method, uri) = (words.next().unwrap(), words.next().unwrap());
                waiting.push(camera(&Asked {
                    method,
                    uri,
                    text: text.clone(),
                    connection: 1,
                }));
            }
            Output::Event(event) => events.push(event),
            Output::Timeout(_) if waiting.is_empty() => return events,
            Output::Timeout(_) => {
                for piece in waiting.remove(0).chunks(length) {
                    client.handle_input(Input::Received(piece), now);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn bytes_split_anywhere_give_the_same_events() {
    let whole = events_in_pieces(usize::MAX);
    assert!(whole.iter().any(|e| matches!(e, RtspEvent::Packet { .. })));
    for length in 1..60 {
        assert_eq!(events_in_pieces(length), whole, "{length}");
    }
}

#[test]
fn closing_at_any_time_ends_it() {
    for method in ["", "OPTIONS", "DESCRIBE", "SETUP", "PLAY"] {
        let mut rig = Rig::new(with_password(), |a: &Asked| match a.method == method {
            true => Vec::new(),
            false => a.well(),
        });
        rig.client.close(rig.now);
        rig.client.close(rig.now);
        rig.drain();
        rig.pass(2, None);
        assert_eq!(rig.error(), None, "{method}");
        assert!(!rig.is_open && rig.open_sockets.is_empty());
        // Nothing wakes it again.
        rig.input(Input::Timeout);
        rig.input(Input::Received(b"RTSP/1.0 200 OK\r\n\r\n"));
        rig.input(Input::Closed(Disconnected::Closed));
        assert_eq!(rig.client.poll_output(), Output::Timeout(None));
    }
}
