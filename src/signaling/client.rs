//! Posting of messages to the remote side: in order, with retries, without blocking the loop.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::CONTENT_TYPE;
use super::address::Address;
use super::agent::{builder, never_connected};
use super::http::Wake;
use crate::proto::signal::{
    IceCandidateInit, MAX_BODY, SdpType, SessionDescription, SignalError, SignalMessage,
};

/// Maximum length of a refusal's text that is kept, in characters.
const MAX_REASON: usize = 300;

/// Configuration of a [`Poster`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PosterConfig {
    /// Maximum number of queued posts; beyond it [`PostError::QueueFull`] is returned. Default: 256. At least 1.
    pub max_waiting: usize,
    /// Pause after the first failed attempt; doubles with each further one. Default: 50 ms.
    pub first_pause: Duration,
    /// Maximum pause between attempts. Default: 2 s.
    pub longest_pause: Duration,
    /// Time for which attempts are made while the remote side is not up. Default: 60 s.
    pub give_up_after: Duration,
    /// Time limit of one exchange, including the connection. Default: 15 s, longer than the remote application may take
    /// for its verdict ([`super::http::HttpConfig::verdict_deadline`]).
    pub exchange_deadline: Duration,
}

impl Default for PosterConfig {
    fn default() -> Self {
        Self {
            max_waiting: 256,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            give_up_after: Duration::from_secs(60),
            exchange_deadline: Duration::from_secs(15),
        }
    }
}

impl PosterConfig {
    /// Sets [`max_waiting`](Self::max_waiting).
    #[must_use]
    pub fn max_waiting(mut self, posts: usize) -> Self {
        self.max_waiting = posts;
        self
    }

    /// Sets [`first_pause`](Self::first_pause).
    #[must_use]
    pub fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// Sets [`longest_pause`](Self::longest_pause).
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// Sets [`give_up_after`](Self::give_up_after).
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// Sets [`exchange_deadline`](Self::exchange_deadline).
    #[must_use]
    pub fn exchange_deadline(mut self, time: Duration) -> Self {
        self.exchange_deadline = time;
        self
    }
}

/// Posts messages to one destination from a thread of its own, one at a time and in order: a candidate never overtakes
/// its description.
///
/// While the remote side is not up (connection refused, name or network missing, or status 503), a post is retried with
/// growing pauses. A request that may have reached the application is never repeated, because a duplicate offer is not
/// harmless. Proxies from the environment are not used.
///
/// Dropping it ends the thread after the current exchange; queued posts are not sent.
#[derive(Debug)]
pub struct Poster {
    jobs: SyncSender<Job>,
    results: Receiver<Posted>,
    destination: Address,
    max_waiting: usize,
    /// Dropped with the poster, which interrupts the thread's pause.
    _alive: std::sync::mpsc::Sender<()>,
}

/// Kind of a posted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostKind {
    /// A description, to `/sdp`.
    Description(SdpType),
    /// A candidate, to `/candidate`.
    Candidate,
}

/// Result of a post.
#[derive(Debug)]
pub struct Posted {
    /// The kind of message.
    pub kind: PostKind,
    /// `Ok` if the remote side accepted the message; contains a description if the response carried one (the answer to
    /// an offer, in pion-to-pion's older form).
    pub outcome: Result<Option<SessionDescription>, PostError>,
}

impl Poster {
    /// Starts the thread. It calls `wake` whenever a result is available.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub fn start(destination: Address, config: PosterConfig, wake: Wake) -> io::Result<Self> {
        let max_waiting = config.max_waiting.max(1);
        let (jobs, queue) = sync_channel(max_waiting);
        let (sender, results) = sync_channel(max_waiting);
        let (alive, poster_gone) = channel();
        let worker = Worker {
            agent: builder(config.exchange_deadline).build().into(),
            destination: destination.clone(),
            config,
            queue,
            results: sender,
            poster_gone,
            wake,
        };
        thread::Builder::new()
            .name("signaling-post".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            jobs,
            results,
            destination,
            max_waiting,
            _alive: alive,
        })
    }

    /// Returns the destination.
    #[must_use]
    pub fn destination(&self) -> &Address {
        &self.destination
    }

    /// Queues a description for `/sdp`. Never blocks.
    ///
    /// # Errors
    /// Returns [`PostError::QueueFull`], or [`PostError::Stopped`] if the thread has ended.
    pub fn post_description(&self, description: &SessionDescription) -> Result<(), PostError> {
        self.post(Job {
            kind: PostKind::Description(description.kind),
            path: "/sdp",
            body: description.to_json(),
        })
    }

    /// Queues a candidate for `/candidate` as a bare line. Never blocks.
    ///
    /// pion's example panics on a candidate that arrives before its remote description is set: post none before the
    /// remote description was received, or the post of the local one was accepted.
    ///
    /// # Errors
    /// The same as [`post_description`](Self::post_description).
    pub fn post_candidate(&self, candidate: &IceCandidateInit) -> Result<(), PostError> {
        let body = candidate.candidate.clone();
        self.post(Job {
            kind: PostKind::Candidate,
            path: "/candidate",
            body,
        })
    }

    /// Returns the next result, if any. Never blocks. Results are in the order of the posts; the thread waits while
    /// [`PosterConfig::max_waiting`] of them are not taken.
    #[must_use]
    pub fn next_result(&self) -> Option<Posted> {
        self.results.try_recv().ok()
    }

    /// Waits for the next result, for programs without a loop. Returns `None` after `timeout`.
    #[must_use]
    pub fn wait_for_result(&self, timeout: Duration) -> Option<Posted> {
        self.results.recv_timeout(timeout).ok()
    }

    fn post(&self, job: Job) -> Result<(), PostError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PostError::QueueFull {
                limit: self.max_waiting,
            },
            TrySendError::Disconnected(_) => PostError::Stopped,
        })
    }
}

/// Reason why a message was not delivered.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostError {
    /// The queue of posts is full.
    QueueFull {
        /// The limit, [`PosterConfig::max_waiting`].
        limit: usize,
    },
    /// The posting thread has ended.
    Stopped,
    /// The remote side was not up during all attempts.
    NotUp {
        /// The URL.
        url: String,
        /// The time spent on attempts.
        tried: Duration,
        /// The number of attempts.
        attempts: u32,
        /// The error of the last attempt.
        last: String,
    },
    /// The remote side refused the message.
    Refused {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The response's text, shortened.
        reason: String,
    },
    /// The exchange was interrupted. The message may or may not have been received.
    Broken {
        /// The URL.
        url: String,
        /// Description of the failure.
        reason: String,
    },
    /// The remote side accepted the message, but its response is not a valid description.
    BadReply {
        /// The URL.
        url: String,
        /// The error in the response.
        error: SignalError,
    },
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { limit } => {
                write!(
                    f,
                    "{limit} posts wait already: the other end takes none or is slow"
                )
            }
            Self::Stopped => write!(f, "the posting thread has ended"),
            Self::NotUp {
                url,
                tried,
                attempts,
                last,
            } => write!(
                f,
                "nobody answers at {url}: gave up after {attempts} attempts in {:.1} s, the last: \
                 {last} (is the other end started, and the address right?)",
                tried.as_secs_f32()
            ),
            Self::Refused {
                url,
                status,
                reason,
            } => {
                write!(
                    f,
                    "{url} refused the message with status {status}: {reason}"
                )
            }
            Self::Broken { url, reason } => {
                write!(f, "the exchange with {url} broke off: {reason}")
            }
            Self::BadReply { url, error } => {
                write!(
                    f,
                    "the response of {url} is not a session description: {error}"
                )
            }
        }
    }
}

impl std::error::Error for PostError {}

struct Job {
    kind: PostKind,
    path: &'static str,
    body: String,
}

struct Worker {
    agent: ureq::Agent,
    destination: Address,
    config: PosterConfig,
    queue: Receiver<Job>,
    results: SyncSender<Posted>,
    poster_gone: Receiver<()>,
    wake: Wake,
}

/// Result of one attempt.
enum Attempt {
    Done(Result<Option<SessionDescription>, PostError>),
    /// The message certainly did not reach an application; retry.
    Again {
        why: String,
        refused: Option<PostError>,
    },
}

impl Worker {
    fn run(self) {
        while let Ok(job) = self.queue.recv() {
            let Some(outcome) = self.post(&job) else {
                return;
            };
            if let Err(error) = &outcome {
                log::debug!("{error}");
            }
            if self
                .results
                .send(Posted {
                    kind: job.kind,
                    outcome,
                })
                .is_err()
            {
                return;
            }
            (self.wake)();
        }
    }

    /// Posts a message with retries. Returns `None` if the poster was dropped.
    fn post(&self, job: &Job) -> Option<Result<Option<SessionDescription>, PostError>> {
        let url = format!("http://{}{}", self.destination.authority(), job.path);
        let start = Instant::now();
        let mut pause = self.config.first_pause;
        for attempts in 1.. {
            if let Err(TryRecvError::Disconnected) = self.poster_gone.try_recv() {
                return None;
            }
            let (why, refused) = match self.attempt(&url, job) {
                Attempt::Done(outcome) => return Some(outcome),
                Attempt::Again { why, refused } => (why, refused),
            };
            let tried = start.elapsed();
            if tried + pause > self.config.give_up_after {
                let not_up = PostError::NotUp {
                    url,
                    tried,
                    attempts,
                    last: why,
                };
                return Some(Err(refused.unwrap_or(not_up)));
            }
            if attempts == 1 {
                log::info!("{url}: {why}; trying again until it is up");
            }
            if let Err(RecvTimeoutError::Disconnected) = self.poster_gone.recv_timeout(pause) {
                return None;
            }
            pause = (pause * 2).min(self.config.longest_pause);
        }
        None
    }

    fn attempt(&self, url: &str, job: &Job) -> Attempt {
        // Resolved beforehand, because the HTTP client's error does not distinguish this case.
        if let Err(error) = self.destination.resolve() {
            return Attempt::Again {
                why: error.to_string(),
                refused: None,
            };
        }
        let sent = self
            .agent
            .post(url)
            .header("Content-Type", CONTENT_TYPE)
            .send(&job.body);
        let response = match sent {
            Ok(response) => response,
            Err(error) if never_connected(&error) => {
                return Attempt::Again {
                    why: error.to_string(),
                    refused: None,
                };
            }
            Err(error) => {
                let reason = error.to_string();
                return Attempt::Done(Err(PostError::Broken {
                    url: url.to_owned(),
                    reason,
                }));
            }
        };
        let status = response.status().as_u16();
        let read = response
            .into_body()
            .into_with_config()
            .limit(MAX_BODY as u64)
            .lossy_utf8(true)
            .read_to_string();
        match (status, read) {
            (200..=299, Ok(body)) => Attempt::Done(reply(url, &body)),
            (200..=299, Err(error)) => {
                let reason = format!("the response cannot be read: {error}");
                Attempt::Done(Err(PostError::Broken {
                    url: url.to_owned(),
                    reason,
                }))
            }
            (status, read) => {
                let reason: String = read
                    .unwrap_or_default()
                    .trim()
                    .chars()
                    .take(MAX_REASON)
                    .collect();
                let error = PostError::Refused {
                    url: url.to_owned(),
                    status,
                    reason,
                };
                match status {
                    503 => Attempt::Again {
                        why: error.to_string(),
                        refused: Some(error),
                    },
                    _ => Attempt::Done(Err(error)),
                }
            }
        }
    }
}

/// Interprets the body of a successful response. Only JSON is parsed: some servers return a friendly text.
fn reply(url: &str, body: &str) -> Result<Option<SessionDescription>, PostError> {
    if !body.trim_start().starts_with('{') {
        return Ok(None);
    }
    SignalMessage::parse_description(body.as_bytes())
        .map(Some)
        .map_err(|error| PostError::BadReply {
            url: url.to_owned(),
            error,
        })
}

#[cfg(test)]
mod tests;
