//! Routing of requests to services.

use std::time::Instant;

use serde_json::json;

use super::access::{Access, Right};
use super::{Gateway, SocketOwner, metrics, report};
use crate::server::compat::Port;
use crate::server::http::{Request, RequestId, Response};
use crate::server::pages;
use crate::server::rooms::Rooms;

/// Resources of the API except those of WHIP and WHEP, with the methods that each takes, besides `OPTIONS` for CORS.
/// `docs/openapi.json` describes them.
const API: [(&str, &str, Api); 10] = [
    ("/api/config", "GET, HEAD", Api::Config),
    ("/api/login", "POST", Api::Login),
    ("/api/logout", "POST", Api::Logout),
    ("/api/streams", "GET, HEAD, POST", Api::Streams),
    (
        "/api/streams/{stream}",
        "GET, HEAD, PUT, DELETE",
        Api::Stream,
    ),
    ("/api/discover", "POST", Api::Discover),
    ("/api/stats", "GET, HEAD", Api::Stats),
    ("/api/openapi.json", "GET, HEAD", Api::Description),
    ("/metrics", "GET, HEAD", Api::Metrics),
    ("/healthz", "GET, HEAD", Api::Health),
];

/// A resource of [`API`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Config,
    Login,
    Logout,
    Streams,
    Stream,
    Discover,
    Stats,
    Description,
    Metrics,
    Health,
}

impl Api {
    /// Returns `true` if pages of other origins may use it. A cookie is of use to our own pages only.
    fn is_shared(self) -> bool {
        !matches!(self, Self::Login | Self::Logout)
    }

    /// Returns `true` if it says nothing that is not known of every server of this version.
    fn is_public(self) -> bool {
        matches!(self, Self::Description | Self::Health)
    }
}

/// The API for programs (OpenAPI 3.1).
const DESCRIPTION: &[u8] = include_bytes!("../../../docs/openapi.json");

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
        if self.is_compat(&request.path) {
            return self.on_compat_request(Port::Main, id, request, now);
        }
        if let Some(response) = self.answer(id, &request, now) {
            self.door.respond(id, response);
        }
    }

    /// Returns the response; `None` if it follows later.
    fn answer(&mut self, id: RequestId, request: &Request, now: Instant) -> Option<Response> {
        let path = request.path.as_str();
        let is_listed = |listed: &str| match listed.strip_suffix("{stream}") {
            Some(before) => path
                .strip_prefix(before)
                .is_some_and(|name| !name.is_empty() && !name.contains('/')),
            None => listed == path,
        };
        if let Some((_, methods, api)) = API.into_iter().find(|(listed, ..)| is_listed(listed)) {
            return self.answer_api(id, (api, methods), request, now);
        }
        Some(self.answer_page(request))
    }

    fn answer_page(&self, request: &Request) -> Response {
        let path = request.path.as_str();
        let page = |path| pages::page(path, &self.config.origins);
        match request.method.as_str() {
            "GET" | "HEAD" => page(path)
                .filter(|_| self.offers(path))
                .or_else(|| pages::moved(path).filter(|_| self.offers(path)))
                .unwrap_or_else(|| missing(request)),
            _ if page(path).is_some() => not_allowed("GET, HEAD"),
            _ => not_found(path),
        }
    }

    fn answer_api(
        &mut self,
        id: RequestId,
        (api, methods): (Api, &str),
        request: &Request,
        now: Instant,
    ) -> Option<Response> {
        let method = request.method.as_str();
        // A browser asks before it sends a request with a token. That it may says nothing about what it will get.
        if method == "OPTIONS" && api.is_shared() {
            let allowed = Response::new(204)
                .header("Allow", methods)
                .header("Access-Control-Allow-Origin", "*")
                .header("Access-Control-Allow-Methods", methods)
                .header(
                    "Access-Control-Allow-Headers",
                    "Authorization, Content-Type",
                )
                .header("Access-Control-Max-Age", "86400");
            return Some(allowed);
        }
        if !methods.split(", ").any(|listed| listed == method) {
            return Some(not_allowed(methods));
        }
        let is_readable = api.is_public() || api.is_shared() && self.access.may_read(request);
        let response = match api {
            Api::Streams | Api::Stream if !matches!(method, "GET" | "HEAD") => {
                let refused = self.change_camera(id, request, is_readable, now);
                return refused.map(|refused| readable(refused, is_readable));
            }
            Api::Discover => {
                let refused = self.discover(id, request, is_readable, now);
                return refused.map(|refused| readable(refused, is_readable));
            }
            Api::Stream => self.stream(request, now),
            Api::Config => self.offered(request, now),
            Api::Login => self.login(request, now),
            Api::Logout => self.logout(request),
            Api::Streams | Api::Stats | Api::Metrics => self.figures(api, request, now),
            Api::Description => Response::new(200).body("application/json", DESCRIPTION.to_vec()),
            Api::Health => Response::new(204),
        };
        Some(readable(response, is_readable))
    }

    /// Answers with figures. The list of streams needs [`Right::View`]. So do figures, unless there is a stats token,
    /// which they need then; an open server without one shows none to unauthenticated clients. Data about other people
    /// needs [`Right::Details`].
    fn figures(&mut self, api: Api, request: &Request, now: Instant) -> Response {
        let rights = self.access.rights(request);
        let right = match api {
            Api::Streams => Right::View,
            _ if rights.details || self.config.stats_token.is_some() => Right::Details,
            _ => Right::View,
        };
        if let Err(refused) = self.access.check(right, request, now) {
            return refused;
        }
        let is_stranger = self.config.open && !rights.details && !self.access.needs_token();
        match api {
            Api::Streams => Response::json(200, &report::streams(&self.streams, &self.cameras, rights.details)),
            _ if is_stranger => {
                let detail = "an open server shows figures to who has its token for them (--stats-token-file)";
                Response::problem(403, "No figures", detail)
            }
            Api::Stats => Response::json(200, &report::stats(self, rights.details)),
            _ => Response::new(200).body(metrics::CONTENT_TYPE, report::metrics(self, rights.details)),
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
    /// | `rights` | `{"view", "publish", "details", "admin"}`: the rights of this request; `details` are data about other people |
    /// | `publishNeedsToken` | streams accept publishers, and this request may not publish, but could with another token: ask for it, `POST /api/login`, then request this again |
    /// | `adminNeedsToken` | this request may not change cameras, but could with another token |
    /// | `signOut` | there is a cookie that `POST /api/logout` deletes |
    /// | `keepsCameras` | cameras that this request may add are kept across restarts |
    /// | `rooms`, `calls` | whether these services are enabled |
    /// | `iceServers` | for `RTCPeerConnection`; empty without `signedIn` |
    /// | `publish` | names of the streams that this request may publish to |
    fn offered(&mut self, request: &Request, now: Instant) -> Response {
        if let Err(refused) = self.access.check_page(request) {
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
            "rights": { "view": rights.view, "publish": rights.publish, "details": rights.details, "admin": rights.admin },
            "publishNeedsToken": could_publish && self.access.is_guarded(Right::Publish),
            "adminNeedsToken": !rights.admin && self.access.is_guarded(Right::Admin),
            "keepsCameras": rights.admin && self.cameras.is_kept(),
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

/// Lets pages of other origins read a response, if they may.
pub(super) fn readable(response: Response, is_readable: bool) -> Response {
    let exposed = "Location, Retry-After, WWW-Authenticate";
    match is_readable {
        true => response
            .header("Access-Control-Allow-Origin", "*")
            .header("Access-Control-Expose-Headers", exposed),
        false => response,
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Every route is described, and nothing else. `tests/serve/api.rs` asks a running server for each of them.
    #[test]
    fn the_description_has_every_route() {
        let described: Value = serde_json::from_slice(DESCRIPTION).unwrap();
        assert_eq!(
            described["info"]["version"],
            env!("CARGO_PKG_VERSION"),
            "docs/openapi.json has the version of the program"
        );
        let paths = described["paths"].as_object().unwrap();
        let is_ours = |path: &&String| !path.starts_with("/whip") && !path.starts_with("/whep");
        let mut names: Vec<&str> = paths.keys().filter(is_ours).map(String::as_str).collect();
        let sockets = ["/api/live", "/call/ws", "/room/{room}/ws", "/websocket"];
        let mut routes: Vec<&str> = API.iter().map(|(path, ..)| *path).chain(sockets).collect();
        names.sort_unstable();
        routes.sort_unstable();
        assert_eq!(names, routes);
        for (path, methods, _) in API {
            let listed = methods.split(", ").filter(|method| *method != "HEAD");
            let mut listed: Vec<String> = listed.map(str::to_lowercase).collect();
            listed.sort_unstable();
            let mut operations: Vec<&String> = paths[path].as_object().unwrap().keys().collect();
            operations.sort_unstable();
            assert_eq!(
                operations.into_iter().collect::<Vec<_>>(),
                listed.iter().collect::<Vec<_>>(),
                "{path}"
            );
        }
    }
}
