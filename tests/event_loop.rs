//! The event loop over real sockets, both ends on this machine.

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LocalTrack, LocalTrackEvent, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceCandidateInit, KeyframeRequestKind, MediaKind,
    MediaMode, Message, PeerConfig, PeerEvent, Politeness, RtpPacket, TransceiverConfig,
};

#[path = "event_loop/connections.rs"]
mod connections;
#[path = "event_loop/datagrams.rs"]
mod datagrams;
#[path = "event_loop/ice_tcp.rs"]
mod ice_tcp;

/// Two peers in one loop, and their events.
struct Pair {
    net: EventLoop,
    a: PeerId,
    b: PeerId,
    log: Vec<(PeerId, PeerEvent)>,
}

impl Pair {
    fn new() -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let config = PeerConfig::default().include_loopback(true);
        let a = net.add_peer(config.clone().port(PortPolicy::Own)).unwrap();
        let b = net
            .add_peer(config.politeness(Politeness::Impolite))
            .unwrap();
        Self {
            net,
            a,
            b,
            log: Vec::new(),
        }
    }

    fn other(&self, id: PeerId) -> PeerId {
        if id == self.a { self.b } else { self.a }
    }

    /// Handles one event, including the signaling for it.
    fn step(&mut self, wait: Duration) -> Option<(PeerId, PeerEvent)> {
        let (id, event) = self.net.next_event(Some(wait)).unwrap()?;
        let other = self.other(id);
        match &event {
            PeerEvent::NegotiationNeeded => {
                let offer = self.net.peer(id).unwrap().negotiate().unwrap();
                let answer = self.net.peer(other).unwrap().receive(offer).unwrap();
                if let Some(answer) = answer {
                    self.net.peer(id).unwrap().receive(answer).unwrap();
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = IceCandidateInit::new(candidate.to_string());
                if let Ok(mut peer) = self.net.peer(other) {
                    peer.add_ice_candidate(Some(&init)).unwrap();
                }
            }
            _ => {}
        }
        self.log.push((id, event.clone()));
        Some((id, event))
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self, PeerId, &PeerEvent) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some((id, event)) = self.step(Duration::from_millis(200))
                && done(self, id, &event)
            {
                return;
            }
        }
        panic!("{what} did not come; seen: {:?}", self.log);
    }

    fn connect(&mut self) -> (ChannelId, ChannelId) {
        let a = self.a;
        let ours = self
            .net
            .peer(a)
            .unwrap()
            .create_data_channel(ChannelConfig::new("data"))
            .unwrap();
        let (mut at_a, mut at_b) = (false, None);
        self.until("open channels", |_, id, event| {
            match event {
                PeerEvent::ChannelOpen(_) if id == a => at_a = true,
                PeerEvent::ChannelOpen(channel) => at_b = Some(*channel),
                _ => {}
            }
            at_a && at_b.is_some()
        });
        (ours, at_b.unwrap())
    }
}

#[test]
fn two_peers_of_one_loop_talk() {
    let mut pair = Pair::new();
    let (ca, _) = pair.connect();
    let big = vec![7u8; 256 * 1024];
    pair.net
        .peer(pair.a)
        .unwrap()
        .send_text(ca, "hello")
        .unwrap();
    pair.net
        .peer(pair.a)
        .unwrap()
        .send_binary(ca, &big)
        .unwrap();
    let mut seen = Vec::new();
    pair.until("two messages", |_, _, event| {
        if let PeerEvent::ChannelMessage { message, .. } = event {
            seen.push(message.clone());
        }
        seen.len() == 2
    });
    assert_eq!(seen, [Message::Text("hello".into()), Message::Binary(big)]);
    let b = pair.b;
    pair.net.peer(pair.a).unwrap().close();
    pair.until("the other side to close", |_, id, event| {
        id == b && *event == PeerEvent::ConnectionStateChange(ConnectionState::Closed)
    });
    assert!(pair.net.peer_ids().is_empty());
}

/// A loop on a thread of its own that answers offers, echoes messages, and exits on request.
mod echo {
    use super::*;
    use looprtc::driver::LoopHandle;
    use looprtc::proto::peer::SessionDescription;
    use std::sync::mpsc;
    use std::thread::JoinHandle;

    pub struct Echo {
        pub handle: LoopHandle,
        pub bytes: mpsc::Receiver<usize>,
        thread: Option<JoinHandle<()>>,
        stop: mpsc::Sender<()>,
    }

    impl Echo {
        pub fn start(config: PeerConfig) -> Self {
            let (ready, handle) = mpsc::channel();
            let (stop, stopped) = mpsc::channel();
            let (count, bytes) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                let mut net = EventLoop::new(LoopConfig::default()).unwrap();
                ready.send(net.handle()).unwrap();
                let _ = config;
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    let Some((id, event)) = net.next_event(None).unwrap() else {
                        continue;
                    };
                    if let PeerEvent::ChannelMessage { channel, message } = event {
                        let _ = count.send(message.as_bytes().len());
                        if let (Ok(mut peer), Message::Text(text)) = (net.peer(id), message) {
                            peer.send_text(channel, &text).unwrap();
                        }
                    }
                }
                net.shutdown(Duration::from_secs(2)).unwrap();
            });
            Self {
                handle: handle.recv().unwrap(),
                bytes,
                thread: Some(thread),
                stop,
            }
        }

        /// Makes the loop answer this offer with a new peer; the answer contains all candidates.
        pub fn answer(&self, config: PeerConfig, offer: SessionDescription) -> SessionDescription {
            let (send, answer) = mpsc::channel();
            self.handle
                .post(move |net| {
                    let id = net.add_peer(config).unwrap();
                    net.peer(id).unwrap().receive(offer).unwrap();
                    // The socket is opened when the peer is polled; after that, all candidates are known.
                    net.run_once(Some(Duration::ZERO)).unwrap();
                    let answer = net.peer(id).unwrap().local_description().unwrap();
                    send.send(answer).unwrap();
                })
                .unwrap();
            answer.recv_timeout(Duration::from_secs(5)).unwrap()
        }
    }

    impl Drop for Echo {
        fn drop(&mut self) {
            let _ = self.stop.send(());
            self.handle.wake();
            self.thread.take().unwrap().join().unwrap();
        }
    }
}

fn loopback() -> PeerConfig {
    let mut config = PeerConfig::default().include_loopback(true);
    config.gather.filter.interfaces = vec!["lo".into()];
    config
}

/// Creates a peer that offers a channel "data" to the other loop, with all candidates in the descriptions.
fn dial(
    net: &mut EventLoop,
    config: PeerConfig,
    echo: &echo::Echo,
    answerer: PeerConfig,
) -> (PeerId, ChannelId) {
    let id = net.add_peer(config).unwrap();
    let mut peer = net.peer(id).unwrap();
    let channel = peer
        .create_data_channel(ChannelConfig::new("data"))
        .unwrap();
    peer.negotiate().unwrap();
    net.run_once(Some(Duration::ZERO)).unwrap();
    let offer = net.peer(id).unwrap().local_description().unwrap();
    assert!(offer.sdp.contains("a=end-of-candidates"), "{}", offer.sdp);
    let answer = echo.answer(answerer, offer);
    net.peer(id).unwrap().receive(answer).unwrap();
    (id, channel)
}

/// Polls events until this many satisfy the condition.
fn wait_for(net: &mut EventLoop, count: usize, mut is: impl FnMut(PeerId, &PeerEvent) -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut seen = 0;
    let mut last = Vec::new();
    while seen < count {
        assert!(
            Instant::now() < end,
            "{seen} of {count}; last events: {last:?}"
        );
        if let Some((id, event)) = net.next_event(Some(Duration::from_millis(200))).unwrap() {
            seen += usize::from(is(id, &event));
            last.push((id, event));
            if last.len() > 20 {
                last.remove(0);
            }
        }
    }
}

#[test]
fn many_peers_share_one_port() {
    const PEERS: usize = 30;
    let echo = echo::Echo::start(loopback());
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let mut channels = Vec::new();
    for _ in 0..PEERS {
        channels.push(dial(
            &mut net,
            loopback(),
            &echo,
            loopback().port(PortPolicy::Own),
        ));
    }
    wait_for(&mut net, PEERS, |_, e| {
        matches!(e, PeerEvent::ChannelOpen(_))
    });
    let mut ports: Vec<u16> = channels
        .iter()
        .map(|(id, _)| net.peer(*id).unwrap().stats().path.unwrap().0.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() <= 2, "one port a family, not {ports:?}");
    for (index, (id, channel)) in channels.iter().enumerate() {
        let text = format!("peer {index}");
        net.peer(*id).unwrap().send_text(*channel, &text).unwrap();
    }
    let mut answers = std::collections::HashMap::new();
    wait_for(&mut net, PEERS, |id, e| match e {
        PeerEvent::ChannelMessage {
            message: Message::Text(text),
            ..
        } => {
            answers.insert(id, text.clone());
            true
        }
        _ => false,
    });
    for (index, (id, _)) in channels.iter().enumerate() {
        assert_eq!(answers[id], format!("peer {index}"));
    }
    assert_eq!(net.stats().address_conflicts, 0);
}

#[test]
fn a_remote_address_has_one_peer() {
    // Both sides on shared ports: the second pair has the addresses of the first.
    let echo = echo::Echo::start(loopback());
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let (first, channel) = dial(&mut net, loopback(), &echo, loopback());
    wait_for(&mut net, 1, |_, e| matches!(e, PeerEvent::ChannelOpen(_)));
    let (second, _) = dial(&mut net, loopback(), &echo, loopback());
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        net.peer(first)
            .unwrap()
            .send_text(channel, "still here")
            .unwrap();
        wait_for(&mut net, 1, |id, e| {
            id == first && matches!(e, PeerEvent::ChannelMessage { .. })
        });
    }
    assert!(net.stats().address_conflicts > 0);
    assert_ne!(
        net.peer(second).unwrap().connection_state(),
        ConnectionState::Connected
    );
}

#[test]
fn a_third_address_reaches_nothing() {
    let echo = echo::Echo::start(loopback());
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let forger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (id, channel) = dial(&mut net, loopback(), &echo, loopback());
    let ours: Vec<std::net::SocketAddr> = net
        .peer(id)
        .unwrap()
        .local_description()
        .unwrap()
        .sdp
        .lines()
        .filter_map(|l| {
            let fields: Vec<&str> = l.strip_prefix("a=candidate:")?.split(' ').collect();
            format!("{}:{}", fields[4], fields[5]).parse().ok()
        })
        .collect();
    let target = *ours.iter().find(|a| a.is_ipv4()).unwrap();
    // A ClientHello, an SRTP packet, an application record without SCTP, and junk, in the middle of the handshake and
    // of the session.
    let hello = include_bytes!("data/client_hello.bin");
    let attack = |count: usize| {
        for _ in 0..count {
            forger.send_to(hello, target).unwrap();
            forger
                .send_to(&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9], target)
                .unwrap();
            forger
                .send_to(&[23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 1, 1], target)
                .unwrap();
            forger.send_to(b"junk", target).unwrap();
        }
    };
    attack(20);
    let mut states = 0;
    wait_for(&mut net, 1, |_, e| {
        states += 1;
        if states % 3 == 0 {
            attack(2);
        }
        matches!(e, PeerEvent::ChannelOpen(_))
    });
    for _ in 0..20 {
        attack(5);
        net.peer(id).unwrap().send_text(channel, "hello").unwrap();
        wait_for(&mut net, 1, |_, e| {
            matches!(e, PeerEvent::ChannelMessage { .. })
        });
    }
    assert!(net.stats().unroutable >= 4 * 100, "{:?}", net.stats());
    assert_eq!(
        net.peer(id).unwrap().connection_state(),
        ConnectionState::Connected
    );
    // With a port of its own, datagrams are not demultiplexed before they reach the peer: the peer's gate holds.
    let (own, channel) = dial(
        &mut net,
        loopback().port(PortPolicy::Own),
        &echo,
        loopback(),
    );
    wait_for(&mut net, 1, |id, e| {
        id == own && matches!(e, PeerEvent::ChannelOpen(_))
    });
    let path = net.peer(own).unwrap().stats().path.unwrap();
    for _ in 0..50 {
        for bytes in [&hello[..], b"\x80junk-that-looks-like-rtp"] {
            match path.0 {
                std::net::SocketAddr::V4(_) => drop(forger.send_to(bytes, path.0).unwrap()),
                std::net::SocketAddr::V6(_) => {
                    let six = std::net::UdpSocket::bind("[::1]:0").unwrap();
                    six.send_to(bytes, path.0).unwrap();
                }
            }
        }
    }
    net.peer(own).unwrap().send_text(channel, "hello").unwrap();
    wait_for(&mut net, 1, |id, e| {
        id == own && matches!(e, PeerEvent::ChannelMessage { .. })
    });
    assert_eq!(net.peer(own).unwrap().stats().unvalidated_dropped, 100);
}

#[test]
fn a_shutdown_sends_what_is_queued() {
    let echo = echo::Echo::start(loopback());
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let (id, channel) = dial(&mut net, loopback(), &echo, loopback());
    wait_for(&mut net, 1, |_, e| matches!(e, PeerEvent::ChannelOpen(_)));
    let chunk = vec![1u8; 100_000];
    for _ in 0..20 {
        net.peer(id).unwrap().send_binary(channel, &chunk).unwrap();
    }
    net.shutdown(Duration::from_secs(10)).unwrap();
    let mut received = 0;
    while received < 2_000_000 {
        received += echo.bytes.recv_timeout(Duration::from_secs(5)).unwrap();
    }
    let closed = std::iter::from_fn(|| net.poll_event())
        .any(|(i, e)| i == id && e == PeerEvent::ConnectionStateChange(ConnectionState::Closed));
    assert!(closed && net.peer_ids().is_empty());
}

#[test]
fn other_threads_reach_the_loop() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let handle = net.handle();
    let thread = std::thread::spawn(move || {
        handle
            .post(|net| {
                net.add_peer(PeerConfig::default()).unwrap();
            })
            .unwrap();
        std::thread::sleep(Duration::from_millis(50));
        handle.wake();
        handle
    });
    // Waits forever, except for the wake.
    assert_eq!(net.next_event(None).unwrap(), None);
    assert_eq!(net.peer_ids().len(), 1);
    let handle = thread.join().unwrap();
    while handle.post(|_| {}).is_ok() {}
    assert_eq!(handle.post(|_| {}), Err(looprtc::driver::PostError::Full));
    net.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(handle.post(|_| {}), Ok(()));
    drop(net);
    assert_eq!(handle.post(|_| {}), Err(looprtc::driver::PostError::Closed));
}

#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_goes_takes_its_sockets_along() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let id = net.add_peer(loopback().port(PortPolicy::Own)).unwrap();
    let mut peer = net.peer(id).unwrap();
    peer.create_data_channel(ChannelConfig::new("data"))
        .unwrap();
    peer.negotiate().unwrap();
    let before = open();
    let mut most = 0;
    for _ in 0..50 {
        let id = net.add_peer(loopback().port(PortPolicy::Own)).unwrap();
        let mut peer = net.peer(id).unwrap();
        peer.create_data_channel(ChannelConfig::new("data"))
            .unwrap();
        peer.negotiate().unwrap();
        net.run_once(Some(Duration::ZERO)).unwrap();
        most = most.max(open());
        net.peer(id).unwrap().close();
        net.run_once(Some(Duration::ZERO)).unwrap();
        // It can be inspected until its last event was taken.
        assert!(net.peer(id).unwrap().is_closed());
        while net.poll_event().is_some() {}
        assert!(net.peer(id).is_err());
    }
    // Other tests of this process come and go; 50 peers with two sockets each would be noticed.
    assert!(
        most < before + 60 && open() < before + 60,
        "{before} {most} {}",
        open()
    );
}

#[test]
fn limits_and_names_are_kept() {
    let mut net = EventLoop::new(LoopConfig::default().max_peers(1)).unwrap();
    let id = net.add_peer(PeerConfig::default()).unwrap();
    let error = net.add_peer(PeerConfig::default()).unwrap_err();
    assert_eq!(error.to_string(), "max_peers of 1 reached");
    net.peer(id).unwrap().close();
    net.run_once(Some(Duration::ZERO)).unwrap();
    while net.poll_event().is_some() {}
    // The slot is reused, the id is not.
    let next = net.add_peer(PeerConfig::default()).unwrap();
    assert_ne!(id, next);
    assert!(net.peer(id).is_err());
}

#[cfg(unix)]
#[test]
fn the_loop_lives_inside_another() {
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};
    use std::os::fd::AsRawFd;

    let echo = echo::Echo::start(loopback());
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let (id, channel) = dial(&mut net, loopback(), &echo, loopback());
    let mut poll = Poll::new().unwrap();
    let fd = net.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), Token(0), Interest::READABLE)
        .unwrap();
    let mut events = Events::with_capacity(8);
    let end = Instant::now() + Duration::from_secs(20);
    let mut said = false;
    loop {
        assert!(Instant::now() < end);
        let wait = net.next_deadline().map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(Instant::now())
        });
        poll.poll(&mut events, Some(wait)).unwrap();
        net.run_once(Some(Duration::ZERO)).unwrap();
        while let Some((_, event)) = net.poll_event() {
            match event {
                PeerEvent::ChannelOpen(_) => {
                    net.peer(id)
                        .unwrap()
                        .send_text(channel, "embedded")
                        .unwrap();
                    said = true;
                }
                PeerEvent::ChannelMessage { message, .. } => {
                    assert!(said);
                    assert_eq!(message, Message::Text("embedded".into()));
                    return;
                }
                _ => {}
            }
        }
    }
}

/// One track for three peers in packet mode, one of which leaves.
#[test]
fn a_local_track_reaches_all_its_peers() {
    const PACKETS: u16 = 200;
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let config = PeerConfig::default()
        .include_loopback(true)
        .media_mode(MediaMode::Packets);
    let mut track = LocalTrack::new(MediaKind::Video, TransceiverConfig::default());
    // No two pairs of peers share addresses: the senders have ports of their own.
    let mut other = std::collections::HashMap::new();
    let mut viewers = Vec::new();
    for _ in 0..3 {
        let sender = net.add_peer(config.clone().port(PortPolicy::Own)).unwrap();
        let viewer = net.add_peer(config.clone()).unwrap();
        other.extend([(sender, viewer), (viewer, sender)]);
        viewers.push(viewer);
        track.add_to(&mut net, sender).unwrap();
    }
    let mut got = std::collections::HashMap::<PeerId, Vec<u64>>::new();
    let (mut sent, mut asked, mut closed) = (0, 0, false);
    let end = Instant::now() + Duration::from_secs(20);
    while got
        .values()
        .filter(|g| g.len() == usize::from(PACKETS))
        .count()
        < 2
    {
        assert!(Instant::now() < end, "{got:?}");
        if track.bound() == 3 || sent > 0 {
            if sent == PACKETS / 2 && !closed {
                net.peer(viewers[0]).unwrap().close();
                closed = true;
            }
            if sent < PACKETS {
                let packet = RtpPacket::new(1, sent, u32::from(sent) * 3000, vec![0x10; 500]);
                assert!(track.write_rtp(&mut net, &packet) >= 2);
                sent += 1;
            }
        }
        let Some((id, event)) = net.next_event(Some(Duration::from_millis(2))).unwrap() else {
            continue;
        };
        let news = track.handle_event(id, &event);
        asked += u32::from(matches!(news, Some(LocalTrackEvent::KeyframeRequest(_))));
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = net.peer(id).unwrap().negotiate().unwrap();
                let answer = net.peer(other[&id]).unwrap().receive(offer).unwrap();
                net.peer(id).unwrap().receive(answer.unwrap()).unwrap();
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let mut to = net.peer(other[&id]).unwrap();
                to.add_ice_candidate(Some(&candidate.to_init())).unwrap();
            }
            PeerEvent::Packet(packet) => {
                let numbers = got.entry(id).or_default();
                numbers.push(packet.sequence_number);
                if numbers.len() == 50 {
                    let mut viewer = net.peer(id).unwrap();
                    let kind = KeyframeRequestKind::Pli;
                    viewer
                        .request_keyframe(packet.transceiver, None, kind)
                        .unwrap();
                }
            }
            _ => {}
        }
    }
    assert!(got[&viewers[0]].len() < usize::from(PACKETS));
    assert_eq!(track.bound(), 2);
    assert_eq!(track.peers().count(), 2);
    assert!(asked >= 2);
    assert_eq!(net.peer_ids().len(), 4);
}

#[test]
fn names_in_place_of_addresses() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let mut config = PeerConfig::default().include_loopback(true);
    config.gather.hide_addresses = true;
    let a = net.add_peer(config.clone().port(PortPolicy::Own)).unwrap();
    let b = net
        .add_peer(config.politeness(Politeness::Impolite))
        .unwrap();
    let log = Vec::new();
    let mut pair = Pair { net, a, b, log };
    let channel = ChannelConfig::new("data");
    pair.net
        .peer(a)
        .unwrap()
        .create_data_channel(channel)
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let is_open = |log: &[(PeerId, PeerEvent)]| {
        let open = |id| {
            log.iter()
                .any(|(i, e)| *i == id && matches!(e, PeerEvent::ChannelOpen(_)))
        };
        open(a) && open(b)
    };
    while !is_open(&pair.log) {
        assert!(Instant::now() < end, "{:?}", pair.log);
        pair.step(Duration::from_millis(50));
    }
    let mut names = 0;
    for (_, event) in &pair.log {
        if let PeerEvent::IceCandidate(Some(candidate)) = event {
            assert_eq!(candidate.socket_addr(), None, "{candidate}");
            assert!(candidate.to_string().contains(".local "), "{candidate}");
            names += 1;
        }
    }
    assert!(names >= 2);
    let description = pair.net.peer(a).unwrap().local_description().unwrap();
    assert!(description.sdp.contains(".local ") && !description.sdp.contains("127.0.0.1 "));
}

/// Events caused by a call are returned at once, not after the time that the caller would wait.
#[test]
fn news_is_not_waited_for() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let id = net.add_peer(loopback()).unwrap();
    let mut peer = net.peer(id).unwrap();
    peer.create_data_channel(ChannelConfig::new("data"))
        .unwrap();
    peer.negotiate().unwrap();
    let begin = Instant::now();
    let mut events = 0;
    while events < 3 {
        events += usize::from(
            net.next_event(Some(Duration::from_secs(5)))
                .unwrap()
                .is_some(),
        );
    }
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}
