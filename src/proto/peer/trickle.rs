//! Remote candidates, trickled (RFC 8838): held, dropped, or passed to the core.

use std::net::IpAddr;
use std::time::Instant;

use super::core::RemoteCandidate;
use super::session::Remote;
use super::values::PeerError;
use super::{IceCandidateInit, Output, Peer};
use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::ice::{IceCandidate, IceServer, mdns};

impl Peer {
    /// Adds a remote candidate (W3C §4.4.2 `addIceCandidate`). One that arrives before its description is held; one of
    /// an earlier generation is dropped and counted; neither is an error. `None`, or an empty candidate, marks the end
    /// of candidates.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadCandidate`] or [`PeerError::Closed`].
    pub fn add_ice_candidate(
        &mut self,
        candidate: Option<&IceCandidateInit>,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let Some(init) = candidate.filter(|c| !c.candidate.is_empty()) else {
            // The core searches until it finds a path or time is up, whatever is announced.
            return Ok(());
        };
        let mut parsed = IceCandidate::parse(&init.candidate)?;
        if let Some(ufrag) = &init.username_fragment {
            parsed.username_fragment = Some(ufrag.clone());
        }
        if parsed.username_fragment.is_none() {
            self.session.candidates().note_bare(&parsed, self.now);
        }
        // Candidates of an ignored offer belong to an unknown generation, and are held: after the remote peer has
        // rolled back its offer, its answer may have the same ufrag.
        self.take_remote_candidate(parsed);
        self.core_timeout();
        Ok(())
    }

    pub(super) fn take_remote_candidate(&mut self, candidate: IceCandidate) {
        match self.session.candidates().remote(candidate) {
            Remote::Apply(candidate) => self.apply_remote_candidate(&candidate),
            Remote::Held | Remote::Stale => {}
        }
    }

    /// Returns `true` if packets can be sent to this candidate. Incoming connections are noticed when they arrive.
    fn speaks(&self, candidate: &IceCandidate) -> bool {
        match candidate.protocol.as_str() {
            "udp" => true,
            _ => {
                self.config.gather.tcp.is_active()
                    && candidate.tcp_type.as_deref() == Some("passive")
            }
        }
    }

    /// Holds a candidate with an mDNS name until it is resolved; other names are not resolved on behalf of a remote
    /// peer. Returns `true` if it is held.
    fn wait_for_name(&mut self, candidate: &IceCandidate) -> bool {
        let CandidateAddress::Name(host) = &candidate.address else {
            return false;
        };
        if !mdns::is_local(host) || !self.path.gathering_mut().names().wait(candidate) {
            return false;
        }
        self.out.push(Output::Resolve(host.clone()));
        true
    }

    /// Handles the result of a name resolution.
    pub(super) fn on_remote_resolved(&mut self, host: &str, result: &Result<Vec<IpAddr>, String>) {
        for mut candidate in self.path.gathering_mut().names().take(host) {
            match result.as_deref() {
                Ok([address, ..]) => {
                    candidate.address = CandidateAddress::Ip(*address);
                    // Its generation may be over meanwhile.
                    self.take_remote_candidate(candidate);
                }
                _ => {
                    self.session.candidates().count_unusable(1);
                    log::debug!("candidate {candidate} not resolved: {result:?}");
                }
            }
        }
        self.core_timeout();
    }

    /// Returns `true` if checks may be sent to this address. A description must not make us send to our own machine,
    /// nor to many at once.
    fn may_be_checked(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_one = match ip {
            // 0.0.0.0/8 is this machine (RFC 1122 §3.2.1.3); 224.0.0.0/3 is multicast, reserved and broadcast.
            IpAddr::V4(v4) => !matches!(v4.octets()[0], 0 | 224..),
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
        };
        let config = &self.config;
        let takes_loopback = config.take_loopback.unwrap_or_else(|| {
            let mut servers = config.ice_servers.iter();
            config.gather.include_loopback || servers.any(IceServer::is_on_loopback)
        });
        is_one && (takes_loopback || !ip.is_loopback())
    }

    pub(super) fn apply_remote_candidate(&mut self, candidate: &IceCandidate) {
        let is_usable = candidate.component == 1 && self.speaks(candidate);
        if is_usable && self.wait_for_name(candidate) {
            return;
        }
        let Some(address) = candidate.socket_addr().filter(|_| is_usable) else {
            self.session.candidates().count_unusable(1);
            log::debug!("candidate of no use here: {candidate}");
            return;
        };
        if !self.may_be_checked(address.ip()) {
            self.session.candidates().count_unusable(1);
            log::debug!("candidate that is no address of a peer: {candidate}");
            return;
        }
        if !self.session.has_room(&self.config.limits) {
            self.session.candidates().count_over_limit();
            return;
        }
        match RemoteCandidate::new(candidate) {
            Ok(parsed) => {
                if parsed.is_tcp() && !self.path.add_remote_stream(address) {
                    self.session.candidates().count_over_limit();
                    return;
                }
                self.session.candidate_applied();
                self.core.add_remote(parsed);
            }
            Err(e) => {
                self.session.candidates().count_unusable(1);
                log::debug!("candidate {candidate}: {e}");
            }
        }
    }
}
