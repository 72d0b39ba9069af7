//! A camera: where it is, and what it needs.

use serde_json::{Map, Value, json};

use super::address::{Address, Credentials, Scheme};
use super::fields::{Fields, Invalid};
use crate::proto::rtsp::{self, RtspUrl};
use crate::server::streams::{CameraSettings, SourceConfig};
use crate::server::token::Token;

/// How the packets of an RTSP camera travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// By TCP, else by UDP.
    Auto,
    Tcp,
    Udp,
    Multicast,
}

impl Transport {
    const ALL: [Self; 4] = [Self::Auto, Self::Tcp, Self::Udp, Self::Multicast];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Multicast => "multicast",
        }
    }

    /// Returns the transports in the order to try.
    fn order(self) -> Vec<rtsp::Transport> {
        match self {
            Self::Auto => vec![rtsp::Transport::Tcp, rtsp::Transport::Udp],
            Self::Tcp => vec![rtsp::Transport::Tcp],
            Self::Udp => vec![rtsp::Transport::Udp],
            Self::Multicast => vec![rtsp::Transport::Multicast],
        }
    }

    fn read(name: &str) -> Result<Self, Invalid> {
        let known = || Invalid::new("transport", "there are auto, tcp, udp and multicast");
        let named = Self::ALL
            .into_iter()
            .find(|transport| transport.name() == name);
        match name {
            "" => Ok(Self::Auto),
            _ => named.ok_or_else(known),
        }
    }
}

/// A source that was added while the server ran: a camera, a stream of another server, or a place for a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Camera {
    url: Address,
    /// A second stream of the same camera, smaller than the first.
    sub: Option<Address>,
    user: String,
    /// The camera's password; of another server, the bearer token. Empty for none.
    password: Token,
    audio: bool,
    transport: Transport,
    always: bool,
    /// Any certificate is accepted.
    insecure: bool,
}

impl Camera {
    /// Makes a camera of fields. In an edit, `old` is the camera as it was: user name and password are kept if they are not
    /// given, and so is a URL that is given as it was [shown](Self::shown). Other fields that are not given have their
    /// defaults.
    ///
    /// # Errors
    ///
    /// Returns all invalid fields.
    pub fn new(fields: Fields, old: Option<&Self>) -> Result<Self, Vec<Invalid>> {
        let url = fields.url.as_deref().unwrap_or_default();
        let url = Address::read("url", url, old.map(|old| &old.url));
        let sub = fields.sub.as_deref().filter(|sub| !sub.trim().is_empty());
        let old_sub = old.and_then(|old| old.sub.as_ref());
        let sub = sub
            .map(|sub| Address::read("sub", sub, old_sub))
            .transpose();
        let transport = Transport::read(fields.transport.as_deref().unwrap_or_default());
        let ((url, in_url), sub, transport) = match (url, sub, transport) {
            (Ok(url), Ok(sub), Ok(transport)) => (url, sub, transport),
            (url, sub, transport) => {
                let all = [url.err(), sub.err(), transport.err()];
                return Err(all.into_iter().flatten().collect());
            }
        };
        let (sub, in_sub) = sub.unzip();
        let (user, password) =
            joined([in_url, in_sub.flatten()], &fields).map_err(|invalid| vec![invalid])?;
        // Who takes away the user name takes away the password.
        let is_anonymous = url.scheme == Scheme::Rtsp
            && user.as_deref() == Some("")
            && old.is_some_and(|old| !old.user.is_empty());
        let takes_password = matches!(url.scheme, Scheme::Rtsp | Scheme::Whep);
        let kept = old.filter(|_| password.is_none() && takes_password && !is_anonymous);
        let old_user = old.filter(|_| url.scheme == Scheme::Rtsp);
        let camera = Self {
            user: user
                .or_else(|| old_user.map(|old| old.user.clone()))
                .unwrap_or_default(),
            password: match (password, kept) {
                (Some(password), _) => Token::new(password),
                (None, Some(old)) => old.password.clone(),
                (None, None) => Token::new(""),
            },
            url,
            sub,
            audio: fields.audio.unwrap_or(true),
            transport,
            always: fields.always.unwrap_or(false),
            insecure: fields.insecure.unwrap_or(false),
        };
        let wrong = camera.problems(kept);
        match wrong.is_empty() {
            true => Ok(camera),
            false => Err(wrong),
        }
    }

    /// Returns what does not fit together. `kept` is the camera whose password is kept.
    fn problems(&self, kept: Option<&Self>) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if self.url.scheme != Scheme::Rtsp {
            let only_rtsp = [
                ("user", !self.user.is_empty()),
                ("sub", self.sub.is_some()),
                ("audio", !self.audio),
                ("transport", self.transport != Transport::Auto),
                ("always", self.always),
                ("insecure", self.insecure),
            ];
            let given = only_rtsp.into_iter().filter(|(_, given)| *given);
            wrong.extend(
                given.map(|(field, _)| Invalid::new(field, "is for rtsp: and rtsps: only")),
            );
        }
        let takes_password = matches!(self.url.scheme, Scheme::Rtsp | Scheme::Whep);
        if self.has_password() && !takes_password {
            wrong.push(Invalid::new(
                "password",
                "is for rtsp:, rtsps: and whep: only",
            ));
        }
        if self
            .sub
            .as_ref()
            .is_some_and(|sub| sub.scheme != Scheme::Rtsp)
        {
            wrong.push(Invalid::new("sub", "begins with rtsp:// or rtsps://"));
        }
        // A password is known to those who gave it, and not to everybody who may change where it is sent.
        let known: Vec<String> = kept.into_iter().flat_map(Self::origins).collect();
        if self.has_password() && kept.is_some() && self.origins().any(|to| !known.contains(&to)) {
            let why = "give the password again: with this URL it would be sent to another host";
            wrong.push(Invalid::new("password", why));
        }
        if wrong.is_empty()
            && let Err(why) = self.source()
        {
            wrong.push(Invalid::new("url", why));
        }
        wrong
    }

    fn has_password(&self) -> bool {
        !self.password.expose().is_empty()
    }

    /// Returns what the password is sent to: a second stream gets it at the host of the first one only.
    fn origins(&self) -> impl Iterator<Item = String> + '_ {
        let is_same_host = |sub: &&Address| sub.host() == self.url.host();
        let sub = self.sub.as_ref().filter(is_same_host);
        [Some(&self.url), sub]
            .into_iter()
            .flatten()
            .map(Address::origin)
    }

    /// Returns the source of the stream. Nothing of a text that somebody has sent becomes a setting, which could name
    /// a file of this machine.
    ///
    /// # Errors
    ///
    /// Returns a sentence without secrets.
    pub fn source(&self) -> Result<SourceConfig, String> {
        let text = &self.url.text;
        let parsed = |text: &str| text.parse::<SourceConfig>().map_err(|error| error.reason);
        let source = match (self.url.scheme, self.password.expose()) {
            (Scheme::Rtsp, _) => self.settings().map(SourceConfig::camera),
            (Scheme::Whep, password) if !password.is_empty() => {
                parsed(&format!("{text}#token={password}"))
            }
            (Scheme::Whep | Scheme::Rtp | Scheme::Whip, _) => parsed(text),
        }?;
        // Whatever the text is: who may add cameras need not be allowed to read files.
        match source.names_no_files() {
            true => Ok(source),
            false => Err(
                "files, pipes and the standard input can be named in the configuration only"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn settings(&self) -> Result<CameraSettings, String> {
        let url =
            |address: &Address| RtspUrl::parse(&address.text).map_err(|error| error.to_string());
        let credentials = self.credentials();
        let sub = self.sub.as_ref().map(|address| {
            let same = credentials
                .clone()
                .filter(|_| address.host() == self.url.host());
            url(address).map(|url| url.with_credentials(same))
        });
        Ok(CameraSettings {
            url: url(&self.url)?.with_credentials(credentials.clone()),
            sub: sub.transpose()?,
            audio: self.audio,
            transports: self.transport.order(),
            always: self.always,
            any_certificate: self.insecure,
        })
    }

    fn credentials(&self) -> Option<rtsp::Credentials> {
        let password = self.password.expose();
        let is_given = !self.user.is_empty() || !password.is_empty();
        is_given.then(|| rtsp::Credentials::new(&self.user, password))
    }

    /// Returns the camera as who may change it sees it: without its password, and with `***` for others in its URLs.
    pub fn shown(&self) -> Value {
        json!({
            "url": self.url.shown(),
            "user": self.user,
            "hasPassword": self.has_password(),
            "sub": self.sub.as_ref().map(Address::shown),
            "audio": self.audio,
            "transport": self.transport.name(),
            "always": self.always,
            "insecure": self.insecure,
        })
    }

    /// Returns the camera as the file keeps it, with its password and without defaults.
    pub(super) fn kept(&self, name: &str) -> Value {
        let mut kept = Map::new();
        let mut keep = |key: &str, value: Value, is_set: bool| {
            if is_set {
                kept.insert(key.to_owned(), value);
            }
        };
        keep("name", json!(name), true);
        keep("url", json!(self.url.text), true);
        keep("user", json!(self.user), !self.user.is_empty());
        keep(
            "password",
            json!(self.password.expose()),
            self.has_password(),
        );
        let sub = self.sub.as_ref().map(|sub| sub.text.as_str());
        keep("sub", json!(sub), sub.is_some());
        keep("audio", json!(false), !self.audio);
        let transport = self.transport;
        keep(
            "transport",
            json!(transport.name()),
            transport != Transport::Auto,
        );
        keep("always", json!(true), self.always);
        keep("insecure", json!(true), self.insecure);
        Value::Object(kept)
    }
}

/// Returns user name and password, which stand in a URL or in fields of their own; `None` if they are not given.
fn joined(
    in_urls: [Option<Credentials>; 2],
    fields: &Fields,
) -> Result<(Option<String>, Option<String>), Invalid> {
    let given = [&fields.user, &fields.password];
    let is_given = |field: &&Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
    match in_urls {
        [None, None] => Ok((fields.user.clone(), fields.password.clone())),
        _ if given.iter().any(is_given) => {
            let why =
                "has a user name and a password, and so have the fields for them: leave out one";
            Err(Invalid::new("url", why))
        }
        [Some(main), Some(sub)] if main != sub => Err(Invalid::new(
            "sub",
            "has another user name or password than url",
        )),
        [Some((user, password)), _] | [None, Some((user, password))] => {
            Ok((Some(user), Some(password)))
        }
    }
}
