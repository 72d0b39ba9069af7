//! Servers with real peers, on an event loop of their own: WHIP and WHEP, rooms, HTTP connections.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::Bytes;
use crate::driver::{EventLoop, LoopConfig};
use crate::proto::peer::{Direction, MediaKind, PeerConfig, SessionDescription, TransceiverConfig};
use crate::server::door::{Door, DoorConfig, DoorEvent};
use crate::server::http::{Request, RequestId, Response, SocketOutput, WebSocketId};
use crate::server::rooms::{Rooms, RoomsConfig};
use crate::server::streams::{SourceConfig, Streams, StreamsConfig};
use crate::server::whip::{WhipConfig, WhipServer};

/// Maximum number of events per run: each peer costs a millisecond.
const STEPS: usize = 24;

/// Iterates over records separated by zero bytes: the first byte selects the event, the rest is its data.
fn records(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let records = data.split(|byte| *byte == 0).take(STEPS);
    records.filter_map(|r| r.split_first().map(|(what, rest)| (*what, rest)))
}

/// Opens an event loop on loopback: wherever a candidate points, nothing leaves this machine.
fn event_loop() -> Option<EventLoop> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    EventLoop::new(LoopConfig::default().bind([loopback])).ok()
}

/// Returns `true` if the input contains multicast DNS names, which would be resolved in the network.
fn asks_the_network(data: &[u8]) -> bool {
    let data = data.to_ascii_lowercase();
    data.windows(6).any(|w| w == b".local")
}

/// Returns an offer of one of our peers, with audio and video.
fn offer(net: &mut EventLoop, direction: Direction) -> String {
    let Ok(client) = net.add_peer(PeerConfig::default().include_loopback(true)) else {
        return String::new();
    };
    let Ok(mut peer) = net.peer(client) else {
        return String::new();
    };
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let config = TransceiverConfig::default().direction(direction);
        let _ = peer.add_transceiver(kind, config);
    }
    let offer = peer.negotiate().map(|o| o.sdp).unwrap_or_default();
    peer.close();
    offer
}

/// Returns the text with edits applied: `from|to` replaces the first two occurrences of `from`; a byte 1 separates
/// edits.
fn edited(text: &str, edits: &[u8]) -> String {
    let edits = String::from_utf8_lossy(edits);
    let mut text = text.to_owned();
    for edit in edits.split('\u{1}') {
        if let Some((from, to)) = edit.split_once('|')
            && !from.is_empty()
        {
            text = text.replacen(from, to, 2);
        }
    }
    text
}

/// Sends requests to WHIP and WHEP, with peers: each is answered once, errors have a problem document; sessions stay
/// within their limit, and at the end none is left.
pub fn whip_server(data: &[u8]) {
    whip_statuses(data);
}

/// Does what [`whip_server`] does; returns the method and the status of each answer.
pub(super) fn whip_statuses(data: &[u8]) -> Vec<(&'static str, u16)> {
    const MOST: usize = 6;
    let mut now = Instant::now();
    let mut statuses = Vec::new();
    if asks_the_network(data) {
        return statuses;
    }
    let Some(mut net) = event_loop() else {
        return statuses;
    };
    let mut streams = Streams::new(StreamsConfig::default());
    for (name, source) in [
        ("cam", SourceConfig::whip()),
        ("card", SourceConfig::test_card()),
    ] {
        streams.add(name, source).expect("a name of its own");
    }
    let peer = PeerConfig::default().include_loopback(true);
    let config = WhipConfig::default().peer(peer).max_sessions(MOST);
    let mut whip = WhipServer::new(config);
    let offers = [Direction::SendOnly, Direction::RecvOnly].map(|d| offer(&mut net, d));
    let mut session = "/whip/cam/0".to_owned();
    let mut waiting = HashMap::new();
    for (id, (what, rest)) in (1..).zip(records(data)) {
        let (method, path, kind) = match what % 8 {
            0 | 1 => ("POST", "/whip/cam".to_owned(), "application/sdp"),
            2 => ("POST", "/whep/card".to_owned(), "application/sdp"),
            3 => ("POST", "/whep/cam".to_owned(), "application/sdp"),
            4 | 5 => ("PATCH", session.clone(), "application/trickle-ice-sdpfrag"),
            6 => ("DELETE", session.clone(), ""),
            _ => {
                now += Duration::from_secs(u64::from(what));
                whip.handle_timeout(&mut net, now);
                continue;
            }
        };
        let mut request = Request::new(method, &path, ([127, 0, 0, 1], 1).into());
        request.headers.push(("content-type".into(), kind.into()));
        request.headers.push(("if-match".into(), "*".into()));
        // Raw, or a valid offer with changes.
        request.body = match (what & 0x80, method) {
            (0, "POST") => {
                let offer = &offers[usize::from(path.starts_with("/whep"))];
                edited(offer, rest).into_bytes()
            }
            _ => rest.to_vec(),
        };
        let id = RequestId(id);
        waiting.insert(id, method);
        whip.handle_request(&mut net, &mut streams, id, request, now);
        // Until it is answered; an offer waits for its candidates.
        for _ in 0..10 {
            if let Ok(Some((peer, event))) = net.next_event(Some(Duration::from_millis(1))) {
                whip.handle_peer_event(&mut net, &mut streams, peer, &event);
            }
            whip.handle_timeout(&mut net, now);
            while let Some((id, response)) = whip.poll_response() {
                let method = waiting.remove(&id).expect("answered once");
                check_response(&response);
                statuses.push((method, response.status));
                let created = response.headers.iter().find(|(n, _)| n == "Location");
                if let Some((_, location)) = created {
                    session.clone_from(location);
                }
            }
            if waiting.is_empty() {
                break;
            }
        }
        assert!(whip.sessions().count() <= MOST);
    }
    whip.close(&mut net);
    while let Some((id, response)) = whip.poll_response() {
        assert!(waiting.remove(&id).is_some(), "answered twice");
        check_response(&response);
    }
    assert!(waiting.is_empty(), "never answered: {waiting:?}");
    assert_eq!(whip.sessions().count(), 0);
    statuses
}

fn check_response(response: &Response) {
    let body = String::from_utf8_lossy(&response.body);
    match response.status {
        201 => {
            assert!(body.starts_with("v=0\r\n"), "{body}");
        }
        200 | 204 => {}
        400..=599 => {
            let problem: serde_json::Value = serde_json::from_str(&body).expect("a problem");
            assert!(problem["detail"].is_string(), "{body}");
        }
        status => panic!("{status}"),
    }
    assert!(body.len() < 64 * 1024);
}

/// Lets pages come and go in rooms, with peers: only open sockets receive messages, all in JSON; the number of bytes
/// sent is bounded by received bytes and time; at the end no room is left.
pub fn rooms_with_peers(data: &[u8]) {
    rooms_events(data);
}

/// Does what [`rooms_with_peers`] does; returns the `event` of each message to a page.
pub(super) fn rooms_events(data: &[u8]) -> Vec<String> {
    let mut now = Instant::now();
    let mut events = Vec::new();
    if asks_the_network(data) {
        return events;
    }
    let Some(mut net) = event_loop() else {
        return events;
    };
    let peer = PeerConfig::default().include_loopback(true);
    let config = RoomsConfig::default().peer(peer).max_participants(3);
    let mut rooms = Rooms::new(config, now);
    let mut open: Vec<WebSocketId> = Vec::new();
    let mut offers: HashMap<WebSocketId, String> = HashMap::new();
    let mut next = 0;
    let (mut came, mut sent, begin) = (0, 0, now);
    for (what, rest) in records(data) {
        let text = String::from_utf8_lossy(rest);
        let socket = open.get(usize::from(what & 7) % open.len().max(1)).copied();
        came += rest.len() + 1;
        match what >> 4 {
            0..=2 => {
                next += 1;
                let socket = WebSocketId(1000 + next);
                let room = if what & 1 == 0 {
                    "/room/a/ws"
                } else {
                    "/websocket"
                };
                let mut request = Request::new("GET", room, ([127, 0, 0, 1], 1).into());
                request.query = text.into_owned();
                open.push(socket);
                rooms.socket_opened(&mut net, socket, &request, now);
            }
            3 => {
                if let Some(socket) = socket {
                    open.retain(|s| *s != socket);
                    rooms.socket_closed(&mut net, socket, now);
                }
            }
            4 => now += Duration::from_secs(u64::from(what & 15)),
            5..=8 => {
                // A valid answer to the last offer, with changes.
                let offer = socket.and_then(|s| Some((s, offers.get(&s)?.clone())));
                if let Some((socket, offer)) = offer {
                    let message = answer(&mut net, &offer, rest);
                    came += message.len();
                    rooms.socket_message(&mut net, socket, &message, now);
                }
            }
            _ => {
                if let Some(socket) = socket {
                    rooms.socket_message(&mut net, socket, &text, now);
                }
            }
        }
        for _ in 0..16 {
            match net.next_event(Some(Duration::ZERO)) {
                Ok(Some((peer, event))) if rooms.owns(peer) => {
                    rooms.handle_peer_event(&mut net, peer, event);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        now += Duration::from_millis(20);
        rooms.handle_timeout(&mut net, now);
        while let Some(output) = rooms.poll_socket() {
            match output {
                SocketOutput::Send(socket, text) => {
                    assert!(open.contains(&socket), "sent to a socket that is closed");
                    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    if value["event"] == "offer" {
                        let data = value["data"].as_str().unwrap_or_default();
                        offers.insert(socket, data.to_owned());
                    }
                    sent += text.len();
                    let event = value["event"].as_str().expect("an event");
                    events.push(event.to_owned());
                }
                SocketOutput::Close(socket, _, why) => {
                    assert!(why.len() <= 123);
                    open.retain(|s| *s != socket);
                }
            }
        }
        assert!(rooms.list().all(|room| room.participants <= 3));
    }
    // Each step may cause an offer of less than 16 KiB to each of three, and lists twice a second.
    let seconds = now.duration_since(begin).as_secs() as usize;
    let most = 64 * came + STEPS * 3 * 16 * 1024 + (seconds + 5) * 2 * 3 * 4096;
    assert!(sent <= most, "{sent} bytes for {came}");
    for socket in open {
        rooms.socket_closed(&mut net, socket, now);
    }
    now += Duration::from_secs(60);
    rooms.handle_timeout(&mut net, now);
    assert_eq!(rooms.list().count(), 0);
    events
}

/// Returns the message with a peer's answer to an offer, edited.
fn answer(net: &mut EventLoop, offer: &str, edits: &[u8]) -> String {
    let sdp = serde_json::from_str::<serde_json::Value>(offer)
        .ok()
        .and_then(|o| Some(o["sdp"].as_str()?.to_owned()))
        .unwrap_or_default();
    let config = PeerConfig::default().include_loopback(true);
    let answer = net.add_peer(config).ok().and_then(|id| {
        let mut peer = net.peer(id).ok()?;
        let answer = peer.receive(SessionDescription::offer(sdp)).ok()?;
        peer.close();
        answer
    });
    let sdp = edited(&answer.map(|a| a.sdp).unwrap_or_default(), edits);
    let data = serde_json::json!({ "type": "answer", "sdp": sdp }).to_string();
    serde_json::json!({ "event": "answer", "data": data }).to_string()
}

/// Opens HTTP connections that send bytes in pieces, over time: memory is within the limit, each WebSocket is reported
/// closed once, and after all connections have ended nothing is held.
pub fn door(data: &[u8]) {
    door_counts(data);
}

/// Number of requests, WebSockets and messages delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub requests: usize,
    pub web_sockets: usize,
    pub messages: usize,
    pub gone: usize,
}

/// Does what [`door`] does.
pub(super) fn door_counts(data: &[u8]) -> Counts {
    let mut counts = Counts::default();
    const CLIENTS: usize = 3;
    let config = DoorConfig::default()
        .max_connections(4)
        .max_buffered(20_000);
    let Ok(mut door) = Door::listen(([127, 0, 0, 1], 0).into(), config) else {
        return counts;
    };
    let mut now = Instant::now();
    let mut clients: [Option<TcpStream>; CLIENTS] = [const { None }; CLIENTS];
    let mut sockets = HashSet::new();
    let mut waiting = Vec::new();
    let mut bytes = Bytes(data);
    for _ in 0..64 {
        if bytes.is_empty() {
            break;
        }
        let control = bytes.byte();
        let client = &mut clients[usize::from(control) % CLIENTS];
        match control >> 4 {
            0 | 1 => {
                let stream = TcpStream::connect(door.local_addr()).ok();
                *client = stream.filter(|s| s.set_nonblocking(true).is_ok());
            }
            2 => *client = None,
            3 => now += Duration::from_secs(u64::from(bytes.byte()) / 4),
            4 => {
                if let Some(id) = waiting.pop() {
                    let body = vec![b'x'; 100 * usize::from(control & 15)];
                    door.respond(id, Response::new(200).body("text/plain", body));
                }
            }
            5 => {
                if let Some(stream) = client {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                }
            }
            6 => {
                for socket in &sockets {
                    let _ = door.send(*socket, "text");
                }
            }
            7 => {
                if let Some(socket) = sockets.iter().next() {
                    door.close(*socket, 1000, "enough");
                }
            }
            _ => {
                let length = usize::from(bytes.byte()) * usize::from(control & 3) / 2;
                let piece = bytes.take(length).to_vec();
                if let Some(stream) = client {
                    let _ = stream.write(&piece);
                }
            }
        }
        turn(&mut door, now, &mut sockets, &mut waiting, &mut counts);
        for client in clients.iter_mut().flatten() {
            let _ = client.read(&mut [0; 4096]);
        }
    }
    drop(clients);
    // All deadlines pass.
    for seconds in 0..10 {
        now += Duration::from_secs(15 * seconds);
        turn(&mut door, now, &mut sockets, &mut waiting, &mut counts);
    }
    let stats = door.stats();
    assert_eq!((stats.connections, stats.held), (0, 0), "{stats:?}");
    assert!(sockets.is_empty(), "never told that it is over");
    counts
}

/// Runs the HTTP port once, and checks its output.
fn turn(
    door: &mut Door,
    now: Instant,
    sockets: &mut HashSet<WebSocketId>,
    waiting: &mut Vec<RequestId>,
    counts: &mut Counts,
) {
    for _ in 0..3 {
        door.turn(now);
        while let Some(event) = door.poll_event() {
            match event {
                DoorEvent::Request(id, request) => {
                    assert!(request.path.starts_with('/'));
                    waiting.push(id);
                    counts.requests += 1;
                }
                DoorEvent::WebSocketRequest(id, _) => {
                    sockets.extend(door.accept(id));
                    counts.web_sockets += 1;
                }
                DoorEvent::Message(socket, _) => {
                    assert!(sockets.contains(&socket));
                    counts.messages += 1;
                }
                DoorEvent::Closed(socket) => {
                    assert!(sockets.remove(&socket), "told twice that it is over");
                }
                DoorEvent::Gone(id) => {
                    waiting.retain(|w| *w != id);
                    counts.gone += 1;
                }
            }
        }
        let stats = door.stats();
        // The number of bytes that one turn may read beyond the limit.
        assert!(stats.held <= 20_000 + 4 * 160 * 1024, "{stats:?}");
        assert!(stats.connections <= 4 && stats.web_sockets <= 4);
    }
}
