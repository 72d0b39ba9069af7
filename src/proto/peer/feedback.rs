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

use self::compound::{Line, Source};
pub(super) use self::late::Repair;
use self::losses::Losses;
use super::core::{CoreMedia, Mid};
use super::crypto::{CryptoProvider, ExportedKeys, Srtcp};
use super::values::{PeerEvent, TransceiverId};

/// State of the peer needed for one call.
pub(super) struct Context<'a> {
    pub core: CoreMedia<'a>,
    pub provider: &'a CryptoProvider,
    /// Returns the transceiver of an m-line.
    pub line: &'a dyn Fn(Mid) -> Option<TransceiverId>,
}

/// The state of a peer's outgoing RTCP.
#[derive(Debug)]
pub(super) struct Feedback {
    keys: Option<ExportedKeys>,
    srtcp: Option<Srtcp>,
    reporters: Reporters,
    losses: Losses,
    late: late::Late,
    again: again::Again,
    /// Our unanswered connectivity checks: transaction ids and send times.
    checks: VecDeque<([u8; 12], Instant)>,
}

/// SSRCs for reports on m-lines that send nothing.
#[derive(Debug, Default)]
struct Reporters(Vec<(TransceiverId, u32)>);

/// Result of [`Feedback::due`].
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Requests for lost packets.
    pub packets: Vec<Vec<u8>>,
    /// Events for packets that do not arrive in time.
    pub lost: Vec<PeerEvent>,
}

/// Maximum number of unanswered checks remembered. There are more only while candidate pairs are being tested.
const MAX_CHECKS: usize = 16;

/// Returns the transaction id of a STUN message (RFC 8489 §5).
fn transaction(stun: &[u8]) -> Option<[u8; 12]> {
    stun.get(8..)?.first_chunk().copied()
}

/// Returns `true` if a datagram is RTCP (RFC 7983 §7, RFC 5761 §4).
pub(super) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

impl Feedback {
    pub fn new(keys: Option<ExportedKeys>) -> Self {
        Self {
            keys,
            srtcp: None,
            reporters: Reporters::default(),
            losses: Losses::default(),
            late: late::Late::default(),
            again: again::Again::default(),
            checks: VecDeque::new(),
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.losses.deadline()
    }

    /// Returns the datagrams to send in place of RTCP from the core: before there are keys, the datagram itself.
    ///
    /// RTCP sealed by the core is never sent along with RTCP sealed here: both number their packets from 0, and two
    /// packets with the same number would share a key stream.
    pub fn rewritten(&mut self, datagram: Vec<u8>, context: &mut Context<'_>) -> Vec<Vec<u8>> {
        let Some(srtcp) = self.srtcp(context.provider) else {
            return vec![datagram];
        };
        let Some(plain) = srtcp.open(&datagram) else {
            log::debug!("RTCP of the core's that cannot be opened is dropped");
            return Vec::new();
        };
        let (losses, reporters) = (&self.losses, &mut self.reporters);
        let parts = compound::split(
            &plain,
            |source| reporters.line_of(source, context),
            |ssrc| losses.follows(ssrc),
        );
        let parts = parts.iter();
        parts
            .filter_map(|part| self.seal(part, context.provider))
            .collect()
    }

    /// Returns the SRTCP context for sending, once DTLS has exported keys.
    fn srtcp(&mut self, provider: &CryptoProvider) -> Option<&mut Srtcp> {
        if self.srtcp.is_none() {
            self.srtcp = self.keys.as_ref()?.sending(provider);
        }
        self.srtcp.as_mut()
    }

    fn seal(&mut self, plain: &[u8], provider: &CryptoProvider) -> Option<Vec<u8>> {
        self.srtcp(provider)?.seal(plain)
    }

    /// Records an outgoing connectivity check: its response measures the round-trip time before any lost packet does.
    pub fn check_leaves(&mut self, stun: &[u8], now: Instant) {
        let Some(transaction) = transaction(stun) else {
            return;
        };
        if self.checks.len() >= MAX_CHECKS {
            self.checks.pop_front();
        }
        self.checks.push_back((transaction, now));
    }

    /// Handles a verified response to a check.
    pub fn check_answered(&mut self, stun: &[u8], now: Instant) {
        let found =
            transaction(stun).and_then(|of| self.checks.iter().position(|(known, _)| *known == of));
        if let Some((_, left)) = found.and_then(|at| self.checks.remove(at)) {
            let sample = now.saturating_duration_since(left);
            self.losses.measured(sample);
        }
    }

    /// Handles an authentic packet of a video stream whose sender retransmits on request.
    pub fn packet_came(&mut self, ssrc: u32, number: u64, now: Instant) {
        self.losses.received(ssrc, number, now);
    }

    /// Returns the time that a repair takes, while packets are being lost.
    pub fn repair_delay(&self, now: Instant) -> Option<Duration> {
        self.losses.repair_delay(now)
    }

    /// Returns requests and events for lost packets that are due. `can_ask`: there is a path for requests.
    pub fn due(&mut self, now: Instant, can_ask: bool, context: &mut Context<'_>) -> Due {
        let mut due = Due::default();
        let losses = self.losses.due(now);
        for (ssrc, missing) in losses.ask.iter().filter(|_| can_ask) {
            let line = self.reporters.line_of(Source::Remote(*ssrc), context);
            let packet = line.map(|line| compound::nack(line.sender, *ssrc, missing));
            let packet = packet.and_then(|plain| self.seal(&plain, context.provider));
            due.packets.extend(packet);
        }
        for ssrc in losses.late {
            let Some((mid, rid)) = context.core.received_on(ssrc) else {
                continue;
            };
            if let Some(transceiver) = (context.line)(mid) {
                due.lost.push(PeerEvent::PacketsLost {
                    transceiver,
                    rid: rid.map(|r| r.to_string()),
                });
            }
        }
        due
    }

    /// Sets the video payload types without RTX, after a negotiation.
    pub fn set_types_without_rtx(&mut self, types: Vec<u8>) {
        self.again.set_types(types);
    }

    /// Records an outgoing sealed RTP packet.
    pub fn leaves(&mut self, packet: &[u8], now: Instant) {
        self.again.leaves(packet, now);
    }
}

impl Reporters {
    /// Returns the m-line of a stream, and the SSRC for reports about it.
    fn line_of(&mut self, source: Source, context: &mut Context<'_>) -> Option<Line> {
        let mid = match source {
            Source::Local(ssrc) => context.core.sent_on(ssrc)?,
            Source::Remote(ssrc) => context.core.received_on(ssrc)?.0,
        };
        let id = (context.line)(mid)?;
        Some(Line {
            key: id.number().into(),
            sender: self.reporter(id, mid, &mut context.core),
        })
    }

    /// Returns the SSRC of the stream we send on an m-line, or a generated one.
    fn reporter(&mut self, id: TransceiverId, mid: Mid, core: &mut CoreMedia<'_>) -> u32 {
        if let Some(ssrc) = core.sender_ssrc(mid) {
            return ssrc;
        }
        if let Some((_, ssrc)) = self.0.iter().find(|(of, _)| *of == id) {
            return *ssrc;
        }
        // At most one per m-line, and those are limited.
        let ssrc = core.new_ssrc();
        self.0.push((id, ssrc));
        ssrc
    }
}
