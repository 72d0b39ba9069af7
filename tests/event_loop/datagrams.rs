//! UDP sockets of the application on the loop.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use looprtc::driver::{Datagram, EventLoop, LoopConfig, LoopError, UdpConfig};

use super::Pair;

const HERE: &str = "127.0.0.1:0";

fn here() -> SocketAddr {
    HERE.parse().unwrap()
}

/// Waits for the next datagram.
fn next(net: &mut EventLoop) -> Datagram {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(datagram) = net.poll_datagram() {
            return datagram;
        }
        net.next_event(Some(Duration::from_millis(200))).unwrap();
    }
    panic!("no datagram came");
}

#[test]
fn pairs_are_even_and_odd_and_free() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let ip: IpAddr = Ipv4Addr::LOCALHOST.into();
    let mut seen = Vec::new();
    // A range that a pair of somebody else's may be in, with an odd end on each side.
    let range = 47_001..=47_030;
    while let Ok((even, odd)) = net.add_udp_pair(ip, range.clone()) {
        let [rtp, rtcp] = [even, odd].map(|id| net.udp_address(id).unwrap().port());
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
        assert!(range.contains(&rtp) && range.contains(&rtcp));
        assert!(!seen.contains(&rtp));
        seen.push(rtp);
    }
    assert!((10..=14).contains(&seen.len()), "{seen:?}");
    let none = net.add_udp_pair(ip, 47_001..=47_002);
    assert!(matches!(none, Err(LoopError::Io(..))), "{none:?}");
    let full = net.add_udp_pair(ip, range);
    assert!(matches!(full, Err(LoopError::Bind(..))), "{full:?}");
}

#[test]
fn in_and_out() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let [a, b] = [(); 2].map(|()| net.add_udp(here()).unwrap());
    let at = |net: &EventLoop, id| net.udp_address(id).unwrap();
    let (from, to) = (at(&net, a), at(&net, b));
    assert_ne!(from.port(), 0);
    // Many sizes at once are sent in batches, and arrive unchanged.
    let sizes = [0, 1, 1200, 1200, 1200, 600, 1200, 9000];
    for (n, size) in sizes.iter().enumerate() {
        net.send_datagram(a, to, vec![n as u8; *size]).unwrap();
    }
    for (n, size) in sizes.iter().enumerate() {
        let datagram = next(&mut net);
        assert_eq!((datagram.socket, datagram.source), (b, from));
        assert_eq!(datagram.destination, to);
        assert_eq!(datagram.contents, vec![n as u8; *size]);
    }
    assert_eq!(net.poll_datagram(), None);
    // Queued datagrams are sent although the socket is closed.
    net.send_datagram(a, to, *b"last").unwrap();
    net.close_udp(a);
    assert_eq!(next(&mut net).contents, b"last");
    assert_eq!(net.udp_address(a), None);
    let sent = net.send_datagram(a, to, *b"more");
    assert!(matches!(sent, Err(LoopError::NoSuchSocket)));
    net.close_udp(a);
    // Its slot is reused, its id is not.
    let c = net.add_udp(here()).unwrap();
    assert_ne!(a, c);
    assert_eq!(net.udp_address(a), None);
}

#[test]
fn what_cannot_be() {
    let mut config = LoopConfig::default();
    config.max_udp_sockets = 2;
    let mut net = EventLoop::new(config).unwrap();
    let id = net.add_udp(here()).unwrap();
    let taken = net.udp_address(id).unwrap();
    let error = net.add_udp(taken).unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    let six = "[::1]:9".parse().unwrap();
    assert!(net.send_datagram(id, six, *b"x").is_err());
    assert!(net.send_datagram(id, taken, vec![0; 65_508]).is_err());
    net.add_udp(here()).unwrap();
    let error = net.add_udp(here()).unwrap_err();
    assert!(error.to_string().contains("max_udp_sockets"), "{error}");
}

#[test]
fn what_nobody_takes_is_dropped_and_stops_nothing() {
    let mut config = LoopConfig::default();
    config.max_unread = 100_000;
    let mut net = EventLoop::new(config).unwrap();
    let id = net.add_udp(here()).unwrap();
    let to = net.udp_address(id).unwrap();
    let outside = UdpSocket::bind(HERE).unwrap();
    for _ in 0..300 {
        outside.send_to(&[0; 1000], to).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    while net.stats().unread_dropped < 200 {
        assert!(Instant::now() < end, "{:?}", net.stats());
        // It returns each time, and works each time.
        assert!(net.next_event(None).unwrap().is_none());
    }
    let waiting = std::iter::from_fn(|| net.poll_datagram()).count();
    assert!((90..=100).contains(&waiting), "{waiting}");
}

/// A flood to a socket of the application delays peers but does not stop them.
#[test]
fn peers_go_on_beside_a_flood() {
    let mut pair = Pair::new();
    let id = pair.net.add_udp(here()).unwrap();
    let to = pair.net.udp_address(id).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = std::thread::spawn(move || {
        let outside = UdpSocket::bind(HERE).unwrap();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = outside.send_to(&[1; 500], to);
        }
    });
    // A busy machine may not have started it yet.
    while pair.net.poll_datagram().is_none() {
        pair.net.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    pair.connect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
    let mut got = HashMap::<usize, usize>::new();
    while let Some(datagram) = pair.net.poll_datagram() {
        *got.entry(datagram.contents.len()).or_default() += 1;
    }
    assert_eq!(got.len(), 1, "{got:?}");
}

#[test]
fn one_that_only_sends_is_not_woken() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let id = net.add_udp(UdpConfig::new(here()).send_only(true)).unwrap();
    let to = net.udp_address(id).unwrap();
    net.send_datagram(id, to, *b"to itself").unwrap();
    let start = Instant::now();
    let wait = Duration::from_millis(200);
    assert!(net.next_event(Some(wait)).unwrap().is_none());
    assert!(start.elapsed() >= wait);
    assert_eq!(net.poll_datagram(), None);
    assert_eq!(net.stats().datagrams_received, 0);
}

#[test]
fn multicast_on_this_machine() {
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    let interface = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    let group: SocketAddr = "239.77.3.9:0".parse().unwrap();
    let first = net
        .add_udp(UdpConfig::new(group).interface(interface))
        .unwrap();
    let group = net.udp_address(first).unwrap();
    // Two programs may listen.
    let second = net
        .add_udp(UdpConfig::new(group).interface(interface))
        .unwrap();
    let sender = UdpConfig::new(here())
        .interface(interface)
        .multicast_ttl(Some(1));
    let sender = net.add_udp(sender).unwrap();
    net.send_datagram(sender, group, *b"to all").unwrap();
    let mut heard = [next(&mut net), next(&mut net)].map(|d| (d.socket, d.contents));
    heard.sort();
    assert_eq!(heard, [first, second].map(|s| (s, b"to all".to_vec())));
    let six = Some("::1".parse().unwrap());
    assert!(net.add_udp(UdpConfig::new(group).interface(six)).is_err());
}
