//! Transceivers in offers and answers (RFC 8829 §5.2, §5.3, §5.10).
//!
//! Nothing is applied to the core before an answer: an offer that is rolled back or never answered leaves the
//! transceivers as they were, without m-lines (RFC 8829 §5.7).

use str0m::change::{SdpApi, SdpPendingOffer};
use str0m::media::{Mid, Rid, Simulcast, SimulcastLayer};

use super::super::Peer;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::codec::{CodecParameters, MediaKind};
use super::history::History;
use super::sdp::{self, LocalMedia, RemoteMedia};
use super::{Agreed, Direction, RemoteTrack, Tracks, Transceiver, TransceiverConfig, unannounced};
#[cfg(any(test, feature = "testing"))]
use super::{Limits, MAX_LAYERS, unannounced::MAX_STREAMS};

impl Tracks {
    /// Returns `true` if an offer is needed (W3C §4.7.3).
    pub fn need_negotiation(&self) -> bool {
        self.list.iter().any(Transceiver::needs_negotiation)
    }

    /// Adds an m-line to the offer for each transceiver without one. Returns `true` if there was any.
    pub fn add_to_offer(&mut self, api: &mut SdpApi<'_>) -> bool {
        let mut adds = false;
        for t in self.list.iter_mut().filter(|t| !t.stopping) {
            t.offering = Some(t.direction);
            if t.mid.is_some() {
                continue;
            }
            let layers = |rids: &[String]| rids.iter().map(|r| SimulcastLayer::new(r)).collect();
            let is_layered = !t.send_rids.is_empty() || !t.recv_rids.is_empty();
            let simulcast = is_layered.then(|| Simulcast {
                send: layers(&t.send_rids),
                recv: layers(&t.recv_rids),
            });
            let ids = (Some(t.stream_id.clone()), Some(t.track_id.clone()));
            let direction = t.direction.to_core();
            t.offered = Some(api.add_media(t.kind.to_core(), direction, ids.0, ids.1, simulcast));
            adds = true;
        }
        adds
    }

    /// Rewrites one of the core's descriptions for sending.
    pub fn write_local(&mut self, text: String, is_offer: bool) -> String {
        if self.list.is_empty() && !text.contains("\nm=audio") && !text.contains("\nm=video") {
            return text;
        }
        if let Some(line) = sdp::transport_numbers(&text) {
            self.transport_line = Some(line.to_owned());
        }
        let line = self.transport_line.as_deref();
        let feedback_line = line.filter(|l| sdp::is_id_free(&text, l));
        let media: Vec<LocalMedia<'_>> = self
            .list
            .iter()
            .filter_map(|t| {
                let mid = t.mid.as_ref().or(t.offered.as_ref())?;
                let agreed = t.agreed.map(|a| a.current).unwrap_or_default();
                let direction = if is_offer { t.direction } else { agreed };
                Some(LocalMedia {
                    mid,
                    direction,
                    stream_id: &t.stream_id,
                    track_id: &t.track_id,
                    codecs: &t.preferred,
                    stereo: t.stereo,
                    feedback: self.wants_feedback || direction.is_receiving(),
                    // An answer has it if the offer has it.
                    feedback_line: feedback_line.filter(|_| is_offer),
                })
            })
            .collect();
        sdp::write_media(&text, &media)
    }

    /// Rewrites a remote description for the core: layers are promised only if they were meant, and transport-wide
    /// sequence numbers are negotiated only if feedback is used, because they cost the core 76 KiB per peer and ten
    /// datagrams per second.
    pub fn as_wanted(&self, text: &str, media: &[RemoteMedia]) -> String {
        let of_mid = |mid: &str| {
            let is_it = |t: &&Transceiver| t.mid.or(t.offered).as_deref() == Some(mid);
            self.list.iter().find(is_it)
        };
        let only_sends = |mid: &str| {
            let offered = media.iter().find(|m| m.mid == mid);
            let offered = offered.map(|m| m.direction.reversed());
            of_mid(mid)
                .zip(offered)
                .is_some_and(|(t, offered)| !t.direction.and(offered).is_receiving())
        };
        sdp::filtered(text, |mid, line| {
            if sdp::asks_for_layers(line) {
                return of_mid(mid).is_some_and(|t| !t.send_rids.is_empty());
            }
            !sdp::is_transport_feedback(line) || self.wants_feedback || !only_sends(mid)
        })
    }

    /// Checks that the core can apply this description.
    pub fn check_remote(&self, text: &str, media: &[RemoteMedia]) -> Result<(), PeerError> {
        self.payload_types.with(text, media)?;
        Ok(())
    }

    /// Finds or creates the transceiver for each m-line of a remote offer (RFC 8829 §5.10).
    pub fn on_remote_offer(
        &mut self,
        media: &[RemoteMedia],
        limits: &super::Limits,
    ) -> Result<(), PeerError> {
        for m in media.iter().filter(|m| !m.rejected) {
            if self.by_mid(&m.mid).is_some() {
                continue;
            }
            let takes = m.direction.is_receiving();
            let free = self.list.iter_mut().find(|t| {
                takes && t.by_add_track && t.has_track && t.kind == m.kind && t.mid.is_none()
            });
            let mid = Some(Mid::from(m.mid.as_str()));
            match free {
                Some(t) => t.mid = mid,
                None => {
                    let config = TransceiverConfig::default().direction(Direction::RecvOnly);
                    let id = self.add(m.kind, config, limits)?;
                    let t = self.find(id)?;
                    t.mid = mid;
                    t.tentative = true;
                }
            }
        }
        Ok(())
    }

    /// Handles that a remote offer will not be answered.
    pub fn drop_remote_offer(&mut self) {
        self.list.retain(|t| !t.tentative || t.has_track);
        for t in self.list.iter_mut().filter(|t| t.agreed.is_none()) {
            t.mid = None;
            t.tentative = false;
        }
    }

    /// Removes transceivers that were stopped before the remote peer knew them.
    fn drop_unheard_of(&mut self, events: &mut Vec<PeerEvent>) {
        self.list.retain(|t| {
            let is_gone = t.stopping && t.mid.is_none() && t.offered.is_none();
            if is_gone {
                t.say_goodbye(events);
            }
            !is_gone
        });
    }

    /// Ends our pending offer; returns the m-lines that it would have added.
    fn take_offered(&mut self) -> Vec<(Mid, str0m::media::MediaKind)> {
        let mut taken = Vec::new();
        for t in &mut self.list {
            t.offering = None;
            if let Some(mid) = t.offered.take() {
                taken.push((mid, t.kind.to_core()));
            }
        }
        taken
    }

    pub fn close(&mut self, events: &mut Vec<PeerEvent>) {
        for t in self.list.drain(..) {
            t.say_goodbye(events);
        }
        self.unannounced = unannounced::Unannounced::default();
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self, limits: &Limits) -> [(&'static str, usize, usize); 4] {
        let most = |f: fn(&Transceiver) -> usize| self.list.iter().map(f).max().unwrap_or(0);
        [
            ("transceivers", self.list.len(), limits.max_m_lines),
            (
                "streams placed by their payload type",
                self.unannounced.placed(),
                MAX_STREAMS,
            ),
            // Local layers, and received ones.
            ("layers of a track", most(|t| t.layers.len()), MAX_LAYERS),
            (
                "received layers of a track",
                most(|t| t.held.len().max(t.pieces.len()).max(t.repair.len())),
                MAX_LAYERS,
            ),
        ]
    }
}

impl Transceiver {
    fn say_goodbye(&self, events: &mut Vec<PeerEvent>) {
        if self.bound.is_some() {
            events.push(PeerEvent::TrackUnbound(self.id));
        }
        if self.is_receiving {
            events.push(PeerEvent::TrackRemoved(self.id));
        }
        events.push(PeerEvent::TransceiverStopped(self.id));
    }

    fn needs_negotiation(&self) -> bool {
        let Some(agreed) = self.agreed else {
            return !self.stopping || self.mid.is_some();
        };
        let wanted = self.direction;
        let is_said = if agreed.we_offered {
            wanted == agreed.offered || wanted == agreed.current
        } else {
            wanted.and(agreed.offered) == agreed.current
        };
        self.stopping || !is_said || agreed.codecs_said != self.preference
    }
}

impl Peer {
    /// Resets an unanswered offer: its transceivers have no m-lines again. The core drops an addition only if the
    /// m-line exists, so for a moment it does.
    pub(in super::super) fn without_offered_media(
        &mut self,
        pending: SdpPendingOffer,
    ) -> Option<SdpPendingOffer> {
        let media = self.tracks.take_offered();
        if media.is_empty() {
            return Some(pending);
        }
        for (mid, kind) in &media {
            self.core.direct_api().declare_media(*mid, *kind);
        }
        let mut api = self.core.sdp_api();
        api.merge(pending);
        let rest = api.apply().map(|(_, pending)| pending);
        for (mid, _) in &media {
            self.core.direct_api().remove_media(*mid);
        }
        self.tracks.drop_unheard_of(&mut self.out.events);
        rest
    }

    /// Ends our pending offer without keeping anything of it.
    pub(in super::super) fn forget_offered_media(&mut self) {
        self.tracks.take_offered();
        self.tracks.drop_unheard_of(&mut self.out.events);
    }

    /// Declares SSRCs in our offer for sending on remote m-lines.
    pub(in super::super) fn declare_senders(&mut self) {
        for t in &self.tracks.list {
            let Some(mid) = t.mid.filter(|_| t.direction.is_sending() && !t.stopping) else {
                continue;
            };
            let mut api = self.core.direct_api();
            if !t.send_rids.is_empty() || api.stream_tx_by_mid(mid, None).is_some() {
                continue;
            }
            let ssrc = api.new_ssrc();
            let has_rtx = t.kind == MediaKind::Video;
            let rtx =
                has_rtx.then(|| std::iter::repeat_with(|| api.new_ssrc()).find(|r| *r != ssrc));
            let is_negotiated = self.core.media(mid).is_some();
            if is_negotiated {
                self.core
                    .direct_api()
                    .declare_stream_tx(ssrc, rtx.flatten(), mid, None);
            }
        }
    }

    /// Re-enables sending on a local m-line that has been inactive, which the core would refuse.
    pub(in super::super) fn wake_inactive(&mut self, media: &[RemoteMedia]) {
        for m in media.iter().filter(|m| m.direction.is_receiving()) {
            let mid = Mid::from(m.mid.as_str());
            let is_inactive = self
                .core
                .media(mid)
                .is_some_and(|c| !c.stopped() && c.direction() == Direction::Inactive.to_core());
            if is_inactive {
                let direction = Direction::RecvOnly.to_core();
                self.core.sdp_api().set_direction(mid, direction);
            }
        }
    }

    /// Updates the transceivers after the core has applied a remote offer.
    pub(in super::super) fn tracks_answered(&mut self, text: &str, media: &[RemoteMedia]) {
        for m in media {
            let Some(t) = self.tracks.by_mid(&m.mid) else {
                continue;
            };
            let offered = m.direction.reversed();
            let current = t.direction.and(offered);
            t.tentative = false;
            t.agreed = Some(Agreed {
                offered,
                we_offered: false,
                current,
                codecs_said: t.preference,
            });
        }
        self.tracks_negotiated(text, media);
    }

    /// Updates the transceivers after the core has applied a remote answer.
    pub(in super::super) fn tracks_accepted(&mut self, text: &str, media: &[RemoteMedia]) {
        for t in &mut self.tracks.list {
            if let Some(mid) = t.offered.take() {
                t.mid = Some(mid);
                if t.stopping {
                    self.core.sdp_api().stop_media(mid);
                }
            }
            let offered = t.offering.take();
            let Some(answered) = media
                .iter()
                .find(|m| t.mid.as_deref() == Some(m.mid.as_str()))
            else {
                continue;
            };
            let offered = offered.unwrap_or(t.direction);
            t.agreed = Some(Agreed {
                offered,
                we_offered: true,
                current: answered.direction.reversed().and(offered),
                codecs_said: t.preference,
            });
        }
        self.tracks_negotiated(text, media);
    }

    fn tracks_negotiated(&mut self, text: &str, media: &[RemoteMedia]) {
        if let Ok(types) = self.tracks.payload_types.with(text, media) {
            self.tracks.payload_types = types;
        }
        let list = &self.tracks.list;
        let sends_layers = |mid: &str| {
            let mut of_mid = list.iter().filter(|t| t.mid.as_deref() == Some(mid));
            of_mid.any(|t| !t.send_rids.is_empty())
        };
        self.tracks.unannounced.update(media, sends_layers);
        for m in media {
            self.narrow_direction(&m.mid);
            self.line_negotiated(m);
        }
        self.drop_stopped();
        self.tune_retransmission();
        self.ask_for_the_lost();
        self.keep_for_those_without_rtx();
        self.update_bound();
        self.update_receiving();
    }

    /// Disables retransmission for audio.
    fn tune_retransmission(&mut self) {
        let is_new = |t: &&mut Transceiver| t.kind == MediaKind::Video && !t.is_tuned;
        for t in self.tracks.list.iter_mut().filter(is_new) {
            let Some(mid) = t.mid else {
                continue;
            };
            let layers = t.send_rids.iter().map(|r| Some(Rid::from(r.as_str())));
            let single = t.send_rids.is_empty().then_some(None);
            for rid in layers.chain(single) {
                if let Some(stream) = self.core.direct_api().stream_tx_by_mid(mid, rid) {
                    History::begin(stream);
                    t.is_tuned = true;
                }
            }
        }
    }

    /// Enables requests for lost packets without RTX: the core makes them only if retransmissions are in a separate
    /// stream (RFC 4588), but some peers, such as pion 3, retransmit in the same one (RFC 4585 §6.2.1).
    fn ask_for_the_lost(&mut self) {
        for t in self.tracks.list.iter().filter(|t| !t.stopping) {
            let Some(mid) = t.mid else {
                continue;
            };
            let mut params = self.core.codec_config().params().iter();
            let agreed = |pt: u8| t.codecs.iter().any(|c| c.payload_type == pt);
            if !params.any(|p| agreed(*p.pt()) && p.fb_nack()) {
                continue;
            }
            if let Some(stream) = self.core.direct_api().stream_rx_by_mid(mid, None) {
                stream.suppress_nack(false);
            }
        }
    }

    /// Keeps packets for receivers without RTX, which the core does not serve either.
    fn keep_for_those_without_rtx(&mut self) {
        let videos = self.tracks.list.iter();
        let videos = videos.filter(|t| t.kind == MediaKind::Video && !t.stopping);
        let agreed: Vec<u8> = videos
            .flat_map(|t| t.codecs.iter().map(|c| c.payload_type))
            .collect();
        let params = self.core.codec_config().params().iter();
        let types = params
            .filter(|p| p.resend().is_none() && p.fb_nack())
            .map(|p| *p.pt())
            .filter(|pt| agreed.contains(pt));
        self.feedback.again.set_types(types.collect());
    }

    /// Restricts the negotiated direction: the core takes the remote one, but we may want less.
    fn narrow_direction(&mut self, mid: &str) {
        let Some(t) = self.tracks.by_mid(mid).filter(|t| !t.stopping) else {
            return;
        };
        let (Some(mid), Some(agreed)) = (t.mid, t.agreed) else {
            return;
        };
        let direction = agreed.current.to_core();
        let is_there = self.core.media(mid).is_some_and(|c| !c.disabled());
        if is_there {
            // Without `apply` this changes the current state, and offers nothing.
            self.core.sdp_api().set_direction(mid, direction);
        }
    }

    fn line_negotiated(&mut self, m: &RemoteMedia) {
        let Some(t) = self.tracks.by_mid(&m.mid) else {
            return;
        };
        let (id, kind, was_stopping) = (t.id, t.kind, t.stopping);
        let Some(mid) = t.mid else {
            return;
        };
        let we_offered = t.agreed.is_some_and(|a| a.we_offered);
        let is_disabled = self.core.media(mid).is_none_or(|c| c.disabled());
        let codecs = self.negotiated_codecs(mid);
        let Ok(t) = self.tracks.find(id) else {
            return;
        };
        if !is_disabled {
            t.codecs = codecs;
            // Our order of preference applies if there is one.
            if !t.preferred.is_empty() {
                let place = |c: &CodecParameters| t.preferred.iter().position(|p| *p == c.codec);
                t.codecs.retain(|c| place(c).is_some());
                t.codecs.sort_by_key(place);
            }
            t.remote_ids = (m.stream_ids.clone(), m.track_id.clone());
            t.remote_rids.clone_from(&m.rids);
            return;
        }
        let is_first = t.codecs.is_empty();
        t.stopping = true;
        // Rejected by the remote peer, or by our answer. Otherwise our next offer says so.
        t.over = m.rejected || !we_offered;
        t.direction = Direction::Inactive;
        let ours: Vec<String> = match t.preferred.as_slice() {
            [] => self.tracks.known.names(kind),
            preferred => preferred.iter().map(|c| c.name().to_owned()).collect(),
        };
        if was_stopping || !is_first {
            return;
        }
        if !m.rejected {
            self.event(PeerEvent::Error(PeerError::NoCommonCodec {
                mid: self.negotiation.wire_mid(&m.mid),
                kind,
                local: ours,
                remote: m.codec_names(),
            }));
        } else if we_offered {
            self.event(PeerEvent::Error(PeerError::TrackRejected {
                mid: self.negotiation.wire_mid(&m.mid),
                kind,
                offered: ours,
            }));
        }
    }

    /// Returns the negotiated codecs in the remote peer's order of preference.
    fn negotiated_codecs(&mut self, mid: Mid) -> Vec<CodecParameters> {
        let Some(media) = self.core.media(mid) else {
            return Vec::new();
        };
        let order = media.remote_pts();
        let known = self.core.codec_config().params().iter();
        let mut all: Vec<CodecParameters> = known
            .filter(|p| order.contains(&p.pt()))
            .filter_map(CodecParameters::from_core)
            .collect();
        all.sort_by_key(|c| order.iter().position(|pt| **pt == c.payload_type));
        all
    }

    /// Removes stopped transceivers that both sides know of.
    fn drop_stopped(&mut self) {
        let events = &mut self.out.events;
        self.tracks.list.retain(|t| {
            if t.over {
                t.say_goodbye(events);
            }
            !t.over
        });
    }

    /// Reports which tracks can be written to, and which no longer can.
    pub(in super::super) fn update_bound(&mut self) {
        let connected = self.core.is_connected();
        let events = &mut self.out.events;
        for t in &mut self.tracks.list {
            let can = connected
                && t.has_track
                && !t.stopping
                && t.agreed.is_some_and(|a| a.current.is_sending());
            let codec = t.sending_codec().filter(|_| can).cloned();
            if codec == t.bound {
                continue;
            }
            t.bound = codec;
            if t.bound.is_none() {
                // Media after this comes from another source, whose times may start anywhere.
                t.restart_source();
            }
            events.push(match &t.bound {
                Some(codec) => PeerEvent::TrackBound {
                    transceiver: t.id,
                    codec: codec.clone(),
                },
                None => PeerEvent::TrackUnbound(t.id),
            });
        }
    }

    /// Reports which remote tracks have started and ended.
    pub(super) fn update_receiving(&mut self) {
        let mut begun = Vec::new();
        for t in &mut self.tracks.list {
            let is = !t.stopping && t.agreed.is_some_and(|a| a.current.is_receiving());
            if is == t.is_receiving {
                continue;
            }
            t.is_receiving = is;
            t.repair.clear();
            t.pieces.clear();
            if is {
                begun.push(PeerEvent::Track(RemoteTrack {
                    transceiver: t.id,
                    mid: self
                        .negotiation
                        .wire_mid(t.mid.as_deref().unwrap_or_default()),
                    kind: t.kind,
                    codecs: t.codecs.clone(),
                    stream_ids: t.remote_ids.0.clone(),
                    track_id: t.remote_ids.1.clone(),
                    rids: t.remote_rids.clone(),
                }));
            } else {
                t.release_all(self.now, &mut begun);
                begun.push(PeerEvent::TrackRemoved(t.id));
            }
        }
        self.out.events.append(&mut begun);
    }
}
