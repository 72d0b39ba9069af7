//! RTP packets in and out, of a peer in [`MediaMode::Packets`].

use std::time::{Instant, SystemTime};

use str0m::media::{Media, Mid, Rid, Rids};
use str0m::rtp::{RtpWrite, SeqNo, Ssrc, StreamTx};

use super::super::Peer;
use super::super::config::PeerConfig;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::codec::MediaKind;
use super::extensions::HeaderExtensions;
use super::frame::captured_at;
use super::history::History;
use super::rewrite::Rewriter;
use super::{Bytes, TransceiverId};
use crate::proto::media::Codec;
use crate::proto::media::jitter::Arrival;

/// In what pieces media is given and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaMode {
    /// Whole frames: [`Peer::write_frame`], [`PeerEvent::Frame`]. What is lost and cannot be had again is
    /// left out.
    #[default]
    Frames,
    /// RTP packets as they are: [`Peer::write_rtp`], [`PeerEvent::Packet`]. For passing on: they are not
    /// put in order, and nothing waits for what is missing.
    Packets,
}

/// Packets accepted for sending and not yet polled from a peer.
pub(super) const MAX_UNSENT_PACKETS: usize = 4096;

/// An RTP packet to be sent. SSRC, payload type, sequence number and timestamp are those of its source;
/// they are rewritten for each peer it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpPacket {
    /// The source. When it changes, the stream goes on with the new one where the old one ended.
    pub ssrc: u32,
    /// The sequence number. Packets of one source keep their order and their gaps.
    pub sequence_number: u16,
    /// In ticks of the codec's clock.
    pub timestamp: u32,
    /// The last packet of a picture, or the first after silence.
    pub marker: bool,
    /// Header extensions, from end to end.
    pub extensions: HeaderExtensions,
    /// What is behind the header, without padding. A clone shares it.
    pub payload: Bytes,
    /// The moment that `timestamp` stands for, for what is to be played in step; `None`: now.
    pub wallclock: Option<Instant>,
    /// Which layer, for simulcast.
    pub rid: Option<String>,
}

impl RtpPacket {
    /// A packet of this source.
    pub fn new(ssrc: u32, sequence_number: u16, timestamp: u32, payload: impl Into<Bytes>) -> Self {
        Self {
            ssrc,
            sequence_number,
            timestamp,
            marker: false,
            extensions: HeaderExtensions::EMPTY,
            payload: payload.into(),
            wallclock: None,
            rid: None,
        }
    }

    /// Sets [`marker`](Self::marker).
    #[must_use]
    pub fn marker(mut self, marker: bool) -> Self {
        self.marker = marker;
        self
    }

    /// Sets [`extensions`](Self::extensions).
    #[must_use]
    pub fn extensions(mut self, extensions: HeaderExtensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets [`wallclock`](Self::wallclock).
    #[must_use]
    pub fn wallclock(mut self, wallclock: Instant) -> Self {
        self.wallclock = Some(wallclock);
        self
    }

    /// Sets [`rid`](Self::rid).
    #[must_use]
    pub fn rid(mut self, rid: impl Into<String>) -> Self {
        self.rid = Some(rid.into());
        self
    }
}

/// An RTP packet that has come: decrypted, once each, and as it was sent if it was sent again (RFC 4588).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedPacket {
    /// On which transceiver.
    pub transceiver: TransceiverId,
    /// Of which layer, for simulcast.
    pub rid: Option<String>,
    /// What it is encoded with.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Its source.
    pub ssrc: u32,
    /// Its sequence number, counted on beyond 16 bits.
    pub sequence_number: u64,
    /// In ticks of the codec's clock.
    pub timestamp: u32,
    /// The last packet of a picture, or the first after silence.
    pub marker: bool,
    /// Header extensions, from end to end.
    pub extensions: HeaderExtensions,
    /// What is behind the header, without padding. A clone shares it.
    pub payload: Bytes,
    /// When it came.
    pub received: Instant,
    /// When it was taken, by the sender's clock, once a sender report has told how that goes
    /// (RFC 3550 §6.4.1).
    pub captured: Option<SystemTime>,
}

impl ReceivedPacket {
    /// The packet as it can be sent on, without its layer.
    pub fn to_packet(&self) -> RtpPacket {
        RtpPacket {
            ssrc: self.ssrc,
            sequence_number: self.sequence_number as u16,
            timestamp: self.timestamp,
            marker: self.marker,
            extensions: self.extensions.clone(),
            payload: self.payload.clone(),
            wallclock: Some(self.received),
            rid: None,
        }
    }
}

/// What is sent of one layer.
#[derive(Debug)]
pub(super) struct SentLayer {
    rid: Option<Rid>,
    rewriter: Rewriter,
    pub history: History,
}

/// A packet that has come, from the core or behind its back.
pub(in super::super) struct Incoming<'a> {
    pub ssrc: u32,
    /// With its rollovers.
    pub number: u64,
    pub payload_type: u8,
    pub timestamp: u32,
    pub marker: bool,
    pub extensions: HeaderExtensions,
    pub payload: Bytes,
    /// When it was taken, by the rate of its clock.
    pub captured: &'a dyn Fn(u32) -> Option<SystemTime>,
    pub received: Instant,
}

impl Peer {
    pub(super) fn send_packet(
        &mut self,
        id: TransceiverId,
        packet: &RtpPacket,
    ) -> Result<(), PeerError> {
        if packet.payload.len() > MAX_PAYLOAD {
            return Err(PeerError::MessageTooLarge {
                size: packet.payload.len(),
                limit: MAX_PAYLOAD,
            });
        }
        if self.unsent >= MAX_UNSENT_PACKETS || self.out.len() >= MAX_UNSENT_PACKETS {
            return Err(PeerError::LimitReached {
                limit: "unsent packets of a peer",
                value: MAX_UNSENT_PACKETS,
            });
        }
        let now = self.now;
        let transceiver = self.tracks.find(id)?;
        let (Some(bound), Some(mid)) = (&transceiver.bound, transceiver.mid) else {
            return Err(PeerError::TrackNotBound);
        };
        let (rate, payload_type) = (bound.clock_rate, bound.payload_type);
        let rid = packet.rid.as_deref().map(Rid::from);
        // The core has layers of the other side under the same name.
        let in_layers = !transceiver.send_rids.is_empty()
            && matches!(
                self.rtc.media(mid).map(Media::rids_tx),
                Some(Rids::Specific(_))
            );
        if in_layers != rid.is_some() {
            return Err(no_layer(packet.rid.as_deref()));
        }
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, rid) else {
            return Err(no_layer(packet.rid.as_deref()));
        };
        check_queue(stream, &self.config)?;
        // Nobody knows where a stream begins (RFC 3711 §3.3.1), low enough not to roll over at once.
        let first = (*stream.ssrc() & 0x7fff) as u16;
        let wallclock = packet.wallclock.unwrap_or(now);
        let (paused, is_video) = (transceiver.paused, transceiver.kind == MediaKind::Video);
        let round_trip = self.stats.round_trip_time.or(transceiver.round_trip());
        let delay = transceiver.hold.delay(now).filter(|_| is_video);
        let layer = transceiver.layer(rid);
        let rewritten = layer.rewriter.rewrite(
            packet.ssrc,
            packet.sequence_number,
            packet.timestamp,
            rate,
            wallclock,
            first,
        );
        let Some(rewritten) = rewritten.filter(|_| !paused) else {
            return Ok(());
        };
        if is_video {
            let timestamp = rewritten.timestamp;
            layer.history.packet(timestamp, now, round_trip, stream);
        }
        let number = SeqNo::from(rewritten.sequence_number);
        let write = RtpWrite::new(
            payload_type.into(),
            number,
            rewritten.timestamp,
            wallclock,
            packet.payload.clone(),
        );
        let mut extensions = packet.extensions.clone();
        if let Some(delay) = delay {
            // On top of what is said already: that is for the way to here.
            extensions.set_playout_delay(delay + extensions.playout_delay().unwrap_or_default());
        }
        stream.write_rtp(
            write
                .marker(packet.marker)
                .nackable(is_video)
                .ext_vals(extensions.to_core()),
        );
        transceiver.has_sent = true;
        transceiver.sent.0 += 1;
        transceiver.sent.1 += packet.payload.len() as u64;
        self.unsent += 1;
        self.dirty = true;
        Ok(())
    }

    pub(in super::super) fn on_rtp_packet(&mut self, packet: str0m::rtp::RtpPacket) {
        let timestamp = packet.header.timestamp;
        let report = packet.last_sender_info;
        self.on_packet(Incoming {
            ssrc: *packet.header.ssrc,
            number: *packet.seq_no,
            payload_type: *packet.header.payload_type,
            timestamp,
            marker: packet.header.marker,
            extensions: HeaderExtensions::from_core(packet.header.ext_vals),
            payload: packet.payload,
            captured: &|rate| captured_at(&report?, timestamp, rate),
            received: packet.timestamp,
        });
    }

    /// A packet has come that has not come before.
    pub(in super::super) fn on_packet(&mut self, packet: Incoming<'_>) {
        let (mid, rid) = {
            let mut api = self.rtc.direct_api();
            match api.stream_rx(&Ssrc::from(packet.ssrc)) {
                Some(stream) => (stream.mid(), stream.rid()),
                None => return,
            }
        };
        let payload_type = packet.payload_type;
        let is_repairable = (self.rtc.codec_config().params().iter())
            .any(|p| *p.pt() == payload_type && p.fb_nack());
        let Some(transceiver) = self.tracks.by_core_mid(mid) else {
            return;
        };
        let codec = transceiver
            .codecs
            .iter()
            .find(|c| c.payload_type == payload_type);
        let Some(codec) = codec.map(|c| c.codec).filter(|_| transceiver.is_receiving) else {
            return;
        };
        transceiver.received.0 += 1;
        transceiver.received.1 += packet.payload.len() as u64;
        let id = transceiver.id;
        if is_repairable && transceiver.kind == MediaKind::Video {
            self.packet_came(packet.ssrc, packet.number);
        }
        let received = ReceivedPacket {
            transceiver: id,
            rid: rid.map(|r| r.to_string()),
            codec,
            payload_type,
            ssrc: packet.ssrc,
            sequence_number: packet.number,
            timestamp: packet.timestamp,
            marker: packet.marker,
            captured: (packet.captured)(codec.clock_rate()),
            extensions: packet.extensions,
            payload: packet.payload,
            received: packet.received,
        };
        let arrival = Arrival {
            ssrc: received.ssrc,
            sequence: received.sequence_number as u16,
            packets: 1,
            timestamp: received.timestamp,
            bytes: received.payload.len(),
            item: PeerEvent::Packet(received),
        };
        self.play_out(id, rid.as_deref(), codec.clock_rate(), arrival);
    }

    /// A datagram leaves: if it is RTP (RFC 7983 §7, RFC 5761 §4), it may be what is sent again.
    pub(in super::super) fn packet_leaves(&mut self, datagram: &[u8]) {
        let [128..=191, kind, ..] = datagram else {
            return;
        };
        if let (Some(ssrc), 0..=191 | 224..) = (datagram.get(8..12), kind) {
            let ssrc = ssrc.iter().fold(0, |ssrc, b| ssrc << 8 | u32::from(*b));
            let now = self.now;
            for t in &mut self.tracks.list {
                t.leaves(ssrc, now);
            }
            self.feedback.again.leaves(datagram, now);
        }
    }

    /// Gives the core the time at which what was written is sent.
    pub(in super::super) fn flush_written(&mut self) {
        if self.unsent > 0 {
            self.unsent = 0;
            self.core_timeout();
        }
    }

    pub(super) fn stream_rx(
        &mut self,
        mid: Mid,
        rid: Option<&str>,
        act: impl FnOnce(&mut str0m::rtp::StreamRx),
    ) -> Result<(), PeerError> {
        let mut api = self.rtc.direct_api();
        match api.stream_rx_by_mid(mid, rid.map(Rid::from)) {
            Some(stream) => {
                act(stream);
                Ok(())
            }
            None => Err(PeerError::BadTrack(match rid {
                None => "nothing has been received there yet".into(),
                Some(rid) => format!("nothing has been received of the layer {rid:?}"),
            })),
        }
    }
}

/// Bytes of payload that are sent: as many as an RTP packet of 1,472 bytes has, the most that fits an
/// Ethernet frame over IPv4. SRTP, and extensions, make larger datagrams of them than that; what is to cross any
/// path without fragments has at most 1,100.
const MAX_PAYLOAD: usize = 1460;

/// Without an estimate of what the path carries nothing waits.
pub(super) fn check_queue(stream: &StreamTx, config: &PeerConfig) -> Result<(), PeerError> {
    let limit = config.limits.max_media_buffer;
    let buffered = match stream.queue_info() {
        Some(queue) if config.bandwidth_estimation.is_some() => queue.byte_size(),
        _ => 0,
    };
    if buffered > limit {
        return Err(PeerError::BufferFull { buffered, limit });
    }
    Ok(())
}

fn no_layer(rid: Option<&str>) -> PeerError {
    PeerError::BadTrack(match rid {
        None => "this track is sent in layers; say in which".into(),
        Some(rid) => format!("the layer {rid:?} was not negotiated"),
    })
}

impl super::Transceiver {
    /// Layers are few: those that were negotiated.
    pub(super) fn layer(&mut self, rid: Option<Rid>) -> &mut SentLayer {
        let index = match self.layers.iter().position(|l| l.rid == rid) {
            Some(index) => index,
            None => {
                self.layers.push(SentLayer {
                    rid,
                    rewriter: Rewriter::default(),
                    history: History::default(),
                });
                self.layers.len() - 1
            }
        };
        &mut self.layers[index]
    }

    /// An RTP packet of this SSRC leaves.
    pub(super) fn leaves(&mut self, ssrc: u32, now: Instant) {
        for layer in &mut self.layers {
            layer.history.leaves(ssrc, now);
        }
    }

    /// The other side wants a keyframe of this layer.
    pub(super) fn keyframe_requested(&mut self, rid: Option<Rid>) {
        let mut layers = self.layers.iter_mut();
        if let Some(layer) = layers.find(|l| l.rid == rid) {
            layer.history.keyframe_requested();
        }
    }

    /// What comes next is another source.
    pub(super) fn restart_source(&mut self) {
        self.clock.restart();
        for layer in &mut self.layers {
            layer.rewriter.restart();
        }
    }
}
