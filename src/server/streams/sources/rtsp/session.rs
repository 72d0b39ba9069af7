//! A session with a camera, as the source of a stream.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::driver::shared_media::SharedMedia;
use crate::driver::{CameraSockets, Datagram, EventLoop, PeerId, TcpEvent, TcpId, TlsMode, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::{EncodedFrame, PeerEvent};
use crate::proto::rtsp::{Input, Output, Quirks, RtspError};
use crate::server::streams::kind::{Contents, Context, Live, Media, Source, SourceEvent, Stopped};

/// Pause after the camera has refused the password, or anything else that only a person can change: many cameras lock an
/// account after some tries.
const NEEDS_A_PERSON: Duration = Duration::from_secs(60);

/// Time by which frames may be due after their arrival without a change of what sender reports say.
const USUAL_LEAD: Duration = Duration::from_millis(200);

/// Advice for a camera whose certificate is not accepted.
const CERTIFICATE: &str = "append #fingerprint=… with the right one, or #insecure to accept any";

/// Time limit for the end of a session, beyond those of the machine.
const FAREWELL: Duration = Duration::from_secs(3);

/// The camera's machine, as far as a session needs it.
pub(super) trait Machine: fmt::Debug + Send {
    fn handle_input(&mut self, input: Input<'_>, now: Instant);

    fn poll_output(&mut self) -> Step;

    /// Adds the faults that were tolerated so far.
    fn add_quirks(&self, to: &mut Quirks);

    /// Ends the session: TEARDOWN, if there is something to tear down.
    fn close(&mut self, now: Instant);

    /// Sends audio to the camera: the payload of an RTP packet.
    fn speak(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) {
        let _ = (codec, timestamp, payload);
    }
}

/// Output of a [`Machine`].
#[derive(Debug)]
pub(super) enum Step {
    /// For its sockets.
    Wire(Output),
    /// The camera was understood to send these, with remarks for people.
    Tracks(Contents),
    Frame(Frame),
    /// A remark for people.
    Note(String),
    /// Nothing that the camera sends can be shown, for this reason.
    Useless(String),
    /// The session is over.
    Ended(Option<RtspError>),
    /// Nothing until then.
    Timeout(Option<Instant>),
}

/// An access unit, or some audio.
#[derive(Debug)]
pub(super) struct Frame {
    pub codec: Codec,
    pub data: Vec<u8>,
    /// Since the first frame of the session; never goes back within a track.
    pub time: Duration,
    pub is_key: bool,
    /// Something before it is missing.
    pub is_cut: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    machine: Box<dyn Machine>,
    sockets: CameraSockets,
    ready: VecDeque<SourceEvent>,
    deadline: Option<Instant>,
    /// The instant that times of frames count from, for viewers and within the session.
    epoch: Instant,
    origin: Option<Instant>,
    /// The longest time by which a frame was due after its arrival: the later parts of a long unit of audio, and video that
    /// waits for its audio.
    lead: Duration,
    /// Video is cut: it goes on with a keyframe.
    waits_for_key: bool,
    /// The peer that talks to the camera, and when it was last heard.
    speaker: Option<(PeerId, Instant)>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nobody watches any more; until then the camera is told so.
    Ending {
        until: Instant,
    },
    Over,
}

impl Session {
    /// Starts a session with the camera's machine.
    pub fn begin(machine: Box<dyn Machine>, tls: TlsMode, ctx: &mut Context<'_>) -> Self {
        let mut session = Self {
            machine,
            sockets: CameraSockets::new(tls, CERTIFICATE),
            ready: VecDeque::new(),
            deadline: None,
            epoch: ctx.epoch,
            origin: None,
            lead: USUAL_LEAD,
            waits_for_key: false,
            speaker: None,
            phase: Phase::Open,
        };
        session.drain(ctx.net, ctx.now);
        session
    }

    /// Makes the audio of a peer's packets go to the camera.
    #[must_use]
    pub fn of_speaker(mut self, peer: PeerId, now: Instant) -> Self {
        self.speaker = Some((peer, now));
        self
    }

    fn input(&mut self, net: &mut EventLoop, input: Input<'_>, now: Instant) {
        self.machine.handle_input(input, now);
        self.drain(net, now);
    }

    /// Does what the machine wants. Bounded by what the machine was given.
    fn drain(&mut self, net: &mut EventLoop, now: Instant) {
        loop {
            match self.machine.poll_output() {
                Step::Wire(output) => {
                    if let Some(input) = self.sockets.perform(net, output) {
                        self.machine.handle_input(input, now);
                    }
                }
                Step::Tracks(contents) => self.ready.push_back(SourceEvent::Tracks(contents)),
                Step::Frame(frame) => self.take(frame, now),
                Step::Note(note) => self.ready.push_back(SourceEvent::Note(note)),
                // The stream ends the session.
                Step::Useless(why) => self.ready.push_back(SourceEvent::Refused {
                    why,
                    again_in: NEEDS_A_PERSON,
                }),
                Step::Ended(why) => return self.end(net, why),
                Step::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }

    /// Gives a frame to the stream.
    fn take(&mut self, frame: Frame, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let codec = frame.codec;
        if codec.is_video() {
            // What follows a gap refers to frames that nobody has.
            self.waits_for_key |= frame.is_cut;
            self.waits_for_key &= !frame.is_key;
            if self.waits_for_key {
                return;
            }
        }
        let origin = *self
            .origin
            .get_or_insert_with(|| now.checked_sub(frame.time).unwrap_or(now));
        let due = origin + frame.time;
        // Times of all runs count from the same instant, so that they go on after a restart.
        let time = due.saturating_duration_since(self.epoch);
        // Sender reports relate the tracks to each other by their wall clocks. A peer cannot report on one that is ahead of
        // now, so all tracks have it earlier by the same time.
        self.lead = self.lead.max(due.saturating_duration_since(now));
        let wallclock = due.checked_sub(self.lead).unwrap_or(now);
        let encoded = EncodedFrame::new(frame.data, time).wallclock(wallclock);
        self.ready.push_back(SourceEvent::Media(Media {
            codec,
            content: SharedMedia::Frame(encoded.into()),
            is_key: frame.is_key,
            live: Live::WhenDecodable { lacks_sets: false },
        }));
    }

    fn end(&mut self, net: &mut EventLoop, why: Option<RtspError>) {
        let was_open = self.phase == Phase::Open;
        self.phase = Phase::Over;
        self.deadline = None;
        self.sockets.close(net);
        if was_open {
            let again_in = match &why {
                Some(e) if e.needs_a_person() => NEEDS_A_PERSON,
                Some(e) => e.retry_after().unwrap_or_default(),
                None => Duration::ZERO,
            };
            let why = why.map_or_else(|| "the session has ended".into(), |e| e.to_string());
            self.ready.push_back(SourceEvent::Refused { why, again_in });
        }
    }
}

impl Source for Session {
    fn poll(&mut self, _: &mut Context<'_>) -> Option<SourceEvent> {
        self.ready.pop_front()
    }

    fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Ending { until } = self.phase
            && until <= ctx.now
        {
            return self.end(ctx.net, None);
        }
        if self.deadline.is_some_and(|at| at <= ctx.now) {
            self.deadline = None;
            self.input(ctx.net, Input::Timeout, ctx.now);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            Phase::Ending { until } => Some(until),
            Phase::Open | Phase::Over => None,
        };
        self.deadline.into_iter().chain(end).min()
    }

    fn has_socket(&self, socket: UdpId) -> bool {
        self.sockets.has_udp(socket)
    }

    fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        if let Some(input) = self.sockets.input_of_datagram(datagram) {
            self.machine.handle_input(input, ctx.now);
            self.drain(ctx.net, ctx.now);
        }
    }

    fn has_tcp(&self, connection: TcpId) -> bool {
        self.sockets.has_tcp(connection)
    }

    fn handle_tcp(&mut self, ctx: &mut Context<'_>, event: &TcpEvent) {
        if let Some(input) = self.sockets.input_of_tcp(event) {
            self.machine.handle_input(input, ctx.now);
            self.drain(ctx.net, ctx.now);
        }
    }

    fn add_quirks(&self, to: &mut Quirks) {
        self.machine.add_quirks(to);
    }

    fn peer(&self) -> Option<PeerId> {
        self.speaker.map(|(peer, _)| peer)
    }

    fn handle_peer_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        let (PeerEvent::Packet(packet), Some((_, heard))) = (event, &mut self.speaker) else {
            return;
        };
        *heard = ctx.now;
        if self.phase == Phase::Open {
            self.machine
                .speak(packet.codec, packet.timestamp, &packet.payload);
            self.drain(ctx.net, ctx.now);
        }
    }

    fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        let heard = self.speaker.map(|(_, heard)| heard);
        heard.is_some_and(|heard| now.saturating_duration_since(heard) >= patience)
    }

    fn stop(mut self: Box<Self>, net: &mut EventLoop) -> Stopped {
        if self.phase == Phase::Over {
            return Stopped::Gone;
        }
        let now = Instant::now();
        self.ready.clear();
        self.speaker = None;
        self.phase = Phase::Ending {
            until: now + FAREWELL,
        };
        self.machine.close(now);
        self.drain(net, now);
        match self.phase {
            Phase::Over => Stopped::Gone,
            _ => Stopped::Ending(self),
        }
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn abandon(&mut self, net: &mut EventLoop) {
        self.end(net, None);
        self.ready.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::proto::rtsp::{Disconnected, Quirk, RtspUrl};
    use crate::server::streams::kind::{Kind, SourceConfig};
    use crate::server::streams::{StreamState, Streams, StreamsConfig};

    /// Inputs of the machine, as text.
    type Log = Arc<Mutex<Vec<String>>>;

    /// A machine without a protocol: it says hello, and what comes back decides.
    #[derive(Debug, Clone)]
    struct Fake {
        port: u16,
        log: Log,
        out: Arc<Mutex<VecDeque<Step>>>,
        closing: bool,
        quirks: Quirks,
    }

    impl Fake {
        fn push(&self, step: Step) {
            self.out.lock().unwrap().push_back(step);
        }

        fn frame(&self, time: u64, is_key: bool, is_cut: bool) {
            self.push(Step::Frame(Frame {
                codec: Codec::H264,
                data: vec![0, 0, 0, 1, 0x65, time as u8],
                time: Duration::from_millis(time),
                is_key,
                is_cut,
            }));
        }
    }

    impl Machine for Fake {
        fn handle_input(&mut self, input: Input<'_>, _: Instant) {
            let text = match input {
                Input::Connected { .. } => {
                    self.quirks.count(Quirk::HeaderCase);
                    self.push(Step::Wire(Output::Send(b"hello".to_vec())));
                    "connected".into()
                }
                Input::Received(bytes) => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    match &*text {
                        "play" => {
                            self.push(Step::Tracks(Contents {
                                codecs: vec![Codec::H264],
                                notes: vec!["a note".into()],
                            }));
                            self.push(Step::Wire(Output::OpenUdp {
                                stream: 3,
                                multicast: None,
                            }));
                            for (time, is_key, is_cut) in [
                                (0, true, false),
                                (40, false, false),
                                // Something is missing: nothing before the next keyframe.
                                (120, false, true),
                                (160, false, false),
                                (200, true, false),
                            ] {
                                self.frame(time, is_key, is_cut);
                            }
                        }
                        "wrong" => self.push(Step::Ended(Some(RtspError::WrongPassword))),
                        "useless" => self.push(Step::Useless("only JPEG".into())),
                        "ok" if self.closing => {
                            self.quirks.count(Quirk::TeardownUnanswered);
                            self.push(Step::Ended(None));
                        }
                        _ => {}
                    }
                    text
                }
                Input::Closed(why) => {
                    let text = format!("closed {why:?}");
                    let error = match why {
                        Disconnected::Refused => RtspError::Refused { port: self.port },
                        _ => RtspError::Disconnected,
                    };
                    self.push(Step::Ended(Some(error)));
                    text
                }
                Input::UdpOpened {
                    stream,
                    rtp_port,
                    rtcp_port,
                } => format!("udp {stream} {rtp_port} {}", rtcp_port - rtp_port),
                Input::Datagram {
                    stream,
                    is_rtcp,
                    contents,
                    ..
                } => format!("datagram {stream} {is_rtcp} {}", contents.len()),
                other => format!("{other:?}"),
            };
            self.log.lock().unwrap().push(text);
        }

        fn poll_output(&mut self) -> Step {
            let next = self.out.lock().unwrap().pop_front();
            next.unwrap_or(Step::Timeout(None))
        }

        fn add_quirks(&self, to: &mut Quirks) {
            to.add(&self.quirks);
        }

        fn close(&mut self, _: Instant) {
            self.closing = true;
            self.push(Step::Wire(Output::Send(b"bye".to_vec())));
        }
    }

    impl Kind for Fake {
        fn describe(&self) -> String {
            "a fake camera".into()
        }

        fn media_mode(&self) -> crate::proto::peer::MediaMode {
            crate::proto::peer::MediaMode::Frames
        }

        fn runs(&self) -> crate::server::streams::kind::Runs {
            crate::server::streams::kind::Runs::Always
        }

        fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
            self.push(Step::Wire(Output::Connect {
                host: "127.0.0.1".into(),
                port: self.port,
                tls: false,
            }));
            let machine = Box::new(self.clone());
            Ok(Box::new(Session::begin(machine, TlsMode::SystemRoots, ctx)))
        }
    }

    struct World {
        net: EventLoop,
        streams: Streams,
        log: Log,
    }

    impl World {
        fn new(port: u16) -> Self {
            let log = Log::default();
            let fake = Fake {
                port,
                log: log.clone(),
                out: Arc::default(),
                closing: false,
                quirks: Quirks::default(),
            };
            let mut streams = Streams::new(StreamsConfig::default());
            streams.add("cam", SourceConfig::new(fake)).unwrap();
            let net = EventLoop::new(crate::driver::LoopConfig::default()).unwrap();
            Self { net, streams, log }
        }

        fn run_until(&mut self, mut is_it: impl FnMut(&mut Self) -> bool) {
            let end = Instant::now() + Duration::from_secs(20);
            while !is_it(self) {
                assert!(Instant::now() < end, "{:?}", self.log.lock().unwrap());
                self.net.next_event(Some(Duration::from_millis(5))).unwrap();
                while let Some(event) = self.net.poll_tcp() {
                    self.streams.handle_tcp(&mut self.net, &event);
                }
                while let Some(datagram) = self.net.poll_datagram() {
                    self.streams.handle_datagram(&mut self.net, &datagram);
                }
                self.streams.handle_timeout(&mut self.net, Instant::now());
            }
        }

        fn has(&self, text: &str) -> bool {
            self.log.lock().unwrap().iter().any(|l| l.starts_with(text))
        }
    }

    /// A server for one connection: sends the answer to each of these; returns what it got at last.
    fn server(
        answers: Vec<(&'static str, &'static str)>,
    ) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut tcp = listener.accept().unwrap().0;
            let mut buffer = [0; 1000];
            for (wanted, answer) in answers {
                let count = tcp.read(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], wanted.as_bytes());
                tcp.write_all(answer.as_bytes()).unwrap();
            }
            let mut rest = String::new();
            tcp.read_to_string(&mut rest).unwrap();
            rest
        });
        (port, thread)
    }

    #[test]
    fn a_session_from_hello_to_bye() {
        let (port, thread) = server(vec![("hello", "play"), ("bye", "ok")]);
        let mut world = World::new(port);
        world.run_until(|w| w.streams.info("cam").unwrap().state == StreamState::Live);
        let info = world.streams.info("cam").unwrap();
        assert_eq!(info.codecs, [Codec::H264]);
        assert_eq!(info.notes, ["a note"]);
        // Of five frames two were after a gap.
        assert_eq!((info.stats.packets, info.stats.keyframes), (3, 2));
        // Datagrams come to the pair that was opened.
        world.run_until(|w| w.has("udp 3 "));
        let line = world
            .log
            .lock()
            .unwrap()
            .iter()
            .find(|l| l.starts_with("udp"))
            .unwrap()
            .clone();
        let parts: Vec<u16> = line
            .split(' ')
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect();
        assert_eq!((parts[1] % 2, parts[2]), (0, 1));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .send_to(b"sr", (Ipv4Addr::LOCALHOST, parts[1] + 1))
            .unwrap();
        world.run_until(|w| w.has("datagram 3 true 2"));
        // A removed stream says goodbye, without waiting for the answer.
        world.streams.remove(&mut world.net, "cam").unwrap();
        world.run_until(|_| thread.is_finished());
        assert_eq!(thread.join().unwrap(), "");
    }

    /// Returns the wall clocks of frames with these times that all arrive now, in milliseconds before now.
    fn wallclocks(times: &[u64]) -> Vec<u128> {
        let now = Instant::now();
        let fake = Fake {
            port: 0,
            log: Log::default(),
            out: Arc::default(),
            closing: false,
            quirks: Quirks::default(),
        };
        let mut session = Session {
            machine: Box::new(fake),
            sockets: CameraSockets::new(TlsMode::SystemRoots, CERTIFICATE),
            ready: VecDeque::new(),
            deadline: None,
            epoch: now,
            origin: None,
            speaker: None,
            lead: USUAL_LEAD,
            waits_for_key: false,
            phase: Phase::Open,
        };
        for time in times {
            let frame = Frame {
                codec: Codec::G722,
                data: vec![0; 160],
                time: Duration::from_millis(*time),
                is_key: true,
                is_cut: false,
            };
            session.take(frame, now);
        }
        let clock = |event| match event {
            SourceEvent::Media(Media {
                content: SharedMedia::Frame(frame),
                ..
            }) => frame.wallclock,
            _ => None,
        };
        let clocks = session.ready.into_iter().filter_map(clock);
        clocks
            .map(|clock| {
                now.checked_duration_since(clock)
                    .expect("not ahead")
                    .as_millis()
            })
            .collect()
    }

    /// A peer reports nonsense about a frame whose wall clock is ahead of now, and browsers then delay the video more and more.
    #[test]
    fn wall_clocks_are_not_ahead_of_arrival() {
        // The parts of a unit of AAC at 16 kHz.
        assert_eq!(wallclocks(&[0, 20, 40]), [200, 180, 160]);
        assert_eq!(wallclocks(&[0, 500, 520]), [200, 0, 0]);
    }

    #[test]
    fn reasons_reach_people_and_passwords_are_not_tried_in_a_row() {
        let (port, thread) = server(vec![("hello", "wrong")]);
        let mut world = World::new(port);
        let state = |w: &World| w.streams.info("cam").unwrap().state;
        world.run_until(|w| matches!(state(w), StreamState::Failed { .. }));
        let StreamState::Failed { why, retry_at } = state(&world) else {
            unreachable!()
        };
        assert_eq!(why, "the camera refused the password");
        assert!(retry_at.unwrap() > Instant::now() + NEEDS_A_PERSON / 2);
        world.run_until(|_| thread.is_finished());
        // Nobody listens there any more.
        let mut world = World::new(port);
        world.run_until(|w| matches!(state(w), StreamState::Failed { .. }));
        let StreamState::Failed { why, retry_at } = state(&world) else {
            unreachable!()
        };
        assert_eq!(
            why,
            format!("the host is there, but nothing listens on its port {port}")
        );
        assert!(retry_at.unwrap() < Instant::now() + Duration::from_secs(2));
    }

    /// They are counted while the session lasts, while it ends, and after that; once.
    #[test]
    fn what_was_tolerated_outlives_the_session() {
        let (port, thread) = server(vec![("hello", "useless"), ("bye", "ok")]);
        let mut world = World::new(port);
        world.run_until(|w| w.has("ok"));
        let info = world.streams.info("cam").unwrap();
        let StreamState::Failed { why, retry_at } = info.state else {
            panic!("{info:?}")
        };
        assert_eq!(why, "only JPEG");
        assert!(retry_at.unwrap() > Instant::now() + NEEDS_A_PERSON / 2);
        let both = [(Quirk::HeaderCase, 1), (Quirk::TeardownUnanswered, 1)];
        assert_eq!(info.quirks, both);
        // The source is forgotten by then.
        world.run_until(|_| thread.is_finished());
        for _ in 0..5 {
            let now = Instant::now();
            world.streams.handle_timeout(&mut world.net, now);
            assert_eq!(world.streams.info("cam").unwrap().quirks, both);
        }
        // One that is over at once.
        let (port, _thread) = server(vec![("hello", "wrong")]);
        let mut world = World::new(port);
        world.run_until(|w| {
            let state = w.streams.info("cam").unwrap().state;
            matches!(state, StreamState::Failed { .. })
        });
        let info = world.streams.info("cam").unwrap();
        assert_eq!(info.quirks, [(Quirk::HeaderCase, 1)]);
    }

    #[test]
    fn a_camera_shows_no_password_anywhere() {
        let text = "cam=rtsp://admin:s3cret@cam.lan/ch1?password=s3cret#sub=rtsp://x:s3cret@cam2.lan/2&always";
        let (_, camera) = SourceConfig::parse(text).unwrap();
        let shown = format!(
            "{camera} {camera:?} {:?} {:?}",
            camera.kind(),
            camera.kind().sub()
        );
        assert!(
            !shown.contains("s3cret") && !shown.contains("admin"),
            "{shown}"
        );
        assert!(
            shown.contains("cam.lan/ch1") && shown.contains("cam2.lan/2"),
            "{shown}"
        );
        for wrong in [
            "cam=rtsp://admin:s3cret@cam/1#transport=s3cret",
            "cam=rtsp://admin:s3/cr#s3cret@cam:x/1",
            "rtsp://admin:s3cret@cam/1",
            "c m=rtsp://admin:s3cret@cam/1",
        ] {
            let error = SourceConfig::parse(wrong).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("s3cret"),
                "{error:?}"
            );
        }
        let _ = RtspUrl::parse("rtsp://a").unwrap();
    }
}
