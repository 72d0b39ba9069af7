//! Viewers that signal by another protocol than WHEP: their sessions are made, limited, counted and ended as those of
//! WHEP, and only the answer goes another way.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::create::{Offer, Terms};
use super::{Kind, Reply, Session, SessionId, Signaling, StreamHost, ViewerEvent, WhipServer};
use crate::driver::EventLoop;
use crate::proto::ice::IceCandidate;
use crate::proto::peer::IceCandidateInit;
use crate::server::http::Response;
use crate::server::streams::Wish;

/// An offer to watch a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ViewerOffer<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The offer's SDP.
    pub sdp: &'a str,
    /// The client's address, to which limits apply.
    pub client: IpAddr,
    /// `None`: the answer is sent at once, and candidates and the end follow as events. Otherwise the answer waits for
    /// candidates, for at most this time, and is the only event.
    pub gather: Option<Duration>,
}

impl WhipServer {
    /// Creates a viewing session. Its events are returned by [`poll_viewer_event`](Self::poll_viewer_event).
    ///
    /// # Errors
    ///
    /// Returns the problem as a response with problem details (RFC 9457).
    pub(crate) fn add_viewer(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        offer: ViewerOffer<'_>,
        now: Instant,
    ) -> Result<SessionId, Response> {
        let terms = Terms {
            reply: Reply::Elsewhere,
            signaling: match offer.gather {
                Some(_) => Signaling::Once,
                None => Signaling::Trickle,
            },
            gather: offer.gather.unwrap_or_default(),
        };
        let offer = Offer {
            kind: Kind::View,
            name: offer.stream,
            sdp: offer.sdp.as_bytes(),
            wish: Wish::default(),
            client: offer.client,
        };
        let created = self.take_offer(net, host, &offer, terms, now);
        self.stats.refused += u64::from(created.is_err());
        created
    }

    /// Adds a remote candidate, `candidate:…`; an empty one is the end of candidates.
    ///
    /// # Errors
    ///
    /// Returns a sentence.
    pub(crate) fn add_viewer_candidate(
        &mut self,
        net: &mut EventLoop,
        id: SessionId,
        candidate: &str,
    ) -> Result<(), String> {
        let session = self.sessions.get(&id).ok_or("the session has ended")?;
        let peer = net.peer(session.peer);
        let mut peer = peer.map_err(|_| "the connection is closed")?;
        let init = IceCandidateInit::new(candidate);
        let init = (!candidate.is_empty()).then_some(&init);
        peer.add_ice_candidate(init).map_err(|e| e.to_string())
    }

    /// Ends a session without an event.
    pub(crate) fn remove_viewer(&mut self, net: &mut EventLoop, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.signaling = Signaling::Whip;
            session.awaiting = None;
            self.remove(net, id);
        }
    }

    /// Returns the next event of a session that was created by [`add_viewer`](Self::add_viewer), if any.
    pub(crate) fn poll_viewer_event(&mut self) -> Option<(SessionId, ViewerEvent)> {
        self.viewer_events.pop_front()
    }

    /// Passes on a local candidate. Those before the answer are in it.
    pub(super) fn on_candidate(&mut self, id: SessionId, candidate: Option<&IceCandidate>) {
        let session = self.sessions.get(&id);
        let trickles =
            session.is_some_and(|s| s.signaling == Signaling::Trickle && s.awaiting.is_none());
        if let Some(candidate) = candidate.filter(|_| trickles) {
            let event = ViewerEvent::Candidate(candidate.to_sdp_line());
            self.viewer_events.push_back((id, event));
        }
    }

    /// Tells the end of a session, if its protocol has a way to tell it or its offer was not answered.
    pub(super) fn end_viewer(&mut self, id: SessionId, session: &Session) {
        let is_unanswered = matches!(&session.awaiting, Some(awaiting) if matches!(awaiting.reply, Reply::Elsewhere));
        if is_unanswered || session.signaling == Signaling::Trickle {
            self.viewer_events.push_back((id, ViewerEvent::Ended));
        }
    }
}
