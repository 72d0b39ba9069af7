//! Outgoing packets: protocol, relay, and repetition on several paths.

use super::Peer;
use super::core::{Check, Outgoing};
use super::ends::Ends;
use crate::proto::ice::stun;

impl Peer {
    /// Sends one of the core's datagrams.
    pub(super) fn on_transmit(&mut self, outgoing: Outgoing) {
        let ends = outgoing.ends;
        for datagram in self.leaving(outgoing) {
            self.send_on(ends, datagram);
        }
    }

    /// Records one of the core's datagrams; returns the datagrams to send in its place.
    fn leaving(&mut self, outgoing: Outgoing) -> Vec<Vec<u8>> {
        let Outgoing { ends, contents } = outgoing;
        if stun::is_stun(&contents) {
            self.check_leaves(&contents);
            if Check::nominates_in(&contents) {
                self.path.nominated(ends, self.now);
            }
            return vec![contents];
        }
        if !self.path.data_leaves(ends, self.now) {
            return Vec::new();
        }
        // DTLS (RFC 7983 §7) while channels wait for acknowledgements may have to be sent again.
        let is_dtls = matches!(contents.first(), Some(20..=63));
        if is_dtls && self.core.is_connected() && self.channels.buffered() > 0 {
            self.path.keep_for_resend(&contents);
        }
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
                for other in self.path.others(ends, self.now) {
                    self.send_on(other, datagram.clone());
                }
            }
            self.send_on(ends, datagram);
        }
    }

    /// Repeats datagrams that were lost with the old path, if it is time.
    pub(super) fn resend_due(&mut self) {
        let Some((ways, datagrams)) = self.path.resend_due(self.now) else {
            return;
        };
        for contents in datagrams {
            for ends in &ways {
                self.send_on(*ends, contents.clone());
            }
        }
    }

    /// Sends on this address pair, regardless of the core's choice.
    pub(super) fn send_on(&mut self, ends: Ends, contents: Vec<u8>) {
        if self.path.send(ends, contents, self.now, &mut self.out) {
            self.on_gathered();
        }
    }
}
