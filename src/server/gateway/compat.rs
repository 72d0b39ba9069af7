//! The interfaces of other programs: their door, and who may do what at it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::access::Right;
use super::cameras::Asker;
use super::{Gateway, GatewayConfig, GatewayError, open_door};
use crate::driver::EventLoop;
use crate::server::cameras::{ChangeError, Changed};
use crate::server::compat::login::{self, Shown};
use crate::server::compat::{Compat, Context, JobId, Need, Output, Port};
use crate::server::door::{Door, DoorEvent};
use crate::server::http::{Request, RequestId, Response, SocketOutput};

/// Interfaces of other programs, if any is offered.
pub(super) struct Interfaces {
    pub compat: Compat,
    /// The door of go2rtc's API.
    door: Option<Door>,
    /// Paths of the requests to our own door that are not answered, and whose page may read the answer.
    readable: HashMap<RequestId, String>,
}

impl Interfaces {
    /// Opens go2rtc's door. Returns `None` if no interface is configured.
    pub fn open(config: &GatewayConfig, net: &mut EventLoop) -> Result<Option<Self>, GatewayError> {
        if !config.deepch && config.go2rtc.is_none() {
            return Ok(None);
        }
        let mut compat = Compat::new(config.deepch);
        compat.configure(&config.sources);
        let door = match config.go2rtc {
            Some(address) => {
                let door = open_door(address, config)?;
                net.watch(&door)?;
                log::info!("go2rtc's API: {}", door.local_addr());
                Some(door)
            }
            None => None,
        };
        let readable = HashMap::new();
        Ok(Some(Self {
            compat,
            door,
            readable,
        }))
    }

    /// Returns the address of go2rtc's API.
    pub fn go2rtc_addr(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(Door::local_addr)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let door = self.door.as_ref().and_then(Door::next_deadline);
        door.into_iter().chain(self.compat.next_deadline()).min()
    }
}

impl Gateway {
    /// Returns `true` if the path belongs to an interface on our own door.
    pub(super) fn is_compat(&self, path: &str) -> bool {
        let interfaces = self.interfaces.as_ref();
        interfaces.is_some_and(|all| all.compat.serves(Port::Main, path))
    }

    /// Handles what has come through go2rtc's door, and continues what waits.
    pub(super) fn turn_interfaces(&mut self, now: Instant) {
        if let Some(door) = self.interfaces.as_mut().and_then(|all| all.door.as_mut()) {
            door.turn(now);
        }
        while let Some(event) = self.next_of_go2rtc() {
            self.on_go2rtc_event(event, now);
        }
        self.with_compat(now, Compat::turn);
        self.pass_on_compat();
    }

    /// Passes responses and messages to their doors.
    pub(super) fn pass_on_compat(&mut self) {
        let Some(all) = &mut self.interfaces else {
            return;
        };
        while let Some(output) = all.compat.poll_output() {
            match (output, &mut all.door) {
                (Output::Respond(Port::Main, id, response), _) => {
                    let response = match all.readable.remove(&id) {
                        Some(path) => Compat::cors(&path, response),
                        None => response,
                    };
                    self.door.respond(id, response);
                }
                (Output::Respond(Port::Go2rtc, id, response), Some(door)) => {
                    door.respond(id, response);
                }
                (Output::Change(job, change, client), _) => {
                    let now = Instant::now();
                    self.cameras.submit(change, Asker::Compat(job), client, now);
                }
                (Output::Socket(SocketOutput::Send(socket, text)), Some(door)) => {
                    // The door reports that it is closed.
                    let _ = door.send(socket, &text);
                }
                (Output::Socket(SocketOutput::Close(socket, code, reason)), Some(door)) => {
                    door.close(socket, code, &reason);
                }
                (_, None) => {}
            }
        }
    }

    /// Handles a request to one of the interfaces.
    pub(super) fn on_compat_request(
        &mut self,
        port: Port,
        id: RequestId,
        mut request: Request,
        now: Instant,
    ) {
        let is_ours = port == Port::Main;
        let shown = login::take(&mut request);
        // A browser asks first, without credentials; that says nothing about what the request will get.
        let is_preflight = is_ours && request.method == "OPTIONS";
        let readable = is_preflight || is_ours && self.access.may_read(&request);
        let checked = match is_preflight {
            true => Ok(()),
            false => self.check_compat(port, shown, &request, now),
        };
        if let Some(all) = self.interfaces.as_mut().filter(|_| readable) {
            all.readable.insert(id, request.path.clone());
        }
        self.with_compat(now, |compat, ctx| match checked {
            Ok(()) => compat.handle_request(ctx, port, id, &request),
            Err(refused) => compat.refuse(port, id, &request, refused),
        });
        self.pass_on_compat();
    }

    /// Passes on what has become of a change that an interface has asked for.
    pub(super) fn answer_compat_change(
        &mut self,
        job: JobId,
        result: Result<Changed, ChangeError>,
    ) {
        let now = Instant::now();
        self.with_compat(now, |compat, ctx| compat.handle_change(ctx, job, result));
        self.pass_on_compat();
    }

    /// Handles that a client is gone before its response.
    pub(super) fn compat_gone(&mut self, port: Port, id: RequestId, now: Instant) {
        if let Some(all) = self.interfaces.as_mut().filter(|_| port == Port::Main) {
            all.readable.remove(&id);
        }
        self.with_compat(now, |compat, ctx| compat.handle_gone(ctx, port, id));
    }

    /// Checks that a request has the right that it needs.
    ///
    /// Both programs change things by GET, and answer pages of any origin. What a browser sends by itself must therefore
    /// not count for pages of others: not its place in this network, not a password that it was asked for once, and not
    /// a cookie. A token that a page shows itself does.
    fn check_compat(
        &mut self,
        port: Port,
        shown: Shown,
        request: &Request,
        now: Instant,
    ) -> Result<(), Response> {
        let right = match Compat::need(port, request) {
            Need::Nothing => return Ok(()),
            Need::View => Right::View,
            Need::Change => Right::Admin,
        };
        if shown == Shown::Basic {
            self.access.check_origin(request)?;
        }
        let is_shown_by_page = request.bearer().is_some() && shown != Shown::Basic;
        let site = request.header("sec-fetch-site").unwrap_or("none");
        let is_foreign = ["cross-site", "same-site"].contains(&site);
        if is_foreign && !is_shown_by_page && request.header("origin").is_none() {
            let detail = "links and pictures of pages elsewhere may not use this interface";
            return Err(Response::problem(403, "Another page", detail));
        }
        self.access.check(right, request, now).map_err(|mut refused| {
            let bearer = |(name, _): &(String, String)| name.eq_ignore_ascii_case("www-authenticate");
            if let Some((_, challenge)) = refused.headers.iter_mut().find(|header| bearer(header)) {
                "Basic realm=\"looprtc: any name, and the token as password\", charset=\"UTF-8\""
                    .clone_into(challenge);
            }
            refused
        })
    }

    fn with_compat(&mut self, now: Instant, act: impl FnOnce(&mut Compat, &mut Context<'_>)) {
        if let Some(all) = &mut self.interfaces {
            let mut ctx = Context {
                net: &mut self.net,
                streams: &mut self.streams,
                whip: &mut self.whip,
                cameras: &self.cameras,
                now,
            };
            act(&mut all.compat, &mut ctx);
        }
    }

    fn next_of_go2rtc(&mut self) -> Option<DoorEvent> {
        let door = self.interfaces.as_mut()?.door.as_mut()?;
        door.poll_event()
    }

    fn on_go2rtc_event(&mut self, event: DoorEvent, now: Instant) {
        match event {
            DoorEvent::Request(id, request) => {
                log::debug!(
                    "go2rtc: {} {} {}",
                    request.client,
                    request.method,
                    request.path
                );
                self.on_compat_request(Port::Go2rtc, id, request, now);
            }
            DoorEvent::WebSocketRequest(id, request) => self.on_go2rtc_socket(id, request, now),
            DoorEvent::Message(socket, text) => {
                self.with_compat(now, |compat, ctx| compat.socket_message(ctx, socket, &text));
            }
            DoorEvent::Closed(socket) => {
                self.with_compat(now, |compat, ctx| compat.socket_closed(ctx, socket));
            }
            DoorEvent::Gone(id) => self.compat_gone(Port::Go2rtc, id, now),
        }
    }

    fn on_go2rtc_socket(&mut self, id: RequestId, mut request: Request, now: Instant) {
        let shown = login::take(&mut request);
        let checked = match request.path.as_str() {
            "/api/ws" => self.check_compat(Port::Go2rtc, shown, &request, now),
            _ => Err(Response::problem(
                404,
                "Not found",
                "the WebSocket is at /api/ws",
            )),
        };
        if let Err(refused) = checked {
            let refuse = |compat: &mut Compat, _: &mut Context<'_>| {
                compat.refuse(Port::Go2rtc, id, &request, refused);
            };
            self.with_compat(now, refuse);
            return self.pass_on_compat();
        }
        let Some(all) = &mut self.interfaces else {
            return;
        };
        if let Some(socket) = all.door.as_mut().and_then(|door| door.accept(id)) {
            all.compat.socket_opened(socket, &request);
        }
    }
}
