//! Sending and receiving frames, and keyframe requests.

use std::time::{Duration, Instant, SystemTime};

use str0m::media::{Frequency, MediaData, MediaTime, Mid, Rid};
use str0m::rtp::rtcp::SenderInfo;

use super::super::Peer;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::codec::{MediaKind, codec_of_core};
use super::packet::{MediaMode, check_queue};
use super::pieces::Pieces;
use super::{Bytes, KEYFRAME_PATIENCE, MAX_LAYERS, TransceiverId, extensions};
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

/// A media time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTime {
    /// A duration from an arbitrary origin.
    Media(Duration),
    /// Ticks of the codec's RTP clock, extended beyond 32 bits.
    Ticks(u64),
}

impl From<Duration> for FrameTime {
    fn from(time: Duration) -> Self {
        Self::Media(time)
    }
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

/// Media time of what is sent. A new source continues the previous one's.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Offset added to the times of this source, in ticks.
    offset: i128,
    /// Ticks and wall clock of the last frame sent.
    last: Option<(u64, Instant)>,
    restarting: bool,
    rate: u32,
}

impl Clock {
    pub fn restart(&mut self) {
        self.restarting = self.last.is_some();
    }

    fn ticks(&mut self, time: FrameTime, rate: u32, wallclock: Instant) -> u64 {
        let own = match time {
            FrameTime::Media(time) => {
                let scaled = time.as_nanos() * u128::from(rate) + 500_000_000;
                i128::try_from(scaled / 1_000_000_000).unwrap_or(0)
            }
            FrameTime::Ticks(ticks) => i128::from(ticks),
        };
        if let Some((ticks, at)) = self.last
            && (self.restarting || self.rate != rate)
        {
            let gap = wallclock.saturating_duration_since(at).as_nanos() * u128::from(rate)
                / 1_000_000_000;
            let next = i128::from(ticks) + i128::try_from(gap).unwrap_or(0).max(1);
            self.offset = next - own;
        }
        self.restarting = false;
        self.rate = rate;
        let ticks = u64::try_from(own + self.offset).unwrap_or(0);
        self.last = Some((ticks, wallclock));
        ticks
    }
}

/// A layer that cannot be decoded until a keyframe arrives.
#[derive(Debug)]
pub(super) struct Repair {
    rid: Option<Rid>,
    waiting: bool,
    asked: Option<Instant>,
}

/// The core leaves the MTU less the SRTP tag, rounded down to a multiple of the cipher's block size, for a packet's
/// payload.
const SRTP_OVERHEAD: usize = 16;
const SRTP_BLOCK: usize = 16;

impl Peer {
    pub(super) fn send_frame(
        &mut self,
        id: TransceiverId,
        frame: &EncodedFrame,
    ) -> Result<(), PeerError> {
        let limit = self.config.limits.max_frame_size;
        if frame.data.len() > limit {
            return Err(PeerError::LimitReached {
                limit: "max_frame_size",
                value: limit,
            });
        }
        let now = self.now;
        let transceiver = self.tracks.find(id)?;
        let (Some(bound), Some(mid)) = (&transceiver.bound, transceiver.mid) else {
            return Err(PeerError::TrackNotBound);
        };
        let rid = frame.rid.as_deref().map(Rid::from);
        if let Some(stream) = self.core.direct_api().stream_tx_by_mid(mid, rid) {
            check_queue(stream, &self.config)?;
        }
        let rate = bound.clock_rate;
        let wallclock = frame.wallclock.unwrap_or(now);
        let ticks = transceiver.clock.ticks(frame.time, rate, wallclock);
        if transceiver.paused || frame.data.is_empty() {
            return Ok(());
        }
        let payload_type = bound.payload_type.into();
        // An audio frame is one packet (RFC 7587 §4.2); the core would split it into several frames.
        let one_packet = (self.config.mtu - SRTP_OVERHEAD) / SRTP_BLOCK * SRTP_BLOCK;
        if transceiver.kind == MediaKind::Audio && frame.data.len() > one_packet {
            return Err(PeerError::MessageTooLarge {
                size: frame.data.len(),
                limit: one_packet,
            });
        }
        if self.config.media_mode == MediaMode::Packets {
            return Err(wrong_mode("Frames"));
        }
        if transceiver.kind == MediaKind::Video
            && let Some(stream) = self.core.direct_api().stream_tx_by_mid(mid, rid)
        {
            let round_trip = self.stats.round_trip_time.or(transceiver.round_trip());
            let history = &mut transceiver.layer(rid).history;
            history.frame(frame.data.len(), now, round_trip, stream);
        }
        let Some(mut writer) = self.core.writer(mid) else {
            return Err(PeerError::TrackNotBound);
        };
        if let Some(rid) = rid {
            writer = writer.rid(rid);
        }
        if let Some(delay) = transceiver.hold.delay(now) {
            let (least, most) = extensions::playout_delay(delay);
            writer = writer.playout_delay(least, most);
        }
        let frequency = Frequency::new(rate).unwrap_or(Frequency::NINETY_KHZ);
        let time = MediaTime::new(ticks, frequency);
        writer
            .write(payload_type, wallclock, time, frame.data.clone())
            .map_err(|e| PeerError::BadTrack(e.to_string()))?;
        transceiver.has_sent = true;
        transceiver.sent.0 += 1;
        transceiver.sent.1 += frame.data.len() as u64;
        // The core packetizes in its timeout.
        self.core_timeout();
        Ok(())
    }

    pub(in super::super) fn on_media_data(&mut self, data: MediaData) {
        let Some(codec) = codec_of_core(data.params.spec().codec) else {
            return;
        };
        if codec == Codec::H265 {
            let mut whole = Vec::new();
            if let Some(transceiver) = self.tracks.by_core_mid(data.mid) {
                transceiver.join_pieces(data, &mut whole);
            }
            whole.into_iter().for_each(|d| self.on_frame(codec, d));
        } else {
            self.on_frame(codec, data);
        }
    }

    fn on_frame(&mut self, codec: Codec, data: MediaData) {
        let now = self.now;
        let Some(transceiver) = self.tracks.by_core_mid(data.mid) else {
            return;
        };
        let keyframe = MediaKind::of(codec) == MediaKind::Audio || data.is_keyframe();
        let asks = MediaKind::of(codec) == MediaKind::Video
            && transceiver.wants_keyframe(data.rid, data.contiguous, keyframe, now);
        transceiver.received.0 += 1;
        transceiver.received.1 += data.data.len() as u64;
        let rate = codec.clock_rate();
        let ticks = ticks_at(data.time, rate);
        let frame = ReceivedFrame {
            transceiver: transceiver.id,
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
        let id = transceiver.id;
        let rid = data.rid.map(|r| r.to_string());
        self.play_out(id, rid.as_deref(), rate, arrival);
        if asks {
            let rid = data.rid.map(|r| r.to_string());
            let asked = self.ask_for_keyframe(data.mid, rid.as_deref(), KeyframeRequestKind::Pli);
            if let Err(e) = asked {
                log::debug!("no keyframe can be asked for: {e}");
            }
        }
    }

    pub(super) fn ask_for_keyframe(
        &mut self,
        mid: Mid,
        rid: Option<&str>,
        kind: KeyframeRequestKind,
    ) -> Result<(), PeerError> {
        use str0m::media::KeyframeRequestKind as Core;
        let kind = match kind {
            KeyframeRequestKind::Pli => Core::Pli,
            KeyframeRequestKind::Fir => Core::Fir,
        };
        if self.config.media_mode == MediaMode::Packets {
            return self.stream_rx(mid, rid, |stream| stream.request_keyframe(kind));
        }
        let Some(mut writer) = self.core.writer(mid) else {
            return Err(PeerError::BadTrack("it is not negotiated yet".into()));
        };
        writer
            .request_keyframe(rid.map(Rid::from), kind)
            .map_err(|e| PeerError::BadTrack(format!("asking for a keyframe: {e}")))
    }

    pub(in super::super) fn on_keyframe_request(
        &mut self,
        request: &str0m::media::KeyframeRequest,
    ) {
        use str0m::media::KeyframeRequestKind as Core;
        let Some(transceiver) = self.tracks.by_core_mid(request.mid) else {
            return;
        };
        transceiver.keyframe_requested(request.rid);
        let event = PeerEvent::KeyframeRequest {
            transceiver: transceiver.id,
            rid: request.rid.map(|r| r.to_string()),
            kind: match request.kind {
                Core::Pli => KeyframeRequestKind::Pli,
                Core::Fir => KeyframeRequestKind::Fir,
            },
        };
        self.event(event);
    }

    pub(in super::super) fn on_sender_report(&mut self, report: &str0m::media::SenderFeedback) {
        let Some(transceiver) = self.tracks.by_core_mid(report.mid) else {
            return;
        };
        let info = &report.sender_info;
        let event = PeerEvent::SenderReport(SenderReport {
            transceiver: transceiver.id,
            rid: report.rid.map(|r| r.to_string()),
            wallclock: info.ntp_time,
            rtp_timestamp: info.rtp_time.numer() as u32,
            packets: info.sender_packet_count,
            bytes: info.sender_octet_count,
        });
        self.event(event);
    }

    /// Handles that a received stream has become silent, or has resumed.
    pub(in super::super) fn on_stream_paused(&mut self, mid: Mid, rid: Option<Rid>, muted: bool) {
        let Some(transceiver) = self.tracks.by_core_mid(mid) else {
            return;
        };
        let event = PeerEvent::TrackMuted {
            transceiver: transceiver.id,
            rid: rid.map(|r| r.to_string()),
            muted,
        };
        self.event(event);
    }
}

impl super::Transceiver {
    fn join_pieces(&mut self, data: MediaData, whole: &mut Vec<MediaData>) {
        let index = match self.pieces.iter().position(|p| p.rid == data.rid) {
            Some(index) => index,
            None if self.pieces.len() >= MAX_LAYERS => return whole.push(data),
            None => {
                self.pieces.push(Pieces::new(data.rid));
                self.pieces.len() - 1
            }
        };
        self.pieces[index].join(data, whole);
    }

    /// Returns `true` if a keyframe has to be requested now: something is missing, and none has arrived since.
    fn wants_keyframe(
        &mut self,
        rid: Option<Rid>,
        contiguous: bool,
        keyframe: bool,
        now: Instant,
    ) -> bool {
        let index = match self.repair.iter().position(|r| r.rid == rid) {
            Some(index) => index,
            None if self.repair.len() >= MAX_LAYERS => return false,
            None => {
                self.repair.push(Repair {
                    rid,
                    // A first frame that is not a keyframe cannot be decoded.
                    waiting: true,
                    asked: None,
                });
                self.repair.len() - 1
            }
        };
        let layer = &mut self.repair[index];
        layer.waiting = !keyframe && (layer.waiting || !contiguous);
        let is_due = layer
            .asked
            .is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_PATIENCE);
        if layer.waiting && is_due {
            layer.asked = Some(now);
            return true;
        }
        false
    }
}

/// Returns the sender's wall clock at this timestamp (RFC 3550 §6.4.1).
pub(super) fn captured_at(report: &SenderInfo, timestamp: u32, rate: u32) -> Option<SystemTime> {
    let ahead = timestamp
        .wrapping_sub(report.rtp_time.numer() as u32)
        .cast_signed();
    let distance = duration_of(ahead.unsigned_abs().into(), rate);
    if ahead < 0 {
        report.ntp_time.checked_sub(distance)
    } else {
        report.ntp_time.checked_add(distance)
    }
}

/// Returns the error for an operation of the other media mode.
pub(super) fn wrong_mode(wanted: &str) -> PeerError {
    PeerError::BadTrack(format!(
        "this peer was not made with PeerConfig::media_mode(MediaMode::{wanted})"
    ))
}

fn ticks_at(time: MediaTime, rate: u32) -> u64 {
    Frequency::new(rate).map_or(0, |frequency| time.rebase(frequency).numer())
}

fn duration_of(ticks: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    let nanos = (ticks % rate) * 1_000_000_000 / rate;
    Duration::from_secs(ticks / rate) + Duration::from_nanos(nanos)
}
