//! Requests on their way through tiny_http, and back.

use std::time::Instant;

use super::connection::State;
use super::inner::{Arrived, Inner, LineEvent};
use super::{Door, DoorEvent, Waiting, admit, request, response};
use crate::server::http::{RequestId, Response};
use crate::signaling::http::head::Refusal;

impl Door {
    /// What has come from tiny_http, and what goes to it.
    pub(super) fn relay(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.lines_ready) {
            match self.inner.as_mut().and_then(|inner| inner.attend(index)) {
                Some(LineEvent::Response(id, bytes)) => self.carry_back(id, bytes, now),
                Some(LineEvent::More) => self.lines_ready.push(index),
                Some(LineEvent::Broken(why)) => return self.start_anew(&why, now),
                None => {}
            }
        }
        while let Some(arrived) = self.inner.as_ref().and_then(|i| i.arrived.try_recv().ok()) {
            self.arrived(arrived);
        }
    }

    /// tiny_http has read a request: the application's turn.
    fn arrived(&mut self, arrived: Arrived) {
        // Should the client have left, tiny_http is answered by dropping it.
        let Some(waiting) = self.requests.get_mut(&arrived.id) else {
            return;
        };
        let Some(connection) = self.connections.get(waiting.index) else {
            return;
        };
        let Arrived { id, http, parts } = arrived;
        let made = request::arrived(parts, connection.client, connection.wire.is_secure());
        let Some(mut request) = made else {
            // It was checked before it went there.
            crate::seldom::seldom!(error, "tiny_http has read another request than was written");
            return;
        };
        self.config.proxies.apply(&mut request);
        waiting.http = Some(http);
        waiting.is_told = true;
        self.events.push_back(DoorEvent::Request(id, request));
    }

    /// A response that tiny_http has written goes to its client.
    fn carry_back(&mut self, id: RequestId, bytes: Vec<u8>, now: Instant) {
        let Some(waiting) = self.requests.remove(&id) else {
            return;
        };
        if waiting.is_told && !waiting.is_answered {
            self.events.push_back(DoorEvent::Gone(id));
        }
        let Some(connection) = self.connections.get_mut(waiting.index) else {
            return;
        };
        if let State::Waiting { mut reply, .. } = connection.state {
            reply.keep_alive &= !connection.has_ended;
            connection
                .wire
                .send_all(response::with_connection(bytes, reply));
            let keep_alive = reply.keep_alive;
            connection.state = State::Writing { keep_alive };
            self.attend(waiting.index, now);
        }
    }

    /// Hands the application's response to tiny_http, or writes it where there is none between.
    pub(super) fn pass_on(&mut self, id: RequestId, response: Response) {
        let Some(waiting) = self.requests.get_mut(&id) else {
            return;
        };
        if waiting.is_answered {
            return;
        }
        if let (Some(http), Some(inner)) = (waiting.http.take(), &self.inner) {
            waiting.is_answered = true;
            return inner.respond(http, response);
        }
        let index = waiting.index;
        self.requests.remove(&id);
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let State::Waiting { mut reply, .. } = connection.state {
            reply.keep_alive &= !connection.has_ended;
            connection.wire.send_all(response::bytes(&response, reply));
            let keep_alive = reply.keep_alive;
            connection.state = State::Writing { keep_alive };
            self.list(index);
        }
    }

    /// The application is told that it need not answer, if it knows of the request at all.
    pub(super) fn give_up(&mut self, index: usize) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let State::Waiting { id, .. } = connection.state else {
            return;
        };
        if let Some(Waiting {
            is_told: true,
            is_answered: false,
            ..
        }) = self.requests.remove(&id)
        {
            self.events.push_back(DoorEvent::Gone(id));
        }
    }

    /// tiny_http has died: what was there is lost, what comes has another.
    fn start_anew(&mut self, why: &str, now: Instant) {
        crate::seldom::seldom!(warn, "the HTTP parser is gone, and started anew: {why}");
        let lost = self.inner.take().map(|inner| inner.under_way());
        for id in lost.into_iter().flatten() {
            let Some(index) = self.requests.get(&id).map(|waiting| waiting.index) else {
                continue;
            };
            self.give_up(index);
            let refusal = Refusal::new(502, "the request was lost on its way: try again");
            self.refuse(index, &refusal);
            self.attend(index, now);
        }
        self.lines_ready.clear();
        self.start_inner();
    }

    pub(super) fn start_inner(&mut self) {
        if self.config.lines == 0 {
            return;
        }
        match Inner::start(self.poll.registry(), &self.waker, self.config.lines) {
            Ok(inner) => self.inner = Some(inner),
            Err(e) => log::warn!("requests are read without tiny_http, which does not start: {e}"),
        }
    }

    /// Whether there are too many requests already.
    pub(super) fn is_overloaded(&self) -> Option<Refusal> {
        let is_full = self.requests.len() >= self.config.max_requests;
        is_full.then(|| admit::overloaded("too many requests wait already"))
    }
}
