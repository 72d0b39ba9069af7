//! The client: one session with one camera.
//!
//! ```text
//!   Connecting ─► Asking (OPTIONS, DESCRIBE) ─► Preparing (SETUP of each stream, PLAY) ─► Playing ─► Ending ─► Ended
//!        ▲              redirect                     another transport                                 │
//!        └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod answers;
mod asking;
mod ending;
mod media;
mod playing;
mod preparing;
mod reception;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use self::session::Session;
use self::wire::{Outbox, Wire};
use super::auth::Authenticator;
use super::config::RtspClientConfig;
use super::contract::{Input, Output, RtspEvent, Transport};
use super::error::{Disconnected, RtspError};
use super::quirk::{Quirk, Quirks};
use super::url::RtspUrl;
use crate::proto::random::Random;

/// Time to wait for a camera that is busy with our own former connection, and how often.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSES: u32 = 3;

/// A session with a camera: connects, authenticates, sets streams up, plays them, keeps the session alive and ends it.
///
/// A sans-IO machine: pass it [`Input`]s with [`handle_input`](Self::handle_input), and after each of them take
/// [`Output`]s from [`poll_output`](Self::poll_output) until [`Output::Timeout`]. Faults are never returned: the last event
/// is [`RtspEvent::Ended`], with the reason. For another attempt, create another client.
///
/// Work and memory are linear in the input; [`RtspLimits`](super::RtspLimits) has the limits.
pub struct RtspClient {
    config: RtspClientConfig,
    /// Address in use; differs from the configured one after a redirect.
    url: RtspUrl,
    /// Index of the transport in use.
    transport: usize,
    state: State,
    wire: Wire,
    auth: Authenticator,
    out: Outbox,
    quirks: Quirks,
    /// Our SSRC in receiver reports.
    ssrc: u32,
    redirects: u32,
    /// Connections that the camera closed after it had asked for authentication.
    reconnects: u32,
    /// Times that the camera was busy with our own former connection.
    pauses: u32,
}

/// Steps of a session. Each owns what it needs.
enum State {
    /// A new connection will be made at this time.
    Pausing(Instant),
    /// The connection is being made; its time limit is the driver's.
    Connecting,
    /// OPTIONS and DESCRIBE.
    Asking,
    /// SETUP of each stream and PLAY.
    Preparing(Box<Session>),
    Playing(Box<Session>),
    /// TEARDOWN was sent, or will be once the answer to SETUP has named the session; then this happens. The session's sockets
    /// are still open.
    Ending(Box<Session>, After),
    Ended,
}

/// Next step after the end of a connection.
enum After {
    /// The session is over.
    End(Option<RtspError>),
    /// A new connection to the same address, after a pause.
    Reconnect(Duration),
    /// A new connection to another address.
    Redirect(Box<RtspUrl>),
}

impl fmt::Debug for RtspClient {
    /// Shows the state. Requests and the camera's URLs stay out: they may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Pausing(_) => "pausing",
            State::Connecting => "connecting",
            State::Asking => "asking",
            State::Preparing(_) => "preparing",
            State::Playing(_) => "playing",
            State::Ending(..) => "ending",
            State::Ended => "ended",
        };
        f.debug_struct("RtspClient")
            .field("url", &self.url)
            .field("state", &state)
            .field("transport", &self.transport())
            .field("quirks", &self.quirks)
            .finish_non_exhaustive()
    }
}

impl RtspClient {
    /// Creates a client. Its first output is [`Output::Connect`].
    pub fn new(mut config: RtspClientConfig) -> Self {
        if config.transports.is_empty() {
            config.transports = vec![Transport::Tcp, Transport::Udp];
        }
        let url = config.url.clone();
        let mut client = Self {
            transport: 0,
            state: State::Connecting,
            wire: Wire::new(&config.limits),
            auth: Authenticator::new(url.credentials().cloned(), config.seed),
            out: Outbox::new(config.limits.max_outputs, config.trace),
            quirks: Quirks::default(),
            // The upper half is as good as the lower one.
            ssrc: (Random::new(config.seed.map(|seed| !seed)).bits() >> 32) as u32,
            redirects: 0,
            reconnects: 0,
            pauses: 0,
            url,
            config,
        };
        client.connect();
        client
    }

    /// Handles an input. Take the outputs afterwards.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Connected { local, remote } => self.on_connected(local, remote, now),
            Input::Received(bytes) => self.on_received(bytes, now),
            Input::Closed(why) => self.on_closed(why, now),
            Input::UdpOpened {
                stream,
                rtp_port,
                rtcp_port,
            } => self.on_udp_opened(stream, (rtp_port, rtcp_port), now),
            Input::UdpFailed { reason, .. } => self.on_udp_failed(reason, now),
            Input::Datagram {
                stream,
                is_rtcp,
                source,
                contents,
            } => self.on_datagram(stream, is_rtcp, source, contents, now),
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// Returns the next output. [`Output::Timeout`] means that there are no more until the next input.
    pub fn poll_output(&mut self) -> Output {
        match self.out.pop() {
            Some(output) => output,
            None => Output::Timeout(self.deadline()),
        }
    }

    /// Ends the session: sends TEARDOWN, waits for its answer for [`RtspTiming::teardown`](super::RtspTiming::teardown) and
    /// closes the connection. If SETUP is not answered yet, its answer is waited for as long before. [`RtspEvent::Ended`] follows. Does nothing if the session is ending already.
    pub fn close(&mut self, now: Instant) {
        self.finish(After::End(None), now);
    }

    /// Returns how often each tolerance was needed.
    pub fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// Returns the transport in use.
    pub fn transport(&self) -> Transport {
        let transport = self.config.transports.get(self.transport);
        transport.copied().unwrap_or(Transport::Tcp)
    }

    /// Returns the number of packets dropped because outputs were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.out.dropped()
    }

    /// Returns `true` once [`RtspEvent::Ended`] was emitted.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn connect(&mut self) {
        self.wire = Wire::new(&self.config.limits);
        self.state = State::Connecting;
        self.out.push(Output::Connect {
            host: self.url.host().to_owned(),
            port: self.url.port(),
            tls: self.url.is_tls(),
        });
    }

    fn on_closed(&mut self, why: Disconnected, now: Instant) {
        self.wire.is_open = false;
        let error = match why {
            Disconnected::NoSuchHost => RtspError::NoSuchHost {
                host: self.url.host().to_owned(),
            },
            Disconnected::Refused => RtspError::Refused {
                port: self.url.port(),
            },
            Disconnected::TimedOut if matches!(self.state, State::Connecting) => {
                RtspError::ConnectTimedOut
            }
            Disconnected::TimedOut => RtspError::Disconnected,
            Disconnected::Tls(why) => RtspError::Tls(why),
            Disconnected::Failed(why) => RtspError::Connection(why),
            Disconnected::Closed => RtspError::Disconnected,
        };
        match &self.state {
            State::Ended => {}
            State::Ending(..) => self.on_torn_down(false, now),
            // Some cameras close the connection with their challenge.
            State::Asking if self.auth.is_active() && self.reconnects == 0 => {
                self.reconnects += 1;
                self.connect();
            }
            _ => self.finish(After::End(Some(error)), now),
        }
    }

    /// Counts a tolerance, and reports its first occurrence.
    fn note(&mut self, quirk: Quirk) {
        if self.quirks.count(quirk) {
            self.out.push(Output::Event(RtspEvent::Quirk(quirk)));
        }
    }

    fn note_all(&mut self, quirks: Vec<Quirk>) {
        for quirk in quirks {
            self.note(quirk);
        }
    }

    fn fail(&mut self, error: RtspError, now: Instant) {
        // After a change of transport a camera may need time to end the former session.
        let is_own = self.quirks.of(Quirk::TransportNeedsReconnect) > 0;
        if error == RtspError::Busy && is_own && self.pauses < MAX_PAUSES {
            self.pauses += 1;
            return self.finish(After::Reconnect(PAUSE), now);
        }
        self.finish(After::End(Some(error)), now);
    }

    fn deadline(&self) -> Option<Instant> {
        let answer = self.wire.deadline();
        let session = match &self.state {
            State::Pausing(until) => Some(*until),
            State::Preparing(session) => session.opening.map(|(_, until)| until),
            State::Playing(session) => session.deadline(),
            _ => None,
        };
        answer.into_iter().chain(session).min()
    }

    fn on_timeout(&mut self, now: Instant) {
        if let Some(method) = self.wire.overdue(now) {
            match &self.state {
                State::Ending(..) => self.on_torn_down(false, now),
                _ => {
                    let after: Duration = self.config.timing.answer;
                    self.fail(RtspError::NoAnswer { method, after }, now);
                }
            }
            return;
        }
        match self.state {
            State::Preparing(_) => self.on_preparing_timeout(now),
            State::Playing(_) => self.on_playing_timeout(now),
            State::Pausing(until) if until <= now => self.connect(),
            _ => {}
        }
    }
}
