//! Text that must not be shown, and removal of passwords from text that is.

use std::fmt;

/// A password. `Debug` hides it, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Replacement for a secret.
const HIDDEN: &str = "***";

/// Names whose values are hidden in URLs. Some cameras take the password there: `/user=admin&password=x&channel=1`.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "psw",
    "secret",
    "token",
    "auth",
    "key",
    "loginpas",
];

/// Returns a copy of a text in which the values of parameters that carry passwords, and credentials of URLs, are replaced.
/// Linear in the text's length.
pub(crate) fn redacted(text: &str) -> String {
    hide_parameters(&hide_userinfo(text))
}

/// Replaces the userinfo of every `scheme://userinfo@host`.
fn hide_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || c == '"')
            .unwrap_or(after.len());
        let (authority, next) = after.split_at(end);
        match authority.rfind('@') {
            Some(at) => {
                shown.push_str(HIDDEN);
                shown.push_str(&authority[at..]);
            }
            None => shown.push_str(authority),
        }
        rest = next;
    }
    shown.push_str(rest);
    shown
}

/// Replaces the values of `name=value`, for names that end in one of [`SECRET_NAMES`].
fn hide_parameters(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        shown.push_str(before);
        let name = &before[..at];
        // A value ends where the next parameter, segment or word begins; `_` separates parameters of some cameras.
        rest = after;
        if SECRET_NAMES.iter().any(|secret| ends_with(name, secret)) {
            let is_end =
                |c: char| matches!(c, '&' | ';' | '/' | '?' | '"' | ',') || c.is_whitespace();
            let end = after.find(is_end).unwrap_or(after.len());
            if end > 0 {
                shown.push_str(HIDDEN);
                rest = &after[end..];
            }
        }
    }
    shown.push_str(rest);
    shown
}

fn ends_with(name: &str, suffix: &str) -> bool {
    let tail = name.len().checked_sub(suffix.len());
    let tail = tail.and_then(|from| name.get(from..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_replaced_wherever_cameras_have_them() {
        for (text, shown) in [
            ("rtsp://admin:pa@ss@h/x", "rtsp://***@h/x"),
            (
                "rtsp://h/user=admin&password=geheim&channel=1",
                "rtsp://h/user=admin&password=***&channel=1",
            ),
            (
                "rtsp://h/user=admin_password=tlJw_channel=1_stream=0.sdp",
                "rtsp://h/user=admin_password=***",
            ),
            ("rtsp://h/x?Token=abc#y", "rtsp://h/x?Token=***"),
            (
                "Content-Base: rtsp://u:p@h/x/\r\nX: 1",
                "Content-Base: rtsp://***@h/x/\r\nX: 1",
            ),
            ("rtsp://h/a@b?c=d", "rtsp://h/a@b?c=d"),
            ("a=1&b=2", "a=1&b=2"),
            ("pwd=", "pwd="),
            ("ü=ü", "ü=ü"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
        assert_eq!(format!("{:?}", Secret::new("geheim")), "(hidden)");
    }
}
