//! What leaves a peer: by which protocol, through a relay, or on several paths.

use str0m::ice::StunMessage;
use str0m::net::Protocol as CoreProtocol;

use super::connectivity::Ends;
use super::{Output, Peer};
use crate::proto::ice::stun;
use crate::proto::net::{Protocol, Transmit};

impl Peer {
    /// Sends what the core wants to send.
    pub(super) fn on_transmit(&mut self, transmit: str0m::net::Transmit) {
        let ends = ends_of(&transmit);
        let contents: Vec<u8> = transmit.contents.into();
        // Consent is gone: nothing but checks may go there (RFC 7675 §5.1).
        if self.connectivity.is_failed() && !stun::is_stun(&contents) {
            return;
        }
        if !stun::is_stun(&contents) {
            self.stats.path = Some((ends.local, ends.remote));
            self.stats.path_protocol = Some(ends.protocol);
            self.connectivity.sent(ends, self.now);
            self.keep_for_resend(&contents);
            self.packet_leaves(&contents);
        } else if StunMessage::parse(&contents).is_ok_and(|m| m.use_candidate()) {
            // What comes from there is to be let in, though nothing may be sent there.
            let now = self.now;
            self.validated_by(ends.protocol).choose(ends.remote, now);
        }
        self.send_on(ends, contents);
    }

    /// The last that the core sends: a goodbye, which has no second chance. While ICE restarts, the core keeps to
    /// the old path until there is a new one, but the other side may have left it already: so this goes out on all
    /// that work. What comes twice DTLS drops.
    pub(super) fn farewell(&mut self, transmit: str0m::net::Transmit) {
        let ends = ends_of(&transmit);
        let contents = transmit.contents.to_vec();
        self.on_transmit(transmit);
        if stun::is_stun(&contents) || self.connectivity.is_failed() {
            return;
        }
        for other in self.connectivity.other_paths(ends, self.now) {
            self.send_on(other, contents.clone());
        }
    }

    /// Sends this between these two, whatever path the core would take.
    pub(super) fn send_on(&mut self, ends: Ends, contents: Vec<u8>) {
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += contents.len() as u64;
        if ends.protocol == Protocol::IceTcp {
            self.send_over_tcp(ends, contents);
            return;
        }
        let transmit = Transmit {
            protocol: ends.protocol,
            source: ends.local,
            destination: ends.remote,
            contents,
        };
        if !self.gatherer.has_relays() || !self.relay(&transmit) {
            self.out.push_back(Output::Transmit(transmit));
        }
    }
}

fn ends_of(transmit: &str0m::net::Transmit) -> Ends {
    Ends {
        protocol: match transmit.proto {
            CoreProtocol::Udp => Protocol::Udp,
            _ => Protocol::IceTcp,
        },
        local: transmit.source,
        remote: transmit.destination,
    }
}
