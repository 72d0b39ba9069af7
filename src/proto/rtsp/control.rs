//! URLs of sessions and streams: what cameras say, joined in the way that works with them.

use super::quirk::Quirk;
use super::url::{MAX_URL, RtspUrl};

/// Base for the control URLs of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// Scheme, host and port of the connection: they are always those of our own URL, because cameras behind NATs name
    /// addresses that cannot be reached.
    origin: String,
    /// Path and query.
    path: String,
}

impl Base {
    /// Takes `Content-Base` or `Content-Location`, repaired, or else the URL of the request.
    pub fn new(url: &RtspUrl, said: Option<&str>, quirks: &mut Vec<Quirk>) -> Self {
        let origin = url.origin();
        let request = url.request_uri();
        let own = request.strip_prefix(&origin).unwrap_or_default();
        let said = said
            .map(clean)
            .filter(|s| !s.is_empty() && s.len() <= MAX_URL);
        let Some(said) = said else {
            quirks.push(Quirk::BadContentBase);
            let path = own.to_owned();
            return Self { origin, path };
        };
        let (authority, path) = split(&said);
        if !authority.is_some_and(|said| is_same(said, &origin)) {
            quirks.push(Quirk::BadContentBase);
        }
        let path = path.to_owned();
        Self { origin, path }
    }

    /// Returns the URL of a stream or, with the session's control attribute, of the whole session.
    ///
    /// Joined as text: resolution by RFC 3986 would drop the last segment of a base without a final slash, and the query,
    /// and cameras expect neither.
    pub fn join(&self, control: Option<&str>, quirks: &mut Vec<Quirk>) -> String {
        let control = clean(control.unwrap_or_default());
        let (origin, base) = (&self.origin, &self.path);
        if control.is_empty() || control == "*" || control.len() > MAX_URL {
            return format!("{origin}{base}");
        }
        if control.contains("://") {
            let (authority, path) = split(&control);
            if !authority.is_some_and(|said| is_same(said, origin)) {
                quirks.push(Quirk::ControlUrl);
            }
            return format!("{origin}{path}");
        }
        if !base.ends_with('/') || base.contains('?') || control.starts_with('/') {
            quirks.push(Quirk::ControlUrl);
        }
        let base = base.strip_suffix('/').unwrap_or(base);
        let control = control.strip_prefix('/').unwrap_or(&control);
        format!("{origin}{base}/{control}")
    }
}

/// Removes what must not stand in a request line.
fn clean(text: &str) -> String {
    let text = text.trim().trim_matches('"');
    text.chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect()
}

/// Compares scheme, host and port, without credentials; the default port may be written or not.
fn is_same(said: &str, origin: &str) -> bool {
    let (scheme, rest) = origin.split_once("://").unwrap_or_default();
    let default = if scheme == "rtsps" { ":322" } else { ":554" };
    let (said_scheme, said) = said.split_once("://").unwrap_or_default();
    let said = said.rsplit('@').next().unwrap_or_default();
    let bare = |authority: &str| {
        let bare = authority.strip_suffix(default).unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    said_scheme.eq_ignore_ascii_case(scheme) && bare(said) == bare(rest)
}

/// Splits a URL, however damaged, into its scheme with authority, if that is sound, and path with query.
fn split(url: &str) -> (Option<&str>, &str) {
    // `rtsp://rtsp://host/`: what counts is behind the last one before the path.
    let mut rest = url;
    let mut schemes = 0;
    while let Some((scheme, after)) = rest.split_once("://") {
        if scheme.contains(['/', '?']) {
            break;
        }
        rest = after;
        schemes += 1;
    }
    if schemes == 0 && rest.starts_with('/') {
        return (None, rest);
    }
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    let authority = url.strip_suffix(path).filter(|_| schemes == 1);
    (authority, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str, said: Option<&str>) -> (Base, bool) {
        let mut quirks = Vec::new();
        let url = RtspUrl::parse(url).unwrap();
        let base = Base::new(&url, said, &mut quirks);
        (base, !quirks.is_empty())
    }

    #[test]
    fn quirk_19_content_base_is_repaired_and_never_names_another_host() {
        for (said, expected, is_quirk) in [
            (None, "rtsp://h:8554/cam", true),
            (Some(""), "rtsp://h:8554/cam", true),
            (Some("rtsp://h:8554/cam/"), "rtsp://h:8554/cam/", false),
            (Some("rtsp://10.0.0.5/live/"), "rtsp://h:8554/live/", true),
            (
                Some("rtsp://rtsp://h:8554/cam/"),
                "rtsp://h:8554/cam/",
                true,
            ),
            (
                Some("rtsp://::ffff:1.2.3.4/cam/"),
                "rtsp://h:8554/cam/",
                true,
            ),
            (Some("h:8554/cam/"), "rtsp://h:8554/cam/", true),
            (Some("192.168.1.9:554/cam/"), "rtsp://h:8554/cam/", true),
            (Some("/cam/"), "rtsp://h:8554/cam/", true),
            (Some("rtsp://u:p@H:8554/cam/"), "rtsp://h:8554/cam/", false),
            (Some("rtsp://h:554/cam/"), "rtsp://h:8554/cam/", true),
            (
                Some("rtsp://h:8554/x\r\nEvil: 1"),
                "rtsp://h:8554/xEvil:1",
                false,
            ),
        ] {
            let (base, noted) = base("rtsp://u:p@h:8554/cam", said);
            assert_eq!(base.join(None, &mut Vec::new()), expected, "{said:?}");
            assert_eq!(noted, is_quirk, "{said:?}");
        }
    }

    #[test]
    fn quirk_21_control_urls_are_joined_as_text() {
        for (said, control, expected, is_quirk) in [
            (
                "rtsp://h/cam/",
                "trackID=1",
                "rtsp://h/cam/trackID=1",
                false,
            ),
            ("rtsp://h/cam", "trackID=1", "rtsp://h/cam/trackID=1", true),
            (
                "rtsp://h/cam/",
                "/trackID=1",
                "rtsp://h/cam/trackID=1",
                true,
            ),
            (
                "rtsp://h/cam?channel=1&subtype=0",
                "trackID=0",
                "rtsp://h/cam?channel=1&subtype=0/trackID=0",
                true,
            ),
            (
                "rtsp://h/cam/",
                "rtsp://10.0.0.5:554/cam/t1",
                "rtsp://h/cam/t1",
                true,
            ),
            (
                "rtsp://h/cam/",
                "rtsp://h/other/t1",
                "rtsp://h/other/t1",
                false,
            ),
            (
                "rtsp://h:554/cam/",
                "rtsp://h:554/cam/t1",
                "rtsp://h/cam/t1",
                false,
            ),
            ("rtsp://h/cam/", "*", "rtsp://h/cam/", false),
            ("rtsp://h/cam/", "", "rtsp://h/cam/", false),
            ("rtsp://h/cam/", "a b\r\nX: 1", "rtsp://h/cam/abX:1", false),
            ("rtsp://h", "t1", "rtsp://h/t1", true),
        ] {
            let (base, _) = base("rtsp://h/cam", Some(said));
            let mut quirks = Vec::new();
            assert_eq!(
                base.join(Some(control), &mut quirks),
                expected,
                "{said} {control}"
            );
            assert_eq!(!quirks.is_empty(), is_quirk, "{said} {control}");
        }
    }
}
