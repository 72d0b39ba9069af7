//! Text form of a camera: its address, and settings behind `#`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Rtsp;
use crate::driver::TlsMode;
use crate::proto::rtsp::{Credentials, RtspUrl, Transport};

/// Maximum size of a file with a user name or a password, in bytes.
const MAX_SECRET: u64 = 4096;

/// Keys of the settings. A part with another key belongs to the address in `sub=`, which may have a query of its own.
const KEYS: &str = "sub=, audio=off, video=off, transport=, insecure, fingerprint=, always, user-file=, \
                    password-file=, user-env= and password-env=";

/// A setting of a camera, with its value.
type Setting<'a> = (&'a str, Option<&'a str>);

/// Where a user name or a password comes from, if not from the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf),
    Environment(String),
}

impl Origin {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment(_) => None,
        }
    }

    /// Reads the text, without the end of its line. `what` says which one, for people.
    fn read(&self, what: &str) -> Result<String, String> {
        match self {
            Self::File(path) => {
                let failed = |e| format!("the camera's {what}, {}: {e}", path.display());
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(failed)?;
                // Anything but a regular file might never end.
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(format!(
                        "the camera's {what}, {}: not a regular file",
                        path.display()
                    ));
                }
                file.take(MAX_SECRET)
                    .read_to_string(&mut text)
                    .map_err(failed)?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            Self::Environment(name) => std::env::var(name).map_err(|_| {
                format!("the camera's {what}: the environment has no variable {name} in UTF-8")
            }),
        }
    }
}

/// Where the credentials of a camera come from, if not from its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origins {
    pub user: Option<Origin>,
    pub password: Option<Origin>,
}

impl Origins {
    /// Returns the address with its credentials. Files are read each time, so that a changed password is found.
    pub fn complete(&self, url: &RtspUrl) -> Result<RtspUrl, String> {
        if *self == Self::default() {
            return Ok(url.clone());
        }
        let given = url.credentials();
        let user = match &self.user {
            Some(origin) => origin.read("user name")?,
            None => given.map_or_else(String::new, |c| c.user.clone()),
        };
        let password = match &self.password {
            Some(origin) => origin.read("password")?,
            None => given.map_or_else(String::new, |c| c.password.expose().to_owned()),
        };
        let credentials = Credentials::new(user, password);
        Ok(url.clone().with_credentials(Some(credentials)))
    }
}

/// Parses `rtsp://…#settings`. The error contains neither the address nor a value that may be a secret.
pub(super) fn camera(text: &str) -> Result<Rtsp, String> {
    let url = RtspUrl::parse(text).map_err(|e| e.to_string())?;
    let fragment = url.fragment().unwrap_or_default().to_owned();
    let mut camera = Rtsp::new(url);
    for (key, value) in split(&fragment) {
        set(&mut camera, key, value)?;
    }
    // The second stream is the same camera's, and has its settings; it is watched on demand.
    camera.sub = camera.sub.take().map(|sub| {
        Arc::new(Rtsp {
            url: sub.url.clone(),
            always: false,
            ..camera.clone()
        })
    });
    Ok(camera)
}

/// Splits settings at `&`, but not the address in `sub=`.
fn split(fragment: &str) -> Vec<Setting<'_>> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    let mut at = 0;
    for part in fragment.split('&') {
        let end = at + part.len();
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (part, None),
        };
        let is_known = KEYS
            .split([',', ' '])
            .any(|known| known.split('=').next() == Some(key) && !["", "and"].contains(&key));
        match settings.last_mut() {
            Some(("sub", Some(address))) if !is_known => {
                let start = at - 1 - address.len();
                *address = &fragment[start..end];
            }
            _ if part.is_empty() => {}
            _ => settings.push((key, value)),
        }
        at = end + 1;
    }
    settings
}

fn set(camera: &mut Rtsp, key: &str, value: Option<&str>) -> Result<(), String> {
    let flag = || match value {
        None => Ok(true),
        Some(_) => Err(format!("{key} has no value")),
    };
    let switch = || match value {
        Some("off") => Ok(false),
        Some("on") => Ok(true),
        _ => Err(format!("write {key}=off or {key}=on")),
    };
    let given = || {
        value
            .filter(|v| !v.is_empty())
            .ok_or(format!("{key}= has no value"))
    };
    match key {
        "audio" => camera.audio = switch()?,
        "video" => camera.video = switch()?,
        "always" => camera.always = flag()?,
        "insecure" => {
            flag()?;
            camera.tls = TlsMode::Unverified;
        }
        "fingerprint" => camera.tls = TlsMode::pinned(given()?).ok_or(
            "fingerprint= is the SHA-256 of the camera's certificate: 64 hexadecimal digits, with or without colons",
        )?,
        "transport" => {
            camera.transports = given()?
                .split(',')
                .map(transport)
                .collect::<Result<_, _>>()?
        }
        "sub" => camera.sub = Some(Arc::new(Rtsp::new(sub_of(&camera.url, given()?)?))),
        "user-file" => camera.origins.user = Some(Origin::File(given()?.into())),
        "password-file" => camera.origins.password = Some(Origin::File(given()?.into())),
        "user-env" => camera.origins.user = Some(Origin::Environment(given()?.into())),
        "password-env" => camera.origins.password = Some(Origin::Environment(given()?.into())),
        _ => {
            return Err(format!(
                "behind the # of a camera's address stand {KEYS}, separated by &"
            ));
        }
    }
    Ok(())
}

fn transport(name: &str) -> Result<Transport, String> {
    match name {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        "multicast" => Ok(Transport::Multicast),
        _ => Err(
            "transport= is tcp, udp or multicast, or several in the order to try: tcp,udp".into(),
        ),
    }
}

/// Returns the address of the second stream: a whole one, which has the credentials of the first if it is at the same
/// host and has none; or a path at the same host.
fn sub_of(main: &RtspUrl, text: &str) -> Result<RtspUrl, String> {
    // An & before what looks like a setting is written so.
    let text = text.replace("%26", "&");
    let text = match text.starts_with('/') {
        true => format!("{}{text}", main.origin()),
        false => text,
    };
    let url = RtspUrl::parse(&text)
        .map_err(|e| format!("sub= is an address, or a path at the same host: {e}"))?;
    let is_same = url.host().eq_ignore_ascii_case(main.host());
    match url.credentials() {
        None if is_same => Ok(url.with_credentials(main.credentials().cloned())),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_behind_the_hash() {
        let camera = camera(
            "rtsps://admin:a@b:c@cam.lan/ch1?x=1&y=2#audio=off&transport=udp,tcp&insecure&always&sub=/ch2?a=1&subtype=1&video=on",
        )
        .unwrap();
        assert_eq!(
            camera.url.without_credentials(),
            "rtsps://cam.lan/ch1?x=1&y=2"
        );
        assert_eq!(camera.url.credentials().unwrap().password.expose(), "a@b:c");
        assert!(!camera.audio && camera.video && camera.always);
        assert_eq!(camera.transports, [Transport::Udp, Transport::Tcp]);
        assert_eq!(camera.tls, TlsMode::Unverified);
        // The second stream has everything of the first but its address.
        let sub = camera.sub.as_ref().unwrap();
        assert_eq!(
            sub.url.without_credentials(),
            "rtsps://cam.lan/ch2?a=1&subtype=1"
        );
        assert_eq!(sub.url.credentials(), camera.url.credentials());
        assert!(!sub.audio && !sub.always && sub.sub.is_none() && sub.tls == TlsMode::Unverified);
    }

    #[test]
    fn a_second_stream_elsewhere_gets_no_password() {
        let of = |text: &str| camera(text).unwrap().sub.unwrap();
        let other = of("rtsp://u:secret@a/1#sub=rtsp://b/2");
        assert_eq!(other.url.credentials(), None);
        let own = of("rtsp://u:secret@a/1#sub=rtsp://v:w@b/2");
        assert_eq!(own.url.credentials().unwrap().user, "v");
        let path = of("rtsp://a/1#sub=rtsp://b/2?x=1%26audio=off");
        assert_eq!(path.url.request_uri(), "rtsp://b/2?x=1&audio=off");
        assert!(path.audio);
        let same = of("rtsp://u:secret@a/1#sub=rtsp://A:8554/2");
        assert_eq!(same.url.credentials().unwrap().user, "u");
    }

    #[test]
    fn credentials_come_from_files_and_the_environment() {
        let path = std::env::temp_dir().join(format!("looprtc-password-{}", std::process::id()));
        std::fs::write(&path, "s3cret \n").unwrap();
        let text = format!("rtsp://admin@cam/1#password-file={}&sub=/2", path.display());
        let made = camera(&text).unwrap();
        for one in [&made, made.sub.as_deref().unwrap()] {
            let url = one.origins.complete(&one.url).unwrap();
            let credentials = url.credentials().unwrap();
            assert_eq!(
                (credentials.user.as_str(), credentials.password.expose()),
                ("admin", "s3cret ")
            );
        }
        std::fs::remove_file(&path).unwrap();
        let why = made.origins.complete(&made.url).unwrap_err();
        assert!(
            why.starts_with("the camera's password, ") && why.contains("No such file"),
            "{why}"
        );
        let from_home =
            camera("rtsp://cam/1#user-env=CARGO_PKG_NAME&password-env=NOT_THERE_AT_ALL").unwrap();
        let why = from_home.origins.complete(&from_home.url).unwrap_err();
        assert_eq!(
            why,
            "the camera's password: the environment has no variable NOT_THERE_AT_ALL in UTF-8"
        );
        let folder = camera("rtsp://cam/1#password-file=/").unwrap();
        assert!(
            folder
                .origins
                .complete(&folder.url)
                .unwrap_err()
                .contains("not a regular file")
        );
    }

    #[test]
    fn errors_say_what_to_write_and_no_secrets() {
        for (text, word) in [
            ("rtsp://u:s3cret@cam/1#transport=x", "tcp, udp or multicast"),
            (
                "rtsp://u:s3cret@cam/1#fingerprint=AB:CD",
                "64 hexadecimal digits",
            ),
            ("rtsp://u:s3cret@cam/1#fingerprint=", "no value"),
            ("rtsp://u:s3cret@cam/1#always=1", "no value"),
            ("rtsp://u:s3cret@cam/1#audio", "audio=off"),
            ("rtsp://u:s3cret@cam/1#s3cret=x", "behind the #"),
            (
                "rtsp://u:s3cret@cam/1#sub=http://s3cret@x",
                "sub= is an address",
            ),
            ("rtsp://u:s3cret@/1", "host"),
        ] {
            let error = camera(text).unwrap_err();
            assert!(
                error.contains(word) && !error.contains("s3cret"),
                "{text}: {error}"
            );
        }
        let digits = "00:FF".to_owned() + &":1a".repeat(30);
        let pinned = camera(&format!("rtsps://cam/#fingerprint={digits}")).unwrap();
        assert!(matches!(
            pinned.tls,
            TlsMode::Fingerprint([0, 0xff, 0x1a, ..])
        ));
    }
}
