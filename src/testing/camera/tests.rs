use super::*;
use crate::proto::rtsp::Quirk;
use crate::testing::camera::behaviour::{Audio, Video};

#[test]
fn every_quirk_has_a_script() {
    for number in 1..=42 {
        let scripts: Vec<_> = SCRIPTS.iter().filter(|s| s.number == number).collect();
        let first = scripts
            .first()
            .unwrap_or_else(|| panic!("no script for quirk {number}"));
        assert!(scripts.iter().all(|s| s.name == first.name));
    }
    // The table of the documentation: `| 1 | `early-data` | … | … |`.
    let rows = include_str!("../../../docs/cameras.md").lines();
    let rows = rows.filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number: u8 = cells.next()?.parse().ok()?;
        let name = cells.next()?.trim_matches('`');
        let full = cells.filter(|cell| !cell.is_empty()).count() == 2;
        full.then_some((number, name))
    });
    let documented: Vec<_> = rows.collect();
    let known = Quirk::ALL
        .iter()
        .map(|quirk| (quirk.number(), quirk.name()));
    assert_eq!(documented, known.collect::<Vec<_>>());
    for script in SCRIPTS {
        assert_eq!(documented[usize::from(script.number) - 1].1, script.name);
    }
    assert!(SCRIPTS.is_sorted_by_key(|script| script.number));
    for (at, script) in SCRIPTS.iter().enumerate() {
        let is_new = |other: &Script| other.number != script.number || other.about != script.about;
        assert!(SCRIPTS[..at].iter().all(is_new), "{script:?}");
    }
}

#[test]
fn films_have_keyframes_and_parameter_sets() {
    for (video, sets) in [(Video::H264, 2), (Video::H264BFrames, 2), (Video::H265, 3)] {
        let film = Film::new(video);
        assert_eq!(film.sets().len(), sets, "{video:?}");
        let keys = (0..45).filter(|n| film.unit(*n).unwrap().is_key).count();
        assert_eq!(keys, 3, "{video:?}");
    }
    let film = Film::new(Video::H264BFrames);
    let shown = (0..45).map(|n| n + film.unit(n as u64).unwrap().shown_after);
    let mut shown: Vec<_> = shown.collect();
    assert!(!shown.is_sorted());
    shown.sort_unstable();
    assert!(
        shown.windows(2).all(|two| two[0] + 1 == two[1]),
        "{shown:?}"
    );
}

/// Speaks to a camera in virtual time.
struct Client {
    camera: ScriptedCamera,
    now: Instant,
    got: Vec<u8>,
}

const ID: ConnectionId = ConnectionId(1);

impl Client {
    fn new(behaviour: Behaviour) -> Self {
        let now = Instant::now();
        let mut camera = ScriptedCamera::new(behaviour, [6000; 7], 1, now);
        let from = SocketAddr::from(([10, 0, 0, 9], 4000));
        camera.handle_input(Input::Accepted(ID, from), now);
        let got = Vec::new();
        Self { camera, now, got }
    }

    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.camera.poll_output() {
                Output::Send(_, contents) => self.got.extend(contents),
                Output::Timeout(at) => return at,
                _ => {}
            }
        }
    }

    fn say(&mut self, request: &str) -> String {
        self.got.clear();
        let request = format!("{request}\r\nCSeq: 3\r\nUser-Agent: test\r\n\r\n");
        self.camera
            .handle_input(Input::Received(ID, request.as_bytes()), self.now);
        self.drain();
        String::from_utf8_lossy(&self.got).into_owned()
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.drain().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.camera.handle_input(Input::Timeout, self.now);
        }
        self.now = end;
    }
}

#[test]
fn it_plays_in_virtual_time() {
    let mut behaviour = Behaviour::default();
    behaviour.media.audio = Audio::Pcma;
    let mut client = Client::new(behaviour);
    let described = client.say("DESCRIBE rtsp://camera/cam RTSP/1.0");
    assert!(described.contains("a=rtpmap:96 H264/90000"), "{described}");
    let url = "rtsp://camera/cam";
    for (track, channels) in [(1, "0-1"), (2, "2-3")] {
        let setup = client.say(&format!(
            "SETUP {url}/track{track} RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved={channels}"
        ));
        assert!(
            setup.contains(&format!("interleaved={channels};ssrc=")),
            "{setup}"
        );
        if track == 1 {
            let without = "SETUP without a session is a complaint";
            assert!(client.camera.log().complaints.is_empty(), "{without}");
        }
    }
    // The second SETUP named no session.
    assert_eq!(client.camera.log().complaints.len(), 1);
    client.say(&format!("PLAY {url} RTSP/1.0"));
    client.got.clear();
    client.run(Duration::from_secs(10));
    assert_eq!(client.camera.log().pictures, 251);
    let (mut frames, mut rest) = ([0; 4], client.got.as_slice());
    while let [b'$', channel, high, low, ..] = rest {
        frames[usize::from(*channel)] += 1;
        rest = &rest[4 + usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    assert!(rest.is_empty());
    assert!(frames[0] > 280 && frames[2] == 501, "{frames:?}");
    assert_eq!((frames[1], frames[3]), (10, 10));
    client.run(Duration::from_secs(55));
    assert_eq!(client.camera.log().expired, 1);
}

#[test]
fn it_refuses_wrong_requests() {
    let mut client = Client::new(Behaviour::default());
    assert!(
        client
            .say("DESCRIBE rtsp://camera/other RTSP/1.0")
            .contains(" 404 ")
    );
    assert!(
        client
            .say("PLAY rtsp://camera/cam RTSP/1.0")
            .contains(" 454 ")
    );
    assert!(
        client
            .say("DESCRIBE rtsp://camera/cam HTTP/1.0")
            .contains(" 400 ")
    );
    assert_eq!(client.camera.log().complaints.len(), 1);
}
