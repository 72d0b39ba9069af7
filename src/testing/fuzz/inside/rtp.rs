//! RTP and RTCP of an established session.

use super::*;

/// Mask for the length of an RTP payload, in bytes.
const MAX_PAYLOAD: u16 = 0x7FF;

fn media_config(options: u8) -> PeerConfig {
    let mode = match options & 1 {
        0 => MediaMode::Frames,
        _ => MediaMode::Packets,
    };
    // One codec of each kind: most of the time is spent on descriptions.
    let codecs = Codecs::only([Codec::Vp8, Codec::Opus]);
    let mut config = PeerConfig::default().media_mode(mode).codecs(codecs);
    if options & 2 != 0 {
        config.jitter_buffer = Some(JitterConfig::new(90_000));
    }
    if options & 4 != 0 {
        config.bandwidth_estimation = Some(500_000);
    }
    config.rtcp_events = options & 8 != 0;
    if options & 16 != 0 {
        config.stats_interval = Some(std::time::Duration::from_millis(100));
    }
    if options & 32 != 0 {
        config.header_extensions = vec!["urn:x:y".into()];
    }
    config
}

/// Sends frames from `a`, so that there are packets to imitate.
fn send_frames(inside: &mut Inside, count: u64) {
    if inside.sim.peer(inside.a).connection_state() != ConnectionState::Connected {
        return;
    }
    for (index, track) in inside.tracks.clone().into_iter().enumerate() {
        for n in 0..count {
            let time = std::time::Duration::from_millis(inside.sim.elapsed_ms() + 20 * n);
            let data = match index {
                0 => vec![0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 0, 48, 0],
                _ => vec![0xFC, 1, 2],
            };
            let frame = EncodedFrame::new(data, time);
            let a = inside.a;
            // In packets mode, packets of other sources are forwarded.
            let _ = inside
                .sim
                .with(a, |p, now| p.write_frame(track, &frame, now));
        }
    }
    run(&mut inside.sim, 30);
    inside.listen();
}

/// RTP packets: headers, extensions and payloads, of known and unknown sources.
pub fn srtp(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let options = bytes.byte();
    let mut inside = Inside::new(media_config(options), &[MediaKind::Video, MediaKind::Audio]);
    send_frames(&mut inside, 2);
    let ssrcs: Vec<u32> = inside.rtp.iter().filter_map(|p| ssrc(p)).collect();
    let mut sequence = 0u16;
    while !bytes.is_empty() {
        let control = bytes.byte();
        match control & 7 {
            0 => run(&mut inside.sim, u64::from(bytes.byte()) * 2),
            1 => send_frames(&mut inside, 1),
            // A packet that was sent, damaged.
            2 => {
                let index = usize::from(bytes.byte()) % inside.rtp.len().max(1);
                let Some(mut packet) = inside.rtp.get(index).cloned() else {
                    continue;
                };
                let at = usize::from(bytes.byte());
                match packet.get_mut(at) {
                    Some(byte) => *byte ^= bytes.byte(),
                    None => packet.truncate(at / 2),
                }
                inside.forge(packet);
            }
            _ => {
                sequence = sequence.wrapping_add(u16::from(bytes.byte()) % 8);
                let packet = any_rtp(&ssrcs, sequence, control, &mut bytes);
                inside.forge(packet);
            }
        }
        inside.listen();
    }
    inside.end();
}

fn ssrc(packet: &[u8]) -> Option<u32> {
    let ssrc = packet.get(8..12)?.try_into().ok()?;
    Some(u32::from_be_bytes(ssrc))
}

/// Returns a packet with a header of any shape, and space for the authentication tag.
fn any_rtp(ssrcs: &[u32], sequence: u16, control: u8, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let shape = bytes.byte();
    let ssrc = match bytes.byte() {
        255 => u32::from(bytes.word()),
        n => ssrcs
            .get(usize::from(n) % ssrcs.len().max(1))
            .copied()
            .unwrap_or(1),
    };
    let csrcs = shape & 3;
    let has_extensions = shape & 4 != 0;
    let has_padding = shape & 8 != 0;
    let first = 0x80 | u8::from(has_padding) << 5 | u8::from(has_extensions) << 4 | csrcs;
    // Payload types are dynamic ones, from 96 and 35 to 63 (RFC 5761 §4), or static ones.
    let kind = bytes.byte() & 0x7F;
    let mut packet = vec![first, (control & 0x80) | kind];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(bytes.byte()) * 960).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(packet.len() + 4 * usize::from(csrcs), 9);
    if has_extensions {
        let profile = match shape >> 4 & 3 {
            0 | 1 => 0xBEDE,
            2 => 0x1000 | u16::from(shape & 15),
            _ => bytes.word(),
        };
        let words = bytes.byte() % 16;
        packet.extend(profile.to_be_bytes());
        packet.extend(u16::from(words).to_be_bytes());
        let mut contents = bytes.take(4 * usize::from(words)).to_vec();
        contents.resize(4 * usize::from(words), 0);
        packet.extend(contents);
    }
    let length = usize::from(bytes.word() & MAX_PAYLOAD);
    packet.extend(bytes.take(length));
    if has_padding {
        packet.push(bytes.byte());
    }
    packet.resize(packet.len() + open::TAG, 0);
    packet
}

/// Compound RTCP packets.
pub fn srtcp(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let options = bytes.byte() | 8;
    let mut inside = Inside::new(media_config(options), &[MediaKind::Video, MediaKind::Audio]);
    send_frames(&mut inside, 3);
    let ssrcs: Vec<u32> = inside.rtp.iter().filter_map(|p| ssrc(p)).collect();
    let mut index = 1000u32;
    while !bytes.is_empty() {
        let control = bytes.byte();
        match control & 7 {
            0 => run(&mut inside.sim, u64::from(bytes.byte()) * 8),
            1 => send_frames(&mut inside, 2),
            _ => {
                let mut compound = Vec::new();
                for _ in 0..=control >> 6 {
                    any_rtcp(&mut compound, &ssrcs, &mut bytes);
                }
                if control & 0x38 == 0x38 {
                    compound.truncate(usize::from(bytes.byte()));
                }
                index += 1;
                compound.resize(compound.len() + open::TAG, 0);
                compound.extend((0x8000_0000 | index).to_be_bytes());
                inside.forge(compound);
            }
        }
        inside.listen();
    }
    inside.end();
}

fn any_rtcp(out: &mut Vec<u8>, ssrcs: &[u32], bytes: &mut Bytes<'_>) {
    let shape = bytes.byte();
    let kind = 200 + (bytes.byte() % 8);
    let mut body = Vec::new();
    let whose = |n: u8| ssrcs.get(usize::from(n) % ssrcs.len().max(1)).copied();
    // Most start with their sender; feedback continues with the source it is about.
    for _ in 0..2 {
        let ssrc = match bytes.byte() {
            255 => u32::from(bytes.word()),
            n => whose(n).unwrap_or(1),
        };
        body.extend(ssrc.to_be_bytes());
    }
    let length = usize::from(bytes.byte());
    body.extend(bytes.take(length));
    body.resize(body.len().next_multiple_of(4), 0);
    let words = match shape & 0xE0 {
        0xE0 => bytes.word(),
        _ => (body.len() / 4) as u16,
    };
    // 5 bits of count or format; the padding bit is rare.
    let padding = u8::from(shape & 0xC0 == 0xC0) << 5;
    out.extend([0x80 | padding | (shape & 0x1F), kind]);
    out.extend(words.to_be_bytes());
    out.extend(body);
}

/// Payloads of one codec, in and out of order: frames consist of received data only.
pub fn depacketize(bytes: &[u8]) {
    const CODECS: [Codec; 6] = [
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Opus,
    ];
    let mut bytes = Bytes(bytes);
    let options = bytes.byte();
    let codec = CODECS[usize::from(options >> 5) % CODECS.len()];
    let kind = MediaKind::of(codec);
    let config = media_config(options & 2).codecs(Codecs::only([codec]));
    let mut inside = Inside::new(config, &[kind]);
    let offer = inside.sim.peer(inside.a).local_description();
    let sdp = offer.map(|o| o.sdp.clone()).unwrap_or_default();
    let types: Vec<u8> = sdp
        .lines()
        .filter_map(|l| l.strip_prefix("a=rtpmap:"))
        .filter(|l| {
            l.to_ascii_lowercase()
                .contains(&codec.name().to_ascii_lowercase())
        })
        .filter_map(|l| l.split(' ').next()?.parse().ok())
        .collect();
    let ssrc = sdp
        .lines()
        .find_map(|l| l.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok())
        .unwrap_or(1u32);
    let payload_type = types
        .get(usize::from(options >> 2 & 7) % types.len().max(1))
        .copied()
        .expect("a payload type of the codec");
    let (mut sequence, mut timestamp) = (0u16, 0u32);
    while !bytes.is_empty() {
        let control = bytes.byte();
        sequence = match control & 7 {
            7 => sequence.wrapping_add(u16::from(bytes.byte())),
            6 => sequence.wrapping_sub(1),
            _ => sequence.wrapping_add(1),
        };
        if control & 8 != 0 {
            timestamp = timestamp.wrapping_add(3000);
        }
        let mut packet = vec![0x80, (control & 0x80) | payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        let length = usize::from(bytes.word() & MAX_PAYLOAD);
        packet.extend(bytes.take(length));
        packet.resize(packet.len() + open::TAG, 0);
        inside.forge(packet);
        run(&mut inside.sim, u64::from(control >> 4 & 7) * 5);
        inside.listen();
    }
    inside.end();
}
