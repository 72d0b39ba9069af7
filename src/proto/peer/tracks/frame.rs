//! Sending and receiving frames, and keyframe requests.

use std::time::Instant;

use super::super::core::{CoreFrame, FrameToSend, SenderClock};
use super::super::values::{
    EncodedFrame, KeyframeRequestKind, ReceivedFrame, SenderReport, playout_delay,
};
use super::clock::{captured_at, duration_of};
use super::packet::{check_queue, stream_rx};
use super::{
    Context, KEYFRAME_PATIENCE, MediaMode, Mid, PeerError, PeerEvent, Rid, Tracks, TransceiverId,
};
use crate::proto::media::Codec;
use crate::proto::media::jitter::Arrival;

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
        let queue = (context.core).sender(mid, rid, |stream| check_queue(stream, config));
        queue.unwrap_or(Ok(()))?;
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
        if is_video {
            let round_trip = context.round_trip.or(sender.round_trip());
            context.core.sender(mid, rid, |stream| {
                let history = &mut sender.layer(rid).history;
                history.frame(frame.data.len(), now, round_trip, stream);
            });
        }
        let written = FrameToSend {
            payload_type,
            ticks,
            rate,
            wallclock,
            playout_delay: sender.hold.delay(now).map(playout_delay),
            data: frame.data.clone(),
        };
        context.core.write_frame(mid, rid, written)?;
        sender.count(frame.data.len());
        Ok(true)
    }

    /// Handles a received frame, or a piece of one.
    pub fn on_piece(&mut self, piece: CoreFrame, context: &mut Context<'_>) {
        if piece.codec == Codec::H265 {
            let mut whole = Vec::new();
            if let Some(transceiver) = self.by_core_mid(piece.mid) {
                transceiver.receiver.join_pieces(piece, &mut whole);
            }
            for frame in whole {
                self.on_frame(frame, context);
            }
        } else {
            self.on_frame(piece, context);
        }
    }

    fn on_frame(&mut self, frame: CoreFrame, context: &mut Context<'_>) {
        let now = context.now;
        let Some(transceiver) = self.by_core_mid(frame.mid) else {
            return;
        };
        let receiver = &mut transceiver.receiver;
        let (codec, contiguous) = (frame.codec, frame.is_contiguous);
        let keyframe = !codec.is_video() || frame.is_keyframe;
        let asks =
            codec.is_video() && receiver.wants_keyframe(frame.rid, contiguous, keyframe, now);
        receiver.count(frame.data.len());
        let (rate, ticks) = (codec.clock_rate(), frame.ticks);
        let id = transceiver.id();
        let received = ReceivedFrame {
            transceiver: id,
            rid: frame.rid.map(|r| r.to_string()),
            codec,
            payload_type: frame.payload_type,
            time: duration_of(ticks, rate),
            rtp_timestamp: ticks,
            received: frame.received,
            captured: (frame.clock).and_then(|clock| captured_at(clock, ticks as u32, rate)),
            contiguous,
            keyframe,
            data: frame.data,
        };
        let (first, last) = frame.numbers;
        let arrival = Arrival {
            // Not reported by the core; a change shows in the sequence numbers.
            ssrc: 0,
            sequence: first as u16,
            packets: u16::try_from(last.saturating_sub(first) + 1).unwrap_or(u16::MAX),
            timestamp: ticks as u32,
            bytes: received.data.len(),
            item: PeerEvent::Frame(received),
        };
        let rid = frame.rid.as_deref();
        self.play_out(id, rid, rate, arrival, context);
        if asks {
            let asked = ask_for_keyframe(frame.mid, rid, KeyframeRequestKind::Pli, context);
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

    /// Handles a keyframe request of the remote peer.
    pub fn on_keyframe_request(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
        context: &mut Context<'_>,
    ) {
        let Some(transceiver) = self.by_core_mid(mid) else {
            return;
        };
        transceiver.sender.keyframe_requested(rid);
        context.events.push(PeerEvent::KeyframeRequest {
            transceiver: transceiver.id(),
            rid: rid.map(|r| r.to_string()),
            kind,
        });
    }

    /// Handles a sender report; `packets` and `bytes` are what was sent until then.
    pub fn on_sender_report(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        clock: SenderClock,
        (packets, bytes): (u32, u32),
        context: &mut Context<'_>,
    ) {
        let Some(transceiver) = self.id_of(mid) else {
            return;
        };
        context.events.push(PeerEvent::SenderReport(SenderReport {
            transceiver,
            rid: rid.map(|r| r.to_string()),
            wallclock: clock.wallclock,
            rtp_timestamp: clock.rtp_timestamp,
            packets,
            bytes,
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
    if context.config.media_mode == MediaMode::Packets {
        return stream_rx(&mut context.core, mid, rid, |stream| {
            stream.request_keyframe(kind);
        });
    }
    context.core.request_keyframe(mid, rid.map(Rid::from), kind)
}

/// Returns the error for an operation of the other media mode.
pub(in super::super) fn wrong_mode(wanted: &str) -> PeerError {
    PeerError::BadTrack(format!(
        "this peer was not made with PeerConfig::media_mode(MediaMode::{wanted})"
    ))
}
