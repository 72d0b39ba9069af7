use super::*;
use crate::proto::media::Codec;
use crate::proto::rtp::{AacFormat, AuHeader};

/// A description as gst-rtsp-server writes it, with an ONVIF backchannel.
const GSTREAMER: &str = "v=0\r\no=- 7331 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\ni=rtsp-server\r\nt=0 0\r\n\
    a=tool:GStreamer\r\na=type:broadcast\r\na=control:*\r\na=range:npt=now-\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:2097\r\na=rtpmap:96 H264/90000\r\na=framerate:5\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=640014;sprop-parameter-sets=Z2QAFKzZQUH7ARAAAAMAEAAAAwCg8UKZYA==,aOvjyyLA\r\n\
    a=control:stream=0\r\na=recvonly\r\n\
    m=audio 0 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:8 PCMA/8000\r\na=control:stream=1\r\na=recvonly\r\n\
    m=audio 0 RTP/AVP 0 8\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:0 PCMU/8000\r\na=control:stream=2\r\na=sendonly\r\n";

fn parse(text: &str) -> Described {
    Described::parse(text.as_bytes()).unwrap()
}

/// Parses m-sections behind a proper beginning.
fn sections(text: &str) -> Described {
    parse(&format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{text}\r\n"
    ))
}

/// Returns the only stream.
fn only(text: &str) -> DescribedStream {
    let described = sections(text);
    assert_eq!(described.streams.len(), 1, "{described:?}");
    described.streams.into_iter().next().unwrap()
}

fn met(described: &Described) -> Vec<u8> {
    described
        .quirks
        .met()
        .map(|(quirk, _)| quirk.number())
        .collect()
}

fn h264_sets(stream: &DescribedStream) -> &[Vec<u8>] {
    match &stream.format {
        MediaFormat::H264 { sets } => sets,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_orderly_description() {
    let described = parse(GSTREAMER);
    assert_eq!(
        described.name.as_deref(),
        Some("Session streamed with GStreamer")
    );
    assert_eq!(described.tool.as_deref(), Some("GStreamer"));
    assert_eq!(described.control.as_deref(), Some("*"));
    assert_eq!((met(&described), &described.left_out), (vec![], &vec![]));
    let [video, audio, talk] = &described.streams[..] else {
        panic!("{described:?}");
    };
    assert_eq!(
        (video.kind, video.payload_type, video.clock_rate),
        (MediaKind::Video, 96, 90_000)
    );
    assert_eq!(
        (video.control.as_str(), video.frame_rate),
        ("stream=0", Some(5.0))
    );
    assert_eq!(
        (h264_sets(video)[0][0], h264_sets(video)[1][0]),
        (0x67, 0x68)
    );
    assert_eq!(audio.format.codec(), Some(Codec::Pcma));
    assert_eq!(audio.direction, StreamDirection::FromCamera);
    assert_eq!(talk.direction, StreamDirection::Backchannel);
    assert_eq!(talk.format.codec(), Some(Codec::Pcmu));
    assert_eq!(talk.others.len(), 1);
    assert_eq!(
        described
            .from_camera()
            .map(|(index, _)| index)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn quirk_21_control_urls_are_kept_as_written() {
    for written in [
        "trackID=1",
        "rtsp://10.0.0.9:554/a?b=1/trackID=1",
        "*",
        "/track1",
    ] {
        let before = only(&format!(
            "m=video 0 RTP/AVP 96\na=control:{written}\na=rtpmap:96 H264/90000"
        ));
        assert_eq!(before.control, written);
    }
    assert_eq!(only("m=video 0 RTP/AVP 26").control, "");
    assert_eq!(sections("m=video 0 RTP/AVP 26").control, None);
}

#[test]
fn quirk_22_broken_descriptions() {
    // Nothing but m-lines; no end of line; text that is not UTF-8.
    let bare =
        Described::parse(b"s=\xC0\xFF\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000 ").unwrap();
    assert_eq!(bare.streams.len(), 1);
    assert_eq!(met(&bare), [22, 23]);
    // Two names and origins, a broken connection, lines that are none, session lines behind m-lines, an unknown type.
    let odd = parse(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\no=\r\ns=one\r\ns=two\r\nc=IN IP4\r\nc=\r\nnonsense\r\nt=\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96  h264/90000 \r\ns=three\r\na=tool:odd\r\n\
         m=unknown 0\r\nm=\r\nm=audio\r\na=rtpmap:97 opus/8000\r\n",
    );
    assert_eq!(
        (odd.name.as_deref(), odd.tool.as_deref()),
        (Some("one"), Some("odd"))
    );
    assert_eq!(met(&odd), [22, 23, 25, 38]);
    assert_eq!((odd.streams.len(), odd.left_out.len()), (2, 2), "{odd:?}");
    assert_eq!(odd.streams[1].payload_type, 97);
    // A bad m-line is left out, not the session.
    let partly = sections("m=video 0 RTP/AVP 96\nm=audio 0 RTP/AVP 0");
    assert_eq!(partly.streams.len(), 1);
    assert_eq!(
        partly.left_out,
        ["video: payload type 96, of which the camera does not say what it is"]
    );
    // Ubiquiti: fmtp without parameters. Others: a frame rate with another name and a blank.
    let empty = only("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96\na=x-framerate: 25");
    assert_eq!((h264_sets(&empty).len(), empty.frame_rate), (0, Some(25.0)));
}

#[test]
fn quirk_22_parameters_on_another_track() {
    let described = sections(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\nm=audio 0 RTP/AVP 8\n\
         a=fmtp:96 sprop-parameter-sets=Z2QAFKzZQUH7ARAAAAMAEAAAAwCg8UKZYA==,aOvjyyLA",
    );
    assert_eq!(h264_sets(&described.streams[0]).len(), 2);
    assert_eq!(met(&described), [22]);
    // Not if the other track has the payload type itself.
    let own = sections(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
         a=fmtp:96 sprop-parameter-sets=Z2QAFKzZQUH7ARAAAAMAEAAAAwCg8UKZYA==,aOvjyyLA",
    );
    assert_eq!(h264_sets(&own.streams[0]).len(), 0);
    assert_eq!(h264_sets(&own.streams[1]).len(), 2);
}

#[test]
fn quirk_22_rtpmap_missing() {
    for (m_line, name) in [
        ("audio 0 RTP/AVP 0", "G.711 µ-law"),
        ("audio 0 RTP/AVP 8", "G.711 A-law"),
        ("audio 0 RTP/AVP 9", "G.722"),
        ("video 0 RTP/AVP 26", "MJPEG"),
        (
            "video 0 RTP/AVP 96\na=fmtp:96 sprop-parameter-sets=Z2QAFA==",
            "H.264",
        ),
        (
            "video 0 RTP/AVP 96\na=fmtp:96 sprop-sps=QgEBAWAAAAM=",
            "H.265",
        ),
        (
            "audio 0 RTP/AVP 97\na=fmtp:97 sizelength=13;config=1408",
            "AAC",
        ),
        ("audio 0 RTP/AVP 97\nb=AS:256", "uncompressed audio (L16)"),
    ] {
        assert_eq!(only(&format!("m={m_line}")).format.name(), name, "{m_line}");
    }
    let guessed = only("m=audio 0 RTP/AVP 97\nb=AS:256").format;
    let expected = MediaFormat::L16 {
        clock_rate: 16_000,
        channels: 1,
        little_endian: true,
    };
    assert_eq!(guessed, expected);
}

#[test]
fn quirk_23_parameter_sets() {
    let sets = |value: &str| {
        let fmtp = format!("a=fmtp:96 packetization-mode=1; sprop-parameter-sets={value}");
        let described = sections(&format!(
            "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n{fmtp}"
        ));
        let met = met(&described);
        (h264_sets(&described.streams[0]).to_vec(), met)
    };
    assert_eq!(
        sets("Z2QAFA==,aOs="),
        (vec![vec![0x67, 0x64, 0, 0x14], vec![0x68, 0xEB]], vec![])
    );
    assert_eq!(sets(""), (vec![], vec![23]));
    // One that is not base64 does not take the other with it.
    assert_eq!(sets("?,aOs="), (vec![vec![0x68, 0xEB]], vec![23]));
    // Annex B inside: both sets in one, with start codes.
    let annex_b =
        crate::proto::rtp::base64::encode(&[0, 0, 0, 1, 0x67, 0x64, 0, 0x14, 0, 0, 1, 0x68, 0xEB]);
    assert_eq!(
        sets(&annex_b),
        (vec![vec![0x67, 0x64, 0, 0x14], vec![0x68, 0xEB]], vec![23])
    );
    // Limits: number and size.
    let (many, _) = sets(&["aOs="; 100].join(","));
    assert_eq!(many.len(), 16);
    let long = crate::proto::rtp::base64::encode(&[0x67; 5000]);
    assert_eq!(sets(&long), (vec![], vec![23]));
    // H.265 with one of three.
    let described =
        sections("m=video 0 RTP/AVP 98\na=rtpmap:98 H265/90000\na=fmtp:98 sprop-sps=QgEBAWAAAAM=");
    let MediaFormat::H265 {
        sets,
        has_order_numbers: false,
    } = &described.streams[0].format
    else {
        panic!("{described:?}");
    };
    assert_eq!((sets.len(), met(&described)), (1, vec![23]));
}

#[test]
fn quirk_24_everything_is_sendonly() {
    let all = sections("m=video 0 RTP/AVP 26\na=sendonly\nm=audio 0 RTP/AVP 0\na=sendonly");
    assert_eq!((all.from_camera().count(), met(&all)), (2, vec![24]));
    // A video is never a backchannel.
    let video = sections("m=video 0 RTP/AVP 26\na=sendonly\nm=audio 0 RTP/AVP 0\na=recvonly");
    assert_eq!((video.from_camera().count(), met(&video)), (2, vec![24]));
    let talk = sections("m=video 0 RTP/AVP 26\nm=audio 0 RTP/AVP 0\na=sendonly");
    assert_eq!((talk.from_camera().count(), met(&talk)), (1, vec![]));
}

#[test]
fn quirk_25_vendor_data_is_left_out_by_name() {
    let described = sections(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets=Z2QAFA==,aOs=\n\
         m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata/90000\n\
         m=application/TP-LINK 0 RTP/AVP smart/1/90000\nm=video 0 RTP/AVP 50\na=rtpmap:50 GEO/90000\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 G726-32/8000\nm=audio 0 RTP/SAVP 0",
    );
    assert_eq!(described.streams.len(), 1);
    assert_eq!(met(&described), [25, 38]);
    assert_eq!(
        described.left_out[..4],
        [
            "application: ONVIF metadata",
            "application/TP-LINK: neither video nor audio",
            "video: GEO, which is not a codec of WebRTC",
            "audio: G.726, which browsers do not decode: choose G.711, Opus or AAC in the camera's settings",
        ]
    );
    assert!(described.left_out[4].contains("SRTP"), "{described:?}");
}

#[test]
fn quirk_38_audio_formats() {
    let of = |rtpmap: &str| {
        let described = sections(&format!("m=audio 0 RTP/AVP 97\na=rtpmap:97 {rtpmap}"));
        let met = met(&described);
        (
            described.streams[0].format.clone(),
            described.streams[0].clock_rate,
            met,
        )
    };
    let (format, rate, met) = of("PCMA/16000/1");
    assert_eq!((format.codec(), rate, met), (None, 16_000, vec![38]));
    let (format, rate, met) = of("opus/8000");
    assert_eq!(
        (format.codec(), rate, met),
        (Some(Codec::Opus), 48_000, vec![38])
    );
    assert!(of("opus/48000/2").2.is_empty());
    let (format, _, met) = of("PCM/16000");
    let little = MediaFormat::L16 {
        clock_rate: 16_000,
        channels: 1,
        little_endian: true,
    };
    assert_eq!((format, met), (little, vec![38]));
    let (format, _, met) = of("L16/44100/2");
    let big = MediaFormat::L16 {
        clock_rate: 44_100,
        channels: 2,
        little_endian: false,
    };
    assert_eq!((format, met), (big, vec![]));
    assert_eq!(of("G722/16000").1, 8_000);
}

#[test]
fn aac() {
    let of = |rtpmap: &str, fmtp: &str| -> (AacFormat, Vec<u8>) {
        let described = sections(&format!(
            "m=audio 0 RTP/AVP 97\na=rtpmap:97 {rtpmap}\na=fmtp:97 {fmtp}"
        ));
        let met = met(&described);
        match described.streams[0].format.clone() {
            MediaFormat::Aac(format) => (format, met),
            other => panic!("{other:?}"),
        }
    };
    let (format, met) = of(
        "mpeg4-generic/44100/2",
        "streamtype=5;profile-level-id=15;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1210;",
    );
    assert_eq!(
        (format.header, format.config.channels),
        (AuHeader::default(), 2)
    );
    assert_eq!((format.config_is_guessed, met), (false, vec![]));
    let (odd, _) = of(
        "MPEG4-GENERIC/8000",
        "SizeLength=16; IndexLength=0; IndexDeltaLength=0; CTSDeltaLength=22; randomAccessIndication=1; config=1588; constantSize=99999",
    );
    let header = AuHeader {
        size: 16,
        index: 0,
        index_delta: 0,
        cts_delta: 22,
        random_access: 1,
        ..AuHeader::default()
    };
    assert_eq!((odd.header, odd.constant_size), (header, 0));
    // Quirk 37: the configuration is missing.
    let (guessed, met) = of("mpeg4-generic/16000", "mode=AAC-hbr");
    assert_eq!(
        (guessed.config_is_guessed, guessed.config.sample_rate),
        (true, 16_000)
    );
    assert_eq!((guessed.header, met), (AuHeader::default(), vec![37]));
    let none =
        sections("m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/1\na=fmtp:97 mode=CELP-cbr");
    assert_eq!(
        none.left_out,
        ["audio: MPEG-4 CELP, which browsers do not decode"]
    );
    let latm = only(
        "m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/16000\na=fmtp:97 cpresent=0;config=40002810",
    );
    let expected = MediaFormat::Latm {
        config: Some(vec![0x40, 0, 0x28, 0x10]),
        in_band: false,
    };
    assert_eq!((latm.format, latm.clock_rate), (expected, 16_000));
}

#[test]
fn limits() {
    assert_eq!(
        Described::parse(&vec![b'm'; MAX_DESCRIPTION + 1]),
        Err(DescribedError::TooLong)
    );
    for text in ["", "v=0\r\n", "<html>", "a=control:*"] {
        assert_eq!(
            Described::parse(text.as_bytes()),
            Err(DescribedError::NoMedia)
        );
    }
    let many = sections(&"m=audio 0 RTP/AVP 0\r\n".repeat(500));
    assert_eq!((many.streams.len(), many.left_out.len()), (MAX_STREAMS, 1));
    let types: Vec<String> = (0..5000).map(|n| (n % 128).to_string()).collect();
    let wide = sections(&format!("m=audio 0 RTP/AVP {}", types.join(" ")));
    assert!(wide.streams[0].others.len() < MAX_FORMATS);
    let named = parse(&format!("s={}\nm=audio 0 RTP/AVP 0\n", "ü".repeat(30_000)));
    assert_eq!(named.name.unwrap().chars().count(), MAX_TEXT);
}

/// The worst descriptions within the limits of size and lines take no more work than their length allows.
#[test]
fn work_is_bounded() {
    let fmtp = "a=fmtp:1 x\r\n".repeat(MAX_LINES);
    let m_lines = format!(
        "m=audio 0 RTP/AVP {}\r\n",
        (96..127)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let text = format!("v=0\r\n{}{fmtp}", m_lines.repeat(MAX_STREAMS));
    let text = &text.as_bytes()[..text.len().min(MAX_DESCRIPTION)];
    let start = std::time::Instant::now();
    let described = Described::parse(text).unwrap();
    assert!(described.streams.is_empty());
    // 33 m-lines × 32 types × 2,000 lines at most: milliseconds, generously bounded for busy machines.
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn debug_hides_passwords() {
    let described = parse(
        "v=0\r\ns=rtsp://u:geheim@h/\r\na=control:rtsp://admin:geheim@h/x\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:rtsp://admin:geheim@h/x?password=geheim&n=1\r\n",
    );
    assert!(described.streams[0].control.contains("geheim"));
    let shown = format!("{described:?} {:#?}", described);
    assert!(
        !shown.contains("geheim") && shown.contains("***@h/x?password=***&n=1"),
        "{shown}"
    );
}
