//! Sending and receiving RTP packets, for peers in [`MediaMode::Packets`].

use std::time::{Instant, SystemTime};

use str0m::Rtc;
use str0m::media::{Media, Mid, Rid, Rids};
use str0m::rtp::{RtpWrite, SeqNo, Ssrc, StreamTx};

use super::super::config::PeerConfig;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::clock::captured_at;
use super::extensions::HeaderExtensions;
use super::{Bytes, Context, Tracks, TransceiverId};
use crate::proto::media::Codec;
use crate::proto::media::jitter::Arrival;

/// Form in which media is written and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaMode {
    /// Whole frames: [`Peer::write_frame`](super::super::Peer::write_frame), [`PeerEvent::Frame`]. Packets that are
    /// lost and not repaired are left out.
    #[default]
    Frames,
    /// Unchanged RTP packets: [`Peer::write_rtp`](super::super::Peer::write_rtp), [`PeerEvent::Packet`]. For
    /// forwarding: packets are not reordered, and do not wait for missing ones.
    Packets,
}

/// Maximum number of packets accepted for sending and not yet polled.
pub(in super::super) const MAX_UNSENT_PACKETS: usize = 4096;

/// An RTP packet to send. SSRC, payload type, sequence number and timestamp are those of its source; they are rewritten
/// for each peer it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpPacket {
    /// SSRC of the source. When it changes, the stream continues with the new source.
    pub ssrc: u32,
    /// Sequence number. Packets of one source keep their order and their gaps.
    pub sequence_number: u16,
    /// Timestamp in ticks of the codec's RTP clock.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame, or the first audio packet after silence.
    pub marker: bool,
    /// End-to-end header extensions.
    pub extensions: HeaderExtensions,
    /// Payload without padding. Clones share it.
    pub payload: Bytes,
    /// The instant that `timestamp` refers to, for synchronization of tracks; `None`: now.
    pub wallclock: Option<Instant>,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
}

impl RtpPacket {
    /// Creates a packet of this source.
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

/// A received RTP packet, decrypted. Each packet is reported once; a retransmitted one (RFC 4588) is restored to its
/// original form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedPacket {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// SSRC of the source.
    pub ssrc: u32,
    /// Sequence number, extended beyond 16 bits.
    pub sequence_number: u64,
    /// Timestamp in ticks of the codec's RTP clock.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame, or the first audio packet after silence.
    pub marker: bool,
    /// End-to-end header extensions.
    pub extensions: HeaderExtensions,
    /// Payload without padding. Clones share it.
    pub payload: Bytes,
    /// Arrival time.
    pub received: Instant,
    /// Capture time by the sender's clock; `None` before a sender report was received (RFC 3550 §6.4.1).
    pub captured: Option<SystemTime>,
}

impl ReceivedPacket {
    /// Converts to a packet that can be sent, without its layer.
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

/// A received packet, from the core or from the late path.
pub(in super::super) struct Incoming<'a> {
    pub ssrc: u32,
    /// Extended sequence number.
    pub number: u64,
    pub payload_type: u8,
    pub timestamp: u32,
    pub marker: bool,
    pub extensions: HeaderExtensions,
    pub payload: Bytes,
    /// Capture time, given the clock rate.
    pub captured: &'a dyn Fn(u32) -> Option<SystemTime>,
    pub received: Instant,
}

impl Tracks {
    /// Passes a packet to the core. Returns `false` if it was accepted and dropped.
    pub fn send_packet(
        &mut self,
        id: TransceiverId,
        packet: &RtpPacket,
        context: &mut Context<'_>,
    ) -> Result<bool, PeerError> {
        let now = context.now;
        let transceiver = self.find(id)?;
        let is_video = transceiver.is_video();
        let (line, sender) = (&transceiver.line, &mut transceiver.sender);
        let (Some(bound), Some(mid)) = (sender.bound(), line.mid()) else {
            return Err(PeerError::TrackNotBound);
        };
        let (rate, payload_type) = (bound.clock_rate, bound.payload_type);
        let rid = packet.rid.as_deref().map(Rid::from);
        // The core has remote layers with the same name.
        let in_layers = sender.is_layered()
            && matches!(
                context.core.media(mid).map(Media::rids_tx),
                Some(Rids::Specific(_))
            );
        if in_layers != rid.is_some() {
            return Err(no_layer(packet.rid.as_deref()));
        }
        let mut api = context.core.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, rid) else {
            return Err(no_layer(packet.rid.as_deref()));
        };
        check_queue(stream, context.config)?;
        // The start is unpredictable (RFC 3711 §3.3.1), and low enough not to roll over at once.
        let first = (*stream.ssrc() & 0x7fff) as u16;
        let wallclock = packet.wallclock.unwrap_or(now);
        let is_paused = sender.is_paused();
        let round_trip = context.round_trip.or(sender.round_trip());
        let delay = sender.hold.delay(now).filter(|_| is_video);
        let layer = sender.layer(rid);
        let rewritten = layer.rewriter.rewrite(
            packet.ssrc,
            packet.sequence_number,
            packet.timestamp,
            rate,
            wallclock,
            first,
        );
        let Some(rewritten) = rewritten.filter(|_| !is_paused) else {
            return Ok(false);
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
            // Added to the delay in the packet, which covers the path to this peer.
            extensions.set_playout_delay(delay + extensions.playout_delay().unwrap_or_default());
        }
        stream.write_rtp(
            write
                .marker(packet.marker)
                .nackable(is_video)
                .ext_vals(extensions.to_core()),
        );
        sender.count(packet.payload.len());
        Ok(true)
    }

    /// Handles a packet from the core, like [`on_packet`](Self::on_packet).
    pub fn on_rtp_packet(
        &mut self,
        packet: str0m::rtp::RtpPacket,
        context: &mut Context<'_>,
    ) -> Option<(u32, u64)> {
        let timestamp = packet.header.timestamp;
        let report = packet.last_sender_info;
        let incoming = Incoming {
            ssrc: *packet.header.ssrc,
            number: *packet.seq_no,
            payload_type: *packet.header.payload_type,
            timestamp,
            marker: packet.header.marker,
            extensions: HeaderExtensions::from_core(packet.header.ext_vals),
            payload: packet.payload,
            captured: &|rate| captured_at(&report?, timestamp, rate),
            received: packet.timestamp,
        };
        self.on_packet(incoming, context)
    }

    /// Handles a packet that arrives for the first time. Returns its SSRC and number if its losses are to be tracked: the
    /// sender of it retransmits.
    pub fn on_packet(
        &mut self,
        packet: Incoming<'_>,
        context: &mut Context<'_>,
    ) -> Option<(u32, u64)> {
        let (mid, rid) = {
            let mut api = context.core.direct_api();
            let stream = api.stream_rx(&Ssrc::from(packet.ssrc))?;
            (stream.mid(), stream.rid())
        };
        let payload_type = packet.payload_type;
        let is_repairable = (context.core.codec_config().params().iter())
            .any(|p| *p.pt() == payload_type && p.fb_nack());
        let transceiver = self.by_core_mid(mid)?;
        let codec = transceiver.line.codec_of(payload_type);
        let codec = codec.filter(|_| transceiver.receiver.is_receiving())?;
        transceiver.receiver.count(packet.payload.len());
        let id = transceiver.id();
        let is_followed = is_repairable && transceiver.is_video();
        let followed = is_followed.then_some((packet.ssrc, packet.number));
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
        self.play_out(id, rid.as_deref(), codec.clock_rate(), arrival, context);
        followed
    }

    /// Records an outgoing RTP packet with this SSRC.
    pub fn leaves(&mut self, ssrc: u32, now: Instant) {
        for t in &mut self.list {
            t.sender.leaves(ssrc, now);
        }
    }
}

/// Returns the SSRC of a datagram; `None` if it is not RTP (RFC 7983 §7, RFC 5761 §4).
pub(in super::super) fn ssrc_of(datagram: &[u8]) -> Option<u32> {
    let [128..=191, 0..=191 | 224.., ..] = datagram else {
        return None;
    };
    let ssrc = datagram.get(8..)?.first_chunk()?;
    Some(u32::from_be_bytes(*ssrc))
}

/// Calls `act` with a received stream.
pub(super) fn stream_rx(
    core: &mut Rtc,
    mid: Mid,
    rid: Option<&str>,
    act: impl FnOnce(&mut str0m::rtp::StreamRx),
) -> Result<(), PeerError> {
    let mut api = core.direct_api();
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

/// Maximum size of a payload, in bytes: that of a 1,472-byte RTP packet, the largest that fits an Ethernet frame over
/// IPv4. SRTP and extensions make datagrams larger; payloads that must cross any path without fragmentation have at
/// most 1,100.
const MAX_PAYLOAD: usize = 1460;

/// Checks that a packet is small enough to be sent.
pub(in super::super) fn check_size(packet: &RtpPacket) -> Result<(), PeerError> {
    match packet.payload.len() {
        0..=MAX_PAYLOAD => Ok(()),
        size => Err(PeerError::MessageTooLarge {
            size,
            limit: MAX_PAYLOAD,
        }),
    }
}

/// Checks the limit of queued media; without bandwidth estimation nothing is queued.
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
