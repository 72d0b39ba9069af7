//! The pages: plain HTML, CSS and JavaScript inside the program.

use crate::server::http::Response;
use crate::server::rooms::Rooms;
use crate::server::whip::Origins;

/// The part of [`POLICY`] that keeps other pages from showing ours in a frame.
const NO_FRAMES: &str = "frame-ancestors 'none'";

/// What no page of ours needs is forbidden: scripts and styles of others, frames, plug-ins.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; media-src 'self' blob: mediastream:; \
                      connect-src 'self' ws: wss:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'self'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! file {
    ($kind:expr, $name:literal) => {
        Some(($kind, include_bytes!($name).as_slice()))
    };
}

fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    match path {
        "/" => file!(HTML, "index.html"),
        "/publish" => file!(HTML, "publish.html"),
        "/assets/common.js" => file!(SCRIPT, "common.js"),
        "/assets/network.js" => file!(SCRIPT, "network.js"),
        "/assets/server.js" => file!(SCRIPT, "server.js"),
        "/embed.js" => file!(SCRIPT, "embed.js"),
        "/assets/frame.js" => file!(SCRIPT, "frame.js"),
        "/assets/frame.css" => file!(STYLE, "frame.css"),
        "/assets/whep.js" => file!(SCRIPT, "whep.js"),
        "/assets/watch.js" => file!(SCRIPT, "watch.js"),
        "/assets/publish.js" => file!(SCRIPT, "publish.js"),
        "/call" => file!(HTML, "call.html"),
        "/room/" => file!(HTML, "room.html"),
        "/assets/style.css" => file!(STYLE, "style.css"),
        "/assets/media.js" => file!(SCRIPT, "media.js"),
        "/assets/room.js" => file!(SCRIPT, "room.js"),
        "/assets/call.js" => file!(SCRIPT, "call.js"),
        "/assets/bell.js" => file!(SCRIPT, "bell.js"),
        "/stats" => file!(HTML, "stats.html"),
        "/assets/stats.js" => file!(SCRIPT, "stats.js"),
        "/assets/missing.js" => file!(SCRIPT, "missing.js"),
        "/assets/icon.svg" | "/favicon.ico" => file!(ICON, "icon.svg"),
        _ if path.len() > "/watch/".len() && path.starts_with("/watch/") => {
            file!(HTML, "index.html")
        }
        _ if is_room(path) => file!(HTML, "room.html"),
        _ if frame_of(path).is_some() => file!(HTML, "frame.html"),
        _ => None,
    }
}

/// `/room/NAME`; the room itself is at `/room/NAME/ws`.
fn is_room(path: &str) -> bool {
    let name = path.strip_prefix("/room/");
    name.is_some_and(|name| !name.contains('/') && Rooms::room_of(&format!("{path}/ws")).is_some())
}

/// Returns the name of the stream that a page for iframes plays: `/embed/NAME`.
fn frame_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/embed/")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Returns the page or asset at this path. Pages of `origins` may show `/embed/NAME` in an iframe.
#[must_use]
pub fn page(path: &str, origins: &Origins) -> Option<Response> {
    let (kind, content) = file(path)?;
    let mut response = response(200, kind, content, path);
    if frame_of(path).is_some() {
        let ancestors = match origins {
            Origins::Same => "'self'".to_owned(),
            Origins::Listed(list) => format!("'self' {}", list.join(" ")),
            Origins::Any => "*".to_owned(),
        };
        for (name, value) in &mut response.headers {
            if name == "Content-Security-Policy" {
                *value = value.replace(NO_FRAMES, &format!("frame-ancestors {ancestors}"));
            }
        }
    }
    Some(response)
}

/// Returns the page for an address that there is not, with status 404.
pub fn missing(path: &str) -> Response {
    response(404, HTML, include_bytes!("missing.html"), path)
}

/// Returns a redirection where a person is likely to have meant one of our pages.
pub fn moved(path: &str) -> Option<Response> {
    // Relative to the address asked for: a proxy may have put a prefix before it.
    let to = match path {
        "/room" | "/rooms" => "room/",
        "/rooms/" => "../room/",
        "/calls" => "call",
        "/call/" | "/calls/" => "../call",
        "/publish/" => "../publish",
        "/stats/" | "/statistics/" => "../stats",
        "/statistics" => "stats",
        "/watch" | "/index.html" => "./",
        "/watch/" => "../",
        _ => return None,
    };
    Some(Response::new(308).header("Location", to))
}

fn response(status: u16, kind: &'static str, content: &'static [u8], path: &str) -> Response {
    let content = match kind {
        HTML => with_relative_links(content, path),
        _ => content.to_vec(),
    };
    let response = Response::new(status)
        .body(kind, content)
        // Asked for again each time: the program may be a newer one, and the files are small.
        .header("Cache-Control", "no-cache")
        .header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer");
    match kind {
        HTML => response.header("Content-Security-Policy", POLICY),
        // Pages of other origins may load the player. The scripts are public; the streams are not.
        SCRIPT => response
            .header("Access-Control-Allow-Origin", "*")
            .header("Cross-Origin-Resource-Policy", "cross-origin"),
        _ => response,
    }
}

/// Makes the links of a page relative to where it stands, so that they lead here behind a proxy that has us under a
/// prefix, too.
fn with_relative_links(html: &[u8], path: &str) -> Vec<u8> {
    let depth = path.matches('/').count().saturating_sub(1);
    let up = match depth {
        0 => "./".to_owned(),
        depth => "../".repeat(depth),
    };
    let html = String::from_utf8_lossy(html);
    html.replace("=\"/", &format!("=\"{up}")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_for_iframes_may_be_framed_and_only_by_allowed_origins() {
        let policy = |path, origins: &Origins| {
            let headers = page(path, origins).unwrap().headers;
            let found = headers
                .into_iter()
                .find(|(name, _)| name == "Content-Security-Policy");
            let (_, policy) = found.unwrap();
            let part = policy
                .split("; ")
                .find(|part| part.starts_with("frame-ancestors"));
            part.unwrap().to_owned()
        };
        let listed = Origins::Listed(vec!["https://a.example".into(), "http://b.example".into()]);
        for path in ["/", "/watch/cam", "/publish", "/call", "/stats"] {
            for origins in [&Origins::Same, &listed, &Origins::Any] {
                assert_eq!(policy(path, origins), NO_FRAMES, "{path}");
            }
        }
        let framed = |origins: &Origins| policy("/embed/cam", origins);
        assert_eq!(framed(&Origins::Same), "frame-ancestors 'self'");
        assert_eq!(
            framed(&listed),
            "frame-ancestors 'self' https://a.example http://b.example"
        );
        assert_eq!(framed(&Origins::Any), "frame-ancestors *");
        for path in ["/embed", "/embed/", "/embed/a/b"] {
            assert!(page(path, &Origins::Any).is_none(), "{path}");
        }
    }

    #[test]
    fn what_pages_refer_to_is_there() {
        let pages = [
            "/",
            "/publish",
            "/stats",
            "/room/",
            "/room/any",
            "/watch/any",
            "/call",
            "/embed/any",
        ];
        let page = |path| super::page(path, &Origins::Same);
        let pages = pages.map(|path| (path, page(path).unwrap()));
        let none = ["/none", "/a/b/c/"].map(|path| (path, missing(path)));
        for (path, page) in pages.into_iter().chain(none) {
            let html = String::from_utf8(page.body).unwrap();
            assert!(!html.contains("=\"/"), "{path} has an absolute link");
            let links: Vec<&str> = html
                .split(['"', '\''])
                .filter(|text| text.contains("assets/"))
                .collect();
            assert!(links.len() >= 3, "{path}");
            for link in links {
                // As a browser resolves it, on a server under a prefix.
                let mut parts: Vec<&str> = "/some/where".split('/').collect();
                parts.extend(path.split('/').skip(1));
                parts.pop();
                for part in link.split('/') {
                    match part {
                        "." => {}
                        ".." => drop(parts.pop()),
                        part => parts.push(part),
                    }
                }
                let asset = parts.join("/").replacen("/some/where", "", 1);
                assert!(file(&asset).is_some(), "{path} refers to {link}");
            }
        }
        assert!(page("/watch/any").is_some());
        assert!(page("/room/any").is_some());
        assert!(page("/room/any/ws").is_none() && page("/room/a b").is_none());
        assert!(page("/assets/none").is_none());
        for (from, to) in [("/rooms", "room/"), ("/calls", "call"), ("/watch/", "../")] {
            let moved = moved(from).unwrap();
            assert!(
                moved.headers.contains(&("Location".into(), to.into())),
                "{moved:?}"
            );
            assert!(page(from).is_none());
        }
    }
}
