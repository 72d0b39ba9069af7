//! WebSockets.

use std::net::TcpStream;

use looprtc::server::door::DoorConfig;
use tungstenite::{Message, WebSocket};

use crate::app::App;

fn open(app: &App, path: &str) -> Result<WebSocket<TcpStream>, String> {
    let url = format!("ws://{}{path}", app.address);
    let opened = tungstenite::client(url, app.connect());
    opened.map(|(socket, _)| socket).map_err(|e| e.to_string())
}

#[test]
fn echoes() {
    let app = App::start(DoorConfig::default());
    let mut socket = open(&app, "/ws").unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let text = Message::text("x".repeat(length));
        socket.send(text.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), text);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    app.wait_for("closed", |stats| stats.web_sockets == 0);
    assert!(app.saw("closed"));
}
