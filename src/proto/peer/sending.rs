//! Outgoing packets: protocol, relay, and repetition on several paths.

use str0m::ice::StunMessage;

use super::core::Outgoing;
use super::ends::Ends;
use super::{Output, Peer};
use crate::proto::ice::stun;
use crate::proto::net::{Protocol, Transmit};

impl Peer {
    /// Sends one of the core's datagrams.
    pub(super) fn on_transmit(&mut self, outgoing: Outgoing) {
        let ends = outgoing.ends;
        for datagram in self.leaving(outgoing) {
            self.send_on(ends, datagram);
        }
    }

    /// Returns what is sent in place of one of the core's datagrams, and records it.
    fn leaving(&mut self, outgoing: Outgoing) -> Vec<Vec<u8>> {
        let Outgoing { ends, contents } = outgoing;
        if stun::is_stun(&contents) {
            self.check_leaves(&contents);
            if StunMessage::parse(&contents).is_ok_and(|m| m.use_candidate()) {
                // Packets from there are accepted, even if nothing may be sent there.
                let now = self.now;
                self.validated_by(ends.protocol).choose(ends.remote, now);
            }
            return vec![contents];
        }
        // Without consent only checks may be sent there (RFC 7675 §5.1).
        if self.connectivity.is_failed() {
            return Vec::new();
        }
        self.stats.path = Some((ends.local, ends.remote));
        self.stats.path_protocol = Some(ends.protocol);
        self.connectivity.sent(ends, self.now);
        self.keep_for_resend(&contents);
        self.packet_leaves(&contents);
        self.rewritten(contents)
    }

    /// Sends the core's last datagrams, close messages that are not repeated. During an ICE restart the core uses the
    /// old path until there is a new one, but the remote peer may have left it already: so they are sent on all working
    /// paths. DTLS and SRTP drop duplicates.
    pub(super) fn farewell(&mut self, outgoing: Outgoing) {
        let ends = outgoing.ends;
        for datagram in self.leaving(outgoing) {
            if !stun::is_stun(&datagram) {
                for other in self.connectivity.other_paths(ends, self.now) {
                    self.send_on(other, datagram.clone());
                }
            }
            self.send_on(ends, datagram);
        }
    }

    /// Sends on this address pair, whatever path the core would use.
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
            self.out.push(Output::Transmit(transmit));
        }
    }
}
