//! Responses: problem details (RFC 9457), and CORS headers (Fetch, section 3.2).

use std::time::Duration;

use super::config::Origins;
use super::host::Refusal;
use super::{Kind, WhipServer};
use crate::server::http::{Request, Response};

/// Media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";

/// Methods of an endpoint, and of a session.
pub(super) const ENDPOINT_METHODS: &str = "OPTIONS, POST";
pub(super) const SESSION_METHODS: &str = "DELETE, OPTIONS, PATCH";

/// Suggested retry delay if the time is unknown.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// CORS headers of a response.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    allow: Option<String>,
    vary: bool,
}

impl Cors {
    /// Returns the headers for this request, or an error if its page is not allowed.
    pub fn of(origins: &Origins, request: &Request) -> Result<Self, Response> {
        let Some(origin) = request.header("origin") else {
            let allow = (*origins == Origins::Any).then(|| "*".to_owned());
            return Ok(Self { allow, vary: false });
        };
        if !origins.permits(request) {
            let detail = format!(
                "pages of {origin} may not use this server; its owner can allow that origin"
            );
            let refused = Response::problem(403, "Origin not allowed", detail);
            return Err(refused.header("Vary", "Origin"));
        }
        let (allow, vary) = match origins {
            Origins::Any => ("*", false),
            _ => (origin, true),
        };
        Ok(Self {
            allow: Some(allow.to_owned()),
            vary,
        })
    }

    /// Adds the headers, once: called by [`respond`](WhipServer::respond).
    pub fn apply(&self, mut response: Response) -> Response {
        if let Some(allow) = &self.allow {
            response = response
                .header("Access-Control-Allow-Origin", allow)
                .header(
                    "Access-Control-Expose-Headers",
                    "Location, Link, ETag, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate",
                );
        }
        match self.vary {
            true => response.header("Vary", "Origin"),
            false => response,
        }
    }

    /// Responds to OPTIONS, preflight or not.
    pub fn options(&self, methods: &str, accept: (&str, &str)) -> Response {
        let mut response = Response::new(200)
            .header("Allow", methods)
            .header(accept.0, accept.1);
        if self.allow.is_some() {
            response = response
                .header("Access-Control-Allow-Methods", methods)
                .header(
                    "Access-Control-Allow-Headers",
                    "Authorization, Content-Type, If-Match",
                )
                .header("Access-Control-Max-Age", "86400");
        }
        response
    }
}

impl WhipServer {
    /// Returns an error if the request lacks the required token.
    pub(super) fn check_token(&self, kind: Kind, request: &Request) -> Result<(), Response> {
        let wanted = match kind {
            Kind::Publish => &self.config.publish_token,
            Kind::View => &self.config.view_token,
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let (challenge, detail) = match request.bearer() {
            Some(shown) if wanted.matches(shown) => return Ok(()),
            Some(_) => (
                "Bearer error=\"invalid_token\"",
                "the bearer token is not the right one",
            ),
            None => ("Bearer", "send the header Authorization: Bearer TOKEN"),
        };
        let refused = Response::problem(401, "Not authorized", detail);
        Err(refused.header("WWW-Authenticate", challenge))
    }
}

pub(super) fn method_not_allowed(method: &str, allowed: &str) -> Response {
    let detail = format!("{method:.20} is not for this resource; it takes {allowed}");
    Response::problem(405, "Method not allowed", detail).header("Allow", allowed)
}

pub(super) fn unsupported(wanted: &str, request: &Request, accept: &str) -> Response {
    let sent = request.content_type().unwrap_or_else(|| "none".into());
    let detail = format!("the body must be {wanted}, the Content-Type is {sent:.100}");
    Response::problem(415, "Wrong content type", detail).header(accept, wanted)
}

pub(super) fn retry_after(response: Response, wait: Duration) -> Response {
    // Whole seconds, at least one: a client that counts down from 0 would retry at once.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.header("Retry-After", seconds.max(1).to_string())
}

pub(super) fn overloaded(detail: &str) -> Response {
    retry_after(Response::problem(503, "Overloaded", detail), RETRY_AFTER)
}

pub(super) fn too_many(detail: &str, wait: Duration) -> Response {
    retry_after(Response::problem(429, "Too many", detail), wait)
}

pub(super) fn refused(name: &str, refusal: &Refusal) -> Response {
    let detail = format!("{name}: {refusal}");
    let problem = |status, title| Response::problem(status, title, &detail);
    match refusal {
        Refusal::Unknown => problem(404, "No such stream"),
        Refusal::NotPublishable => problem(403, "Not to be published"),
        // A silent publisher gives way after seconds.
        Refusal::Busy => retry_after(problem(409, "Already published"), RETRY_AFTER),
        Refusal::Talking => retry_after(problem(409, "Somebody is talking"), RETRY_AFTER),
        Refusal::NotLive { retry_after: wait } => retry_after(problem(409, "Not live"), *wait),
        Refusal::Full => retry_after(problem(503, "Too many viewers"), RETRY_AFTER),
        Refusal::Unsuitable(_) => problem(422, "Unsuitable offer"),
    }
}
