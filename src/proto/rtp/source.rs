//! Whose packets are taken: of all that may be sent to a port, one sender's at a time.
//!
//! A *source* is an address and an SSRC. The first to come is the *current* one. Another is ignored while the
//! current one is alive, and takes over when that has said BYE or has been silent for a while
//! ([`RtpSourceConfig::patience`]): this is what a sender that was killed and started again looks like. What the
//! newcomer has sent meanwhile is held and not lost, since its one keyframe for a long time may be in it. A
//! sender that begins anew under its old SSRC is seen by its sequence numbers (RFC 3550 appendix A.1).
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
use super::rtcp::{RtcpPacket, SenderInfo, read_rtcp};
use crate::proto::peer::RtpPacket;

pub use self::config::{Ignored, RtpSourceConfig, RtpSourceStats};

/// Sequence numbers further ahead than this are another beginning (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// How far behind the highest sequence number a packet may come; twice, it is taken once.
const MAX_MISORDER: u16 = 64;

/// Packets and reports given out and not polled.
const MAX_UNPOLLED: usize = 8192;

/// What a held packet costs besides its payload.
const PACKET_COST: usize = 64;

/// A packet that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourcePacket {
    /// Names the source: another number, another beginning of sequence numbers and timestamps. Counted from
    /// 1; with [`every_ssrc`](RtpSourceConfig::every_ssrc) it is the SSRC.
    pub source: u32,
    /// It is the first of its source.
    pub source_changed: bool,
    /// As the sender has it.
    pub ssrc: u32,
    /// What the payload is.
    pub payload_type: u8,
    /// Counts packets; wraps. Gaps are packets lost or still to come. Where parameter sets were put in, those
    /// that follow are renumbered.
    pub sequence_number: u16,
    /// In ticks of the payload's clock; wraps.
    pub timestamp: u32,
    /// With video, mostly the last packet of a frame.
    pub marker: bool,
    /// Without padding. May be empty.
    pub payload: Arc<[u8]>,
    /// When it came.
    pub received: Instant,
}

impl SourcePacket {
    /// The packet as a peer takes it ([`Peer::write_rtp`](crate::proto::peer::Peer::write_rtp)): its source
    /// stands where the SSRC does, so that the stream goes on when another takes over, whatever its SSRC.
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

/// What comes out of an [`RtpSource`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A packet that was taken, as it came: put in order it is not.
    Packet(SourcePacket),
    /// The current source says how its clocks go.
    SenderReport(SenderInfo),
    /// The current source has said goodbye; the next to come takes over at once.
    Ended {
        /// Its SSRC.
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
    /// Bit n: the packet n behind the highest has come.
    seen: u64,
    /// Parameter sets put in so far, and before which packet the last.
    inserted: u16,
    inserted_at: u16,
    /// The timestamp of the last parameter sets, put in or not.
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

/// Takes datagrams, gives out the packets of one sender at a time. See the [module](super).
#[derive(Debug)]
pub struct RtpSource {
    config: RtpSourceConfig,
    current: Option<Current>,
    challenger: Option<Challenger>,
    events: VecDeque<SourceEvent>,
    stats: RtpSourceStats,
}

impl RtpSource {
    /// A source that has heard nothing yet.
    pub fn new(config: RtpSourceConfig) -> Self {
        Self {
            config,
            current: None,
            challenger: None,
            events: VecDeque::new(),
            stats: RtpSourceStats::default(),
        }
    }

    /// Takes a datagram, RTP or RTCP, from whichever of the two ports. Then [`poll`](Self::poll) until
    /// nothing is left.
    ///
    /// # Errors
    ///
    /// Why it was not taken; it is counted as well, and nothing need be done.
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

    /// The next packet or report; `None`: not before the next datagram.
    pub fn poll(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }

    /// Address and SSRC of the current source.
    pub fn current(&self) -> Option<(SocketAddr, u32)> {
        self.current.as_ref().map(|c| (c.key.from, c.key.ssrc))
    }

    /// Address and SSRC of one that sends while another is the current one.
    pub fn waiting(&self) -> Option<(SocketAddr, u32)> {
        let key = self.challenger.as_ref().map(|c| c.key)?;
        (Some((key.from, key.ssrc)) != self.current()).then_some((key.from, key.ssrc))
    }

    /// What has been counted so far.
    pub fn stats(&self) -> RtpSourceStats {
        self.stats
    }

    /// From now on only this SSRC, or again any. A current source that is another is left at once.
    pub fn set_ssrc(&mut self, ssrc: Option<u32>) {
        self.config.ssrc = ssrc;
        self.leave_unwanted();
    }

    /// From now on only from this address, or again from any. A current source elsewhere is left at once.
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

    /// The next packet of the current source.
    fn go_on(&mut self, packet: SourcePacket) {
        if let Some(current) = &mut self.current {
            current.heard = packet.received;
            current.is_over = false;
            // It lives, so what another has sent until now will not be needed.
            if let Some(other) = &mut self.challenger {
                other.held.clear();
                other.bytes = 0;
            }
        }
        self.give_out_in_source(packet, false);
    }

    /// Keeps the packet of one that may take over. `again`: it is the current one itself, and two packets in
    /// sequence prove that it has begun anew.
    fn hold(&mut self, key: Key, packet: SourcePacket, again: bool) -> Result<(), Ignored> {
        let now = packet.received;
        let next = packet.sequence_number.wrapping_add(1);
        let patience = self.config.patience;
        let challenger = match &mut self.challenger {
            Some(c) if c.key == key => c,
            // One at a time here, too.
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

    /// A new current source: what was held of it, and this packet.
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

    /// Numbers the packet, and puts parameter sets before it where they are missing.
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
        // One that comes late keeps the number it had before the last insertion.
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
        // RTCP mostly comes from another port than RTP.
        let is_taken = |ssrc: u32, current: &Option<Current>| {
            let key = current.as_ref().map(|c| c.key);
            key.is_some_and(|k| k.ssrc == ssrc && k.from.ip() == from.ip())
        };
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport(info)
                    if self.config.every_ssrc || is_taken(info.ssrc, &self.current) =>
                {
                    self.events.push_back(SourceEvent::SenderReport(info));
                }
                RtcpPacket::Bye(list) => {
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

/// Where a packet stands among those before.
enum Order {
    /// Ahead of all, and so many are missing before it.
    Ahead(u16),
    /// Behind, and not seen before.
    Behind,
    Twice,
    /// Far from all.
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
