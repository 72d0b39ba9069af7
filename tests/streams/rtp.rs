//! Plain RTP as a source, sent by ffmpeg and GStreamer.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use looprtc::proto::peer::Codec::{H264, Opus, Vp8};
use looprtc::server::streams::{StreamState, StreamsConfig};

use crate::stage::Stage;

/// Another program, stopped when it is dropped.
struct Sender(Child);

impl Sender {
    fn start(command: &str) -> Self {
        let mut words = command.split_ascii_whitespace();
        let program = words.next().unwrap();
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|e| panic!("{program} (tests/setup installs it): {e}")))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns two free even ports, each with the next one free as well.
fn ports() -> (u16, u16) {
    let free = (0..1000).map(|n| 21_000 + 4 * ((std::process::id() as u16 + 7 * n) % 2000));
    let mut free = free.filter(|port| {
        let sockets = (0..4).map(|n| UdpSocket::bind(("127.0.0.1", port + n)));
        sockets.collect::<Result<Vec<_>, _>>().is_ok()
    });
    let port = free.next().expect("free ports");
    (port, port + 2)
}

#[test]
fn ffmpeg_is_shown_and_shown_again_after_a_restart() {
    let (video, audio) = ports();
    let source =
        format!("cam=rtp://127.0.0.1:{video}?codec=h264,rtp://127.0.0.1:{audio}?codec=opus");
    let mut stage = Stage::new(StreamsConfig::default()).with(&source);
    let viewer = stage.watch("cam", &[H264, Opus]).unwrap();
    stage.run_for(Duration::from_millis(200));
    assert_eq!(
        stage.state("cam"),
        StreamState::Starting,
        "nobody sends yet"
    );
    let command = format!(
        "ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=30 \
         -re -f lavfi -i sine=440:sample_rate=48000 -map 0:v -c:v libx264 -preset ultrafast -tune zerolatency \
         -b:v 400k -g 60 -pix_fmt yuv420p -f rtp rtp://127.0.0.1:{video}?pkt_size=1200 \
         -map 1:a -c:a libopus -f rtp rtp://127.0.0.1:{audio}?pkt_size=1200"
    );
    for round in 0..2 {
        let had = stage.client(viewer).of(H264).len();
        let sender = Sender::start(&command);
        stage.until("pictures and sound", |stage| {
            let client = stage.client(viewer);
            client.of(H264).len() > had + 60 && client.of(Opus).len() > 50
        });
        if round == 0 {
            // Halfway: everything since the latest keyframe arrives at once.
            let late = stage.watch("cam", &[H264, Opus]).unwrap();
            stage.until("a picture", |stage| stage.client(late).of(H264).len() > 3);
            assert!(stage.client(late).of(H264)[0].keyframe);
        }
        drop(sender);
    }
    let client = stage.client(viewer);
    let frames = client.of(H264);
    assert!(frames.is_sorted_by(|a, b| a.time < b.time));
    // Only data truncated when the sender was killed cannot be decoded.
    assert!(client.decodable(H264) + 70 > frames.len());
    assert_eq!(stage.state("cam"), StreamState::Live);
}

#[test]
fn gstreamer_is_shown_as_an_sdp_file_describes_it() {
    let (video, audio) = ports();
    let path = std::env::temp_dir().join(format!("looprtc-{}.sdp", std::process::id()));
    let sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=video {video} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n\
         m=audio {audio} RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n"
    );
    std::fs::write(&path, sdp).unwrap();
    let source = format!("cam=rtp:{}", path.display());
    let mut stage = Stage::new(StreamsConfig::default()).with(&source);
    assert_eq!(stage.streams.info("cam").unwrap().codecs, [Vp8, Opus]);
    let viewer = stage.watch("cam", &[Vp8, Opus]).unwrap();
    let _sender = Sender::start(&format!(
        "gst-launch-1.0 -q videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 \
         ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=30 target-bitrate=300000 ! rtpvp8pay mtu=1200 pt=96 \
         ! udpsink host=127.0.0.1 port={video} audiotestsrc is-live=true ! audioconvert ! opusenc \
         ! rtpopuspay pt=97 ! udpsink host=127.0.0.1 port={audio}"
    ));
    stage.until("pictures and sound", |stage| {
        let client = stage.client(viewer);
        client.of(Vp8).len() > 60 && client.of(Opus).len() > 50
    });
    let client = stage.client(viewer);
    assert_eq!(client.decodable(Vp8), client.of(Vp8).len());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_port_that_is_taken_is_said_and_tried_again() {
    let (port, _) = ports();
    let taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let config = StreamsConfig::default().min_backoff(Duration::from_millis(100));
    let mut stage = Stage::new(config).with(&format!("cam=rtp://127.0.0.1:{port}?codec=vp8"));
    stage.watch("cam", &[Vp8]).unwrap();
    let StreamState::Failed { why, retry_at } = stage.state("cam") else {
        panic!("{:?}", stage.state("cam"))
    };
    assert!(
        why.contains(&port.to_string()) && retry_at.is_some(),
        "{why}"
    );
    drop(taken);
    stage.until("it works", |stage| {
        stage.state("cam") == StreamState::Starting
    });
    assert_eq!(stage.streams.info("cam").unwrap().stats.failures, 1);
}
