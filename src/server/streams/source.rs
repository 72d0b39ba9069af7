//! Text form of a stream and its source: `name=URL`.

use std::fmt;
use std::str::FromStr;

use super::kind::SourceConfig;
use super::sources;

/// Maximum length of a stream's name, in characters.
const MAX_NAME: usize = 64;

/// Error in the text form of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceError {
    /// The text; of a camera only the scheme, because it may contain a password anywhere.
    pub text: String,
    /// The problem, and what to write instead.
    pub reason: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The part after a # may be a secret.
        let text = self.text.split('#').next().unwrap_or_default();
        write!(f, "the source {text:?}: {}", self.reason)
    }
}

impl std::error::Error for SourceError {}

impl SourceConfig {
    /// Parses `name=URL`. Nothing is opened.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError`], which says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<(String, Self), SourceError> {
        let wrong = |reason: String| SourceError {
            text: shown(text),
            reason,
        };
        let (name, url) = text.split_once('=').ok_or_else(|| {
            wrong(
                "no name; write NAME=URL, for example cam=rtp:camera.sdp or film=film.webm".into(),
            )
        })?;
        check_name(name).map_err(wrong)?;
        let source = sources::parse(url).map_err(wrong)?;
        Ok((name.to_owned(), source))
    }
}

impl FromStr for SourceConfig {
    type Err = SourceError;

    fn from_str(url: &str) -> Result<Self, SourceError> {
        sources::parse(url).map_err(|reason| SourceError {
            text: shown(url),
            reason,
        })
    }
}

/// Returns the text of a source as errors show it.
fn shown(text: &str) -> String {
    let at = ["rtsp:", "rtsps:"].iter().find_map(|scheme| {
        let at = text.to_ascii_lowercase().find(scheme)?;
        Some(at + scheme.len())
    });
    match at {
        // Lower case has the same offsets, for ASCII letters alone are changed.
        Some(end) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Validates the name of a stream.
///
/// # Errors
///
/// Returns the reason if it is invalid.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_text() {
        for (text, shown) in [
            ("testcard:", "test card"),
            ("whip:", "WHIP publisher"),
            (
                "whep:https://u:secret@example.org/a?token=b#token=c",
                "WHEP, https://example.org/a",
            ),
            (
                "RTSP://u:secret@cam.lan:8554/1?pwd=secret#audio=off",
                "camera, rtsp://cam.lan:8554/1?pwd=***",
            ),
            ("rtp:x.sdp", "RTP, x.sdp"),
            ("rtp://0.0.0.0:5004?codec=H264", "RTP, H264 at 0.0.0.0:5004"),
            ("-", "standard input"),
            ("-?paced", "standard input"),
            ("pipe:/run/x", "pipe /run/x"),
            ("b.webm", "b.webm"),
            ("x=1.ivf,y.ogg?once", "x=1.ivf, y.ogg"),
            ("file:-x?codec=PCMA", "-x"),
        ] {
            let (name, source) = SourceConfig::parse(&format!("a={text}")).unwrap();
            assert_eq!(
                (name.as_str(), source.to_string().as_str()),
                ("a", shown),
                "{text}"
            );
        }
        assert!(SourceConfig::whip().is_published());
        assert!(!SourceConfig::test_card().is_published());
        let error = SourceConfig::parse("a=ftp://x#token=s3cret?once=1").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
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
            ("a=rtsp://example.org/x#x", "password-file="),
            ("a=rtsps:x", "rtsps://"),
            (
                "a=srt://example.org/x?a=1&b",
                "-i 'srt://example.org/x?a=1&b' -an",
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
