//! Who answers which path.

use std::time::Instant;

use serde_json::json;

use super::access::Right;
use super::{Gateway, SocketOwner, metrics, report};
use crate::server::http::{Request, RequestId, Response};
use crate::server::pages;
use crate::server::rooms::Rooms;

impl Gateway {
    /// A request that is no WebSocket.
    pub(super) fn on_request(&mut self, id: RequestId, request: Request, now: Instant) {
        log::debug!("{} {} {}", request.client, request.method, request.path);
        if self.whip.serves(&request.path) {
            let right = match request.path.starts_with("/whip/") {
                true => Right::Publish,
                false => Right::View,
            };
            // A browser asks first whether it may, and cannot show anything yet.
            if request.method != "OPTIONS"
                && let Err(refused) = self.access.check(right, &request, now)
            {
                return self.door.respond(id, refused);
            }
            let streams = &mut self.streams;
            return self
                .whip
                .handle_request(&mut self.net, streams, id, request, now);
        }
        let response = self.answer(&request, now);
        self.door.respond(id, response);
    }

    fn answer(&mut self, request: &Request, now: Instant) -> Response {
        let method = request.method.as_str();
        let reads = matches!(method, "GET" | "HEAD");
        match request.path.as_str() {
            "/api/login" if method == "POST" => self.login(request, now),
            "/api/login" => not_allowed("POST"),
            _ if !reads => match pages::page(&request.path) {
                Some(_) => not_allowed("GET, HEAD"),
                None => not_found(&request.path),
            },
            "/api/config" => self.offered(request, now),
            "/api/streams" | "/api/stats" | "/metrics" => {
                match self.access.check(Right::View, request, now) {
                    Ok(()) => self.figures(&request.path),
                    Err(refused) => refused,
                }
            }
            "/healthz" => Response::new(204),
            path => pages::page(path)
                .filter(|_| self.offers(path))
                .or_else(|| pages::moved(path).filter(|_| self.offers(path)))
                .unwrap_or_else(|| missing(request)),
        }
    }

    fn figures(&mut self, path: &str) -> Response {
        match path {
            "/api/streams" => Response::json(200, &report::streams(&self.streams)),
            "/api/stats" => Response::json(200, &report::stats(self)),
            _ => Response::new(200).body(metrics::CONTENT_TYPE, report::metrics(self)),
        }
        .header("Cache-Control", "no-store")
    }

    /// Pages of what is turned off are not there.
    fn offers(&self, path: &str) -> bool {
        match path {
            _ if path.starts_with("/room") => self.rooms.is_some(),
            _ if path.starts_with("/call") => self.calls.is_some(),
            _ => true,
        }
    }

    /// What a page has to know. Without the token only that there is one.
    fn offered(&mut self, request: &Request, now: Instant) -> Response {
        if let Err(refused) = self.access.check_origin(request) {
            return refused;
        }
        let signed_in = self.access.check(Right::View, request, now).is_ok();
        let publishes = self.access.check(Right::Publish, request, now).is_ok();
        let mut config = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "needsToken": self.access.needs_token(),
            "signedIn": signed_in,
            "rooms": self.rooms.is_some(),
            "calls": self.calls.is_some(),
        });
        if signed_in {
            config["iceServers"] = self.relay.servers_for_page(&self.config, request);
            let names = self.streams.list().map(|info| info.name);
            let names = names.filter(|name| publishes && self.streams.is_published(name));
            config["publish"] = names.collect();
        }
        Response::json(200, &config).header("Cache-Control", "no-store")
    }

    fn login(&mut self, request: &Request, now: Instant) -> Response {
        let allowed = self
            .access
            .check_origin(request)
            .and_then(|()| self.access.check(Right::View, request, now));
        if let Err(refused) = allowed {
            return refused;
        }
        match self.access.cookie(request) {
            Some(cookie) => Response::new(204).header("Set-Cookie", cookie),
            None => Response::new(204),
        }
    }

    /// A request for a WebSocket.
    pub(super) fn on_socket_request(&mut self, id: RequestId, request: &Request, now: Instant) {
        let owner = match request.path.as_str() {
            "/api/live" => Some(SocketOwner::Live),
            "/call/ws" if self.calls.is_some() => Some(SocketOwner::Calls),
            path if Rooms::room_of(path).is_some() && self.rooms.is_some() => {
                Some(SocketOwner::Rooms)
            }
            _ => None,
        };
        let Some(owner) = owner else {
            return self.door.respond(id, not_found(&request.path));
        };
        if let Err(refused) = self.access.check(Right::View, request, now) {
            return self.door.respond(id, refused);
        }
        let Some(socket) = self.door.accept(id) else {
            return;
        };
        self.sockets.insert(socket, owner);
        match owner {
            SocketOwner::Live => self.live.add(socket, now),
            SocketOwner::Rooms => {
                if let Some(rooms) = &mut self.rooms {
                    rooms.socket_opened(&mut self.net, socket, request, now);
                }
            }
            SocketOwner::Calls => {
                if let Some(calls) = &mut self.calls {
                    calls.socket_opened(socket, request, now);
                }
            }
        }
    }
}

fn not_found(path: &str) -> Response {
    Response::problem(404, "Not found", format!("there is nothing at {path:.100}"))
}

/// A page for a person, JSON for a program.
fn missing(request: &Request) -> Response {
    match request.header("accept") {
        Some(accept) if accept.contains("text/html") => pages::missing(),
        _ => not_found(&request.path),
    }
}

fn not_allowed(methods: &str) -> Response {
    let detail = format!("this takes {methods}");
    Response::problem(405, "Method not allowed", detail).header("Allow", methods)
}
