//! Input of the connection: answers are led to the step that waits for them, requests of the camera are answered.

use std::time::Instant;

use super::wire::{Purpose, Request};
use super::{After, RtspClient, State};
use crate::proto::rtsp::contract::Direction;
use crate::proto::rtsp::error::RtspError;
use crate::proto::rtsp::message::{self, Item, Message, SessionField, Start};
use crate::proto::rtsp::quirk::Quirk;
use crate::proto::rtsp::secret::redacted;

/// Length of a reason phrase that is shown, in characters.
const MAX_REASON: usize = 80;

/// Length of a `CSeq` that is sent back, in characters.
const MAX_CSEQ: usize = 40;

impl RtspClient {
    pub(super) fn on_received(&mut self, bytes: &[u8], now: Instant) {
        if !self.wire.is_connected() || self.has_ended() {
            return;
        }
        self.wire.reader.push(bytes);
        // A step may have ended this connection.
        while self.wire.is_connected() {
            match self.wire.reader.next() {
                Ok(None) => break,
                Ok(Some(Item::Frame(channel, contents))) => self.on_frame(channel, contents, now),
                Ok(Some(Item::Message(message))) => self.on_message(message, now),
                Ok(Some(Item::Quirk(quirk))) => self.note(quirk),
                Err(error) => {
                    self.wire.is_readable = false;
                    let (at, what) = (self.step(), error.to_string());
                    self.fail(RtspError::Protocol { at, what }, now);
                    // If the session was ending already.
                    if self.wire.is_connected() {
                        self.on_torn_down(false, now);
                    }
                }
            }
        }
    }

    /// Returns the name of the current step, for errors.
    fn step(&self) -> &'static str {
        match self.state {
            State::Pausing(_) | State::Connecting | State::Asking => "before SETUP",
            State::Preparing(_) => "during SETUP",
            State::Playing(_) => "while playing",
            State::Ending(..) | State::Ended => "at the end",
        }
    }

    fn on_message(&mut self, message: Message, now: Instant) {
        self.out.trace(Direction::Received, || message.to_text());
        match &message.start {
            Start::Request(method) => self.on_request(&method.clone(), &message, now),
            // Provisional (RFC 2326 §7.1.1).
            Start::Response(100..=199, _) => {}
            Start::Response(code, _) => self.on_response(*code, &message, now),
        }
    }

    fn on_response(&mut self, code: u16, message: &Message, now: Instant) {
        let cseq = message.fields.cseq();
        if let Some(method) = self.wire.answered_keepalive(cseq) {
            return self.on_keepalive_answer(method, code, message, now);
        }
        let Some((request, is_exact)) = self.wire.answered(cseq) else {
            return;
        };
        if !is_exact {
            self.note(Quirk::HeaderJunk);
        }
        let is_setup = matches!(request.purpose, Purpose::Setup(_));
        if is_setup && matches!(self.state, State::Ending(..)) {
            return self.on_late_setup(code, message, now);
        }
        if code == 401 {
            return self.on_unauthorized(request, message, now);
        }
        self.auth.accepted();
        let location = message.fields.get("Location");
        if let (300..=399, Some(location), false) =
            (code, location, request.purpose == Purpose::Teardown)
        {
            return self.redirect(location, now);
        }
        match request.purpose {
            Purpose::Options => self.on_options(message, now),
            Purpose::Describe => self.on_describe(code, message, now),
            Purpose::Setup(n) => self.on_setup(n, code, message, now),
            Purpose::Play { with_range } => self.on_play(with_range, code, message, now),
            Purpose::Teardown => self.on_torn_down(code < 300, now),
            Purpose::Keepalive => {}
        }
    }

    /// Repeats a request with credentials, or ends the session.
    fn on_unauthorized(&mut self, request: Request, message: &Message, now: Instant) {
        let challenges = message.fields.all("WWW-Authenticate");
        match self.auth.challenged(challenges) {
            Ok(quirks) => {
                self.note_all(quirks);
                let limit = match request.purpose {
                    Purpose::Teardown => self.config.timing.teardown,
                    _ => self.config.timing.answer,
                };
                self.ask(request, limit, now);
            }
            Err(_) if request.purpose == Purpose::Teardown => self.on_torn_down(false, now),
            Err(error) => self.fail(error, now),
        }
    }

    /// Takes the session's identifier from an answer.
    pub(super) fn identify(&mut self, message: &Message, is_required: bool) {
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let field = message.fields.get("Session").and_then(SessionField::parse);
        let is_same = match field {
            Some(field) => session.identify(field),
            None => session.id.is_some() || !is_required,
        };
        if !is_same {
            self.note(Quirk::SessionChanges);
        }
    }

    /// Returns what an error status means.
    pub(super) fn refusal(&mut self, purpose: Purpose, code: u16, message: &Message) -> RtspError {
        match code {
            403 => RtspError::Forbidden,
            404 => RtspError::NotFound,
            453 | 503 => {
                self.note(Quirk::FewConnections);
                RtspError::Busy
            }
            454 => RtspError::SessionLost,
            551 if self.config.backchannel => {
                self.note(Quirk::Backchannel);
                RtspError::NoBackchannel
            }
            _ => {
                let reason = match &message.start {
                    Start::Response(_, reason) => redacted(reason),
                    Start::Request(_) => String::new(),
                };
                let shown = reason.chars().filter(|c| !c.is_control());
                RtspError::Status {
                    method: purpose.method(),
                    code,
                    reason: shown.take(MAX_REASON).collect(),
                }
            }
        }
    }

    fn on_request(&mut self, method: &str, message: &Message, now: Instant) {
        self.note(Quirk::CameraAsks);
        let is_known = matches!(
            method,
            "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER" | "ANNOUNCE" | "REDIRECT" | "TEARDOWN"
        );
        let mut fields = Vec::new();
        if let Some(cseq) = message.fields.get("CSeq") {
            fields.push(("CSeq", cseq.chars().take(MAX_CSEQ).collect()));
        }
        if method == "OPTIONS" {
            let ours = "OPTIONS, GET_PARAMETER, SET_PARAMETER, ANNOUNCE, REDIRECT, TEARDOWN";
            fields.push(("Public", ours.to_owned()));
        }
        let answer = match is_known {
            true => message::response(200, "OK", &fields),
            false => message::response(501, "Not Implemented", &fields),
        };
        self.out.send(answer);
        match (method, message.fields.get("Location")) {
            ("TEARDOWN", _) => {
                if let State::Preparing(session) | State::Playing(session) = &mut self.state {
                    session.is_begun = false;
                    self.finish(After::End(Some(RtspError::EndedByCamera)), now);
                }
            }
            ("REDIRECT", Some(location)) => self.redirect(location, now),
            _ => {}
        }
    }
}
