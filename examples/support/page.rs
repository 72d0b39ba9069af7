//! Serves an example's page, and passes the page's requests to the example's own thread.

use std::error::Error;
use std::fmt::Display;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};

use looprtc::driver::LoopHandle;
use looprtc::proto::signal::MAX_BODY;
use tiny_http::{Request, Server};

/// A request of the page. If it is dropped without an answer, it is refused.
pub struct Ask {
    pub path: String,
    pub body: Vec<u8>,
    request: Request,
}

impl Ask {
    /// Answers with JSON; `location` is the path where the page continues.
    pub fn reply(self, json: &str, location: Option<String>) {
        let location = location.map(|l| format!("Location: {l}\r\n"));
        let head = format!("{JSON}{}", location.unwrap_or_default());
        respond(self.request, "200 OK", &head, json);
    }

    /// Refuses the request. `status` is code and reason, such as `404 Not Found`.
    pub fn refuse(self, status: &str, why: impl Display) {
        respond(self.request, status, TEXT, &why.to_string());
    }
}

/// Serves `page` from a thread, at the address returned. Other requests are delivered through the receiver, and wake
/// the loop: `next_event` returns `None`.
pub fn serve(
    address: &str,
    page: &'static str,
    handle: LoopHandle,
) -> Result<(String, Receiver<Ask>), Box<dyn Error>> {
    let server = Server::http(address).map_err(|e| format!("listening at {address}: {e}"))?;
    let url = format!("http://{}/", server.server_addr());
    let (sender, receiver) = sync_channel(64);
    std::thread::spawn(move || {
        for mut request in server.incoming_requests() {
            match request.url() {
                "/" => respond(request, "200 OK", HTML, page),
                "/page.css" => respond(request, "200 OK", CSS, include_str!("../pages/page.css")),
                "/page.js" => respond(request, "200 OK", SCRIPT, include_str!("../pages/page.js")),
                path => {
                    let path = path.to_owned();
                    let mut body = Vec::new();
                    let mut limited = request.as_reader().take(MAX_BODY as u64);
                    if limited.read_to_end(&mut body).is_err() {
                        continue;
                    }
                    let ask = Ask {
                        path,
                        body,
                        request,
                    };
                    match sender.try_send(ask) {
                        Ok(()) => handle.wake(),
                        Err(TrySendError::Full(ask)) => {
                            ask.refuse("503 Service Unavailable", "busy")
                        }
                        Err(TrySendError::Disconnected(_)) => return,
                    }
                }
            }
        }
    });
    Ok((url, receiver))
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
const CSS: &str = "Content-Type: text/css\r\n";
const SCRIPT: &str = "Content-Type: text/javascript\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

/// Writes the response by hand, because tiny_http does not let its user close a connection. Connections kept open by a
/// browser would occupy the server's threads, and new ones would wait for them.
fn respond(request: Request, status: &str, head: &str, body: &str) {
    let length = body.len();
    let mut writer = request.into_writer();
    // On an error the page is gone, so nothing is left to do.
    let _ = write!(
        writer,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    );
    let _ = writer.flush();
}
