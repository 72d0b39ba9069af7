//! The m-lines and RTP streams of str0m.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::bwe::Bitrate;
use str0m::format::PayloadParams;
use str0m::media::{Frequency, KeyframeRequestKind as CoreKind, Media, MediaTime, Rids};
use str0m::rtp::{RtpWrite, SeqNo, Ssrc, StreamRx, StreamTx};

use super::super::values::{
    Bytes, CodecParameters, Direction, HeaderExtensions, KeyframeRequestKind, MediaKind, PeerError,
};
use super::access::RtcMut;
use super::names::{Mid, Rid};
use super::offer::PendingOffer;
use super::{Core, codecs, extensions};

/// The media of the core, borrowed for a change.
pub(in super::super) struct CoreMedia<'a>(pub(super) RtcMut<'a>);

/// A stream that is sent.
pub(in super::super) struct SendStream<'a>(&'a mut StreamTx);

/// A stream that is received.
pub(in super::super) struct ReceiveStream<'a>(&'a mut StreamRx);

/// A packet to send. SSRC and hop-by-hop extensions are added by the core.
pub(in super::super) struct PacketToSend {
    pub payload_type: u8,
    /// Extended sequence number.
    pub number: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// Set if it is kept for retransmission.
    pub is_kept: bool,
    /// The instant that `timestamp` refers to.
    pub wallclock: Instant,
    pub extensions: HeaderExtensions,
    pub payload: Bytes,
}

/// A frame to send, which the core packetizes.
pub(in super::super) struct FrameToSend {
    pub payload_type: u8,
    /// Media time in ticks of the clock.
    pub ticks: u64,
    /// Rate of the clock, in Hz.
    pub rate: u32,
    /// The instant that `ticks` refers to.
    pub wallclock: Instant,
    /// Minimum and maximum playout delay, in hundredths of a second.
    pub playout_delay: Option<(u16, u16)>,
    pub data: Bytes,
}

impl Core {
    /// Iterates over the payload types whose lost packets are requested again and retransmitted in the same stream: the
    /// core serves no such request.
    pub fn types_without_rtx(&self) -> impl Iterator<Item = u8> + '_ {
        let params = params(&self.rtc).filter(|p| p.resend().is_none() && p.fb_nack());
        params.map(|p| *p.pt())
    }

    /// Returns the payload type whose packets this one retransmits (RFC 4588).
    pub fn type_repaired_by(&self, payload_type: u8) -> Option<u8> {
        let is_main = |p: &&PayloadParams| p.resend().is_some_and(|pt| *pt == payload_type);
        params(&self.rtc).find(is_main).map(|p| *p.pt())
    }
}

/// M-lines.
impl CoreMedia<'_> {
    /// Returns `true` if the m-line is negotiated.
    pub fn has_line(&self, mid: Mid) -> bool {
        self.0.media(mid.0).is_some()
    }

    /// Returns `true` if the m-line is negotiated and not rejected.
    pub fn is_enabled(&self, mid: Mid) -> bool {
        self.0.media(mid.0).is_some_and(|media| !media.disabled())
    }

    /// Returns `true` if the m-line is sent in layers. The core has remote layers with the same names.
    pub fn sends_layers(&self, mid: Mid) -> bool {
        let rids = self.0.media(mid.0).map(Media::rids_tx);
        matches!(rids, Some(Rids::Specific(_)))
    }

    /// Returns the negotiated codecs of an m-line in the remote peer's order of preference.
    pub fn codecs(&self, mid: Mid) -> Vec<CodecParameters> {
        let Some(media) = self.0.media(mid.0) else {
            return Vec::new();
        };
        let order = media.remote_pts();
        let known = params(&self.0).filter(|p| order.contains(&p.pt()));
        let mut all: Vec<CodecParameters> = known.filter_map(codecs::parameters).collect();
        all.sort_by_key(|c| order.iter().position(|pt| **pt == c.payload_type));
        all
    }

    /// Iterates over the payload types whose lost packets are requested again (RFC 4585 §6.2.1).
    pub fn repairable_types(&self) -> impl Iterator<Item = u8> + '_ {
        params(&self.0).filter(|p| p.fb_nack()).map(|p| *p.pt())
    }

    /// Stops the m-line with the next offer.
    pub fn stop(&mut self, mid: Mid) {
        self.0.sdp_api().stop_media(mid.0);
    }

    /// Sets the negotiated direction. Nothing is offered by that.
    pub fn set_direction(&mut self, mid: Mid, direction: Direction) {
        let direction = codecs::core_direction(direction);
        // Without `apply` this changes the current state.
        self.0.sdp_api().set_direction(mid.0, direction);
    }

    /// Allows receiving on an inactive m-line.
    pub fn wake_inactive(&mut self, mid: Mid) {
        let inactive = codecs::core_direction(Direction::Inactive);
        let media = self.0.media(mid.0);
        if media.is_some_and(|m| !m.stopped() && m.direction() == inactive) {
            self.set_direction(mid, Direction::RecvOnly);
        }
    }

    /// Returns an offer without the m-lines that it adds. The core drops an addition only if the m-line exists, so for
    /// a moment it does.
    pub fn without_lines(
        &mut self,
        pending: PendingOffer,
        lines: &[(Mid, MediaKind)],
    ) -> Option<PendingOffer> {
        for (mid, kind) in lines {
            let kind = codecs::core_kind(*kind);
            self.0.direct_api().declare_media(mid.0, kind);
        }
        let mut api = self.0.sdp_api();
        api.merge(pending);
        let rest = api.apply().map(|(_, pending)| pending);
        for (mid, _) in lines {
            self.0.direct_api().remove_media(mid.0);
        }
        rest
    }

    /// Sets the bitrate up to which the core probes, in bits per second.
    pub fn set_desired_bitrate(&mut self, bits_per_second: u64) {
        let bitrate = Bitrate::bps(bits_per_second);
        self.0.bwe().set_desired_bitrate(bitrate);
    }
}

/// Sent streams.
impl CoreMedia<'_> {
    /// Calls `act` with a sent stream; returns `None` if there is none.
    pub fn sender<R>(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        act: impl FnOnce(&mut SendStream<'_>) -> R,
    ) -> Option<R> {
        let mut api = self.0.direct_api();
        let stream = api.stream_tx_by_mid(mid.0, rid.map(|r| r.0))?;
        Some(act(&mut SendStream(stream)))
    }

    /// Creates the stream to send on an m-line without layers, if it has none.
    pub fn declare_sender(&mut self, mid: Mid, with_rtx: bool) {
        let mut api = self.0.direct_api();
        if api.stream_tx_by_mid(mid.0, None).is_some() {
            return;
        }
        let ssrc = api.new_ssrc();
        let other = || std::iter::repeat_with(|| api.new_ssrc()).find(|other| *other != ssrc);
        let rtx = with_rtx.then(other).flatten();
        if self.has_line(mid) {
            let mut api = self.0.direct_api();
            api.declare_stream_tx(ssrc, rtx, mid.0, None);
        }
    }

    /// Removes the stream of an m-line that is sent without layers.
    pub fn remove_sender(&mut self, mid: Mid) {
        let mut api = self.0.direct_api();
        let stream = api.stream_tx_by_mid(mid.0, None);
        if let Some(ssrc) = stream.map(|stream| stream.ssrc()) {
            api.remove_stream_tx(ssrc);
        }
    }

    /// Returns the m-line of a sent stream.
    pub fn sent_on(&mut self, ssrc: u32) -> Option<Mid> {
        let mut api = self.0.direct_api();
        api.stream_tx(&Ssrc::from(ssrc)).map(|s| Mid(s.mid()))
    }

    /// Returns the SSRC of the stream, or of the first layer, that is sent on an m-line.
    pub fn sender_ssrc(&mut self, mid: Mid) -> Option<u32> {
        let rid = match self.0.media(mid.0).map(Media::rids_tx) {
            Some(Rids::Specific(rids)) => rids.first().copied(),
            _ => None,
        };
        self.sender(mid, rid.map(Rid), |stream| stream.ssrc())
    }

    /// Returns an SSRC that is not in use.
    pub fn new_ssrc(&mut self) -> u32 {
        *self.0.direct_api().new_ssrc()
    }

    /// Sends a frame.
    pub fn write_frame(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        frame: FrameToSend,
    ) -> Result<(), PeerError> {
        let Some(mut writer) = self.0.writer(mid.0) else {
            return Err(PeerError::TrackNotBound);
        };
        if let Some(rid) = rid {
            writer = writer.rid(rid.0);
        }
        if let Some((least, most)) = frame.playout_delay {
            let of = extensions::of_hundredths;
            writer = writer.playout_delay(of(least), of(most));
        }
        let frequency = Frequency::new(frame.rate).unwrap_or(Frequency::NINETY_KHZ);
        let time = MediaTime::new(frame.ticks, frequency);
        writer
            .write(frame.payload_type.into(), frame.wallclock, time, frame.data)
            .map_err(|e| PeerError::BadTrack(e.to_string()))
    }
}

/// Received streams.
impl CoreMedia<'_> {
    /// Calls `act` with a received stream; returns `None` if there is none.
    pub fn receiver<R>(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        act: impl FnOnce(&mut ReceiveStream<'_>) -> R,
    ) -> Option<R> {
        let mut api = self.0.direct_api();
        let stream = api.stream_rx_by_mid(mid.0, rid.map(|r| r.0))?;
        Some(act(&mut ReceiveStream(stream)))
    }

    /// Returns the m-line and the layer of a received stream.
    pub fn received_on(&mut self, ssrc: u32) -> Option<(Mid, Option<Rid>)> {
        let mut api = self.0.direct_api();
        let stream = api.stream_rx(&Ssrc::from(ssrc))?;
        Some((Mid(stream.mid()), stream.rid().map(Rid)))
    }

    /// Returns the SSRC of the stream that retransmits a received one.
    pub fn rtx_of(&mut self, ssrc: u32) -> Option<u32> {
        let mut api = self.0.direct_api();
        api.stream_rx(&Ssrc::from(ssrc))?.rtx().map(|rtx| *rtx)
    }

    /// Returns `true` if an authentic packet of the stream was received.
    pub fn is_heard(&mut self, ssrc: u32) -> bool {
        let mut api = self.0.direct_api();
        let stream = api.stream_rx(&Ssrc::from(ssrc));
        stream.is_some_and(|s| s.last_time().is_some())
    }

    /// Assigns a stream to an m-line, with the stream that retransmits it.
    pub fn expect(&mut self, ssrc: u32, rtx: Option<u32>, mid: Mid) {
        let mut api = self.0.direct_api();
        api.expect_stream_rx(ssrc.into(), rtx.map(Ssrc::from), mid.0, None);
    }

    /// Removes a received stream.
    pub fn forget(&mut self, ssrc: u32) {
        self.0.direct_api().remove_stream_rx(ssrc.into());
    }

    /// Requests a keyframe of received frames.
    pub fn request_keyframe(
        &mut self,
        mid: Mid,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
    ) -> Result<(), PeerError> {
        let Some(mut writer) = self.0.writer(mid.0) else {
            return Err(PeerError::BadTrack("it is not negotiated yet".into()));
        };
        writer
            .request_keyframe(rid.map(|r| r.0), core_kind(kind))
            .map_err(|e| PeerError::BadTrack(format!("asking for a keyframe: {e}")))
    }
}

impl SendStream<'_> {
    pub fn ssrc(&self) -> u32 {
        *self.0.ssrc()
    }

    /// Returns the SSRC of retransmissions.
    pub fn rtx(&self) -> Option<u32> {
        self.0.rtx().map(|ssrc| *ssrc)
    }

    /// Returns the number of bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.0.queue_info().map_or(0, |queue| queue.byte_size())
    }

    /// Sets how many packets are kept for retransmission and for how long, and the maximum share of retransmissions in
    /// what is sent. A change discards the kept packets.
    pub fn keep(&mut self, packets: usize, age: Duration, share: f32) {
        self.0.set_rtx_cache(packets, age, Some(share));
    }

    /// Sends a packet.
    pub fn write(&mut self, packet: PacketToSend) {
        let write = RtpWrite::new(
            packet.payload_type.into(),
            SeqNo::from(packet.number),
            packet.timestamp,
            packet.wallclock,
            packet.payload,
        );
        self.0.write_rtp(
            write
                .marker(packet.marker)
                .nackable(packet.is_kept)
                .ext_vals(extensions::to_core(&packet.extensions)),
        );
    }
}

impl ReceiveStream<'_> {
    pub fn ssrc(&self) -> u32 {
        *self.0.ssrc()
    }

    /// Returns the SSRC of retransmissions.
    pub fn rtx(&self) -> Option<u32> {
        self.0.rtx().map(|ssrc| *ssrc)
    }

    pub fn request_keyframe(&mut self, kind: KeyframeRequestKind) {
        self.0.request_keyframe(core_kind(kind));
    }

    /// Requests a maximum bitrate, in bits per second (REMB).
    pub fn request_bitrate(&mut self, bits_per_second: u64) {
        self.0.request_remb(Bitrate::bps(bits_per_second));
    }

    /// Lets the core request lost packets.
    pub fn request_lost(&mut self) {
        self.0.suppress_nack(false);
    }
}

fn params(rtc: &Rtc) -> impl Iterator<Item = &PayloadParams> {
    rtc.codec_config().params().iter()
}

fn core_kind(kind: KeyframeRequestKind) -> CoreKind {
    match kind {
        KeyframeRequestKind::Pli => CoreKind::Pli,
        KeyframeRequestKind::Fir => CoreKind::Fir,
    }
}
