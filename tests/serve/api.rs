//! The API as `docs/openapi.json` describes it, and as a running server answers. (That the description has every route is
//! checked beside the routes, in `src/server/gateway/routes.rs`.)

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Server;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn described() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Sends a request that may be for a WebSocket, and returns the head of the response and, of others than WebSockets, its body.
fn ask(server: &Server, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    let host = server.address.port();
    let is_socket = headers.contains("websocket");
    let connection = if is_socket { "Upgrade" } else { "close" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{host}\r\nConnection: {connection}\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    let mut piece = [0; 4096];
    let is_over =
        |response: &[u8]| is_socket && response.windows(4).any(|four| four == b"\r\n\r\n");
    while !is_over(&response) {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            length => response.extend_from_slice(&piece[..length]),
        }
    }
    // Frames of a WebSocket may follow the head.
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").expect(&response);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

/// What is different between a value and its schema: in both directions, so that nothing undescribed is sent.
fn differences(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return differences(root, target, value, at, found);
    }
    let parts: Vec<Value> = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().map(|part| resolved(root, part)).collect(),
        None => vec![schema.clone()],
    };
    for part in &parts {
        let kinds: Vec<&str> = match &part["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let fits = |kind: &&str| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("{at}: the type {other}"),
        };
        if !kinds.iter().any(fits) {
            found.push(format!("{at}: {value} is no {kinds:?}"));
        }
        if let Some(known) = part["enum"].as_array()
            && !known.contains(value)
        {
            found.push(format!("{at}: {value} is none of {known:?}"));
        }
        let required = part["required"].as_array().filter(|_| value.is_object());
        for name in required.into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                found.push(format!("{at}: {name} is missing"));
            }
        }
    }
    let property = |name: &str| {
        let of = |part: &Value| part["properties"].get(name).cloned();
        parts.iter().find_map(of)
    };
    let is_free = parts.iter().all(|part| part["properties"].is_null());
    for (name, value) in value.as_object().into_iter().flatten().filter(|_| !is_free) {
        match property(name) {
            Some(schema) => differences(root, &schema, value, &format!("{at}.{name}"), found),
            None => found.push(format!("{at}.{name} is not described")),
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        differences(
            root,
            &parts[0]["items"],
            value,
            &format!("{at}[{index}]"),
            found,
        );
    }
}

fn resolved(root: &Value, schema: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .unwrap()
            .clone(),
        None => schema.clone(),
    }
}

#[test]
fn every_operation_answers_as_described_and_no_other_method_does() {
    let root = described();
    let turn = ["--turn", "--turn-listen", "127.0.0.1:0"];
    let server = Server::start(&[&turn[..], &["cam=whip:", "film=none/film.ivf"]].concat());
    // A viewer, for the statistics.
    let url = format!("http://localhost:{}/whep/testcard", server.address.port());
    let directory = concat!(env!("CARGO_TARGET_TMPDIR"), "/api");
    std::fs::create_dir_all(directory).unwrap();
    let mut viewer = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["play", &url, "--dir", directory, "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while !ask(&server, "GET", "/api/stats", "")
        .2
        .contains("\"firstSentMs\":")
    {
        assert!(Instant::now() < limit, "nobody watches");
        std::thread::sleep(Duration::from_millis(50));
    }
    let socket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut checked = 0;
    for (path, operations) in root["paths"].as_object().unwrap() {
        let stream = if path.starts_with("/whip") {
            "cam"
        } else {
            "testcard"
        };
        let asked = path.replace("{stream}", stream);
        let asked = asked.replace("{session}", "0123").replace("{room}", "a");
        for method in METHODS {
            let operation = &operations[method.to_lowercase()];
            let responses = &operation["responses"];
            let headers = match responses.get("101") {
                Some(_) => socket,
                None => "",
            };
            let (status, head, body) = ask(&server, method, &asked, headers);
            if operation.is_null() {
                // Preflights are described in docs/api.md once for all.
                if method != "OPTIONS" {
                    assert!([404, 405].contains(&status), "{method} {path}: {head}");
                }
                continue;
            }
            let response = responses.get(status.to_string());
            let response = response.unwrap_or_else(|| panic!("{method} {path}: {head}\n{body}"));
            let response = resolved(&root, response);
            let kind = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Type: "));
            if let Some(content) = response["content"].as_object().filter(|_| !body.is_empty()) {
                let kind = kind.unwrap().split(';').next().unwrap();
                let schema = &content
                    .get(kind)
                    .unwrap_or_else(|| panic!("{path}: {kind}"))["schema"];
                if kind.ends_with("json") {
                    let value = serde_json::from_str(&body).unwrap();
                    let mut found = Vec::new();
                    differences(&root, schema, &value, "", &mut found);
                    assert!(found.is_empty(), "{method} {path}: {found:#?}\n{body}");
                }
            }
            checked += 1;
        }
    }
    let _ = viewer.kill();
    let _ = viewer.wait();
    assert!(checked > 20, "{checked}");
    let (status, _, body) = ask(&server, "GET", "/api/openapi.json", "");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), root);
}

/// CORS (Fetch section 3.2): who may read what.
#[test]
fn pages_of_other_origins_read_the_api_with_a_token_or_where_they_are_allowed() {
    let friend = "Origin: https://friend.example\r\n";
    let other = "Origin: https://other.example\r\n";
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let readable = |server: &Server, path: &str, headers: &str| {
        let (status, head, _) = ask(server, "GET", path, headers);
        (status, head.contains("Access-Control-Allow-Origin: *"))
    };
    let args = ["--token", "see", "--allow-origin", "https://friend.example"];
    let server = Server::start(&args);
    for path in ["/api/config", "/api/streams", "/api/stats", "/metrics"] {
        assert_eq!(
            readable(&server, path, &format!("{other}{}", bearer("see"))),
            (200, true),
            "{path}"
        );
        assert_eq!(readable(&server, path, other), (403, false), "{path}");
        let expected = if path == "/api/config" { 200 } else { 401 };
        assert_eq!(readable(&server, path, friend), (expected, true), "{path}");
        let (status, head, _) = ask(&server, "OPTIONS", path, other);
        assert_eq!(status, 204);
        assert!(
            head.contains("Access-Control-Allow-Headers: Authorization"),
            "{head}"
        );
    }
    // A wrong token gives nothing away.
    let (status, _, body) = ask(
        &server,
        "GET",
        "/api/config",
        &format!("{other}{}", bearer("sea")),
    );
    assert_eq!(status, 200);
    assert!(
        body.contains("\"iceServers\":[]") && body.contains("\"signedIn\":false"),
        "{body}"
    );
    for path in [
        "/healthz",
        "/api/openapi.json",
        "/embed.js",
        "/assets/whep.js",
    ] {
        assert!(readable(&server, path, other).1, "{path}");
    }
    // Cookies are for our own pages.
    let (_, head, _) = ask(
        &server,
        "POST",
        "/api/login",
        &format!("{other}{}", bearer("see")),
    );
    assert!(!head.contains("Access-Control"), "{head}");

    // On this machine without a token: a page elsewhere gets nothing, whatever it shows.
    let server = Server::start(&[]);
    for headers in [other.to_owned(), format!("{other}{}", bearer("see"))] {
        for path in ["/api/config", "/api/streams", "/api/stats"] {
            let (status, _, body) = ask(&server, "GET", path, &headers);
            assert_eq!(status, 403, "{path}: {body}");
            assert!(
                body.contains("not allowed") && !body.contains("iceServers"),
                "{body}"
            );
        }
    }
    let server = Server::start(&["--allow-origin", "*"]);
    assert_eq!(readable(&server, "/api/streams", other), (200, true));
}
