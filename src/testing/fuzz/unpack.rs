//! Data of cameras: descriptions, packets, timestamps.

use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::peer::MediaKind;
use crate::proto::rtp::{MediaFormat, Packet, SenderInfo, Timeline, UnpackLimits, Unpacker};
use crate::proto::rtsp::{Described, DescribedError, MAX_DESCRIPTION};

/// Parses a camera's description. White space around lines and other line ends change nothing.
pub fn camera_sdp(data: &[u8]) {
    let described = match Described::parse(data) {
        Ok(described) => described,
        Err(DescribedError::TooLong) => return assert!(data.len() > MAX_DESCRIPTION),
        Err(_) => return,
    };
    assert!(described.streams.len() <= 32 && described.left_out.len() <= 32);
    for stream in &described.streams {
        assert!(stream.payload_type < 128 && stream.clock_rate > 0);
        assert_eq!(stream.kind, stream.format.kind());
        if let MediaFormat::H264 { sets } | MediaFormat::H265 { sets, .. } = &stream.format {
            assert!(sets.len() <= 16 && sets.iter().all(|set| set.len() <= 4096));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if !text.contains('\r') && 3 * data.len() < MAX_DESCRIPTION {
        let wrapped = Described::parse(text.replace('\n', " \r\n").as_bytes());
        let wrapped = wrapped.map(|wrapped| wrapped.streams);
        assert_eq!(wrapped, Ok(described.streams));
    }
}

/// Formats by the first byte of an input.
fn format_of(byte: u8) -> MediaFormat {
    let text: &[u8] = match byte % 8 {
        0 => b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
            a=fmtp:96 sprop-parameter-sets=Z2QAFKzZQUH7ARAAAAMAEAAAAwCg8UKZYA==,aOvjyyLA",
        1 => b"m=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\n\
            a=fmtp:96 sprop-vps=QAEMAf//;sprop-sps=QgEBAWAAAAM=;sprop-pps=RAHA8Q==",
        2 => b"m=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=fmtp:96 sprop-max-don-diff=2",
        3 => b"m=video 0 RTP/AVP 26",
        4 => b"m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/16000/1\n\
            a=fmtp:97 sizelength=13;indexlength=3;indexdeltalength=3;config=1408",
        5 => b"m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/16000/1\n\
            a=fmtp:97 sizelength=6;indexlength=2;indexdeltalength=2;CTSDeltaLength=9;DTSDeltaLength=4;\
            randomAccessIndication=1;streamStateIndication=2;auxiliaryDataSizeLength=5;config=1408",
        6 => b"m=audio 0 RTP/AVP 98\na=rtpmap:98 MP4A-LATM/16000",
        _ => b"m=audio 0 RTP/AVP 97\na=rtpmap:97 PCM/16000",
    };
    let described = Described::parse(text).expect("a description");
    let stream = described.streams.into_iter().next();
    stream.expect("a stream").format
}

/// Packets of one format, which the first byte chooses; each begins with its flags, how far its timestamp and its number
/// go, and its length. Numbers agree, and memory is bounded.
pub fn unpack(data: &[u8]) {
    const MAX_UNIT: usize = 4096;
    let mut bytes = Bytes(data);
    let format = format_of(bytes.byte());
    let limits = UnpackLimits::default().max_unit(MAX_UNIT);
    let mut unpacker = Unpacker::new(&format, format.clock_rate(), limits);
    let start = Instant::now();
    let (mut sequence, mut timestamp, mut given_out, mut size) = (0u16, 0u32, 0, 0);
    let mut take = |unpacker: &mut Unpacker| {
        while let Some(unit) = unpacker.poll() {
            // Parameter sets before it, or the header of a picture; a packet of audio is what it is.
            assert!(unit.data.len() <= MAX_UNIT.max(data.len()) + 16 * 1024);
            given_out += 1;
            size += unit.data.len();
        }
    };
    let mut packets = 0;
    while !bytes.is_empty() {
        let flags = bytes.byte();
        timestamp = timestamp.wrapping_add(u32::from(bytes.byte()) << (flags & 0x0F));
        if flags & 0x10 != 0 {
            sequence = sequence.wrapping_add(u16::from(bytes.byte()) << 6);
        }
        let length = usize::from(bytes.byte()) << (flags >> 5 & 2);
        let payload = bytes.take(length);
        let mut packet = Packet::new(96, sequence, timestamp, 7, payload);
        packet.marker = flags & 0x20 != 0;
        sequence = sequence.wrapping_add(1);
        packets += 1;
        unpacker.push(&packet, start + Duration::from_millis(packets));
        if flags & 0x80 == 0 {
            take(&mut unpacker);
        }
    }
    unpacker.flush();
    take(&mut unpacker);
    let stats = unpacker.stats();
    assert_eq!(stats.units, given_out + stats.overflowed);
    // At most a header or the parameter sets for each unit, of which a packet has two, or 256 of audio.
    assert!(size <= 4 * data.len() + 16 * 1024 * (2 * packets as usize + 2));
    let _ = (
        unpacker.video(),
        unpacker.aac_config(),
        unpacker.parameter_sets().len(),
    );
}

/// Timestamps, arrivals and sender reports of two tracks: times go up, and stay near arrival.
pub fn timeline(data: &[u8]) {
    let mut bytes = Bytes(data);
    let start = Instant::now();
    let mut timeline = Timeline::new(start);
    let rate = [90_000, 8_000, 1, u32::MAX][usize::from(bytes.byte() & 3)];
    let tracks = [
        timeline.add_track(MediaKind::Video, rate),
        timeline.add_track(MediaKind::Audio, 8_000),
    ];
    let (mut elapsed, mut timestamps, mut last) = (Duration::ZERO, [0u32; 2], [None; 2]);
    while !bytes.is_empty() {
        let flags = bytes.byte();
        let n = usize::from(flags & 1);
        let step = u32::from(bytes.byte()) << (flags >> 3);
        timestamps[n] = match flags & 2 {
            0 => timestamps[n].wrapping_add(step),
            _ => timestamps[n].wrapping_sub(step),
        };
        elapsed += Duration::from_millis(u64::from(bytes.byte()) << (flags >> 5));
        if flags & 4 != 0 {
            let ntp = u64::from(bytes.byte()) << 56 | u64::from(step);
            timeline.sender_report(
                tracks[n],
                &SenderInfo {
                    ssrc: 7,
                    ntp,
                    rtp_timestamp: timestamps[n],
                    packets: 0,
                    bytes: 0,
                },
            );
        }
        let stamp = timeline.time(tracks[n], timestamps[n], start + elapsed, flags & 0x40 != 0);
        let time = stamp.expect("there is such a track").time;
        assert!(last[n].is_none_or(|last| last < time));
        last[n] = Some(time);
        let _ = (timeline.drift_ppm(tracks[n]), timeline.stats(tracks[n]));
    }
    timeline.restart();
    for track in tracks {
        assert!(timeline.time(track, 0, start + elapsed, false).is_some());
    }
    assert_eq!(timeline.time(2, 0, start, false), None);
}
