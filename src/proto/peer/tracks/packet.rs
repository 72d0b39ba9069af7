//! Sending and receiving RTP packets, for peers in [`MediaMode::Packets`].

use std::time::Instant;

use super::super::core::{CorePacket, PacketToSend, ReceiveStream, SendStream};
use super::super::values::{ReceivedPacket, RtpPacket};
use super::clock::captured_at;
use super::{
    Context, CoreMedia, Mid, PeerConfig, PeerError, PeerEvent, Rid, Tracks, TransceiverId,
};
use crate::proto::media::jitter::Arrival;

/// Maximum number of packets accepted for sending and not yet polled.
pub(in super::super) const MAX_UNSENT_PACKETS: usize = 4096;

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
        let in_layers = sender.is_layered() && context.core.sends_layers(mid);
        if in_layers != rid.is_some() {
            return Err(no_layer(packet.rid.as_deref()));
        }
        let config = context.config;
        let wallclock = packet.wallclock.unwrap_or(now);
        let is_paused = sender.is_paused();
        let round_trip = context.round_trip.or(sender.round_trip());
        let delay = sender.hold.delay(now).filter(|_| is_video);
        let write = |stream: &mut SendStream<'_>| {
            check_queue(stream, config)?;
            // The start is unpredictable (RFC 3711 §3.3.1), and low enough not to roll over at once.
            let first = (stream.ssrc() & 0x7fff) as u16;
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
            let mut extensions = packet.extensions.clone();
            if let Some(delay) = delay {
                // Added to the delay in the packet, which covers the path to this peer.
                extensions
                    .set_playout_delay(delay + extensions.playout_delay().unwrap_or_default());
            }
            stream.write(PacketToSend {
                payload_type,
                number: rewritten.sequence_number,
                timestamp: rewritten.timestamp,
                marker: packet.marker,
                is_kept: is_video,
                wallclock,
                extensions,
                payload: packet.payload.clone(),
            });
            sender.count(packet.payload.len());
            Ok(true)
        };
        let written = context.core.sender(mid, rid, write);
        written.unwrap_or_else(|| Err(no_layer(packet.rid.as_deref())))
    }

    /// Handles a packet that arrives for the first time, from the core or repaired here. Returns its SSRC and number if
    /// its losses are to be tracked: the sender of it retransmits.
    pub fn on_packet(
        &mut self,
        packet: CorePacket,
        context: &mut Context<'_>,
    ) -> Option<(u32, u64)> {
        let (mid, rid) = context.core.received_on(packet.ssrc)?;
        let payload_type = packet.payload_type;
        let mut repairable = context.core.repairable_types();
        let is_repairable = repairable.any(|repairable| repairable == payload_type);
        drop(repairable);
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
            captured: (packet.clock)
                .and_then(|clock| captured_at(clock, packet.timestamp, codec.clock_rate())),
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
    core: &mut CoreMedia<'_>,
    mid: Mid,
    rid: Option<&str>,
    act: impl FnOnce(&mut ReceiveStream<'_>),
) -> Result<(), PeerError> {
    let done = core.receiver(mid, rid.map(Rid::from), act);
    done.ok_or_else(|| {
        PeerError::BadTrack(match rid {
            None => "nothing has been received there yet".into(),
            Some(rid) => format!("nothing has been received of the layer {rid:?}"),
        })
    })
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
pub(super) fn check_queue(stream: &SendStream<'_>, config: &PeerConfig) -> Result<(), PeerError> {
    let limit = config.limits.max_media_buffer;
    let buffered = match config.bandwidth_estimation {
        Some(_) => stream.queued(),
        None => 0,
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
