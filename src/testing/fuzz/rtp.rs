//! RTP outside of WebRTC.

use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::rtp::{
    H264ParameterSets, Packet, RtpSender, RtpSenderConfig, RtpSource, RtpSourceConfig, SdpFile,
    SenderPacket, SourceEvent, StreamDescription, is_rtcp, read_rtcp,
};

/// Parses a datagram as RTP and as RTCP: a parsed packet is written so that it parses the same again.
pub fn rtp_packet(data: &[u8]) {
    for packet in read_rtcp(data) {
        if let SenderPacket::SenderReport(info) = packet {
            let _ = info.wallclock();
        }
    }
    let _ = is_rtcp(data);
    let Ok(packet) = Packet::parse(data) else {
        return;
    };
    let written = packet.to_bytes().expect("what was read can be written");
    // The same as before, except for padding.
    assert!(written.len() <= data.len());
    assert_eq!(Packet::parse(&written).as_ref(), Ok(&packet));
    let mut sets = H264ParameterSets::default();
    sets.observe(packet.payload);
    if let Some(fmtp) = sets.to_fmtp() {
        assert_eq!(H264ParameterSets::from_fmtp(&fmtp), Some(sets));
    }
}

/// Parses an SDP file, or a stream from a command line: a parsed one is written so that it parses the same again.
pub fn sdp_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = text.parse::<StreamDescription>();
    let file = match SdpFile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            // CRLF, LF and CR end a line.
            let ends = text.matches(['\r', '\n']).count();
            assert!(error.line <= ends + 1, "{error}");
            return;
        }
    };
    let reread = |file: &SdpFile| {
        let written = file.to_text();
        SdpFile::parse(&written).unwrap_or_else(|e| panic!("{e}: {written:?}"))
    };
    // Defaults are written explicitly; after that, the text is stable.
    let spelled_out = reread(&file);
    assert_eq!(file.streams.len(), spelled_out.streams.len());
    assert_eq!(reread(&spelled_out), spelled_out);
}

/// Datagrams of several senders, BYEs, silences and junk; accepted packets are forwarded.
pub fn rtp_source(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let mut config = RtpSourceConfig::default()
        .every_ssrc(options & 1 == 1)
        .patience(Duration::from_millis(u64::from(options >> 4) * 100));
    config.repeat_parameter_sets = options & 2 == 2;
    config.max_held = 2000;
    let every = config.every_ssrc;
    let mut source = RtpSource::new(config);
    let mut sender = RtpSender::new(RtpSenderConfig::new(1, 96, 90_000));
    let start = Instant::now();
    let mut elapsed = Duration::ZERO;
    let (mut given_out, mut last, mut is_polled) = (0, 0, true);
    let mut sequence = [0u16; 4];
    while !bytes.is_empty() {
        let control = bytes.byte();
        let who = usize::from(control & 3);
        let port = 5000 + u16::from(control >> 2 & 1);
        let from = std::net::SocketAddr::from(([10, 0, 0, control >> 3 & 1], port));
        elapsed += Duration::from_millis(u64::from(bytes.byte()));
        let now = start + elapsed;
        let ssrc = who as u32;
        let datagram = match control >> 4 & 7 {
            0 => bytes.take(60).to_vec(),
            1 => {
                let mut bye = vec![0x81, 203, 0, 1];
                bye.extend(ssrc.to_be_bytes());
                bye
            }
            step => {
                // Mostly in sequence, sometimes with a jump.
                let leap = if step == 2 { bytes.word() } else { 1 };
                sequence[who] = sequence[who].wrapping_add(leap);
                let length = usize::from(bytes.byte() % 32);
                let payload = bytes.take(length);
                let timestamp = u32::from(bytes.byte()) << (step * 4);
                let packet = Packet::new(96, sequence[who], timestamp, ssrc, payload);
                packet.to_bytes().expect("a packet")
            }
        };
        let _ = source.handle_input(from, &datagram, now);
        is_polled ^= control & 0x80 != 0;
        while let Some(event) = is_polled.then(|| source.poll()).flatten() {
            let SourceEvent::Packet(packet) = event else {
                continue;
            };
            given_out += 1;
            if !every {
                let changes = packet.source != last;
                assert_eq!(packet.source_changed, changes, "{packet:?}");
                assert_eq!(packet.source, last + u32::from(changes));
                last = packet.source;
            }
            let packet = packet.to_packet();
            let plain = Packet::new(
                96,
                packet.sequence_number,
                packet.timestamp,
                packet.ssrc,
                &packet.payload,
            );
            let sent = sender.write(&plain, now).expect("a datagram");
            assert_eq!(sent.len(), 12 + packet.payload.len());
            let _ = sender.report(now, std::time::UNIX_EPOCH + elapsed);
        }
        assert!(given_out <= source.stats().packets);
    }
    while let Some(event) = source.poll() {
        given_out += u64::from(matches!(event, SourceEvent::Packet(_)));
    }
    assert_eq!(given_out, source.stats().packets);
}
