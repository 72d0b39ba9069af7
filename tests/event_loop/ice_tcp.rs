//! ICE over TCP (RFC 6544): two peers, and other clients of the port.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::proto::ice::framing::frame;
use looprtc::proto::ice::{IceCandidate, IceTcp};
use looprtc::proto::net::{PortPolicy, Protocol};
use looprtc::proto::peer::{
    ChannelConfig, IceCandidateInit, IceGatheringState, Message, PeerConfig, PeerEvent, PeerStats,
    Politeness,
};

use super::Pair;

/// The first connects to the second.
fn pair(a: IceTcp, b: IceTcp, config: LoopConfig) -> Pair {
    let mut net = EventLoop::new(config).unwrap();
    let over_tcp = PeerConfig::default().include_loopback(true).udp(false);
    let a = net.add_peer(over_tcp.clone().ice_tcp(a)).unwrap();
    let b = over_tcp.ice_tcp(b).politeness(Politeness::Impolite);
    let b = net.add_peer(b).unwrap();
    Pair {
        net,
        a,
        b,
        log: Vec::new(),
    }
}

fn is_message(event: &PeerEvent, text: &str) -> bool {
    matches!(event, PeerEvent::ChannelMessage { message: Message::Text(t), .. } if t == text)
}

/// Returns the passive candidates that a peer has announced.
fn passive(pair: &Pair) -> Vec<IceCandidate> {
    let events = pair.log.iter().filter(|(id, _)| *id == pair.b);
    let candidates = events.filter_map(|(_, event)| match event {
        PeerEvent::IceCandidate(Some(c)) if c.tcp_type.as_deref() == Some("passive") => Some(c),
        _ => None,
    });
    candidates.cloned().collect()
}

#[test]
fn two_peers_talk_over_tcp_alone() {
    for (a, b) in [
        (IceTcp::Active, IceTcp::Passive),
        (IceTcp::Passive, IceTcp::Active),
        (IceTcp::Both, IceTcp::Both),
    ] {
        let mut pair = pair(a, b, LoopConfig::default());
        let (channel, _) = pair.connect();
        let (a, b) = (pair.a, pair.b);
        let big = vec![7; 256 * 1024];
        let mut peer = pair.net.peer(a).unwrap();
        peer.send_binary(channel, &big).unwrap();
        peer.send_text(channel, "last").unwrap();
        pair.until("the last message", |_, id, e| {
            id == b && is_message(e, "last")
        });
        for id in [a, b] {
            let stats = pair.net.peer(id).unwrap().stats();
            assert_eq!(stats.path_protocol, Some(Protocol::IceTcp));
            assert_eq!(stats.unvalidated_dropped, 0);
        }
        let events = pair.log.iter().map(|(_, event)| event);
        let mut candidates = events.filter_map(|event| match event {
            PeerEvent::IceCandidate(Some(candidate)) => Some(candidate),
            _ => None,
        });
        assert!(candidates.all(|c| c.protocol == "tcp" && c.priority < 100 << 24));
        // And a new generation, on a new stream.
        pair.net.peer(b).unwrap().restart_ice().unwrap();
        pair.until("a new offer", |_, _, e| *e == PeerEvent::NegotiationNeeded);
        for n in 0..20 {
            let text = n.to_string();
            let mut peer = pair.net.peer(a).unwrap();
            peer.send_text(channel, &text).unwrap();
            pair.until("a message", |_, id, e| id == b && is_message(e, &text));
            std::thread::sleep(Duration::from_millis(20));
        }
        pair.net.peer(a).unwrap().close();
        pair.until("the other side to close", |pair, _, _| {
            pair.net.peer_ids().is_empty()
        });
    }
}

#[test]
fn udp_goes_before_tcp() {
    let mut pair = pair(IceTcp::Both, IceTcp::Both, LoopConfig::default());
    for id in [&mut pair.a, &mut pair.b] {
        pair.net.peer(*id).unwrap().close();
        let config = PeerConfig::default().include_loopback(true);
        // A port each, because they have the same address.
        let config = config.ice_tcp(IceTcp::Both).port(PortPolicy::Own);
        *id = pair.net.add_peer(config).unwrap();
    }
    let (a, b) = (pair.a, pair.b);
    let (channel, _) = pair.connect();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        pair.net.peer(a).unwrap().send_text(channel, "x").unwrap();
        pair.until("a message", |_, id, e| id == b && is_message(e, "x"));
        let stats = pair.net.peer(a).unwrap().stats();
        if stats.path_protocol == Some(Protocol::Udp) {
            break;
        }
        assert!(Instant::now() < end, "{stats:?}");
    }
}

/// Forwards bytes until its connections are cut.
#[derive(Clone, Default)]
struct Proxy(Arc<Mutex<Vec<TcpStream>>>);

impl Proxy {
    fn start(&self, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((to.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let ends = [stream.unwrap(), TcpStream::connect(to).unwrap()];
                let copies = ends.each_ref().map(|s| s.try_clone().unwrap());
                proxy.0.lock().unwrap().extend(copies);
                for (from, to) in [(0, 1), (1, 0)] {
                    let mut from = ends[from].try_clone().unwrap();
                    let mut to = ends[to].try_clone().unwrap();
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
        address
    }

    /// Returns how many were cut.
    fn cut(&self) -> usize {
        let streams = std::mem::take(&mut *self.0.lock().unwrap());
        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len() / 2
    }
}

#[test]
fn a_stream_that_dies_is_replaced() {
    let mut pair = pair(IceTcp::Active, IceTcp::Passive, LoopConfig::default());
    let (a, b) = (pair.a, pair.b);
    let mut peer = pair.net.peer(a).unwrap();
    let channel = peer
        .create_data_channel(ChannelConfig::new("data"))
        .unwrap();
    let offer = peer.negotiate().unwrap();
    let answer = pair.net.peer(b).unwrap().receive(offer).unwrap().unwrap();
    let proxy = Proxy::default();
    let end = Instant::now() + Duration::from_secs(20);
    let complete = (
        b,
        PeerEvent::IceGatheringStateChange(IceGatheringState::Complete),
    );
    while !pair.log.contains(&complete) {
        assert!(Instant::now() < end);
        let event = pair
            .net
            .next_event(Some(Duration::from_millis(100)))
            .unwrap();
        pair.log.extend(event);
    }
    let candidates = passive(&pair);
    let mut peer = pair.net.peer(a).unwrap();
    peer.receive(answer).unwrap();
    for mut candidate in candidates {
        candidate.port = proxy.start(candidate.socket_addr().unwrap()).port();
        let init = IceCandidateInit::new(candidate.to_string());
        peer.add_ice_candidate(Some(&init)).unwrap();
    }
    pair.until("an open channel", |_, id, e| {
        id == a && *e == PeerEvent::ChannelOpen(channel)
    });
    for n in 0..3 {
        let text = format!("message {n}");
        pair.net.peer(a).unwrap().send_text(channel, &text).unwrap();
        pair.until("a message", |_, id, e| id == b && is_message(e, &text));
        assert!(proxy.cut() > 0);
    }
    pair.net
        .peer(a)
        .unwrap()
        .send_text(channel, "last")
        .unwrap();
    pair.until("the last", |_, id, e| id == b && is_message(e, "last"));
}

/// Returns what happens to a client that sends this first. `None`: it is still connected after a second.
fn knock(net: &mut EventLoop, address: SocketAddr, first: &[u8]) -> Option<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(first).unwrap();
    stream.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let _ = net.next_event(Some(Duration::from_millis(5))).unwrap();
        match stream.read(&mut [0; 16]) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(n) if n > 0 => {}
            _ => return Some(begun.elapsed()),
        }
    }
    None
}

/// Returns a check for this ufrag, with a wrong password.
fn forged(ufrag: &str) -> Vec<u8> {
    let mut username = ufrag.as_bytes().to_vec();
    username.extend(b":theirs");
    let length = username.len() as u8;
    username.resize(username.len().next_multiple_of(4), 0);
    let mut message = vec![0, 1, 0, (4 + username.len() + 24) as u8];
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend([7; 12]);
    message.extend([0, 6, 0, length]);
    message.extend(username);
    message.extend([0, 8, 0, 20]);
    message.extend([0; 20]);
    frame(&message).unwrap()
}

#[test]
fn strangers_are_shown_out() {
    let mut config = LoopConfig::default();
    config.max_unvalidated_streams = 32;
    config.tcp_patience = Duration::from_millis(500);
    let mut pair = pair(IceTcp::Active, IceTcp::Passive, config);
    let (channel, _) = pair.connect();
    let (a, b) = (pair.a, pair.b);
    let candidates = passive(&pair);
    let address = candidates[0].socket_addr().unwrap();
    let ufrag = candidates[0].username_fragment.clone().unwrap();
    let net = &mut pair.net;
    for junk in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 8],
        b"\0\x04\x16\xfe\xfd\0",
    ] {
        assert!(knock(net, address, junk).unwrap() < Duration::from_millis(400));
    }
    assert!(knock(net, address, &forged("nobody")).unwrap() < Duration::from_millis(400));
    // A client that sends nothing, or cannot authenticate, has a time limit.
    assert!(knock(net, address, b"").unwrap() >= Duration::from_millis(400));
    let dtls = frame(&[22, 254, 253, 0, 0, 0]).unwrap();
    let before = net.peer(b).unwrap().stats();
    let late = knock(net, address, &[forged(&ufrag), dtls].concat());
    assert!(late.unwrap() >= Duration::from_millis(400));
    let after = net.peer(b).unwrap().stats();
    let dropped = |s: &PeerStats| s.stun_rejected + s.malformed_dropped;
    assert_eq!(dropped(&after), dropped(&before) + 1);
    assert_eq!(after.unvalidated_dropped, before.unvalidated_dropped + 1);
    // No address gets more than its share.
    let crowd: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let refused = net.stats().tcp_refused;
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let _ = net.next_event(Some(Duration::from_millis(5))).unwrap();
    }
    assert_eq!(net.stats().tcp_refused - refused, 16);
    drop(crowd);
    pair.net
        .peer(a)
        .unwrap()
        .send_text(channel, "still here")
        .unwrap();
    pair.until("a message", |_, id, e| {
        id == b && is_message(e, "still here")
    });
}
