//! Messages from servers and unauthenticated sources during gathering: STUN, TURN, multicast DNS, framed streams.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turn_types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass,
};

use super::Bytes;
use super::stun::{Invented, any_address};
use crate::proto::ice::framing::{self, MAX_FRAME};
use crate::proto::ice::mdns::{Mdns, MdnsOutput};
use crate::proto::ice::turn::{TurnClient, TurnConfig, TurnOutput, frame};
use crate::proto::ice::{BindingOutput, BindingRequest, BindingTransport, Bindings};
use crate::proto::net::{SocketId, SocketReply};

/// Returns the transaction id of the request in this message.
fn id_of(message: &[u8]) -> u128 {
    let id = message.get(4..20).and_then(|b| b.try_into().ok());
    id.map_or(0, u128::from_be_bytes) & ((1 << 96) - 1)
}

/// Answers of STUN servers: each query yields an address or a failure, and answers from other sources are ignored.
pub fn stun_bindings(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut now = Instant::now();
    let mut bindings = Bindings::new(Some(1));
    let server = |n: u8| SocketAddr::from(([192, 0, 2, n & 3], 3478));
    let mut sent: VecDeque<(SocketAddr, Vec<u8>)> = VecDeque::new();
    let mut asked = HashSet::new();
    let mut streams: Vec<SocketId> = Vec::new();
    while !bytes.is_empty() {
        let control = bytes.byte();
        match control & 7 {
            0 => {
                let base = SocketAddr::from(([10, 0, 0, 1], 5000 + u16::from(control >> 6)));
                let transport = match control >> 5 & 1 {
                    0 => BindingTransport::Udp,
                    _ => BindingTransport::Tcp,
                };
                let request = BindingRequest {
                    server: server(control >> 3),
                    base,
                    transport,
                };
                asked.insert(request.clone());
                bindings.request(usize::from(control >> 6), request, now);
            }
            1 => bindings.release(usize::from(control >> 6)),
            2 if control & 0x80 == 0 || streams.is_empty() => bindings.refresh(now),
            2 => {
                let at = usize::from(control >> 3 & 7) % streams.len();
                if control & 0x40 == 0 {
                    let reply = SocketReply::Opened(Vec::new());
                    bindings.handle_socket(streams[at], &reply, now);
                } else {
                    let reply = SocketReply::Failed("fuzzed".to_owned());
                    bindings.handle_socket(streams.remove(at), &reply, now);
                }
            }
            3 => now += Duration::from_millis(u64::from(bytes.word())),
            4 => {
                let length = usize::from(bytes.byte());
                let _ = bindings.handle_datagram(server(control), bytes.take(length), now);
            }
            _ => {
                let index = usize::from(bytes.byte()) % sent.len().max(1);
                let Some((to, request)) = sent.get(index).cloned() else {
                    continue;
                };
                let kind = [0x0101, 0x0111, 0x0101, 0x0011][usize::from(control >> 3 & 3)];
                let Some(mut answer) = Invented::new(kind, id_of(&request)) else {
                    continue;
                };
                if control & 0x20 != 0 {
                    answer.add_address(0x0020, any_address(&mut bytes));
                }
                answer.add_some(&mut bytes);
                let from = if control & 0x40 == 0 { to } else { server(9) };
                let answer = answer.finish(control & 0x80 != 0);
                bindings.handle_datagram(from, &answer, now);
                // In two pieces, on any stream.
                if let Some(stream) = streams.get(usize::from(control >> 3 & 7)) {
                    let (first, second) =
                        answer.split_at(usize::from(bytes.byte()).min(answer.len()));
                    bindings.handle_stream(*stream, first, now);
                    bindings.handle_stream(*stream, second, now);
                }
            }
        }
        loop {
            match bindings.poll_output() {
                BindingOutput::Transmit(user, transmit) => {
                    assert!(user < 4);
                    sent.push_back((transmit.destination, transmit.contents));
                    sent.drain(..sent.len().saturating_sub(16));
                }
                BindingOutput::Reply(user, request, _) => {
                    assert!(user < 4 && asked.contains(&request));
                }
                BindingOutput::OpenSocket(request) => {
                    assert!(!streams.contains(&request.id));
                    streams.push(request.id);
                    assert!(streams.len() <= 16, "one for each server and address");
                }
                BindingOutput::Write(stream, message) => {
                    assert!(
                        streams.contains(&stream),
                        "written to what was not asked for"
                    );
                    sent.push_back((server(0), message));
                    sent.drain(..sent.len().saturating_sub(16));
                }
                BindingOutput::CloseSocket(stream) => streams.retain(|id| *id != stream),
                BindingOutput::Timeout(Some(at)) if at <= now => bindings.handle_timeout(now),
                BindingOutput::Timeout(_) => break,
            }
        }
    }
    for user in 0..4 {
        bindings.release(user);
    }
    while !matches!(bindings.poll_output(), BindingOutput::Timeout(None)) {}
    assert!(bindings.is_idle());
}

/// Multicast DNS packets, ours and others': unsolicited ones change nothing, and each name is resolved once.
pub fn mdns(data: &[u8]) {
    const NAMES: [&str; 3] = [
        "a.local",
        "6f6b5c1e-5f0f-4e6c-9f33-9a0c8d3b2a11.local",
        "b.c.local",
    ];
    let mut bytes = Bytes(data);
    let mut now = Instant::now();
    let mut mdns = Mdns::new();
    let mut asked = HashSet::new();
    while !bytes.is_empty() {
        let control = bytes.byte();
        let name = NAMES[usize::from(control >> 4) % NAMES.len()];
        let mut received = 0;
        match control & 7 {
            0 => {
                mdns.resolve(name, now);
                asked.insert(name.to_owned());
            }
            1 => assert!(mdns.publish(name, any_address(&mut bytes).ip())),
            2 => mdns.unpublish(name),
            3 => now += Duration::from_millis(u64::from(bytes.byte()) * 20),
            _ => {
                let length = usize::from(bytes.word()) & 0x3FF;
                let packet = bytes.take(length);
                mdns.handle_datagram(packet);
                received = packet.len();
            }
        }
        let mut answered = 0;
        loop {
            match mdns.poll_output() {
                MdnsOutput::Multicast(packet) => {
                    assert!(packet.len() <= 9000);
                    answered += usize::from(received > 0);
                }
                MdnsOutput::Resolved(host, result) => {
                    assert!(asked.remove(&host), "{host} was not asked for");
                    assert!(result.is_err() || result.is_ok_and(|found| !found.is_empty()));
                }
                MdnsOutput::Timeout(Some(at)) if at <= now => mdns.handle_timeout(now),
                MdnsOutput::Timeout(_) => break,
            }
        }
        assert!(answered <= 1, "one answer a packet");
    }
}

/// A stream of length-prefixed messages: the result is the same however it is split, and within the limits.
pub fn ice_framing(data: &[u8]) {
    let (size, data) = data.split_first().unwrap_or((&0, &[]));
    let cut = |size: usize| {
        let mut deframer = framing::Deframer::default();
        let mut messages = Vec::new();
        for piece in data.chunks(size) {
            deframer.push(piece);
            loop {
                match deframer.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(deframer.next_message(), Err(error));
                        return (messages, true);
                    }
                }
            }
        }
        (messages, false)
    };
    let (messages, is_over) = cut(usize::from(*size) + 1);
    assert_eq!(cut(data.len().max(1)), (messages.clone(), is_over));
    let mut stream = Vec::new();
    for message in &messages {
        assert!((1..=MAX_FRAME).contains(&message.len()));
        stream.extend(framing::frame(message).expect("one that fits"));
    }
    // Except for empty messages, and an incomplete one.
    assert!(stream.len() <= data.len());
}

/// A TURN stream from a client or a server: the result is the same however it is split; messages know their end.
pub fn turn_stream(data: &[u8]) {
    let (size, data) = data.split_first().unwrap_or((&0, &[]));
    let cut = |size: usize| {
        let mut deframer = frame::Deframer::default();
        let mut messages = Vec::new();
        for piece in data.chunks(size) {
            deframer.push(piece);
            loop {
                match deframer.next() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return (messages, true),
                }
            }
        }
        (messages, false)
    };
    let (messages, is_over) = cut(usize::from(*size) + 1);
    assert_eq!(cut(data.len().max(1)), (messages.clone(), is_over));
    for message in &messages {
        turn_message(message);
    }
}

/// Classifies a TURN message: its data lies within it, and an indication is written so that it parses the same again.
pub fn turn_message(message: &[u8]) {
    let check = |incoming| match incoming {
        frame::Incoming::Channel(number, range) => {
            let contents = &message[range];
            let written = frame::channel_data(number, contents, false);
            assert_eq!(written, message[..4 + contents.len()]);
        }
        frame::Incoming::Data(_, range) => assert!(range.end <= message.len()),
        frame::Incoming::Message | frame::Incoming::Junk => {}
    };
    check(frame::classify(message));
    #[cfg(feature = "turn-server")]
    {
        check(frame::classify_from_client(message));
        if let frame::Incoming::Data(from, range) = frame::classify(message) {
            let contents = &message[range];
            let written = frame::data_indication(id_of(message).into(), from, contents);
            let range = written.len() - contents.len().next_multiple_of(4);
            let range = range..range + contents.len();
            assert_eq!(
                frame::classify(&written),
                frame::Incoming::Data(from, range)
            );
        }
    }
}

/// A TURN client and a server that sends anything, with the right key if the fuzzer chooses so.
pub fn turn_client(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let config = TurnConfig {
        username: "me".into(),
        password: "secret".into(),
        ipv4: options & 1 == 0 || options & 2 == 0,
        ipv6: options & 2 != 0,
        stream: options & 4 != 0,
        seed: Some(1),
    };
    let now = Instant::now();
    let mut server = Server {
        client: TurnClient::new(config, now),
        now,
        sent: VecDeque::new(),
        peers: HashSet::new(),
        outputs: 0,
    };
    server.drain();
    while !bytes.is_empty() {
        server.step(&mut bytes);
        server.drain();
        let waits = server.client.deadline();
        assert!(
            waits.is_none() || !server.client.is_closed(),
            "closed, and it waits"
        );
    }
    server.client.release(server.now);
    for _ in 0..100 {
        let Some(at) = server.client.deadline() else {
            break;
        };
        server.now = server.now.max(at);
        server.client.handle_timeout(server.now);
        server.drain();
    }
    assert!(server.client.is_closed(), "no answer, and it waits for one");
}

struct Server {
    client: TurnClient,
    now: Instant,
    /// Requests that can be answered.
    sent: VecDeque<Vec<u8>>,
    /// Peers that the client has sent to.
    peers: HashSet<IpAddr>,
    outputs: usize,
}

impl Server {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        match control & 15 {
            0 => {
                let length = usize::from(bytes.byte());
                self.give(bytes.take(length));
            }
            1 | 2 => {
                let to = any_address(bytes);
                self.peers.insert(to.ip());
                let first = if control & 16 == 0 { 20 } else { 0 };
                let contents = vec![first; usize::from(control >> 5) * 100];
                self.client.send(to, &contents, self.now);
            }
            3 => {
                let number = 0x4000 + u16::from(control >> 4);
                let length = usize::from(bytes.byte());
                let message = frame::channel_data(number, bytes.take(length), false);
                self.give(&message);
            }
            4 => {
                let id = self.sent.len() as u128;
                if let Some(mut message) = Invented::new(0x0017, id) {
                    message.add_address(0x0012, any_address(bytes));
                    message.add_some(bytes);
                    message.add(0x0013, &[20; 10]);
                    self.give(&message.finish(false));
                }
            }
            5 | 6 => self.pass(Duration::from_millis(u64::from(bytes.word()))),
            7 => self.pass(Duration::from_secs(u64::from(bytes.word()) / 64)),
            8 if control == 0xF8 => self.client.release(self.now),
            _ => self.answer(control, bytes),
        }
    }

    fn answer(&mut self, control: u8, bytes: &mut Bytes<'_>) {
        let index = usize::from(bytes.byte()) % self.sent.len().max(1);
        let Some(request) = self.sent.get(index) else {
            return;
        };
        let method = u16::from_be_bytes([request[0], request[1]]);
        let how = bytes.byte();
        let kind = method | [0x0100, 0x0110, 0x0100, 0x0010][usize::from(how & 3)];
        let Some(mut answer) = Invented::new(kind, id_of(request)) else {
            return;
        };
        if how & 3 == 1 {
            let code = [401, 438, 437, 300, 403, 486, 508, 400][usize::from(how >> 2 & 7)];
            answer.add(
                0x0009,
                &[0, 0, (code / 100) as u8, (code % 100) as u8, b'n', b'o'],
            );
            if how & 0x20 == 0 {
                answer.add(0x0014, b"here");
                // The second one announces a list of password algorithms (RFC 8489 §9.2).
                let nonce: &[u8] = if how & 0x40 == 0 {
                    b"n1"
                } else {
                    b"obMatJos2gAAArest"
                };
                answer.add(0x0015, nonce);
            }
            if how & 0x40 != 0 {
                answer.add(0x8002, &[0, 2, 0, 0, 0, 1, 0, 0]);
            }
        } else if how & 0x20 == 0 {
            answer.add_address(0x0016, any_address(bytes));
            answer.add(0x000D, &u32::from(bytes.word()).to_be_bytes());
        }
        if control & 16 != 0 {
            answer.add_some(bytes);
        }
        if control & 32 == 0 {
            let algorithm = match how & 0x80 {
                0 => IntegrityAlgorithm::Sha1,
                _ => IntegrityAlgorithm::Sha256,
            };
            let key = LongTermKeyCredentials::new("me".into(), "secret".into(), "here".into());
            answer.sign(&key.make_key(algorithm), algorithm);
        }
        let answer = answer.finish(control & 64 != 0);
        self.give(&answer);
    }

    fn give(&mut self, message: &[u8]) {
        if let Some((from, range)) = self.client.handle_message(message, self.now) {
            assert!(range.end <= message.len());
            assert!(self.peers.contains(&from.ip()), "{from} was never sent to");
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.client.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.drain();
            let next = self.client.deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "wants to be woken at once"
            );
            steps += 1;
            assert!(steps < 10_000, "a busy loop");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        self.outputs = 0;
        while let Some(output) = self.client.poll_output() {
            self.outputs += 1;
            assert!(self.outputs < 1000, "one thing brought a flood");
            match output {
                TurnOutput::Transmit(message) => {
                    let is_request = Message::from_bytes(&message)
                        .is_ok_and(|m| m.has_class(MessageClass::Request));
                    if is_request {
                        self.sent.push_front(message);
                        self.sent.truncate(8);
                    }
                }
                TurnOutput::Allocated(relayed) => assert!((1..=2).contains(&relayed.len())),
                TurnOutput::Failed(_, why) | TurnOutput::Lost(_, why) => {
                    assert!(why.len() < 1000);
                }
                TurnOutput::Redirected(_) => assert!(self.client.is_closed()),
                TurnOutput::Refused(ip, ..) => assert!(self.peers.contains(&ip)),
            }
        }
    }
}
