//! An HTTP server for `POST /sdp` and `POST /candidate`; its threads only transfer messages, which the application
//! handles.
//!
//! ```text
//!  client ──▶ gate: limits, deadlines ──▶ tiny_http ──▶ SignalRequest ──▶ bounded queue ──▶ application
//!         ◀── one thread a connection ◀── tiny_http ◀──────────── verdict: accept, answer, reject
//! ```
//!
//! tiny_http parses HTTP but has no limits on the head, on the time a client takes, or on the number of its threads,
//! and it allocates what a `Content-Length` declares. A gate in front of it therefore reads each request whole, within
//! limits and a deadline, and passes only complete ones to tiny_http, which listens on a port of its own on the
//! loopback interface.
//!
//! Responses other than the application's verdict:
//!
//! | status | when |
//! |---|---|
//! | 400 | not HTTP, not JSON, no candidate; the text says where |
//! | 403 | the request comes from a web page (it has an `Origin`) |
//! | 404, 405 | another path; another method than `POST` |
//! | 408 | the request was not complete within [`HttpConfig::request_deadline`] |
//! | 411 | no `Content-Length` |
//! | 413, 431 | the body is over [`MAX_BODY`]; the head over 8 KiB or 64 lines |
//! | 422 | JSON, but no session description |
//! | 500 | the application dropped the request without a verdict |
//! | 503 | [`HttpConfig::max_waiting`] requests wait already: try again after a second |
//! | 504 | the application gave no verdict within [`HttpConfig::verdict_deadline`] |
//!
//! Each connection carries one request and is closed after the response.

mod gate;
mod inner;

use std::fmt;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::CONTENT_TYPE;
use super::address::Address;
pub use crate::proto::signal::MAX_BODY;
use crate::proto::signal::{SessionDescription, SignalMessage};
use gate::Gate;
use inner::{Replies, Response};

/// Callback, called from one of the server's threads after a request was queued, to end the loop's wait.
pub type Wake = Box<dyn Fn() + Send>;

/// Limits of an [`HttpServer`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Maximum number of connections served at a time, each by a thread. Further ones wait in the system's backlog.
    /// Default: 64. At least 1.
    pub max_connections: usize,
    /// Maximum number of requests waiting for the application; further ones are refused with 503. Default: 32. At least
    /// 1.
    pub max_waiting: usize,
    /// Time limit for a client to send its request, and to read its response. Default: 10 s.
    pub request_deadline: Duration,
    /// Time limit for the application's verdict. Default: 10 s.
    pub verdict_deadline: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_waiting: 32,
            request_deadline: Duration::from_secs(10),
            verdict_deadline: Duration::from_secs(10),
        }
    }
}

impl HttpConfig {
    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets [`max_waiting`](Self::max_waiting).
    #[must_use]
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }

    /// Sets [`request_deadline`](Self::request_deadline).
    #[must_use]
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = deadline;
        self
    }

    /// Sets [`verdict_deadline`](Self::verdict_deadline).
    #[must_use]
    pub fn verdict_deadline(mut self, deadline: Duration) -> Self {
        self.verdict_deadline = deadline;
        self
    }
}

/// A listening signaling server. Dropping it closes the port; requests in progress still complete.
#[derive(Debug)]
pub struct HttpServer {
    requests: Receiver<SignalRequest>,
    verdict_deadline: Duration,
    gate: Gate,
}

impl HttpServer {
    /// Listens on `address` and starts the server's threads. `wake` is called whenever a request is queued.
    ///
    /// # Errors
    /// Returns an error if the address cannot be listened on or a thread cannot be started.
    pub fn bind(address: &Address, config: &HttpConfig, wake: Wake) -> io::Result<Self> {
        let (queue, requests) = sync_channel(config.max_waiting.max(1));
        let gate = Gate::start(address.listen()?, config, inner::Deliver { queue, wake })?;
        Ok(Self {
            requests,
            verdict_deadline: config.verdict_deadline,
            gate,
        })
    }

    /// Returns the listening address, with the actual port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.gate.local_addr()
    }

    /// Returns the next request, if any. Never blocks. A request that waited longer than
    /// [`HttpConfig::verdict_deadline`] has been answered with 504 and is skipped.
    #[must_use]
    pub fn next_request(&self) -> Option<SignalRequest> {
        loop {
            let request = self.requests.try_recv().ok()?;
            if request.arrived.elapsed() < self.verdict_deadline {
                return Some(request);
            }
            log::warn!(
                "a request of {} waited too long and is dropped",
                request.client
            );
        }
    }

    /// Waits for the next request, for programs without a loop. Returns `None` after `timeout`.
    #[must_use]
    pub fn wait_for_request(&self, timeout: Duration) -> Option<SignalRequest> {
        let request = self.requests.recv_timeout(timeout).ok()?;
        if request.arrived.elapsed() < self.verdict_deadline {
            Some(request)
        } else {
            None
        }
    }
}

/// A valid message from a client that waits for a verdict: one of [`accept`](Self::accept), [`answer`](Self::answer)
/// and [`reject`](Self::reject), none of which blocks.
pub struct SignalRequest {
    message: SignalMessage,
    client: SocketAddr,
    arrived: Instant,
    http: Option<tiny_http::Request>,
    replies: Replies,
}

impl SignalRequest {
    /// Returns the message: on `/sdp` a description, on `/candidate` a candidate or the end of candidates.
    #[must_use]
    pub fn message(&self) -> &SignalMessage {
        &self.message
    }

    /// Returns the client's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Responds 200 with an empty body: the message was accepted.
    pub fn accept(mut self) {
        self.reply(Response::from_data(Vec::new()));
    }

    /// Responds 200 with a description: the older way to send an answer, in the response to the offer.
    pub fn answer(mut self, description: &SessionDescription) {
        let response = Response::from_data(description.to_json());
        self.reply(inner::with_header(response, "Content-Type", CONTENT_TYPE));
    }

    /// Refuses the message; the text says what was wrong and what to do.
    pub fn reject(mut self, status: Status, message: impl Into<String>) {
        self.reply(inner::text(status.code(), &message.into()));
    }

    fn reply(&mut self, response: Response<Cursor<Vec<u8>>>) {
        if let Some(http) = self.http.take() {
            self.replies.send(http, response);
        }
    }
}

impl Drop for SignalRequest {
    fn drop(&mut self) {
        self.reply(inner::text(
            500,
            "the application gave no verdict on this request",
        ));
    }
}

impl fmt::Debug for SignalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalRequest")
            .field("message", &self.message)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Reason why an application refuses a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// 400: the message is invalid, for example its SDP does not parse.
    BadRequest,
    /// 404: the message concerns nothing here, for example a candidate before any offer.
    NotFound,
    /// 409: not possible in the current state, for example an offer while a session exists.
    Conflict,
    /// 410: the session it concerns is over.
    Gone,
    /// 422: valid, but not possible, for example an SDP without a data channel.
    Unprocessable,
    /// 500: this side failed.
    Internal,
    /// 503: overloaded; the sender may retry.
    Unavailable,
}

impl Status {
    /// Returns the status code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::Unprocessable => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

#[cfg(test)]
mod tests;
