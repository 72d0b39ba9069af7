//! Signaling of pion's pion-to-pion, combined with a peer.
//!
//! One side offers, the other one answers; each listens at an address of its own and posts to the other's. Three
//! variants are supported ([`Flow`]):
//!
//! ```text
//!            Trickle (pion's)          AnswerInResponse             OneExchange (the older form)
//!  offerer          answerer     offerer          answerer     offerer            answerer
//!     │ POST /sdp offer │           │ POST /sdp offer │           │ POST /sdp offer    │
//!     ├────────────────▶│           ├────────────────▶│           │ with candidates    │
//!     │ POST /sdp answer│           │◀─ 200 answer ───┤           ├───────────────────▶│
//!     │◀────────────────┤           │                 │           │◀─ 200 answer ──────┤
//!     │ POST /candidate │           │ POST /candidate │           │   with candidates  │
//!     │◀───────────────▶│           │◀───────────────▶│           │                    │
//! ```
//!
//! The offerer chooses between candidates in the offer and after it, and accepts the answer either way. An answerer
//! recognizes the older form by the candidates in the offer, and has to be told which of the other two to use.
//!
//! No candidate is posted before the remote side has both descriptions: pion's example exits on one that arrives too
//! early.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use super::address::Address;
use super::client::{PostError, PostKind, Posted, Poster, PosterConfig};
use super::http::{HttpConfig, HttpServer, SignalRequest, Status, Wake};
use crate::driver::{EventLoop, PeerId, PeerMut};
use crate::proto::peer::{IceGatheringState, PeerError, PeerEvent, SignalingState};
use crate::proto::signal::{IceCandidateInit, SdpType, SessionDescription, SignalMessage};

/// Role of this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends the offer.
    Offer,
    /// Waits for an offer.
    Answer,
}

/// How offer, answer and candidates are transported. See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// The answer in a post of its own, each candidate in one post: the protocol of pion's example.
    #[default]
    Trickle,
    /// The answer in the response to the offer, each candidate in one post: saves a round trip.
    AnswerInResponse,
    /// The answer in the response to the offer, candidates inside both. The offerer does not listen.
    OneExchange,
}

impl FromStr for Flow {
    type Err = &'static str;

    /// Parses `trickle`, `response` and `one-exchange`.
    fn from_str(name: &str) -> Result<Self, &'static str> {
        match name {
            "trickle" => Ok(Self::Trickle),
            "response" => Ok(Self::AnswerInResponse),
            "one-exchange" => Ok(Self::OneExchange),
            _ => Err("expected trickle, response or one-exchange"),
        }
    }
}

/// Configuration of a [`PionSignaling`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PionConfig {
    /// The role of this side.
    pub role: Role,
    /// The variant of the protocol. Default: [`Flow::Trickle`].
    pub flow: Flow,
    /// The offerer's address. Default: `:50000` for the offerer itself and `localhost:50000` for the answerer, as in
    /// pion's example.
    pub offer_address: Address,
    /// The answerer's address. Default: `:60000` for the answerer itself and `127.0.0.1:60000` for the offerer, as in
    /// pion's example.
    pub answer_address: Address,
    /// Configuration of the HTTP server.
    pub http: HttpConfig,
    /// Configuration of the HTTP client.
    pub poster: PosterConfig,
}

impl PionConfig {
    /// Creates a configuration with the defaults of pion's example for this role.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let (offer, answer) = match role {
            Role::Offer => (Address::new("", 50000), Address::new("127.0.0.1", 60000)),
            Role::Answer => (Address::new("localhost", 50000), Address::new("", 60000)),
        };
        Self {
            role,
            flow: Flow::default(),
            offer_address: offer,
            answer_address: answer,
            http: HttpConfig::default(),
            poster: PosterConfig::default(),
        }
    }

    /// Sets [`flow`](Self::flow).
    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }

    /// Sets [`offer_address`](Self::offer_address).
    #[must_use]
    pub fn offer_address(mut self, address: Address) -> Self {
        self.offer_address = address;
        self
    }

    /// Sets [`answer_address`](Self::answer_address).
    #[must_use]
    pub fn answer_address(mut self, address: Address) -> Self {
        self.answer_address = address;
        self
    }

    /// Sets [`http`](Self::http).
    #[must_use]
    pub fn http(mut self, http: HttpConfig) -> Self {
        self.http = http;
        self
    }

    /// Sets [`poster`](Self::poster).
    #[must_use]
    pub fn poster(mut self, poster: PosterConfig) -> Self {
        self.poster = poster;
        self
    }
}

/// Signaling of one peer of a loop. It never blocks the loop.
///
/// ```no_run
/// # use looprtc::driver::{EventLoop, LoopConfig};
/// # use looprtc::proto::peer::{ChannelConfig, PeerConfig};
/// # use looprtc::signaling::pion::{PionConfig, PionSignaling, Role};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut net = EventLoop::new(LoopConfig::default())?;
/// let peer = net.add_peer(PeerConfig::default())?;
/// net.peer(peer)?.create_data_channel(ChannelConfig::new("data"))?;
/// let mut signaling = PionSignaling::start(&mut net, peer, PionConfig::new(Role::Offer))?;
/// loop {
///     let event = net.next_event(None)?;
///     signaling.on_turn(&mut net, event.as_ref())?;
///     // … and whatever else the application makes of the event.
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct PionSignaling {
    peer: PeerId,
    role: Role,
    flow: Flow,
    http: Option<HttpServer>,
    poster: Poster,
    /// The offer whose answer goes into the response, once all candidates are gathered.
    waiting_offer: Option<SignalRequest>,
    /// Set if candidates are sent in posts of their own.
    trickle: bool,
}

impl PionSignaling {
    /// Starts to listen. On the offering side it also creates and sends the offer, so create the data channels before.
    /// Its threads wake the loop ([`EventLoop::next_event`] returns `None`) when a message has arrived.
    ///
    /// # Errors
    /// Returns [`PionError::Start`], [`PionError::Peer`] or [`PionError::Post`].
    pub fn start(net: &mut EventLoop, peer: PeerId, config: PionConfig) -> Result<Self, PionError> {
        let (listen, call) = match config.role {
            Role::Offer => (&config.offer_address, &config.answer_address),
            Role::Answer => (&config.answer_address, &config.offer_address),
        };
        let handle = net.handle();
        let wake = || -> Wake {
            let handle = handle.clone();
            Box::new(move || handle.wake())
        };
        let listens = config.role == Role::Answer || config.flow != Flow::OneExchange;
        let http = match listens {
            true => Some(HttpServer::bind(listen, &config.http, wake()).map_err(PionError::Start)?),
            false => None,
        };
        let poster =
            Poster::start(call.clone(), config.poster, wake()).map_err(PionError::Start)?;
        let signaling = Self {
            peer,
            role: config.role,
            flow: config.flow,
            http,
            poster,
            waiting_offer: None,
            trickle: config.flow != Flow::OneExchange,
        };
        if signaling.role == Role::Offer {
            signaling.offer(net)?;
        }
        Ok(signaling)
    }

    fn offer(&self, net: &mut EventLoop) -> Result<(), PionError> {
        let gone = |_| PionError::Peer(PeerError::Closed);
        let offer = net
            .peer(self.peer)
            .map_err(gone)?
            .negotiate()
            .map_err(PionError::Peer)?;
        if self.trickle {
            self.poster
                .post_description(&offer)
                .map_err(PionError::Post)?;
        }
        Ok(())
    }

    /// Returns the listening address; `None` for an offerer with [`Flow::OneExchange`].
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// Runs the signaling: sends what a peer event requires, handles received messages and the results of posts. Call
    /// it with everything that [`EventLoop::next_event`] returns; events of other peers are ignored.
    ///
    /// Invalid messages are refused towards their sender and leave the session unchanged.
    ///
    /// # Errors
    /// Returns [`PionError::Post`], [`PionError::NoAnswer`] or [`PionError::BadAnswer`] if the session cannot be
    /// established. Later failures are only logged.
    pub fn on_turn(
        &mut self,
        net: &mut EventLoop,
        event: Option<&(PeerId, PeerEvent)>,
    ) -> Result<(), PionError> {
        if let Some((peer, event)) = event
            && *peer == self.peer
        {
            self.on_event(net, event)?;
        }
        while let Some(request) = self.http.as_ref().and_then(HttpServer::next_request) {
            match net.peer(self.peer) {
                Ok(mut peer) if !peer.is_closed() => self.on_request(request, &mut peer)?,
                _ => request.reject(Status::Gone, "the session is over"),
            }
        }
        while let Some(posted) = self.poster.next_result() {
            if let Ok(mut peer) = net.peer(self.peer) {
                self.on_posted(posted, &mut peer)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, net: &mut EventLoop, event: &PeerEvent) -> Result<(), PionError> {
        match event {
            // This protocol has no message for the end of candidates.
            PeerEvent::IceCandidate(Some(candidate)) if self.trickle => {
                let candidate = IceCandidateInit::new(candidate.to_string());
                self.poster
                    .post_candidate(&candidate)
                    .map_err(PionError::Post)
            }
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                match net.peer(self.peer) {
                    Ok(peer) => self.on_gathered(&peer),
                    Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Handles the end of gathering: the local description contains all candidates.
    fn on_gathered(&mut self, peer: &PeerMut<'_>) -> Result<(), PionError> {
        let Some(description) = peer.local_description() else {
            return Ok(());
        };
        if let Some(request) = self.waiting_offer.take() {
            request.answer(&description);
        } else if !self.trickle && description.kind == SdpType::Offer {
            self.poster
                .post_description(&description)
                .map_err(PionError::Post)?;
        }
        Ok(())
    }

    fn on_request(
        &mut self,
        request: SignalRequest,
        peer: &mut PeerMut<'_>,
    ) -> Result<(), PionError> {
        match request.message().clone() {
            SignalMessage::Description(description) => match (self.role, description.kind) {
                (Role::Answer, SdpType::Offer) => {
                    return self.on_offer(request, description, peer);
                }
                (Role::Offer, SdpType::Answer) => on_answer(request, description, peer),
                (Role::Answer, kind) => {
                    let text = format!("this end takes offers; {kind} has no place here");
                    request.reject(Status::Conflict, text);
                }
                (Role::Offer, kind) => {
                    let text =
                        format!("this end offers and takes answers; {kind} has no place here");
                    request.reject(Status::Conflict, text);
                }
            },
            SignalMessage::Candidate(candidate) => {
                on_candidate(request, Some(&candidate), peer);
            }
            SignalMessage::EndOfCandidates => on_candidate(request, None, peer),
            SignalMessage::Bye => request.reject(Status::BadRequest, "nothing to say goodbye to"),
        }
        Ok(())
    }

    fn on_offer(
        &mut self,
        request: SignalRequest,
        offer: SessionDescription,
        peer: &mut PeerMut<'_>,
    ) -> Result<(), PionError> {
        if peer.remote_description().is_some() || self.waiting_offer.is_some() {
            request.reject(
                Status::Conflict,
                "a session stands already; this end takes one offer",
            );
            return Ok(());
        }
        let one_exchange = offer
            .sdp
            .lines()
            .any(|line| line.starts_with("a=candidate:"));
        let answer = match peer.receive(offer) {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                request.reject(Status::Conflict, "the offer crosses one of this end's own");
                return Ok(());
            }
            Err(error) => {
                reject(request, "the offer", &error);
                return Ok(());
            }
        };
        self.trickle = !one_exchange;
        if one_exchange && peer.ice_gathering_state() == IceGatheringState::Complete {
            request.answer(&peer.local_description().unwrap_or(answer));
        } else if one_exchange {
            self.waiting_offer = Some(request);
        } else if self.flow == Flow::AnswerInResponse {
            request.answer(&answer);
        } else {
            request.accept();
            self.poster
                .post_description(&answer)
                .map_err(PionError::Post)?;
        }
        Ok(())
    }

    fn on_posted(&mut self, posted: Posted, peer: &mut PeerMut<'_>) -> Result<(), PionError> {
        let offered = posted.kind == PostKind::Description(SdpType::Offer);
        let unanswered = peer.signaling_state() == SignalingState::HaveLocalOffer;
        match (posted.kind, posted.outcome) {
            (PostKind::Description(_), Ok(Some(answer))) if offered && unanswered => peer
                .set_remote_description(answer)
                .map_err(PionError::BadAnswer),
            (PostKind::Description(_), Ok(None))
                if offered && unanswered && self.flow == Flow::OneExchange =>
            {
                Err(PionError::NoAnswer)
            }
            (_, Ok(_)) => Ok(()),
            // Without the description there is no session, unless an answer arrived anyway.
            (PostKind::Description(_), Err(error)) if !offered || unanswered => {
                Err(PionError::Post(error))
            }
            // Other candidates may suffice; otherwise ICE reports the failure.
            (_, Err(error)) => {
                log::warn!("{error}");
                Ok(())
            }
        }
    }
}

fn on_answer(request: SignalRequest, answer: SessionDescription, peer: &mut PeerMut<'_>) {
    if peer.signaling_state() != SignalingState::HaveLocalOffer {
        let text = "no offer awaits an answer: it has come already";
        return request.reject(Status::Conflict, text);
    }
    match peer.set_remote_description(answer) {
        Ok(()) => request.accept(),
        Err(error) => reject(request, "the answer", &error),
    }
}

fn on_candidate(
    request: SignalRequest,
    candidate: Option<&IceCandidateInit>,
    peer: &mut PeerMut<'_>,
) {
    if peer.local_description().is_none() && peer.remote_description().is_none() {
        let text = "a candidate for nobody: there is no session yet, send the offer first";
        return request.reject(Status::NotFound, text);
    }
    match peer.add_ice_candidate(candidate) {
        Ok(()) => request.accept(),
        Err(error) => reject(request, "the candidate", &error),
    }
}

fn reject(request: SignalRequest, what: &str, error: &PeerError) {
    let status = match error {
        PeerError::BadDescription(_) | PeerError::BadCandidate(_) => Status::BadRequest,
        PeerError::WrongState { .. } => Status::Conflict,
        PeerError::LimitReached { .. } => Status::Unprocessable,
        PeerError::Closed => Status::Gone,
        _ => Status::Internal,
    };
    request.reject(status, format!("{what} was not taken: {error}"));
}

/// Reason why no session was established.
#[derive(Debug)]
#[non_exhaustive]
pub enum PionError {
    /// Listening failed, or a thread could not be started.
    Start(io::Error),
    /// The peer returned an error.
    Peer(PeerError),
    /// A description could not be posted.
    Post(PostError),
    /// The remote side accepted the offer, but its response contains no answer.
    NoAnswer,
    /// The answer in the response is not acceptable.
    BadAnswer(PeerError),
}

impl fmt::Display for PionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "signaling: {error}"),
            Self::Peer(error) => write!(f, "{error}"),
            Self::Post(error) => write!(f, "signaling: {error}"),
            Self::NoAnswer => write!(
                f,
                "signaling: the other end took the offer but gave no answer in its response; it \
                 probably posts it to /sdp, so offer with trickled candidates"
            ),
            Self::BadAnswer(error) => write!(f, "the answer was not taken: {error}"),
        }
    }
}

impl std::error::Error for PionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Peer(error) | Self::BadAnswer(error) => Some(error),
            Self::Post(error) => Some(error),
            Self::NoAnswer => None,
        }
    }
}

#[cfg(all(
    test,
    any(feature = "aws-lc", feature = "rust-crypto", feature = "openssl")
))]
mod tests;
