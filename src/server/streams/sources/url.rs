//! Parsing shared by the text forms of several kinds.

use crate::proto::media::Codec;

/// Maximum number of files, or RTP streams, of one source.
const MAX_PARTS: usize = 16;

/// Flags after the `?`: `key=value&key`.
pub(super) struct Flags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Flags<'a> {
    /// Splits a text at its last `?`.
    pub fn split(text: &'a str) -> (&'a str, Self) {
        let Some((before, flags)) = text.rsplit_once('?') else {
            return (text, Self(Vec::new()));
        };
        let flags = flags.split('&').filter(|f| !f.is_empty());
        let pairs = flags.map(|f| f.split_once('=').unwrap_or((f, "")));
        (before, Self(pairs.collect()))
    }

    pub fn take(&mut self, key: &str) -> Option<&'a str> {
        let index = self.0.iter().position(|(k, _)| *k == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Returns `true` if a flag without a value is present.
    pub fn has(&mut self, key: &str) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => Err(format!("{key} has no value, but {value:?} was given")),
        }
    }

    pub fn codec(&mut self) -> Result<Option<Codec>, String> {
        let codec = |name: &str| {
            Codec::named(name).ok_or_else(|| {
                let all: Vec<&str> = Codec::ALL.iter().map(|c| c.name()).collect();
                format!("{name:?} is not a codec; there are {}", all.join(", "))
            })
        };
        self.take("codec").map(codec).transpose()
    }

    /// Returns the codec of bare audio, the only format that needs one.
    pub fn bare_codec(&mut self) -> Result<Option<Codec>, String> {
        match self.codec()? {
            Some(codec) if !codec.is_samples() => Err(format!(
                "codec= is for bare PCMU, PCMA and G722; files with {codec} say themselves what they are"
            )),
            codec => Ok(codec),
        }
    }

    /// Fails if a flag is left over.
    pub fn finish(self, known: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{key:?} is not known here; there is {known}")),
        }
    }
}

/// Fails if a stream would have too many parts.
pub(super) fn bounded<T>(parts: Vec<T>) -> Result<Vec<T>, String> {
    match parts.len() {
        n if n > MAX_PARTS => Err(format!("{n} parts; at most {MAX_PARTS} make one stream")),
        _ => Ok(parts),
    }
}
