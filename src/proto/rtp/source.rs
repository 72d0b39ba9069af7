//! Selection of an RTP source: of all senders to a port, one at a time.
//!
//! A *source* is an address and an SSRC. The first one becomes the *current* source. Another one is ignored while the
//! current one is active, and takes over after it has sent BYE or has been silent for [`RtpSourceConfig::patience`], as
//! happens when a sender is restarted. Packets that the new source sent meanwhile are held and not lost, because they
//! may contain its only keyframe for a long time. A sender that restarts under its old SSRC is recognized by its
//! sequence numbers (RFC 3550 appendix A.1).
//!
//! ```text
//!                first packet                another's, after BYE or silence: all that was held
//!     (none) ──────────────────► current ───────────────────────────────────────────────────► current'
//!                                  │  ▲
//!               BYE, silence       ▼  │ a packet after all
//!                                 over
//! ```

mod config;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::packet::{Packet, is_rtcp};
use super::parameter_sets::ParameterSets;
use super::rtcp::{SenderInfo, SenderPacket, read_rtcp};
use crate::proto::peer::RtpPacket;

pub use self::config::{Ignored, RtpSourceConfig, RtpSourceStats};

/// Maximum forward jump of sequence numbers within a source (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// Maximum distance of a late packet behind the highest sequence number; within it, duplicates are detected.
const MAX_MISORDER: u16 = 64;

/// Maximum number of events that are not polled.
const MAX_UNPOLLED: usize = 8192;

/// Cost of a held packet in addition to its payload, in bytes.
const PACKET_COST: usize = 64;

/// An accepted packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourcePacket {
    /// Number of the source: it changes when sequence numbers and timestamps start anew. Counted from 1; with
    /// [`every_ssrc`](RtpSourceConfig::every_ssrc) it is the SSRC.
    pub source: u32,
    /// Set for the first packet of a source.
    pub source_changed: bool,
    /// The sender's SSRC.
    pub ssrc: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// Sequence number; wraps. Gaps are packets lost or still to come. After parameter sets are inserted, later packets
    /// are renumbered.
    pub sequence_number: u16,
    /// Timestamp in ticks of the RTP clock; wraps.
    pub timestamp: u32,
    /// Marker bit; for video, usually the last packet of a frame.
    pub marker: bool,
    /// Payload without padding. May be empty.
    pub payload: Arc<[u8]>,
    /// Arrival time.
    pub received: Instant,
}

impl SourcePacket {
    /// Converts to a packet for [`Peer::write_rtp`](crate::proto::peer::Peer::write_rtp). Its SSRC field holds the
    /// number of the source, so that the stream continues when another source takes over, whatever its SSRC.
    pub fn to_packet(&self) -> RtpPacket {
        RtpPacket::new(
            self.source,
            self.sequence_number,
            self.timestamp,
            self.payload.clone(),
        )
        .marker(self.marker)
        .wallclock(self.received)
    }
}

/// Output of [`RtpSource::poll`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// An accepted packet, in order of arrival (not reordered).
    Packet(SourcePacket),
    /// A sender report of the current source.
    SenderReport(SenderInfo),
    /// The current source has sent BYE; the next one takes over at once.
    Ended {
        /// The SSRC of the source.
        ssrc: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    from: SocketAddr,
    ssrc: u32,
}

#[derive(Debug)]
struct Current {
    key: Key,
    heard: Instant,
    is_over: bool,
    highest: u16,
    /// Bit n is set if the packet n behind the highest one has arrived.
    seen: u64,
    /// Number of parameter set packets inserted so far, and the packet before which the last one was inserted.
    inserted: u16,
    inserted_at: u16,
    /// The timestamp of the last parameter sets, inserted or received.
    sets_at: Option<u32>,
    sets: ParameterSets,
}

/// A source that may take over.
#[derive(Debug)]
struct Challenger {
    key: Key,
    heard: Instant,
    next: u16,
    held: VecDeque<SourcePacket>,
    bytes: usize,
}

/// Accepts datagrams and returns the packets of one sender at a time. See the [module](super).
#[derive(Debug)]
pub struct RtpSource {
    config: RtpSourceConfig,
    current: Option<Current>,
    challenger: Option<Challenger>,
    events: VecDeque<SourceEvent>,
    stats: RtpSourceStats,
}

impl RtpSource {
    /// Creates a source selector without a current source.
    pub fn new(config: RtpSourceConfig) -> Self {
        Self {
            config,
            current: None,
            challenger: None,
            events: VecDeque::new(),
            stats: RtpSourceStats::default(),
        }
    }

    /// Handles a datagram, RTP or RTCP, from either port. Call [`poll`](Self::poll) afterwards until it returns `None`.
    ///
    /// # Errors
    ///
    /// Returns the reason if the datagram was not accepted. It is counted as well; no action is required.
    pub fn handle_input(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<(), Ignored> {
        let result = self.take(from, datagram, now);
        let stats = &mut self.stats;
        match result {
            Ok(()) => {}
            Err(Ignored::Malformed) => stats.malformed += 1,
            Err(Ignored::NotCurrent) => stats.not_current += 1,
            Err(Ignored::Duplicate) => stats.duplicates += 1,
            Err(Ignored::Unpolled) => stats.unpolled += 1,
            Err(_) => stats.unwanted += 1,
        }
        result
    }

    /// Returns the next event; `None` if there is none until the next datagram.
    pub fn poll(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }

    /// Returns address and SSRC of the current source.
    pub fn current(&self) -> Option<(SocketAddr, u32)> {
        self.current.as_ref().map(|c| (c.key.from, c.key.ssrc))
    }

    /// Returns address and SSRC of a source that sends while another one is current.
    pub fn waiting(&self) -> Option<(SocketAddr, u32)> {
        let key = self.challenger.as_ref().map(|c| c.key)?;
        (Some((key.from, key.ssrc)) != self.current()).then_some((key.from, key.ssrc))
    }

    /// Returns the statistics so far.
    pub fn stats(&self) -> RtpSourceStats {
        self.stats
    }

    /// Accepts this SSRC only, or any if `None`. A current source with another SSRC is dropped at once.
    pub fn set_ssrc(&mut self, ssrc: Option<u32>) {
        self.config.ssrc = ssrc;
        self.leave_unwanted();
    }

    /// Accepts this address only, or any if `None`. A current source elsewhere is dropped at once.
    pub fn set_from(&mut self, address: Option<IpAddr>) {
        self.config.from = address;
        self.leave_unwanted();
    }

    fn leave_unwanted(&mut self) {
        let config = &self.config;
        let is_wanted = |key: Key| {
            config.ssrc.is_none_or(|s| s == key.ssrc)
                && config.from.is_none_or(|a| a == key.from.ip())
        };
        if let Some(current) = &mut self.current {
            current.is_over |= !is_wanted(current.key);
        }
        self.challenger.take_if(|c| !is_wanted(c.key));
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Result<(), Ignored> {
        if self.config.from.is_some_and(|ip| ip != from.ip()) {
            return Err(Ignored::WrongAddress);
        }
        if self.events.len() >= MAX_UNPOLLED {
            return Err(Ignored::Unpolled);
        }
        if is_rtcp(datagram) {
            return self.take_rtcp(from, datagram);
        }
        let packet = Packet::parse(datagram).map_err(|_| Ignored::Malformed)?;
        let types = &self.config.payload_types;
        if !types.is_empty() && !types.contains(&packet.payload_type) {
            return Err(Ignored::WrongPayloadType);
        }
        if self.config.ssrc.is_some_and(|s| s != packet.ssrc) {
            return Err(Ignored::WrongSsrc);
        }
        let packet = SourcePacket {
            source: packet.ssrc,
            source_changed: false,
            ssrc: packet.ssrc,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload.into(),
            received: now,
        };
        if self.config.every_ssrc {
            self.give_out(packet);
            return Ok(());
        }
        let ssrc = packet.ssrc;
        self.take_rtp(Key { from, ssrc }, packet)
    }

    fn take_rtp(&mut self, key: Key, packet: SourcePacket) -> Result<(), Ignored> {
        let now = packet.received;
        let Some(current) = &mut self.current else {
            self.begin(key, packet);
            return Ok(());
        };
        if current.key == key {
            return match current.order(packet.sequence_number) {
                Order::Twice => Err(Ignored::Duplicate),
                Order::Elsewhere => self.hold(key, packet, true),
                Order::Ahead(missing) => {
                    self.stats.lost += u64::from(missing);
                    self.go_on(packet);
                    Ok(())
                }
                Order::Behind => {
                    self.stats.reordered += 1;
                    self.stats.lost = self.stats.lost.saturating_sub(1);
                    self.go_on(packet);
                    Ok(())
                }
            };
        }
        let silence = now.saturating_duration_since(current.heard);
        if current.is_over || silence >= self.config.patience {
            self.begin(key, packet);
            return Ok(());
        }
        self.hold(key, packet, false)
    }

    /// Handles the next packet of the current source.
    fn go_on(&mut self, packet: SourcePacket) {
        if let Some(current) = &mut self.current {
            current.heard = packet.received;
            current.is_over = false;
            // The current source is active, so packets held of another one are obsolete.
            if let Some(other) = &mut self.challenger {
                other.held.clear();
                other.bytes = 0;
            }
        }
        self.give_out_in_source(packet, false);
    }

    /// Holds a packet of a source that may take over. `again`: it is the current source itself, and two packets in
    /// sequence prove that it has restarted.
    fn hold(&mut self, key: Key, packet: SourcePacket, again: bool) -> Result<(), Ignored> {
        let now = packet.received;
        let next = packet.sequence_number.wrapping_add(1);
        let patience = self.config.patience;
        let challenger = match &mut self.challenger {
            Some(c) if c.key == key => c,
            // Only one such source at a time.
            Some(c) if now.saturating_duration_since(c.heard) < patience => {
                return Err(Ignored::NotCurrent);
            }
            place => place.insert(Challenger {
                key,
                heard: now,
                next: packet.sequence_number.wrapping_sub(1),
                held: VecDeque::new(),
                bytes: 0,
            }),
        };
        let is_proven = again && challenger.next == packet.sequence_number;
        challenger.heard = now;
        challenger.next = next;
        if is_proven {
            self.begin(key, packet);
            return Ok(());
        }
        if again {
            challenger.held.clear();
            challenger.bytes = 0;
        }
        challenger.bytes += PACKET_COST + packet.payload.len();
        challenger.held.push_back(packet);
        while challenger.bytes > self.config.max_held {
            let Some(oldest) = challenger.held.pop_front() else {
                break;
            };
            challenger.bytes -= PACKET_COST + oldest.payload.len();
        }
        Err(Ignored::NotCurrent)
    }

    /// Starts a new current source with its held packets and this packet.
    fn begin(&mut self, key: Key, packet: SourcePacket) {
        self.stats.sources = self.stats.sources.wrapping_add(1);
        let held = self.challenger.take_if(|c| c.key == key);
        let held = held.map(|c| c.held).unwrap_or_default();
        self.challenger = None;
        let first = held.front().unwrap_or(&packet);
        self.current = Some(Current {
            key,
            heard: packet.received,
            is_over: false,
            highest: first.sequence_number.wrapping_sub(1),
            seen: 0,
            inserted: 0,
            inserted_at: 0,
            sets_at: None,
            sets: self.config.parameter_sets.clone().unwrap_or_default(),
        });
        let mut is_first = true;
        for packet in held.into_iter().chain([packet]) {
            let order = self
                .current
                .as_mut()
                .map(|c| c.order(packet.sequence_number));
            match order {
                Some(Order::Ahead(missing)) => self.stats.lost += u64::from(missing),
                Some(Order::Behind) => self.stats.reordered += 1,
                _ => continue,
            }
            self.give_out_in_source(packet, is_first);
            is_first = false;
        }
    }

    /// Numbers the packet, and inserts parameter sets before it if they are missing.
    fn give_out_in_source(&mut self, mut packet: SourcePacket, is_first: bool) {
        let Some(current) = &mut self.current else {
            return;
        };
        packet.source = self.stats.sources;
        packet.source_changed = is_first;
        let original = packet.sequence_number;
        let mut before = None;
        if self.config.repeat_parameter_sets {
            if current.sets.observe(&packet.payload) {
                current.sets_at = Some(packet.timestamp);
            }
            let is_needed = current.sets_at != Some(packet.timestamp)
                && current.sets.begins_bare_keyframe(&packet.payload);
            self.stats.bare_keyframes += u64::from(is_needed && !current.sets.is_complete());
            if is_needed && current.sets.is_complete() {
                let sets = SourcePacket {
                    sequence_number: original.wrapping_add(current.inserted),
                    marker: false,
                    payload: current.sets.to_payload().into(),
                    ..packet.clone()
                };
                packet.source_changed = false;
                current.sets_at = Some(packet.timestamp);
                current.inserted = current.inserted.wrapping_add(1);
                current.inserted_at = original;
                self.stats.parameter_sets += 1;
                before = Some(sets);
            }
        }
        // A late packet keeps the number it had before the last insertion.
        let is_older = original.wrapping_sub(current.inserted_at) > u16::MAX / 2;
        let inserted = current.inserted - u16::from(is_older && current.inserted > 0);
        packet.sequence_number = original.wrapping_add(inserted);
        for packet in before.into_iter().chain([packet]) {
            self.give_out(packet);
        }
    }

    fn give_out(&mut self, packet: SourcePacket) {
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        self.events.push_back(SourceEvent::Packet(packet));
    }

    fn take_rtcp(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<(), Ignored> {
        let packets = read_rtcp(datagram);
        if packets.is_empty() {
            return Err(Ignored::Malformed);
        }
        // RTCP usually comes from another port than RTP.
        let is_taken = |ssrc: u32, current: &Option<Current>| {
            let key = current.as_ref().map(|c| c.key);
            key.is_some_and(|k| k.ssrc == ssrc && k.from.ip() == from.ip())
        };
        for packet in packets {
            match packet {
                SenderPacket::SenderReport(info)
                    if self.config.every_ssrc || is_taken(info.ssrc, &self.current) =>
                {
                    self.events.push_back(SourceEvent::SenderReport(info));
                }
                SenderPacket::Bye(list) => {
                    for ssrc in list {
                        if is_taken(ssrc, &self.current)
                            && let Some(current) = &mut self.current
                            && !std::mem::replace(&mut current.is_over, true)
                        {
                            self.events.push_back(SourceEvent::Ended { ssrc });
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Position of a packet relative to earlier ones.
enum Order {
    /// Newer than all others, with this number of packets missing before it.
    Ahead(u16),
    /// Older, and not received before.
    Behind,
    Twice,
    /// Too far from the others.
    Elsewhere,
}

impl Current {
    fn order(&mut self, sequence: u16) -> Order {
        let ahead = sequence.wrapping_sub(self.highest);
        let behind = self.highest.wrapping_sub(sequence);
        if ahead != 0 && ahead <= MAX_DROPOUT {
            self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.highest = sequence;
            return Order::Ahead(ahead - 1);
        }
        if behind >= MAX_MISORDER {
            return Order::Elsewhere;
        }
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            return Order::Twice;
        }
        self.seen |= bit;
        Order::Behind
    }
}

#[cfg(test)]
mod tests;
