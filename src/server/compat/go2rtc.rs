//! The WebRTC part of go2rtc's API (by Alexey Khit), which Home Assistant speaks, on a port of its own: its paths are others
//! than those of our API with the same names.
//!
//! | method, path | right | answer |
//! |---|---|---|
//! | `GET /api` | none | `{"version", …}` |
//! | `GET /api/schemes` | none | `["rtsp", …]` |
//! | `GET /api/streams[?src=NAME]` | view | `{NAME: {"producers": [{"url"}]}}` |
//! | `PUT` or `PATCH /api/streams?name=NAME&src=URL…` | change | the first URL of a camera becomes the stream |
//! | `DELETE /api/streams?src=NAME` | change | |
//! | `GET /api/preload` | view | `{NAME: {"query"}}` |
//! | `PUT`, `DELETE /api/preload?src=NAME` | change | the source runs without viewers |
//! | `POST /api/webrtc?src=NAME` | view | the answer: JSON, SDP (as WHEP) or a form in base64, as the offer |
//! | WebSocket `/api/ws?src=NAME` | view | `webrtc` (or `webrtc/offer`) and `webrtc/candidate` |

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::deepch::offer;
use super::names::{FIRST, MAX_ID, cut};
use super::replies::{Failure, Form, Outcome, text};
use super::sources::Channel;
use super::steps::Told;
use super::{Asker, Compat, Context, Need, Then};
use crate::server::http::{Request, Response, WebSocketId};
use crate::server::whip::SessionId;

/// The version of go2rtc whose interface this is. Home Assistant asks for one from 1.9.13 to below 2.0.0.
const VERSION: &str = "1.9.13";

/// Schemes of the URLs that become streams.
const SCHEMES: [&str; 3] = ["rtsp", "rtsps", "rtspx"];

/// Maximum number of candidates of a WebSocket's client that wait for the session, and the maximum length of one.
const MAX_CANDIDATES: usize = 64;
const MAX_CANDIDATE: usize = 1024;

/// Maximum number of URLs of a stream that are looked at.
const MAX_URLS: usize = 16;

/// A client's WebSocket.
#[derive(Debug)]
struct Socket {
    /// The id of the stream.
    source: String,
    client: IpAddr,
    session: Option<SessionId>,
    /// Candidates that have come before there is a session.
    candidates: Vec<String>,
    /// The offer was a `webrtc/offer`, whose answer is a `webrtc/answer`.
    is_plain: bool,
}

/// State of the interface.
#[derive(Debug, Default)]
pub(super) struct Go2rtc {
    sockets: HashMap<WebSocketId, Socket>,
    /// Streams that run without viewers, with the query that asked for it.
    preloaded: BTreeMap<String, String>,
}

/// Returns the right that a request needs.
pub(super) fn need(request: &Request) -> Need {
    let only_reads = ["GET", "HEAD"].contains(&request.method.as_str());
    match request.path.as_str() {
        "/api/streams" | "/api/preload" if !only_reads => Need::Change,
        "/api/streams" | "/api/preload" | "/api/webrtc" | "/api/ws" | "/api/frame.jpeg" => {
            Need::View
        }
        _ => Need::Nothing,
    }
}

/// Returns the message with a local candidate.
pub(super) fn candidate(candidate: &str) -> String {
    json!({ "type": "webrtc/candidate", "value": candidate }).to_string()
}

fn error(why: &str) -> String {
    json!({ "type": "error", "value": why }).to_string()
}

impl Go2rtc {
    /// Returns the message with an answer, in the form of the offer.
    pub fn answer(&self, socket: WebSocketId, sdp: &str) -> String {
        let is_plain = self.sockets.get(&socket).is_some_and(|s| s.is_plain);
        let message = match is_plain {
            true => json!({ "type": "webrtc/answer", "value": sdp }),
            false => json!({ "type": "webrtc", "value": { "type": "answer", "sdp": sdp } }),
        };
        message.to_string()
    }

    /// Returns `true` if the stream with this id runs without viewers.
    pub fn is_preloaded(&self, id: &str) -> bool {
        self.preloaded.contains_key(id)
    }

    /// Returns the number of candidates of a WebSocket's client that wait for its session.
    #[cfg(test)]
    pub fn waiting_candidates(&self, socket: WebSocketId) -> usize {
        self.sockets.get(&socket).map_or(0, |s| s.candidates.len())
    }

    /// Handles that the session of a WebSocket has begun: candidates that have come before are added to it.
    pub fn watches(&mut self, ctx: &mut Context<'_>, socket: WebSocketId, session: SessionId) {
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.session = Some(session);
            for candidate in std::mem::take(&mut socket.candidates) {
                add_candidate(ctx, session, &candidate);
            }
        }
    }
}

fn add_candidate(ctx: &mut Context<'_>, session: SessionId, candidate: &str) {
    let added = ctx.whip.add_viewer_candidate(ctx.net, session, candidate);
    if let Err(why) = added {
        log::debug!("a candidate is not used: {why}");
    }
}

impl Compat {
    /// Handles a request that has its right.
    pub(super) fn go2rtc_request(&mut self, ctx: &mut Context<'_>, request: &Request) -> Outcome {
        let method = match request.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let response = match (request.path.as_str(), method) {
            ("/api", "GET") => Response::json(
                200,
                &json!({
                    "version": VERSION,
                    "revision": concat!("looprtc ", env!("CARGO_PKG_VERSION")),
                    "host": request.header("host").unwrap_or_default(),
                }),
            ),
            ("/api/schemes", "GET") => Response::json(200, &json!(SCHEMES)),
            ("/api/streams", "GET") => self.streams(ctx, request),
            ("/api/streams", "PUT" | "PATCH") => return self.put_stream(ctx, request),
            ("/api/streams", "DELETE") => return self.delete_source(ctx, request),
            ("/api/preload", "GET") => self.preloaded(ctx),
            ("/api/preload", "PUT") => self.preload(ctx, request, true),
            ("/api/preload", "DELETE") => self.preload(ctx, request, false),
            ("/api/webrtc", "POST") => return self.webrtc(ctx, request),
            ("/api/frame.jpeg", "GET") => text(501, "looprtc makes no JPEG of a video"),
            ("/api/ws", "GET") => {
                text(426, "this is for WebSockets").header("Upgrade", "websocket")
            }
            ("/api" | "/api/schemes" | "/api/frame.jpeg" | "/api/ws", _) => not_allowed("GET"),
            ("/api/streams", _) => not_allowed("GET, PUT, PATCH, DELETE"),
            ("/api/preload", _) => not_allowed("GET, PUT, DELETE"),
            ("/api/webrtc", _) => not_allowed("POST"),
            _ => text(
                404,
                "of go2rtc's API, looprtc has the WebRTC part: see docs/replace-rtsptoweb.md",
            ),
        };
        Outcome::Now(response)
    }

    /// Returns one stream or all of them. URLs are without passwords.
    fn streams(&self, ctx: &Context<'_>, request: &Request) -> Response {
        let object = |url: String| json!({ "producers": [{ "url": url }], "consumers": null });
        let mut all = self.sources.list(ctx).into_iter().map(|listed| {
            let id = match listed.channel == FIRST {
                true => listed.id,
                // Channels are unknown there.
                false => listed.name,
            };
            (id, object(listed.url))
        });
        match request.query_value("src") {
            None => Response::json(200, &Value::Object(all.collect::<Map<_, _>>())),
            Some(src) => match all.find(|(id, _)| *id == src) {
                Some((_, stream)) => Response::json(200, &stream),
                None => text(404, "stream not found"),
            },
        }
    }

    /// Adds a stream, or changes it. One whose URL stays the same is left alone: Home Assistant cannot see that it does,
    /// because URLs are shown without their passwords.
    fn put_stream(&self, ctx: &Context<'_>, request: &Request) -> Outcome {
        let urls: Vec<String> = request.query_values("src").take(MAX_URLS).collect();
        let Some(name) = request
            .query_value("name")
            .or_else(|| urls.first().cloned())
        else {
            return Outcome::Now(text(400, "the query has no src"));
        };
        // Home Assistant adds `ffmpeg:NAME#audio=opus` for sound, which would start a program.
        let is_camera = |url: &&String| {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme);
            scheme.is_some_and(|s| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(s)))
        };
        let Some(url) = urls.iter().find(is_camera) else {
            let why = "none of the sources is a camera: rtsp:// and rtsps:// URLs are opened, programs and files never";
            return Outcome::Now(text(400, why));
        };
        // Options of go2rtc, which we do not have.
        let url = url.split('#').next().unwrap_or_default();
        let settings = Channel {
            label: "go2rtc".into(),
            ..Channel::new(url)
        };
        let step = match self.sources.find(ctx, &name, FIRST) {
            Some(_) => self.sources.edit(ctx, (&name, FIRST), &settings),
            None => self
                .sources
                .add(ctx, (&name, FIRST), &settings, "stream already exists"),
        };
        Outcome::Change {
            steps: vec![step],
            told: Told::Go2rtc,
        }
    }

    fn delete_source(&mut self, ctx: &Context<'_>, request: &Request) -> Outcome {
        let Some(name) = request.query_value("src") else {
            return Outcome::Now(text(400, "the query has no src"));
        };
        self.go2rtc.preloaded.remove(&name);
        Outcome::Change {
            steps: vec![self.sources.remove(ctx, (&name, FIRST))],
            told: Told::Go2rtc,
        }
    }

    fn preloaded(&mut self, ctx: &Context<'_>) -> Response {
        let sources = &self.sources;
        self.go2rtc
            .preloaded
            .retain(|name, _| sources.find(ctx, name, FIRST).is_some());
        let object = |(name, query): (&String, &String)| (name.clone(), json!({ "query": query }));
        let all = self.go2rtc.preloaded.iter().map(object);
        Response::json(200, &Value::Object(all.collect()))
    }

    fn preload(&mut self, ctx: &mut Context<'_>, request: &Request, is_kept: bool) -> Response {
        let Some(name) = request
            .query_value("src")
            .filter(|name| name.len() <= MAX_ID)
        else {
            return text(400, "the query has no src");
        };
        if !self.keep(ctx, &name, is_kept) {
            return text(404, "stream not found");
        }
        match is_kept {
            true => {
                let others = request
                    .query
                    .split('&')
                    .filter(|pair| !pair.starts_with("src="));
                let mut query = others.collect::<Vec<_>>().join("&");
                query.truncate(cut(&query, MAX_ID).len());
                self.go2rtc.preloaded.insert(name, query);
            }
            false => {
                self.go2rtc.preloaded.remove(&name);
            }
        }
        Response::new(200)
    }

    fn keep(&self, ctx: &mut Context<'_>, name: &str, is_kept: bool) -> bool {
        let stream = self.sources.find(ctx, name, FIRST);
        stream.is_some_and(|stream| ctx.streams.keep(ctx.net, &stream, is_kept).is_ok())
    }

    /// Answers an offer, in the form in which it comes.
    fn webrtc(&self, ctx: &Context<'_>, request: &Request) -> Outcome {
        let (form, sdp) = match request.content_type().as_deref() {
            Some("application/sdp") => {
                let sdp = String::from_utf8(request.body.clone());
                (
                    Form::Go2rtcText,
                    sdp.map_err(|_| "the offer is not UTF-8".to_owned()),
                )
            }
            Some("application/x-www-form-urlencoded") => (Form::Go2rtc64, offer(request, "data")),
            _ => {
                let value: Option<Value> = serde_json::from_slice(&request.body).ok();
                let sdp = value.as_ref().and_then(offered);
                let why = "the body is not {\"type\": \"offer\", \"sdp\": \"…\"}";
                (Form::Go2rtcJson, sdp.ok_or_else(|| why.to_owned()))
            }
        };
        let failed = |failure, why: &str| Outcome::Now(form.failed(failure, why));
        let Some(source) = request.query_value("src") else {
            return failed(
                Failure::Bad,
                "the query has no src; publishing is not done here, but by /whip/NAME",
            );
        };
        match (self.sources.find(ctx, &source, FIRST), sdp) {
            (None, _) => failed(Failure::NoStream, ""),
            (Some(_), Err(why)) => failed(Failure::Bad, &why),
            (Some(stream), Ok(sdp)) => Outcome::Watch { stream, sdp, form },
        }
    }

    /// Handles a new WebSocket of `/api/ws`.
    pub fn socket_opened(&mut self, socket: WebSocketId, request: &Request) {
        let socket_of_client = Socket {
            source: request.query_value("src").unwrap_or_default(),
            client: request.client.ip(),
            session: None,
            candidates: Vec::new(),
            is_plain: false,
        };
        self.go2rtc.sockets.insert(socket, socket_of_client);
    }

    /// Handles a message of a WebSocket's client.
    pub fn socket_message(&mut self, ctx: &mut Context<'_>, socket: WebSocketId, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else {
            return self.send(socket, error("this is no JSON"));
        };
        let value = message.get("value").unwrap_or(&Value::Null);
        match message.get("type").and_then(Value::as_str) {
            Some("webrtc/offer") => match value.as_str() {
                Some(sdp) => self.watch_by_socket(ctx, socket, sdp, true),
                None => self.send(socket, error("webrtc/offer: the value is no text")),
            },
            Some("webrtc") => match offered(value) {
                Some(sdp) => self.watch_by_socket(ctx, socket, &sdp, false),
                None => self.send(socket, error("webrtc: the value is no offer")),
            },
            Some("webrtc/candidate") => {
                let candidate = value.as_str().unwrap_or_default();
                self.on_candidate(ctx, socket, candidate);
            }
            other => {
                let what = other.unwrap_or("a message without a type");
                let why = format!("{what:.40}: of go2rtc's protocols, looprtc has webrtc");
                self.send(socket, error(&why));
            }
        }
    }

    /// Handles that a WebSocket is closed: its session ends.
    pub fn socket_closed(&mut self, ctx: &mut Context<'_>, socket: WebSocketId) {
        self.go2rtc.sockets.remove(&socket);
        self.forget(ctx, Asker::Socket(socket));
    }

    fn watch_by_socket(
        &mut self,
        ctx: &mut Context<'_>,
        id: WebSocketId,
        sdp: &str,
        is_plain: bool,
    ) {
        // An offer takes the place of the one before it.
        self.forget(ctx, Asker::Socket(id));
        let Some(socket) = self.go2rtc.sockets.get_mut(&id) else {
            return;
        };
        if socket.session.take().is_some() {
            socket.candidates.clear();
        }
        socket.is_plain = is_plain;
        let client = socket.client;
        let source = socket.source.clone();
        match self.sources.find(ctx, &source, FIRST) {
            None => self.send(id, error("webrtc/offer: stream not found")),
            Some(stream) => {
                let (sdp, form) = (sdp.to_owned(), Form::Socket);
                let then = Then::Watch { sdp, form };
                self.wait(ctx, Asker::Socket(id), client, stream, then);
            }
        }
    }

    fn on_candidate(&mut self, ctx: &mut Context<'_>, socket: WebSocketId, candidate: &str) {
        let Some(socket) = self.go2rtc.sockets.get_mut(&socket) else {
            return;
        };
        match socket.session {
            Some(session) => add_candidate(ctx, session, candidate),
            None if socket.candidates.len() < MAX_CANDIDATES
                && candidate.len() <= MAX_CANDIDATE =>
            {
                socket.candidates.push(candidate.to_owned());
            }
            None => {}
        }
    }
}

/// Returns the SDP of `{"type": "offer", "sdp"}`.
fn offered(value: &Value) -> Option<String> {
    let is_offer = value.get("type").and_then(Value::as_str) == Some("offer");
    let sdp = value.get("sdp").and_then(Value::as_str);
    sdp.filter(|_| is_offer).map(str::to_owned)
}

fn not_allowed(methods: &str) -> Response {
    text(405, &format!("this takes {methods}")).header("Allow", methods)
}
