//! Sending and receiving frames, and keyframe requests.

use std::time::{Duration, Instant, SystemTime};

use str0m::media::{Frequency, MediaData, MediaTime, Mid, Rid};

use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::clock::{FrameTime, captured_at, duration_of, ticks_at};
use super::convert::codec_of_core;
use super::packet::{MediaMode, check_queue, stream_rx};
use super::{Bytes, Context, KEYFRAME_PATIENCE, Tracks, TransceiverId, extensions};
use crate::proto::media::Codec;
use crate::proto::media::jitter::Arrival;

/// A frame to send: a video frame or an audio packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedFrame {
    /// The encoded data: see [`Codec`] for its form. Clones share it.
    pub data: Bytes,
    /// Presentation time, from an arbitrary origin.
    pub time: FrameTime,
    /// The instant that `time` refers to, for synchronization of tracks; `None`: now.
    pub wallclock: Option<Instant>,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
}

impl EncodedFrame {
    /// Creates a frame with this media time.
    pub fn new(data: impl Into<Bytes>, time: impl Into<FrameTime>) -> Self {
        Self {
            data: data.into(),
            time: time.into(),
            wallclock: None,
            rid: None,
        }
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

/// A received frame, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedFrame {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// Media time, from an origin chosen by the sender.
    pub time: Duration,
    /// Media time in ticks of the codec's RTP clock, extended beyond 32 bits.
    pub rtp_timestamp: u64,
    /// Arrival time of its first packet.
    pub received: Instant,
    /// Capture time by the sender's clock; `None` before a sender report was received (RFC 3550 §6.4.1).
    pub captured: Option<SystemTime>,
    /// Set if nothing is missing between the previous frame and this one.
    pub contiguous: bool,
    /// Set if a decoder can start with this frame. Always set for audio.
    pub keyframe: bool,
    /// The encoded data.
    pub data: Bytes,
}

impl ReceivedFrame {
    /// Converts to a frame that can be sent, with the same data and time.
    pub fn to_encoded(&self) -> EncodedFrame {
        EncodedFrame::new(self.data.clone(), FrameTime::Ticks(self.rtp_timestamp))
            .wallclock(self.received)
    }
}

/// Kind of a keyframe request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyframeRequestKind {
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli,
    /// Full intra request (RFC 5104 §4.3.1).
    Fir,
}

/// A sender report: the sender's clocks and counters (RFC 3550 §6.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderReport {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The sender's wall clock.
    pub wallclock: SystemTime,
    /// The RTP timestamp that corresponds to [`wallclock`](Self::wallclock).
    pub rtp_timestamp: u32,
    /// Number of packets sent so far.
    pub packets: u32,
    /// Number of payload bytes sent so far.
    pub bytes: u32,
}

/// A layer that cannot be decoded until a keyframe arrives.
#[derive(Debug)]
pub(super) struct Repair {
    pub rid: Option<Rid>,
    waiting: bool,
    asked: Option<Instant>,
}

impl Repair {
    pub fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            // A first frame that is not a keyframe cannot be decoded.
            waiting: true,
            asked: None,
        }
    }

    /// Handles a frame. Returns `true` if a keyframe is to be requested now.
    pub fn wants_keyframe(&mut self, contiguous: bool, keyframe: bool, now: Instant) -> bool {
        self.waiting = !keyframe && (self.waiting || !contiguous);
        let is_due = self
            .asked
            .is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_PATIENCE);
        if self.waiting && is_due {
            self.asked = Some(now);
            return true;
        }
        false
    }
}

/// The core leaves the MTU less the SRTP tag, rounded down to a multiple of the cipher's block size, for a packet's
/// payload.
const SRTP_OVERHEAD: usize = 16;
const SRTP_BLOCK: usize = 16;

impl Tracks {
    /// Gives the core a frame. Returns `false` if it was accepted and dropped.
    pub fn send_frame(
        &mut self,
        id: TransceiverId,
        frame: &EncodedFrame,
        context: &mut Context<'_>,
    ) -> Result<bool, PeerError> {
        let (config, now) = (context.config, context.now);
        let limit = config.limits.max_frame_size;
        if frame.data.len() > limit {
            return Err(PeerError::LimitReached {
                limit: "max_frame_size",
                value: limit,
            });
        }
        let transceiver = self.find(id)?;
        let is_video = transceiver.is_video();
        let (line, sender) = (&transceiver.line, &mut transceiver.sender);
        let (Some(bound), Some(mid)) = (sender.bound(), line.mid()) else {
            return Err(PeerError::TrackNotBound);
        };
        let (rate, payload_type) = (bound.clock_rate, bound.payload_type);
        let rid = frame.rid.as_deref().map(Rid::from);
        if let Some(stream) = context.core.direct_api().stream_tx_by_mid(mid, rid) {
            check_queue(stream, config)?;
        }
        let wallclock = frame.wallclock.unwrap_or(now);
        let ticks = sender.clock.ticks(frame.time, rate, wallclock);
        if sender.is_paused() || frame.data.is_empty() {
            return Ok(false);
        }
        // An audio frame is one packet (RFC 7587 §4.2); the core would split it into several frames.
        let one_packet = (config.mtu - SRTP_OVERHEAD) / SRTP_BLOCK * SRTP_BLOCK;
        if !is_video && frame.data.len() > one_packet {
            return Err(PeerError::MessageTooLarge {
                size: frame.data.len(),
                limit: one_packet,
            });
        }
        if config.media_mode == MediaMode::Packets {
            return Err(wrong_mode("Frames"));
        }
        if is_video && let Some(stream) = context.core.direct_api().stream_tx_by_mid(mid, rid) {
            let round_trip = context.round_trip.or(sender.round_trip());
            let history = &mut sender.layer(rid).history;
            history.frame(frame.data.len(), now, round_trip, stream);
        }
        let Some(mut writer) = context.core.writer(mid) else {
            return Err(PeerError::TrackNotBound);
        };
        if let Some(rid) = rid {
            writer = writer.rid(rid);
        }
        if let Some(delay) = sender.hold.delay(now) {
            let (least, most) = extensions::playout_delay(delay);
            writer = writer.playout_delay(least, most);
        }
        let frequency = Frequency::new(rate).unwrap_or(Frequency::NINETY_KHZ);
        let time = MediaTime::new(ticks, frequency);
        writer
            .write(payload_type.into(), wallclock, time, frame.data.clone())
            .map_err(|e| PeerError::BadTrack(e.to_string()))?;
        sender.count(frame.data.len());
        Ok(true)
    }

    /// Handles a received frame, or a piece of one.
    pub fn on_media_data(&mut self, data: MediaData, context: &mut Context<'_>) {
        let Some(codec) = codec_of_core(data.params.spec().codec) else {
            return;
        };
        if codec == Codec::H265 {
            let mut whole = Vec::new();
            if let Some(transceiver) = self.by_core_mid(data.mid) {
                transceiver.receiver.join_pieces(data, &mut whole);
            }
            for data in whole {
                self.on_frame(codec, data, context);
            }
        } else {
            self.on_frame(codec, data, context);
        }
    }

    fn on_frame(&mut self, codec: Codec, data: MediaData, context: &mut Context<'_>) {
        let now = context.now;
        let Some(transceiver) = self.by_core_mid(data.mid) else {
            return;
        };
        let receiver = &mut transceiver.receiver;
        let keyframe = !codec.is_video() || data.is_keyframe();
        let asks =
            codec.is_video() && receiver.wants_keyframe(data.rid, data.contiguous, keyframe, now);
        receiver.count(data.data.len());
        let rate = codec.clock_rate();
        let ticks = ticks_at(data.time, rate);
        let id = transceiver.id();
        let frame = ReceivedFrame {
            transceiver: id,
            rid: data.rid.map(|r| r.to_string()),
            codec,
            payload_type: *data.pt,
            time: duration_of(ticks, rate),
            rtp_timestamp: ticks,
            received: data.network_time,
            captured: data
                .last_sender_info
                .and_then(|report| captured_at(&report, ticks as u32, rate)),
            contiguous: data.contiguous,
            keyframe,
            data: data.data,
        };
        let (first, last) = (**data.seq_range.start(), **data.seq_range.end());
        let arrival = Arrival {
            // Not reported by the core; a change shows in the sequence numbers.
            ssrc: 0,
            sequence: first as u16,
            packets: u16::try_from(last.saturating_sub(first) + 1).unwrap_or(u16::MAX),
            timestamp: ticks as u32,
            bytes: frame.data.len(),
            item: PeerEvent::Frame(frame),
        };
        let rid = data.rid.as_deref();
        self.play_out(id, rid, rate, arrival, context);
        if asks {
            let asked = ask_for_keyframe(data.mid, rid, KeyframeRequestKind::Pli, context);
            if let Err(e) = asked {
                log::debug!("no keyframe can be asked for: {e}");
            }
        }
    }

    /// Requests a keyframe from the remote peer.
    pub fn request_keyframe(
        &mut self,
        id: TransceiverId,
        rid: Option<&str>,
        kind: KeyframeRequestKind,
        context: &mut Context<'_>,
    ) -> Result<(), PeerError> {
        let mid = self.mid_of(id)?;
        ask_for_keyframe(mid, rid, kind, context)
    }

    pub fn on_keyframe_request(
        &mut self,
        request: &str0m::media::KeyframeRequest,
        context: &mut Context<'_>,
    ) {
        use str0m::media::KeyframeRequestKind as Core;
        let Some(transceiver) = self.by_core_mid(request.mid) else {
            return;
        };
        transceiver.sender.keyframe_requested(request.rid);
        context.events.push(PeerEvent::KeyframeRequest {
            transceiver: transceiver.id(),
            rid: request.rid.map(|r| r.to_string()),
            kind: match request.kind {
                Core::Pli => KeyframeRequestKind::Pli,
                Core::Fir => KeyframeRequestKind::Fir,
            },
        });
    }

    pub fn on_sender_report(
        &mut self,
        report: &str0m::media::SenderFeedback,
        context: &mut Context<'_>,
    ) {
        let Some(transceiver) = self.id_of(report.mid) else {
            return;
        };
        let info = &report.sender_info;
        context.events.push(PeerEvent::SenderReport(SenderReport {
            transceiver,
            rid: report.rid.map(|r| r.to_string()),
            wallclock: info.ntp_time,
            rtp_timestamp: info.rtp_time.numer() as u32,
            packets: info.sender_packet_count,
            bytes: info.sender_octet_count,
        }));
    }

    /// Handles that a received stream has become silent, or has resumed.
    pub fn on_stream_paused(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        muted: bool,
        context: &mut Context<'_>,
    ) {
        if let Some(transceiver) = self.id_of(mid) {
            context.events.push(PeerEvent::TrackMuted {
                transceiver,
                rid: rid.map(|r| r.to_string()),
                muted,
            });
        }
    }
}

fn ask_for_keyframe(
    mid: Mid,
    rid: Option<&str>,
    kind: KeyframeRequestKind,
    context: &mut Context<'_>,
) -> Result<(), PeerError> {
    use str0m::media::KeyframeRequestKind as Core;
    let kind = match kind {
        KeyframeRequestKind::Pli => Core::Pli,
        KeyframeRequestKind::Fir => Core::Fir,
    };
    if context.config.media_mode == MediaMode::Packets {
        return stream_rx(context.core, mid, rid, |stream| {
            stream.request_keyframe(kind)
        });
    }
    let Some(mut writer) = context.core.writer(mid) else {
        return Err(PeerError::BadTrack("it is not negotiated yet".into()));
    };
    writer
        .request_keyframe(rid.map(Rid::from), kind)
        .map_err(|e| PeerError::BadTrack(format!("asking for a keyframe: {e}")))
}

/// Returns the error for an operation of the other media mode.
pub(in super::super) fn wrong_mode(wanted: &str) -> PeerError {
    PeerError::BadTrack(format!(
        "this peer was not made with PeerConfig::media_mode(MediaMode::{wanted})"
    ))
}
