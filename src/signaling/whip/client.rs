//! WHIP and WHEP client: a peer that publishes to a server or plays from it.

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

/// Maximum number of queued requests, and of results.
const MAX_WAITING: usize = 16;

/// Maximum number of candidates queued for sending; further ones are dropped.
const MAX_CANDIDATES: usize = 32;

/// Pause before an ICE restart is retried: first and maximum.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// Event of a [`WhipClient`].
#[derive(Debug)]
#[non_exhaustive]
pub enum WhipEvent {
    /// The server has answered; the peer connects now. Contains the URL of the session, if the server returned one.
    Created(Option<Url>),
    /// ICE was restarted within this session.
    Restarted,
    /// The session is over: the server refused, or the connection was lost. The peer is closed.
    /// [`WhipError::is_temporary`] tells whether a new attempt may succeed.
    Failed(WhipError),
    /// The session was ended by [`WhipClient::close`].
    Closed,
}

/// A WHIP or WHEP session (they differ in the direction of media only) of one peer of a loop. It never blocks the loop:
/// a thread of its own makes the requests and wakes the loop.
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
/// Dropping it ends the thread, but not the session; call [`close`](Self::close) for that.
#[derive(Debug)]
pub struct WhipClient {
    peer: PeerId,
    config: WhipClientConfig,
    phase: Phase,
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    /// Dropped with the client, which interrupts the thread's pause.
    _alive: Sender<()>,
    /// The answer in effect; restarts change it.
    answer: String,
    /// Candidates to be sent and the time since which they wait; `None`: all candidates were sent.
    candidates: Vec<IceCandidate>,
    send_at: Option<Instant>,
    sent: HashSet<CandidateKey>,
    /// Set unless the server is known to reject PATCH for candidates and restarts.
    can_trickle: bool,
    can_restart: bool,
    restart_pause: Duration,
    events: VecDeque<WhipEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for all candidates, until this time at the latest.
    Gathering(Instant),
    /// The offer was sent.
    Offered,
    Established,
    /// A restart was sent.
    Restarting,
    /// A restart failed; the next one is due at this time.
    RestartAgain(Instant),
    /// DELETE was sent.
    Closing,
    Over,
}

/// Identity of a candidate, to recognize one that was sent already.
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
    /// Creates the peer's offer and sends it to the server. Add the tracks (WHIP) or the receiving transceivers (WHEP)
    /// before.
    ///
    /// # Errors
    ///
    /// Returns [`WhipError::Url`], [`WhipError::Start`], [`WhipError::Peer`] or [`WhipError::Loop`].
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

    /// Returns the peer of this session.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns `true` after [`WhipEvent::Failed`] or [`WhipEvent::Closed`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Handles a peer event; events of other peers are ignored.
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

    /// Handles results of the server and expired timers. Call it in every turn of the loop.
    pub fn handle_timeout(&mut self, net: &mut EventLoop, now: Instant) {
        while let Ok(done) = self.done.try_recv() {
            self.on_done(net, done, now);
        }
        match self.phase {
            Phase::Gathering(until) if until <= now => self.offer(net),
            Phase::RestartAgain(at) if at <= now => {
                // The offer is rolled back; if it is still needed, the peer says so again.
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

    /// Returns the time by which [`handle_timeout`](Self::handle_timeout) has to be called, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Gathering(at) | Phase::RestartAgain(at) => Some(at),
            Phase::Established => self.send_at,
            _ => None,
        }
    }

    /// Returns the next event, if any.
    pub fn poll_event(&mut self) -> Option<WhipEvent> {
        self.events.pop_front()
    }

    /// Ends the session (DELETE) and closes the peer. [`WhipEvent::Closed`] follows once the server has confirmed.
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
                // The candidates in the offer have to suffice; the server also sees the source of our checks.
                log::info!("candidates are not taken: {error}");
                self.can_trickle &= matches!(error, WhipError::Unreachable { .. });
            }
            (_, Done::Trickled(Ok(())) | Done::Deleted(_)) => {}
        }
    }

    /// Sends the offer with the candidates gathered so far.
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
                // The server has a session that will never be used.
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

    /// Sends the queued candidates in one request.
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
        // Candidates of an earlier generation are useless.
        candidates
            .retain(|c| c.username_fragment.is_none() || c.username_fragment == fragment.ufrag);
        if !candidates.is_empty() {
            fragment.candidates = candidates;
            self.ask(net, Job::Trickle(fragment));
        }
    }

    /// Handles that the peer needs negotiation: WHIP supports ICE restarts only.
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
            // It is unknown whether the server received it. New credentials resolve that.
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
            // The server may still have the session; deleting it frees a publisher's name at once.
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
