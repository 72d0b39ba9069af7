//! Responses to programs: statuses, headers, access rights.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server, killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self {
            child,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let rest = line.strip_prefix("Open http://localhost:")?;
            rest.split(' ').next()?.parse().ok()
        });
        server.address.set_port(port.expect("it says where it is"));
        std::thread::spawn(move || lines.for_each(drop));
        server
    }

    /// Returns the response to a request with these header lines, on a connection of its own.
    pub fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let host = match headers.contains("Host:") {
            true => String::new(),
            false => format!("Host: localhost:{}\r\n", self.address.port()),
        };
        let length = match body.is_empty() {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let request =
            format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    pub fn status(&self, line: &str, headers: &str, body: &str) -> u16 {
        let response = self.ask(line, headers, body);
        let status = response.split(' ').nth(1);
        status.unwrap_or_default().parse().expect(&response)
    }

    /// Stops it as a user or a service manager does; returns its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < limit, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pages_and_what_is_none() {
    let mut server = Server::start(&["--no-rooms"]);
    let page = server.ask("GET /", "", "");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("Content-Security-Policy: default-src 'self'"),
        "{page}"
    );
    assert!(page.contains("<title>looprtc</title>"));
    for path in [
        "/watch/testcard",
        "/publish",
        "/call",
        "/assets/style.css",
        "/assets/whep.js",
    ] {
        assert_eq!(server.status(&format!("GET {path}"), "", ""), 200, "{path}");
    }
    for path in [
        "/nothing",
        "/room/",
        "/room/a",
        "/assets/",
        "/assets/../Cargo.toml",
    ] {
        assert_eq!(server.status(&format!("GET {path}"), "", ""), 404, "{path}");
    }
    // A person gets a page, a program gets JSON.
    let html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    for path in ["/nothing", "/statz", "/room/"] {
        let page = server.ask(&format!("GET {path}"), html, "");
        assert!(page.starts_with("HTTP/1.1 404"), "{page}");
        assert!(page.contains("There is no such page"), "{page}");
        let problem = server.ask(&format!("GET {path}"), "Accept: */*\r\n", "");
        assert!(problem.contains("application/problem+json"), "{problem}");
    }
    let moved = server.ask("GET /calls", html, "");
    assert!(
        moved.starts_with("HTTP/1.1 308") && moved.contains("Location: call\r\n"),
        "{moved}"
    );
    let problem = server.ask("POST /", "", "x");
    assert!(problem.starts_with("HTTP/1.1 405"), "{problem}");
    assert!(problem.contains("Allow: GET, HEAD"), "{problem}");
    assert!(problem.contains("application/problem+json"), "{problem}");
    assert_eq!(server.status("GET /healthz", "", ""), 204);
    let metrics = server.ask("GET /metrics", "", "");
    assert!(
        metrics.contains("looprtc_stream_up{stream=\"testcard\"} 0"),
        "{metrics}"
    );
    assert_eq!(server.end(), Some(0));
}

/// Another site's page, open in the browser of the server's owner, has no rights.
#[test]
fn pages_of_others_are_refused() {
    let server = Server::start(&[]);
    let sdp = "Content-Type: application/sdp\r\n";
    let ask =
        |headers: &str| server.status("POST /whep/testcard", &format!("{sdp}{headers}"), "v=0");
    // Ours is refused only because of its offer.
    assert_ne!(ask(""), 403);
    let own = format!("Origin: http://localhost:{}\r\n", server.address.port());
    assert_ne!(ask(&own), 403);
    assert_eq!(ask("Origin: https://evil.example\r\n"), 403);
    assert_eq!(ask("Origin: null\r\n"), 403);
    // With a name of theirs that resolves to this machine (DNS rebinding).
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example\r\n";
    assert_eq!(ask(rebound), 403);
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for path in ["/api/live", "/room/a/ws", "/call/ws", "/websocket"] {
        let request = format!("GET {path}");
        let theirs = format!("{socket}Origin: https://evil.example\r\n");
        assert_eq!(server.status(&request, &theirs, ""), 403, "{path}");
    }
}

#[test]
fn a_token_for_watching_and_one_for_publishing() {
    let server = Server::start(&["--token", "see", "--publish-token", "show", "cam=whip:"]);
    let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for path in ["/api/streams", "/api/stats", "/metrics"] {
        let get = format!("GET {path}");
        assert_eq!(server.status(&get, "", ""), 401, "{path}");
        assert_eq!(server.status(&get, &with("sea"), ""), 401, "{path}");
        assert_eq!(server.status(&get, &with("see"), ""), 200, "{path}");
        assert_eq!(server.status(&get, &with("show"), ""), 200, "{path}");
    }
    let publish = |headers: &str| {
        let headers = format!("Content-Type: application/sdp\r\n{headers}");
        server.status("POST /whip/cam", &headers, "v=0")
    };
    assert_eq!(publish(""), 401);
    assert_eq!(publish(&with("see")), 401);
    assert!(![401, 403].contains(&publish(&with("show"))));
    let login = server.ask("POST /api/login", &with("see"), "");
    let cookie = login
        .lines()
        .find_map(|line| line.strip_prefix("Set-Cookie: "));
    let cookie = cookie.expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(server.status("GET /api/streams", &cookie, ""), 200);
    assert_eq!(publish(&cookie), 401);
    let config = server.ask("GET /api/config", "", "");
    assert!(
        config.contains("\"needsToken\":true") && config.contains("\"iceServers\":[]"),
        "{config}"
    );
}

/// D2: whatever a page sends, the response tells it what it needs to continue.
#[test]
fn a_page_is_told_what_it_may_do_and_what_another_token_would_give() {
    let server = Server::start(&["--token", "see", "--publish-token", "show", "cam=whip:"]);
    let sign_in = |token: &str| {
        let answer = server.ask(
            "POST /api/login",
            &format!("Authorization: Bearer {token}\r\n"),
            "",
        );
        let cookie = answer.lines().find_map(|l| l.strip_prefix("Set-Cookie: "));
        let cookie = cookie
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        format!("Cookie: {cookie}\r\n")
    };
    let config = |headers: &str| {
        let answer = server.ask("GET /api/config", headers, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str::<serde_json::Value>(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    let rights = |view, publish, details| serde_json::json!({ "view": view, "publish": publish, "details": details, "admin": false });
    let nobody = config("");
    let viewer = config(&sign_in("see"));
    let publisher = config(&sign_in("show"));
    for config in [&nobody, &viewer, &publisher] {
        for field in ["publish", "iceServers"] {
            assert!(config[field].is_array(), "{field} in {config}");
        }
        for field in [
            "needsToken",
            "signedIn",
            "publishNeedsToken",
            "signOut",
            "rooms",
            "calls",
        ] {
            assert!(config[field].is_boolean(), "{field} in {config}");
        }
    }
    assert_eq!(nobody["rights"], rights(false, false, false));
    assert_eq!(viewer["rights"], rights(true, false, false));
    assert_eq!(
        (&viewer["publishNeedsToken"], &viewer["publish"]),
        (&true.into(), &serde_json::json!([]))
    );
    // A user who signs in with the publish token can watch, too.
    assert_eq!(publisher["rights"], rights(true, true, true));
    assert_eq!(
        (&publisher["publishNeedsToken"], &publisher["publish"]),
        (&false.into(), &serde_json::json!(["cam"]))
    );
    assert_eq!(server.status("GET /api/streams", &sign_in("show"), ""), 200);
    assert_eq!(
        (&viewer["signOut"], &nobody["signOut"]),
        (&true.into(), &false.into())
    );
    let out = server.ask("POST /api/logout", &sign_in("see"), "");
    assert!(
        out.contains("Set-Cookie: looprtc=; Path=/;") && out.contains("Max-Age=0"),
        "{out}"
    );
    // A cookie of an old token is deleted, and never breaks a page, even if sent several times.
    let stale = "Cookie: looprtc=0123\r\n";
    for n in 0..25 {
        let answer = server.ask("GET /api/config", stale, "");
        assert!(
            answer.contains("\"publish\":[]") && answer.contains("Set-Cookie: looprtc=;"),
            "{answer}"
        );
        assert_eq!(answer.starts_with("HTTP/1.1 200"), n < 20, "{n}: {answer}");
    }
    assert_eq!(
        config(&sign_in("see"))["rights"],
        rights(true, false, false)
    );

    let server = Server::start(&["--publish-token", "show", "cam=whip:"]);
    let config = server.ask("GET /api/config", "", "");
    for part in [
        "\"needsToken\":false",
        "\"signedIn\":true",
        "\"publishNeedsToken\":true",
    ] {
        assert!(config.contains(part), "{part} in {config}");
    }
    let login = |token: &str| {
        server.status(
            "POST /api/login",
            &format!("Authorization: Bearer {token}\r\n"),
            "",
        )
    };
    assert_eq!((login("shown"), login("show")), (401, 204));
}

/// An error that prevents the start is reported, with advice.
#[test]
fn a_start_that_fails() {
    let server = Server::start(&[]);
    let taken = server.address.to_string();
    let run = |args: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .arg("serve")
            .args(args)
            .output()
            .unwrap();
        assert!(!run.status.success());
        String::from_utf8(run.stderr).unwrap()
    };
    let said = run(&["--listen", &taken]);
    assert!(
        said.contains("in use") && said.contains("--listen"),
        "{said}"
    );
    let said = run(&["--listen", "0.0.0.0:0"]);
    assert!(
        said.contains("--token") && said.contains("--open"),
        "{said}"
    );
    let said = run(&[
        "--listen",
        "127.0.0.1:0",
        "film=rtp://127.0.0.1:5004?codec=nope",
    ]);
    assert!(said.contains("film"), "{said}");
}

/// S14: viewers do not see other viewers, the list of rooms, or the paths of files.
#[test]
fn what_concerns_other_people_is_for_who_may_see_it() {
    let missing = "film=/srv/private/alice/film.ivf";
    let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let server = Server::start(&["--token", "see", "--stats-token", "count", missing]);
    let streams = server.ask("GET /api/streams", &with("see"), "");
    assert!(
        streams.contains("film.ivf") && !streams.contains("/srv"),
        "{streams}"
    );
    assert_eq!(server.status("GET /api/stats", &with("see"), ""), 401);
    assert_eq!(server.status("GET /metrics", &with("see"), ""), 401);
    assert_eq!(server.status("GET /api/streams", &with("count"), ""), 401);
    let stats = server.ask("GET /api/stats", &with("count"), "");
    assert!(stats.contains("/srv/private/alice/film.ivf"), "{stats}");
    assert_eq!(server.status("GET /metrics", &with("count"), ""), 200);

    let server = Server::start(&["--open", missing]);
    assert_eq!(server.status("GET /api/stats", "", ""), 403);
    assert_eq!(server.status("GET /metrics", "", ""), 403);
    let streams = server.ask("GET /api/streams", "", "");
    assert!(!streams.contains("/srv"), "{streams}");
    // Without an explicit access mode, the server is local, and its clients have all rights.
    let server = Server::start(&[missing]);
    assert!(
        server
            .ask("GET /api/stats", "", "")
            .contains("/srv/private")
    );
}

/// Without a proxy, headers about client addresses are ignored.
#[test]
fn headers_of_a_proxy_are_believed_from_trusted_ones_only() {
    let args = ["--token", "see", "--publish-token", "show"];
    let guess = |server: &Server, headers: &str| {
        let headers = format!("Authorization: Bearer guess\r\n{headers}");
        server.status("GET /api/streams", &headers, "")
    };
    let from = |n: u8| format!("X-Forwarded-For: 192.0.2.{n}\r\n");
    let alone = Server::start(&args);
    for n in 0..20 {
        assert_eq!(guess(&alone, &from(n)), 401);
    }
    assert_eq!(guess(&alone, &from(99)), 429);
    let behind = Server::start(&[&args[..], &["--trusted-proxy", "127.0.0.0/8"]].concat());
    for _ in 0..20 {
        assert_eq!(guess(&behind, &from(1)), 401);
    }
    assert_eq!(guess(&behind, &from(1)), 429);
    assert_eq!(
        guess(&behind, "X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\n"),
        429
    );
    assert_eq!(guess(&behind, &from(2)), 401);
    // The page's origin is the one requested from the proxy; its cookie is for TLS and the prefix.
    let login = behind.ask(
        "POST /api/login",
        "Host: inner\r\nAuthorization: Bearer see\r\nOrigin: https://media.example\r\nX-Forwarded-For: 192.0.2.3\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: media.example\r\nX-Forwarded-Prefix: /cam\r\n",
        "",
    );
    assert!(login.starts_with("HTTP/1.1 204"), "{login}");
    assert!(
        login.contains("; Path=/cam/;") && login.contains("; Secure"),
        "{login}"
    );
}

#[test]
fn the_proxy_protocol_says_whose_connection_it_is() {
    let server = Server::start(&[
        "--token",
        "see",
        "--trusted-proxy",
        "127.0.0.1",
        "--proxy-protocol",
    ]);
    let ask = |header: &[u8]| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(header).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let request = "GET /api/streams HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer guess\r\n\r\n";
        let _ = stream.write_all(request.as_bytes());
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response);
        response.split(' ').nth(1).map(str::to_owned)
    };
    let v1 = |n: u8| format!("PROXY TCP4 192.0.2.{n} 192.0.2.254 56324 443\r\n").into_bytes();
    for _ in 0..20 {
        assert_eq!(ask(&v1(1)).as_deref(), Some("401"));
    }
    assert_eq!(ask(&v1(1)).as_deref(), Some("429"));
    assert_eq!(ask(&v1(2)).as_deref(), Some("401"));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 1, 192, 0, 2, 254, 220, 4, 1, 187]);
    assert_eq!(ask(&v2).as_deref(), Some("429"));
    // Without it there is no answer.
    assert_eq!(ask(b""), None);
}

/// A proxy that serves the pages below a path, and removes that or not.
#[test]
fn below_a_base_path() {
    let server = Server::start(&["--open", "--base-path", "/cam/"]);
    for path in [
        "/cam",
        "/cam/",
        "/cam/watch/testcard",
        "/watch/testcard",
        "/cam/assets/common.js",
        "/cam/api/config",
    ] {
        assert_eq!(server.status(&format!("GET {path}"), "", ""), 200, "{path}");
    }
    assert_eq!(server.status("GET /camera", "", ""), 404);
    // An open server answers to the proxy's host name.
    let page = "Host: media.example\r\nOrigin: http://media.example\r\n";
    assert_eq!(server.status("GET /cam/api/streams", page, ""), 200);
    let page = server.ask("GET /cam/watch/testcard", "", "");
    assert!(
        page.contains("\"../assets/") && !page.contains("\"/assets/"),
        "{page}"
    );
}
