//! Responses on their way to clients: the application's, and the door's own.

use std::time::SystemTime;

use super::connection::{Connection, State};
use super::{Door, DoorEvent};
use crate::proto::http::{Refusal, Reply, Request, RequestReader, Response, encode_path};
use crate::server::http::RequestId;

impl Door {
    /// Queues the application's response.
    pub(super) fn send_response(&mut self, id: RequestId, response: &Response) {
        let Some(index) = self.requests.remove(&id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let State::Waiting { mut reply, .. } = connection.state {
            reply.keep_alive &= !connection.has_ended;
            answer(connection, response, reply);
            self.list(index);
        }
    }

    /// Tells the application that the request of a connection needs no answer any more, if it has one.
    pub(super) fn give_up(&mut self, index: usize) {
        if let Some(connection) = self.connections.get(index)
            && let State::Waiting { id, .. } = connection.state
            && self.requests.remove(&id).is_some()
        {
            self.events.push_back(DoorEvent::Gone(id));
        }
    }

    /// Answers bytes that are not a request, and ends the connection.
    pub(super) fn refuse(&mut self, index: usize, refusal: &Refusal) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.reader = RequestReader::new(connection.reader.limits());
        }
        self.refuse_but_stay(index, refusal, Reply::LAST);
    }

    /// Answers a request that cannot be served now.
    pub(super) fn refuse_but_stay(&mut self, index: usize, refusal: &Refusal, reply: Reply) {
        let counter = match refusal.status {
            408 => &mut self.stats.timed_out,
            413 => &mut self.stats.bodies_too_large,
            431 => &mut self.stats.heads_too_large,
            503 => &mut self.stats.overloaded,
            504 => &mut self.stats.unanswered,
            _ => &mut self.stats.refused_requests,
        };
        *counter += 1;
        if let Some(connection) = self.connections.get_mut(index) {
            answer(connection, &refusal_response(refusal), reply);
        }
    }

    /// Tells a client that speaks plain HTTP where TLS is expected where to go instead.
    pub(super) fn say_https(&mut self, index: usize, request: &Request) {
        self.stats.refused_requests += 1;
        let text = "this port speaks TLS: use https\n";
        let response = match request.header("host") {
            Some(host) if matches!(request.method.as_str(), "GET" | "HEAD") => {
                let path = encode_path(&request.path);
                let question = if request.query.is_empty() { "" } else { "?" };
                let location = format!("https://{host}{path}{question}{}", request.query);
                Response::new(308).header("Location", location)
            }
            _ => Response::new(400),
        };
        let response = response.body("text/plain; charset=utf-8", text);
        let is_head = request.method == "HEAD";
        let reply = Reply {
            is_head,
            ..Reply::LAST
        };
        if let Some(connection) = self.connections.get_mut(index) {
            answer(connection, &response, reply);
        }
    }
}

fn answer(connection: &mut Connection, response: &Response, reply: Reply) {
    connection.wire.send_all(encode(response, reply));
    let keep_alive = reply.keep_alive;
    connection.state = State::Writing { keep_alive };
}

/// Returns the response as it is sent, with the present time as its `Date`.
pub(super) fn encode(response: &Response, reply: Reply) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    response.encode(reply, Some(&date))
}

/// Returns the response to a request that the door refuses itself.
pub(super) fn refusal_response(refusal: &Refusal) -> Response {
    let response = refusal
        .response()
        // It tells nothing of the application, and pages of another origin have to be able to see what is wrong.
        .header("Access-Control-Allow-Origin", "*")
        .header("Access-Control-Expose-Headers", "Retry-After");
    match refusal.status {
        429 | 503 => response.header("Retry-After", "2"),
        _ => response,
    }
}
