//! Cameras that speak RTSP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::rtsp::{
    Authenticator, Credentials, Disconnected, Input, Item, Output, Reader, RtspClient,
    RtspClientConfig, RtspEvent, RtspLimits, RtspUrl, Transport, parse_challenges,
};

/// Data of a camera's connection: the same result, however it is split; within the limits.
pub fn rtsp_message(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let stream = bytes.0;
    let whole = read(stream, usize::MAX);
    let length = 1 + usize::from(options & 0x3f);
    assert_eq!(read(stream, length), whole, "in pieces of {length}");
    let frames = whole.0.iter().map(|item| match item {
        Item::Frame(_, contents) => contents.len() + 4,
        Item::Message(message) => message.body.len(),
        Item::Quirk(_) => 0,
    });
    assert!(frames.sum::<usize>() <= stream.len());
}

fn read(stream: &[u8], length: usize) -> (Vec<Item>, Option<String>) {
    let limits = RtspLimits::default()
        .max_head(400)
        .max_body(300)
        .max_skipped(200);
    let mut reader = Reader::new(limits);
    reader.expect_channel(0);
    let mut items = Vec::new();
    for piece in stream.chunks(length) {
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error.to_string())),
            }
        }
    }
    (items, None)
}

/// Challenges of a camera that refuses every answer: few are tried, and none of the answers shows the password.
pub fn rtsp_challenge(data: &[u8]) {
    const PASSWORD: &str = "a password that is not in the input";
    let text = String::from_utf8_lossy(data);
    let (usable, others) = parse_challenges(text.lines());
    assert!(usable.len() + others.len() <= 16);
    let credentials = Credentials::new("user", PASSWORD);
    let mut auth = Authenticator::new(Some(credentials), Some(1));
    for answers in 0.. {
        if auth.challenged(text.lines()).is_err() {
            break;
        }
        // The first, one new nonce twice, and one other kind.
        assert!(answers < 4, "no end");
        let answer = auth
            .authorization("PLAY", "rtsp://h/")
            .expect("challenged before");
        assert!(!answer.contains(PASSWORD));
        if answers == 0 && data.first() == Some(&b'!') {
            auth.accepted();
        }
    }
}

/// A session with a camera that does anything: the client ends, says so once, and leaves nothing open.
pub fn rtsp_client(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let url = match options & 1 {
        0 => "rtsp://192.0.2.1/cam",
        _ => "rtsps://user:geheim@192.0.2.1:8554/cam?password=geheim",
    };
    let transports = match options >> 1 & 3 {
        0 => vec![Transport::Tcp, Transport::Udp],
        1 => vec![Transport::Udp, Transport::Tcp],
        2 => vec![Transport::Multicast, Transport::Udp],
        _ => vec![],
    };
    let limits = RtspLimits::default().max_head(2000).max_skipped(500);
    let config = RtspClientConfig::new(RtspUrl::parse(url).expect("it is valid"))
        .transports(transports)
        .backchannel(options & 8 != 0)
        .trace(true)
        .limits(limits)
        .seed(Some(1));
    let mut session = Session {
        client: RtspClient::new(config),
        now: Instant::now(),
        is_connected: false,
        has_ended: false,
        cseq: 0,
        sockets: Vec::new(),
    };
    session.drain();
    while !bytes.is_empty() && !session.has_ended {
        session.step(&mut bytes);
    }
    session.client.close(session.now);
    session.drain();
    // TEARDOWN is waited for.
    session.now += Duration::from_secs(2);
    session.client.handle_input(Input::Timeout, session.now);
    session.drain();
    assert!(session.has_ended && session.client.has_ended());
    assert!(!session.is_connected && session.sockets.is_empty());
}

/// A client and its driver.
struct Session {
    client: RtspClient,
    now: Instant,
    is_connected: bool,
    has_ended: bool,
    /// Sequence number of the latest request.
    cseq: u32,
    sockets: Vec<usize>,
}

const SDP: &str = "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t1\r\n\
    m=audio 0 RTP/AVP 8\r\na=control:t2\r\nm=audio 0 RTP/AVP 0\r\na=sendonly\r\na=control:t3\r\n";

impl Session {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        let source = SocketAddr::from((
            [192, 0, 2, 1 + (control >> 7)],
            7000 + u16::from(control >> 5 & 3),
        ));
        match control & 15 {
            0 => {
                let length = usize::from(bytes.byte());
                self.receive(bytes.take(length));
            }
            1..=5 => {
                let answer = self.answer(control, bytes);
                self.receive(&answer);
            }
            6..=8 => {
                let mut frame = vec![b'$', control >> 4 & 7, 0, 12, 0x80, 96];
                frame.extend([bytes.byte(); 10]);
                self.receive(&frame);
            }
            9 | 10 => {
                let contents = bytes.take(20);
                let (stream, is_rtcp) = (usize::from(control >> 4 & 1), control & 32 != 0);
                self.client.handle_input(
                    Input::Datagram {
                        stream,
                        is_rtcp,
                        source,
                        contents,
                    },
                    self.now,
                );
            }
            11 | 12 => {
                self.now += Duration::from_millis(100 * u64::from(bytes.byte()));
                self.client.handle_input(Input::Timeout, self.now);
            }
            13 if self.is_connected => {
                self.is_connected = false;
                let why = Disconnected::Closed;
                self.client.handle_input(Input::Closed(why), self.now);
            }
            14 => {
                let _ = self.client.send_backchannel(bytes.take(30));
            }
            _ => self.client.close(self.now),
        }
        self.drain();
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.is_connected {
            self.client.handle_input(Input::Received(bytes), self.now);
        }
    }

    /// An answer that is nearly right.
    fn answer(&self, control: u8, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let code = [200, 200, 200, 200, 401, 461, 302, 500][usize::from(control >> 5)];
        let fields = match bytes.byte() & 7 {
            0 => "Session: 1;timeout=5\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n",
            1 => "Session: 2\r\nTransport: RTP/AVP;server_port=7000-7001\r\n",
            2 => "Transport: RTP/AVP;multicast;destination=239.0.0.1;port=7000-7001\r\n",
            3 => {
                "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", Basic realm=\"r\"\r\n"
            }
            4 => "WWW-Authenticate: Digest realm=\"r\", nonce=\"m\", stale=true\r\n",
            5 => "Location: rtsp://192.0.2.1/other\r\n",
            6 => "Public: GET_PARAMETER\r\nContent-Base: rtsp://x/\r\n",
            _ => "",
        };
        let body = if control & 16 == 0 { SDP } else { "" };
        let (cseq, length) = (self.cseq, body.len());
        format!(
            "RTSP/1.0 {code} x\r\nCSeq: {cseq}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    fn drain(&mut self) {
        for _ in 0..20_000 {
            let output = self.client.poll_output();
            assert!(
                !self.has_ended || matches!(output, Output::Timeout(None)),
                "{output:?}"
            );
            match output {
                Output::Connect { .. } => {
                    assert!(!self.is_connected);
                    self.is_connected = true;
                    let (local, remote) = ([192, 0, 2, 2], [192, 0, 2, 1]);
                    let (local, remote) = ((local, 4000).into(), (remote, 554).into());
                    self.client
                        .handle_input(Input::Connected { local, remote }, self.now);
                }
                Output::Disconnect => {
                    assert!(self.is_connected);
                    self.is_connected = false;
                }
                Output::Send(message) => self.on_sent(&message),
                Output::OpenUdp { stream, multicast } => {
                    assert!(!self.sockets.contains(&stream));
                    assert!(multicast.is_none_or(|group| group.group.is_multicast()));
                    self.sockets.push(stream);
                    let (rtp_port, rtcp_port) = (6000, 6001);
                    self.client.handle_input(
                        Input::UdpOpened {
                            stream,
                            rtp_port,
                            rtcp_port,
                        },
                        self.now,
                    );
                }
                Output::CloseUdp { stream } => {
                    assert!(self.sockets.contains(&stream));
                    self.sockets.retain(|s| *s != stream);
                }
                Output::SendUdp { stream, .. } => assert!(self.sockets.contains(&stream)),
                Output::Event(RtspEvent::Ended(_)) => self.has_ended = true,
                Output::Event(event) => {
                    let shown = format!("{event:?}");
                    assert!(!shown.contains("geheim"), "{shown}");
                }
                Output::Timeout(_) => return,
            }
        }
        panic!("outputs without end");
    }

    /// Remembers the sequence number; no header may begin another.
    fn on_sent(&mut self, message: &[u8]) {
        let Ok(text) = std::str::from_utf8(message) else {
            return;
        };
        let Some(head) = text.strip_suffix("\r\n\r\n") else {
            assert!(text.starts_with('$'), "{text:?}");
            return;
        };
        if text.starts_with('$') {
            return;
        }
        let mut lines = head.split("\r\n");
        assert!(lines.next().is_some_and(|first| first.contains("RTSP/1.0")));
        for line in lines {
            assert!(
                line.contains(": ") && !line.contains(['\r', '\n']),
                "{text:?}"
            );
            if let Some(cseq) = line.strip_prefix("CSeq: ")
                && !text.starts_with("RTSP/")
            {
                self.cseq = cseq.parse().expect("a number");
            }
        }
    }
}
