//! Searches for cameras by the API of a running server.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use super::http::Server;

const TOKENS: [&str; 4] = ["--token", "see", "--admin-token", "change-them"];
const JSON: &str = "Content-Type: application/json\r\n";
const ADMIN: &str = "Content-Type: application/json\r\nAuthorization: Bearer change-them\r\n";

fn discover(server: &Server, headers: &str, body: &str) -> (u16, Value) {
    let response = server.ask("POST /api/discover", headers, body);
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// A camera that tells everybody one stream, after a moment. Returns its port.
fn camera() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            while !request.contains("</s:Envelope>") {
                let mut piece = [0; 4096];
                let length = stream.read(&mut piece).unwrap();
                assert_ne!(length, 0, "{request}");
                request.push_str(&String::from_utf8_lossy(&piece[..length]));
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            let body = if request.contains("<GetProfiles ") {
                "<e><Profiles token=\"a\"><Name>main</Name></Profiles></e>"
            } else if request.contains("<GetStreamUri ") {
                "<e><Uri>rtsp://u:hidden@127.0.0.1/live</Uri></e>"
            } else {
                "<e/>"
            };
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    port
}

#[test]
fn who_may_change_cameras_may_search_for_them() {
    let server = Server::start(&TOKENS);
    assert_eq!(discover(&server, JSON, "{}").0, 401);
    let viewer = format!("{JSON}Authorization: Bearer see\r\n");
    assert_ne!(discover(&server, &viewer, "{}").0, 200);
    assert_eq!(
        discover(&server, "Authorization: Bearer change-them\r\n", "{}").0,
        415
    );
    let (status, problem) = discover(&server, ADMIN, r#"{"password":"hidden"}"#);
    assert_eq!(
        (status, problem["detail"].as_str()),
        (422, Some("`password` without `user`"))
    );
    let (status, problem) = discover(&server, ADMIN, r#"{"interface":"no-such-0"}"#);
    assert!(
        status == 422 && problem.to_string().contains("no-such-0"),
        "{problem}"
    );

    let body = format!(
        r#"{{"addresses":["127.0.0.1:{}","127.0.0.1:1"]}}"#,
        camera()
    );
    let (status, found) = discover(&server, ADMIN, &body);
    assert_eq!(status, 200, "{found}");
    let devices = found["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    assert!(
        devices[0]["problem"]
            .as_str()
            .unwrap()
            .contains("does not answer"),
        "{found}"
    );
    assert_eq!(devices[1]["streams"][0]["uri"], "rtsp://127.0.0.1/live");
    assert!(!found.to_string().contains("hidden"), "{found}");
    // Loopback alone is searched, and nothing is there.
    let (status, found) = discover(&server, ADMIN, r#"{"seconds":0.1,"interface":"127.0.0.1"}"#);
    assert_eq!(
        (status, found["devices"].as_array().map(Vec::len)),
        (200, Some(0))
    );
}

#[test]
fn one_search_at_a_time() {
    let server = Server::start(&TOKENS);
    let body = format!(r#"{{"addresses":["127.0.0.1:{}"]}}"#, camera());
    let statuses = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| discover(&server, ADMIN, &body).0))
            .collect();
        searches
            .into_iter()
            .map(|search| search.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    assert_eq!(discover(&server, ADMIN, &body).0, 200);
}
