//! A stream that is published by WHIP and watched by WHEP while everything is connected over loopback. The DTLS and SRTP of
//! these peers protect nothing (`crypto/open.rs`), so that a connection takes milliseconds.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::Bytes;
use crate::driver::{EventLoop, LoopConfig, PeerId};
use crate::proto::media::Codec;
use crate::proto::net::PortPolicy;
use crate::proto::peer::crypto::open;
use crate::proto::peer::{
    ConnectionState, Direction, EncodedFrame, KeyframeRequestKind, MediaKind, PeerConfig,
    PeerEvent, SessionDescription, TransceiverConfig, TransceiverId,
};
use crate::server::http::{Request, RequestId, Response};
use crate::server::streams::{SourceConfig, Streams, StreamsConfig};
use crate::server::whip::{WhipConfig, WhipServer};
use crate::testing::shared_certificate;

/// Number of things that happen in one run.
const STEPS: usize = 48;

/// Number of viewers that a run may connect.
const MAX_VIEWERS: usize = 3;

/// Limit of the wait for an answer or a connection; nothing that the input holds may make it longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes frames that the input holds, to viewers that come and go: a viewer gets nothing that was not published,
/// the connections stay up whatever the frames are, and at the end no session is left.
pub fn published(data: &[u8]) {
    watched(data);
}

/// Does what [`published`] does; returns the number of frames that viewers received.
pub(super) fn watched(data: &[u8]) -> usize {
    let mut bytes = Bytes(data);
    let Some(mut stage) = Stage::new(bytes.byte()) else {
        return 0;
    };
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        stage.step(&mut bytes);
    }
    stage.end()
}

/// A publisher or a viewer: its peer, its session at the server and its tracks (audio, video).
struct Client {
    peer: PeerId,
    session: String,
    tracks: [TransceiverId; 2],
}

struct Stage {
    net: EventLoop,
    streams: Streams,
    whip: WhipServer,
    requests: u64,
    codec: Codec,
    publisher: Option<Client>,
    viewers: Vec<Client>,
    /// The frames that were published.
    frames: HashSet<Vec<u8>>,
    media_time: Duration,
    received: usize,
}

impl Stage {
    fn new(choice: u8) -> Option<Self> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let net = EventLoop::new(LoopConfig::default().bind([loopback])).ok()?;
        let mut streams = Streams::new(StreamsConfig::default());
        streams.add("cam", SourceConfig::whip()).ok()?;
        let whip = WhipServer::new(WhipConfig::default().peer(peer_config()));
        let codecs = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
        let mut stage = Self {
            net,
            streams,
            whip,
            requests: 0,
            codec: codecs[usize::from(choice) % codecs.len()],
            publisher: None,
            viewers: Vec::new(),
            frames: HashSet::new(),
            media_time: Duration::ZERO,
            received: 0,
        };
        stage.publisher = stage.connect("/whip/cam", Direction::SendOnly);
        assert!(stage.publisher.is_some(), "the publisher is not taken");
        Some(stage)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        match control >> 5 {
            0 if self.viewers.len() < MAX_VIEWERS => {
                let viewer = self.connect("/whep/cam", Direction::RecvOnly);
                self.viewers.extend(viewer);
            }
            1 if !self.viewers.is_empty() => {
                let index = usize::from(control) % self.viewers.len();
                let viewer = self.viewers.swap_remove(index);
                self.leave(&viewer);
            }
            2 => {
                let viewer = self.viewers.get(usize::from(control) % MAX_VIEWERS);
                if let Some((peer, [_, video])) = viewer.map(|v| (v.peer, v.tracks))
                    && let Ok(mut peer) = self.net.peer(peer)
                {
                    let _ = peer.request_keyframe(video, None, KeyframeRequestKind::Pli);
                }
            }
            3 => {
                // Another publisher takes over.
                if let Some(old) = self.publisher.take() {
                    self.leave(&old);
                }
                self.publisher = self.connect("/whip/cam", Direction::SendOnly);
            }
            4 => self.publish(0, bytes.take(usize::from(control & 31) * 4)),
            5..=7 => {
                let length = usize::from(bytes.byte()) * usize::from(control & 31) / 4;
                let frame = match control >> 5 {
                    // Starts like a VP8 keyframe (RFC 6386 §9.1).
                    5 => [
                        &[0x50, 1, 0, 0x9D, 1, 0x2A, 64, 0, 48, 0],
                        bytes.take(length),
                    ]
                    .concat(),
                    _ => bytes.take(length).to_vec(),
                };
                self.publish(1, &frame);
            }
            _ => self.pump(Duration::from_millis(u64::from(control & 31))),
        }
        self.pump(Duration::ZERO);
    }

    /// Sends a frame on the track with this index.
    fn publish(&mut self, track: usize, frame: &[u8]) {
        let Some(publisher) = &self.publisher else {
            return;
        };
        self.media_time += Duration::from_millis(20);
        let Ok(mut peer) = self.net.peer(publisher.peer) else {
            return;
        };
        self.frames.insert(frame.to_vec());
        let frame = EncodedFrame::new(frame.to_vec(), self.media_time);
        let _ = peer.write_frame(publisher.tracks[track], &frame);
    }

    /// Connects a peer over WHIP or WHEP; `None` if the server refuses it.
    fn connect(&mut self, path: &str, direction: Direction) -> Option<Client> {
        // On a port of its own: on the shared port, a remote address belongs to one peer.
        let config = peer_config().port(PortPolicy::Own);
        let peer = open::wanted(|| self.net.add_peer(config)).ok()?;
        let mut client = self.net.peer(peer).ok()?;
        let mut add = |kind, codec| {
            let config = TransceiverConfig::default()
                .direction(direction)
                .codecs([codec]);
            match direction {
                Direction::SendOnly => client.add_track(kind, config),
                _ => client.add_transceiver(kind, config),
            }
        };
        let tracks = [
            add(MediaKind::Audio, Codec::Opus).ok()?,
            add(MediaKind::Video, self.codec).ok()?,
        ];
        let offer = client.negotiate().ok()?;
        let mut request = Request::new("POST", path, ([127, 0, 0, 1], 1).into());
        let kind = ("content-type".to_owned(), "application/sdp".to_owned());
        request.headers.push(kind);
        request.body = offer.sdp.into_bytes();
        let response = self.ask(request);
        if response.status != 201 {
            if let Ok(mut client) = self.net.peer(peer) {
                client.close();
            }
            return None;
        }
        let location = response.headers.iter().find(|(n, _)| n == "Location");
        let session = location.expect("a created session has a place").1.clone();
        let answer = String::from_utf8_lossy(&response.body).into_owned();
        let mut client = self.net.peer(peer).ok()?;
        client
            .receive(SessionDescription::answer(answer))
            .expect("an answer that fits the offer");
        let end = Instant::now() + PATIENCE;
        while self.net.peer(peer).ok()?.connection_state() != ConnectionState::Connected {
            assert!(Instant::now() < end, "{path} does not connect");
            self.pump(Duration::from_millis(1));
        }
        Some(Client {
            peer,
            session,
            tracks,
        })
    }

    fn leave(&mut self, client: &Client) {
        let request = Request::new("DELETE", &client.session, ([127, 0, 0, 1], 1).into());
        let status = self.ask(request).status;
        assert!(status == 200 || status == 404, "{status}");
        if let Ok(mut peer) = self.net.peer(client.peer) {
            peer.close();
        }
    }

    fn ask(&mut self, request: Request) -> Response {
        self.requests += 1;
        let id = RequestId(self.requests);
        let Self {
            net, streams, whip, ..
        } = self;
        let now = Instant::now();
        open::wanted(|| whip.handle_request(net, streams, id, request, now));
        let end = now + PATIENCE;
        loop {
            if let Some((of, response)) = self.whip.poll_response() {
                assert_eq!(of, id, "answered twice");
                return response;
            }
            assert!(Instant::now() < end, "never answered");
            self.pump(Duration::from_millis(1));
        }
    }

    /// Runs the loop and the servers for at least this long.
    fn pump(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let mut wait = end.saturating_duration_since(Instant::now());
            while let Ok(Some((peer, event))) = self.net.next_event(Some(wait)) {
                self.on_event(peer, &event);
                wait = Duration::ZERO;
            }
            let now = Instant::now();
            self.whip.handle_timeout(&mut self.net, now);
            self.streams.handle_timeout(&mut self.net, now);
            while self.streams.poll_event().is_some() {}
            if now >= end {
                return;
            }
        }
    }

    fn on_event(&mut self, peer: PeerId, event: &PeerEvent) {
        if self.whip.owns(peer) {
            let host = &mut self.streams;
            return self
                .whip
                .handle_peer_event(&mut self.net, host, peer, event);
        }
        if let PeerEvent::Frame(frame) = event {
            let publisher = self.publisher.as_ref().map(|p| p.peer);
            assert_ne!(publisher, Some(peer), "frames for the publisher");
            // The framing of other codecs is rewritten (start codes, OBU sizes).
            let exact = matches!(frame.codec, Codec::Vp8 | Codec::Opus);
            assert!(
                !exact || self.frames.contains(&frame.data[..]),
                "never published"
            );
            self.received += 1;
        }
    }

    fn end(mut self) -> usize {
        self.pump(Duration::from_millis(5));
        for viewer in std::mem::take(&mut self.viewers) {
            let state = self.net.peer(viewer.peer).map(|p| p.connection_state());
            assert_eq!(state.ok(), Some(ConnectionState::Connected), "a viewer");
            self.leave(&viewer);
        }
        if let Some(publisher) = self.publisher.take() {
            let state = self.net.peer(publisher.peer).map(|p| p.connection_state());
            assert_eq!(
                state.ok(),
                Some(ConnectionState::Connected),
                "the publisher"
            );
            self.leave(&publisher);
        }
        self.pump(Duration::from_millis(1));
        assert_eq!(self.whip.sessions().count(), 0);
        assert_eq!(self.streams.viewer_count(), 0);
        self.received
    }
}

fn peer_config() -> PeerConfig {
    PeerConfig::default()
        .include_loopback(true)
        .certificate(shared_certificate())
}
