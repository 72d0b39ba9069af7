//! Transceivers in offers and answers (RFC 8829 §5.2, §5.3, §5.10).
//!
//! Nothing is applied to the core before an answer: an offer that is rolled back or never answered leaves the
//! transceivers as they were, without m-lines (RFC 8829 §5.7).

use super::super::core::{NewLine, NewOffer, PendingOffer};
use super::history::History;
use super::sdp::{self, LocalMedia, RemoteMedia};
use super::{
    Context, CoreMedia, Direction, Limits, MediaKind, Mid, PeerError, PeerEvent, Tracks,
    Transceiver, TransceiverConfig, unannounced,
};
#[cfg(any(test, feature = "testing"))]
use super::{MAX_LAYERS, unannounced::MAX_STREAMS};

impl Tracks {
    /// Returns `true` if an offer is needed (W3C §4.7.3).
    pub fn need_negotiation(&self) -> bool {
        self.list.iter().any(|t| t.line.needs_negotiation())
    }

    /// Adds an m-line to the offer for each transceiver without one. Returns `true` if there was any.
    pub fn add_to_offer(&mut self, new: &mut NewOffer<'_>) -> bool {
        let mut adds = false;
        for t in self.list.iter_mut().filter(|t| !t.line.is_stopping()) {
            let (kind, sender, receiver) = (t.kind(), &t.sender, &t.receiver);
            adds |= t.line.offer(|direction| {
                let (stream_id, track_id) = sender.ids();
                new.add_line(NewLine {
                    kind,
                    direction,
                    stream_id,
                    track_id,
                    send_rids: sender.rids(),
                    recv_rids: receiver.rids(),
                })
            });
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
        let mids: Vec<Option<Mid>> = self.list.iter().map(|t| t.line.mid_or_offered()).collect();
        let with_mids = self.list.iter().zip(&mids);
        let media: Vec<LocalMedia<'_>> = with_mids
            .filter_map(|(t, mid)| {
                let direction = match is_offer {
                    true => t.line.direction(),
                    false => t.line.current().unwrap_or_default(),
                };
                let (stream_id, track_id) = t.sender.ids();
                Some(LocalMedia {
                    mid: mid.as_ref()?,
                    direction,
                    stream_id,
                    track_id,
                    codecs: t.line.preferred(),
                    stereo: t.sender.is_stereo(),
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
            let is_it = |t: &&Transceiver| t.line.mid_or_offered().as_deref() == Some(mid);
            self.list.iter().find(is_it)
        };
        let only_sends = |mid: &str| {
            let offered = media.iter().find(|m| m.mid == mid);
            let offered = offered.map(|m| m.direction.reversed());
            of_mid(mid)
                .zip(offered)
                .is_some_and(|(t, offered)| !t.line.direction().and(offered).is_receiving())
        };
        sdp::filtered(text, |mid, line| {
            if sdp::asks_for_layers(line) {
                return of_mid(mid).is_some_and(|t| t.sender.is_layered());
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
        limits: &Limits,
    ) -> Result<(), PeerError> {
        for m in media.iter().filter(|m| !m.rejected) {
            if self.by_mid(&m.mid).is_some() {
                continue;
            }
            let takes = m.direction.is_receiving();
            let free = self.list.iter_mut().find(|t| {
                takes && t.kind() == m.kind && t.sender.has_track() && t.line.can_take_theirs()
            });
            let mid = Mid::from(m.mid.as_str());
            match free {
                Some(t) => t.line.take_theirs(mid, false),
                None => {
                    let config = TransceiverConfig::default().direction(Direction::RecvOnly);
                    let id = self.add(m.kind, config, limits)?;
                    self.find(id)?.line.take_theirs(mid, true);
                }
            }
        }
        Ok(())
    }

    /// Handles that a remote offer will not be answered.
    pub fn drop_remote_offer(&mut self) {
        self.list
            .retain(|t| !t.line.is_made_for_offer() || t.sender.has_track());
        for t in &mut self.list {
            t.line.drop_theirs();
        }
    }

    /// Removes transceivers that were stopped before the remote peer knew them.
    fn drop_unheard_of(&mut self, events: &mut Vec<PeerEvent>) {
        self.list.retain(|t| {
            let is_gone = t.line.is_stopping() && t.line.is_unheard_of();
            if is_gone {
                t.say_goodbye(events);
            }
            !is_gone
        });
    }

    /// Ends our pending offer; returns the m-lines that it would have added.
    fn take_offered(&mut self) -> Vec<(Mid, MediaKind)> {
        let mut taken = Vec::new();
        for t in &mut self.list {
            let kind = t.kind();
            taken.extend(t.line.take_offer().map(|mid| (mid, kind)));
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
            ("layers of a track", most(|t| t.sender.layers()), MAX_LAYERS),
            (
                "received layers of a track",
                most(|t| t.receiver.layers()),
                MAX_LAYERS,
            ),
        ]
    }

    /// Resets an unanswered offer: its transceivers have no m-lines again.
    pub fn without_offered(
        &mut self,
        pending: PendingOffer,
        context: &mut Context<'_>,
    ) -> Option<PendingOffer> {
        let media = self.take_offered();
        if media.is_empty() {
            return Some(pending);
        }
        let rest = context.core.without_lines(pending, &media);
        self.drop_unheard_of(context.events);
        rest
    }

    /// Ends our pending offer without keeping anything of it.
    pub fn forget_offered(&mut self, events: &mut Vec<PeerEvent>) {
        self.take_offered();
        self.drop_unheard_of(events);
    }

    /// Declares SSRCs in our offer for sending on remote m-lines.
    pub fn declare_senders(&self, core: &mut CoreMedia<'_>) {
        for t in &self.list {
            let is_sending = t.line.direction().is_sending() && !t.line.is_stopping();
            let Some(mid) = t.line.mid().filter(|_| is_sending) else {
                continue;
            };
            if !t.sender.is_layered() {
                core.declare_sender(mid, t.is_video());
            }
        }
    }

    /// Updates the transceivers after the core has applied a remote offer.
    pub fn answered(&mut self, text: &str, media: &[RemoteMedia], context: &mut Context<'_>) {
        for m in media {
            if let Some(t) = self.by_mid(&m.mid) {
                t.line.answered(m.direction.reversed());
            }
        }
        self.negotiated(text, media, context);
    }

    /// Updates the transceivers after the core has applied a remote answer.
    pub fn accepted(&mut self, text: &str, media: &[RemoteMedia], context: &mut Context<'_>) {
        for t in &mut self.list {
            if let Some(mid) = t.line.offer_answered()
                && t.line.is_stopping()
            {
                context.core.stop(mid);
            }
            let mid = t.line.mid();
            let mut answered = media.iter();
            let answered = answered.find(|m| mid.as_deref() == Some(m.mid.as_str()));
            t.line.accepted(answered.map(|m| m.direction.reversed()));
        }
        self.negotiated(text, media, context);
    }

    fn negotiated(&mut self, text: &str, media: &[RemoteMedia], context: &mut Context<'_>) {
        if let Ok(types) = self.payload_types.with(text, media) {
            self.payload_types = types;
        }
        let list = &self.list;
        let sends_layers = |mid: &str| {
            let mut of_mid = list.iter().filter(|t| t.line.mid().as_deref() == Some(mid));
            of_mid.any(|t| t.sender.is_layered())
        };
        self.unannounced.update(media, sends_layers);
        for m in media {
            self.narrow_direction(&m.mid, &mut context.core);
            self.line_negotiated(m, context);
        }
        self.drop_stopped(context.events);
        self.tune_retransmission(&mut context.core);
        self.ask_for_the_lost(&mut context.core);
        self.update_bound(context);
        self.update_receiving(context);
    }

    /// Disables retransmission for audio.
    fn tune_retransmission(&mut self, core: &mut CoreMedia<'_>) {
        for t in self.list.iter_mut().filter(|t| t.is_video()) {
            let Some(mid) = t.line.mid() else {
                continue;
            };
            t.sender.tune(|rid| {
                let begun = core.sender(mid, rid, History::begin);
                begun.is_some()
            });
        }
    }

    /// Enables requests for lost packets without RTX: the core makes them only if retransmissions are in a separate
    /// stream (RFC 4588), but some peers, such as pion 3, retransmit in the same one (RFC 4585 §6.2.1).
    fn ask_for_the_lost(&mut self, core: &mut CoreMedia<'_>) {
        for t in self.list.iter().filter(|t| !t.line.is_stopping()) {
            let Some(mid) = t.line.mid() else {
                continue;
            };
            let is_repairable = (core.repairable_types()).any(|pt| t.line.codec_of(pt).is_some());
            if is_repairable {
                core.receiver(mid, None, |stream| stream.request_lost());
            }
        }
    }

    /// Returns those of the payload types that are negotiated for video.
    pub fn agreed_video_types(&self, types: impl Iterator<Item = u8>) -> Vec<u8> {
        let videos = self.list.iter();
        let videos = videos.filter(|t| t.is_video() && !t.line.is_stopping());
        let agreed: Vec<u8> = videos
            .flat_map(|t| t.line.codecs().iter().map(|c| c.payload_type))
            .collect();
        types.filter(|pt| agreed.contains(pt)).collect()
    }

    /// Restricts the negotiated direction: the core takes the remote one, but we may want less.
    fn narrow_direction(&mut self, mid: &str, core: &mut CoreMedia<'_>) {
        let Some(t) = self.by_mid(mid).filter(|t| !t.line.is_stopping()) else {
            return;
        };
        let (Some(mid), Some(current)) = (t.line.mid(), t.line.current()) else {
            return;
        };
        if core.is_enabled(mid) {
            core.set_direction(mid, current);
        }
    }

    fn line_negotiated(&mut self, m: &RemoteMedia, context: &mut Context<'_>) {
        let known = self.known.clone();
        let Some(t) = self.by_mid(&m.mid) else {
            return;
        };
        let Some(mid) = t.line.mid() else {
            return;
        };
        if context.core.is_enabled(mid) {
            t.line.set_codecs(context.core.codecs(mid));
            t.receiver.set_names(m);
            return;
        }
        let (kind, we_offered) = (t.kind(), t.line.we_offered());
        let is_first = t.line.codecs().is_empty() && !t.line.is_stopping();
        // Rejected by the remote peer, or by our answer. Otherwise our next offer says so.
        t.line.disabled(m.rejected || !we_offered);
        if !is_first {
            return;
        }
        let ours: Vec<String> = match t.line.preferred() {
            [] => known.names(kind),
            preferred => preferred.iter().map(|c| c.name().to_owned()).collect(),
        };
        let error = if !m.rejected {
            PeerError::NoCommonCodec {
                mid: context.wire_mid(&m.mid),
                kind,
                local: ours,
                remote: m.codec_names(),
            }
        } else if we_offered {
            PeerError::TrackRejected {
                mid: context.wire_mid(&m.mid),
                kind,
                offered: ours,
            }
        } else {
            return;
        };
        context.events.push(PeerEvent::Error(error));
    }

    /// Removes stopped transceivers that both sides know of.
    fn drop_stopped(&mut self, events: &mut Vec<PeerEvent>) {
        self.list.retain(|t| {
            if t.line.is_over() {
                t.say_goodbye(events);
            }
            !t.line.is_over()
        });
    }

    /// Reports which tracks can be written to, and which no longer can.
    pub fn update_bound(&mut self, context: &mut Context<'_>) {
        for t in &mut self.list {
            t.update_bound(context.is_connected, context.events);
        }
    }

    /// Reports which remote tracks have started and ended.
    pub fn update_receiving(&mut self, context: &mut Context<'_>) {
        for t in &mut self.list {
            let is = t.line.may_receive();
            if !t.receiver.set_receiving(is) {
                continue;
            }
            if is {
                let mid = t.line.mid();
                let mid = context.wire_mid(mid.as_deref().unwrap_or_default());
                context.events.push(PeerEvent::Track(t.remote_track(mid)));
            } else {
                t.receiver.playout.release_all(context.now, context.events);
                context.events.push(PeerEvent::TrackRemoved(t.id()));
            }
        }
    }
}

/// Re-enables sending on a local m-line that has been inactive, which the core would refuse.
pub(in super::super) fn wake_inactive(core: &mut CoreMedia<'_>, media: &[RemoteMedia]) {
    for m in media.iter().filter(|m| m.direction.is_receiving()) {
        core.wake_inactive(Mid::from(m.mid.as_str()));
    }
}
