//! RTSPtoWebRTC's and RTSPtoWeb's HTTP interfaces, by Andrey Semochkin (deepch).
//!
//! | method, path | right | answer |
//! |---|---|---|
//! | `GET /static…` | none | 200: RTSPtoWebRTC is there |
//! | `POST /stream`, form `url`, `sdp64` | change | `{"tracks", "sdp64"}`; 500 `{"error"}` |
//! | `GET /stream/codec/ID` | view | `[{"Type":"video"},…]`; empty on errors |
//! | `POST /stream/receiver/ID`, form `suuid`, `data` | view | the answer in base64; empty on errors |
//! | `GET /stream/player/ID` | none | the page of the stream |
//! | `GET /streams` | view | `{"status", "payload"}`, as all that follow |
//! | `POST /streams/multi/control/add`, `…/delete` | change | |
//! | `POST /stream/ID/add`, `…/edit`; `GET /stream/ID/delete`, `…/reload` | change | |
//! | `POST /stream/ID/channel/CH/add`, …, the same | change | |
//! | `GET /stream/ID/info`, `/stream/ID/channel/CH/info`, `…/codec` | view | |
//! | `POST /stream/ID/channel/CH/webrtc`, form `data` | view | the answer in base64 |
//! | MSE, HLS and MP4 of a channel | view | 501 |

use serde_json::{Map, Value, json};

use super::names::{FIRST, MAX_ID, stream_name};
use super::replies::{Failure, Form, Outcome, payload, text};
use super::sources::{Channel, Listed, MAX_CHANNELS, title};
use super::steps::{NO_STREAM, Step, Told};
use super::{Compat, Context, Need};
use crate::proto::rtp::base64;
use crate::server::http::{Request, Response};
use crate::server::token::Token;

/// Maximum number of streams in one request.
const MAX_STREAMS: usize = 256;

const ALLOWED_WEBRTC: &str =
    "Origin, X-Requested-With, Content-Type, Accept, Authorization, x-access-token";
const EXPOSED_WEBRTC: &str = "Content-Length, Access-Control-Allow-Origin, Access-Control-Allow-Headers, Cache-Control, \
                              Content-Language, Content-Type, X-Error";
const ALLOWED_WEB: &str = "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin, \
                           Cache-Control, X-Requested-With";

/// Meaning of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Static,
    ByUrl,
    Codec(&'a str),
    Receiver(&'a str),
    Player(&'a str),
    List,
    AddMany,
    DeleteMany,
    Stream(&'a str, Action),
    Channel(&'a str, &'a str, Action),
    ChannelCodec(&'a str, &'a str),
    ChannelWebRtc(&'a str, &'a str),
    /// MSE, HLS, MP4.
    Other,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Edit,
    Delete,
    Reload,
    Info,
}

impl Action {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "add" => Self::Add,
            "edit" => Self::Edit,
            "delete" => Self::Delete,
            "reload" => Self::Reload,
            "info" => Self::Info,
            _ => return None,
        })
    }
}

/// Returns `true` if the path is one of these programs'.
pub(super) fn serves(path: &str) -> bool {
    let is = |root: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is("/stream") || is("/streams") || is("/static")
}

fn route(path: &str) -> Route<'_> {
    let parts: Vec<&str> = path.trim_matches('/').splitn(6, '/').collect();
    match parts[..] {
        ["static", ..] => Route::Static,
        ["stream"] => Route::ByUrl,
        ["streams"] => Route::List,
        ["streams", "multi", "control", "add"] => Route::AddMany,
        ["streams", "multi", "control", "delete"] => Route::DeleteMany,
        ["stream", "codec", id] => Route::Codec(id),
        ["stream", "receiver", id] => Route::Receiver(id),
        ["stream", "player", id] => Route::Player(id),
        ["stream", id, word] => Action::of(word).map_or(Route::Unknown, |a| Route::Stream(id, a)),
        ["stream", id, "channel", channel, "codec"] => Route::ChannelCodec(id, channel),
        ["stream", id, "channel", channel, "webrtc"] => Route::ChannelWebRtc(id, channel),
        [
            "stream",
            _,
            "channel",
            _,
            "mse" | "hls" | "hlsll" | "save",
            ..,
        ] => Route::Other,
        ["stream", id, "channel", channel, word] => {
            Action::of(word).map_or(Route::Unknown, |a| Route::Channel(id, channel, a))
        }
        _ => Route::Unknown,
    }
}

impl Route<'_> {
    fn methods(self) -> &'static str {
        match self {
            Self::ByUrl
            | Self::Receiver(_)
            | Self::AddMany
            | Self::DeleteMany
            | Self::ChannelWebRtc(..)
            | Self::Stream(_, Action::Add | Action::Edit)
            | Self::Channel(_, _, Action::Add | Action::Edit) => "POST",
            _ => "GET, HEAD",
        }
    }
}

/// Returns the right that a request needs.
pub(super) fn need(request: &Request) -> Need {
    match route(&request.path) {
        // The page asks for its rights itself.
        Route::Static | Route::Player(_) | Route::Unknown => Need::Nothing,
        Route::ByUrl | Route::AddMany | Route::DeleteMany => Need::Change,
        Route::Stream(_, action) | Route::Channel(_, _, action) if action != Action::Info => {
            Need::Change
        }
        _ => Need::View,
    }
}

/// Returns the form of errors of a path.
pub(super) fn form(path: &str) -> Form {
    match route(path) {
        Route::ByUrl => Form::Stream,
        Route::Codec(_) | Route::Receiver(_) | Route::Player(_) | Route::Static => Form::Text,
        _ => Form::Web,
    }
}

/// Adds the headers by which those programs let pages of any origin read their answers. Called only for those that may
/// read this one. `Access-Control-Allow-Credentials`, which RTSPtoWebRTC sends, is left out: browsers would ignore it beside
/// `*`, and must not be told to add cookies and passwords to requests of other pages.
pub(super) fn cors(path: &str, response: Response) -> Response {
    let response = response.header("Access-Control-Allow-Origin", "*");
    match form(path) {
        Form::Web => response
            .header("Access-Control-Allow-Headers", ALLOWED_WEB)
            .header(
                "Access-Control-Allow-Methods",
                "POST, OPTIONS, GET, PUT, DELETE",
            ),
        _ => response
            .header("Access-Control-Allow-Headers", ALLOWED_WEBRTC)
            .header("Access-Control-Expose-Headers", EXPOSED_WEBRTC)
            .header("Access-Control-Allow-Methods", "POST, OPTIONS, GET, PUT"),
    }
}

/// Message of RTSPtoWeb for a stream that already exists.
const TAKEN: &str = "stream already exists";

/// An error, and what kind it is of.
type Error = (Failure, String);

/// The steps of a change.
type Planned = Result<Vec<Step>, Error>;

impl Compat {
    /// Handles a request that has its right.
    pub(super) fn deepch_request(&mut self, ctx: &mut Context<'_>, request: &Request) -> Outcome {
        let route = route(&request.path);
        let form = form(&request.path);
        let methods = route.methods();
        if request.method == "OPTIONS" {
            return Outcome::Now(Response::new(204));
        }
        if !methods.split(", ").any(|listed| listed == request.method) {
            let why = format!("this takes {methods}");
            let response = Form::Web
                .failed(Failure::Bad, &why)
                .header("Allow", methods);
            return Outcome::Now(Response {
                status: 405,
                ..response
            });
        }
        match route {
            Route::Static => Outcome::Now(list_of_files(&request.path, &request.prefix)),
            Route::Player(id) => {
                let page = format!("{}/watch/{}", request.prefix, stream_name(id, FIRST));
                Outcome::Now(Response::new(302).header("Location", page))
            }
            Route::ByUrl => self.watch_url(ctx, request),
            Route::Codec(id) => self.list_codecs(ctx, (id, FIRST), form),
            Route::ChannelCodec(id, channel) => self.channel_codecs(ctx, id, channel),
            Route::Receiver(id) => {
                // As there: the form counts. Its page names the same stream in both places.
                let id = request.form_value("suuid").unwrap_or_else(|| id.to_owned());
                self.watch(ctx, (&id, FIRST), request, form)
            }
            Route::ChannelWebRtc(id, channel) => self.watch(ctx, (id, channel), request, form),
            Route::List => Outcome::Now(payload(200, 1, &streams(&self.sources.list(ctx)))),
            Route::AddMany => planned(self.add_many(ctx, request), Told::Many),
            Route::DeleteMany => planned(self.delete_many(ctx, request), Told::Many),
            Route::Stream(id, Action::Info) => {
                told(self.of_id(ctx, id).map(|all| stream_object(&all)))
            }
            Route::Channel(id, channel, Action::Info) => told(
                self.of_channel(ctx, id, channel)
                    .map(|l| channel_object(&l)),
            ),
            Route::Stream(id, Action::Reload) => told(self.reload(ctx, id, None)),
            Route::Channel(id, channel, Action::Reload) => {
                told(self.reload(ctx, id, Some(channel)))
            }
            Route::Stream(id, action) => {
                planned(self.change_stream(ctx, id, action, request), Told::Web)
            }
            Route::Channel(id, channel, action) => planned(
                self.change_channel(ctx, (id, channel), action, request),
                Told::Web,
            ),
            Route::Other => {
                let why = "MSE, HLS and MP4 are not served here yet: use webrtc";
                let response = form.failed(Failure::Source, why);
                Outcome::Now(Response {
                    status: 501,
                    ..response
                })
            }
            Route::Unknown => {
                let response = form.failed(Failure::Bad, "there is nothing at this path");
                Outcome::Now(Response {
                    status: 404,
                    ..response
                })
            }
        }
    }

    fn list_codecs(&self, ctx: &Context<'_>, (id, channel): (&str, &str), form: Form) -> Outcome {
        match self.sources.find(ctx, id, channel) {
            Some(stream) => Outcome::List { stream, form },
            None => Outcome::Now(form.failed(Failure::NoStream, "there is no such stream")),
        }
    }

    fn channel_codecs(&self, ctx: &Context<'_>, id: &str, channel: &str) -> Outcome {
        match self.list_codecs(ctx, (id, channel), Form::Web) {
            Outcome::Now(_) => Outcome::Now(payload(500, 0, &json!(self.missing(ctx, id)))),
            outcome => outcome,
        }
    }

    /// Returns which of the two is missing, in the words of RTSPtoWeb.
    fn missing(&self, ctx: &Context<'_>, id: &str) -> &'static str {
        match self.sources.list(ctx).iter().any(|listed| listed.id == id) {
            true => "stream channel not found",
            false => "stream not found",
        }
    }

    /// Answers an offer in the form field `data`.
    fn watch(
        &self,
        ctx: &Context<'_>,
        (id, channel): (&str, &str),
        request: &Request,
        form: Form,
    ) -> Outcome {
        let Some(stream) = self.sources.find(ctx, id, channel) else {
            return Outcome::Now(form.failed(Failure::NoStream, "there is no such stream"));
        };
        match offer(request, "data") {
            Ok(sdp) => Outcome::Watch { stream, sdp, form },
            Err(why) => Outcome::Now(form.failed(Failure::Bad, &why)),
        }
    }

    /// Opens the URL in the form, and answers the offer in it.
    fn watch_url(&mut self, ctx: &mut Context<'_>, request: &Request) -> Outcome {
        let form = Form::Stream;
        let failed = |why: &str| Outcome::Now(form.failed(Failure::Bad, why));
        let Some(url) = request.form_value("url").filter(|url| !url.is_empty()) else {
            return failed("the form has no field url");
        };
        let sdp = match offer(request, "sdp64") {
            Ok(sdp) => sdp,
            Err(why) => return failed(&why),
        };
        match self.sources.by_url(ctx, &url) {
            Ok(stream) => Outcome::Watch { stream, sdp, form },
            Err(why) => failed(&why),
        }
    }

    /// Returns the steps that add, edit or delete a stream.
    fn change_stream(
        &self,
        ctx: &Context<'_>,
        id: &str,
        action: Action,
        request: &Request,
    ) -> Planned {
        match action {
            Action::Add => Ok(self.add_steps(ctx, id, read_stream(&read_json(request)?)?)),
            Action::Edit => {
                let channels = read_stream(&read_json(request)?)?;
                let before: Vec<String> = self
                    .of_id(ctx, id)?
                    .into_iter()
                    .map(|l| l.channel)
                    .collect();
                let is_gone = |old: &&String| channels.iter().all(|(new, _)| new != *old);
                let gone = before.iter().filter(is_gone);
                let mut steps: Vec<Step> = gone
                    .map(|old| self.sources.remove(ctx, (id, old)))
                    .collect();
                steps.extend(channels.iter().map(|(channel, settings)| {
                    match before.contains(channel) {
                        true => self.sources.edit(ctx, (id, channel), settings),
                        false => self.sources.add(ctx, (id, channel), settings, TAKEN),
                    }
                }));
                Ok(steps)
            }
            _ => self.delete_steps(ctx, id),
        }
    }

    fn add_steps(
        &self,
        ctx: &Context<'_>,
        id: &str,
        channels: Vec<(String, Channel)>,
    ) -> Vec<Step> {
        let step = |(channel, settings): &(String, Channel)| {
            self.sources.add(ctx, (id, channel), settings, TAKEN)
        };
        channels.iter().map(step).collect()
    }

    fn delete_steps(&self, ctx: &Context<'_>, id: &str) -> Planned {
        let step = |listed: Listed| self.sources.remove(ctx, (id, &listed.channel));
        Ok(self.of_id(ctx, id)?.into_iter().map(step).collect())
    }

    /// Returns the channels of a stream, at least one.
    fn of_id(&self, ctx: &Context<'_>, id: &str) -> Result<Vec<Listed>, Error> {
        let mut all = self.sources.list(ctx);
        all.retain(|listed| listed.id == id);
        match all.is_empty() {
            true => Err((Failure::NoStream, NO_STREAM.into())),
            false => Ok(all),
        }
    }

    fn of_channel(&self, ctx: &Context<'_>, id: &str, channel: &str) -> Result<Listed, Error> {
        let mut all = self.of_id(ctx, id)?.into_iter();
        let missing = || (Failure::NoStream, "stream channel not found".to_owned());
        all.find(|listed| listed.channel == channel)
            .ok_or_else(missing)
    }

    /// Starts the sources of a stream anew, or that of one channel.
    fn reload(
        &self,
        ctx: &mut Context<'_>,
        id: &str,
        channel: Option<&str>,
    ) -> Result<Value, Error> {
        let all = match channel {
            Some(channel) => vec![self.of_channel(ctx, id, channel)?],
            None => self.of_id(ctx, id)?,
        };
        for listed in all {
            let restarted = ctx.streams.restart(ctx.net, &listed.name);
            restarted.map_err(|e| (Failure::Source, e.to_string()))?;
        }
        Ok(json!("success"))
    }

    /// Returns the step that adds, edits or deletes a channel.
    fn change_channel(
        &self,
        ctx: &Context<'_>,
        (id, channel): (&str, &str),
        action: Action,
        request: &Request,
    ) -> Planned {
        let title = |listed: &Listed| listed.title.clone();
        let step = match action {
            Action::Add => {
                let all = self.of_id(ctx, id)?;
                let title = all.first().map(title).unwrap_or_default();
                let settings = read_channel(&read_json(request)?, &title)?;
                let taken = "stream channel already exists";
                self.sources.add(ctx, (id, channel), &settings, taken)
            }
            Action::Edit => {
                let listed = self.of_channel(ctx, id, channel)?;
                let settings = read_channel(&read_json(request)?, &listed.title)?;
                self.sources.edit(ctx, (id, channel), &settings)
            }
            _ => {
                self.of_channel(ctx, id, channel)?;
                self.sources.remove(ctx, (id, channel))
            }
        };
        Ok(vec![step])
    }

    fn add_many(&self, ctx: &Context<'_>, request: &Request) -> Planned {
        let body = read_json(request)?;
        let streams = match body.get("streams") {
            Some(Value::Object(streams)) if streams.len() > MAX_STREAMS => {
                let why = format!("at most {MAX_STREAMS} streams are added at once");
                return Err((Failure::Bad, why));
            }
            Some(Value::Object(streams)) if !streams.is_empty() => streams,
            _ => return Err((Failure::Source, "streams len zero".into())),
        };
        let steps = |(id, stream): (&String, &Value)| match read_stream(stream) {
            Ok(channels) => self.add_steps(ctx, id, channels),
            Err((_, why)) => vec![failed(id, why)],
        };
        Ok(streams.iter().flat_map(steps).collect())
    }

    fn delete_many(&self, ctx: &Context<'_>, request: &Request) -> Planned {
        let body = read_json(request)?;
        let ids = body.as_array().filter(|ids| !ids.is_empty());
        let ids = ids.ok_or_else(|| (Failure::Source, "streams len zero".to_owned()))?;
        let ids = ids.iter().take(MAX_STREAMS).filter_map(Value::as_str);
        let steps = |id: &str| match self.delete_steps(ctx, id) {
            Ok(steps) => steps,
            Err((_, why)) => vec![failed(id, why)],
        };
        Ok(ids.flat_map(steps).collect())
    }
}

/// A step that is not made.
fn failed(id: &str, why: String) -> Step {
    Step {
        id: id.to_owned(),
        change: Err(why),
        meta: None,
    }
}

fn planned(steps: Planned, told: Told) -> Outcome {
    match steps {
        Ok(steps) => Outcome::Change { steps, told },
        Err(error) => self::told(Err(error)),
    }
}

fn told(result: Result<Value, Error>) -> Outcome {
    Outcome::Now(match result {
        Ok(value) => payload(200, 1, &value),
        Err((Failure::Bad, why)) => payload(400, 0, &json!(why)),
        Err((_, why)) => payload(500, 0, &json!(why)),
    })
}

/// Returns the SDP of an offer in a form field, which is base64.
pub(crate) fn offer(request: &Request, field: &str) -> Result<String, String> {
    let encoded = request.form_value(field);
    let encoded = encoded.ok_or_else(|| format!("the form has no field {field}"))?;
    // A page that does not escape its form sends + as it is, which then arrives as a space.
    let encoded = encoded.trim().replace(' ', "+");
    let decoded = base64::decode(&encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| format!("the field {field} is not base64 of a text"))
}

fn read_json(request: &Request) -> Result<Value, (Failure, String)> {
    let read = serde_json::from_slice(&request.body);
    read.map_err(|error| (Failure::Bad, format!("the body is not JSON: {error}")))
}

/// Reads `{"name", "channels": {CH: {…}}}`.
fn read_stream(value: &Value) -> Result<Vec<(String, Channel)>, (Failure, String)> {
    let bad = |why: String| (Failure::Bad, why);
    let name = title(
        value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    );
    let Some(Value::Object(channels)) = value.get("channels") else {
        return Err(bad("the stream has no channels".into()));
    };
    if channels.is_empty() || channels.len() > MAX_CHANNELS {
        return Err(bad(format!("a stream has 1 to {MAX_CHANNELS} channels")));
    }
    let read =
        |(channel, value): (&String, &Value)| Ok((channel.clone(), read_channel(value, &name)?));
    channels.iter().map(read).collect()
}

/// Reads a stream from JSON; returns the number of its channels if it is one.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn check_stream(json: &[u8]) -> Option<usize> {
    let value: Value = serde_json::from_slice(json).ok()?;
    read_stream(&value).ok().map(|channels| channels.len())
}

/// Reads a channel; `name` is that of its stream.
fn read_channel(value: &Value, name: &str) -> Result<Channel, (Failure, String)> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or_default();
    let url = text("url");
    if url.is_empty() {
        return Err((Failure::Bad, "the channel has no url".into()));
    }
    Ok(Channel {
        title: title(name),
        label: title(text("name")),
        url: Token::new(url),
        on_demand: flag("on_demand"),
        audio: flag("audio"),
        insecure: flag("insecure_skip_verify"),
        debug: flag("debug"),
    })
}

/// Returns `{ID: {"name", "channels"}}`.
fn streams(all: &[Listed]) -> Value {
    let mut streams: Map<String, Value> = Map::new();
    for listed in all.iter().filter(|listed| listed.id.len() <= MAX_ID) {
        let stream = streams
            .entry(listed.id.clone())
            .or_insert_with(|| stream_object(&[]));
        add_channel(stream, listed);
    }
    Value::Object(streams)
}

fn stream_object(channels: &[Listed]) -> Value {
    let mut stream = json!({ "channels": {} });
    for listed in channels {
        add_channel(&mut stream, listed);
    }
    stream
}

fn add_channel(stream: &mut Value, listed: &Listed) {
    let name = match listed.title.as_str() {
        "" => &listed.id,
        title => title,
    };
    if let Some(stream) = stream.as_object_mut() {
        stream.entry("name").or_insert_with(|| json!(name));
        if let Some(Value::Object(channels)) = stream.get_mut("channels") {
            channels.insert(listed.channel.clone(), channel_object(listed));
        }
    }
}

/// Returns a channel. As there, what is empty or false is left out. The URL is without its password.
fn channel_object(listed: &Listed) -> Value {
    let mut channel = Map::new();
    for (key, text) in [("name", &listed.label), ("url", &listed.url)] {
        if !text.is_empty() {
            channel.insert(key.into(), json!(text));
        }
    }
    for (key, flag) in [
        ("on_demand", listed.on_demand),
        ("debug", listed.debug),
        ("audio", listed.audio),
        ("insecure_skip_verify", listed.insecure),
    ] {
        if flag {
            channel.insert(key.into(), json!(true));
        }
    }
    if listed.is_live {
        channel.insert("status".into(), json!(1));
    }
    Value::Object(channel)
}

/// Answers for `/static`, where clients look whether RTSPtoWebRTC is there. We have no such files.
fn list_of_files(path: &str, prefix: &str) -> Response {
    match path {
        "/static" => Response::new(301).header("Location", format!("{prefix}/static/")),
        "/static/" => Response::new(200).body("text/html; charset=utf-8", "<pre>\n</pre>\n"),
        _ => text(404, "404 page not found"),
    }
}
