//! A transceiver: an m-line with its sender and receiver.

use super::config::check_preferences;
use super::line::Line;
use super::receiver::Receiver;
use super::sender::Sender;
use super::{
    Codec, Codecs, Direction, MediaKind, PeerError, PeerEvent, RemoteTrack, TransceiverConfig,
    TransceiverId, TransceiverInfo,
};

/// An m-line with both its directions (W3C `RTCRtpTransceiver`).
#[derive(Debug)]
pub(super) struct Transceiver {
    id: TransceiverId,
    kind: MediaKind,
    pub line: Line,
    pub sender: Sender,
    pub receiver: Receiver,
}

impl Transceiver {
    /// Creates a transceiver without an m-line. `name` is the prefix of generated ids.
    pub fn new(
        id: TransceiverId,
        kind: MediaKind,
        mut config: TransceiverConfig,
        name: &str,
    ) -> Self {
        Self {
            id,
            kind,
            line: Line::new(&config),
            receiver: Receiver::new(std::mem::take(&mut config.recv_rids)),
            sender: Sender::new(config, name, || format!("{name}-{}", id.0)),
        }
    }

    pub fn id(&self) -> TransceiverId {
        self.id
    }

    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    pub fn is_video(&self) -> bool {
        self.kind == MediaKind::Video
    }

    pub fn info(&self) -> TransceiverInfo {
        let (stream, track) = self.sender.ids();
        TransceiverInfo {
            id: self.id,
            kind: self.kind,
            mid: self.line.mid().map(|m| m.to_string()),
            direction: self.line.direction(),
            current_direction: self.line.current(),
            local_ids: (stream.to_owned(), track.to_owned()),
            codec: self.sender.bound().cloned(),
            codecs: self.line.codecs().to_vec(),
            paused: self.sender.is_paused(),
            stopping: self.line.is_stopping(),
            sent: self.sender.sent(),
            received: self.receiver.received(),
        }
    }

    /// Returns `true` if `add_track` can use it (W3C §5.1).
    pub fn is_free(&self) -> bool {
        self.sender.is_free() && !self.line.is_stopping() && !self.line.is_being_added()
    }

    /// Sets a local track.
    pub fn take_track(&mut self, config: &TransceiverConfig) {
        self.sender.take_track(config);
        let direction = self.line.direction().with_sending(true);
        self.line.set_direction(direction);
        if !config.codecs.is_empty() {
            self.line.prefer(&config.codecs);
        }
    }

    /// Removes the local track.
    pub fn remove_track(&mut self) {
        self.sender.set_track(false);
        let direction = self.line.direction().with_sending(false);
        self.line.set_direction(direction);
    }

    /// Switches to another source, with this codec if there is one.
    pub fn replace_source(&mut self, codec: Option<Codec>) -> Result<(), PeerError> {
        if let Some(codec) = codec {
            if !self.line.has_codec(codec) {
                let agreed: Vec<&str> = self.line.codecs().iter().map(|c| c.codec.name()).collect();
                return Err(PeerError::BadTrack(format!(
                    "{codec} was not negotiated here, only: {}",
                    agreed.join(", ")
                )));
            }
            self.sender.choose(codec);
        }
        self.sender.restart_source();
        Ok(())
    }

    pub fn set_direction(&mut self, direction: Direction) -> Result<(), PeerError> {
        if self.line.is_stopping() {
            return Err(PeerError::BadTrack("the transceiver is stopped".into()));
        }
        self.line.set_direction(direction);
        if direction.is_sending() {
            self.sender.set_track(true);
        }
        Ok(())
    }

    pub fn prefer(&mut self, codecs: &[Codec], known: &Codecs) -> Result<(), PeerError> {
        check_preferences(self.kind, codecs, known)?;
        if self.line.preferred() != codecs {
            self.line.prefer(codecs);
        }
        Ok(())
    }

    pub fn stop(&mut self) {
        self.line.stop();
        self.sender.set_track(false);
    }

    /// Emits the events for its end.
    pub fn say_goodbye(&self, events: &mut Vec<PeerEvent>) {
        if self.sender.bound().is_some() {
            events.push(PeerEvent::TrackUnbound(self.id));
        }
        if self.receiver.is_receiving() {
            events.push(PeerEvent::TrackRemoved(self.id));
        }
        events.push(PeerEvent::TransceiverStopped(self.id));
    }

    /// Binds or unbinds the sender, with the event for it.
    pub fn update_bound(&mut self, is_connected: bool, events: &mut Vec<PeerEvent>) {
        let can = is_connected && self.sender.has_track() && self.line.may_send();
        if self.sender.bind(can, self.line.codecs()) {
            events.push(match self.sender.bound() {
                Some(codec) => PeerEvent::TrackBound {
                    transceiver: self.id,
                    codec: codec.clone(),
                },
                None => PeerEvent::TrackUnbound(self.id),
            });
        }
    }

    /// Returns the remote track, with its mid on the wire.
    pub fn remote_track(&self, mid: String) -> RemoteTrack {
        let names = self.receiver.names().clone();
        RemoteTrack {
            transceiver: self.id,
            mid,
            kind: self.kind,
            codecs: self.line.codecs().to_vec(),
            stream_ids: names.stream_ids,
            track_id: names.track_id,
            rids: names.rids,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transceiver(direction: Direction) -> Transceiver {
        let config = TransceiverConfig::default().direction(direction);
        Transceiver::new(TransceiverId(7), MediaKind::Video, config, "name")
    }

    #[test]
    fn a_track_goes_where_none_was() {
        let mut t = transceiver(Direction::RecvOnly);
        assert!(t.is_free());
        t.take_track(
            &TransceiverConfig::default()
                .ids("s", "t")
                .codecs([Codec::Vp9]),
        );
        let info = t.info();
        assert_eq!(info.direction, Direction::SendRecv);
        assert_eq!(info.local_ids, ("s".into(), "t".into()));
        assert!(!t.is_free());
        t.remove_track();
        assert!(t.is_free());
        t.stop();
        assert!(!t.is_free() && t.set_direction(Direction::SendRecv).is_err());
        assert_eq!(t.info().direction, Direction::Inactive);
    }

    #[test]
    fn it_is_named_where_the_application_does_not() {
        let info = transceiver(Direction::SendRecv).info();
        assert_eq!(info.local_ids, ("name".into(), "name-7".into()));
        assert_eq!((info.mid, info.codec), (None, None));
    }

    #[test]
    fn only_a_negotiated_codec_can_be_chosen() {
        let mut t = transceiver(Direction::SendRecv);
        assert!(t.replace_source(None).is_ok());
        assert!(t.replace_source(Some(Codec::Vp8)).is_err());
        let mut events = Vec::new();
        t.update_bound(true, &mut events);
        t.say_goodbye(&mut events);
        assert_eq!(events, [PeerEvent::TransceiverStopped(TransceiverId(7))]);
    }
}
