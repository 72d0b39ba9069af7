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

/// The document around the content of each page: head and navigation bar.
const TEMPLATE: &str = include_str!("page.html");

/// The file at a path.
#[derive(Clone, Copy)]
enum File {
    /// A page that goes into [`TEMPLATE`]; `script` is the name of its script without `.js`.
    Page {
        title: &'static str,
        script: &'static str,
        content: &'static str,
    },
    /// A file of this media type, as it is.
    Asset(&'static str, &'static str),
}

const MISSING: File = File::Page {
    title: "Not found – looprtc",
    script: "missing",
    content: include_str!("missing.html"),
};

macro_rules! page {
    ($title:literal, $script:literal, $name:literal) => {
        Some(File::Page {
            title: $title,
            script: $script,
            content: include_str!($name),
        })
    };
}

macro_rules! file {
    ($kind:expr, $name:literal) => {
        Some(File::Asset($kind, include_str!($name)))
    };
}

fn file(path: &str) -> Option<File> {
    match path {
        "/" => page!("looprtc", "watch", "index.html"),
        "/publish" => page!("Publish – looprtc", "publish", "publish.html"),
        "/assets/common.js" => file!(SCRIPT, "common.js"),
        "/assets/network.js" => file!(SCRIPT, "network.js"),
        "/assets/server.js" => file!(SCRIPT, "server.js"),
        "/embed.js" => file!(SCRIPT, "embed.js"),
        "/assets/frame.js" => file!(SCRIPT, "frame.js"),
        "/assets/frame.css" => file!(STYLE, "frame.css"),
        "/assets/whep.js" => file!(SCRIPT, "whep.js"),
        "/assets/talk.js" => file!(SCRIPT, "talk.js"),
        "/assets/watch.js" => file!(SCRIPT, "watch.js"),
        "/assets/publish.js" => file!(SCRIPT, "publish.js"),
        "/call" => page!("Call – looprtc", "call", "call.html"),
        "/room/" => page!("Room – looprtc", "room", "room.html"),
        "/assets/style.css" => file!(STYLE, "style.css"),
        "/assets/media.js" => file!(SCRIPT, "media.js"),
        "/assets/room.js" => file!(SCRIPT, "room.js"),
        "/assets/call.js" => file!(SCRIPT, "call.js"),
        "/assets/bell.js" => file!(SCRIPT, "bell.js"),
        "/admin" => page!("Cameras – looprtc", "admin", "admin.html"),
        "/assets/admin.js" => file!(SCRIPT, "admin.js"),
        "/stats" => page!("Statistics – looprtc", "stats", "stats.html"),
        "/assets/stats.js" => file!(SCRIPT, "stats.js"),
        "/assets/missing.js" => file!(SCRIPT, "missing.js"),
        "/assets/icon.svg" | "/favicon.ico" => file!(ICON, "icon.svg"),
        _ if path.len() > "/watch/".len() && path.starts_with("/watch/") => {
            page!("looprtc", "watch", "index.html")
        }
        _ if is_room(path) => page!("Room – looprtc", "room", "room.html"),
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
    let mut response = response(200, file(path)?, path);
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
    response(404, MISSING, path)
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
        "/cameras" => "admin",
        "/admin/" | "/cameras/" => "../admin",
        "/watch" | "/index.html" => "./",
        "/watch/" => "../",
        _ => return None,
    };
    Some(Response::new(308).header("Location", to))
}

fn response(status: u16, file: File, path: &str) -> Response {
    let (kind, content) = match file {
        File::Page {
            title,
            script,
            content,
        } => {
            let document = TEMPLATE
                .replace("{title}", title)
                .replace("{script}", script)
                .replace("{content}", content);
            (HTML, with_relative_links(&document, path))
        }
        File::Asset(HTML, document) => (HTML, with_relative_links(document, path)),
        File::Asset(kind, content) => (kind, content.to_owned()),
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
fn with_relative_links(html: &str, path: &str) -> String {
    let depth = path.matches('/').count().saturating_sub(1);
    let up = match depth {
        0 => "./".to_owned(),
        depth => "../".repeat(depth),
    };
    html.replace("=\"/", &format!("=\"{up}"))
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
        for path in ["/", "/watch/cam", "/publish", "/call", "/stats", "/admin"] {
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
            "/admin",
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
            for marker in ["{title}", "{script}", "{content}"] {
                assert!(!html.contains(marker), "{path} has {marker}");
            }
            assert!(html.ends_with("</body>\n</html>\n"), "{path}");
            assert_eq!(html.matches("<main").count(), 1, "{path}");
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
