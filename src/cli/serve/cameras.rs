//! `[cameras.NAME]` sections of the configuration file: the text form of a camera, in keys.

use toml_span::value::{Key, ValueInner};
use toml_span::{Span, Value};

/// How a key's value is written in the text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The address.
    Url,
    /// Credentials, which stand in the address.
    Login,
    /// `key=value`.
    Text,
    /// `key`, if it is true.
    Flag,
    /// `key=off`, if it is false.
    Switch,
}

/// The keys of a section. `contrib/looprtc.toml` explains them.
const KEYS: [(&str, Kind); 12] = [
    ("url", Kind::Url),
    ("sub", Kind::Text),
    ("user", Kind::Login),
    ("password", Kind::Login),
    ("user-file", Kind::Text),
    ("password-file", Kind::Text),
    ("transport", Kind::Text),
    ("audio", Kind::Switch),
    ("video", Kind::Switch),
    ("always", Kind::Flag),
    ("insecure", Kind::Flag),
    ("fingerprint", Kind::Text),
];

/// Returns the text form of a camera: `rtsp://USER:PASSWORD@HOST/PATH#sub=…&always`. Errors have the place, and no values.
pub(super) fn text<'v>(
    name: &str,
    section: Span,
    values: impl IntoIterator<Item = (Key<'v>, Value<'v>)>,
) -> Result<String, (Span, String)> {
    let mut url = None;
    let mut login = [String::new(), String::new()];
    let mut flags = Vec::new();
    for (key, mut value) in values {
        let span = value.span;
        let key = key.name.as_ref();
        let place = format!("cameras.{name}.{key}");
        let Some((_, kind)) = KEYS.iter().find(|(known, _)| *known == key) else {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
            let what = format!("{place} is unknown; there are {}", known.join(", "));
            return Err((span, what));
        };
        match (kind, value.take()) {
            (Kind::Url, ValueInner::String(text)) => url = Some(text.into_owned()),
            (Kind::Login, ValueInner::String(text)) => {
                login[usize::from(key == "password")] = encoded(&text);
            }
            (Kind::Text, ValueInner::String(text)) if key == "sub" => {
                flags.push(format!("sub={}", text.replace('&', "%26")));
            }
            (Kind::Text, ValueInner::String(text)) if text.contains('&') => {
                return Err((span, format!("{place} has an &, which cannot be in it")));
            }
            (Kind::Text, ValueInner::String(text)) => flags.push(format!("{key}={text}")),
            (Kind::Flag, ValueInner::Boolean(true)) => flags.push(key.to_owned()),
            (Kind::Switch, ValueInner::Boolean(false)) => flags.push(format!("{key}=off")),
            (Kind::Flag | Kind::Switch, ValueInner::Boolean(_)) => {}
            (Kind::Flag | Kind::Switch, _) => {
                return Err((span, format!("{place}: expected true or false")));
            }
            (_, _) => return Err((span, format!("{place}: expected a text in quotes"))),
        }
    }
    let url = url.ok_or_else(|| {
        (
            section,
            format!("cameras.{name} needs url, for example rtsp://192.168.1.20/stream1"),
        )
    })?;
    if url.contains('#') {
        let what = format!("cameras.{name}.url has a #; what would stand behind it has keys here");
        return Err((section, what));
    }
    let url = match login {
        [user, password] if user.is_empty() && password.is_empty() => url,
        [user, password] => match url.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{user}:{password}@{rest}"),
            None => url,
        },
    };
    match flags.is_empty() {
        true => Ok(url),
        false => Ok(format!("{url}#{}", flags.join("&"))),
    }
}

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(char::from(byte)),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/looprtc.toml");
        let all = std::fs::read_to_string(path).unwrap();
        let (_, cameras) = all.split_once("# ---- Cameras").unwrap();
        for (key, _) in KEYS {
            assert!(cameras.contains(&format!("\n#{key} = ")), "{key}");
        }
    }
}
