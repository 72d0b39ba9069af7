//! Where a stream comes from, and how one says it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::proto::media::Codec;
use crate::proto::rtp::{RtpSourceConfig, StreamDescription};
use crate::server::token::Token;

/// Characters of a name.
const MAX_NAME: usize = 64;

/// Files, or RTP streams, of one source.
const MAX_PARTS: usize = 16;

/// Where a stream comes from.
///
/// As text, `name=URL` ([`parse`](Self::parse)) or the URL alone ([`FromStr`]):
///
/// | URL | what |
/// |---|---|
/// | `testcard:` | the test card that is built in |
/// | `film.webm`, `file:film.webm` | a file: MP4, Matroska, WebM, IVF, H.264 and H.265 byte streams, Ogg Opus, WAV with G.711 |
/// | `film.ivf,film.ogg` | pictures and sound of one stream; a second file with pictures in another codec is offered to those who cannot decode the first |
/// | `-` | the standard input, live: IVF, a byte stream, Ogg Opus, WAV |
/// | `pipe:PATH` | the same from a named pipe |
/// | `rtp:camera.sdp` | plain RTP, as an SDP file describes it |
/// | `rtp://0.0.0.0:5004?codec=vp8` | plain RTP that comes to this address; `pt=96` takes that payload type only, `from=192.0.2.1` that sender only. Several, joined by commas, are one stream |
/// | `whip:` | what a publisher sends by WHIP |
/// | `whep:https://example.org/whep/cam` | what another server shows by WHEP; behind it `#token=SECRET`, if it asks for one |
///
/// A file is played over and over; with `?once` behind it, once for each time that somebody comes to watch.
/// A pipe is live: it is read whether or not anybody watches, and each frame counts from the moment it arrives.
/// With `?paced` (or `?file`) behind it, it is read at the pace of its own timestamps, and only while somebody watches.
/// Bare G.711 or G.722 does not say what it is: `?codec=pcmu` behind a file or pipe does. A name
/// has 1 to 64 letters, digits, `.`, `_` and `-`.
///
/// ```
/// # use looprtc::server::streams::SourceConfig;
/// let (name, source) = SourceConfig::parse("film=film.ivf,film.ogg?once")?;
/// assert_eq!(name, "film");
/// let (_, camera) = SourceConfig::parse("cam=rtp://0.0.0.0:5004?codec=h264&pt=96")?;
/// assert!("rtp://0.0.0.0".parse::<SourceConfig>().is_err());
/// # Ok::<(), looprtc::server::streams::SourceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceConfig {
    /// The test card that is built in.
    TestCard,
    /// Files that are played together.
    Files {
        /// Which; at most 16.
        paths: Vec<PathBuf>,
        /// Over and over, rather than once for each time that somebody comes to watch.
        repeat: bool,
        /// For bare G.711 and G.722.
        codec: Option<Codec>,
    },
    /// A pipe.
    Pipe {
        /// Which; `None`: the standard input.
        path: Option<PathBuf>,
        /// For bare G.711 and G.722.
        codec: Option<Codec>,
        /// At the pace of its own timestamps and only while somebody watches, like a file, rather than live.
        paced: bool,
    },
    /// Plain RTP, described by an SDP file, which is read when the source is started.
    RtpFile(PathBuf),
    /// Plain RTP; at most 16 streams.
    Rtp(Vec<RtpInput>),
    /// What a publisher sends (WHIP).
    Whip,
    /// What another server shows (WHEP).
    Whep {
        /// Where.
        url: String,
        /// Shown to it as a bearer token.
        token: Option<Token>,
    },
}

/// A stream of plain RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpInput {
    /// What comes, and where to.
    pub stream: StreamDescription,
    /// Whose packets are taken.
    pub source: RtpSourceConfig,
}

impl RtpInput {
    /// What comes, and whose packets of it are taken.
    pub fn new(stream: StreamDescription, source: RtpSourceConfig) -> Self {
        Self { stream, source }
    }
}

/// What is wrong with the text of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// The text.
    pub text: String,
    /// What is wrong, in words, and what to write instead.
    pub reason: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands behind a # may be a secret.
        let text = self.text.split('#').next().unwrap_or_default();
        write!(f, "the source {text:?}: {}", self.reason)
    }
}

impl std::error::Error for SourceError {}

impl SourceConfig {
    /// Reads `name=URL`. Nothing is opened.
    ///
    /// # Errors
    ///
    /// [`SourceError`], which says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<(String, Self), SourceError> {
        let wrong = |reason: String| SourceError {
            text: text.to_owned(),
            reason,
        };
        let (name, url) = text.split_once('=').ok_or_else(|| {
            wrong(
                "no name; write NAME=URL, for example cam=rtp:camera.sdp or film=film.webm".into(),
            )
        })?;
        check_name(name).map_err(wrong)?;
        let source = source_of(url).map_err(wrong)?;
        Ok((name.to_owned(), source))
    }

    /// Whether it waits for a publisher.
    pub fn is_published(&self) -> bool {
        matches!(self, Self::Whip)
    }

    /// The directories of its files, each with the separator behind it: what others need not know of this machine.
    pub(super) fn directories(&self) -> Vec<String> {
        let paths = match self {
            Self::Files { paths, .. } => paths.iter().collect(),
            Self::Pipe {
                path: Some(path), ..
            }
            | Self::RtpFile(path) => vec![path],
            _ => Vec::new(),
        };
        let directory = |path: &PathBuf| {
            let all = path.display().to_string();
            let name = path.file_name()?.to_string_lossy().into_owned();
            let directory = all.strip_suffix(&name)?;
            (!directory.is_empty()).then(|| directory.to_owned())
        };
        paths.into_iter().filter_map(directory).collect()
    }

    /// Returns `true` for a pipe that is read as it comes, whether or not anybody watches.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Pipe { paced: false, .. })
    }

    /// Whether it comes from a peer, which may change its codecs.
    pub(super) fn is_peer(&self) -> bool {
        matches!(self, Self::Whip | Self::Whep { .. })
    }
}

impl FromStr for SourceConfig {
    type Err = SourceError;

    fn from_str(url: &str) -> Result<Self, SourceError> {
        source_of(url).map_err(|reason| SourceError {
            text: url.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for SourceConfig {
    /// What kind of source, for people; without anything that may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestCard => f.write_str("test card"),
            Self::Files { paths, .. } => {
                let names = paths.iter().map(|p| p.display().to_string());
                f.write_str(&names.collect::<Vec<_>>().join(", "))
            }
            Self::Pipe { path: None, .. } => f.write_str("standard input"),
            Self::Pipe {
                path: Some(path), ..
            } => write!(f, "pipe {}", path.display()),
            Self::RtpFile(path) => write!(f, "RTP, {}", path.display()),
            Self::Rtp(inputs) => {
                let all = inputs
                    .iter()
                    .map(|i| format!("{} at {}", i.stream.codec, i.stream.address));
                write!(f, "RTP, {}", all.collect::<Vec<_>>().join(", "))
            }
            Self::Whip => f.write_str("WHIP publisher"),
            Self::Whep { url, .. } => {
                let without = url.split(['?', '#']).next().unwrap_or_default();
                let (scheme, rest) = without.split_once("://").unwrap_or(("", without));
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                write!(f, "WHEP, {scheme}://{host}")
            }
        }
    }
}

/// Whether this can be the name of a stream.
///
/// # Errors
///
/// Why not.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() {
        return Err("the name before the = is empty".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name has more than {MAX_NAME} characters"));
    }
    if name.starts_with('.') {
        return Err(format!("the name {name:?} begins with a dot"));
    }
    match name.chars().find(|c| !is_good(*c)) {
        None => Ok(()),
        Some(bad) => Err(format!(
            "{bad:?} in the name {name:?}; a name has letters, digits, '.', '_' and '-'"
        )),
    }
}

fn source_of(url: &str) -> Result<SourceConfig, String> {
    if url.is_empty() {
        return Err("nothing behind the =; give a file, -, rtp:…, whip: or whep:…".into());
    }
    if let Some(rest) = url.strip_prefix("rtp://") {
        let parts = rest.split(",rtp://").map(rtp_input);
        return Ok(SourceConfig::Rtp(bounded(
            parts.collect::<Result<_, _>>()?,
        )?));
    }
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "testcard" | "whip" if rest.is_empty() => Ok(match scheme {
            "whip" => SourceConfig::Whip,
            _ => SourceConfig::TestCard,
        }),
        "testcard" | "whip" => Err(format!("nothing may stand behind {scheme}:")),
        "whep" if rest.starts_with("http://") || rest.starts_with("https://") => whep(rest),
        "whep" => Err("write whep:https://HOST/PATH, or whep:http://…".into()),
        "rtp" if rest.is_empty() => {
            Err("write rtp:FILE.sdp, or rtp://ADDRESS:PORT?codec=CODEC".into())
        }
        "rtp" => Ok(SourceConfig::RtpFile(rest.into())),
        "pipe" => pipe(rest),
        "http" | "https" => Err(format!(
            "{scheme}: is not fetched; for another server's WHEP write whep:{url}"
        )),
        "rtsp" | "rtsps" | "rtmp" | "rtmps" | "srt" => Err(advice_for_ffmpeg(scheme, url)),
        "file" => files(rest),
        _ if url == "-" || url.starts_with("-?") => pipe(url),
        _ => files(url),
    }
}

/// How to have ffmpeg fetch what we do not speak: lines that work as they are pasted.
fn advice_for_ffmpeg(scheme: &str, url: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:.-_@%+=,".contains(c);
    let quoted = match url.chars().all(is_plain) {
        true => url.to_owned(),
        false => format!("'{}'", url.replace('\'', "'\\''")),
    };
    let tcp = match scheme {
        "rtsp" | "rtsps" => "-rtsp_transport tcp ",
        _ => "",
    };
    format!(
        "{scheme}: is not spoken; let ffmpeg fetch it:\n  \
         ffmpeg {tcp}-i {quoted} -an -c copy -f rtp -sdp_file cam.sdp rtp://127.0.0.1:5004\n\
         and, once that has written cam.sdp (-an leaves the audio out):\n  \
         looprtc serve cam=rtp:cam.sdp"
    )
}

/// What stands behind the `?`: `key=value&key`.
struct Flags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Flags<'a> {
    fn split(text: &'a str) -> (&'a str, Self) {
        let Some((before, flags)) = text.rsplit_once('?') else {
            return (text, Self(Vec::new()));
        };
        let flags = flags.split('&').filter(|f| !f.is_empty());
        let pairs = flags.map(|f| f.split_once('=').unwrap_or((f, "")));
        (before, Self(pairs.collect()))
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let index = self.0.iter().position(|(k, _)| *k == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Whether a flag without a value is there.
    fn has(&mut self, key: &str) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => Err(format!("{key} has no value, but {value:?} was given")),
        }
    }

    fn codec(&mut self) -> Result<Option<Codec>, String> {
        let codec = |name: &str| {
            Codec::named(name).ok_or_else(|| {
                let all: Vec<&str> = Codec::ALL.iter().map(|c| c.name()).collect();
                format!("{name:?} is not a codec; there are {}", all.join(", "))
            })
        };
        self.take("codec").map(codec).transpose()
    }

    fn finish(self, known: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{key:?} is not known here; there is {known}")),
        }
    }
}

/// Bare sound, the only thing that a codec is told of.
fn bare(codec: Option<Codec>) -> Result<Option<Codec>, String> {
    match codec {
        Some(codec) if !matches!(codec, Codec::Pcmu | Codec::Pcma | Codec::G722) => Err(format!(
            "codec= is for bare PCMU, PCMA and G722; files with {codec} say themselves what they are"
        )),
        codec => Ok(codec),
    }
}

fn bounded<T>(parts: Vec<T>) -> Result<Vec<T>, String> {
    match parts.len() {
        n if n > MAX_PARTS => Err(format!("{n} parts; at most {MAX_PARTS} make one stream")),
        _ => Ok(parts),
    }
}

fn files(text: &str) -> Result<SourceConfig, String> {
    let (paths, mut flags) = Flags::split(text);
    let repeat = !flags.has("once")?;
    let codec = bare(flags.codec()?)?;
    flags.finish("?once and ?codec=")?;
    if paths.split(',').any(str::is_empty) {
        return Err("the name of a file is missing".into());
    }
    Ok(SourceConfig::Files {
        paths: bounded(paths.split(',').map(PathBuf::from).collect())?,
        repeat,
        codec,
    })
}

fn pipe(text: &str) -> Result<SourceConfig, String> {
    let (path, mut flags) = Flags::split(text);
    let codec = bare(flags.codec()?)?;
    let paced = flags.has("paced")? | flags.has("file")?;
    flags.finish("?paced and ?codec=")?;
    let path = match path {
        "" => return Err("the name of the pipe is missing; - is the standard input".into()),
        "-" => None,
        path => Some(PathBuf::from(path)),
    };
    Ok(SourceConfig::Pipe { path, codec, paced })
}

/// What stands behind `whep:`. A fragment is never sent, so that a secret may stand there.
fn whep(text: &str) -> Result<SourceConfig, String> {
    let (url, token) = match text.split_once('#') {
        None => (text, None),
        Some((url, fragment)) => match fragment.strip_prefix("token=") {
            Some(secret) if !secret.is_empty() => (url, Some(Token::new(secret))),
            _ => return Err("behind the # of a URL stands token=SECRET".into()),
        },
    };
    let url = url.to_owned();
    Ok(SourceConfig::Whep { url, token })
}

/// What stands behind `rtp://`.
fn rtp_input(text: &str) -> Result<RtpInput, String> {
    let (address, mut flags) = Flags::split(text);
    let codec = flags.codec()?.ok_or_else(|| {
        format!("what comes to {address}? Say it, as in rtp://{address}?codec=h264")
    })?;
    let address: SocketAddr = address.parse().map_err(|_| {
        format!(
            "{address:?} is not an IP address with a port, for example 127.0.0.1:5004 or [::1]:5004"
        )
    })?;
    if address.port() == 0 || address.port() == u16::MAX {
        return Err("the port must be from 1 to 65534; the next one is for RTCP".into());
    }
    let payload_type = match flags.take("pt").map(str::parse) {
        None => None,
        Some(Ok(number @ 0..=127)) => Some(number),
        Some(_) => return Err("pt= is a payload type, from 0 to 127".into()),
    };
    let from = match flags.take("from").map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(ip)) => Some(ip),
        Some(Err(_)) => return Err("from= is an IP address".into()),
    };
    flags.finish("codec=, pt= and from=")?;
    let stream = StreamDescription::new(codec, payload_type.unwrap_or(96), address);
    let source = RtpSourceConfig::for_stream(&stream)
        .payload_types(payload_type.into_iter().collect::<Vec<_>>())
        .from(from);
    Ok(RtpInput { stream, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds() {
        let parsed = |text: &str| SourceConfig::parse(text).unwrap();
        assert_eq!(parsed("card=testcard:").1, SourceConfig::TestCard);
        assert_eq!(parsed("a=whip:").1, SourceConfig::Whip);
        let files = |paths: &[&str], repeat, codec| SourceConfig::Files {
            paths: paths.iter().map(PathBuf::from).collect(),
            repeat,
            codec,
        };
        assert_eq!(parsed("a=b.webm").1, files(&["b.webm"], true, None));
        let pair = files(&["x=1.ivf", "y.ogg"], false, None);
        assert_eq!(parsed("a=x=1.ivf,y.ogg?once").1, pair);
        let bare = files(&["-x"], true, Some(Codec::Pcma));
        assert_eq!(parsed("a=file:-x?codec=PCMA").1, bare);
        let pipe = |path: Option<&str>, paced| SourceConfig::Pipe {
            path: path.map(Into::into),
            codec: None,
            paced,
        };
        assert_eq!(parsed("a=-").1, pipe(None, false));
        assert_eq!(parsed("a=-?paced").1, pipe(None, true));
        assert_eq!(parsed("a=pipe:/run/x").1, pipe(Some("/run/x"), false));
        assert_eq!(parsed("a=pipe:/run/x?file").1, pipe(Some("/run/x"), true));
        let whep = "whep:https://u:secret@example.org/a?token=b#token=c";
        assert_eq!(
            parsed(&format!("a={whep}")).1.to_string(),
            "WHEP, https://example.org/a"
        );
        assert_eq!(
            parsed("a=rtp:x.sdp").1,
            SourceConfig::RtpFile("x.sdp".into())
        );
    }

    #[test]
    fn a_token_is_kept_to_ourselves() {
        let text = "a=whep:http://example.org/a#token=s3cret";
        let (_, source) = SourceConfig::parse(text).unwrap();
        let SourceConfig::Whep { url, token } = &source else {
            panic!("{source:?}")
        };
        assert_eq!(url, "http://example.org/a");
        assert!(token.as_ref().unwrap().matches("s3cret"));
        assert!(!format!("{source:?} {source}").contains("s3cret"));
        let error = SourceConfig::parse("a=ftp://x#token=s3cret?once=1").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn rtp_from_flags() {
        let text = "rtp://0.0.0.0:5004?codec=H264&pt=97,rtp://[::1]:5006?codec=opus&from=::2";
        let SourceConfig::Rtp(inputs) = text.parse().unwrap() else {
            panic!("no RTP")
        };
        let [video, audio] = &inputs[..] else {
            panic!("{inputs:?}")
        };
        assert_eq!(video.stream.codec, Codec::H264);
        assert_eq!(video.source.payload_types, [97]);
        assert!(video.source.repeat_parameter_sets);
        assert_eq!(audio.stream.address, "[::1]:5006".parse().unwrap());
        assert!(audio.source.payload_types.is_empty());
        assert_eq!(audio.source.from, Some("::2".parse().unwrap()));
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, word) in [
            ("film.webm", "NAME=URL"),
            ("=x", "empty"),
            ("a b=x", "' '"),
            (".a=x", "dot"),
            ("a=", "nothing"),
            ("a=x,,y", "missing"),
            ("a=x?twice", "?once"),
            ("a=x?once=3", "no value"),
            ("a=x?codec=opus", "themselves"),
            ("a=x?codec=mp3", "VP8"),
            ("a=pipe:", "missing"),
            ("a=rtp:", "FILE.sdp"),
            ("a=rtp://1.2.3.4?codec=vp8", "port"),
            ("a=rtp://1.2.3.4:5004", "codec="),
            ("a=rtp://1.2.3.4:0?codec=vp8", "65534"),
            ("a=rtp://1.2.3.4:5?codec=vp8&pt=128", "127"),
            ("a=rtp://1.2.3.4:5?codec=vp8&from=x", "IP address"),
            ("a=rtp://1.2.3.4:5?codec=vp8&x=y", "\"x\""),
            ("a=https://example.org/x", "whep:https://"),
            (
                "a=rtsp://example.org/x",
                "ffmpeg -rtsp_transport tcp -i rtsp://example.org/x -an -c copy -f rtp -sdp_file cam.sdp rtp://127.0.0.1:5004\n",
            ),
            (
                "a=rtsp://example.org/x?a=1&b",
                "-i 'rtsp://example.org/x?a=1&b' -an",
            ),
            (
                "a=rtmp://example.org/x",
                "ffmpeg -i rtmp://example.org/x -an",
            ),
            ("a=whep:x", "whep:https://"),
            ("a=whep:http://x/y#z", "token=SECRET"),
            ("a=whip:x", "behind"),
        ] {
            let error = SourceConfig::parse(text).unwrap_err();
            assert!(error.reason.contains(word), "{text}: {error}");
        }
        let long = format!("{}=x", "a".repeat(65));
        assert!(SourceConfig::parse(&long).is_err());
        let many = format!("a={}", vec!["x"; 17].join(","));
        assert!(SourceConfig::parse(&many).is_err());
    }
}
