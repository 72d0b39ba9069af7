//! Two clients of a lab that connect.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use looprtc::proto::ice::{CandidateType, IceCandidate};
use looprtc::proto::peer::{ConnectionState, IceCandidateInit, PeerConfig, Politeness};

use crate::client::{Client, Order, Report, Side};
use crate::lab::{Lab, Whose, whose};
use crate::server::{Coturn, ice_servers};

pub struct Session {
    clients: [Client; 2],
    reports: Receiver<(Side, Report)>,
    pub begun: Instant,
    pub opened: [Option<Instant>; 2],
    pub candidates: [Vec<IceCandidate>; 2],
    pub messages: [Vec<String>; 2],
    pub troubles: Vec<(Side, String)>,
    pub states: Vec<(Side, ConnectionState, Duration)>,
    paths: [Option<(SocketAddr, SocketAddr)>; 2],
}

/// The path of data, as one side reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub local: Whose,
    pub remote: Whose,
    /// Set for a direct TCP connection.
    pub is_tcp: bool,
    /// Protocol to the relay of this side, if the path has one.
    pub relay_url: Option<String>,
}

impl Session {
    /// Starts both at once.
    pub fn begin(lab: &Lab, server: &Coturn) -> Self {
        Self::begin_with(lab, server, PeerConfig::default())
    }

    pub fn begin_with(lab: &Lab, server: &Coturn, config: PeerConfig) -> Self {
        Self::begin_at(lab, server, config.ice_servers(ice_servers()))
    }

    /// With the servers of the configuration.
    pub fn begin_at(lab: &Lab, server: &Coturn, config: PeerConfig) -> Self {
        Self::begin_each(lab, server, [config.clone(), config])
    }

    /// With a configuration for each side.
    pub fn begin_each(lab: &Lab, server: &Coturn, configs: [PeerConfig; 2]) -> Self {
        let (sender, reports) = channel();
        let client = |side: Side, politeness| {
            let config = configs[side].clone();
            let authority = server.certificates.authority.clone();
            Client::start(
                lab,
                side,
                authority,
                config.politeness(politeness),
                sender.clone(),
            )
        };
        let clients = [
            client(0, Politeness::Polite),
            client(1, Politeness::Impolite),
        ];
        let begun = Instant::now();
        clients[0].tell(Order::Begin);
        Self {
            clients,
            reports,
            begun,
            opened: [None; 2],
            candidates: [Vec::new(), Vec::new()],
            messages: [Vec::new(), Vec::new()],
            troubles: Vec::new(),
            states: Vec::new(),
            paths: [None; 2],
        }
    }

    /// Runs until `done` returns `true`, or for this long. Returns `true` if `done` did.
    pub fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = Instant::now() + time;
        loop {
            if done(self) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok((side, report)) => self.on_report(side, report),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("both clients have ended"),
            }
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn on_report(&mut self, side: Side, report: Report) {
        let other = &self.clients[1 - side];
        match report {
            Report::Description(description) => other.tell(Order::Description(description)),
            Report::Candidate(candidate) => {
                other.tell(Order::Candidate(IceCandidateInit::new(
                    candidate.to_string(),
                )));
                self.candidates[side].push(candidate);
            }
            Report::Open(at) => self.opened[side] = Some(at),
            Report::Message(text) => self.messages[side].push(text),
            Report::State(state) => {
                self.states.push((side, state, self.begun.elapsed()));
                // As applications do.
                if state == ConnectionState::Disconnected {
                    self.clients[side].tell(Order::RestartIce);
                }
            }
            Report::Trouble(text) => self.troubles.push((side, text)),
            Report::Path(path) => self.paths[side] = path,
        }
    }

    /// Waits until the channel is open on both sides; returns the time it took.
    pub fn connect(&mut self, patience: Duration) -> Duration {
        let open = |s: &Self| s.opened.iter().all(Option::is_some);
        assert!(
            self.run_until(patience, open),
            "not connected: {}",
            self.story()
        );
        let last = self.opened.iter().flatten().max();
        last.copied().unwrap_or(self.begun) - self.begun
    }

    /// Sends a message from `a` to `b` and waits for its echo; returns the time it took.
    pub fn talk(&mut self, text: &str, patience: Duration) -> Duration {
        let begun = Instant::now();
        let before = self.count(text);
        self.clients[0].tell(Order::Say(text.to_owned()));
        let there = |s: &Self| s.count(text) > before;
        assert!(
            self.run_until(patience, there),
            "{text:?} did not come back: {}",
            self.story()
        );
        begun.elapsed()
    }

    /// Returns how often this was echoed.
    fn count(&self, text: &str) -> usize {
        self.messages[0].iter().filter(|m| *m == text).count()
    }

    /// Returns the paths that both sides report.
    pub fn paths(&mut self) -> [Path; 2] {
        self.paths = [None; 2];
        for client in &self.clients {
            client.tell(Order::TellPath);
        }
        let told = |s: &Self| s.paths.iter().all(Option::is_some);
        assert!(
            self.run_until(Duration::from_secs(2), told),
            "no path: {}",
            self.story()
        );
        let path = |side: Side| {
            let (local, remote) = self.paths[side].expect("it was told");
            let (local_is, remote_is) = (whose(local), whose(remote));
            let mut candidates = self.candidates[side].iter();
            let candidate = candidates.find(|c| c.socket_addr() == Some(local));
            // The reported candidate type must be the actual one.
            let typ = candidate.map(|c| c.typ);
            match local_is {
                Whose::Relay => assert_eq!(typ, Some(CandidateType::Relay), "{}", self.story()),
                Whose::Host => assert_eq!(typ, Some(CandidateType::Host), "{}", self.story()),
                Whose::Nat => {
                    assert_eq!(
                        typ,
                        Some(CandidateType::ServerReflexive),
                        "{}",
                        self.story()
                    );
                }
            }
            Path {
                local: local_is,
                remote: remote_is,
                is_tcp: candidate.is_some_and(|c| c.protocol == "tcp"),
                relay_url: candidate
                    .filter(|_| local_is == Whose::Relay)
                    .and_then(|c| c.url.clone()),
            }
        };
        [path(0), path(1)]
    }

    pub fn story(&self) -> String {
        format!(
            "after {:?}\n states {:?}\n a {:?}\n b {:?}\n trouble {:?}\n paths {:?}",
            self.begun.elapsed(),
            self.states,
            self.candidates[0]
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            self.candidates[1]
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            self.troubles,
            self.paths,
        )
    }
}
