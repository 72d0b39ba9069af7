//! Rooms with participants made of this library, all on one loop.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::forward::LAYERS;
use super::*;
use crate::driver::LoopConfig;
use crate::proto::media::Codec;
use crate::proto::net::PortPolicy;
use crate::proto::peer::{
    CandidatePolicy, Codecs, IceCandidateInit, MediaKind, MediaMode, Peer, PeerConfig, PeerEvent,
    RtpPacket, SessionDescription, TransceiverConfig, TransceiverId,
};

pub(super) fn some_transceiver() -> TransceiverId {
    let mut peer = Peer::new(PeerConfig::default(), Instant::now()).unwrap();
    let config = TransceiverConfig::default();
    peer.add_transceiver(MediaKind::Video, config, Instant::now())
        .unwrap()
}

/// Sizes of video frames, the smallest layer first, at 50 frames per second.
const SIZES: [usize; 3] = [50, 200, 800];

/// A simulated page.
struct Page {
    socket: WebSocketId,
    peer: PeerId,
    id: String,
    resume: String,
    /// Set if the last welcome resumed a visit.
    is_resumed: bool,
    /// The tracks it sends, and whether they are bound.
    sends: Vec<(TransceiverId, MediaKind, bool)>,
    sequence: u16,
    /// Number of keyframe requests received.
    asked: u32,
    offers: usize,
    m_lines: usize,
    members: Vec<Value>,
    /// The announced streams with their SSRCs.
    announced: Vec<(String, String)>,
    /// The received tracks: transceiver, stream, kind, packets.
    gets: Vec<(TransceiverId, String, MediaKind, u32)>,
    closed: Option<(u16, String)>,
    errors: Vec<String>,
    /// Set if it ignores messages.
    deaf: bool,
    /// Set if it sends layers.
    is_layered: bool,
    /// Video received: sequence number, picture id, size.
    pictures: Vec<(u64, u8, usize)>,
}

impl Page {
    /// Chromium displays nothing of a track that reuses the SSRC of an earlier one on the same m-line.
    fn announce(&mut self, sdp: &str) {
        for section in sdp.split("\nm=").skip(1) {
            let value = |name: &str| section.lines().find_map(|l| l.strip_prefix(name));
            let (Some(msid), Some(ssrc)) = (value("a=msid:"), value("a=ssrc:")) else {
                continue;
            };
            let ssrc = ssrc.split(' ').next().unwrap();
            let known = self.announced.iter().find(|(_, known)| known == ssrc);
            assert!(known.is_none_or(|(known, _)| known == msid), "{sdp}");
            self.announced.push((msid.to_owned(), ssrc.to_owned()));
        }
    }
}

struct Hall {
    net: EventLoop,
    rooms: Rooms,
    pages: Vec<Page>,
    next_socket: u64,
    last_media: Instant,
    /// Capacity of all paths.
    budget: Option<u64>,
}

impl Hall {
    fn new(config: RoomsConfig) -> Self {
        let now = Instant::now();
        let config = config.peer(PeerConfig::default().include_loopback(true));
        Self {
            net: EventLoop::new(LoopConfig::default()).unwrap(),
            rooms: Rooms::new(config, now),
            pages: Vec::new(),
            next_socket: 0,
            last_media: now,
            budget: None,
        }
    }

    fn open(&mut self, path: &str, query: &str) -> WebSocketId {
        self.next_socket += 1;
        let socket = WebSocketId(self.next_socket);
        let mut request = Request::new("GET", path, ([127, 0, 0, 1], 1).into());
        request.query = query.into();
        self.rooms
            .socket_opened(&mut self.net, socket, &request, Instant::now());
        socket
    }

    fn open_from(&mut self, path: &str, client: [u8; 4]) -> WebSocketId {
        self.next_socket += 1;
        let socket = WebSocketId(self.next_socket);
        let request = Request::new("GET", path, (client, 1).into());
        self.rooms
            .socket_opened(&mut self.net, socket, &request, Instant::now());
        socket
    }

    /// Joins like a page of sfu-ws: its tracks exist before the offer.
    fn join(&mut self, room: &str) -> usize {
        self.join_with(room, false)
    }

    fn join_with(&mut self, room: &str, layers: bool) -> usize {
        self.join_by(room, layers, "")
    }

    /// As [`Self::join_with`], with more in the query of the socket's URL.
    fn join_by(&mut self, room: &str, layers: bool, more: &str) -> usize {
        let config = PeerConfig::default()
            .include_loopback(true)
            .port(PortPolicy::Own)
            .media_mode(MediaMode::Packets)
            .codecs(Codecs::only([Codec::Vp8, Codec::Opus]))
            .candidates(CandidatePolicy::Immediately);
        let peer = self.net.add_peer(config).unwrap();
        let mut handle = self.net.peer(peer).unwrap();
        let sends = [MediaKind::Audio, MediaKind::Video].map(|kind| {
            let mut config = TransceiverConfig::default().ids("own", format!("own-{kind}"));
            if layers && kind == MediaKind::Video {
                config = config.send_rids(LAYERS);
            }
            (handle.add_track(kind, config).unwrap(), kind, false)
        });
        let query = format!("name=A%20page&simulcast={}{more}", u8::from(layers));
        let socket = self.open(&format!("/room/{room}/ws"), &query);
        self.pages.push(Page {
            socket,
            peer,
            id: String::new(),
            resume: String::new(),
            is_resumed: false,
            sends: sends.to_vec(),
            sequence: 0,
            asked: 0,
            offers: 0,
            m_lines: 0,
            members: Vec::new(),
            announced: Vec::new(),
            gets: Vec::new(),
            closed: None,
            errors: Vec::new(),
            deaf: false,
            is_layered: layers,
            pictures: Vec::new(),
        });
        self.pages.len() - 1
    }

    fn say(&mut self, page: usize, event: &str, data: &str) {
        let text = json!({ "event": event, "data": data }).to_string();
        self.say_text(page, &text);
    }

    fn say_text(&mut self, page: usize, text: &str) {
        let socket = self.pages[page].socket;
        self.rooms
            .socket_message(&mut self.net, socket, text, Instant::now());
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !is_so(self) {
            let gets: Vec<_> = self.pages.iter().map(|p| (&p.id, &p.gets)).collect();
            assert!(Instant::now() < end, "waited in vain for {what}: {gets:?}");
            self.step();
        }
    }

    fn for_a_while(&mut self, ms: u64) {
        let end = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        let event = self.net.next_event(Some(Duration::from_millis(5))).unwrap();
        if let Some((peer, event)) = event {
            match self.rooms.owns(peer) {
                true => self.rooms.handle_peer_event(&mut self.net, peer, event),
                false => self.page_event(peer, event),
            }
        }
        let now = Instant::now();
        for participant in self.rooms.participants.values_mut() {
            participant.budget = self.budget;
        }
        self.rooms.handle_timeout(&mut self.net, now);
        while let Some(output) = self.rooms.poll_socket() {
            match output {
                SocketOutput::Send(socket, text) => {
                    if let Some(page) = self.pages.iter().position(|p| p.socket == socket) {
                        self.hear(page, &text);
                    }
                }
                SocketOutput::Close(socket, code, why) => {
                    assert!(why.len() <= 123);
                    if let Some(page) = self.pages.iter_mut().find(|p| p.socket == socket) {
                        page.closed = Some((code, why));
                    }
                }
            }
        }
        if now.duration_since(self.last_media) >= Duration::from_millis(20) {
            self.last_media = now;
            for page in 0..self.pages.len() {
                self.send_media(page);
            }
        }
    }

    fn hear(&mut self, index: usize, text: &str) {
        let page = &mut self.pages[index];
        if page.deaf || page.closed.is_some() {
            return;
        }
        let message: Value = serde_json::from_str(text).unwrap();
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        match message["event"].as_str().unwrap() {
            "welcome" => {
                (page.id, page.resume) = (text("id"), text("resume"));
                page.is_resumed = data["resumed"].as_bool().unwrap();
            }
            "members" => page.members = data.as_array().unwrap().clone(),
            "error" => page.errors.push(text("message")),
            "offer" => {
                page.offers += 1;
                page.m_lines = text("sdp").matches("\nm=").count();
                page.announce(&text("sdp"));
                let offer = SessionDescription::offer(text("sdp"));
                let answer = self.net.peer(page.peer).unwrap().receive(offer).unwrap();
                self.say(index, "answer", &answer.unwrap().to_json());
            }
            "candidate" => {
                let candidate = IceCandidateInit::new(text("candidate"));
                let mut peer = self.net.peer(page.peer).unwrap();
                peer.add_ice_candidate(Some(&candidate)).unwrap();
            }
            other => panic!("{other}"),
        }
    }

    fn page_event(&mut self, peer: PeerId, event: PeerEvent) {
        let Some(index) = self.pages.iter().position(|p| p.peer == peer) else {
            return;
        };
        let page = &mut self.pages[index];
        match event {
            PeerEvent::IceCandidate(Some(candidate)) => {
                self.say(index, "candidate", &candidate.to_init().to_json());
            }
            PeerEvent::TrackBound { transceiver, .. } => {
                let track = page.sends.iter_mut().find(|s| s.0 == transceiver);
                track.unwrap().2 = true;
            }
            PeerEvent::KeyframeRequest { .. } => page.asked += 1,
            PeerEvent::Track(track) => {
                let stream = track.stream_ids[0].clone();
                page.gets.push((track.transceiver, stream, track.kind, 0));
            }
            PeerEvent::TrackRemoved(transceiver) => page.gets.retain(|g| g.0 != transceiver),
            PeerEvent::Packet(packet) => {
                let got = page.gets.iter_mut().find(|g| g.0 == packet.transceiver);
                got.unwrap().3 += 1;
                if packet.codec == Codec::Vp8 {
                    let picture = (packet.payload[2], packet.payload.len());
                    let number = packet.sequence_number;
                    page.pictures.push((number, picture.0, picture.1));
                }
            }
            _ => {}
        }
    }

    /// Sends one packet per track: VP8 video with a picture id, keyframes on request.
    fn send_media(&mut self, index: usize) {
        let page = &mut self.pages[index];
        page.sequence += 1;
        let n = page.sequence;
        let is_key = n == 1 || std::mem::take(&mut page.asked) > 0;
        let picture = |from: u16, size: usize| {
            let mut payload = vec![0; size];
            let id = n.wrapping_add(from) as u8 & 0x7F;
            payload[..4].copy_from_slice(&[0x90, 0x80, id, u8::from(!is_key)]);
            payload
        };
        let packet = |source: u32, rate: u32, payload: Vec<u8>| {
            let time = u32::from(n) * rate / 50;
            RtpPacket::new(index as u32 * 10 + source, n, time, payload).marker(true)
        };
        for (transceiver, kind, is_bound) in &page.sends {
            let packets = match kind {
                MediaKind::Audio => vec![packet(0, 48_000, vec![1; 50])],
                MediaKind::Video if page.is_layered => (1u16..)
                    .zip(LAYERS.iter().zip(SIZES))
                    .map(|(m, (rid, size))| {
                        packet(m.into(), 90_000, picture(m * 40, size)).rid(*rid)
                    })
                    .collect(),
                MediaKind::Video => vec![packet(1, 90_000, picture(0, SIZES[0]))],
            };
            if *is_bound && let Ok(mut peer) = self.net.peer(page.peer) {
                for packet in packets {
                    // It may have been unbound at this moment.
                    let _ = peer.write_rtp(*transceiver, &packet);
                }
            }
        }
    }

    /// Returns `true` if each of these pages receives audio and video of each other one, and nothing else.
    fn is_full(&self, pages: &[usize], packets: u32) -> bool {
        pages.iter().all(|page| {
            let gets = &self.pages[*page].gets;
            let others = pages.iter().filter(|other| *other != page);
            gets.len() == 2 * (pages.len() - 1)
                && others.map(|o| &self.pages[*o].id).all(|id| {
                    let of_it = gets.iter().filter(|g| g.1 == *id && g.3 >= packets);
                    of_it.count() == 2
                })
        })
    }
}

#[test]
fn everybody_gets_everybody_else() {
    let mut hall = Hall::new(RoomsConfig::default());
    let [a, b, c] = [hall.join("x"), hall.join("x"), hall.join("x")];
    let elsewhere = hall.join("y");
    hall.until("three in a room", |h| h.is_full(&[a, b, c], 20));
    assert_eq!(hall.pages[elsewhere].gets.len(), 0);
    assert_eq!(hall.pages[a].members.len(), 3);
    assert_eq!(hall.pages[a].members[0]["name"], "A page");
    let rooms: Vec<_> = hall
        .rooms
        .list()
        .map(|r| (r.name, r.participants))
        .collect();
    assert_eq!(rooms, [("x".to_owned(), 3), ("y".to_owned(), 1)]);

    // One leaves, another one joins and reuses the free m-lines.
    assert_eq!(hall.pages[a].m_lines, 6);
    hall.say(b, "leave", "");
    hall.until("two in a room", |h| h.is_full(&[a, c], 20));
    assert_eq!(hall.pages[b].closed, Some((1000, "left".into())));
    for round in 0..3 {
        let d = hall.join("x");
        hall.until("three again", |h| h.is_full(&[a, c, d], 20));
        assert_eq!(hall.pages[a].m_lines, 6, "round {round}");
        hall.say(d, "leave", "");
        hall.until("two again", |h| h.is_full(&[a, c], 20));
    }
    let stats = hall.rooms.stats();
    assert_eq!((stats.joined, stats.bad_messages), (7, 0));
    assert!(stats.keyframes_requested > 5, "{stats:?}");
}

#[test]
fn a_receiver_gets_the_layers_that_its_path_carries() {
    let mut hall = Hall::new(RoomsConfig::default());
    let [a, b] = [hall.join_with("x", true), hall.join("x")];
    let gets = |size: usize| {
        move |h: &Hall| {
            let last = h.pages[b].pictures.iter().rev().take(10);
            last.clone().count() == 10 && last.clone().all(|p| p.2 == size)
        }
    };
    hall.until("the largest, if nothing is known", gets(SIZES[2]));
    for (budget, layer) in [(200_000, 1), (70_000, 0), (10_000_000, 2)] {
        hall.budget = Some(budget);
        hall.until("the layer that fits", gets(SIZES[layer]));
    }
    assert!(hall.rooms.stats().layer_switches >= 4);
    // Picture ids and sequence numbers are continuous. Lost packets may have arrived later.
    let pictures = &mut hall.pages[b].pictures;
    pictures.sort_unstable();
    for pair in pictures.windows(2) {
        let [packets, ids] = [
            pair[1].0 - pair[0].0,
            u64::from(pair[1].1.wrapping_sub(pair[0].1) & 0x7F),
        ];
        assert_eq!(packets & 0x7F, ids, "{pair:?}");
    }
    assert_eq!(hall.pages[a].gets.len(), 2);
}

#[test]
fn a_lost_socket_is_forgiven() {
    let config = RoomsConfig::default().grace(Duration::from_secs(2));
    let mut hall = Hall::new(config);
    let [a, b] = [hall.join("x"), hall.join("x")];
    hall.until("two in a room", |h| h.is_full(&[a, b], 20));
    let socket = hall.pages[b].socket;
    hall.rooms
        .socket_closed(&mut hall.net, socket, Instant::now());
    hall.until("it is seen to be away", |h| {
        h.pages[a].members[1]["away"] == true
    });
    let before = hall.pages[a].gets[0].3;
    // Meanwhile another page joins; the first one is told about it when it returns.
    let c = hall.join("x");
    hall.for_a_while(500);
    assert!(hall.pages[a].gets[0].3 > before + 5, "media goes on");
    let key = format!("resume={}", hall.pages[b].resume);
    let wrong = hall.open("/room/y/ws", &key);
    assert_ne!(
        hall.rooms.by_socket.get(&wrong),
        hall.rooms.by_socket.get(&socket)
    );
    hall.pages[b].socket = hall.open("/room/x/ws", &key);
    hall.until("all in the room", |h| h.is_full(&[a, b, c], 20));
    assert_eq!(hall.rooms.stats().joined, 4);
    // A restarted server assigns the same ids to others, so the id does not prove it.
    let resumed = [a, b, c].map(|page| hall.pages[page].is_resumed);
    assert_eq!(resumed, [false, true, false]);

    let socket = hall.pages[b].socket;
    hall.rooms
        .socket_closed(&mut hall.net, socket, Instant::now());
    hall.until("it is gone", |h| h.is_full(&[a, c], 20));
}

/// Firefox sends nothing more on a connection that was *failed*, ICE restart or not.
#[test]
fn a_connection_that_has_failed_is_replaced() {
    let mut hall = Hall::new(RoomsConfig::default());
    let [a, b] = [hall.join("x"), hall.join("x")];
    hall.until("two in a room", |h| h.is_full(&[a, b], 20));
    let old = (hall.pages[b].socket, hall.pages[b].id.clone());
    let c = hall.join_by(
        "x",
        false,
        &format!("&resume={}&renew=1", hall.pages[b].resume),
    );
    hall.until("the new visit in the place of the old", |h| {
        h.is_full(&[a, c], 20)
    });
    assert!(!hall.rooms.by_socket.contains_key(&old.0));
    assert!(!hall.pages[c].is_resumed && hall.pages[c].id != old.1);
    // A key that nobody has is a visit like any other.
    let d = hall.join_by("x", false, "&resume=0123456789&renew=1");
    hall.until("three in a room", |h| h.is_full(&[a, c, d], 20));
}

#[test]
fn an_offer_that_was_lost_is_said_again() {
    let mut hall = Hall::new(RoomsConfig::default());
    let a = hall.join("x");
    hall.until("it is connected", |h| h.pages[a].sends.iter().all(|s| s.2));
    hall.pages[a].deaf = true;
    let b = hall.join("x");
    hall.until("the other is connected", |h| {
        h.pages[b].sends.iter().all(|s| s.2)
    });
    hall.for_a_while(100);
    hall.pages[a].deaf = false;
    let key = format!("resume={}", hall.pages[a].resume);
    // Without closing the old socket: the page noticed the loss first.
    let old = hall.pages[a].socket;
    hall.pages[a].socket = hall.open("/room/x/ws", &key);
    assert!(!hall.rooms.by_socket.contains_key(&old));
    hall.until("both get both", |h| h.is_full(&[a, b], 20));
}

#[test]
fn who_cannot_join_is_told() {
    let config = RoomsConfig {
        max_rooms: 1,
        ..RoomsConfig::default().max_participants(1)
    };
    let mut hall = Hall::new(config);
    hall.join("x");
    let mut refused = |path: &str| {
        let socket = hall.open(path, "");
        let close = std::iter::from_fn(|| hall.rooms.poll_socket())
            .find(|o| matches!(o, SocketOutput::Close(s, ..) if *s == socket));
        match close {
            Some(SocketOutput::Close(_, code, why)) => (code, why),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused("/room/a b/ws").0, 1008);
    assert_eq!(refused("/room//ws").0, 1008);
    assert!(refused("/room/x/ws").1.contains("full"));
    assert!(refused("/room/z/ws").1.contains("too many rooms"));
    assert_eq!(hall.rooms.stats().refused, 4);
    let long = Some(format!("{}\u{7}{}", "é".repeat(40), "b".repeat(40)));
    let name = hall.rooms.name(ParticipantId(7), long);
    assert_eq!(name, format!("{}{}", "é".repeat(40), "b".repeat(24)));
    assert_eq!(
        hall.rooms.name(ParticipantId(7), Some(" \n".into())),
        "Guest 7"
    );
    assert_eq!(Rooms::room_of("/websocket"), Some("lobby"));
}

#[test]
fn bad_messages_end_badly() {
    let mut hall = Hall::new(RoomsConfig::default());
    let [a, b, c] = [hall.join("x"), hall.join("y"), hall.join("z")];
    hall.pages[c].deaf = true;
    hall.say_text(a, "hello");
    hall.say(a, "wave", "");
    hall.step();
    assert_eq!(hall.pages[a].errors.len(), 1, "{:?}", hall.pages[a].errors);
    hall.say_text(a, &"x".repeat(65 * 1024));
    for _ in 0..300 {
        hall.say(b, "wave", "");
    }
    hall.say(c, "answer", r#"{"type":"answer","sdp":"v=0\r\n"}"#);
    hall.step();
    let codes = [a, b, c].map(|page| hall.pages[page].closed.clone().unwrap().0);
    assert_eq!(codes, [1009, 1008, 1008]);
}

/// Runs for some seconds and returns the number of bytes that the rooms sent in response to `say`, which is called with
/// the time.
fn sent(
    hall: &mut Hall,
    begin: &mut Instant,
    seconds: u64,
    mut say: impl FnMut(&mut Hall, Instant),
) -> usize {
    let mut sent = 0;
    let start = *begin;
    *begin += Duration::from_secs(seconds);
    for ms in (0..seconds * 1000).step_by(20) {
        let now = start + Duration::from_millis(ms);
        say(hall, now);
        hall.rooms.handle_timeout(&mut hall.net, now);
        let output = std::iter::from_fn(|| hall.rooms.poll_socket());
        sent += output
            .map(|o| match o {
                SocketOutput::Send(_, text) => text.len(),
                SocketOutput::Close(_, _, why) => panic!("{why}"),
            })
            .sum::<usize>();
    }
    sent
}

/// Twenty participants that each send 45 states per second trigger lists only after changes, and batched.
#[test]
fn what_is_on_is_said_when_it_has_changed_and_gathered() {
    let config = RoomsConfig {
        answer_time: Duration::from_secs(3600),
        ..RoomsConfig::default()
    };
    let mut hall = Hall::new(config);
    let all: Vec<usize> = (0..20).map(|_| hall.join("x")).collect();
    let clock = &mut Instant::now();
    sent(&mut hall, clock, 10, |_, _| {});
    let say = |hall: &mut Hall, now: Instant, camera: bool| {
        let state = json!({ "camera": camera, "microphone": true, "screen": false }).to_string();
        let text = json!({ "event": "state", "data": state }).to_string();
        for page in &all {
            let socket = hall.pages[*page].socket;
            let rooms = &mut hall.rooms;
            rooms.socket_message(&mut hall.net, socket, &text, now);
        }
        all.len() * text.len()
    };
    let mut came = 0;
    let same = sent(&mut hall, clock, 6, |hall, now| {
        came += say(hall, now, true)
    });
    assert_eq!(same, 0, "of {came} bytes that change nothing");
    let mut on = false;
    let changed = sent(&mut hall, clock, 6, |hall, now| {
        on = !on;
        say(hall, now, on);
    });
    assert!((1..2 * came).contains(&changed), "{came} in, {changed} out");
    // The last state reaches everybody in the end.
    let text = r#"{"event":"state","data":"{\"camera\":false}"}"#;
    let socket = hall.pages[all[3]].socket;
    hall.rooms
        .socket_message(&mut hall.net, socket, text, *clock);
    let list = hall.rooms.members("x");
    assert!(list.contains(r#"\"camera\":false"#), "{list}");
    let last = sent(&mut hall, clock, 2, |_, _| {});
    assert_eq!(last, all.len() * list.len());
}

/// Offers cost much more than the requests for them.
#[test]
fn offers_are_gathered() {
    let mut hall = Hall::new(RoomsConfig::default());
    let [a, b] = [hall.join("x"), hall.join("x")];
    hall.until("two in a room", |h| h.is_full(&[a, b], 1));
    let before = hall.pages[a].offers;
    let end = Instant::now() + Duration::from_secs(2);
    let mut asked = 0;
    while Instant::now() < end {
        hall.say(a, "renegotiate", "");
        asked += 1;
        hall.step();
        std::thread::sleep(Duration::from_millis(20));
    }
    let offers = hall.pages[a].offers - before;
    assert!(offers <= 30 && asked >= 60, "{offers} offers for {asked}");
    hall.until("a last one", |h| h.pages[a].offers > before + offers);
}

#[test]
fn an_offer_without_an_answer_is_not_waited_for() {
    let config = RoomsConfig {
        answer_time: Duration::from_millis(300),
        ..RoomsConfig::default()
    };
    let mut hall = Hall::new(config);
    let a = hall.join("x");
    hall.pages[a].deaf = true;
    hall.until("it is sent away", |h| h.pages[a].closed.is_some());
    assert_eq!(hall.rooms.list().count(), 0);
    assert_eq!(hall.rooms.next_deadline(), None);
}

/// S3: one client cannot use up all peers, whether it keeps its sockets open or not.
#[test]
fn one_client_has_so_many_participants_and_rooms() {
    let config = RoomsConfig::default()
        .max_per_client(3)
        .max_rooms_per_client(2)
        .joins_per_second(1);
    let mut hall = Hall::new(config);
    let closed = |hall: &mut Hall, socket: WebSocketId| {
        let out: Vec<_> = std::iter::from_fn(|| hall.rooms.poll_socket()).collect();
        out.into_iter().find_map(|output| match output {
            SocketOutput::Close(of, 1013, why) if of == socket => Some(why),
            _ => None,
        })
    };
    let first = hall.open_from("/room/a/ws", [192, 0, 2, 1]);
    let second = hall.open_from("/room/b/ws", [192, 0, 2, 1]);
    assert_eq!(closed(&mut hall, first).or(closed(&mut hall, second)), None);
    let third = hall.open_from("/room/c/ws", [192, 0, 2, 1]);
    assert!(closed(&mut hall, third).unwrap().contains("many rooms"));
    let third = hall.open_from("/room/a/ws", [192, 0, 2, 1]);
    assert_eq!(closed(&mut hall, third), None);
    let fourth = hall.open_from("/room/a/ws", [192, 0, 2, 1]);
    assert!(
        closed(&mut hall, fourth)
            .unwrap()
            .contains("many participants")
    );
    let other = hall.open_from("/room/c/ws", [192, 0, 2, 2]);
    assert_eq!(closed(&mut hall, other), None);
    // A participant that was never connected has no grace period.
    let now = Instant::now();
    hall.rooms.socket_closed(&mut hall.net, third, now);
    assert_eq!(hall.rooms.clients.participants.total(), 3);
    // But joining is limited in rate.
    let again = hall.open_from("/room/a/ws", [192, 0, 2, 1]);
    assert!(closed(&mut hall, again).unwrap().contains("at once"));
}

/// Peers of WHIP and WHEP are not affected.
#[test]
fn rooms_do_not_use_up_all_peers() {
    let mut hall = Hall::new(RoomsConfig::default().max_peers(2));
    for (n, is_in) in [(1, true), (2, true), (3, false)] {
        hall.open_from("/room/a/ws", [192, 0, 2, n]);
        assert_eq!(hall.rooms.participants.len(), 2.min(usize::from(n)));
        assert_eq!(hall.rooms.stats().refused, u64::from(!is_in));
    }
}
