//! The end of a session and of its connection.

use std::time::Instant;

use super::preparing::session_field;
use super::session::Session;
use super::wire::{Purpose, Request, Wire};
use super::{After, RtspClient, State};
use crate::proto::rtsp::contract::{Output, RtspEvent};
use crate::proto::rtsp::message::{Message, SessionField};
use crate::proto::rtsp::quirk::Quirk;

impl RtspClient {
    /// Ends the session, with TEARDOWN if the camera may hold resources for it: without one, its place stays taken for a
    /// minute.
    pub(super) fn finish(&mut self, after: After, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => {}
            State::Ending(session, before) => {
                // The application's wish counts more than a new connection.
                let after = match (&before, &after) {
                    (After::End(_), _) | (_, After::Reconnect(_) | After::Redirect(_)) => before,
                    _ => after,
                };
                self.state = State::Ending(session, after);
            }
            State::Preparing(session) | State::Playing(session)
                if session.is_begun && self.wire.is_connected() =>
            {
                self.tear_down(session, after, now);
            }
            State::Preparing(session) | State::Playing(session) => {
                let until = super::wire::after(now, self.config.timing.teardown);
                let is_usable = self.wire.is_connected() && self.wire.is_readable;
                // The camera may be creating a session, whose name only the answer tells.
                match is_usable && self.wire.hurry_setup(until) {
                    true => self.state = State::Ending(session, after),
                    false => self.complete(Some(session), after, now),
                }
            }
            State::Pausing(_) | State::Connecting | State::Asking => {
                self.complete(None, after, now);
            }
        }
    }

    fn tear_down(&mut self, session: Box<Session>, after: After, now: Instant) {
        let mut fields = Vec::new();
        fields.extend(session_field(&session));
        fields.extend(self.require());
        let request = Request {
            purpose: Purpose::Teardown,
            method: "TEARDOWN",
            uri: session.uri.clone(),
            fields,
        };
        self.state = State::Ending(session, after);
        self.ask(request, self.config.timing.teardown, now);
        if !self.wire.is_readable {
            self.on_torn_down(false, now);
        }
    }

    /// SETUP was answered when the session was to end already: what it has created is ended.
    pub(super) fn on_late_setup(&mut self, code: u16, message: &Message, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ending(mut session, after) if code < 300 => {
                let field = message.fields.get("Session").and_then(SessionField::parse);
                if field.is_some_and(|field| !session.identify(field)) {
                    self.note(Quirk::SessionChanges);
                }
                session.is_begun = true;
                self.tear_down(session, after, now);
            }
            State::Ending(session, after) => self.complete(Some(session), after, now),
            other => self.state = other,
        }
    }

    /// TEARDOWN was answered, or will not be; or SETUP will not be.
    pub(super) fn on_torn_down(&mut self, is_accepted: bool, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ending(session, after) => {
                if !is_accepted && session.is_begun {
                    self.note(Quirk::TeardownUnanswered);
                }
                self.complete(Some(session), after, now);
            }
            other => self.state = other,
        }
    }

    fn complete(&mut self, session: Option<Box<Session>>, after: After, now: Instant) {
        let sockets = session.map(|mut session| session.close_sockets());
        self.out.extend(sockets.into_iter().flatten());
        if self.wire.is_open {
            self.out.push(Output::Disconnect);
        }
        match after {
            After::End(error) => {
                self.state = State::Ended;
                self.wire = Wire::closed(&self.config.limits);
                self.out.push(Output::Event(RtspEvent::Ended(error)));
            }
            After::Reconnect(pause) if pause.is_zero() => self.connect(),
            After::Reconnect(pause) => {
                self.wire = Wire::closed(&self.config.limits);
                self.state = State::Pausing(super::wire::after(now, pause));
            }
            After::Redirect(url) => self.connect_to(*url),
        }
    }
}
