//! The machine against the scripted camera, in virtual time, without a network between them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::proto::rtsp::RtspUrl;
use crate::testing::camera::behaviour::{Audio, Video};
use crate::testing::camera::{
    Behaviour, ConnectionId, Expect, Input as ServerInput, Output as ServerOutput, SCRIPTS, Script,
    ScriptedCamera, film,
};

const OURS: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    4000,
);
const THEIRS: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    554,
);
const PORTS: [u16; 7] = [6000, 6001, 6002, 6003, 6004, 6005, 7777];
const FIRST_PORT: u16 = 40_000;

/// A machine and a camera.
struct Pair {
    camera: Camera,
    server: ScriptedCamera,
    now: Instant,
    connection: Option<ConnectionId>,
    connections: u64,
    events: Vec<(Instant, CameraEvent)>,
    /// Loses each n-th datagram, and delays each m-th one.
    loses: Option<u64>,
    delays: Option<u64>,
    datagrams: u64,
    delayed: Option<(usize, bool, SocketAddr, Vec<u8>)>,
}

impl Pair {
    fn new(behaviour: Behaviour, config: RtspClientConfig) -> Self {
        let now = Instant::now();
        Self {
            camera: Camera::new(CameraConfig::new(config.seed(Some(7))), now),
            server: ScriptedCamera::new(behaviour, PORTS, 7, now),
            now,
            connection: None,
            connections: 0,
            events: Vec::new(),
            loses: None,
            delays: None,
            datagrams: 0,
            delayed: None,
        }
    }

    fn of(script: &Script) -> Self {
        Self::new(script.behaviour(), config())
    }

    /// Lets both say what they have to say, and time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mut is_idle = true;
            let mut deadline = loop {
                match self.camera.poll_output() {
                    CameraOutput::Io(output) => {
                        is_idle = false;
                        self.perform(output);
                    }
                    CameraOutput::Event(event) => self.events.push((self.now, event)),
                    CameraOutput::Timeout(at) => break at,
                }
            };
            loop {
                match self.server.poll_output() {
                    ServerOutput::Timeout(at) => {
                        deadline = deadline.into_iter().chain(at).min();
                        break;
                    }
                    output => {
                        is_idle = false;
                        self.receive(output);
                    }
                }
            }
            if !is_idle {
                continue;
            }
            let Some(next) = deadline.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.camera.handle_input(Input::Timeout, self.now);
            self.server.handle_input(ServerInput::Timeout, self.now);
        }
    }

    fn perform(&mut self, output: Output) {
        let now = self.now;
        match output {
            Output::Connect { .. } => {
                self.connections += 1;
                let id = ConnectionId(self.connections);
                self.connection = Some(id);
                self.server
                    .handle_input(ServerInput::Accepted(id, OURS), now);
                let (local, remote) = (OURS, THEIRS);
                self.camera
                    .handle_input(Input::Connected { local, remote }, now);
            }
            Output::Send(bytes) => {
                if let Some(id) = self.connection {
                    self.server
                        .handle_input(ServerInput::Received(id, &bytes), now);
                }
            }
            Output::Disconnect => {
                if let Some(id) = self.connection.take() {
                    self.server.handle_input(ServerInput::Closed(id), now);
                }
            }
            Output::OpenUdp { stream, .. } => {
                let rtp_port = FIRST_PORT + 2 * stream as u16;
                let input = Input::UdpOpened {
                    stream,
                    rtp_port,
                    rtcp_port: rtp_port + 1,
                };
                self.camera.handle_input(input, now);
            }
            Output::SendUdp {
                destination,
                contents,
                ..
            } => {
                if let Some(n) = PORTS.iter().position(|port| *port == destination.port()) {
                    self.server
                        .handle_input(ServerInput::Datagram(n, OURS, &contents), now);
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self, output: ServerOutput) {
        match output {
            ServerOutput::Send(id, bytes) if self.connection == Some(id) => {
                self.camera.handle_input(Input::Received(&bytes), self.now);
            }
            ServerOutput::Close(id) if self.connection == Some(id) => {
                self.connection = None;
                let closed = crate::proto::rtsp::Disconnected::Closed;
                self.camera.handle_input(Input::Closed(closed), self.now);
            }
            ServerOutput::Datagram(place, destination, contents) => {
                let Some(offset) = destination.port().checked_sub(FIRST_PORT) else {
                    return;
                };
                self.datagrams += 1;
                let is_each = |n: Option<u64>| n.is_some_and(|n| self.datagrams.is_multiple_of(n));
                let source = SocketAddr::new(THEIRS.ip(), PORTS[place.number()]);
                let datagram = (usize::from(offset / 2), offset % 2 == 1, source, contents);
                if is_each(self.loses) {
                    return;
                }
                if is_each(self.delays) && self.delayed.is_none() {
                    self.delayed = Some(datagram);
                    return;
                }
                self.datagram(&datagram);
                if let Some(late) = self.delayed.take() {
                    self.datagram(&late);
                }
            }
            _ => {}
        }
    }

    fn datagram(
        &mut self,
        (stream, is_rtcp, source, contents): &(usize, bool, SocketAddr, Vec<u8>),
    ) {
        let input = Input::Datagram {
            stream: *stream,
            is_rtcp: *is_rtcp,
            source: *source,
            contents,
        };
        self.camera.handle_input(input, self.now);
    }

    /// Returns the frames of one kind.
    fn frames(&self, kind: MediaKind) -> Vec<&CameraFrame> {
        let mut tracks: &[CameraTrack] = &[];
        let mut frames = Vec::new();
        for (_, event) in &self.events {
            match event {
                CameraEvent::Tracks(all, _) => tracks = all,
                CameraEvent::Frame { track, frame } if tracks[*track].kind == kind => {
                    frames.push(frame)
                }
                _ => {}
            }
        }
        frames
    }

    fn ended(&self) -> Option<&Option<RtspError>> {
        self.events.iter().find_map(|(_, event)| match event {
            CameraEvent::Ended(error) => Some(error),
            _ => None,
        })
    }
}

fn config() -> RtspClientConfig {
    RtspClientConfig::new(RtspUrl::parse("rtsp://cam:secret@10.0.0.1/cam").unwrap())
}

/// Returns the faults in the output of a script.
fn judge(script: &Script) -> Result<(), String> {
    let mut pair = Pair::of(script);
    pair.run(Duration::from_secs(12));
    pair.camera.close(pair.now);
    pair.run(Duration::from_secs(3));
    if pair.ended() != Some(&None) {
        return Err(format!("it ended: {:?}", pair.ended()));
    }
    let is_h265 = script.behaviour().media.video == Video::H265;
    let log = pair.server.log();
    let sent: BTreeSet<u64> = log
        .latest
        .iter()
        .map(|picture| picture.fingerprint)
        .collect();
    let frames = pair.frames(MediaKind::Video);
    for frame in &frames {
        let slices = film::split(&frame.data).into_iter();
        if !sent.contains(&film::fingerprint(slices, is_h265)) {
            return Err(format!("a picture at {:?} was never sent", frame.time));
        }
    }
    let least = match script.expect {
        Expect::All => log.pictures * 97 / 100,
        _ => log.pictures / 5,
    };
    if (frames.len() as u64) < least.max(100) {
        let stats = pair.camera.stats(0);
        return Err(format!(
            "{} of {} pictures: {stats:?}",
            frames.len(),
            log.pictures
        ));
    }
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let frames = pair.frames(kind);
        if !frames.windows(2).all(|two| two[0].time < two[1].time) {
            return Err(format!("times of {kind} do not go up"));
        }
        // From the third second on, when a wrong rate has been measured.
        let far = frames.iter().filter(|f| {
            let arrival = f
                .arrived
                .saturating_duration_since(pair.now - Duration::from_secs(15));
            arrival > Duration::from_secs(11)
                && f.time.abs_diff(arrival) > Duration::from_millis(1200)
        });
        if far.count() > 0 {
            return Err(format!("times of {kind} are far from their arrival"));
        }
    }
    let quirk = Quirk::from_number(script.number).expect("it exists");
    if script.counted && pair.camera.quirks().of(quirk) == 0 {
        return Err(format!("not counted: {:?}", pair.camera.quirks()));
    }
    Ok(())
}

/// The quirks of descriptions, packets and codecs: 22 to 38 by their numbers. The others are the client's.
#[test]
fn quirks_22_to_38() {
    let mut failed = Vec::new();
    for script in SCRIPTS
        .iter()
        .filter(|script| (22..=38).contains(&script.number))
    {
        if let Err(why) = judge(script) {
            let Script {
                number,
                name,
                about,
                ..
            } = script;
            failed.push(format!("{number} {name}, {about}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_camera_without_faults_has_no_quirks() {
    let mut behaviour = Behaviour::default();
    behaviour.media.audio = Audio::Pcma;
    let mut pair = Pair::new(behaviour, config());
    pair.run(Duration::from_secs(20));
    assert_eq!(
        pair.camera.quirks().met().count(),
        0,
        "{:?}",
        pair.camera.quirks()
    );
    let (video, audio) = (pair.frames(MediaKind::Video), pair.frames(MediaKind::Audio));
    assert!(video[0].is_key && !video[0].discontinuity && video.len() > 490);
    assert!(audio.len() > 900);
    // The same moment has the same time in both.
    let near = |time: Duration| {
        audio
            .iter()
            .any(|a| a.time.abs_diff(time) < Duration::from_millis(30))
    };
    assert!(video.iter().all(|frame| near(frame.time)));
    assert!(pair.camera.stats(0).unwrap().drift_ppm.unwrap().abs() < 1.0);
    assert_eq!(
        pair.camera.video(0).unwrap().codec_string.split('.').next(),
        Some("avc1")
    );
    assert_eq!(pair.camera.parameter_sets(0).len(), 2);
    let kinds: Vec<MediaKind> = match pair.events.iter().find_map(|(_, event)| match event {
        CameraEvent::Tracks(tracks, Transport::Tcp) => Some(tracks),
        _ => None,
    }) {
        Some(tracks) => tracks.iter().map(|track| track.kind).collect(),
        None => panic!("no tracks"),
    };
    assert_eq!(kinds, [MediaKind::Video, MediaKind::Audio]);
}

#[test]
fn datagrams_are_put_in_order_and_losses_cost_up_to_a_keyframe() {
    for (loses, delays) in [(None, Some(7)), (Some(101), Some(7))] {
        let mut behaviour = Behaviour::default();
        behaviour.packing.mtu = 400;
        let mut pair = Pair::new(behaviour, config().transports(vec![Transport::Udp]));
        (pair.loses, pair.delays) = (loses, delays);
        pair.run(Duration::from_secs(15));
        let pictures = pair.server.log().pictures as usize;
        let frames = pair.frames(MediaKind::Video);
        let discontinuities = frames.iter().filter(|frame| frame.discontinuity).count();
        match loses {
            None => assert!(
                frames.len() + 3 > pictures && discontinuities == 0,
                "{} of {pictures}",
                frames.len()
            ),
            Some(_) => assert!(discontinuities > 0 && frames.len() < pictures),
        }
        let sent: BTreeSet<u64> = pair
            .server
            .log()
            .latest
            .iter()
            .map(|p| p.fingerprint)
            .collect();
        for frame in frames {
            assert!(sent.contains(&film::fingerprint(
                film::split(&frame.data).into_iter(),
                false
            )));
            if frame.discontinuity {
                assert!(frame.is_key);
            }
        }
        assert_eq!(pair.camera.quirks().of(Quirk::GapOverTcp), 0);
    }
}

#[test]
fn another_payload_type_is_adopted_if_the_described_one_never_comes() {
    let track = CameraTrack {
        kind: MediaKind::Audio,
        stream: 0,
        format: MediaFormat::G722,
        clock_rate: 8_000,
        frame_rate: None,
    };
    let receiver = |payload_type| {
        Receiver::new(
            track.clone(),
            payload_type,
            0,
            UnpackLimits::default(),
            None,
        )
    };
    let mut lying = receiver(96);
    let judged: Vec<_> = (0..25).map(|_| lying.judge(97)).collect();
    assert_eq!(judged[18], receiver::Judgement::Dropped);
    assert_eq!(judged[19], receiver::Judgement::Adopted);
    assert!(
        judged[20..]
            .iter()
            .all(|j| *j == receiver::Judgement::Accepted)
    );
    let mut honest = receiver(96);
    assert_eq!(honest.judge(96), receiver::Judgement::Accepted);
    assert!((0..100).all(|_| honest.judge(50) == receiver::Judgement::Dropped));
    assert_eq!(honest.unknown_payload_types, 100);
}

#[test]
fn the_end_is_the_last_event() {
    let mut pair = Pair::new(Behaviour::default(), config());
    pair.run(Duration::from_secs(2));
    pair.server.restart();
    pair.run(Duration::from_secs(1));
    assert!(matches!(
        pair.events.last(),
        Some((_, CameraEvent::Ended(Some(RtspError::Disconnected))))
    ));
}
