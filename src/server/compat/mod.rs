//! The interfaces of programs that looprtc replaces, at their paths and with their answers: RTSPtoWebRTC and RTSPtoWeb
//! (`deepch`, named after their author) and the WebRTC part of go2rtc.
//!
//! ```text
//!  request ─▶ Compat::need ─▶ (the gateway checks the right) ─▶ handle_request ─┬─▶ an answer at once
//!                                                                               └─▶ Wait: the source is woken, its codecs
//!  viewer events of WhipServer ◀── an offer ◀── codecs are known ◀──────────────────  are waited for, at most 5 s
//!        └─▶ the answer, in the form of that interface
//! ```
//!
//! Viewers are sessions of the [`WhipServer`], with its limits and counters: this module only translates. Streams are ours,
//! under names that stand for the ids of those programs ([`names`]).

mod changes;
mod codecs;
pub(crate) mod deepch;
pub(crate) mod go2rtc;
pub(crate) mod login;
pub mod names;
mod replies;
mod sources;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(crate) use self::changes::JobId;
use self::changes::Jobs;
use self::go2rtc::Go2rtc;
use self::replies::{Form, Outcome};
use self::sources::Sources;
use crate::driver::EventLoop;
use crate::server::cameras::{Camera, Cameras, Change};
use crate::server::http::{Request, RequestId, Response, SocketOutput, WebSocketId};
use crate::server::quota::{Held, client_of};
use crate::server::streams::{Readiness, Streams};
use crate::server::whip::{SessionId, ViewerEvent, ViewerOffer, WhipServer};

/// Maximum time for which a source's codecs are waited for.
const CODECS_WITHIN: Duration = Duration::from_secs(5);

/// Maximum time for which an answer waits for candidates.
const GATHERED_WITHIN: Duration = Duration::from_secs(10);

/// Maximum number of requests of one client that wait for codecs.
const MAX_WAITS: usize = 32;

/// The door that a request has come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Port {
    /// The one of pages, WHIP and WHEP, which the paths of RTSPtoWebRTC and RTSPtoWeb are on.
    Main,
    /// The one of go2rtc's API.
    Go2rtc,
}

/// The right that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// None: it says only that the interface is there.
    Nothing,
    View,
    /// To add, change and remove streams, and to make this server open a URL.
    Change,
}

/// Recipient of an answer that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asker {
    Request(Port, RequestId),
    Socket(WebSocketId),
}

/// A request that waits for the codecs of a stream.
#[derive(Debug)]
struct Wait {
    stream: String,
    client: IpAddr,
    until: Instant,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// They are the answer.
    List(Form),
    /// This offer is answered.
    Watch { sdp: String, form: Form },
}

/// A request whose session waits for candidates, or a WebSocket's session.
#[derive(Debug)]
struct Watching {
    asker: Asker,
    form: Form,
    /// The kinds of media that the stream has.
    tracks: Vec<&'static str>,
}

/// An output of [`Compat`], for the door of the port.
#[derive(Debug)]
pub(crate) enum Output {
    Respond(Port, RequestId, Response),
    /// Change the cameras for this client; [`Compat::handle_change`] is told what has become of it.
    Change(JobId, Change, IpAddr),
    /// On a WebSocket of [`Port::Go2rtc`].
    Socket(SocketOutput),
}

/// The cameras that were added while the server ran.
pub(crate) trait Known {
    /// Returns a camera by its stream's name.
    fn camera(&self, name: &str) -> Option<&Camera>;
}

impl<A> Known for Cameras<A> {
    fn camera(&self, name: &str) -> Option<&Camera> {
        self.get(name)
    }
}

/// State that the interfaces act on.
pub(crate) struct Context<'a> {
    pub net: &'a mut EventLoop,
    pub streams: &'a mut Streams,
    pub whip: &'a mut WhipServer,
    pub cameras: &'a dyn Known,
    pub now: Instant,
}

/// The interfaces of other programs. See the [module](self).
#[derive(Debug)]
pub(crate) struct Compat {
    /// Set if the paths of RTSPtoWebRTC and RTSPtoWeb are served.
    deepch: bool,
    go2rtc: Go2rtc,
    sources: Sources,
    jobs: Jobs,
    waits: HashMap<Asker, Wait>,
    per_client: Held<IpAddr>,
    sessions: HashMap<SessionId, Watching>,
    outputs: VecDeque<Output>,
}

impl Compat {
    pub fn new(deepch: bool) -> Self {
        Self {
            deepch,
            go2rtc: Go2rtc::default(),
            sources: Sources::default(),
            jobs: Jobs::default(),
            waits: HashMap::new(),
            per_client: Held::new(MAX_WAITS),
            sessions: HashMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Sets the streams of the configuration, which clients cannot change.
    pub fn configure(&mut self, sources: &[(String, String)]) {
        self.sources.configure(sources);
    }

    /// Returns `true` if the path belongs to one of the interfaces.
    pub fn serves(&self, port: Port, path: &str) -> bool {
        match port {
            Port::Main => self.deepch && deepch::serves(path),
            Port::Go2rtc => true,
        }
    }

    /// Returns the right that a request needs.
    pub fn need(port: Port, request: &Request) -> Need {
        match port {
            Port::Main => deepch::need(request),
            Port::Go2rtc => go2rtc::need(request),
        }
    }

    /// Adds the headers that let pages of other origins read a response: see [`deepch::cors`].
    pub fn cors(path: &str, response: Response) -> Response {
        deepch::cors(path, response)
    }

    /// Answers a request that lacks its right, in the form of the interface.
    pub fn refuse(&mut self, port: Port, id: RequestId, request: &Request, refused: Response) {
        let form = match port {
            Port::Main => deepch::form(&request.path),
            Port::Go2rtc => Form::Go2rtcText,
        };
        self.respond(Asker::Request(port, id), form.refused(refused));
    }

    /// Handles a request that has the right it needs. Its response is returned by [`poll_output`](Self::poll_output), at
    /// once or later.
    pub fn handle_request(
        &mut self,
        ctx: &mut Context<'_>,
        port: Port,
        id: RequestId,
        request: &Request,
    ) {
        let asker = Asker::Request(port, id);
        let outcome = match port {
            Port::Main => self.deepch_request(ctx, request),
            Port::Go2rtc => self.go2rtc_request(ctx, request),
        };
        match outcome {
            Outcome::Now(response) => self.respond(asker, response),
            Outcome::Change { steps, told } => {
                self.begin(ctx, asker, (told, request.client.ip()), steps);
            }
            Outcome::List { stream, form } => {
                self.wait(ctx, asker, request.client.ip(), stream, Then::List(form));
            }
            Outcome::Watch { stream, sdp, form } => {
                let then = Then::Watch { sdp, form };
                self.wait(ctx, asker, request.client.ip(), stream, then);
            }
        }
    }

    /// Handles that a client has disconnected before its response.
    pub fn handle_gone(&mut self, ctx: &mut Context<'_>, port: Port, id: RequestId) {
        self.forget(ctx, Asker::Request(port, id));
    }

    /// Returns the next output, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`turn`](Self::turn) must be called even if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waits.values().map(|wait| wait.until).min()
    }

    /// Continues what was waited for. Call it in each iteration: streams do not tell when their codecs are known.
    pub fn turn(&mut self, ctx: &mut Context<'_>) {
        let is_over = |wait: &Wait| {
            wait.until <= ctx.now || ctx.streams.readiness(&wait.stream) != Readiness::Waiting
        };
        let over = self.waits.iter().filter(|(_, wait)| is_over(wait));
        for asker in over.map(|(asker, _)| *asker).collect::<Vec<_>>() {
            if let Some(wait) = self.remove_wait(asker) {
                self.end_wait(ctx, asker, wait);
            }
        }
        while let Some((session, event)) = ctx.whip.poll_viewer_event() {
            self.on_viewer_event(session, event);
        }
    }

    /// Wakes a stream's source, and waits for its codecs.
    fn wait(
        &mut self,
        ctx: &mut Context<'_>,
        asker: Asker,
        client: IpAddr,
        stream: String,
        then: Then,
    ) {
        let client = client_of(client);
        let (Then::List(form) | Then::Watch { form, .. }) = &then;
        if let Err(error) = ctx.streams.wake(ctx.net, &stream) {
            let response = form.failed(replies::Failure::NoStream, &error.to_string());
            return self.reply(asker, *form, response);
        }
        if !self.per_client.has_room(&client) {
            let detail = "too many requests of this address wait for a camera";
            let refused = Response::problem(429, "Too many", detail).header("Retry-After", "5");
            return self.reply(asker, *form, form.refused(refused));
        }
        let wait = Wait {
            stream,
            client,
            until: ctx.now + CODECS_WITHIN,
            then,
        };
        if ctx.streams.readiness(&wait.stream) != Readiness::Waiting {
            return self.end_wait(ctx, asker, wait);
        }
        self.per_client.take(client);
        self.waits.insert(asker, wait);
    }

    fn remove_wait(&mut self, asker: Asker) -> Option<Wait> {
        let wait = self.waits.remove(&asker)?;
        self.per_client.give_back(&wait.client);
        Some(wait)
    }

    fn end_wait(&mut self, ctx: &mut Context<'_>, asker: Asker, wait: Wait) {
        let readiness = ctx.streams.readiness(&wait.stream);
        match wait.then {
            Then::List(form) => {
                let response = match readiness {
                    Readiness::Ready(codecs) => {
                        form.codecs(&codecs, |codec| ctx.streams.keyframe(&wait.stream, codec))
                    }
                    Readiness::Failed(why) => form.failed(replies::Failure::NoCodecs, &why),
                    Readiness::Unknown | Readiness::Waiting => {
                        form.failed(replies::Failure::NoCodecs, "it has sent nothing within 5 s")
                    }
                };
                self.respond(asker, response);
            }
            Then::Watch { sdp, form } => {
                let codecs = match readiness {
                    Readiness::Failed(why) => {
                        let response = form.failed(replies::Failure::Source, &why);
                        return self.reply(asker, form, response);
                    }
                    Readiness::Ready(codecs) => codecs,
                    // A publisher may come later: its media then goes to all viewers.
                    Readiness::Unknown | Readiness::Waiting => Vec::new(),
                };
                let offer = ViewerOffer {
                    stream: &wait.stream,
                    sdp: &sdp,
                    client: wait.client,
                    gather: (form != Form::Socket).then_some(GATHERED_WITHIN),
                };
                let created = ctx.whip.add_viewer(ctx.net, ctx.streams, offer, ctx.now);
                match created {
                    Ok(session) => {
                        let watching = Watching {
                            asker,
                            form,
                            tracks: codecs::kinds(&codecs),
                        };
                        self.sessions.insert(session, watching);
                        if let Asker::Socket(socket) = asker {
                            self.go2rtc.watches(ctx, socket, session);
                        }
                    }
                    Err(refused) => self.reply(asker, form, form.refused(refused)),
                }
            }
        }
    }

    fn on_viewer_event(&mut self, session: SessionId, event: ViewerEvent) {
        let Some(watching) = self.sessions.get(&session) else {
            return;
        };
        let (asker, form) = (watching.asker, watching.form);
        match (event, asker) {
            (ViewerEvent::Answer(sdp), Asker::Socket(socket)) => {
                self.send(socket, self.go2rtc.answer(socket, &sdp));
            }
            (ViewerEvent::Answer(sdp), Asker::Request(..)) => {
                let response = form.answer(&sdp, &watching.tracks);
                self.sessions.remove(&session);
                self.respond(asker, response);
            }
            (ViewerEvent::Candidate(candidate), Asker::Socket(socket)) => {
                self.send(socket, go2rtc::candidate(&candidate));
            }
            (ViewerEvent::Candidate(_), Asker::Request(..)) => {}
            (ViewerEvent::Ended, _) => {
                self.sessions.remove(&session);
                let why = "the connection has ended";
                let response = form.failed(replies::Failure::Source, why);
                self.reply(asker, form, response);
            }
        }
    }

    /// Forgets what a client has asked for, and ends its session.
    fn forget(&mut self, ctx: &mut Context<'_>, asker: Asker) {
        self.remove_wait(asker);
        let of_it = |(session, watching): (&SessionId, &Watching)| {
            (watching.asker == asker).then_some(*session)
        };
        if let Some(session) = self.sessions.iter().find_map(of_it) {
            self.sessions.remove(&session);
            ctx.whip.remove_viewer(ctx.net, session);
        }
    }

    /// Answers a request, or tells a WebSocket of a failure.
    fn reply(&mut self, asker: Asker, form: Form, response: Response) {
        match asker {
            Asker::Request(..) => self.respond(asker, response),
            Asker::Socket(socket) => {
                let text = String::from_utf8_lossy(&response.body).into_owned();
                debug_assert_eq!(form, Form::Socket);
                self.send(socket, text);
            }
        }
    }

    fn respond(&mut self, asker: Asker, response: Response) {
        if let Asker::Request(port, id) = asker {
            self.outputs.push_back(Output::Respond(port, id, response));
        }
    }

    fn send(&mut self, socket: WebSocketId, text: String) {
        let output = SocketOutput::Send(socket, text);
        self.outputs.push_back(Output::Socket(output));
    }
}
