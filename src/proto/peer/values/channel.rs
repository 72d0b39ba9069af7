//! Configuration and state of data channels (W3C WebRTC §6.1).

use super::config::Limits;
use super::error::PeerError;

/// Maximum length of label and protocol together, in bytes, regardless of the configuration: the core writes the DCEP
/// OPEN message into 1,500 bytes and panics if it does not fit.
const CORE_LABEL: usize = 1_400;

/// Maximum stream id (RFC 8832 §6).
pub(in super::super) const MAX_STREAM_ID: u16 = 65_534;

/// Identifies a data channel within its peer. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(in super::super) u32);

/// Configuration of a data channel (W3C `RTCDataChannelInit`). Reliable and ordered by default.
///
/// ```
/// use looprtc::proto::peer::ChannelConfig;
/// let telemetry = ChannelConfig::new("telemetry").ordered(false).max_retransmits(0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// The label, for the application; need not be unique.
    pub label: String,
    /// Subprotocol, as registered for WebSocket. Empty by default.
    pub protocol: String,
    /// Deliver messages in the order they were sent. `true` by default.
    pub ordered: bool,
    /// Maximum number of retransmissions of a message, after which it is abandoned. `None`: unlimited. Cannot be
    /// combined with a lifetime.
    pub max_retransmits: Option<u16>,
    /// Lifetime of a message in milliseconds, after which it is abandoned. `None`: unlimited. Cannot be combined with a
    /// maximum number of retransmissions. 0 means one transmission; the remote peer is then told a maximum of 0
    /// retransmissions, which is equivalent.
    pub max_packet_lifetime: Option<u16>,
    /// Stream id, 0 to 65,534, of a channel that both sides create with the same id, without a message on the wire.
    /// `None`, the default, announces the channel to the remote peer (RFC 8832).
    pub negotiated: Option<u16>,
}

impl ChannelConfig {
    /// Creates the configuration of a reliable, ordered channel with this label.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            protocol: String::new(),
            ordered: true,
            max_retransmits: None,
            max_packet_lifetime: None,
            negotiated: None,
        }
    }

    /// Sets [`protocol`](Self::protocol).
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// Sets [`ordered`](Self::ordered).
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Sets [`max_retransmits`](Self::max_retransmits).
    #[must_use]
    pub fn max_retransmits(mut self, retransmits: u16) -> Self {
        self.max_retransmits = Some(retransmits);
        self
    }

    /// Sets [`max_packet_lifetime`](Self::max_packet_lifetime), in milliseconds.
    #[must_use]
    pub fn max_packet_lifetime(mut self, milliseconds: u16) -> Self {
        self.max_packet_lifetime = Some(milliseconds);
        self
    }

    /// Sets [`negotiated`](Self::negotiated).
    #[must_use]
    pub fn negotiated(mut self, stream_id: u16) -> Self {
        self.negotiated = Some(stream_id);
        self
    }

    pub(in super::super) fn check(&self, limits: &Limits) -> Result<(), PeerError> {
        let bad = |why: &str| Err(PeerError::BadChannel(why.to_owned()));
        if self.max_retransmits.is_some() && self.max_packet_lifetime.is_some() {
            return bad("max_retransmits and max_packet_lifetime exclude each other (W3C §6.1)");
        }
        if self.negotiated.is_some_and(|id| id > MAX_STREAM_ID) {
            return bad("a negotiated id is at most 65534 (RFC 8832 §6)");
        }
        let max = limits.max_label_size.min(CORE_LABEL);
        if self.label.len() + self.protocol.len() > max {
            return Err(PeerError::LimitReached {
                limit: "max_label_size",
                value: max,
            });
        }
        Ok(())
    }
}

/// State of a data channel (W3C `RTCDataChannelState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelState {
    /// Not open yet.
    Connecting,
    /// Open: messages can be sent and received.
    Open,
    /// Queued messages are sent, then the channel closes.
    Closing,
}

/// Properties and state of a data channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The configuration it was created with.
    pub config: ChannelConfig,
    /// The current state.
    pub state: ChannelState,
    /// The SCTP stream id (W3C `id`); `None` until it is known.
    pub stream_id: Option<u16>,
    /// Number of bytes accepted for sending and not yet acknowledged by the remote peer.
    pub buffered_amount: usize,
    /// See [`Peer::set_buffered_amount_low_threshold`](super::super::Peer::set_buffered_amount_low_threshold).
    pub buffered_amount_low_threshold: usize,
}
