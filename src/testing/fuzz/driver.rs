//! Input that the event loop handles before it belongs to a peer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Bytes;
use crate::driver::demux::Demux;

/// Parses netlink messages about networks: all of them are read, whatever their lengths claim.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn netlink(data: &[u8]) {
    use crate::driver::network::netlink::concerns_us;
    let concerns = concerns_us(data);
    // A message that concerns us still does with more data after it.
    let longer = [data, &[0; 16]].concat();
    assert!(!concerns || concerns_us(&longer));
    assert!(!concerns_us(&[]));
}

/// Demultiplexes datagrams on a port shared by peers: each goes to its owner only, and to nobody once the owner is
/// gone.
pub fn demux(data: &[u8]) {
    const PEERS: usize = 4;
    let hold = Duration::from_secs(1);
    let mut bytes = Bytes(data);
    let mut now = Instant::now();
    let mut demux = Demux::new(hold, u32::MAX, now);
    let ufrag = |peer: usize| format!("uf{peer}");
    let address = |n: u8| SocketAddr::from(([10, 0, 0, 1], 5000 + u16::from(n & 3)));
    // The owner of each address, and when it was last heard from.
    let mut owners: HashMap<SocketAddr, (usize, Instant)> = HashMap::new();
    let mut is_there = [false; PEERS];
    while !bytes.is_empty() {
        let control = bytes.byte();
        let peer = usize::from(control >> 6);
        let from = address(control >> 4);
        match control & 7 {
            0 => {
                demux.add_ufrag(ufrag(peer), peer);
                is_there[peer] = true;
            }
            1 if is_there[peer] => {
                let owner = owners.get(&from);
                let is_free = owner.is_none_or(|(p, at)| *p == peer || now >= *at + hold);
                assert_eq!(demux.claim(0, from, peer, now), is_free);
                if is_free {
                    owners.insert(from, (peer, now));
                }
            }
            2 => {
                let mine = owners.iter().filter(|(_, o)| o.0 == peer);
                let mine: Vec<_> = mine.map(|(a, _)| (0, *a)).collect();
                demux.drop_peer(peer, &[ufrag(peer)], &mine);
                owners.retain(|_, o| o.0 != peer);
                is_there[peer] = false;
            }
            3 => now += Duration::from_millis(u64::from(bytes.byte()) * 10),
            4 => {
                let length = usize::from(bytes.byte());
                demux.note_sent(peer, from, bytes.take(length), now);
            }
            5 => {
                let name = format!("{}:x", ufrag(peer));
                let mut request = vec![0, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
                request.extend([control; 12]);
                request.extend([0, 6, 0, 5]);
                // Five bytes, padded to eight.
                request.extend(name.bytes());
                request.resize(32, 0);
                let found = demux.route(0, from, &request, now);
                assert_eq!(found, is_there[peer].then_some(peer));
                assert_eq!(demux.by_ufrag(&request), found);
            }
            _ => {
                let length = usize::from(bytes.byte());
                let datagram = bytes.take(length);
                let found = demux.route(0, from, datagram, now);
                if !matches!(datagram.first(), Some(0..=3)) {
                    assert_eq!(found, owners.get(&from).map(|o| o.0), "another's datagram");
                    if let Some(owner) = owners.get_mut(&from) {
                        owner.1 = now;
                    }
                }
                assert_eq!(demux.route(1, from, &[20], now), None, "another port");
            }
        }
    }
}
