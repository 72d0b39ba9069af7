//! Outgoing RTCP, rewritten.
//!
//! The core writes all reports into one compound packet under the SSRC of the first stream it finds, and requests each
//! lost packet five times within 165 ms, whatever the round-trip time. Both are corrected here: reports are sent [per
//! m-line](compound), and where packets are forwarded, lost ones are requested by [losses].

mod again;
mod compound;
mod late;
mod losses;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::crypto::CryptoProvider;
use str0m::media::{Mid, Rids};
use str0m::rtp::Ssrc;

use self::compound::{Line, Source};
use self::losses::Losses;
use super::crypto::{ExportedKeys, Srtcp};
use super::state::PeerEvent;
use super::tracks::TransceiverId;
use super::{ConnectionState, Peer};

/// The state of a peer's outgoing RTCP.
#[derive(Debug)]
pub(super) struct Feedback {
    keys: Option<ExportedKeys>,
    srtcp: Option<Srtcp>,
    /// SSRCs for reports on m-lines that send nothing.
    receivers: Vec<(TransceiverId, u32)>,
    losses: Losses,
    late: late::Late,
    pub again: again::Again,
    /// Our unanswered connectivity checks: transaction ids and send times.
    checks: VecDeque<([u8; 12], Instant)>,
}

impl Feedback {
    pub fn new(keys: Option<ExportedKeys>) -> Self {
        Self {
            keys,
            srtcp: None,
            receivers: Vec::new(),
            losses: Losses::default(),
            late: late::Late::default(),
            again: again::Again::default(),
            checks: VecDeque::new(),
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.losses.deadline()
    }

    /// Returns the SRTCP context for sending, once DTLS has exported keys.
    fn srtcp(&mut self, provider: &CryptoProvider) -> Option<&mut Srtcp> {
        if self.srtcp.is_none() {
            self.srtcp = self.keys.as_ref()?.sending(provider);
        }
        self.srtcp.as_mut()
    }
}

/// Maximum number of unanswered checks remembered. There are more only while candidate pairs are being tested.
const MAX_CHECKS: usize = 16;

/// Returns the transaction id of a STUN message (RFC 8489 §5).
fn transaction(stun: &[u8]) -> Option<[u8; 12]> {
    stun.get(8..)?.first_chunk().copied()
}

/// Returns `true` if a datagram is RTCP (RFC 7983 §7, RFC 5761 §4).
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

impl Peer {
    /// Returns what is sent in place of one of the core's datagrams: the datagram itself, unless it is RTCP.
    ///
    /// RTCP sealed by the core is never sent along with RTCP sealed here: both number their packets from 0, and two
    /// packets with the same number would share a key stream.
    pub(super) fn rewritten(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        if !is_rtcp(&datagram) {
            return vec![datagram];
        }
        let Some(srtcp) = self.feedback.srtcp(self.core.provider()) else {
            return vec![datagram];
        };
        let Some(plain) = srtcp.open(&datagram) else {
            log::debug!("RTCP of the core's that cannot be opened is dropped");
            return Vec::new();
        };
        let losses = std::mem::take(&mut self.feedback.losses);
        let parts = compound::split(&plain, |s| self.line_of(s), |ssrc| losses.follows(ssrc));
        self.feedback.losses = losses;
        parts.iter().filter_map(|part| self.seal(part)).collect()
    }

    fn seal(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        self.feedback.srtcp(self.core.provider())?.seal(plain)
    }

    /// Returns the m-line of a stream, and the SSRC for reports about it.
    fn line_of(&mut self, source: Source) -> Option<Line> {
        let mut api = self.core.direct_api();
        let mid = match source {
            Source::Local(ssrc) => api.stream_tx(&Ssrc::from(ssrc))?.mid(),
            Source::Remote(ssrc) => api.stream_rx(&Ssrc::from(ssrc))?.mid(),
        };
        let id = self.tracks.id_of(mid)?;
        Some(Line {
            key: id.number().into(),
            sender: self.reporter(id, mid),
        })
    }

    /// Returns the SSRC of the stream we send on an m-line, or a generated one.
    fn reporter(&mut self, id: TransceiverId, mid: Mid) -> u32 {
        let rid = match self.core.media(mid).map(|m| m.rids_tx()) {
            Some(Rids::Specific(rids)) => rids.first().copied(),
            _ => None,
        };
        let mut api = self.core.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(mid, rid) {
            return *stream.ssrc();
        }
        let known = &mut self.feedback.receivers;
        if let Some((_, ssrc)) = known.iter().find(|(of, _)| *of == id) {
            return *ssrc;
        }
        // At most one per m-line, and those are limited.
        let ssrc = *api.new_ssrc();
        known.push((id, ssrc));
        ssrc
    }

    /// Records an outgoing connectivity check: its response measures the round-trip time before any lost packet does.
    pub(super) fn check_leaves(&mut self, stun: &[u8]) {
        let Some(transaction) = transaction(stun) else {
            return;
        };
        let checks = &mut self.feedback.checks;
        if checks.len() >= MAX_CHECKS {
            checks.pop_front();
        }
        checks.push_back((transaction, self.now));
    }

    /// Handles a verified response to a check.
    pub(super) fn check_answered(&mut self, stun: &[u8]) {
        let feedback = &mut self.feedback;
        let found = transaction(stun)
            .and_then(|of| feedback.checks.iter().position(|(known, _)| *known == of));
        if let Some((_, left)) = found.and_then(|at| feedback.checks.remove(at)) {
            let sample = self.now.saturating_duration_since(left);
            feedback.losses.measured(sample);
        }
    }

    /// Handles an authentic packet of a video stream whose sender retransmits on request.
    pub(super) fn packet_came(&mut self, ssrc: u32, number: u64) {
        self.feedback.losses.received(ssrc, number, self.now);
    }

    /// Returns the time that a repair takes, while packets are being lost.
    pub(super) fn repair_delay(&self) -> Option<Duration> {
        self.feedback.losses.repair_delay(self.now)
    }

    /// Requests lost packets that are due, and reports those that are late.
    pub(super) fn losses_due(&mut self) {
        if self.feedback.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        let due = self.feedback.losses.due(self.now);
        for (ssrc, missing) in due.ask {
            self.ask_for(ssrc, &missing);
        }
        for ssrc in due.late {
            let mut api = self.core.direct_api();
            let Some(stream) = api.stream_rx(&Ssrc::from(ssrc)) else {
                continue;
            };
            let (mid, rid) = (stream.mid(), stream.rid());
            if let Some(transceiver) = self.tracks.id_of(mid) {
                self.event(PeerEvent::PacketsLost {
                    transceiver,
                    rid: rid.map(|r| r.to_string()),
                });
            }
        }
    }

    fn ask_for(&mut self, ssrc: u32, missing: &[u16]) {
        let (Some(line), Some(ends)) = (self.line_of(Source::Remote(ssrc)), self.path.in_use())
        else {
            return;
        };
        if self.state != ConnectionState::Connected {
            return;
        }
        if let Some(packet) = self.seal(&compound::nack(line.sender, ssrc, missing)) {
            self.send_on(ends, packet);
        }
    }
}
