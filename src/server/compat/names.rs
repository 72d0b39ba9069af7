//! Ids of other programs, which may be any text, and the names of our streams, which may not.
//!
//! A stream of another program has channels; each is a stream of ours. The name tells which: it can be turned back, and so
//! needs no table that would have to be kept across restarts.
//!
//! | id, channel | name |
//! |---|---|
//! | `front_door`, `0` | `front_door` |
//! | `front_door`, `1` | `front_door--ch1` |
//! | `GE3Q====`, `0` | `GE3Q--3d--3d--3d--3d` |
//! | what would be too long | `id--x` and 32 hexadecimal digits of its SHA-256 |

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::server::streams::check_name;

/// Maximum length of an id and of a channel's id, in bytes.
pub(super) const MAX_ID: usize = 256;

/// The channel that is meant if none is named.
pub(super) const FIRST: &str = "0";

/// Begins an escaped byte, by two hexadecimal digits, and the channel.
const ESCAPE: &str = "--";

/// Precedes the channel. Not hexadecimal, so that it is no escaped byte.
const CHANNEL: &str = "--ch";

/// Returns the name of our stream for a channel of a stream of another program. Different ones have different names.
#[must_use]
pub fn stream_name(id: &str, channel: &str) -> String {
    let mut name = escaped(id);
    if channel != FIRST {
        name += CHANNEL;
        name += &escaped(channel);
    }
    match check_name(&name) {
        Ok(()) => name,
        Err(_) => hashed(id, channel),
    }
}

/// Returns a name that says nothing of id and channel.
pub(super) fn hashed(id: &str, channel: &str) -> String {
    let hash = Sha256::new_with_prefix(id).chain_update([0]);
    let digest = hash.chain_update(channel).finalize();
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("id--x{}", hex.collect::<String>())
}

/// Returns id and channel of one of our streams: the inverse of [`stream_name`], but for names that are a hash, and for those
/// of streams whose owner has chosen a name of this form, which are ids as they are.
pub(crate) fn of_stream(name: &str) -> (String, String) {
    let (id, channel) = match name.split_once(CHANNEL) {
        Some((id, channel)) => (unescaped(id), unescaped(channel)),
        None => (unescaped(name), Some(FIRST.to_owned())),
    };
    match id.zip(channel) {
        Some((id, channel)) if stream_name(&id, &channel) == name => (id, channel),
        _ => (name.to_owned(), FIRST.to_owned()),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    for (at, byte) in text.bytes().enumerate() {
        let next = text.as_bytes().get(at + 1).copied();
        // Together with what follows it would look like an escape.
        let joins = byte == b'-' && next.is_some_and(|next| next == b'-' || !is_plain(next));
        let is_first_dot = byte == b'.' && at == 0;
        match is_plain(byte) && !joins && !is_first_dot {
            true => out.push(char::from(byte)),
            false => {
                // Writing to a text cannot fail.
                let _ = write!(out, "{ESCAPE}{byte:02x}");
            }
        }
    }
    out
}

/// Returns `None` if the text is no output of [`escaped`].
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split(ESCAPE);
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Returns the beginning of a text, of at most so many bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let ends = (0..=most.min(text.len())).rev();
    let mut ends = ends.filter_map(|end| text.get(..end));
    ends.next().unwrap_or_default()
}

/// Returns a URL as it may be shown: without user, password and fragment, and with `***` for values that look like
/// passwords. Cameras have them in path and query, too.
#[must_use]
pub fn shown_url(url: &str) -> String {
    // Options stand behind a #, unless it is in the password.
    let url = match url.split_once('#') {
        Some((before, _)) if before.contains('@') || !url.contains('@') => before,
        _ => url,
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // Passwords with an unescaped / or @ are common: everything before the last @ goes.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let mut shown = match scheme {
        "" => String::new(),
        scheme => format!("{scheme}://"),
    };
    let mut hides = false;
    for part in rest.split_inclusive(['/', '?', '&', ';', '_']) {
        let end = part.ends_with(['/', '?', '&', ';', '_']);
        let (value, mark) = part.split_at(part.len() - usize::from(end));
        match value.split_once('=') {
            Some((key, _)) => {
                hides = is_secret(key);
                match hides {
                    true => shown += &format!("{key}=***"),
                    false => shown += value,
                }
            }
            // The rest of a value with a mark in it.
            None if hides => {}
            None => shown += value,
        }
        hides &= mark == "_";
        shown += mark;
    }
    shown
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "token", "secret", "auth", "key"]
        .iter()
        .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_form_have_a_name_and_come_back() {
        for (id, channel, name) in [
            ("front_door", "0", "front_door"),
            ("camera.front_door", "1", "camera.front_door--ch1"),
            ("GE3Q====", "0", "GE3Q--3d--3d--3d--3d"),
            ("a--b", "0", "a--2d-b"),
            ("a---", "0", "a--2d--2d-"),
            ("a-=", "0", "a--2d--3d"),
            ("-", "sub-", "---chsub-"),
            (".x", "0", "--2ex"),
            ("Tür 1", "é/", "T--c3--bcr--201--ch--c3--a9--2f"),
        ] {
            assert_eq!(stream_name(id, channel), name);
            assert_eq!(check_name(name), Ok(()), "{name}");
            assert_eq!(of_stream(name), (id.to_owned(), channel.to_owned()));
        }
        // Home Assistant's: an MD5 in base32, with its padding.
        let id = "PBQXU3LFMFZWK3TBMRQWY43BOM======";
        assert_eq!(of_stream(&stream_name(id, "0")).0, id);
        let long = "x".repeat(65);
        let name = stream_name(&long, "0");
        assert!(name.starts_with("id--x") && name.len() == 37, "{name}");
        assert_ne!(name, stream_name(&long, "1"));
        assert_eq!(check_name(&stream_name("", "")), Ok(()));
    }

    #[test]
    fn different_ids_have_different_names() {
        let texts = [
            "", "-", "--", "---", "a", "a-", "a--", "--ch", "ch0", "0", "1", "=", "--3d", "a--ch1",
        ];
        let mut names = std::collections::BTreeSet::new();
        for id in texts {
            for channel in texts {
                let name = stream_name(id, channel);
                assert!(names.insert(name.clone()), "{id:?} {channel:?}: {name}");
            }
        }
    }

    #[test]
    fn names_of_our_own_are_ids_as_they_are() {
        for name in ["testcard", "a--zz", "a--", "x--ch0", "a--3", "é"] {
            assert_eq!(of_stream(name), (name.to_owned(), "0".to_owned()));
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_password() {
        for (url, shown) in [
            ("rtsp://a:s3cret@h:554/x?y=1", "rtsp://h:554/x?y=1"),
            ("rtsp://a:s3c/r@et@h/x#sub=rtsp://b:s3cret@c", "rtsp://h/x"),
            ("rtsp://a:s3#cret@h/x", "rtsp://h/x"),
            (
                "rtsp://h/user=admin&password=s3cret&channel=1",
                "rtsp://h/user=admin&password=***&channel=1",
            ),
            (
                "rtsp://h/user=admin_password=s3cret_channel=1.sdp",
                "rtsp://h/user=admin_password=***_channel=1.sdp",
            ),
            ("rtsp://h/?pwd=s3_cret&x_y=2", "rtsp://h/?pwd=***_&x_y=2"),
            ("test card", "test card"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
