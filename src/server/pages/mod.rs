//! The pages: plain HTML, CSS and JavaScript inside the program.

use crate::server::http::Response;
use crate::server::rooms::Rooms;

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
        _ => None,
    }
}

/// `/room/NAME`; the room itself is at `/room/NAME/ws`.
fn is_room(path: &str) -> bool {
    let name = path.strip_prefix("/room/");
    name.is_some_and(|name| !name.contains('/') && Rooms::room_of(&format!("{path}/ws")).is_some())
}

/// The page or asset at this path.
#[must_use]
pub fn page(path: &str) -> Option<Response> {
    let (kind, content) = file(path)?;
    Some(response(200, kind, content, path))
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
    fn what_pages_refer_to_is_there() {
        let pages = [
            "/",
            "/publish",
            "/stats",
            "/room/",
            "/room/any",
            "/watch/any",
            "/call",
        ];
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
