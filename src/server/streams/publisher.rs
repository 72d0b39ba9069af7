//! The source of packets: a peer that publishes to this server, or one that plays from another server.

use std::time::{Duration, Instant};

use super::kind::{Context, Live, Media};
use crate::driver::shared_media::SharedMedia;
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{
    KeyframeRequestKind, MediaKind, PeerEvent, ReceivedPacket, TransceiverId,
};

/// Maximum number of simulcast layers.
const MAX_LAYERS: usize = 8;

/// Window over which layers are compared, and silence after which one is given up.
const WINDOW: Duration = Duration::from_secs(1);

/// Interval of keyframe requests while packets are lost for good: a request may be lost as well.
const MEND: Duration = Duration::from_millis(500);

/// Interval of updates of the time that viewers have to wait for retransmissions.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Publisher {
    pub peer: PeerId,
    heard: Instant,
    looked: Option<Instant>,
    /// The video and the audio track: the first of each kind.
    video: Option<TransceiverId>,
    audio: Option<TransceiverId>,
    /// Layers of a simulcast video.
    layers: Vec<Layer>,
    window: Option<Instant>,
    /// The layer that is forwarded, and the one that replaces it at its next keyframe.
    chosen: Option<String>,
    wanted: Option<String>,
    /// Time of the next keyframe request.
    ask_at: Option<Instant>,
    asked: Option<Instant>,
    /// Set while packets of the forwarded layer are lost for good, and no keyframe has arrived since.
    is_broken: bool,
    /// Playout delay for viewers, so that retransmissions from the publisher are not too late for them.
    hold: Option<Duration>,
}

#[derive(Debug)]
struct Layer {
    rid: String,
    /// Bytes in the current window, and in the previous one.
    bytes: usize,
    rate: usize,
}

impl Publisher {
    pub fn new(peer: PeerId, now: Instant) -> Self {
        Self {
            peer,
            heard: now,
            looked: None,
            video: None,
            audio: None,
            layers: Vec::new(),
            window: None,
            chosen: None,
            wanted: None,
            ask_at: None,
            asked: None,
            is_broken: false,
            hold: None,
        }
    }

    /// Handles an event of the peer; returns the media in it that is forwarded to viewers.
    pub fn handle_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) -> Option<Media> {
        match event {
            PeerEvent::Packet(packet) => self.handle_packet(ctx, packet),
            PeerEvent::PacketsLost { transceiver, rid } => {
                let asked = self.packets_lost(ctx.net, *transceiver, rid.as_deref(), ctx.now);
                ctx.outcome.keyframes_asked += u64::from(asked);
                None
            }
            _ => None,
        }
    }

    fn handle_packet(&mut self, ctx: &mut Context<'_>, packet: &ReceivedPacket) -> Option<Media> {
        let codec = packet.codec;
        let is_key = codec.begins_keyframe(&packet.payload);
        if !self.takes(ctx.net, packet, is_key, ctx.now) {
            return None;
        }
        let mut out = packet.to_packet();
        if codec.is_video() {
            if let Some(hold) = self.hold {
                out.extensions.set_playout_delay(hold);
            }
            let is_due = |at: Instant| ctx.now.saturating_duration_since(at) >= LOOK;
            if self.looked.is_none_or(is_due) {
                self.looked = Some(ctx.now);
                self.look(ctx.net);
            }
        }
        Some(Media {
            codec,
            content: SharedMedia::Packet(out.into()),
            is_key,
            live: Live::AtOnce,
        })
    }

    /// Returns `true` if nothing has arrived for this long.
    pub fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= patience
    }

    /// Requests a keyframe if that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        let asked = self.ask_if_due(ctx.net, ctx.now);
        ctx.outcome.keyframes_asked += u64::from(asked);
    }

    /// Requests a keyframe now, or as soon as the minimum interval has passed.
    pub fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        let asked = self.ask_soon(ctx.net, ctx.config.keyframe_interval, ctx.now);
        ctx.outcome.keyframes_asked += u64::from(asked);
    }

    /// Returns `true` if this packet is forwarded. `is_key`: a keyframe starts in it.
    fn takes(
        &mut self,
        net: &mut EventLoop,
        packet: &ReceivedPacket,
        is_key: bool,
        now: Instant,
    ) -> bool {
        self.heard = now;
        let from = match MediaKind::of(packet.codec) {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        };
        if *from.get_or_insert(packet.transceiver) != packet.transceiver {
            return false;
        }
        let takes = match &packet.rid {
            None => true,
            Some(rid) => self.takes_layer(net, rid, packet.payload.len(), is_key, now),
        };
        self.mended(takes && is_key && MediaKind::of(packet.codec) == MediaKind::Video);
        takes
    }

    /// Handles a forwarded keyframe: viewers need nothing from before it.
    fn mended(&mut self, is_key: bool) {
        if is_key && self.is_broken {
            self.is_broken = false;
            self.ask_at = None;
        }
    }

    /// Updates the delay that covers the publisher's retransmissions.
    fn look(&mut self, net: &mut EventLoop) {
        let Some(video) = self.video else {
            return;
        };
        let stats = net.peer(self.peer).ok().and_then(|p| p.track_stats(video));
        let hold = stats.and_then(|stats| stats.repair_delay);
        self.hold = match (hold, self.hold) {
            // The recent maximum: viewers adapt their pace to each change.
            (Some(new), old) => Some(old.unwrap_or(new).max(new).min(2 * new)),
            // They are told once that it is over.
            (None, Some(old)) if old > Duration::ZERO => Some(Duration::ZERO),
            (None, _) => None,
        };
    }

    /// Handles permanent packet loss from the publisher: viewers see nothing new until the next keyframe, so one is
    /// requested before they ask. Returns `true` if it was.
    fn packets_lost(
        &mut self,
        net: &mut EventLoop,
        transceiver: TransceiverId,
        rid: Option<&str>,
        now: Instant,
    ) -> bool {
        let is_passed_on = self.video == Some(transceiver) && self.chosen.as_deref() == rid;
        if !is_passed_on || self.is_broken {
            return false;
        }
        self.is_broken = true;
        let asked = self.ask_soon(net, MEND, now);
        self.ask_at.get_or_insert(now + MEND);
        asked
    }

    /// Selects the best incoming layer: the one with the most bytes.
    fn takes_layer(
        &mut self,
        net: &mut EventLoop,
        rid: &str,
        size: usize,
        is_key: bool,
        now: Instant,
    ) -> bool {
        let has_room = self.layers.len() < MAX_LAYERS;
        match self.layers.iter_mut().find(|l| l.rid == rid) {
            Some(layer) => layer.bytes += size,
            None if !has_room => return false,
            None => self.layers.push(Layer {
                rid: rid.to_owned(),
                bytes: size,
                rate: 0,
            }),
        }
        let begun = *self.window.get_or_insert(now);
        if now.saturating_duration_since(begun) >= WINDOW {
            self.window = Some(now);
            self.compare(net, now);
        }
        if is_key && self.wanted.as_deref() == Some(rid) {
            self.chosen = self.wanted.take();
        }
        *self.chosen.get_or_insert_with(|| rid.to_owned()) == rid
    }

    fn compare(&mut self, net: &mut EventLoop, now: Instant) {
        for layer in &mut self.layers {
            layer.rate = std::mem::take(&mut layer.bytes);
        }
        let rate = |rid: &Option<String>| {
            let mut layers = self.layers.iter();
            let found = layers.find(|l| Some(&l.rid) == rid.as_ref());
            found.map_or(0, |l| l.rate)
        };
        let Some(best) = self.layers.iter().max_by_key(|l| l.rate) else {
            return;
        };
        // Only for a clear improvement: each switch needs a keyframe.
        let is_better = best.rate > rate(&self.chosen) + rate(&self.chosen) / 3;
        self.wanted = Some(best.rid.clone()).filter(|_| is_better);
        if self.wanted.is_some() {
            self.ask(net, now);
        }
    }

    /// Requests a keyframe now, or schedules it. Returns `true` if one was requested.
    fn ask_soon(&mut self, net: &mut EventLoop, interval: Duration, now: Instant) -> bool {
        if self.ask_at.is_some() {
            return false;
        }
        match self.asked.map(|at| at + interval).filter(|at| *at > now) {
            None => self.ask(net, now),
            later => {
                self.ask_at = later;
                false
            }
        }
    }

    /// Sends a scheduled request if it is due. Returns `true` if it was sent.
    fn ask_if_due(&mut self, net: &mut EventLoop, now: Instant) -> bool {
        if self.ask_at.take_if(|at| *at <= now).is_none() {
            return false;
        }
        if self.is_broken {
            self.ask_at = Some(now + MEND);
        }
        self.ask(net, now)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has work to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.ask_at
    }

    fn ask(&mut self, net: &mut EventLoop, now: Instant) -> bool {
        // Before the first packet there is nobody to ask, and a stream starts with a keyframe.
        let Some(from) = self.video else {
            return false;
        };
        self.asked = Some(now);
        let layer = self.wanted.as_ref().or(self.chosen.as_ref());
        let asked = net.peer(self.peer).map(|mut peer| {
            peer.request_keyframe(from, layer.map(String::as_str), KeyframeRequestKind::Pli)
        });
        let is_asked = matches!(asked, Ok(Ok(())));
        if !is_asked {
            log::debug!("no keyframe is asked for: {asked:?}");
        }
        is_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::LoopConfig;
    use crate::proto::peer::{PeerConfig, TransceiverConfig};

    #[test]
    fn the_layer_with_the_most_bytes_takes_over_with_its_keyframe() {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let peer = net.add_peer(PeerConfig::default()).unwrap();
        let begun = Instant::now();
        let mut publisher = Publisher::new(peer, begun);
        let mut now = begun;
        let mut round = |net: &mut EventLoop, is_key: bool, layers: &[(&str, usize)]| {
            now += Duration::from_millis(100);
            let mut taken = Vec::new();
            for (rid, size) in layers {
                if publisher.takes_layer(net, rid, *size, is_key, now) {
                    taken.push((*rid).to_owned());
                }
            }
            taken
        };
        let all = [("q", 100), ("h", 300), ("f", 1000)];
        assert_eq!(round(&mut net, true, &all), ["q"], "the first that comes");
        for _ in 0..12 {
            assert_eq!(round(&mut net, false, &all), ["q"], "until a keyframe");
        }
        assert_eq!(round(&mut net, true, &all), ["q", "f"], "from there on");
        for _ in 0..12 {
            assert_eq!(round(&mut net, false, &all), ["f"]);
        }
        // The publisher's uplink degrades: the best layer is no longer sent.
        for _ in 0..25 {
            round(&mut net, false, &all[..2]);
        }
        assert_eq!(round(&mut net, true, &all[..2]), ["h"]);
        // A small difference is no reason to switch.
        for _ in 0..12 {
            round(&mut net, false, &[("q", 110), ("h", 100)]);
        }
        assert_eq!(round(&mut net, true, &[("q", 110), ("h", 100)]), ["h"]);
    }

    /// A keyframe is requested while packets that viewers need are lost for good, and no longer.
    #[test]
    fn a_keyframe_is_asked_for_until_it_comes() {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let id = net.add_peer(PeerConfig::default()).unwrap();
        let config = TransceiverConfig::default();
        let video = net
            .peer(id)
            .map(|mut p| p.add_transceiver(MediaKind::Video, config))
            .unwrap()
            .unwrap();
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut publisher = Publisher::new(id, now);
        // Nothing of it has arrived, so nothing of it is forwarded.
        publisher.packets_lost(&mut net, video, None, now);
        assert_eq!(publisher.deadline(), None);
        publisher.video = Some(video);
        publisher.packets_lost(&mut net, video, Some("another layer"), now);
        assert_eq!(publisher.deadline(), None);
        publisher.packets_lost(&mut net, video, None, now);
        assert_eq!(publisher.asked, Some(now), "at once");
        assert_eq!(publisher.deadline(), Some(now + MEND));
        publisher.packets_lost(&mut net, video, None, at(100));
        publisher.ask_if_due(&mut net, at(400));
        assert_eq!(publisher.asked, Some(now), "not twice");
        publisher.ask_if_due(&mut net, at(500));
        assert_eq!(
            publisher.asked,
            Some(at(500)),
            "but again when none has come"
        );
        publisher.mended(true);
        assert_eq!(publisher.deadline(), None);
        publisher.ask_if_due(&mut net, at(2000));
        assert_eq!(publisher.asked, Some(at(500)));
    }
}
