//! Streams that clients of these interfaces add, change and remove.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::Context;
use super::names::{self, FIRST, MAX_ID, shown_url, stream_name};
use crate::server::streams::{SourceConfig, StreamError};
use crate::server::token::Token;

/// Maximum length of a URL, in bytes.
pub(super) const MAX_URL: usize = 2048;

/// Maximum number of channels of a stream.
pub(super) const MAX_CHANNELS: usize = 16;

/// Maximum number of streams that were added by their URL alone. Beyond it, the oldest one without viewers is removed.
const MAX_BY_URL: usize = 32;

/// Maximum length of names of streams and channels, in bytes; longer ones are cut.
const MAX_TITLE: usize = 256;

/// A channel of a stream, as RTSPtoWeb describes it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Channel {
    /// Name of the stream, for people.
    pub title: String,
    /// Name of the channel, for people.
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
        f.debug_struct("Channel")
            .field("url", &self.shown_url())
            .finish_non_exhaustive()
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

    pub fn shown_url(&self) -> String {
        shown_url(self.url.expose())
    }

    /// Returns the text of the source: see [`source_text`].
    fn source(&self) -> Result<String, String> {
        let text = source_text(self.url.expose(), self)?;
        // The reasons say what to write, and repeat nothing of a password.
        let parsed = text.parse::<SourceConfig>();
        parsed.map(|_| text).map_err(|error| error.reason)
    }
}

/// Cuts names that are too long.
pub(super) fn title(text: &str) -> String {
    let mut title = text.to_owned();
    title.truncate(text.floor_char_boundary(MAX_TITLE));
    title
}

/// Returns the text of a source for a camera's URL. The options of ours stand behind a `#`; one in the URL, which can only be
/// in a password, is escaped.
///
/// # Errors
///
/// Returns a sentence if it is no URL of a camera: programs, files and other servers are never opened for a client.
pub(super) fn source_text(url: &str, options: &Channel) -> Result<String, String> {
    let is = |scheme: &str| {
        let head = url.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    if cfg!(test) && is("testcard:") {
        // A camera for tests; what stands behind it tells URLs apart.
        return Ok("testcard:".to_owned());
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
    let mut flags = Vec::new();
    // go2rtc's scheme for TLS with any certificate.
    let (url, is_any_certificate) = match is("rtspx://") {
        true => (format!("rtsps{}", url.get(5..).unwrap_or_default()), true),
        false => (url.to_owned(), options.insecure),
    };
    if is_any_certificate {
        flags.push("insecure");
    }
    if !options.audio {
        flags.push("audio=off");
    }
    if !options.on_demand {
        flags.push("always");
    }
    let mut text = url.replace('#', "%23");
    if !flags.is_empty() {
        text.push('#');
        text += &flags.join("&");
    }
    Ok(text)
}

/// A stream that was added here.
#[derive(Debug)]
struct Added {
    id: String,
    channel: String,
    settings: Channel,
    /// Its place in time, if it was added by its URL alone.
    by_url: Option<u64>,
}

/// The streams that were added here, by their names.
#[derive(Debug, Default)]
pub(super) struct Sources {
    added: BTreeMap<String, Added>,
    /// The texts of the sources in the configuration.
    configured: HashMap<String, Token>,
    last: u64,
}

/// A channel of a stream of ours, as these interfaces see it.
pub(super) struct Listed {
    pub id: String,
    pub channel: String,
    pub name: String,
    pub settings: Channel,
    pub is_live: bool,
}

impl Sources {
    /// Sets the streams of the configuration, which clients cannot change.
    pub fn configure(&mut self, sources: &[(String, String)]) {
        let token = |(name, url): &(String, String)| (name.clone(), Token::new(url));
        self.configured = sources.iter().map(token).collect();
    }

    /// Returns all streams, by name.
    pub fn list(&self, ctx: &Context<'_>) -> Vec<Listed> {
        let listed = ctx.streams.list().map(|info| {
            let is_live = info.state.as_str() == "live";
            match self.added.get(&info.name) {
                Some(added) => Listed {
                    id: added.id.clone(),
                    channel: added.channel.clone(),
                    settings: added.settings.clone(),
                    is_live,
                    name: info.name,
                },
                None => {
                    let (id, channel) = names::of_stream(&info.name);
                    let url = match self.configured.get(&info.name) {
                        Some(url) => shown_url(url.expose()),
                        None => shown_url(&info.source),
                    };
                    Listed {
                        settings: Channel::new(&url),
                        id,
                        channel,
                        is_live,
                        name: info.name,
                    }
                }
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

    /// Adds a channel; one that is there already with the same settings is left as it is.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub fn add(
        &mut self,
        ctx: &mut Context<'_>,
        (id, channel): (&str, &str),
        settings: Channel,
        taken: &str,
    ) -> Result<(), String> {
        if id.len() > MAX_ID || channel.len() > MAX_ID {
            return Err(format!("an id has at most {MAX_ID} bytes"));
        }
        let text = settings.source()?;
        if let Some(name) = self.find(ctx, id, channel) {
            return match self.is_same(&name, &settings, &text) {
                true => Ok(()),
                false => Err(taken.to_owned()),
            };
        }
        let name = stream_name(id, channel);
        let source = text.parse::<SourceConfig>().map_err(|e| e.reason)?;
        ctx.streams.add(&name, source).map_err(|e| e.to_string())?;
        self.remember(name, (id, channel), settings, None);
        Ok(())
    }

    /// Changes a channel; one whose settings stay the same is not restarted.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub fn edit(
        &mut self,
        ctx: &mut Context<'_>,
        (id, channel): (&str, &str),
        settings: Channel,
    ) -> Result<(), String> {
        let text = settings.source()?;
        let name = self.find(ctx, id, channel).ok_or("stream not found")?;
        if !self.is_same(&name, &settings, &text) {
            let source = text.parse::<SourceConfig>().map_err(|e| e.reason)?;
            self.remove_name(ctx, &name)?;
            ctx.streams.add(&name, source).map_err(|e| e.to_string())?;
        } else if !self.added.contains_key(&name) {
            // A stream of the configuration stays as it is.
            return Ok(());
        }
        self.remember(name, (id, channel), settings, None);
        Ok(())
    }

    /// Removes a channel, and closes the connections of its viewers.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub fn remove(&mut self, ctx: &mut Context<'_>, id: &str, channel: &str) -> Result<(), String> {
        let name = self.find(ctx, id, channel).ok_or("stream not found")?;
        self.remove_name(ctx, &name)
    }

    fn remove_name(&mut self, ctx: &mut Context<'_>, name: &str) -> Result<(), String> {
        if !self.added.contains_key(name) {
            return Err(
                "this stream is in the configuration of the server, and is changed there".into(),
            );
        }
        let gone = ctx.streams.remove(ctx.net, name);
        self.added.remove(name);
        for peer in gone.map_err(|e| e.to_string())? {
            if let Ok(mut peer) = ctx.net.peer(peer) {
                peer.close();
            }
        }
        Ok(())
    }

    /// Returns the stream with this URL; adds one that is on demand if there is none.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub fn by_url(&mut self, ctx: &mut Context<'_>, settings: Channel) -> Result<String, String> {
        let url = settings.url.expose();
        let text = settings.source()?;
        let of_ours = self
            .added
            .iter()
            .find(|(_, added)| added.settings.url == settings.url);
        let configured = self.configured.iter();
        let mut configured = configured.filter(|(_, text)| without_options(text.expose()) == url);
        let known = of_ours
            .map(|(name, _)| name)
            .or_else(|| configured.next().map(|(name, _)| name));
        if let Some(name) = known.filter(|name| ctx.streams.media_mode(name).is_some()) {
            return Ok(name.clone());
        }
        self.make_room(ctx)?;
        let name = names::hashed(url, FIRST);
        let source = text.parse::<SourceConfig>().map_err(|e| e.reason)?;
        match ctx.streams.add(&name, source) {
            Ok(()) | Err(StreamError::NameTaken(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        self.last += 1;
        let place = Some(self.last);
        self.remember(name.clone(), (&name, FIRST), settings, place);
        Ok(name)
    }

    /// Removes the oldest stream that was added by its URL and has no viewers, if there are too many.
    fn make_room(&mut self, ctx: &mut Context<'_>) -> Result<(), String> {
        let by_url = |(name, added): (&String, &Added)| Some((added.by_url?, name.clone()));
        let all: Vec<(u64, String)> = self.added.iter().filter_map(by_url).collect();
        if all.len() < MAX_BY_URL {
            return Ok(());
        }
        let is_unused = |(_, name): &&(u64, String)| {
            let info = ctx.streams.info(name);
            info.is_none_or(|info| info.viewers == 0 && info.state.as_str() != "starting")
        };
        let unused = all.iter().filter(is_unused).min();
        let full = format!("there are {MAX_BY_URL} streams by URL already, and all are watched");
        let (_, name) = unused.ok_or(full)?;
        self.remove_name(ctx, name)
    }

    fn remember(
        &mut self,
        name: String,
        (id, channel): (&str, &str),
        settings: Channel,
        by_url: Option<u64>,
    ) {
        let added = Added {
            id: id.to_owned(),
            channel: channel.to_owned(),
            settings,
            by_url,
        };
        self.added.insert(name, added);
    }

    /// Returns `true` if a stream has this source already. For one of the configuration, the URL alone counts.
    fn is_same(&self, name: &str, settings: &Channel, text: &str) -> bool {
        let configured = self.configured.get(name).map(Token::expose);
        match self.added.get(name) {
            Some(added) => {
                let own = &added.settings;
                own.url == settings.url && own.source().is_ok_and(|own| own == text)
            }
            None => configured.is_some_and(|own| without_options(own) == settings.url.expose()),
        }
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
        let of = |url: &str| source_text(url, &Channel::new(url));
        assert_eq!(of("rtsp://a:b@c/d?e#f").unwrap(), "rtsp://a:b@c/d?e%23f");
        assert_eq!(of("RTSPS://c").unwrap(), "RTSPS://c");
        assert_eq!(of("rtspx://c").unwrap(), "rtsps://c#insecure");
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
        let settings = Channel {
            on_demand: false,
            audio: false,
            ..Channel::new("")
        };
        let text = source_text("rtsp://c", &settings).unwrap();
        assert_eq!(text, "rtsp://c#audio=off&always");
    }

    #[test]
    fn passwords_are_not_shown() {
        let channel = Channel::new("rtsp://a:s3cret@b/c");
        assert!(!format!("{channel:?}").contains("s3cret"));
    }
}
