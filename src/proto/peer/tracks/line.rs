//! The negotiated part of a transceiver: its m-line, wanted and negotiated direction and codecs (RFC 8829 §5.2, §5.3,
//! §5.10).

use super::{Codec, CodecParameters, Direction, Mid, TransceiverConfig};

/// Result of the last negotiation of an m-line.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    /// The direction in the offer, as seen from here.
    offered: Direction,
    we_offered: bool,
    current: Direction,
    /// The [`Line::revision`] that the remote peer knows.
    revision: u32,
}

/// The m-line in the negotiated descriptions, or in an unanswered remote offer.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// There is none.
    None,
    /// In a remote offer that is not answered yet.
    Theirs {
        mid: Mid,
        /// Set if the transceiver was created by that offer.
        is_made: bool,
    },
    /// In an offer that was answered. `agreed` is `None` if the answer lacked it.
    InForce { mid: Mid, agreed: Option<Agreed> },
}

/// The m-line in our unanswered offer.
#[derive(Debug, Clone, Copy)]
struct Offer {
    direction: Direction,
    /// The m-line, if this offer adds it.
    added: Option<Mid>,
}

/// How far stopping has progressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Active,
    /// Stopped here; the remote peer does not know yet.
    Stopping,
    /// Both sides know.
    Over,
}

/// The m-line of a transceiver.
#[derive(Debug)]
pub(super) struct Line {
    place: Place,
    offer: Option<Offer>,
    life: Life,
    /// The wanted direction.
    direction: Direction,
    /// Set if it was created by `add_track`: it may use an m-line of a remote offer.
    by_add_track: bool,
    preferred: Vec<Codec>,
    /// Number of changes of what offers contain besides the direction: preferred codecs, ids.
    revision: u32,
    codecs: Vec<CodecParameters>,
}

impl Line {
    pub fn new(config: &TransceiverConfig) -> Self {
        Self {
            place: Place::None,
            offer: None,
            life: Life::Active,
            direction: config.direction,
            by_add_track: false,
            preferred: config.codecs.clone(),
            revision: 0,
            codecs: Vec::new(),
        }
    }

    /// The m-line, once negotiated, or while a remote offer with it is unanswered.
    pub fn mid(&self) -> Option<Mid> {
        match self.place {
            Place::None => None,
            Place::Theirs { mid, .. } | Place::InForce { mid, .. } => Some(mid),
        }
    }

    /// Returns the m-line, or else the one that our unanswered offer adds.
    pub fn mid_or_offered(&self) -> Option<Mid> {
        self.mid().or_else(|| self.offer?.added)
    }

    fn agreed(&self) -> Option<Agreed> {
        match self.place {
            Place::InForce { agreed, .. } => agreed,
            _ => None,
        }
    }

    /// Returns the negotiated direction (W3C `currentDirection`).
    pub fn current(&self) -> Option<Direction> {
        self.agreed().map(|agreed| agreed.current)
    }

    /// Returns `true` if the last offer was ours.
    pub fn we_offered(&self) -> bool {
        self.agreed().is_some_and(|agreed| agreed.we_offered)
    }

    /// Returns the wanted direction (W3C `direction`).
    pub fn direction(&self) -> Direction {
        self.direction
    }

    pub fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
    }

    pub fn is_stopping(&self) -> bool {
        self.life != Life::Active
    }

    /// Returns `true` once both sides know that it is stopped.
    pub fn is_over(&self) -> bool {
        self.life == Life::Over
    }

    /// Returns `true` if sending is negotiated.
    pub fn may_send(&self) -> bool {
        !self.is_stopping() && self.current().is_some_and(Direction::is_sending)
    }

    /// Returns `true` if receiving is negotiated.
    pub fn may_receive(&self) -> bool {
        !self.is_stopping() && self.current().is_some_and(Direction::is_receiving)
    }

    /// Returns `true` if it is in no description, our unanswered offer included.
    pub fn is_unheard_of(&self) -> bool {
        self.mid_or_offered().is_none()
    }

    /// Returns `true` if our unanswered offer adds it.
    pub fn is_being_added(&self) -> bool {
        self.offer.is_some_and(|offer| offer.added.is_some())
    }

    /// Returns `true` if an offer is needed (W3C §4.7.3).
    pub fn needs_negotiation(&self) -> bool {
        let Some(agreed) = self.agreed() else {
            return !self.is_stopping() || self.mid().is_some();
        };
        let wanted = self.direction;
        let is_said = if agreed.we_offered {
            wanted == agreed.offered || wanted == agreed.current
        } else {
            wanted.and(agreed.offered) == agreed.current
        };
        self.is_stopping() || !is_said || agreed.revision != self.revision
    }

    /// Marks it as created by `add_track`.
    pub fn made_by_add_track(&mut self) {
        self.by_add_track = true;
    }

    /// Returns `true` if it may use an m-line of a remote offer (RFC 8829 §5.10).
    pub fn can_take_theirs(&self) -> bool {
        self.by_add_track && self.mid().is_none()
    }

    /// Uses an m-line of a remote offer. `is_made`: the transceiver was created by that offer.
    pub fn take_theirs(&mut self, mid: Mid, is_made: bool) {
        self.place = Place::Theirs { mid, is_made };
    }

    /// Returns `true` if it was created by a remote offer that is not answered yet.
    pub fn is_made_for_offer(&self) -> bool {
        matches!(self.place, Place::Theirs { is_made: true, .. })
    }

    /// Handles that a remote offer will not be answered.
    pub fn drop_theirs(&mut self) {
        if self.agreed().is_none() {
            self.place = Place::None;
        }
    }

    /// Puts it into our offer. Calls `add` for a new m-line if it has none, and then returns `true`.
    pub fn offer(&mut self, add: impl FnOnce(Direction) -> Mid) -> bool {
        // An offer that was made before still holds the m-line it adds.
        let before = self.offer.and_then(|offer| offer.added);
        let is_new = self.mid().is_none();
        let added = if is_new {
            Some(add(self.direction))
        } else {
            before
        };
        self.offer = Some(Offer {
            direction: self.direction,
            added,
        });
        is_new
    }

    /// Ends our offer. Returns the m-line that it would have added.
    pub fn take_offer(&mut self) -> Option<Mid> {
        self.offer.take()?.added
    }

    /// Handles our answer to a remote offer with this direction, seen from here.
    pub fn answered(&mut self, offered: Direction) {
        let Some(mid) = self.mid() else {
            return;
        };
        let agreed = Some(Agreed {
            offered,
            we_offered: false,
            current: self.direction.and(offered),
            revision: self.revision,
        });
        self.place = Place::InForce { mid, agreed };
    }

    /// Handles the answer to our offer. Returns the m-line that it adds.
    pub fn offer_answered(&mut self) -> Option<Mid> {
        let added = self.offer.as_mut().and_then(|offer| offer.added.take());
        if let Some(mid) = added {
            let agreed = self.agreed();
            self.place = Place::InForce { mid, agreed };
        }
        added
    }

    /// Applies the answer's direction, seen from here; `None` if the answer lacks the m-line.
    pub fn accepted(&mut self, answered: Option<Direction>) {
        let offer = self.offer.take();
        let (Some(answered), Some(mid)) = (answered, self.mid()) else {
            return;
        };
        let offered = offer.map_or(self.direction, |offer| offer.direction);
        let agreed = Some(Agreed {
            offered,
            we_offered: true,
            current: answered.and(offered),
            revision: self.revision,
        });
        self.place = Place::InForce { mid, agreed };
    }

    /// Stops it here.
    pub fn stop(&mut self) {
        if self.life == Life::Active {
            self.life = Life::Stopping;
        }
        self.direction = Direction::Inactive;
    }

    /// Handles a rejected m-line. `is_known`: the remote peer knows.
    pub fn disabled(&mut self, is_known: bool) {
        self.life = if is_known { Life::Over } else { Life::Stopping };
        self.direction = Direction::Inactive;
    }

    /// Returns the wanted codecs, the preferred first; empty for all.
    pub fn preferred(&self) -> &[Codec] {
        &self.preferred
    }

    pub fn prefer(&mut self, codecs: &[Codec]) {
        self.preferred = codecs.to_vec();
        self.changed();
    }

    /// Marks a change that the remote peer learns from the next offer.
    pub fn changed(&mut self) {
        self.revision += 1;
    }

    /// All negotiated codecs, in order of preference.
    pub fn codecs(&self) -> &[CodecParameters] {
        &self.codecs
    }

    /// Sets the negotiated codecs, in the remote peer's order of preference; ours applies if there is one.
    pub fn set_codecs(&mut self, codecs: Vec<CodecParameters>) {
        self.codecs = codecs;
        if !self.preferred.is_empty() {
            let place = |c: &CodecParameters| self.preferred.iter().position(|p| *p == c.codec);
            self.codecs.retain(|c| place(c).is_some());
            self.codecs.sort_by_key(place);
        }
    }

    /// Returns the codec of a negotiated payload type.
    pub fn codec_of(&self, payload_type: u8) -> Option<Codec> {
        let mut codecs = self.codecs.iter();
        let found = codecs.find(|c| c.payload_type == payload_type);
        found.map(|c| c.codec)
    }

    pub fn has_codec(&self, codec: Codec) -> bool {
        self.codecs.iter().any(|c| c.codec == codec)
    }

    /// Returns the RTP clock rate of the first codec, in Hz; 1 before there is one.
    pub fn clock_rate(&self) -> u32 {
        self.codecs.first().map_or(1, |c| c.clock_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(direction: Direction) -> Line {
        Line::new(&TransceiverConfig::default().direction(direction))
    }

    #[test]
    fn an_offer_taken_back_leaves_nothing() {
        let mut line = line(Direction::SendOnly);
        assert!(line.needs_negotiation() && line.is_unheard_of());
        assert!(line.offer(|_| "0".into()));
        assert!(line.is_being_added() && line.mid().is_none());
        assert_eq!(line.mid_or_offered(), Some("0".into()));
        assert_eq!(line.take_offer(), Some("0".into()));
        assert!(line.needs_negotiation() && line.is_unheard_of());
    }

    #[test]
    fn what_the_answer_allows_is_agreed() {
        let mut line = line(Direction::SendRecv);
        line.offer(|_| "0".into());
        assert_eq!(line.offer_answered(), Some("0".into()));
        line.accepted(Some(Direction::SendOnly));
        assert_eq!(line.current(), Some(Direction::SendOnly));
        assert!(line.may_send() && !line.may_receive() && line.we_offered());
        assert!(
            !line.needs_negotiation(),
            "what was offered is still wanted"
        );
        line.set_direction(Direction::RecvOnly);
        assert!(line.needs_negotiation());
        line.set_direction(Direction::SendRecv);
        line.prefer(&[Codec::Vp8]);
        assert!(line.needs_negotiation(), "the codecs have not been said");
        // Once more: no m-line is added.
        assert!(!line.offer(|_| unreachable!()));
        assert_eq!(line.offer_answered(), None);
        line.accepted(Some(Direction::SendRecv));
        assert!(!line.needs_negotiation() && line.may_receive());
    }

    #[test]
    fn their_offer_gives_an_m_line_until_it_is_dropped() {
        let mut line = line(Direction::SendRecv);
        assert!(!line.can_take_theirs());
        line.made_by_add_track();
        assert!(line.can_take_theirs());
        line.take_theirs("a".into(), false);
        assert_eq!(line.mid_or_offered(), Some("a".into()));
        assert!(!line.can_take_theirs() && !line.is_made_for_offer());
        line.drop_theirs();
        assert_eq!(line.mid(), None);
        line.take_theirs("a".into(), true);
        assert!(line.is_made_for_offer());
        line.answered(Direction::RecvOnly);
        assert_eq!(line.current(), Some(Direction::RecvOnly));
        // The next offer on it that is dropped takes nothing away.
        line.drop_theirs();
        assert_eq!(line.mid(), Some("a".into()));
    }

    #[test]
    fn stopped_is_over_when_both_know() {
        let mut line = line(Direction::SendRecv);
        line.take_theirs("a".into(), true);
        line.answered(Direction::SendRecv);
        line.stop();
        assert!(line.needs_negotiation() && !line.may_send() && !line.is_over());
        line.disabled(true);
        assert!(line.is_over());
        line.stop();
        assert!(line.is_over(), "for good");
    }
}
