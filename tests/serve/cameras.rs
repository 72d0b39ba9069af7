//! Cameras added, edited and removed by the API of a running server, and kept when it ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Server;

const ADMIN: &str = "Authorization: Bearer change-them\r\n";
const TOKENS: [&str; 4] = ["--token", "see", "--admin-token", "change-them"];
/// Nobody listens there.
const NOBODY: &str = "whep:http://127.0.0.1:9/whep/x";

/// A directory that is empty at first.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Sends JSON; returns the status and the JSON of the answer.
fn send(server: &Server, line: &str, headers: &str, body: &Value) -> (u16, Value) {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    parts(&server.ask(line, &headers, &body.to_string()))
}

fn get(server: &Server, path: &str, headers: &str) -> (u16, Value) {
    parts(&server.ask(&format!("GET {path}"), headers, ""))
}

fn parts(response: &str) -> (u16, Value) {
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn cameras_come_and_go_and_stay_when_the_server_does_not() {
    let directory = directory("cameras");
    let file = directory.join("cameras.jsonl");
    let file_args = ["--cameras-file", file.to_str().unwrap()];
    let args = [&TOKENS[..], &file_args].concat();
    let server = Server::start(&args);
    let (status, config) = get(&server, "/api/config", ADMIN);
    assert_eq!(
        (status, &config["rights"]["admin"], &config["keepsCameras"]),
        (200, &json!(true), &json!(true))
    );
    let camera = json!({ "name": "yard", "url": NOBODY, "password": "geheim" });
    let added = server.ask(
        "POST /api/streams",
        &format!("{ADMIN}Content-Type: application/json\r\n"),
        &camera.to_string(),
    );
    assert!(
        added.starts_with("HTTP/1.1 201") && added.contains("Location: /api/streams/yard\r\n"),
        "{added}"
    );
    assert!(!added.contains("geheim"), "{added}");
    let (_, stream) = parts(&added);
    assert_eq!(stream["camera"]["hasPassword"], true);
    assert_eq!(send(&server, "POST /api/streams", ADMIN, &camera).0, 409);
    // Who may not change it sees that it is there, and not where.
    let (status, stream) = get(
        &server,
        "/api/streams/yard",
        "Authorization: Bearer see\r\n",
    );
    assert_eq!(
        (status, &stream["camera"], &stream["editable"]),
        (200, &Value::Null, &json!(true))
    );
    // It is tried at once, without a viewer.
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, stream) = get(&server, "/api/streams/yard", ADMIN);
        assert!(!stream.to_string().contains("geheim"), "{stream}");
        if stream["state"] == "failed" {
            break;
        }
        assert!(Instant::now() < limit, "{stream}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (status, stream) = send(&server, "PUT /api/streams/yard", ADMIN, &stream["camera"]);
    assert_eq!(status, 422, "there is no camera for viewers: {stream}");
    let (_, stream) = get(&server, "/api/streams/yard", ADMIN);
    let starts = stream["starts"].clone();
    let (status, stream) = send(&server, "PUT /api/streams/yard", ADMIN, &stream["camera"]);
    assert_eq!(
        (status, &stream["starts"]),
        (200, &starts),
        "the same is no change"
    );
    let other = json!({ "url": "whep:http://127.0.0.1:9/whep/y" });
    let (status, stream) = send(&server, "PUT /api/streams/yard", ADMIN, &other);
    assert_eq!(
        (status, &stream["camera"]["hasPassword"]),
        (200, &json!(true))
    );
    assert_eq!(
        send(
            &server,
            "POST /api/streams",
            ADMIN,
            &json!({ "name": "gate", "url": "whip:" })
        )
        .0,
        201
    );

    // Killed, not asked to end.
    drop(server);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("geheim") && text.contains("whep/y"), "{text}");
    let mut server = Server::start(&args);
    let (_, streams) = get(&server, "/api/streams", ADMIN);
    let names: Vec<&str> = streams["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gate", "live", "testcard", "yard"]);
    assert_eq!(server.status("DELETE /api/streams/gate", ADMIN, ""), 204);
    assert_eq!(server.status("DELETE /api/streams/gate", ADMIN, ""), 404);
    assert_eq!(server.status("GET /api/streams/gate", ADMIN, ""), 404);
    assert_eq!(server.end(), Some(0));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("gate"));
}

#[test]
fn nobody_else_changes_cameras() {
    let server = Server::start(&TOKENS);
    let camera = json!({ "name": "yard", "url": NOBODY });
    let post =
        |server: &Server, headers: &str| send(server, "POST /api/streams", headers, &camera).0;
    let port = server.address.port();
    assert_eq!(post(&server, ""), 401);
    assert_eq!(post(&server, "Authorization: Bearer see\r\n"), 401);
    assert_eq!(
        server.status(
            "DELETE /api/streams/testcard",
            "Authorization: Bearer see\r\n",
            ""
        ),
        401
    );
    // By cookie, from our own pages only.
    let login = server.ask("POST /api/login", ADMIN, "");
    let cookie = login
        .split("Set-Cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let page = |origin: &str| format!("Cookie: {cookie}\r\nOrigin: {origin}\r\n");
    assert_eq!(post(&server, &page("http://evil.example")), 403);
    assert_eq!(post(&server, &page("http://localhost:1")), 403);
    assert_eq!(
        post(&server, &page(&format!("http://localhost:{port}"))),
        201
    );
    // A form of another page needs no permission of a browser, but is no JSON.
    let form = format!(
        "{}Content-Type: text/plain\r\n",
        page(&format!("http://localhost:{port}"))
    );
    let refused = server.ask("POST /api/streams", &form, &camera.to_string());
    assert!(refused.starts_with("HTTP/1.1 415"), "{refused}");
    // A page of another origin with the token, which its browser asks about first.
    let elsewhere = format!("{ADMIN}Origin: https://friend.example\r\n");
    let removed = server.ask("DELETE /api/streams/yard", &elsewhere, "");
    assert!(
        removed.starts_with("HTTP/1.1 204") && removed.contains("Access-Control-Allow-Origin: *"),
        "{removed}"
    );
    let asked = server.ask(
        "OPTIONS /api/streams/yard",
        "Origin: https://friend.example\r\n",
        "",
    );
    assert!(
        asked.contains("Access-Control-Allow-Methods: GET, HEAD, PUT, DELETE"),
        "{asked}"
    );
    assert!(
        asked.contains("Access-Control-Allow-Headers: Authorization, Content-Type"),
        "{asked}"
    );

    // Without tokens: this machine, on pages of this server.
    let server = Server::start(&[]);
    let port = server.address.port();
    assert_eq!(post(&server, "Origin: http://evil.example\r\n"), 403);
    assert_eq!(post(&server, "Host: evil.example\r\n"), 403);
    assert_eq!(post(&server, "X-Forwarded-For: 192.0.2.1\r\n"), 403);
    assert_eq!(
        post(&server, &format!("Origin: http://localhost:{port}\r\n")),
        201
    );
    let server = Server::start(&["--allow-origin", "*"]);
    assert_eq!(post(&server, "Origin: http://friend.example\r\n"), 403);
    let (_, config) = get(&server, "/api/config", "Origin: http://friend.example\r\n");
    assert_eq!(
        (&config["rights"]["view"], &config["rights"]["admin"]),
        (&json!(true), &json!(false))
    );
    for args in [
        &["--open"][..],
        &["--token", "see"],
        &["--publish-token", "show"],
        &["--trusted-proxy", "127.0.0.1"],
    ] {
        let server = Server::start(args);
        let (status, problem) = send(
            &server,
            "POST /api/streams",
            "Authorization: Bearer see\r\n",
            &camera,
        );
        assert!([401, 403].contains(&status), "{args:?}: {problem}");
        assert!(
            !problem["detail"]
                .as_str()
                .unwrap()
                .contains("another one does"),
            "{args:?}: {problem}"
        );
    }
}

#[test]
fn no_file_of_this_machine_is_opened_by_the_api() {
    let server = Server::start(&["cam=whip:"]);
    for url in [
        "/etc/passwd",
        "file:/etc/passwd",
        "pipe:/tmp/x",
        "-",
        "rtp:/etc/passwd",
        "testcard:",
        "a.ivf,b.ogg",
        "",
    ] {
        let (status, problem) = send(
            &server,
            "POST /api/streams",
            "",
            &json!({ "name": "x", "url": url }),
        );
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!("url")),
            "{url}: {problem}"
        );
    }
    let (status, problem) = send(
        &server,
        "POST /api/streams",
        "",
        &json!({ "name": "a b", "url": "whip:" }),
    );
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("name")),
        "{problem}"
    );
    // What the configuration has stays as it is.
    for name in ["cam", "testcard"] {
        let line = format!("PUT /api/streams/{name}");
        let (status, problem) = send(&server, &line, "", &json!({ "url": "whip:" }));
        assert_eq!(status, 409);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("configuration"),
            "{problem}"
        );
        assert_eq!(
            server.status(&format!("DELETE /api/streams/{name}"), "", ""),
            409
        );
    }
    let (_, config) = get(&server, "/api/config", "");
    assert_eq!(config["keepsCameras"], false, "no file was given");
}

#[test]
fn a_viewer_of_a_camera_that_changes_comes_to_the_new_one() {
    let far = Server::start(&[]);
    let near = Server::start(&[]);
    let from = |stream: &str| format!("whep:http://localhost:{}/whep/{stream}", far.address.port());
    let camera = json!({ "name": "yard", "url": from("testcard") });
    assert_eq!(send(&near, "POST /api/streams", "", &camera).0, 201);
    let live = |wanted: bool| {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let (_, stream) = get(&near, "/api/streams/yard", "");
            if (stream["state"] == "live") == wanted {
                return stream;
            }
            assert!(Instant::now() < limit, "{stream}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // Tried without a viewer, and stopped again.
    let stream = live(true);
    assert!(
        stream["codecs"]
            .as_array()
            .is_some_and(|codecs| !codecs.is_empty()),
        "{stream}"
    );
    live(false);
    let far_viewers = || {
        get(&far, "/api/stats", "").1["viewers"]
            .as_array()
            .unwrap()
            .len()
    };
    let limit = Instant::now() + Duration::from_secs(30);
    while far_viewers() > 0 {
        assert!(
            Instant::now() < limit,
            "the session with the other server is not ended"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // Removed while it runs: its session is ended all the same, not only after a time limit.
    assert_eq!(
        send(
            &near,
            "PUT /api/streams/yard",
            "",
            &json!({ "url": from("testcard?a") })
        )
        .0,
        200
    );
    let limit = Instant::now() + Duration::from_secs(30);
    while far_viewers() == 0 {
        assert!(Instant::now() < limit, "nobody asks the other server");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(near.status("DELETE /api/streams/yard", "", ""), 204);
    let limit = Instant::now() + Duration::from_secs(5);
    while far_viewers() > 0 {
        assert!(
            Instant::now() < limit,
            "a removed camera's session is not ended"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_damaged_file_stops_the_start_and_is_not_touched() {
    let directory = directory("damaged-cameras");
    let file = directory.join("cameras.jsonl");
    let text = "# cameras\n{\"name\":\"yard\",\"url\":\"whip:\"}\n{\"name\":\"gate\",\n";
    std::fs::write(&file, text).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["serve", "--listen", "127.0.0.1:0", "--cameras-file"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("cameras.jsonl:3: not JSON"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
