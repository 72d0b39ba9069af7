//! Requests of a WHIP client, one at a time, on a thread of their own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::config::WhipClientConfig;
use super::error::WhipError;
use super::link;
use super::sdpfrag::{self, SdpFragment};
use super::url::Url;
use crate::proto::ice::IceServer;
use crate::signaling::agent::never_connected;
use crate::signaling::http::Wake;

/// Maximum number of bytes read from a response: an answer, or an error text.
const MAX_BODY: u64 = 256 * 1024;

/// Maximum length of an error text that is kept, in characters.
const MAX_REASON: usize = 300;

/// A request for the thread.
#[derive(Debug)]
pub(super) enum Job {
    Create { offer: String },
    Trickle(SdpFragment),
    Restart(SdpFragment),
    Delete,
}

/// Result of a request.
#[derive(Debug)]
pub(super) enum Done {
    Created(Result<Created, WhipError>),
    Trickled(Result<(), WhipError>),
    Restarted(Result<SdpFragment, WhipError>),
    Deleted(Result<(), WhipError>),
}

/// A session created by the server.
#[derive(Debug)]
pub(super) struct Created {
    pub answer: String,
    pub session: Option<Url>,
    pub ice_servers: Vec<IceServer>,
}

pub(super) struct Worker {
    pub agent: ureq::Agent,
    pub config: WhipClientConfig,
    pub endpoint: Url,
    pub jobs: Receiver<Job>,
    pub done: SyncSender<Done>,
    /// Disconnected when the client is dropped.
    pub client_gone: Receiver<()>,
    pub wake: Wake,
    pub session: Option<Url>,
    pub tag: Option<String>,
}

/// A response with its body.
struct Answered {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns `Retry-After` in seconds; the date form is ignored.
    fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(3600)))
    }

    fn refusal(&self, url: &Url) -> WhipError {
        // Prefers problem details (RFC 9457); pages of proxies are shortened.
        let detail = serde_json::from_str::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        let reason = detail.unwrap_or_else(|| self.body.trim().to_owned());
        let reason = reason.chars().filter(|c| !c.is_control());
        WhipError::Refused {
            url: url.to_string(),
            status: self.status,
            reason: reason.take(MAX_REASON).collect(),
        }
    }
}

impl Worker {
    pub fn run(mut self) {
        while let Ok(job) = self.jobs.recv() {
            let is_last = matches!(job, Job::Delete);
            let done = match job {
                Job::Create { offer } => match self.create(&offer) {
                    Some(created) => Done::Created(created),
                    None => return,
                },
                Job::Trickle(fragment) => Done::Trickled(self.trickle(&fragment)),
                Job::Restart(fragment) => Done::Restarted(self.restart(&fragment)),
                Job::Delete => Done::Deleted(self.delete()),
            };
            if self.done.send(done).is_err() {
                return;
            }
            (self.wake)();
            if is_last {
                return;
            }
        }
    }

    /// Posts the offer until the server is up and has room. Returns `None` if the client was dropped.
    fn create(&mut self, offer: &str) -> Option<Result<Created, WhipError>> {
        let start = Instant::now();
        let mut pause = self.config.first_pause;
        loop {
            if let Err(TryRecvError::Disconnected) = self.client_gone.try_recv() {
                return None;
            }
            let (error, asked) = match self.post(offer) {
                Ok(created) => return Some(Ok(created)),
                Err((error, asked)) => (error, asked),
            };
            let wait = asked.unwrap_or(pause).max(pause);
            let may_wait = start.elapsed() + wait <= self.config.give_up_after;
            if !error.is_temporary() || !may_wait {
                return Some(Err(error));
            }
            log::info!("{error}; trying again in {:.1} s", wait.as_secs_f32());
            if let Err(RecvTimeoutError::Disconnected) = self.client_gone.recv_timeout(wait) {
                return None;
            }
            pause = (pause * 2).min(self.config.longest_pause);
        }
    }

    /// Posts the offer. An error comes with the delay that the server requested.
    fn post(&mut self, offer: &str) -> Result<Created, (WhipError, Option<Duration>)> {
        let mut url = self.endpoint.clone();
        for _ in 0..=self.config.max_redirects {
            let headers = [
                ("Content-Type", "application/sdp"),
                ("Accept", "application/sdp"),
            ];
            let answered = self
                .ask("POST", &url, &headers, Some(offer))
                .map_err(|e| (e, None))?;
            match answered.status {
                201 => return self.created(&url, &answered).map_err(|e| (e, None)),
                // Other redirections would turn it into a GET (RFC 9725, section 4.5).
                307 | 308 => {
                    url = self
                        .target(&url, answered.header("location"))
                        .map_err(|e| (e, None))?;
                    log::info!("sent on to {}", url.origin());
                }
                _ => return Err((answered.refusal(&url), answered.retry_after())),
            }
        }
        let error = WhipError::Redirects {
            url: url.to_string(),
            limit: self.config.max_redirects,
        };
        Err((error, None))
    }

    fn created(&mut self, url: &Url, answered: &Answered) -> Result<Created, WhipError> {
        // Without a location the session can neither be ended nor restarted, but media may flow.
        self.session = match answered.header("location") {
            Some(location) => Some(self.target(url, Some(location))?),
            None => {
                log::warn!("{url} names no session (Location); it cannot be ended properly");
                None
            }
        };
        self.tag = answered.header("etag").map(str::to_owned);
        let links = answered.headers.get_all("link").iter();
        let ice_servers = link::ice_servers(links.filter_map(|value| value.to_str().ok()));
        Ok(Created {
            answer: answered.body.clone(),
            session: self.session.clone(),
            ice_servers,
        })
    }

    /// Resolves a `Location`, if its origin is allowed.
    fn target(&self, url: &Url, location: Option<&str>) -> Result<Url, WhipError> {
        let bad = |why: String| WhipError::BadReply {
            url: url.to_string(),
            why,
        };
        let location =
            location.ok_or_else(|| bad("it sends us on and does not say where".into()))?;
        let target = url
            .join(location)
            .map_err(|e| bad(format!("Location: {e}")))?;
        let own = self.endpoint.origin();
        let allowed = &self.config.other_origins;
        let origin = target.origin();
        match origin == own || allowed.iter().any(|a| a.trim_end_matches('/') == origin) {
            true => Ok(target),
            false => Err(WhipError::OtherOrigin { own, origin }),
        }
    }

    fn trickle(&mut self, fragment: &SdpFragment) -> Result<(), WhipError> {
        let tag = self.tag.clone();
        let (url, answered) = self.patch(fragment, tag.as_deref())?;
        match answered.status {
            200..=299 => Ok(()),
            _ => Err(answered.refusal(&url)),
        }
    }

    fn restart(&mut self, fragment: &SdpFragment) -> Result<SdpFragment, WhipError> {
        let (url, answered) = self.patch(fragment, Some("*"))?;
        if answered.status != 200 {
            return Err(match answered.status {
                200..=299 => WhipError::BadReply {
                    url: url.to_string(),
                    why: format!(
                        "status {} to an ICE restart, 200 is expected",
                        answered.status
                    ),
                },
                _ => answered.refusal(&url),
            });
        }
        self.tag = answered.header("etag").map(str::to_owned);
        let bad = |why| WhipError::BadReply {
            url: url.to_string(),
            why,
        };
        let theirs =
            SdpFragment::parse(answered.body.as_bytes()).map_err(|e| bad(e.to_string()))?;
        match theirs.ufrag {
            Some(_) => Ok(theirs),
            None => Err(bad("no a=ice-ufrag in the answer to an ICE restart".into())),
        }
    }

    fn patch(
        &self,
        fragment: &SdpFragment,
        tag: Option<&str>,
    ) -> Result<(Url, Answered), WhipError> {
        let Some(url) = self.session.clone() else {
            return Err(WhipError::NoSession);
        };
        let mut headers = vec![("Content-Type", sdpfrag::MEDIA_TYPE)];
        headers.extend(tag.map(|tag| ("If-Match", tag)));
        let answered = self.ask("PATCH", &url, &headers, Some(&fragment.to_text()))?;
        Ok((url, answered))
    }

    fn delete(&mut self) -> Result<(), WhipError> {
        let Some(url) = self.session.take() else {
            return Ok(());
        };
        let answered = self.ask("DELETE", &url, &[], None)?;
        match answered.status {
            // If the session is already gone, the goal is reached.
            200..=299 | 404 | 410 => Ok(()),
            _ => Err(answered.refusal(&url)),
        }
    }

    fn ask(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answered, WhipError> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(url.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.config.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some(body) => request.body(body.to_owned()).map(|r| self.agent.run(r)),
            None => request.body(()).map(|r| self.agent.run(r)),
        };
        let broken = |error: String, is_temporary| WhipError::Unreachable {
            url: url.to_string(),
            why: error,
            is_temporary,
        };
        let response = sent
            .map_err(|e| broken(e.to_string(), false))?
            .map_err(|e| broken(explain(&e), never_connected(&e)))?;
        let (parts, body) = response.into_parts();
        let body = body
            .into_with_config()
            .limit(MAX_BODY)
            .lossy_utf8(true)
            .read_to_string()
            .map_err(|e| broken(format!("the response cannot be read: {e}"), false))?;
        Ok(Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

fn explain(error: &ureq::Error) -> String {
    let text = error.to_string();
    match error {
        ureq::Error::HostNotFound => "the host name is not known".to_owned(),
        _ if text.contains("UnknownIssuer") => format!(
            "{text}: its certificate is not of an authority known here; if it is your own, name it as one"
        ),
        _ => text,
    }
}
