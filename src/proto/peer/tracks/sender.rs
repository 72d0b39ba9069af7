//! The sending part of a transceiver: its track, the codec it is bound to, and its streams.

use std::time::{Duration, Instant};

use super::clock::Clock;
use super::history::History;
use super::hold::Hold;
use super::rewrite::Rewriter;
use super::{Codec, CodecParameters, Rid, SentStats, TransceiverConfig};

/// State of one sent layer.
#[derive(Debug)]
pub(super) struct SentLayer {
    rid: Option<Rid>,
    pub rewriter: Rewriter,
    pub history: History,
}

/// The sender of a transceiver (W3C `RTCRtpSender`).
#[derive(Debug)]
pub(super) struct Sender {
    stream_id: String,
    track_id: String,
    /// Layers of simulcast; empty for one stream.
    rids: Vec<String>,
    stereo: bool,
    has_track: bool,
    is_paused: bool,
    /// Set once the core knows how many packets to keep.
    is_tuned: bool,
    /// The codec selected by the application among the negotiated ones.
    chosen: Option<Codec>,
    bound: Option<CodecParameters>,
    /// Number of frames or packets sent, and of their bytes.
    sent: (u64, u64),
    pub clock: Clock,
    layers: Vec<SentLayer>,
    stats: Vec<SentStats>,
    pub hold: Hold,
}

impl Sender {
    /// Creates a sender. `stream` and `track` are the ids used if the configuration has none.
    pub fn new(config: TransceiverConfig, stream: &str, track: impl FnOnce() -> String) -> Self {
        Self {
            stream_id: config.stream_id.unwrap_or_else(|| stream.to_owned()),
            track_id: config.track_id.unwrap_or_else(track),
            rids: config.send_rids,
            stereo: config.stereo,
            has_track: config.direction.is_sending(),
            is_paused: false,
            is_tuned: false,
            chosen: None,
            bound: None,
            sent: (0, 0),
            clock: Clock::default(),
            layers: Vec::new(),
            stats: Vec::new(),
            hold: Hold::default(),
        }
    }

    /// The stream id and the track id of the local track.
    pub fn ids(&self) -> (&str, &str) {
        (&self.stream_id, &self.track_id)
    }

    /// Sets the ids. Returns `false` if they are unchanged.
    pub fn set_ids(&mut self, stream: &str, track: &str) -> bool {
        if self.ids() == (stream, track) {
            return false;
        }
        (self.stream_id, self.track_id) = (stream.into(), track.into());
        true
    }

    /// Returns the simulcast layers; empty for one stream.
    pub fn rids(&self) -> &[String] {
        &self.rids
    }

    pub fn is_layered(&self) -> bool {
        !self.rids.is_empty()
    }

    pub fn is_stereo(&self) -> bool {
        self.stereo
    }

    pub fn has_track(&self) -> bool {
        self.has_track
    }

    /// Returns `true` if `addTrack` may use it (W3C §5.1): it has no track, and has never sent.
    pub fn is_free(&self) -> bool {
        !self.has_track && self.sent.0 == 0
    }

    pub fn set_track(&mut self, has_track: bool) {
        self.has_track = has_track;
    }

    /// Sets a track with this configuration.
    pub fn take_track(&mut self, config: &TransceiverConfig) {
        self.has_track = true;
        self.stereo |= config.stereo;
        if let Some(stream) = &config.stream_id {
            self.stream_id.clone_from(stream);
        }
        if let Some(track) = &config.track_id {
            self.track_id.clone_from(track);
        }
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    /// Handles a change of its streams in the core.
    pub fn forget_tuning(&mut self) {
        self.is_tuned = false;
    }

    /// Configures its streams in the core, once they exist: `begin` returns `false` for one that does not.
    pub fn tune(&mut self, mut begin: impl FnMut(Option<Rid>) -> bool) {
        if self.is_tuned {
            return;
        }
        let layers = self.rids.iter().map(|r| Some(Rid::from(r.as_str())));
        let single = self.rids.is_empty().then_some(None);
        for rid in layers.chain(single) {
            self.is_tuned |= begin(rid);
        }
    }

    pub fn choose(&mut self, codec: Codec) {
        self.chosen = Some(codec);
    }

    /// Returns the codec it sends with; `None` while it is not bound.
    pub fn bound(&self) -> Option<&CodecParameters> {
        self.bound.as_ref()
    }

    /// Binds it to a codec if it can send, or unbinds it. Returns `false` if nothing changes.
    pub fn bind(&mut self, can: bool, agreed: &[CodecParameters]) -> bool {
        let codec = self.codec(agreed).filter(|_| can);
        if codec == self.bound.as_ref() {
            return false;
        }
        self.bound = codec.cloned();
        if self.bound.is_none() {
            // Media after this comes from another source, whose times may start anywhere.
            self.restart_source();
        }
        true
    }

    /// Returns the codec for sending: the selected one, or the first negotiated.
    fn codec<'a>(&self, agreed: &'a [CodecParameters]) -> Option<&'a CodecParameters> {
        let first = agreed.first()?.codec;
        let is_agreed = |codec: &Codec| agreed.iter().any(|c| c.codec == *codec);
        let codec = self.chosen.filter(is_agreed).unwrap_or(first);
        let of_it = || agreed.iter().filter(|c| c.codec == codec);
        // H.264 is sent in fragments, which packetization mode 0 (the default) does not allow.
        let in_fragments = of_it().find(|c| c.packetization_mode == Some(1));
        in_fragments.or_else(|| of_it().next())
    }

    /// Marks the following media as coming from another source.
    pub fn restart_source(&mut self) {
        self.clock.restart();
        for layer in &mut self.layers {
            layer.rewriter.restart();
        }
    }

    /// Returns the numbers of frames (or packets) sent and of their bytes.
    pub fn sent(&self) -> (u64, u64) {
        self.sent
    }

    /// Counts a frame or a packet of this size.
    pub fn count(&mut self, bytes: usize) {
        self.sent.0 += 1;
        self.sent.1 += bytes as u64;
    }

    /// Returns the state of a layer; only negotiated ones have one.
    pub fn layer(&mut self, rid: Option<Rid>) -> &mut SentLayer {
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

    /// Returns the number of layers with state.
    #[cfg(any(test, feature = "testing"))]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Records an outgoing RTP packet with this SSRC.
    pub fn leaves(&mut self, ssrc: u32, now: Instant) {
        for layer in &mut self.layers {
            layer.history.leaves(ssrc, now);
        }
    }

    /// Handles a keyframe request for this layer.
    pub fn keyframe_requested(&mut self, rid: Option<Rid>) {
        let mut layers = self.layers.iter_mut();
        if let Some(layer) = layers.find(|l| l.rid == rid) {
            layer.history.keyframe_requested();
        }
    }

    pub fn stats(&self) -> &[SentStats] {
        &self.stats
    }

    /// Updates the statistics of a layer.
    pub fn learn(&mut self, stats: SentStats, now: Instant) {
        super::stats::put(&mut self.stats, stats, |a, b| a.rid == b.rid);
        let nacks = self.stats.iter().map(|s| s.nacks).sum();
        let share = self.stats.iter().find_map(|s| s.fraction_lost);
        self.hold.learn(nacks, share, self.round_trip(), now);
    }

    /// Returns the round-trip time from the last receiver report.
    pub fn round_trip(&self) -> Option<Duration> {
        self.stats.iter().find_map(|s| s.round_trip_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload_type: u8, codec: Codec, packetization_mode: Option<u8>) -> CodecParameters {
        CodecParameters {
            codec,
            payload_type,
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            profile_level_id: None,
            packetization_mode,
        }
    }

    fn sender() -> Sender {
        Sender::new(TransceiverConfig::default(), "stream", || "track".into())
    }

    #[test]
    fn h264_goes_out_in_fragments_where_it_may() {
        let mut sender = sender();
        let mut agreed = vec![
            of(96, Codec::H264, Some(0)),
            of(97, Codec::Vp8, None),
            of(98, Codec::H264, Some(1)),
            of(99, Codec::H264, Some(1)),
        ];
        let sent_with =
            |s: &Sender, agreed: &[CodecParameters]| s.codec(agreed).map(|c| c.payload_type);
        assert_eq!(sent_with(&sender, &[]), None);
        assert_eq!(sent_with(&sender, &agreed), Some(98));
        sender.choose(Codec::Vp8);
        assert_eq!(sent_with(&sender, &agreed), Some(97));
        sender.choose(Codec::Av1);
        assert_eq!(
            sent_with(&sender, &agreed),
            Some(98),
            "the first, if not agreed"
        );
        agreed.truncate(2);
        assert_eq!(
            sent_with(&sender, &agreed),
            Some(96),
            "nothing better is there"
        );
    }

    #[test]
    fn it_is_bound_once_it_can_send() {
        let mut sender = sender();
        let agreed = [of(97, Codec::Vp8, None)];
        assert!(!sender.bind(false, &agreed) && sender.bound().is_none());
        assert!(sender.bind(true, &agreed));
        assert!(!sender.bind(true, &agreed), "nothing new");
        assert!(sender.bind(false, &agreed) && sender.bound().is_none());
    }

    #[test]
    fn a_sender_that_has_sent_takes_no_other_track() {
        let mut sender = sender();
        assert!(sender.has_track() && !sender.is_free());
        sender.set_track(false);
        assert!(sender.is_free());
        sender.count(10);
        assert!(!sender.is_free());
        assert_eq!(sender.sent(), (1, 10));
    }
}
