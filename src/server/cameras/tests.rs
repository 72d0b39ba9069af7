//! Changes of cameras with streams and a loop, and the file that keeps them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::driver::LoopConfig;
use crate::server::streams::StreamsConfig;

/// A server's cameras, with a file in a directory of its own.
struct Place {
    net: EventLoop,
    streams: Streams,
    cameras: Cameras<u32>,
    directory: PathBuf,
    now: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("looprtc-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let net = EventLoop::new(LoopConfig::default()).unwrap();
        let file = Some(directory.join("cameras.jsonl"));
        Self {
            cameras: Cameras::open(file, net.handle()).unwrap(),
            streams: Streams::new(StreamsConfig::default()),
            net,
            directory,
            now: Instant::now(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("cameras.jsonl")
    }

    /// Makes a change and waits for its answer.
    fn change(&mut self, change: Change) -> Result<Changed, ChangeError> {
        let client = [127, 0, 0, 1].into();
        // At a rate that is no reason to refuse anything.
        self.now += EACH;
        self.cameras.submit(change, 7, client, self.now);
        for _ in 0..2000 {
            self.cameras.turn(&mut self.net, &mut self.streams);
            if let Some(answer) = self.cameras.poll_answer() {
                assert_eq!(answer.asked, 7);
                return answer.result;
            }
            let _ = self.net.next_event(Some(Duration::from_millis(10)));
        }
        panic!("no answer");
    }

    fn add(&mut self, name: &str, camera: Value) -> Result<Changed, ChangeError> {
        let (name, fields) = (name.to_owned(), fields(camera));
        self.change(Change::Add { name, fields })
    }

    fn edit(&mut self, name: &str, camera: Value) -> Result<Changed, ChangeError> {
        let (name, fields) = (name.to_owned(), fields(camera));
        self.change(Change::Edit { name, fields })
    }

    fn remove(&mut self, name: &str) -> Result<Changed, ChangeError> {
        let name = name.to_owned();
        self.change(Change::Remove { name })
    }

    /// Reads the file as the next start does.
    fn again(&self) -> Cameras<u32> {
        Cameras::open(Some(self.file()), self.net.handle()).unwrap()
    }
}

fn fields(camera: Value) -> Fields {
    Fields::read(camera.to_string().as_bytes()).unwrap()
}

fn camera(value: Value, old: Option<&Camera>) -> Result<Camera, Vec<Invalid>> {
    Camera::new(fields(value), old)
}

/// Nobody listens there.
const NOBODY: &str = "whep:http://127.0.0.1:9/whep/x";

#[test]
fn cameras_are_added_edited_removed_and_read_again() {
    let mut place = Place::new("changes");
    assert_eq!(
        place.add("yard", json!({ "url": NOBODY, "password": "geheim" })),
        Ok(Changed::Added)
    );
    assert!(place.streams.info("yard").is_some());
    assert_eq!(place.again().cameras.len(), 1);
    assert_eq!(place.again().get("yard"), place.cameras.get("yard"));
    let shown = place.cameras.get("yard").unwrap().shown();
    assert_eq!(place.edit("yard", shown), Ok(Changed::Unchanged));
    let starts = place.streams.info("yard").unwrap().stats.starts;
    assert_eq!(starts, 1, "a new camera is tried at once");
    assert_eq!(
        place.edit("yard", json!({ "url": NOBODY })),
        Ok(Changed::Unchanged)
    );
    assert_eq!(place.streams.info("yard").unwrap().stats.starts, 1);
    let other = "whep:http://127.0.0.1:9/whep/y";
    assert_eq!(
        place.edit("yard", json!({ "url": other })),
        Ok(Changed::Edited)
    );
    let kept = place.again().get("yard").unwrap().kept("yard");
    assert_eq!(kept["url"], other);
    assert_eq!(kept["password"], "geheim", "the password is kept");
    assert_eq!(place.remove("yard"), Ok(Changed::Removed));
    assert!(place.streams.info("yard").is_none());
    assert_eq!(place.again().cameras.len(), 0);
    assert_eq!(
        place.remove("yard"),
        Err(ChangeError::NoSuch("yard".into()))
    );
    assert_eq!(
        place.edit("yard", json!({ "url": NOBODY })),
        Err(ChangeError::NoSuch("yard".into()))
    );
}

#[test]
fn streams_of_the_configuration_are_left_alone() {
    let mut place = Place::new("configured");
    place
        .streams
        .add("card", SourceConfig::test_card())
        .unwrap();
    let configured = Err(ChangeError::Configured("card".into()));
    assert_eq!(place.remove("card"), configured);
    assert_eq!(place.edit("card", json!({ "url": "whip:" })), configured);
    assert_eq!(
        place.add("card", json!({ "url": "whip:" })),
        Err(ChangeError::Taken("card".into()))
    );
    assert!(!place.file().exists());
    // A camera that has the name of a stream that was configured later.
    assert_eq!(
        place.add("yard", json!({ "url": "whip:" })),
        Ok(Changed::Added)
    );
    let mut streams = Streams::new(StreamsConfig::default());
    streams.add("yard", SourceConfig::test_card()).unwrap();
    let error = place.again().start(&mut streams).unwrap_err();
    assert!(
        error.contains("cameras.jsonl") && error.contains("\"yard\" already"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let mut place = Place::new("unwritten");
    // A directory where the new file would be: not even root can replace it.
    let block = place.directory.join("cameras.jsonl.new");
    fs::create_dir_all(&block).unwrap();
    let refused = place.add("yard", json!({ "url": "whip:" }));
    assert!(
        matches!(&refused, Err(ChangeError::Unwritten(why)) if why.contains("cameras.jsonl")),
        "{refused:?}"
    );
    assert!(place.streams.info("yard").is_none() && place.cameras.get("yard").is_none());
    fs::remove_dir(&block).unwrap();
    assert_eq!(
        place.add("yard", json!({ "url": "whip:" })),
        Ok(Changed::Added)
    );
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_file_and_a_link_stays_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mut place = Place::new("mode");
    let real = place.directory.join("real.jsonl");
    fs::write(&real, "").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&real, place.file()).unwrap();
    assert_eq!(
        place.add("yard", json!({ "url": "whip:" })),
        Ok(Changed::Added)
    );
    assert!(fs::symlink_metadata(place.file()).unwrap().is_symlink());
    assert_eq!(
        fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let left: Vec<_> = fs::read_dir(&place.directory).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_damaged_file_is_an_error_that_names_the_line() {
    let place = Place::new("damaged");
    for (text, expected) in [
        (
            "# head\n\n{\"name\":\"a\",\"url\":\"whip:\"}\n{\"name\":",
            ":4: not JSON",
        ),
        (
            "{\"name\":\"a\",\"url\":\"whip:\"}\n{\"name\":\"a\",\"url\":\"whip:\"}",
            ":2: there are two cameras \"a\"",
        ),
        ("{\"url\":\"whip:\"}", ":1: the name is missing"),
        (
            "{\"name\":\"a b\",\"url\":\"whip:\"}",
            ":1: ' ' in the name",
        ),
        (
            "{\"name\":\"a\",\"url\":\"/etc/passwd\"}",
            ":1: url: begin it with",
        ),
        (
            "{\"name\":\"a\",\"url\":\"whip:\",\"later\":1}",
            ":1: \"later\" is not a field",
        ),
        ("{\"name\":\"a\",\"url\":1}", ":1: url: expected a text"),
        ("\u{0}\u{1}", ":1: not JSON"),
    ] {
        fs::write(place.file(), text).unwrap();
        let opened = Cameras::<u32>::open(Some(place.file()), place.net.handle());
        let error = opened.expect_err(text).to_string();
        assert!(
            error.contains(&format!("cameras.jsonl{expected}")),
            "{text}: {error}"
        );
        assert_eq!(
            fs::read_to_string(place.file()).unwrap(),
            text,
            "it is left as it was"
        );
    }
    let many: String = (0..=MAX_CAMERAS)
        .map(|n| format!("{{\"name\":\"c{n}\",\"url\":\"whip:\"}}\n"))
        .collect();
    fs::write(place.file(), many).unwrap();
    let opened = Cameras::<u32>::open(Some(place.file()), place.net.handle());
    assert!(
        opened
            .err()
            .unwrap()
            .to_string()
            .contains(":257: there are more than 256")
    );
    let directory = Cameras::<u32>::open(Some(place.directory.clone()), place.net.handle());
    assert!(directory.is_err(), "a directory is no file");
    let none = Cameras::<u32>::open(Some(Path::new("/none/such").into()), place.net.handle());
    assert_eq!(none.unwrap().cameras.len(), 0);
}

#[test]
fn changes_have_limits() {
    let mut place = Place::new("limits");
    let client = [192, 0, 2, 1].into();
    let remove = || Change::Remove {
        name: "none".into(),
    };
    // Without a turn between them: so many wait, and others are answered at once.
    for n in 0..BURST + 5 {
        place.cameras.submit(remove(), n, client, place.now);
    }
    let refused: Vec<_> = std::iter::from_fn(|| place.cameras.poll_answer())
        .map(|a| a.result)
        .collect();
    let busy = refused
        .iter()
        .filter(|result| **result == Err(ChangeError::Busy))
        .count();
    let too_many = refused
        .iter()
        .filter(|result| matches!(result, Err(ChangeError::TooMany(_))))
        .count();
    assert_eq!((busy, too_many), (BURST as usize - MAX_WAITING, 5));
    place.cameras.turn(&mut place.net, &mut place.streams);
    assert_eq!(
        std::iter::from_fn(|| place.cameras.poll_answer()).count(),
        MAX_WAITING
    );
    // As many streams as there may be.
    for n in 0..MAX_CAMERAS {
        place
            .streams
            .add(&format!("s{n}"), SourceConfig::whip())
            .unwrap();
    }
    assert_eq!(
        place.add("yard", json!({ "url": "whip:" })),
        Err(ChangeError::Full)
    );
    let long = "x".repeat(2049);
    let wrong = Fields::read(json!({ "url": long }).to_string().as_bytes()).unwrap_err();
    assert_eq!(wrong, [Invalid::new("url", "has at most 2048 bytes")]);
    let wrong = Fields::read(
        json!({ "password": "x".repeat(513) })
            .to_string()
            .as_bytes(),
    )
    .unwrap_err();
    assert_eq!(wrong, [Invalid::new("password", "has at most 512 bytes")]);
}

#[test]
fn a_removed_camera_ends_its_session_before_it_is_forgotten() {
    let mut place = Place::new("retired");
    assert_eq!(
        place.add("yard", json!({ "url": NOBODY })),
        Ok(Changed::Added)
    );
    assert_eq!(place.remove("yard"), Ok(Changed::Removed));
    // The name is free at once.
    assert_eq!(
        place.add("yard", json!({ "url": "whip:" })),
        Ok(Changed::Added)
    );
    let limit = Instant::now() + Duration::from_secs(20);
    while !place.net.peer_ids().is_empty() {
        assert!(Instant::now() < limit, "the session does not end");
        if let Ok(Some((peer, event))) = place.net.next_event(Some(Duration::from_millis(20))) {
            place
                .streams
                .handle_peer_event(&mut place.net, peer, &event);
        }
        place.streams.handle_timeout(&mut place.net, Instant::now());
    }
    assert_eq!(place.streams.list().count(), 1);
}

#[test]
fn passwords_are_kept_but_not_for_other_hosts() {
    let old = camera(
        json!({ "url": "whep:https://a.example/x", "password": "geheim" }),
        None,
    )
    .unwrap();
    let again = |value: Value| camera(value, Some(&old));
    let kept = again(json!({ "url": "whep:https://a.example/y" })).unwrap();
    assert_eq!(kept.kept("a")["password"], "geheim");
    let none = again(json!({ "url": "whep:https://a.example/x", "password": null })).unwrap();
    assert_eq!(
        none.kept("a"),
        json!({ "name": "a", "url": "whep:https://a.example/x" })
    );
    for url in [
        "whep:https://b.example/x",
        "whep:http://a.example/x",
        "whep:https://a.example:444/x",
    ] {
        let wrong = again(json!({ "url": url })).unwrap_err();
        assert_eq!(wrong[0].field, "password", "{url}");
        assert!(wrong[0].why.contains("again"), "{wrong:?}");
        assert!(again(json!({ "url": url, "password": "other" })).is_ok());
        assert!(again(json!({ "url": url, "password": "" })).is_ok());
    }
    let none = again(json!({ "url": "whip:" })).unwrap();
    assert_eq!(none.kept("a"), json!({ "name": "a", "url": "whip:" }));
}

#[test]
fn nothing_shows_a_password() {
    let mut place = Place::new("secrets");
    let given = json!({ "url": "whep:https://a.example/x?key=geheim", "password": "geheim" });
    assert_eq!(place.add("yard", given.clone()), Ok(Changed::Added));
    let camera = place.cameras.get("yard").unwrap();
    let shown = format!(
        "{} {camera:?} {:?} {:?}",
        camera.shown(),
        fields(given),
        place.cameras
    );
    assert!(!shown.contains("geheim"), "{shown}");
    assert_eq!(camera.shown()["hasPassword"], true);
    for bad in [
        json!({ "url": "http://u:geheim@a.example/x" }),
        json!({ "url": "whep:https://u:geheim@a.example/x" }),
        json!({ "url": "whep:https://a.example/x#token=geheim", "password": "geheim" }),
        json!({ "url": "whip:", "password": "geheim" }),
        json!({ "url": "rtsp://u:geheim@a.example/x", "transport": "geheim" }),
        json!({ "url": "rtsp://u:geheim@a.exam ple/x" }),
        json!({ "url": "rtp:geheim" }),
    ] {
        let wrong = place.add("other", bad).unwrap_err();
        let ChangeError::Invalid(_) = &wrong else {
            panic!("{wrong:?}")
        };
        let said = format!("{wrong} {wrong:?}");
        assert!(!said.contains("geheim"), "{said}");
    }
}

#[test]
fn fields_that_do_not_fit_together_are_all_named() {
    let wrong = camera(json!({ "url": "whip:", "user": "u", "sub": "rtsp://h/x", "audio": false, "transport": "udp",
        "always": true, "insecure": true, "password": "x" }), None).unwrap_err();
    let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field).collect();
    assert_eq!(
        fields,
        [
            "user",
            "sub",
            "audio",
            "transport",
            "always",
            "insecure",
            "password"
        ]
    );
    let wrong = camera(
        json!({ "url": "", "sub": "x", "transport": "pigeon" }),
        None,
    )
    .unwrap_err();
    let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field).collect();
    assert_eq!(fields, ["url", "sub", "transport"]);
}

#[test]
fn a_camera_keeps_its_password_and_gives_it_to_no_other_host() {
    let old = camera(
        json!({ "url": "rtsp://ann:geheim@cam.example/1", "sub": "rtsp://cam.example/2" }),
        None,
    );
    let old = old.unwrap();
    let again = |value: Value| camera(value, Some(&old));
    for given in [
        old.shown(),
        json!({ "url": "rtsp://cam.example/1", "sub": "rtsp://cam.example/2" }),
    ] {
        assert_eq!(again(given).unwrap(), old);
    }
    let other = again(json!({ "url": "rtsp://cam.example/3", "user": "bob" })).unwrap();
    let kept =
        json!({ "name": "a", "url": "rtsp://cam.example/3", "user": "bob", "password": "geheim" });
    assert_eq!(other.kept("a"), kept);
    // Without a user name there is no password.
    let none = again(json!({ "url": "rtsp://cam.example/1", "user": "" })).unwrap();
    assert_eq!(
        none.kept("a"),
        json!({ "name": "a", "url": "rtsp://cam.example/1" })
    );
    for url in [
        "rtsp://evil.example/1",
        "rtsps://cam.example/1",
        "rtsp://cam.example:8554/1",
    ] {
        let wrong = again(json!({ "url": url })).unwrap_err();
        assert_eq!(wrong[0].field, "password", "{url}");
    }
    // A second stream at another host gets none, so that it may be added.
    assert!(
        again(json!({ "url": "rtsp://cam.example/1", "sub": "rtsp://evil.example/2" })).is_ok()
    );
    let wrong = again(json!({ "url": "rtsp://cam.example/1", "sub": "rtsp://cam.example:8554/2" }));
    assert_eq!(wrong.unwrap_err()[0].field, "password");
}

/// In the configuration, settings stand behind a #, and some of them name files whose content the camera is sent.
#[test]
fn no_part_of_a_url_becomes_a_setting() {
    for (field, url, sub) in [
        ("url", "rtsp://h/1#password-file=/etc/passwd", ""),
        ("url", "rtsp://u:p@h/1?a=b#user-file=/etc/passwd&always", ""),
        ("sub", "rtsp://h/1", "rtsp://h/2#password-file=/etc/passwd"),
    ] {
        let wrong = camera(json!({ "url": url, "sub": sub }), None).unwrap_err();
        assert_eq!(wrong[0].field, field, "{url} {sub}");
    }
    for sub in [
        "rtsp://h/2?a=1&password-file=/etc/passwd",
        "rtsp://h/2&user-file=/etc/passwd&insecure",
        "rtsp://h/2&user-env=HOME",
        "rtsp://h/2?x&sub=rtsp://other/3",
        "rtsp://h/2?x=1%26audio=off",
    ] {
        let camera = camera(json!({ "url": "rtsp://u:p@h/1", "sub": sub }), None).unwrap();
        assert!(camera.source().unwrap().names_no_files(), "{sub}");
        let settings = camera.settings().unwrap();
        let second = settings.sub.unwrap();
        assert_eq!(second.request_uri(), sub);
        assert_eq!(second.credentials(), settings.url.credentials());
        assert!(settings.audio && !settings.always && !settings.any_certificate);
    }
    let elsewhere = json!({ "url": "rtsp://u:p@h/1", "sub": "rtsp://other/2" });
    let settings = camera(elsewhere, None).unwrap().settings().unwrap();
    assert_eq!(settings.sub.unwrap().credentials(), None);
    assert_eq!(settings.url.credentials().unwrap().user, "u");
}
