//! Two connected peers whose DTLS and SRTP protect nothing (`crypto/open.rs`), so that input reaches the parsers above:
//! SCTP and DCEP, RTP with its header extensions and payloads, RTCP.

mod rtp;

use std::net::SocketAddr;

use crc::{CRC_32_ISCSI, Crc, Table};

pub use rtp::{depacketize, srtcp, srtp};

use super::{Bytes, run};
use crate::proto::media::Codec;
use crate::proto::media::jitter::JitterConfig;
use crate::proto::media::keyframe;
use crate::proto::peer::crypto::open;
use crate::proto::peer::{
    ChannelConfig, ChannelId, Codecs, ConnectionState, EncodedFrame, MediaKind, MediaMode,
    PeerConfig, PeerEvent, TransceiverConfig, TransceiverId,
};
use crate::testing::{Link, Node, Simulation, shared_certificate};

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Delay from one side to the other, in milliseconds.
const DELAY: u64 = 1;

/// Two connected peers. Forged packets go from `a` to `b`.
struct Inside {
    sim: Simulation,
    a: Node,
    b: Node,
    channel: ChannelId,
    tracks: Vec<TransceiverId>,
    /// Datagrams that `a` has sent: SCTP packets and RTP packets.
    sctp: Vec<Vec<u8>>,
    rtp: Vec<Vec<u8>>,
    /// The next TSN of a DATA chunk, and the latest one acknowledged by `b`.
    tsn: u32,
    /// Number of bytes of media and messages delivered by `b`, and of forged data.
    received: usize,
    forged: usize,
    /// Number of bytes that `a` has sent itself.
    honest: usize,
}

impl Inside {
    fn new(config: PeerConfig, kinds: &[MediaKind]) -> Self {
        let mut sim = Simulation::new(5, Link::default().delay(DELAY, 0));
        sim.signaling_ms = 1;
        let other = config.clone();
        // Created now, while a crypto provider that can create one is active.
        let _ = shared_certificate();
        let (a, b) = open::wanted(|| sim.pair_with(config, other));
        sim.record();
        let channel = sim
            .with(a, |p, now| {
                p.create_data_channel(ChannelConfig::new("data"), now)
            })
            .expect("a channel");
        let tracks = kinds.iter().map(|kind| {
            sim.with(a, |p, now| {
                p.add_track(*kind, TransceiverConfig::default(), now)
            })
            .expect("a track")
        });
        let tracks = tracks.collect();
        let up = sim.run_until(3_000, |sim| {
            [a, b].map(|n| sim.peer(n).connection_state()) == [ConnectionState::Connected; 2]
        });
        assert!(up, "they do not connect: {:?}", sim.peer(a));
        let mut inside = Self {
            sim,
            a,
            b,
            channel,
            tracks,
            sctp: Vec::new(),
            rtp: Vec::new(),
            tsn: 0,
            received: 0,
            forged: 0,
            honest: 0,
        };
        run(&mut inside.sim, 20);
        inside.listen();
        inside
    }

    fn address(&self) -> SocketAddr {
        self.sim.address(self.a)
    }

    /// Records sent packets, and counts delivered data.
    fn listen(&mut self) {
        let from = self.address();
        for sent in self.sim.recorded() {
            if sent.source != from {
                continue;
            }
            match sent.contents.split_first() {
                Some((&open::DATA, packet)) => {
                    for chunk in chunks(packet) {
                        if let [0, _, _, _, tsn @ ..] = chunk
                            && let Some(tsn) = tsn.first_chunk()
                        {
                            self.tsn = u32::from_be_bytes(*tsn).wrapping_add(1);
                        }
                    }
                    self.sctp.push(packet.to_vec());
                }
                // RTP, not RTCP (RFC 5761 §4).
                Some((128..=191, rest)) if !matches!(rest.first(), Some(192..=223)) => {
                    self.rtp.push(sent.contents);
                }
                _ => {}
            }
        }
        let first = self.sctp.len().saturating_sub(20);
        self.sctp.drain(..first);
        let first = self.rtp.len().saturating_sub(20);
        self.rtp.drain(..first);
        while self.sim.next_event(self.a).is_some() {}
        while let Some(event) = self.sim.next_event(self.b) {
            match event {
                PeerEvent::ChannelMessage { message, .. } => {
                    self.received += message.as_bytes().len();
                }
                PeerEvent::Frame(frame) => {
                    self.received += frame.data.len();
                    let _ = keyframe::dimensions(frame.codec, &frame.data);
                }
                PeerEvent::Packet(packet) => self.received += packet.payload.len(),
                _ => {}
            }
        }
    }

    fn forge(&mut self, datagram: Vec<u8>) {
        self.forged += datagram.len();
        let (from, to) = (self.address(), self.b);
        self.sim.forge(from, to, datagram);
        run(&mut self.sim, 0);
    }

    /// Sends an SCTP packet with these chunks, as `a` would.
    fn forge_sctp(&mut self, chunks: &[u8], tag: Option<u32>) {
        let Some(header) = self.sctp.last().and_then(|p| p.first_chunk::<8>()) else {
            return;
        };
        let mut packet = header.to_vec();
        if let Some(tag) = tag {
            packet[4..8].copy_from_slice(&tag.to_be_bytes());
        }
        packet.extend([0; 4]);
        packet.extend(chunks);
        self.forge_summed(packet);
    }

    /// Sends the packet with the right checksum.
    fn forge_summed(&mut self, mut packet: Vec<u8>) {
        if let Some(sum) = packet.get_mut(8..12) {
            sum.fill(0);
            let sum = CRC32C.checksum(&packet).to_le_bytes();
            packet[8..12].copy_from_slice(&sum);
        }
        packet.insert(0, open::DATA);
        self.forge(packet);
    }

    /// Runs until the connection has settled or closed, then closes it and checks that nothing is left to do.
    fn end(mut self) {
        // As long as video waits for missing packets; each simulated second takes time.
        for _ in 0..2 {
            run(&mut self.sim, 1_000);
            self.listen();
        }
        // Delivered data was received (Annex B start codes are longer than the lengths they replace).
        assert!(
            self.received <= 8 * self.forged + self.honest + 200_000,
            "{} bytes came of {}",
            self.received,
            self.forged
        );
        for node in [self.a, self.b] {
            self.sim.with(node, |p, now| p.close(now));
        }
        run(&mut self.sim, 20_000);
        for node in [self.a, self.b] {
            let stats = self.sim.peer(node).stats();
            assert_eq!((stats.channels, stats.buffered_amount), (0, 0), "closed");
        }
        let steps = self.sim.steps();
        run(&mut self.sim, 60_000);
        assert_eq!(self.sim.steps(), steps, "closed, and it goes on");
    }
}

/// Iterates over the chunks of an SCTP packet, as far as they can be separated.
fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [_, _, a, b, ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*a, *b])).max(4);
        let chunk = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

/// Appends a chunk; `lie` replaces its true length.
fn put_chunk(out: &mut Vec<u8>, kind: u8, flags: u8, body: &[u8], lie: Option<u16>) {
    let length = lie.unwrap_or(4 + body.len() as u16);
    out.extend([kind, flags]);
    out.extend(length.to_be_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Returns a DATA chunk (RFC 9260 §3.3.1).
fn data(tsn: u32, stream: u16, number: u16, protocol: u32, contents: &[u8]) -> Vec<u8> {
    let mut body = tsn.to_be_bytes().to_vec();
    body.extend(stream.to_be_bytes());
    body.extend(number.to_be_bytes());
    body.extend(protocol.to_be_bytes());
    body.extend(contents);
    body
}

/// SCTP packets in an established association: chunks of every kind, valid or damaged, among regular traffic.
pub fn sctp(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut inside = Inside::new(PeerConfig::default(), &[]);
    while !bytes.is_empty() {
        let control = bytes.byte();
        let (a, channel) = (inside.a, inside.channel);
        match control & 7 {
            0 => {
                let message = vec![b'x'; usize::from(bytes.byte()) * 8];
                inside.honest += message.len();
                let _ = inside
                    .sim
                    .with(a, |p, now| p.send_binary(channel, &message, now));
            }
            1 => run(&mut inside.sim, u64::from(bytes.byte()) << (control >> 5)),
            2 => {
                let index = usize::from(bytes.byte()) % inside.sctp.len().max(1);
                let mut packet = inside.sctp.get(index).cloned().unwrap_or_default();
                for _ in 0..=control >> 6 {
                    let at = usize::from(bytes.byte());
                    match packet.get_mut(at) {
                        Some(byte) => *byte ^= bytes.byte(),
                        None => packet.truncate(at / 2),
                    }
                }
                inside.forge_summed(packet);
            }
            3 if control == 0xFB => {
                let b = inside.b;
                inside.sim.with(b, |p, now| p.close(now));
            }
            _ => {
                let mut chunks = Vec::new();
                for _ in 0..=control >> 6 {
                    any_chunk(&mut chunks, inside.tsn, &mut bytes);
                }
                let tag = match control & 0x38 {
                    0x08 => Some(0),
                    0x10 => Some(u32::from(bytes.word())),
                    _ => None,
                };
                inside.forge_sctp(&chunks, tag);
            }
        }
        inside.listen();
    }
    inside.end();
}

fn any_chunk(out: &mut Vec<u8>, tsn: u32, bytes: &mut Bytes<'_>) {
    // DATA, INIT, INIT ACK, SACK, HEARTBEAT, HEARTBEAT ACK, ABORT, SHUTDOWN, SHUTDOWN ACK, ERROR, COOKIE ECHO,
    // COOKIE ACK, SHUTDOWN COMPLETE, I-DATA, RE-CONFIG, FORWARD TSN, I-FORWARD TSN, AUTH.
    const KINDS: [u8; 18] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 192, 194, 15,
    ];
    let kind = match bytes.byte() {
        255 => bytes.byte(),
        n => KINDS[usize::from(n) % KINDS.len()],
    };
    let flags = bytes.byte();
    let shape = bytes.byte();
    // Close to the expected TSN.
    let near = tsn.wrapping_add_signed(i32::from(bytes.byte() as i8));
    let length = usize::from(bytes.byte());
    let rest = bytes.take(length);
    let mut body = match kind {
        0 if shape & 1 == 0 => {
            let protocol = [50, 51, 53, 56, 57, 52, 54, 0][usize::from(shape >> 5)];
            data(near, u16::from(shape >> 1 & 3), 0, protocol, rest)
        }
        3 | 7 | 192 | 194 if shape & 1 == 0 => [&near.to_be_bytes()[..], rest].concat(),
        _ => rest.to_vec(),
    };
    if shape & 0x1E == 0x1E {
        body.resize(body.len() + 400, shape);
    }
    let lie = (shape & 0x1F == 0x1F).then(|| bytes.word());
    put_chunk(out, kind, flags, &body, lie);
}

/// DCEP messages (RFC 8832), and data on the streams they open: the number of open channels is within the limits.
pub fn dcep(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut config = PeerConfig::default();
    config.limits.max_channels = 8;
    config.limits.max_label_size = 40;
    let limits = config.limits.clone();
    let mut inside = Inside::new(config, &[]);
    let (mut tsn, mut numbers) = (inside.tsn, [0u16; 256]);
    while !bytes.is_empty() {
        let control = bytes.byte();
        if control & 7 == 7 {
            run(&mut inside.sim, u64::from(bytes.byte()) * 4);
            continue;
        }
        let stream = bytes.byte();
        let mut contents = Vec::new();
        let mut protocol = 50;
        match control & 7 {
            // DATA_CHANNEL_OPEN, valid or with false lengths.
            0..3 => {
                let (kind, reliability) = (bytes.byte(), bytes.word());
                let (label, name) = (bytes.byte() % 64, bytes.byte() % 16);
                let lie = u16::from(control >> 3 & 3);
                contents.extend([3, kind, 1, 0, 0, 0]);
                contents.extend(reliability.to_be_bytes());
                contents.extend((u16::from(label) + lie).to_be_bytes());
                contents.extend((u16::from(name) * (1 + 1000 * (lie / 3))).to_be_bytes());
                contents.extend(bytes.take(usize::from(label)));
                contents.extend(bytes.take(usize::from(name)));
            }
            3 => contents.push(2),
            4 => {
                let length = usize::from(bytes.byte());
                contents.extend(bytes.take(length));
            }
            _ => {
                protocol = [51, 53, 56, 57][usize::from(control >> 3 & 3)];
                let length = usize::from(bytes.byte());
                contents.extend(bytes.take(length));
            }
        }
        let number = &mut numbers[usize::from(stream)];
        let body = data(tsn, u16::from(stream), *number, protocol, &contents);
        *number = number.wrapping_add(1);
        tsn = tsn.wrapping_add(1);
        let mut chunk = Vec::new();
        put_chunk(&mut chunk, 0, 3, &body, None);
        inside.forge_sctp(&chunk, None);
        let peer = inside.sim.peer(inside.b);
        assert!(peer.stats().channels <= limits.max_channels);
        inside.listen();
    }
    inside.end();
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use super::*;

    /// Fragments of messages without an end, each of which is not too large by itself.
    #[test]
    fn what_is_put_together_is_held_up_to_the_window() {
        let mut inside = Inside::new(PeerConfig::default(), &[]);
        let (first, from) = (inside.tsn, inside.sim.address(inside.b));
        // The remote peer would abort because of acknowledgements of data it has not sent.
        inside.sim.set_filter(move |sent| sent.source != from);
        let (mut taken, mut least) = (0, u32::MAX);
        for n in 0..3_000 {
            let mut chunk = Vec::new();
            let (stream, begins) = (9 + n / 200, u8::from(n % 200 == 0) << 1);
            let body = data(first.wrapping_add(n), stream as u16, 0, 53, &[b'x'; 1_000]);
            put_chunk(&mut chunk, 0, begins, &body, None);
            inside.forge_sctp(&chunk, None);
            run(&mut inside.sim, 1);
            let sent = inside.sim.recorded().into_iter();
            let sent = sent.filter(|t| t.source == from && t.contents[0] == open::DATA);
            for sent in sent {
                // SACK: the cumulative TSN, and the receive window.
                for chunk in chunks(&sent.contents[1..]).filter(|chunk| chunk[0] == 3) {
                    let word = |at| u32::from_be_bytes(chunk[at..at + 4].try_into().unwrap());
                    taken = word(4).wrapping_sub(first).wrapping_add(1);
                    least = least.min(word(8));
                }
            }
        }
        assert!((1_000..=1_048).contains(&taken), "{taken} thousand bytes");
        assert!(least < 2_000, "{least}");
        inside.sim.set_filter(|_| true);
        inside.end();
    }
}
