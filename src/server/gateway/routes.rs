//! Routing of requests to services.

use std::time::Instant;

use serde_json::json;

use super::access::{Access, Right};
use super::{Gateway, SocketOwner, metrics, report};
use crate::server::http::{Request, RequestId, Response};
use crate::server::pages;
use crate::server::rooms::Rooms;

impl Gateway {
    /// Handles a request that is not for a WebSocket.
    pub(super) fn on_request(&mut self, id: RequestId, request: Request, now: Instant) {
        log::debug!("{} {} {}", request.client, request.method, request.path);
        if self.whip.serves(&request.path) {
            let right = match request.path.starts_with("/whip") {
                true => Right::Publish,
                false => Right::View,
            };
            // A CORS preflight carries no credentials.
            if request.method != "OPTIONS"
                && let Err(refused) = self.access.check(right, &request, now)
            {
                return self.whip.refuse(id, &request, refused);
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
            "/api/logout" if method == "POST" => self.logout(request),
            "/api/login" | "/api/logout" => not_allowed("POST"),
            _ if !reads => match pages::page(&request.path) {
                Some(_) => not_allowed("GET, HEAD"),
                None => not_found(&request.path),
            },
            "/api/config" => self.offered(request, now),
            "/api/streams" | "/api/stats" | "/metrics" => self.figures(request, now),
            "/healthz" => Response::new(204),
            path => pages::page(path)
                .filter(|_| self.offers(path))
                .or_else(|| pages::moved(path).filter(|_| self.offers(path)))
                .unwrap_or_else(|| missing(request)),
        }
    }

    /// Answers with figures. The list of streams needs [`Right::View`]. So do figures, unless there is a stats token,
    /// which they need then; an open server without one shows none to unauthenticated clients. Data about other people
    /// needs [`Right::Details`].
    fn figures(&mut self, request: &Request, now: Instant) -> Response {
        let rights = self.access.rights(request);
        let right = match request.path.as_str() {
            "/api/streams" => Right::View,
            _ if rights.details || self.config.stats_token.is_some() => Right::Details,
            _ => Right::View,
        };
        if let Err(refused) = self.access.check(right, request, now) {
            return refused;
        }
        let is_stranger = self.config.open && !rights.details && !self.access.needs_token();
        match request.path.as_str() {
            "/api/streams" => Response::json(200, &report::streams(&self.streams)),
            _ if is_stranger => {
                let detail = "an open server shows figures to who has its token for them (--stats-token-file)";
                Response::problem(403, "No figures", detail)
            }
            "/api/stats" => Response::json(200, &report::stats(self, rights.details)),
            _ => Response::new(200).body(metrics::CONTENT_TYPE, report::metrics(self)),
        }
        .header("Cache-Control", "no-store")
    }

    /// Returns `false` for pages of disabled services.
    fn offers(&self, path: &str) -> bool {
        match path {
            _ if path.starts_with("/room") => self.rooms.is_some(),
            _ if path.starts_with("/call") => self.calls.is_some(),
            _ => true,
        }
    }

    /// Returns the configuration for pages. All fields are always present, also in a refusal (429, as RFC 9457 allows),
    /// so that pages need no special case:
    ///
    /// | field | content |
    /// |---|---|
    /// | `version` | version of the program |
    /// | `needsToken` | watching needs a token |
    /// | `signedIn` | this request may view: it has a token, or none is needed |
    /// | `rights` | `{"view", "publish", "details"}`: the rights of this request; `details` are data about other people |
    /// | `publishNeedsToken` | streams accept publishers, and this request may not publish, but could with another token: ask for it, `POST /api/login`, then request this again |
    /// | `signOut` | there is a cookie that `POST /api/logout` deletes |
    /// | `rooms`, `calls` | whether these services are enabled |
    /// | `iceServers` | for `RTCPeerConnection`; empty without `signedIn` |
    /// | `publish` | names of the streams that this request may publish to |
    fn offered(&mut self, request: &Request, now: Instant) -> Response {
        if let Err(refused) = self.access.check_origin(request) {
            return refused;
        }
        let rights = self.access.rights(request);
        let counted = self.access.count(request, now);
        let is_stale = self.access.has_stale_cookie(request);
        let ice_servers = match rights.view {
            true => self.relay.servers_for_page(&self.config, request),
            false => json!([]),
        };
        let names = self.streams.list().map(|info| info.name);
        let published = names.filter(|name| self.streams.is_published(name));
        let published: Vec<String> = published.collect();
        let could_publish = rights.view && !rights.publish && !published.is_empty();
        let config = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "needsToken": self.access.needs_token(),
            "signedIn": rights.view,
            "rights": { "view": rights.view, "publish": rights.publish, "details": rights.details },
            "publishNeedsToken": could_publish && self.access.is_guarded(Right::Publish),
            "signOut": self.access.has_cookie(request),
            "rooms": self.rooms.is_some(),
            "calls": self.calls.is_some(),
            "iceServers": ice_servers,
            "publish": if rights.publish { published } else { Vec::new() },
        });
        let response = match counted {
            Ok(()) => Response::json(200, &config),
            Err(refused) => refused.with_members(&config),
        }
        .header("Cache-Control", "no-store");
        // An invalid cookie would count as a wrong token with each request.
        match is_stale {
            true => response.header("Set-Cookie", Access::no_cookie(request)),
            false => response,
        }
    }

    fn login(&mut self, request: &Request, now: Instant) -> Response {
        match self.access.sign_in(request, now) {
            Ok(Some(cookie)) => Response::new(204).header("Set-Cookie", cookie),
            Ok(None) => Response::new(204),
            Err(refused) => refused,
        }
    }

    fn logout(&self, request: &Request) -> Response {
        match self.access.check_origin(request) {
            Ok(()) => Response::new(204).header("Set-Cookie", Access::no_cookie(request)),
            Err(refused) => refused,
        }
    }

    /// Handles a request for a WebSocket.
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

/// Returns 404: a page for a person, JSON for a program.
fn missing(request: &Request) -> Response {
    match request.header("accept") {
        Some(accept) if accept.contains("text/html") => pages::missing(&request.path),
        _ => not_found(&request.path),
    }
}

fn not_allowed(methods: &str) -> Response {
    let detail = format!("this takes {methods}");
    Response::problem(405, "Method not allowed", detail).header("Allow", methods)
}
