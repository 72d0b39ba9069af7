//! The data channels of str0m.

use str0m::channel::{ChannelConfig as CoreConfig, ChannelId, Reliability};

use super::super::values::ChannelConfig;
use super::access::RtcMut;

/// Identifies a data channel of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct CoreChannelId(pub(super) ChannelId);

/// A message that was received.
pub(in super::super) struct CoreMessage {
    pub channel: CoreChannelId,
    pub is_binary: bool,
    pub data: Vec<u8>,
}

/// The data channels of the core, borrowed for a change.
pub(in super::super) struct CoreChannels<'a>(pub(super) RtcMut<'a>);

impl CoreChannels<'_> {
    /// Returns `true` if a channel uses this SCTP stream.
    pub fn is_stream_taken(&mut self, stream: u16) -> bool {
        let api = self.0.direct_api();
        api.channel_id_by_sctp_stream_id(stream).is_some()
    }

    /// Creates a channel. The core panics if the id of a negotiated one is taken.
    pub fn create(&mut self, config: &ChannelConfig) -> CoreChannelId {
        let mut api = self.0.direct_api();
        CoreChannelId(api.create_data_channel(to_core(config)))
    }

    /// Resets the channel's stream.
    pub fn close(&mut self, id: CoreChannelId) {
        self.0.direct_api().close_data_channel(id.0);
    }

    /// Returns the channel's SCTP stream, once it is known.
    pub fn stream(&mut self, id: CoreChannelId) -> Option<u16> {
        self.0.direct_api().sctp_stream_id_by_channel_id(id.0)
    }

    pub fn is_open(&mut self, id: CoreChannelId) -> bool {
        self.0.channel(id.0).is_some()
    }

    /// Returns the configuration of an open channel, which the remote peer has announced.
    pub fn config(&mut self, id: CoreChannelId) -> Option<ChannelConfig> {
        let channel = self.0.channel(id.0)?;
        channel.config().map(from_core)
    }

    /// Returns the number of bytes that the core holds. It also counts the channel's DCEP OPEN message (RFC 8832).
    pub fn buffered(&mut self, id: CoreChannelId) -> usize {
        let channel = self.0.channel(id.0);
        channel.map_or(0, |mut channel| channel.buffered_amount())
    }

    /// Writes a message. Returns `false` if the core does not take it now.
    pub fn write(&mut self, id: CoreChannelId, is_binary: bool, data: &[u8]) -> bool {
        let Some(mut channel) = self.0.channel(id.0) else {
            return false;
        };
        match channel.write(is_binary, data) {
            Ok(accepted) => accepted,
            Err(e) => {
                log::debug!("data channel write: {e}");
                false
            }
        }
    }
}

pub(super) fn to_core(config: &ChannelConfig) -> CoreConfig {
    let reliability = match (config.max_retransmits, config.max_packet_lifetime) {
        (Some(retransmits), _) => Reliability::MaxRetransmits { retransmits },
        // Sent once (RFC 3758 §4.1): the core would abandon it before that (docs/upstream.md).
        (None, Some(0)) => Reliability::MaxRetransmits { retransmits: 0 },
        (None, Some(lifetime)) => Reliability::MaxPacketLifetime { lifetime },
        (None, None) => Reliability::Reliable,
    };
    CoreConfig {
        label: config.label.clone(),
        ordered: config.ordered,
        reliability,
        negotiated: config.negotiated,
        protocol: config.protocol.clone(),
    }
}

fn from_core(core: &CoreConfig) -> ChannelConfig {
    let mut config = ChannelConfig::new(core.label.clone())
        .protocol(core.protocol.clone())
        .ordered(core.ordered);
    match core.reliability {
        Reliability::Reliable => {}
        Reliability::MaxRetransmits { retransmits } => config.max_retransmits = Some(retransmits),
        Reliability::MaxPacketLifetime { lifetime } => config.max_packet_lifetime = Some(lifetime),
    }
    config.negotiated = core.negotiated;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_keeps_its_meaning() {
        let reliable = ChannelConfig::new("a").protocol("p").ordered(false);
        assert_eq!(from_core(&to_core(&reliable)), reliable);
        let limited = ChannelConfig::new("a").max_retransmits(3).negotiated(7);
        assert_eq!(from_core(&to_core(&limited)), limited);
        let timed = ChannelConfig::new("a").max_packet_lifetime(30);
        assert_eq!(from_core(&to_core(&timed)), timed);
        let once = ChannelConfig::new("a").max_packet_lifetime(0);
        let sent_once = ChannelConfig::new("a").max_retransmits(0);
        assert_eq!(from_core(&to_core(&once)), sent_once);
    }
}
