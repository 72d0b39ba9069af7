use super::*;

/// Written by ffmpeg 5.1.
const FFMPEG: &str = "v=0\r\n\
o=- 0 0 IN IP4 127.0.0.1\r\n\
s=No Name\r\n\
t=0 0\r\n\
a=tool:libavformat LIBAVFORMAT_VERSION\r\n\
m=video 25004 RTP/AVP 96\r\n\
c=IN IP4 127.0.0.1\r\n\
a=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QADKzZQUH7ARAAAAMAEAAAAwHg8UKZYA==,aOvjyyLA; profile-level-id=64000C\r\n\
m=audio 25006 RTP/AVP 97\r\n\
c=IN IP4 127.0.0.1\r\n\
b=AS:64\r\n\
a=rtpmap:97 opus/48000/2\r\n";

/// Like the examples in the manuals of GStreamer's `sdpsrc` and `rtpbin`; with a group, static payload types and unused
/// m-lines.
const OTHERS: &str = "v=0
o=- 1188340656180883 1 IN IP4 127.0.0.1
s=Session streamed by GStreamer
t=0 0
c=IN IP4 239.1.2.3/5
m=video 5000 RTP/AVPF 98 96
a=rtpmap:96 VP8/90000
a=rtpmap:98 theora/90000
a=rtcp-mux
m=audio 5002 RTP/AVP 8 0
a=rtcp:6003 IN IP4 0.0.0.0
m=audio 0 RTP/AVP 14
m=audio 5004 RTP/AVP 111
c=IN IP6 ff15::1
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
";

#[test]
fn as_ffmpeg_writes_it() {
    let file = SdpFile::parse(FFMPEG).unwrap();
    let [video, audio] = &file.streams[..] else {
        panic!("{file:?}");
    };
    assert_eq!(video.address, "127.0.0.1:25004".parse().unwrap());
    assert_eq!((video.rtcp_port, video.ttl), (25005, None));
    assert_eq!((video.codec, video.payload_type), (Codec::H264, 96));
    assert!(video.parameter_sets().unwrap().is_complete());
    assert_eq!((audio.codec, audio.payload_type), (Codec::Opus, 97));
    assert_eq!((audio.clock_rate, audio.channels), (48_000, 2));
    assert_eq!(
        (audio.rtcp_address().port(), audio.fmtp.as_str()),
        (25007, "")
    );
}

#[test]
fn with_groups_and_static_payload_types() {
    let file = SdpFile::parse(OTHERS).unwrap();
    let [video, g711, opus] = &file.streams[..] else {
        panic!("{file:?}");
    };
    assert_eq!(video.address, "239.1.2.3:5000".parse().unwrap());
    assert_eq!((video.ttl, video.rtcp_port), (Some(5), 5000));
    assert_eq!((video.codec, video.payload_type), (Codec::Vp8, 96));
    assert_eq!((g711.codec, g711.payload_type), (Codec::Pcma, 8));
    assert_eq!((g711.rtcp_port, g711.channels), (6003, 1));
    assert_eq!(opus.address, "[ff15::1]:5004".parse().unwrap());
    assert_eq!(opus.fmtp, "minptime=10;useinbandfec=1");
}

#[test]
fn what_is_written_is_read_the_same() {
    for text in [FFMPEG, OTHERS] {
        let file = SdpFile::parse(text).unwrap();
        let written = file.to_text();
        assert_eq!(SdpFile::parse(&written), Ok(file), "{written}");
    }
    let mut video = StreamDescription::new(Codec::H264, 96, "127.0.0.1:5004".parse().unwrap());
    let sets = SdpFile::parse(FFMPEG).unwrap().streams[0].parameter_sets();
    video.set_parameter_sets(sets.as_ref().unwrap());
    assert_eq!(video.parameter_sets(), sets);
    let written = SdpFile::new("", vec![video]).to_text();
    assert!(written.contains("\r\ns=-\r\n"), "{written}");
    assert!(
        written.contains("\r\nm=video 5004 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\n"),
        "{written}"
    );
}

#[test]
fn errors_name_the_line() {
    let cases = [
        (
            "m=video 25004 RTP/AVP 96",
            "m=video 25004 RTP/SAVP 96",
            6,
            "not plain RTP",
        ),
        ("m=video 25004 RTP/AVP 96", "m=video many RTP/AVP 96", 6, ""),
        (
            "m=video 25004 RTP/AVP 96",
            "m=audio 25004 RTP/AVP 96",
            6,
            "H264 is not audio",
        ),
        (
            "a=rtpmap:96 H264/90000",
            "a=rtpmap:96 MP4V-ES/90000",
            6,
            "MP4V-ES; known are",
        ),
        (
            "a=rtpmap:96 H264/90000",
            "a=rtpmap:96 H264/1000",
            8,
            "1000 Hz",
        ),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:96 H264", 8, ""),
        ("a=rtpmap:96 H264/90000", "a=nothing", 6, "without a=rtpmap"),
        (
            "packetization-mode=1",
            "packetization-mode=2",
            9,
            "packetization-mode 2",
        ),
        ("opus/48000/2", "opus/48000/none", 13, "channels"),
        (
            "c=IN IP4 127.0.0.1\r\nb=",
            "c=IN IP4 here.local\r\nb=",
            11,
            "here.local",
        ),
        ("c=IN IP4 127.0.0.1\r\nb=", "b=", 10, "c-line"),
        (
            "m=audio 25006 RTP/AVP 97",
            "m=audio 25006 RTP/AVP 397",
            10,
            "payload type",
        ),
        ("b=AS:64", "a=rtcp:all", 12, "not a port"),
        ("v=0", "v=7", 1, ""),
    ];
    for (from, to, line, words) in cases {
        let text = FFMPEG.replace(from, to);
        assert_ne!(text, FFMPEG);
        // Unsupported streams are left out if another one is supported.
        let is_foreign =
            ["not plain RTP", "MP4V-ES; known are", "without a=rtpmap"].contains(&words);
        let text = match is_foreign {
            true => {
                let file = SdpFile::parse(&text).unwrap();
                assert_eq!((file.streams.len(), file.left_out.len()), (1, 1), "{to}");
                text.replace("m=audio 25006", "m=audio 0")
            }
            false => text,
        };
        let error = SdpFile::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{to}: {error}");
        assert!(error.to_string().contains(words), "{to}: {error}");
    }
    for text in [
        "",
        "v=0\r\n",
        &FFMPEG.replace("m=", "x="),
        &"v=0\r\n".repeat(20_000),
    ] {
        assert!(SdpFile::parse(text).is_err());
    }
}

#[test]
fn m_lines_have_a_limit() {
    let with = |more: usize| {
        let one = "m=video 6000 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:96 VP8/90000\r\n";
        SdpFile::parse(&(FFMPEG.to_owned() + &one.repeat(more)))
    };
    let known = SdpFile::parse(FFMPEG).unwrap().streams.len();
    assert_eq!(with(64 - known).unwrap().streams.len(), 64);
    let error = with(65 - known).unwrap_err();
    assert!(
        error.to_string().contains("more than 64 m-lines"),
        "{error}"
    );
}

#[test]
fn on_a_command_line() {
    let parse = |text: &str| text.parse::<StreamDescription>();
    let stream = parse("vp8@5004").unwrap();
    assert_eq!((stream.codec, stream.payload_type), (Codec::Vp8, 96));
    assert_eq!(stream.address, "127.0.0.1:5004".parse().unwrap());
    let stream = parse("OPUS/111@[::1]:6").unwrap();
    assert_eq!((stream.codec, stream.payload_type), (Codec::Opus, 111));
    assert_eq!(stream.rtcp_address(), "[::1]:7".parse().unwrap());
    assert_eq!(parse("pcma@1").unwrap().payload_type, 8);
    for text in [
        "",
        "vp8",
        "vp8@",
        "vp7@1",
        "vp8/128@1",
        "vp8/@1",
        "vp8@localhost:1",
        "vp8@70000",
    ] {
        assert!(parse(text).unwrap_err().contains("CODEC"), "{text}");
    }
}

/// Inexact files that other readers accept: a title above, trailing blanks, a truncated origin, any line end.
#[test]
fn sloppy_files_are_read() {
    let sloppy = "SDP:\nv=0\no=- 1001 1 IN \ns=No Name\nc=IN IP4 127.0.0.1 \nt=0 0\na=tool:libavformat 61.1.100\n\
                  m=video 6004 RTP/AVP 96 \nb=AS:256\na=rtpmap:96 VP8/90000 \n";
    for text in [
        sloppy.to_owned(),
        sloppy.replace('\n', "\r"),
        format!("\u{feff}{sloppy}"),
    ] {
        let file = SdpFile::parse(&text).unwrap();
        assert_eq!(
            (file.streams[0].codec, file.streams[0].payload_type),
            (Codec::Vp8, 96)
        );
        assert_eq!(file.streams[0].address, "127.0.0.1:6004".parse().unwrap());
    }
    let error = SdpFile::parse(&sloppy.replace("VP8", "VP7")).unwrap_err();
    assert_eq!(error.line, 8);
}
