//! Settings of the client.

use std::time::Duration;

use super::contract::Transport;
use super::url::RtspUrl;

/// Settings of an `RtspClient`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RtspClientConfig {
    /// Address of the camera, with its credentials.
    pub url: RtspUrl,
    /// Transports in the order in which they are tried. Default: TCP, then UDP. An empty list means the default.
    pub transports: Vec<Transport>,
    /// `true` (default) to set up the camera's video: its first stream in a known format.
    pub video: bool,
    /// `true` (default) to set up the camera's audio: its first stream in a known format.
    pub audio: bool,
    /// `true` to ask for two-way audio (ONVIF backchannel). If the camera has none, the session goes on with its media, or
    /// fails if neither video nor audio is wanted. Default: `false`, because the request disturbs some cameras.
    pub backchannel: bool,
    /// Value of `User-Agent`. Some cameras refuse clients without one. Default: `looprtc/` and the version.
    pub user_agent: String,
    /// `true` to report messages as [`RtspEvent::Trace`](super::RtspEvent::Trace). Default: `false`.
    pub trace: bool,
    /// Time limits.
    pub timing: RtspTiming,
    /// Limits of sizes and counts.
    pub limits: RtspLimits,
    /// Seed for the random numbers of the session (client nonces, SSRCs), for repeatable runs. Default: `None`, the
    /// system's randomness.
    pub seed: Option<u64>,
}

impl RtspClientConfig {
    /// Creates settings with the defaults for this address.
    pub fn new(url: RtspUrl) -> Self {
        Self {
            url,
            transports: vec![Transport::Tcp, Transport::Udp],
            video: true,
            audio: true,
            backchannel: false,
            user_agent: concat!("looprtc/", env!("CARGO_PKG_VERSION")).to_owned(),
            trace: false,
            timing: RtspTiming::default(),
            limits: RtspLimits::default(),
            seed: None,
        }
    }

    crate::setters::setters! {
        transports: Vec<Transport>,
        video: bool,
        audio: bool,
        backchannel: bool,
        trace: bool,
        timing: RtspTiming,
        limits: RtspLimits,
        seed: Option<u64>,
    }

    /// Sets [`user_agent`](Self::user_agent).
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }
}

/// Time limits of an `RtspClient`. The time limit for connecting is the driver's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtspTiming {
    /// Time for the answer to each request but keep-alives, and for the opening of UDP sockets. Default: 10 s.
    pub answer: Duration,
    /// Time for the answer to TEARDOWN, and for that to SETUP if the session is to end. Default: 1 s.
    pub teardown: Duration,
    /// Time without media over TCP after which the session fails. Default: 5 s; before the first packet, 10 s.
    pub silence_tcp: Duration,
    /// Time without media over UDP after which the session fails. Default: 10 s.
    pub silence_udp: Duration,
    /// Time for the first datagram, after which another transport is tried. Default: 3 s.
    pub first_datagram: Duration,
    /// Longest interval between keep-alives; half of the session's timeout if that is shorter. Default: 25 s.
    pub keepalive: Duration,
    /// Interval between receiver reports over UDP. Default: 5 s.
    pub reports: Duration,
}

impl Default for RtspTiming {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            teardown: Duration::from_secs(1),
            silence_tcp: Duration::from_secs(5),
            silence_udp: Duration::from_secs(10),
            first_datagram: Duration::from_secs(3),
            keepalive: Duration::from_secs(25),
            reports: Duration::from_secs(5),
        }
    }
}

impl RtspTiming {
    crate::setters::setters! {
        answer: Duration,
        teardown: Duration,
        silence_tcp: Duration,
        silence_udp: Duration,
        first_datagram: Duration,
        keepalive: Duration,
        reports: Duration,
    }
}

/// Limits of an `RtspClient`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtspLimits {
    /// Maximum size of a message's head, in bytes. Default: 64 KiB.
    pub max_head: usize,
    /// Maximum size of a message's body, in bytes. Default: 256 KiB.
    pub max_body: usize,
    /// Maximum number of bytes skipped in search of the next message. Default: 128 KiB.
    pub max_skipped: usize,
    /// Maximum number of redirects in a session. Default: 5.
    pub max_redirects: u32,
    /// Maximum number of outputs that wait for `poll_output`; further packets are dropped
    /// and counted. Default: 16,384.
    pub max_outputs: usize,
}

impl Default for RtspLimits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_body: 256 * 1024,
            max_skipped: 128 * 1024,
            max_redirects: 5,
            max_outputs: 16_384,
        }
    }
}

impl RtspLimits {
    crate::setters::setters! {
        max_head: usize,
        max_body: usize,
        max_skipped: usize,
        max_redirects: u32,
        max_outputs: usize,
    }
}
