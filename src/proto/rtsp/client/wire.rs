//! The connection: requests that wait for their answers, and the queue of outputs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::rtsp::config::RtspLimits;
use crate::proto::rtsp::contract::{Direction, Output, RtspEvent};
use crate::proto::rtsp::message::{self, Reader};
use crate::proto::rtsp::secret::redacted;

/// Keep-alives whose answers are expected, at most.
const MAX_KEEPALIVES: usize = 2;

/// Purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Options,
    Describe,
    /// SETUP of the n-th stream of the session.
    Setup(usize),
    Play {
        with_range: bool,
    },
    Keepalive,
    Teardown,
}

impl Purpose {
    pub fn method(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Setup(_) => "SETUP",
            Self::Play { .. } => "PLAY",
            Self::Keepalive => "keep-alive",
            Self::Teardown => "TEARDOWN",
        }
    }
}

/// A request that can be repeated with other credentials.
#[derive(Clone)]
pub(super) struct Request {
    pub purpose: Purpose,
    pub method: &'static str,
    pub uri: String,
    pub fields: Vec<(&'static str, String)>,
}

/// A request whose answer is awaited.
struct Pending {
    request: Request,
    cseq: u32,
    deadline: Instant,
}

/// One connection to the camera.
pub(super) struct Wire {
    /// It was asked for, and has neither failed nor ended.
    pub is_open: bool,
    /// Its bytes make sense.
    pub is_readable: bool,
    /// Method of keep-alives.
    pub keepalive: &'static str,
    /// The latest keep-alive repeats a refused one.
    pub is_second_keepalive: bool,
    /// Our address and the camera's.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    pub reader: Reader,
    cseq: u32,
    pending: Option<Pending>,
    /// Sequence numbers and methods of keep-alives.
    keepalives: VecDeque<(u32, &'static str)>,
    /// An answer is no longer awaited, but may arrive.
    has_abandoned: bool,
}

impl Wire {
    /// A connection that was asked for.
    pub fn new(limits: &RtspLimits) -> Self {
        Self {
            is_open: true,
            is_readable: true,
            keepalive: "OPTIONS",
            is_second_keepalive: false,
            addresses: None,
            reader: Reader::new(limits.clone()),
            cseq: 0,
            pending: None,
            keepalives: VecDeque::new(),
            has_abandoned: false,
        }
    }

    /// No connection.
    pub fn closed(limits: &RtspLimits) -> Self {
        Self {
            is_open: false,
            ..Self::new(limits)
        }
    }

    pub fn is_connected(&self) -> bool {
        self.is_open && self.addresses.is_some()
    }

    /// Takes the next sequence number.
    pub fn next_cseq(&mut self) -> u32 {
        self.cseq = self.cseq.wrapping_add(1);
        self.cseq
    }

    /// Awaits the answer to a request.
    pub fn expect(&mut self, request: Request, cseq: u32, deadline: Instant) {
        self.has_abandoned |= self.pending.is_some();
        self.pending = Some(Pending {
            request,
            cseq,
            deadline,
        });
    }

    /// Remembers a keep-alive. Returns `true` if too many were not answered.
    pub fn expect_keepalive(&mut self, cseq: u32, method: &'static str) -> bool {
        self.keepalives.push_back((cseq, method));
        let is_over = self.keepalives.len() > MAX_KEEPALIVES;
        if is_over {
            self.keepalives.pop_front();
        }
        is_over
    }

    /// Returns the method of the keep-alive with this number, which is forgotten, along with older ones.
    pub fn answered_keepalive(&mut self, cseq: Option<u32>) -> Option<&'static str> {
        let at = self.keepalives.iter().position(|k| Some(k.0) == cseq)?;
        let (_, method) = self.keepalives[at];
        self.keepalives.drain(..=at);
        Some(method)
    }

    /// Returns the request that a response answers. A wrong or missing number is tolerated if there can be no doubt.
    pub fn answered(&mut self, cseq: Option<u32>) -> Option<(Request, bool)> {
        let pending = self.pending.as_ref()?;
        let is_exact = cseq == Some(pending.cseq);
        // Numbers of earlier requests are late or repeated answers to these.
        let is_earlier = cseq.is_some_and(|cseq| (1..pending.cseq).contains(&cseq));
        let is_unambiguous = self.keepalives.is_empty() && !self.has_abandoned && !is_earlier;
        if !is_exact && !is_unambiguous {
            return None;
        }
        self.pending.take().map(|p| (p.request, is_exact))
    }

    /// Returns `true` if the answer to SETUP is awaited; no longer than until then.
    pub fn hurry_setup(&mut self, deadline: Instant) -> bool {
        let is_setup = |p: &&mut Pending| matches!(p.request.purpose, Purpose::Setup(_));
        let pending = self.pending.as_mut().filter(is_setup);
        let is_awaited = pending.is_some();
        if let Some(pending) = pending {
            pending.deadline = pending.deadline.min(deadline);
        }
        is_awaited
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(|p| p.deadline)
    }

    /// Returns the method of the request whose time is over. It is no longer awaited.
    pub fn overdue(&mut self, now: Instant) -> Option<&'static str> {
        let pending = self.pending.take_if(|p| p.deadline <= now)?;
        self.has_abandoned = true;
        Some(pending.request.method)
    }
}

/// Outputs that wait to be taken.
pub(super) struct Outbox {
    queue: VecDeque<Output>,
    limit: usize,
    is_traced: bool,
    dropped: u64,
}

impl Outbox {
    pub fn new(limit: usize, is_traced: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            limit,
            is_traced,
            dropped: 0,
        }
    }

    pub fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub fn extend(&mut self, outputs: impl IntoIterator<Item = Output>) {
        self.queue.extend(outputs);
    }

    /// Queues media, unless the queue is full.
    pub fn push_media(&mut self, event: RtspEvent) {
        match self.queue.len() < self.limit {
            true => self.push(Output::Event(event)),
            false => self.dropped += 1,
        }
    }

    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Reports a message. `text` is made only if somebody wants to see it.
    pub fn trace(&mut self, direction: Direction, text: impl FnOnce() -> String) {
        if self.is_traced {
            let shown = hide_authorization(&redacted(&text()));
            self.push(Output::Event(RtspEvent::Trace(direction, shown)));
        }
    }

    /// Sends a message to the camera.
    pub fn send(&mut self, bytes: Vec<u8>) {
        self.trace(Direction::Sent, || {
            String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
        });
        self.push(Output::Send(bytes));
    }
}

/// Leaves only the kind of authentication of `Authorization`, in whatever message it stands.
fn hide_authorization(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.lines() {
        match line.split_once(':') {
            Some((name, value)) if name.trim().to_ascii_lowercase().ends_with("authorization") => {
                let kind = value.split_whitespace().next().unwrap_or_default();
                shown.push_str(&format!("{name}: {kind} ***"));
            }
            _ => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

/// Adds to a time; the far future if there is no such time.
pub(super) fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration)
        .or_else(|| now.checked_add(Duration::from_secs(86_400)))
        .unwrap_or(now)
}

impl super::RtspClient {
    /// Sends a request with what all of them need, and awaits its answer.
    pub(super) fn ask(&mut self, request: Request, limit: Duration, now: Instant) {
        let cseq = self.transmit(&request);
        self.wire.expect(request, cseq, after(now, limit));
    }

    /// Sends a request; returns its sequence number.
    pub(super) fn transmit(&mut self, request: &Request) -> u32 {
        let cseq = self.wire.next_cseq();
        let mut fields = vec![("User-Agent", self.config.user_agent.clone())];
        let authorization = self.auth.authorization(request.method, &request.uri);
        fields.extend(authorization.map(|value| ("Authorization", value)));
        fields.extend(request.fields.iter().cloned());
        let bytes = message::request(request.method, &request.uri, cseq, &fields);
        self.out.send(bytes);
        cseq
    }
}
