//! Which offers are accepted for which streams.

use std::time::{Duration, Instant};

use crate::driver::{EventLoop, LoopConfig};
use crate::proto::peer::PeerConfig;
use crate::proto::sdp::outcome;
use crate::server::http::{Request, RequestId, Response};
use crate::server::streams::{SourceConfig, StreamState, Streams, StreamsConfig};
use crate::server::whip::{WhipConfig, WhipServer};

struct World {
    net: EventLoop,
    whip: WhipServer,
    streams: Streams,
    requests: u64,
}

impl World {
    fn new(sources: &[&str]) -> Self {
        let mut streams = Streams::new(StreamsConfig::default());
        for source in sources {
            let (name, source) = SourceConfig::parse(source).unwrap();
            streams.add(&name, source).unwrap();
        }
        let peer = PeerConfig::default().include_loopback(true);
        Self {
            net: EventLoop::new(LoopConfig::default()).unwrap(),
            whip: WhipServer::new(WhipConfig::default().peer(peer)),
            streams,
            requests: 0,
        }
    }

    fn step(&mut self) {
        let wait = Some(Duration::from_millis(5));
        if let Some((peer, event)) = self.net.next_event(wait).unwrap() {
            self.whip
                .handle_peer_event(&mut self.net, &mut self.streams, peer, &event);
        }
        let now = Instant::now();
        self.whip.handle_timeout(&mut self.net, now);
        self.streams.handle_timeout(&mut self.net, now);
    }

    /// Posts an offer; returns status and body.
    fn post(&mut self, path: &str, offer: &str) -> (u16, String) {
        let mut request = Request::new("POST", path, ([127, 0, 0, 9], 4000).into());
        request.headers = vec![("content-type".into(), "application/sdp".into())];
        request.body = offer.as_bytes().to_vec();
        self.requests += 1;
        let id = RequestId(self.requests);
        let now = Instant::now();
        self.whip
            .handle_request(&mut self.net, &mut self.streams, id, request, now);
        let end = Instant::now() + Duration::from_secs(20);
        let response: Response = loop {
            if let Some((_, response)) = self.whip.poll_response() {
                break response;
            }
            assert!(Instant::now() < end, "no response");
            self.step();
        };
        (response.status, String::from_utf8(response.body).unwrap())
    }
}

const H264: &str = "H264/90000\r\na=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// Builds an offer with these m-lines, each with one format: `audio 111 opus/48000/2`.
fn offer(direction: &str, media: &[&str]) -> String {
    let mids: Vec<String> = (0..media.len()).map(|m| m.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
        mids.join(" ")
    );
    for (mid, media) in media.iter().enumerate() {
        let (kind, format) = media.split_once(' ').unwrap();
        let (format, encoding) = format.split_once(' ').unwrap();
        sdp += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {format}\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=mid:{mid}\r\na={direction}\r\n\
             a=ice-ufrag:aaaa\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\na=setup:actpass\r\n\
             a=fingerprint:sha-256 {}\r\na=rtpmap:{format} {encoding}\r\n",
            ["AB"; 32].join(":"),
        );
    }
    sdp
}

fn video(encoding: &str) -> String {
    format!("video 96 {encoding}")
}

const OPUS: &str = "audio 111 opus/48000/2";
const AAC: &str = "audio 97 MPEG4-GENERIC/44100/2";

#[test]
fn a_publisher_whose_media_is_not_all_taken_is_refused() {
    let mut world = World::new(&["cam=whip:"]);
    let high10 = H264.replace("42e01f", "6e0028");
    let mode2 = H264.replace("mode=1", "mode=2");
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &[OPUS, &video(&high10)],
            &["m-line 2", "6e0028", "VP8", "high profile"],
        ),
        (
            &[OPUS, &video(&mode2)],
            &["packetization-mode=2", "modes 0 and 1"],
        ),
        (&[OPUS, &video("AV1X/90000")], &["AV1X", "AV1"]),
        (&[&video(&high10)], &["m-line 1", "H265"]),
        (
            &["audio 97 L16/48000/2"],
            &["m-line 1 (audio)", "L16", "opus", "PCMU"],
        ),
        (&[AAC, &video(H264)], &["MPEG4-GENERIC", "opus"]),
    ];
    for (media, wanted) in cases {
        let (status, body) = world.post("/whip/cam", &offer("sendonly", media));
        assert_eq!(status, 422, "{media:?}: {body}");
        for text in wanted {
            assert!(body.contains(text), "{text}: {body}");
        }
    }
    // There is no publisher, and nothing is left.
    assert_eq!(
        world.streams.info("cam").unwrap().state,
        StreamState::Waiting
    );
    assert_eq!(world.whip.sessions().count(), 0);
    // An m-line with a common codec is accepted, whatever else it offers.
    let (status, body) = world.post("/whip/cam", &offer("sendonly", &[OPUS, &video(H264)]));
    assert_eq!(status, 201, "{body}");
}

/// Returns the codecs that an answer promises, by m-line.
fn promised(offer: &str, answer: &str) -> Vec<String> {
    let lines = outcome(offer, answer).unwrap();
    let sending = lines.iter().filter(|line| line.answerer_sends);
    sending.map(|line| line.common_codecs.join(", ")).collect()
}

#[test]
fn a_viewer_is_promised_what_the_stream_has_or_refused() {
    let directory = std::env::temp_dir().join(format!("looprtc-codecs-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let sound = directory.join("sound.pcmu");
    std::fs::write(&sound, [0xd5; 8000]).unwrap();
    let mut world = World::new(&[
        "card=testcard:",
        &format!("phone={}?codec=pcmu", sound.display()),
    ]);
    let all = offer(
        "recvonly",
        &[
            OPUS,
            "video 96 VP8/90000",
            "audio 0 PCMU/8000",
            &video(H264).replace("96", "98"),
        ],
    );
    let taken = world.post("/whep/card", &all);
    assert_eq!(
        (taken.0, promised(&all, &taken.1)),
        (201, vec!["opus".into(), "VP8".into()])
    );
    let pcmu = offer("recvonly", &["audio 0 PCMU/8000"]);
    let (status, body) = world.post("/whep/phone", &pcmu);
    assert_eq!((status, promised(&pcmu, &body)), (201, vec!["PCMU".into()]));
    let refused: [(&str, &[&str], &[&str]); 5] = [
        ("phone", &[OPUS], &["PCMU", "opus"]),
        ("phone", &[OPUS, &video(H264)], &["PCMU", "opus"]),
        ("phone", &[&video(H264)], &["only PCMU", "H264"]),
        ("card", &["audio 0 PCMU/8000"], &["opus", "PCMU"]),
        ("card", &[AAC, &video(H264)], &["opus", "MPEG4-GENERIC"]),
    ];
    for (stream, media, wanted) in refused {
        let (status, body) = world.post(&format!("/whep/{stream}"), &offer("recvonly", media));
        assert_eq!(status, 422, "{stream} {media:?}: {body}");
        for text in wanted {
            assert!(body.contains(text), "{text}: {body}");
        }
    }
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn an_error_repeats_little_of_a_long_offer() {
    let formats: Vec<String> = (0..128).map(|format| format.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF {}\r\na=sendonly\r\n",
        formats.join(" ")
    );
    for format in formats {
        sdp += &format!("a=rtpmap:{format} {}{format}/90000\r\n", "x".repeat(300));
    }
    let rejected = "v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\n";
    let known = crate::proto::peer::Codecs::default();
    let why = super::check_published(&sdp, rejected, &known).unwrap_err();
    assert!(why.contains("m-line 1 (video): the offer has xxx"), "{why}");
    assert!(why.len() < 2000, "{why}");
}
