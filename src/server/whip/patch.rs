//! PATCH: candidates, and ICE restarts.

use std::time::Instant;

use super::create::is_gathered;
use super::reply::{self, Cors};
use super::{Awaiting, Reply, SessionId, WhipServer};
use crate::driver::EventLoop;
use crate::proto::peer::SessionDescription;
use crate::server::http::{Request, RequestId, Response};
use crate::signaling::whip::sdpfrag::{self, SdpFragment};

/// Maximum number of earlier generations remembered.
const MAX_BEFORE: usize = 16;

/// The precondition in `If-Match` on the ICE session (RFC 9110, section 13.1.1).
enum Precondition {
    Missing,
    /// `*`
    Any,
    Matches,
    Fails,
}

impl WhipServer {
    /// Handles a PATCH. Returns `None` if the response follows later.
    pub(super) fn patch(
        &mut self,
        net: &mut EventLoop,
        id: RequestId,
        request: &Request,
        (session, cors): (SessionId, &Cors),
        now: Instant,
    ) -> Option<Response> {
        match self.check_patch(request, session) {
            Err(response) => Some(response),
            Ok((fragment, false)) => Some(self.trickle(net, session, &fragment)),
            Ok((fragment, true)) => {
                if let Err(refused) = self.count_offer(request.client.ip(), request.body.len(), now)
                {
                    return Some(refused);
                }
                let waiting = Awaiting {
                    reply: Reply::Restarted {
                        request: id,
                        cors: cors.clone(),
                    },
                    until: now + self.config.gather_deadline,
                };
                self.restart(net, session, &fragment, waiting).err()
            }
        }
    }

    /// Returns the fragment, and whether it restarts ICE, shown by new credentials (RFC 9725, section 4.3.3).
    fn check_patch(
        &self,
        request: &Request,
        id: SessionId,
    ) -> Result<(SdpFragment, bool), Response> {
        if request.content_type().as_deref() != Some(sdpfrag::MEDIA_TYPE) {
            return Err(reply::unsupported(
                sdpfrag::MEDIA_TYPE,
                request,
                "Accept-Patch",
            ));
        }
        let fragment = SdpFragment::parse(&request.body)
            .map_err(|e| Response::problem(400, "Bad SDP fragment", e.to_string()))?;
        let Some(session) = self.sessions.get(&id) else {
            return Err(Response::problem(404, "No such session", "it has ended"));
        };
        let is_restart = match (&fragment.ufrag, &fragment.pwd) {
            (Some(ufrag), Some(pwd)) => (ufrag, pwd) != (&session.remote.0, &session.remote.1),
            _ => false,
        };
        let tag = session.entity_tag();
        match precondition(request, &tag) {
            Precondition::Missing => {
                let detail =
                    format!("send If-Match: {tag} with candidates, or If-Match: * to restart ICE");
                return Err(Response::problem(428, "Precondition required", detail));
            }
            Precondition::Fails => {
                let detail = "If-Match names another ICE session: ICE was restarted meanwhile, and these \
                              candidates are of no use any more";
                return Err(Response::problem(412, "Precondition failed", detail));
            }
            Precondition::Any | Precondition::Matches => {}
        }
        let is_old = |ufrag: &String| session.before.contains(ufrag);
        if is_restart && fragment.ufrag.as_ref().is_some_and(is_old) {
            let detail = "these credentials were in use before the last ICE restart; make new ones";
            return Err(Response::problem(409, "Old credentials", detail));
        }
        Ok((fragment, is_restart))
    }

    fn trickle(&mut self, net: &mut EventLoop, id: SessionId, fragment: &SdpFragment) -> Response {
        let Some(session) = self.sessions.get(&id) else {
            return Response::problem(404, "No such session", "it has ended");
        };
        let Ok(mut peer) = net.peer(session.peer) else {
            return Response::problem(404, "No such session", "its connection is closed");
        };
        for candidate in &fragment.candidates {
            if let Err(error) = peer.add_ice_candidate(Some(&candidate.to_init())) {
                return Response::problem(422, "Candidate refused", error.to_string());
            }
        }
        if fragment.end_of_candidates
            && let Err(error) = peer.add_ice_candidate(None)
        {
            return Response::problem(422, "Candidate refused", error.to_string());
        }
        Response::new(204)
    }

    /// Restarts ICE: applies the offer with new credentials, whose answer contains ours.
    fn restart(
        &mut self,
        net: &mut EventLoop,
        id: SessionId,
        fragment: &SdpFragment,
        awaiting: Awaiting,
    ) -> Result<(), Response> {
        let gone = || Response::problem(404, "No such session", "its connection is closed");
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(gone());
        };
        let mut peer = net.peer(session.peer).map_err(|_| gone())?;
        let offer = fragment.applied_to(&session.offer);
        peer.receive(SessionDescription::offer(offer.clone()))
            .map_err(|e| Response::problem(422, "Restart refused", e.to_string()))?;
        for candidate in &fragment.candidates {
            if let Err(error) = peer.add_ice_candidate(Some(&candidate.to_init())) {
                log::info!("{}: a candidate is not used: {error}", session.name);
            }
        }
        session.offer = offer;
        session.generation += 1;
        let credentials = (&fragment.ufrag, &fragment.pwd);
        if let (Some(ufrag), Some(pwd)) = credentials {
            let before = std::mem::replace(&mut session.remote, (ufrag.clone(), pwd.clone()));
            session.before.push_front(before.0);
            session.before.truncate(MAX_BEFORE);
        }
        let peer = session.peer;
        // A client that restarts again has abandoned its earlier request (RFC 9725, section 4.3.3).
        let superseded = session.awaiting.replace(awaiting).map(|a| a.reply);
        if let Some(Reply::Restarted { request, cors }) = superseded {
            let detail = "another ICE restart came before this one was answered";
            let response = Response::problem(409, "Superseded", detail);
            self.respond(request, &cors, response);
        }
        self.stats.restarts += 1;
        self.schedule(id);
        if is_gathered(net, peer) {
            self.answer(net, id);
        }
        Ok(())
    }
}

fn precondition(request: &Request, tag: &str) -> Precondition {
    let Some(value) = request.header("if-match") else {
        return Precondition::Missing;
    };
    // The examples in the drafts have quotes around the asterisk, and so do some clients.
    if ["*", "\"*\""].contains(&value.trim()) {
        return Precondition::Any;
    }
    let mut tags = value.split(',').map(str::trim);
    match tags.any(|given| given == tag) {
        true => Precondition::Matches,
        false => Precondition::Fails,
    }
}
