//! WHIP and WHEP sessions of `publish` and `play`, which reconnect automatically and report progress.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, value_parser};
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::IceServer;
use looprtc::proto::peer::{ConnectionState, PeerConfig, PeerEvent, Timing};
use looprtc::server::http::is_loopback_name;
use looprtc::signaling::whip::{Url, WhipClient, WhipClientConfig, WhipError, WhipEvent};

use super::serve::settings::ice_server;
use super::{Outcome, flag, list, option, value, values};
use crate::Usage;

/// Pause before a reconnection attempt: first and maximum.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Silence after which the connection counts as disconnected, and further time after which ICE restarts. A restarted
/// server is detected that way.
const SILENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_millis(500));

/// Time limit for the server to confirm the end of a session.
const FAREWELL: Duration = Duration::from_secs(3);

/// Maximum wait of one loop call: a signal that arrives at the wrong moment is noticed after it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Interval of progress reports, on a terminal and elsewhere.
const PROGRESS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The media work of a command: sending or receiving.
pub trait Work {
    /// Creates a peer with its tracks for a new session.
    fn begin(&mut self, net: &mut EventLoop, config: PeerConfig) -> Result<PeerId, Error>;
    /// Handles an event of the peer.
    fn handle_event(&mut self, net: &mut EventLoop, event: &PeerEvent) -> Result<(), Error>;
    /// Handles timers; returns the time of the next call, if any.
    fn handle_timeout(&mut self, net: &mut EventLoop) -> Result<Option<Instant>, Error>;
    /// Returns `true` when the work is complete.
    fn is_done(&self) -> bool;
    /// Handles the end of a session, whether or not another one follows.
    fn end(&mut self, net: &mut EventLoop) -> Result<(), Error>;
    /// Returns an error if the work is not done when the time is over or a signal arrives.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

pub type Error = Box<dyn std::error::Error>;

pub fn options() -> [Arg; 9] {
    [
        option("token-file", "FILE", "File with the token of the server"),
        option(
            "token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        option(
            "authorities",
            "FILE",
            "Certificate authorities to trust for https, PEM [default: the system's]",
        ),
        list(
            "allow-origin",
            "ORIGIN",
            "Allow redirects to this other server, for example https://edge.example.net",
        ),
        list(
            "ice-server",
            "URL[,USER,PASSWORD]",
            "STUN or TURN server, besides those that the server offers",
        ),
        flag("no-offered-servers", "Ignore the STUN and TURN servers that the server offers"),
        option(
            "retry",
            "SECONDS",
            "Time to keep trying while the server cannot be reached; 0: do not retry [default: no limit]",
        )
        .value_parser(value_parser!(u64)),
        option("seconds", "SECONDS", "Stop after this many seconds, with status 0").value_parser(value_parser!(f64)),
        flag("quiet", "Do not report progress"),
    ]
}

/// Settings from the options.
pub struct Settings {
    client: WhipClientConfig,
    peer: PeerConfig,
    retry: Option<Duration>,
    length: Option<Duration>,
    quiet: bool,
}

impl Settings {
    pub fn new(options: &ArgMatches) -> Result<Self, Error> {
        let url: String = value(options, "url").unwrap_or_default();
        let parsed: Url = url.parse().map_err(|e| Usage(format!("{e}")))?;
        let read = |path: String| std::fs::read(&path).map_err(|e| Usage(format!("{path}: {e}")));
        let file = value(options, "token-file").map(read).transpose()?;
        let file = file.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let authorities = value(options, "authorities").map(read).transpose()?;
        let length: Option<f64> = value(options, "seconds");
        let length = length
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|e| Usage(format!("--seconds: {e}")))?;
        let servers = values::<String>(options, "ice-server")
            .iter()
            .map(|text| server(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut timing = Timing::default();
        timing.disconnected = SILENCE.0;
        Ok(Self {
            client: WhipClientConfig::new(url)
                .token(file.or_else(|| value(options, "token")))
                .other_origins(values(options, "allow-origin"))
                .authorities(authorities)
                .use_offered_servers(!options.get_flag("no-offered-servers")),
            peer: PeerConfig::default()
                .ice_servers(servers)
                .include_loopback(is_loopback_name(parsed.authority()))
                .timing(timing)
                .restart_after_disconnected(Some(SILENCE.1))
                .stats_interval(Some(Duration::from_secs(1))),
            retry: value(options, "retry").map(Duration::from_secs),
            length,
            quiet: options.get_flag("quiet"),
        })
    }
}

fn server(text: &str) -> Result<IceServer, Usage> {
    ice_server(text).map_err(|error| Usage(format!("--ice-server: {error}")))
}

/// Runs until the work is done, its time is over, or a signal arrives.
pub fn run(settings: &Settings, work: &mut impl Work) -> Outcome {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let stop = super::stop_on_signals()?;
    let mut runner = Runner {
        settings,
        stop,
        end: None,
        progress: Progress::new(settings.quiet),
    };
    let mut pause = PAUSE.0;
    let mut lost = Instant::now();
    loop {
        let (error, was_connected) = match runner.session(&mut net, work)? {
            Over::Done => return work.check(),
            Over::Failed(error, was_connected) => (error, was_connected),
        };
        if was_connected {
            (pause, lost) = (PAUSE.0, Instant::now());
        }
        let may_pass = error.is_temporary() || was_connected;
        let is_late = settings
            .retry
            .is_some_and(|retry| lost.elapsed() + pause > retry);
        if !may_pass || is_late {
            return Err(error.into());
        }
        let why = match was_connected && error.is_session_gone() {
            true => "the server does not know the session any more".to_owned(),
            false => error.to_string(),
        };
        let again = format!("{why}; trying again in {:.1} s", pause.as_secs_f32());
        runner.progress.line(&again);
        if !runner.wait(&mut net, pause)? {
            return work.check();
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

enum Over {
    Done,
    /// The error, and whether the session was ever connected.
    Failed(WhipError, bool),
}

struct Runner<'a> {
    settings: &'a Settings,
    stop: Arc<AtomicBool>,
    /// The end time, counted from the first connection.
    end: Option<Instant>,
    progress: Progress,
}

impl Runner<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Runs the loop for this time; returns `false` after a signal.
    fn wait(&self, net: &mut EventLoop, time: Duration) -> Result<bool, Error> {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            net.next_event(Some(left.min(LOOK_UP)))?;
        }
        Ok(!self.is_over())
    }

    fn session(&mut self, net: &mut EventLoop, work: &mut impl Work) -> Result<Over, Error> {
        let peer = work.begin(net, self.settings.peer.clone())?;
        let mut client = WhipClient::start(net, peer, self.settings.client.clone())?;
        let run = self.converse(net, work, peer, &mut client);
        let ended = work.end(net);
        if let Ok(Some(over)) = run {
            ended?;
            return Ok(over);
        }
        // In every case the server is told, so that it stops sending.
        client.close(net);
        let until = Instant::now() + FAREWELL;
        while !client.is_over() && Instant::now() < until {
            net.next_event(Some(Duration::from_millis(20)))?;
            client.handle_timeout(net, Instant::now());
        }
        self.progress.finish();
        run?;
        ended?;
        Ok(Over::Done)
    }

    /// Runs until the session is lost; returns `None` if it is to be ended.
    fn converse(
        &mut self,
        net: &mut EventLoop,
        work: &mut impl Work,
        peer: PeerId,
        client: &mut WhipClient,
    ) -> Result<Option<Over>, Error> {
        let mut was_connected = false;
        loop {
            let due = work.handle_timeout(net)?;
            let ends = [
                due,
                client.next_deadline(),
                self.end,
                Some(self.progress.due),
            ];
            let next = ends.into_iter().flatten().min();
            let wait = next.map_or(LOOK_UP, |at| at.saturating_duration_since(Instant::now()));
            let mut event = net.next_event(Some(wait.min(LOOK_UP)))?;
            while let Some((id, e)) = event {
                if id == peer {
                    client.handle_peer_event(net, id, &e);
                    work.handle_event(net, &e)?;
                    was_connected |= self.on_event(&e);
                }
                event = net.poll_event();
            }
            client.handle_timeout(net, Instant::now());
            while let Some(event) = client.poll_event() {
                match event {
                    WhipEvent::Created(Some(url)) => log::info!("session {url}"),
                    WhipEvent::Restarted => self.progress.line("the path was renewed"),
                    WhipEvent::Failed(error) => {
                        return Ok(Some(Over::Failed(error, was_connected)));
                    }
                    _ => {}
                }
            }
            if self.is_over() || work.is_done() {
                return Ok(None);
            }
            self.progress.show(net, peer);
        }
    }

    /// Handles an event; returns `true` while connected.
    fn on_event(&mut self, event: &PeerEvent) -> bool {
        match event {
            PeerEvent::ConnectionStateChange(ConnectionState::Connected) => {
                self.progress.line("connected");
                let end = self.settings.length.map(|length| Instant::now() + length);
                self.end = self.end.or(end);
                return true;
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Disconnected) => {
                self.progress.line("the connection is silent");
            }
            PeerEvent::IceCandidateError(error) => log::warn!("{error}"),
            PeerEvent::Error(error) => self.progress.line(&error.to_string()),
            _ => {}
        }
        false
    }
}

/// Progress on the standard error: one updated line on a terminal, occasional lines elsewhere.
struct Progress {
    quiet: bool,
    is_terminal: bool,
    /// Set while the current line can be overwritten.
    is_open: bool,
    begun: Instant,
    due: Instant,
    /// Time and byte count of the last measurement.
    before: (Instant, u64),
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            is_terminal: std::io::stderr().is_terminal(),
            is_open: false,
            begun: now,
            due: now + PROGRESS.0,
            before: (now, 0),
        }
    }

    fn show(&mut self, net: &mut EventLoop, peer: PeerId) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now
            + if self.is_terminal {
                PROGRESS.0
            } else {
                PROGRESS.1
            };
        let Ok(peer) = net.peer(peer) else { return };
        if self.quiet || peer.connection_state() != ConnectionState::Connected {
            return;
        }
        let stats = peer.stats();
        let bytes = stats.bytes_sent + stats.bytes_received;
        let (since, before) = std::mem::replace(&mut self.before, (now, bytes));
        let seconds = now.duration_since(since).as_secs_f64().max(0.001);
        let rate = bytes.saturating_sub(before) as f64 * 8.0 / seconds / 1e6;
        let mut round_trip = stats.round_trip_time;
        let mut lost: Option<f32> = None;
        for transceiver in peer.transceivers() {
            let Some(track) = peer.track_stats(transceiver.id) else {
                continue;
            };
            let sent = track
                .sent
                .iter()
                .map(|s| (s.fraction_lost, s.round_trip_time));
            let received = track
                .received
                .iter()
                .map(|s| (s.fraction_lost, s.round_trip_time));
            for (fraction, time) in sent.chain(received) {
                lost = fraction.into_iter().chain(lost).reduce(f32::max);
                round_trip = round_trip.or(time);
            }
        }
        let seconds = self.begun.elapsed().as_secs();
        let mut text = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        text += &format!("  {rate:.2} Mbit/s");
        if let Some(time) = round_trip {
            text += &format!("  round trip {:.0} ms", time.as_secs_f64() * 1000.0);
        }
        if let Some(lost) = lost {
            text += &format!("  lost {:.1} %", lost * 100.0);
        }
        self.write(&text, true);
    }

    /// Writes a permanent line.
    fn line(&mut self, text: &str) {
        if !self.quiet {
            self.write(text, false);
        }
    }

    fn write(&mut self, text: &str, may_change: bool) {
        let mut out = std::io::stderr().lock();
        let changes = may_change && self.is_terminal;
        // Erases to the end of the line, in case a longer text was there.
        let begin = if self.is_open { "\r\x1b[K" } else { "" };
        let end = if changes { "" } else { "\n" };
        // An error cannot be reported anywhere.
        let _ = write!(out, "{begin}{text}{end}");
        let _ = out.flush();
        self.is_open = changes;
    }

    fn finish(&mut self) {
        if self.is_open {
            eprintln!();
            self.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_command_line() {
        assert_eq!(server("stun:a").unwrap(), IceServer::stun("stun:a"));
        let turn = IceServer::turn("turn:a", "u", "p,q");
        assert_eq!(server("turn:a,u,p,q").unwrap(), turn);
        assert!(server("turn:a,u").is_err());
    }

    #[test]
    fn this_machine() {
        for (authority, here) in [
            ("localhost:8080", true),
            ("127.0.0.2", true),
            ("[::1]:80", true),
            ("cam.localhost", true),
            ("localhost.example.net", false),
            ("192.0.2.1:80", false),
        ] {
            assert_eq!(is_loopback_name(authority), here, "{authority}");
        }
    }
}
