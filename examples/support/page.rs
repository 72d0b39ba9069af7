//! The page of an example, served beside the peers on the loop's thread: a door.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use looprtc::driver::EventLoop;
use looprtc::server::door::{Door, DoorConfig, DoorEvent};
use looprtc::server::http::{RequestId, Response};

/// A page at an address of its own.
pub struct Page {
    html: &'static str,
    url: String,
    door: Rc<RefCell<Door>>,
}

/// A request of the page's script. If it is never answered, the door tells the page so (504).
pub struct Ask {
    pub path: String,
    pub body: Vec<u8>,
    id: RequestId,
    door: Rc<RefCell<Door>>,
}

impl Page {
    /// Listens at `address`. From now on `net` wakes up for the page, too: `next_event` returns `None`.
    pub fn serve(
        net: &mut EventLoop,
        address: &str,
        html: &'static str,
    ) -> Result<Self, Box<dyn Error>> {
        let mut result = Err(format!("{address} is not an address"));
        for address in address.to_socket_addrs()? {
            let door = Door::listen(address, DoorConfig::default());
            result = door.map_err(|e| format!("listening at {address}: {e}"));
            if result.is_ok() {
                break;
            }
        }
        let door = result?;
        net.watch(&door)?;
        Ok(Self {
            html,
            url: format!("http://{}/", door.local_addr()),
            door: Rc::new(RefCell::new(door)),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how long the loop may wait: at most `timeout`, and not beyond the door's next deadline.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Duration> {
        let deadline = self.door.borrow().next_deadline();
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        left.into_iter().chain(timeout).min()
    }

    /// Lets the door work: sends what was answered, serves page, style and script, and returns the other requests.
    pub fn asked(&self) -> Vec<Ask> {
        let mut asked = Vec::new();
        let mut door = self.door.borrow_mut();
        door.turn(Instant::now());
        while let Some(event) = door.poll_event() {
            let (id, request) = match event {
                DoorEvent::Request(id, request) => (id, request),
                DoorEvent::WebSocketRequest(id, _) => {
                    door.respond(id, Response::new(404));
                    continue;
                }
                _ => continue,
            };
            let (media_type, text) = match request.path.as_str() {
                "/" => ("text/html; charset=utf-8", self.html),
                "/page.css" => ("text/css", include_str!("../pages/page.css")),
                "/page.js" => ("text/javascript", include_str!("../pages/page.js")),
                _ => {
                    asked.push(Ask {
                        path: request.path,
                        body: request.body,
                        id,
                        door: Rc::clone(&self.door),
                    });
                    continue;
                }
            };
            door.respond(id, Response::new(200).body(media_type, text));
        }
        asked
    }

    /// Reads a line of standard input. Meanwhile the page is served, and nothing else.
    #[allow(dead_code, reason = "not every example reads")]
    pub fn read_line(&self) -> io::Result<String> {
        let reader = std::thread::spawn(|| io::stdin().lines().next());
        while !reader.is_finished() {
            self.door.borrow_mut().wait(Some(Duration::from_millis(50)));
            self.asked();
        }
        let line = reader.join().ok().flatten();
        line.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }
}

impl Ask {
    /// Answers with JSON; `location` is the path where the page continues.
    pub fn reply(self, json: &str, location: Option<String>) {
        let response = Response::new(200).body("application/json", json);
        let response = match location {
            Some(location) => response.header("Location", location),
            None => response,
        };
        self.door.borrow_mut().respond(self.id, response);
    }

    /// Answers with a status that says no, and with the reason as text.
    pub fn refuse(self, status: u16, why: impl Display) {
        let response = Response::new(status).body("text/plain; charset=utf-8", why.to_string());
        self.door.borrow_mut().respond(self.id, response);
    }
}
