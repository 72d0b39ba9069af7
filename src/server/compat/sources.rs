//! The streams of this server as these interfaces see them, and what becomes of a URL that a client sends.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::Value;

use super::Context;
use super::names::{self, FIRST, MAX_ID, cut, shown_url, stream_name};
use super::steps::{Meta, NO_STREAM, Step};
use crate::server::cameras::{Camera, Change, Fields};
use crate::server::streams::{SourceConfig, StreamError};
use crate::server::token::Token;

/// Maximum length of a URL, in bytes.
const MAX_URL: usize = 2048;

/// Maximum number of channels of a stream.
pub(super) const MAX_CHANNELS: usize = 16;

/// Maximum number of streams that were added by their URL alone. Beyond it, the oldest one without viewers is removed.
const MAX_BY_URL: usize = 32;

/// Maximum length of names of streams and channels, in bytes; longer ones are cut.
const MAX_TITLE: usize = 256;

/// A channel of a stream, as a client describes it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub title: String,
    pub label: String,
    /// With its password.
    pub url: Token,
    pub on_demand: bool,
    pub audio: bool,
    pub insecure: bool,
    pub debug: bool,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Channel {
    /// Creates an on-demand channel with audio.
    pub fn new(url: &str) -> Self {
        Self {
            title: String::new(),
            label: String::new(),
            url: Token::new(url),
            on_demand: true,
            audio: true,
            insecure: false,
            debug: false,
        }
    }

    /// Returns the camera.
    ///
    /// # Errors
    ///
    /// Returns a sentence if the URL is not that of a camera: programs, files and other servers are never opened for a
    /// client of these interfaces.
    fn fields(&self) -> Result<Fields, String> {
        let (url, insecure) = camera_url(self.url.expose())?;
        Ok(Fields {
            url: Some(url),
            audio: Some(self.audio),
            always: Some(!self.on_demand),
            insecure: Some(insecure || self.insecure),
            ..Fields::default()
        })
    }

    fn meta(&self, (id, channel): (&str, &str)) -> Meta {
        Meta {
            id: id.to_owned(),
            channel: channel.to_owned(),
            title: self.title.clone(),
            label: self.label.clone(),
            debug: self.debug,
        }
    }
}

/// Cuts names that are too long.
pub(super) fn title(text: &str) -> String {
    cut(text, MAX_TITLE).to_owned()
}

/// Returns the URL of a camera as we write it, and whether any certificate will do. A `#`, which can only be in a password,
/// is escaped, because our options stand behind one.
fn camera_url(url: &str) -> Result<(String, bool), String> {
    let is = |scheme: &str| {
        let head = url.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    if cfg!(test) && (is("testcard:") || is("rtp://")) {
        // Cameras for tests.
        return Ok((url.to_owned(), false));
    }
    if url.len() > MAX_URL {
        return Err(format!("the URL has more than {MAX_URL} bytes"));
    }
    if !(is("rtsp://") || is("rtsps://") || is("rtspx://")) {
        return Err("only rtsp:// and rtsps:// URLs are opened".into());
    }
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the URL has white space or control characters in it".into());
    }
    let escaped = url.replace('#', "%23");
    Ok(match is("rtspx://") {
        // go2rtc's scheme for TLS with any certificate.
        true => (
            format!("rtsps{}", escaped.get(5..).unwrap_or_default()),
            true,
        ),
        false => (escaped, false),
    })
}

/// A stream that was added by its URL alone.
#[derive(Debug)]
struct ByUrl {
    /// Its place in time.
    place: u64,
    url: Token,
}

/// Data about streams that only these interfaces have.
#[derive(Debug, Default)]
pub(super) struct Sources {
    meta: BTreeMap<String, Meta>,
    by_url: BTreeMap<String, ByUrl>,
    /// The texts of the sources in the configuration.
    configured: HashMap<String, Token>,
    last: u64,
}

/// A channel of a stream of ours, as these interfaces see it.
pub(super) struct Listed {
    pub id: String,
    pub channel: String,
    /// The name of our stream.
    pub name: String,
    pub title: String,
    pub label: String,
    /// Without its password.
    pub url: String,
    pub on_demand: bool,
    pub audio: bool,
    pub insecure: bool,
    pub debug: bool,
    pub is_live: bool,
}

impl Sources {
    /// Sets the streams of the configuration, which clients cannot change.
    pub fn configure(&mut self, sources: &[(String, String)]) {
        let token = |(name, url): &(String, String)| (name.clone(), Token::new(url));
        self.configured = sources.iter().map(token).collect();
    }

    /// Remembers what else is known of a stream; forgets it with `None`.
    pub fn note(&mut self, name: &str, meta: Option<Meta>) {
        match meta {
            Some(meta) => self.meta.insert(name.to_owned(), meta),
            None => self.meta.remove(name),
        };
    }

    /// Returns all streams, by name.
    pub fn list(&self, ctx: &Context<'_>) -> Vec<Listed> {
        let listed = ctx.streams.list().map(|info| {
            let camera = ctx.cameras.camera(&info.name);
            let shown = camera.map(Camera::shown).unwrap_or_default();
            let flag =
                |key: &str, default| shown.get(key).and_then(Value::as_bool).unwrap_or(default);
            let url = match (shown.get("url").and_then(Value::as_str), &info.name) {
                (Some(url), _) => shown_url(url),
                (None, name) => match (self.configured.get(name), self.by_url.get(name)) {
                    (Some(url), _) => shown_url(url.expose()),
                    (_, Some(by_url)) => shown_url(by_url.url.expose()),
                    (None, None) => shown_url(&info.source),
                },
            };
            let meta = self.meta.get(&info.name).cloned().unwrap_or_else(|| {
                let (id, channel) = names::of_stream(&info.name);
                Meta {
                    id,
                    channel,
                    ..Meta::default()
                }
            });
            Listed {
                id: meta.id,
                channel: meta.channel,
                title: meta.title,
                label: meta.label,
                url,
                on_demand: !flag("always", false),
                audio: flag("audio", true),
                insecure: flag("insecure", false),
                debug: meta.debug,
                is_live: info.state.as_str() == "live",
                name: info.name,
            }
        });
        listed.collect()
    }

    /// Returns the name of the stream for a channel, if there is one.
    pub fn find(&self, ctx: &Context<'_>, id: &str, channel: &str) -> Option<String> {
        let name = stream_name(id, channel);
        let is_there = |name: &str| ctx.streams.media_mode(name).is_some();
        if is_there(&name) {
            return Some(name);
        }
        // A stream of the configuration, whose name looks like one of ours.
        (channel == FIRST && is_there(id)).then(|| id.to_owned())
    }

    /// Returns the step that adds a channel; one that is there already with the same settings is left as it is. `taken`: what
    /// is said if there is another one.
    pub fn add(
        &self,
        ctx: &Context<'_>,
        (id, channel): (&str, &str),
        settings: &Channel,
        taken: &str,
    ) -> Step {
        let change = self.plan_add(ctx, (id, channel), settings, taken);
        Step {
            id: id.to_owned(),
            change,
            meta: Some(settings.meta((id, channel))),
        }
    }

    fn plan_add(
        &self,
        ctx: &Context<'_>,
        (id, channel): (&str, &str),
        settings: &Channel,
        taken: &str,
    ) -> Result<Change, String> {
        if id.len() > MAX_ID || channel.len() > MAX_ID {
            return Err(format!("an id has at most {MAX_ID} bytes"));
        }
        let fields = settings.fields()?;
        match self.find(ctx, id, channel) {
            None => Ok(Change::Add {
                name: stream_name(id, channel),
                fields,
            }),
            Some(name) => Err(match self.is_same(ctx, &name, settings, fields) {
                // Nothing is to be done.
                true => String::new(),
                false => taken.to_owned(),
            }),
        }
    }

    /// Returns the step that changes a channel. One whose settings stay the same is not restarted.
    pub fn edit(&self, ctx: &Context<'_>, (id, channel): (&str, &str), settings: &Channel) -> Step {
        let plan = || {
            let fields = settings.fields()?;
            let name = self.find(ctx, id, channel).ok_or(NO_STREAM)?;
            match ctx.cameras.camera(&name) {
                None if self.is_same(ctx, &name, settings, fields.clone()) => Err(String::new()),
                _ => Ok(Change::Edit { name, fields }),
            }
        };
        Step {
            id: id.to_owned(),
            change: plan(),
            meta: Some(settings.meta((id, channel))),
        }
    }

    /// Returns the step that removes a channel.
    pub fn remove(&self, ctx: &Context<'_>, (id, channel): (&str, &str)) -> Step {
        let name = self.find(ctx, id, channel);
        let change = name.map(|name| Change::Remove { name });
        Step {
            id: id.to_owned(),
            change: change.ok_or_else(|| NO_STREAM.to_owned()),
            meta: None,
        }
    }

    /// Returns `true` if a stream has this source already. For one of the configuration, the URL alone counts.
    fn is_same(&self, ctx: &Context<'_>, name: &str, settings: &Channel, fields: Fields) -> bool {
        match ctx.cameras.camera(name) {
            Some(camera) => Camera::new(fields, Some(camera)).is_ok_and(|new| new == *camera),
            None => {
                let configured = self.configured.get(name).map(Token::expose);
                configured.is_some_and(|own| without_options(own) == settings.url.expose())
            }
        }
    }

    /// Returns the stream with this URL; adds one that is on demand, and is not kept across restarts, if there is none.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub fn by_url(&mut self, ctx: &mut Context<'_>, url: &str) -> Result<String, String> {
        let (text, insecure) = camera_url(url)?;
        let mut configured = self.configured.iter();
        let configured = configured.find(|(_, text)| without_options(text.expose()) == url);
        let name = match configured {
            Some((name, _)) => name.clone(),
            None => names::hashed(url, FIRST),
        };
        if ctx.streams.media_mode(&name).is_some() {
            return Ok(name);
        }
        let text = match insecure {
            true => format!("{text}#insecure"),
            false => text,
        };
        let text = match cfg!(test) && text.starts_with("testcard:") {
            // What stands behind it tells the cameras of tests apart.
            true => "testcard:",
            false => text.as_str(),
        };
        // The reason repeats nothing of the URL.
        let source = text.parse::<SourceConfig>().map_err(|error| error.reason)?;
        self.make_room(ctx)?;
        match ctx.streams.add(&name, source) {
            Ok(()) | Err(StreamError::NameTaken(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        self.last += 1;
        let by_url = ByUrl {
            place: self.last,
            url: Token::new(url),
        };
        self.by_url.insert(name.clone(), by_url);
        Ok(name)
    }

    /// Removes the oldest stream that was added by its URL and has no viewers, if there are too many.
    fn make_room(&mut self, ctx: &mut Context<'_>) -> Result<(), String> {
        if self.by_url.len() < MAX_BY_URL {
            return Ok(());
        }
        let is_unused = |(name, _): &(&String, &ByUrl)| {
            let info = ctx.streams.info(name);
            info.is_none_or(|info| info.viewers == 0 && info.state.as_str() != "starting")
        };
        let unused = self.by_url.iter().filter(is_unused);
        let oldest = unused.min_by_key(|(_, by_url)| by_url.place);
        let full = format!("there are {MAX_BY_URL} streams by URL already, and all are watched");
        let name = oldest.map(|(name, _)| name.clone()).ok_or(full)?;
        self.by_url.remove(&name);
        for peer in ctx.streams.remove(ctx.net, &name).unwrap_or_default() {
            if let Ok(mut peer) = ctx.net.peer(peer) {
                peer.close();
            }
        }
        Ok(())
    }
}

/// Returns the URL of a source without the options behind it.
fn without_options(text: &str) -> &str {
    text.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cameras_are_opened() {
        let of = camera_url;
        let is = |url: &str, insecure| Ok((url.to_owned(), insecure));
        assert_eq!(of("rtsp://a:b@c/d?e#f"), is("rtsp://a:b@c/d?e%23f", false));
        assert_eq!(of("RTSPS://c"), is("RTSPS://c", false));
        assert_eq!(of("rtspx://c"), is("rtsps://c", true));
        for url in [
            "file:/etc/passwd",
            "-",
            "pipe:x",
            "http://a",
            "exec:rm",
            "",
            "rtsp:x",
            "rtsp://a b",
            "rtsp://a\n",
        ] {
            assert!(of(url).is_err(), "{url}");
        }
        assert!(of(&format!("rtsp://{}", "x".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        let channel = Channel::new("rtsp://a:s3cret@b/c");
        assert!(!format!("{channel:?} {:?}", channel.fields()).contains("s3cret"));
    }
}
