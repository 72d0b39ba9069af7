//! A peer that publishes to a server, or watches what it shows.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::agent::agent;
use super::config::WhipClientConfig;
use super::error::WhipError;
use super::exchange::{Created, Done, Job, Worker};
use super::sdpfrag::SdpFragment;
use super::url::Url;
use crate::driver::{EventLoop, PeerId};
use crate::proto::ice::IceCandidate;
use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::peer::{
    ConnectionState, IceGatheringState, PeerEvent, SdpType, SessionDescription, SignalingState,
};

/// Requests, and their results, that may wait.
const MAX_WAITING: usize = 16;

/// Candidates that wait to be sent; more are of no use.
const MAX_CANDIDATES: usize = 32;

/// The first pause before another ICE restart when one did not get through, and the longest.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// What a [`WhipClient`] has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum WhipEvent {
    /// The server has answered; the peer connects now. The URL of the session, if the server names one.
    Created(Option<Url>),
    /// ICE has been restarted, over this session.
    Restarted,
    /// It is over: the server refuses, or the connection is lost. The peer is closed. Whether a new attempt is
    /// worth while tells [`WhipError::is_temporary`].
    Failed(WhipError),
    /// The session was ended by [`WhipClient::close`].
    Closed,
}

/// One session of WHIP or WHEP (which differ in the direction of media only), joined to one peer of a loop. It never
/// blocks the loop: requests are made by a thread of its own, which wakes it.
///
/// ```no_run
/// # use std::time::Instant;
/// # use looprtc::driver::{EventLoop, LoopConfig};
/// # use looprtc::proto::peer::{Direction, MediaKind, PeerConfig, TransceiverConfig};
/// use looprtc::signaling::whip::{WhipClient, WhipClientConfig, WhipEvent};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut net = EventLoop::new(LoopConfig::default())?;
/// let peer = net.add_peer(PeerConfig::default())?;
/// let receive = TransceiverConfig::default().direction(Direction::RecvOnly);
/// net.peer(peer)?.add_transceiver(MediaKind::Video, receive)?;
/// let config = WhipClientConfig::new("https://example.net/whep/cam");
/// let mut client = WhipClient::start(&mut net, peer, config)?;
/// loop {
///     let wait = client.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
///     if let Some((peer, event)) = net.next_event(wait)? {
///         client.handle_peer_event(&mut net, peer, &event);
///         // … and whatever the application makes of the event.
///     }
///     client.handle_timeout(&mut net, Instant::now());
///     while let Some(event) = client.poll_event() {
///         println!("{event:?}");
///     }
/// }
/// # }
/// ```
///
/// Dropping it ends the thread, but not the session: for that, [`close`](Self::close) it.
#[derive(Debug)]
pub struct WhipClient {
    peer: PeerId,
    config: WhipClientConfig,
    phase: Phase,
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    /// Dropped with the client, which calls the thread off its pause.
    _alive: Sender<()>,
    /// The answer in force, which restarts change.
    answer: String,
    /// Candidates to be sent, and since when they wait; `None`: all that there are were sent.
    candidates: Vec<IceCandidate>,
    send_at: Option<Instant>,
    sent: HashSet<CandidateKey>,
    /// The server takes candidates, and restarts, by PATCH, as far as is known.
    can_trickle: bool,
    can_restart: bool,
    restart_pause: Duration,
    events: VecDeque<WhipEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until all candidates are found, or until then.
    Gathering(Instant),
    /// The offer is with the server.
    Offered,
    Established,
    /// A restart is with the server.
    Restarting,
    /// A restart did not get through; another one then.
    RestartAgain(Instant),
    /// DELETE is under way.
    Closing,
    Over,
}

/// What makes a candidate one that was sent already.
type CandidateKey = (Option<String>, CandidateAddress, u16, String);

fn key(candidate: &IceCandidate) -> CandidateKey {
    (
        candidate.username_fragment.clone(),
        candidate.address.clone(),
        candidate.port,
        candidate.protocol.clone(),
    )
}

impl WhipClient {
    /// Makes the offer of this peer, whose tracks (WHIP) or receiving transceivers (WHEP) have been added, and sends
    /// it to the server.
    ///
    /// # Errors
    ///
    /// [`WhipError::Url`], [`WhipError::Start`], [`WhipError::Peer`], [`WhipError::Loop`].
    pub fn start(
        net: &mut EventLoop,
        peer: PeerId,
        config: WhipClientConfig,
    ) -> Result<Self, WhipError> {
        let endpoint: Url = config.url.parse().map_err(WhipError::Url)?;
        let allowed = config.other_origins.iter();
        let secure = endpoint.is_secure() || allowed.into_iter().any(|o| o.starts_with("https:"));
        let agent = agent(&config, secure).map_err(WhipError::Start)?;
        net.peer(peer)?.negotiate()?;
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let (sender, done) = sync_channel(MAX_WAITING);
        let (alive, client_gone) = channel();
        let handle = net.handle();
        let worker = Worker {
            agent,
            config: config.clone(),
            endpoint,
            jobs: queue,
            done: sender,
            client_gone,
            wake: Box::new(move || handle.wake()),
            session: None,
            tag: None,
        };
        thread::Builder::new()
            .name("whip-client".to_owned())
            .spawn(move || worker.run())
            .map_err(WhipError::Start)?;
        Ok(Self {
            peer,
            phase: Phase::Gathering(Instant::now() + config.gather_deadline),
            config,
            jobs,
            done,
            _alive: alive,
            answer: String::new(),
            candidates: Vec::new(),
            send_at: None,
            sent: HashSet::new(),
            can_trickle: true,
            can_restart: true,
            restart_pause: RESTART_PAUSE.0,
            events: VecDeque::new(),
        })
    }

    /// Its peer.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether it is over: [`WhipEvent::Failed`] or [`WhipEvent::Closed`] was said.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes an event of a peer; those of others are passed over.
    pub fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent) {
        if peer != self.peer || self.phase == Phase::Over {
            return;
        }
        match event {
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                if let Phase::Gathering(_) = self.phase {
                    self.offer(net);
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => self.on_candidate(candidate),
            PeerEvent::NegotiationNeeded if self.phase == Phase::Established => self.restart(net),
            PeerEvent::ConnectionStateChange(ConnectionState::Connected) => {
                self.restart_pause = RESTART_PAUSE.0;
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Failed | ConnectionState::Closed) => {
                self.fail(net, WhipError::ConnectionLost);
            }
            _ => {}
        }
    }

    /// Belongs into every round: takes what the server has said, and does what is due.
    pub fn handle_timeout(&mut self, net: &mut EventLoop, now: Instant) {
        while let Ok(done) = self.done.try_recv() {
            self.on_done(net, done, now);
        }
        match self.phase {
            Phase::Gathering(until) if until <= now => self.offer(net),
            Phase::RestartAgain(at) if at <= now => {
                // What was offered is taken back; that it is still needed is said anew.
                self.phase = Phase::Established;
                if let Ok(mut peer) = net.peer(self.peer) {
                    let _ = peer.set_local_description(Some(SessionDescription::rollback()));
                }
            }
            _ => {}
        }
        if self.send_at.is_some_and(|at| at <= now) && self.phase == Phase::Established {
            self.trickle(net);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Gathering(at) | Phase::RestartAgain(at) => Some(at),
            Phase::Established => self.send_at,
            _ => None,
        }
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<WhipEvent> {
        self.events.pop_front()
    }

    /// Ends the session (DELETE) and closes the peer. [`WhipEvent::Closed`] follows when the server has confirmed it.
    pub fn close(&mut self, net: &mut EventLoop) {
        if matches!(self.phase, Phase::Over | Phase::Closing) {
            return;
        }
        let is_unknown = matches!(self.phase, Phase::Gathering(_));
        self.phase = Phase::Closing;
        close_peer(net, self.peer);
        if is_unknown || self.jobs.try_send(Job::Delete).is_err() {
            self.phase = Phase::Over;
            self.events.push_back(WhipEvent::Closed);
        }
    }

    fn on_done(&mut self, net: &mut EventLoop, done: Done, now: Instant) {
        match (self.phase, done) {
            (Phase::Closing, Done::Deleted(result)) => {
                if let Err(error) = result {
                    log::info!("the session may not be ended: {error}");
                }
                self.phase = Phase::Over;
                self.events.push_back(WhipEvent::Closed);
            }
            (Phase::Closing, Done::Created(Err(_))) => {
                self.phase = Phase::Over;
                self.events.push_back(WhipEvent::Closed);
            }
            (Phase::Closing | Phase::Over, _) => {}
            (_, Done::Created(Ok(created))) => self.on_created(net, created, now),
            (_, Done::Created(Err(error))) => self.fail(net, error),
            (_, Done::Restarted(Ok(theirs))) => self.on_restarted(net, &theirs, now),
            (_, Done::Restarted(Err(error))) => self.on_restart_failed(net, error, now),
            (_, Done::Trickled(Err(error))) if error.is_session_gone() => self.fail(net, error),
            (_, Done::Trickled(Err(error))) => {
                // The candidates in the offer have to do; and the server sees where our checks come from.
                log::info!("candidates are not taken: {error}");
                self.can_trickle &= matches!(error, WhipError::Unreachable { .. });
            }
            (_, Done::Trickled(Ok(())) | Done::Deleted(_)) => {}
        }
    }

    /// Sends the offer, with the candidates found so far.
    fn offer(&mut self, net: &mut EventLoop) {
        let offer = net.peer(self.peer).ok().and_then(|p| p.local_description());
        let Some(offer) = offer else {
            return self.fail(net, WhipError::ConnectionLost);
        };
        self.note_sent(&offer.sdp);
        self.phase = Phase::Offered;
        self.ask(net, Job::Create { offer: offer.sdp });
    }

    fn on_created(&mut self, net: &mut EventLoop, created: Created, now: Instant) {
        self.phase = Phase::Established;
        self.can_trickle = created.session.is_some();
        self.can_restart = created.session.is_some();
        let servers = match self.config.use_offered_servers {
            true => created.ice_servers,
            false => Vec::new(),
        };
        self.answer = created.answer;
        let answer = SessionDescription::answer(self.answer.clone());
        let taken = net
            .peer(self.peer)
            .map_err(WhipError::from)
            .and_then(|mut peer| {
                if let Err(error) = peer.add_ice_servers(&servers) {
                    log::warn!("the server names ICE servers that are of no use: {error}");
                }
                Ok(peer.receive(answer)?)
            });
        match taken {
            Ok(_) => {
                self.send_at = self.send_at.map(|_| now + self.config.trickle_pause);
                self.events.push_back(WhipEvent::Created(created.session));
            }
            Err(error) => {
                // The server has a session that will never be.
                let _ = self.jobs.try_send(Job::Delete);
                self.fail(net, error);
            }
        }
    }

    fn on_candidate(&mut self, candidate: &IceCandidate) {
        let is_wanted = self.can_trickle && self.candidates.len() < MAX_CANDIDATES;
        if is_wanted && self.sent.insert(key(candidate)) {
            self.candidates.push(candidate.clone());
            let at = Instant::now() + self.config.trickle_pause;
            self.send_at.get_or_insert(at);
        }
    }

    /// Sends the candidates that wait, in one request.
    fn trickle(&mut self, net: &mut EventLoop) {
        self.send_at = None;
        let mut candidates = std::mem::take(&mut self.candidates);
        let description = net.peer(self.peer).ok().and_then(|p| p.local_description());
        let Some(description) = description.filter(|_| self.can_trickle) else {
            return;
        };
        let Ok(mut fragment) = SdpFragment::of_description(&description.sdp) else {
            return;
        };
        // Those of a generation gone by are of no use any more.
        candidates
            .retain(|c| c.username_fragment.is_none() || c.username_fragment == fragment.ufrag);
        if !candidates.is_empty() {
            fragment.candidates = candidates;
            self.ask(net, Job::Trickle(fragment));
        }
    }

    /// The peer wants to negotiate: to restart ICE is all that WHIP can do.
    fn restart(&mut self, net: &mut EventLoop) {
        if !self.can_restart {
            return;
        }
        match self.make_restart(net) {
            Ok(Some(fragment)) => {
                self.phase = Phase::Restarting;
                self.ask(net, Job::Restart(fragment));
            }
            Ok(None) => log::warn!("tracks cannot be changed during a session of WHIP or WHEP"),
            Err(error) => self.fail(net, error),
        }
    }

    fn make_restart(&mut self, net: &mut EventLoop) -> Result<Option<SdpFragment>, WhipError> {
        let ufrag = |sdp: &str| SdpFragment::of_description(sdp).ok()?.ufrag;
        let mut peer = net.peer(self.peer)?;
        let before = peer.local_description().and_then(|d| ufrag(&d.sdp));
        let offer = peer.create_offer()?;
        if ufrag(&offer.sdp) == before {
            return Ok(None);
        }
        let sdp = offer.sdp.clone();
        peer.set_local_description(Some(offer))?;
        self.note_sent(&sdp);
        let fragment = SdpFragment::of_description(&sdp);
        Ok(Some(fragment.map_err(|e| WhipError::BadReply {
            url: "our own offer".into(),
            why: e.to_string(),
        })?))
    }

    fn on_restarted(&mut self, net: &mut EventLoop, theirs: &SdpFragment, now: Instant) {
        self.phase = Phase::Established;
        let Ok(mut peer) = net.peer(self.peer) else {
            return self.fail(net, WhipError::ConnectionLost);
        };
        if peer.signaling_state() != SignalingState::HaveLocalOffer {
            return;
        }
        self.answer = theirs.applied_to(&self.answer);
        let answer = SessionDescription {
            kind: SdpType::Answer,
            sdp: self.answer.clone(),
        };
        if let Err(error) = peer.receive(answer) {
            return self.on_restart_failed(net, error.into(), now);
        }
        for candidate in &theirs.candidates {
            if let Err(error) = peer.add_ice_candidate(Some(&candidate.to_init())) {
                log::info!("a candidate of the server is not used: {error}");
            }
        }
        self.events.push_back(WhipEvent::Restarted);
    }

    fn on_restart_failed(&mut self, net: &mut EventLoop, error: WhipError, now: Instant) {
        if error.is_session_gone() {
            return self.fail(net, error);
        }
        match error {
            // Nobody knows whether the server has got it. With other credentials there is no doubt.
            WhipError::Unreachable { .. } => {
                log::info!(
                    "ICE restart: {error}; once more in {:?}",
                    self.restart_pause
                );
                self.phase = Phase::RestartAgain(now + self.restart_pause);
                self.restart_pause = (self.restart_pause * 2).min(RESTART_PAUSE.1);
            }
            error => {
                log::warn!("the server does not restart ICE: {error}");
                self.phase = Phase::Established;
                self.can_restart = false;
                if let Ok(mut peer) = net.peer(self.peer) {
                    let _ = peer.set_local_description(Some(SessionDescription::rollback()));
                }
            }
        }
    }

    fn note_sent(&mut self, sdp: &str) {
        let fragment = SdpFragment::of_description(sdp).unwrap_or_default();
        self.sent = fragment.candidates.iter().map(key).collect();
    }

    fn ask(&mut self, net: &mut EventLoop, job: Job) {
        if self.jobs.try_send(job).is_err() {
            self.fail(net, WhipError::Busy);
        }
    }

    fn fail(&mut self, net: &mut EventLoop, error: WhipError) {
        if matches!(self.phase, Phase::Over | Phase::Closing) {
            return;
        }
        let may_be_there = !error.is_session_gone() && matches!(error, WhipError::ConnectionLost);
        if may_be_there && !matches!(self.phase, Phase::Gathering(_) | Phase::Offered) {
            // The server may still hold it; with its end a publisher's name is free at once.
            let _ = self.jobs.try_send(Job::Delete);
        }
        self.phase = Phase::Over;
        close_peer(net, self.peer);
        self.events.push_back(WhipEvent::Failed(error));
    }
}

fn close_peer(net: &mut EventLoop, peer: PeerId) {
    if let Ok(mut peer) = net.peer(peer) {
        peer.close();
    }
}
