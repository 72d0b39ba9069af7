//! Incoming packets: which sources are accepted, and what is passed to the core together.

use str0m::ice::StunMessage;

use super::connectivity::ValidatedAddresses;
use super::core::Core;
use super::ends::Ends;
use super::{Output, Peer, Route};
use crate::proto::ice::stun;
use crate::proto::net::{Protocol, Received};

impl Peer {
    pub(super) fn on_datagram(&mut self, received: &Received<'_>) {
        if received.protocol == Protocol::Tcp {
            // A stream that has been given up.
            return;
        }
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += received.contents.len() as u64;
        let now = self.now;
        let repaired = self.with_priority(received.contents);
        let received = &Received {
            contents: repaired.as_deref().unwrap_or(received.contents),
            ..*received
        };
        if stun::is_stun(received.contents) {
            if !self.on_stun(received) {
                return;
            }
        } else if self
            .validated_by(received.protocol)
            .data(received.source, now)
        {
            self.connectivity.heard(Ends::of(received), self.now);
            self.resend.heard(Ends::of(received));
        } else {
            // Only validated addresses reach DTLS, SRTP and SCTP.
            self.stats.unvalidated_dropped += 1;
            return;
        }
        if Core::looks_joined(received.contents) {
            self.stats.malformed_dropped += 1;
            return;
        }
        if self.hold_early(received) || self.core.join(received) {
            return;
        }
        self.settle();
        if self.core.join(received) {
            return;
        }
        let placed = self.place_stream(received.contents);
        let repair = self.repair_in(received.contents);
        self.core.receive(received, self.now, &mut self.out.events);
        if let Some(ssrc) = placed {
            self.confirm_stream(ssrc);
        }
        self.settle();
        self.send_again(received.contents, self.path_in_use());
        if let Some(repair) = repair {
            self.deliver_late(&repair, received.contents);
            self.settle();
        }
    }

    /// Keeps a datagram back while an answer with data channels is awaited. Returns `true` if it was kept.
    fn hold_early(&mut self, received: &Received<'_>) -> bool {
        self.negotiation.awaits_application()
            && self.core.is_connected()
            && self.core.early().hold(received, self.now)
    }

    /// Returns the validated addresses for this protocol: TCP ports are not UDP ports.
    pub(super) fn validated_by(&mut self, protocol: Protocol) -> &mut ValidatedAddresses {
        match protocol {
            Protocol::Udp => &mut self.validated,
            Protocol::Tcp | Protocol::IceTcp => &mut self.validated_tcp,
        }
    }

    /// Verifies a STUN message. Returns `true` if the core should see it.
    fn on_stun(&mut self, received: &Received<'_>) -> bool {
        let message = match StunMessage::parse(received.contents) {
            Ok(message) if !stun::begins_with_integrity(received.contents) => message,
            _ => {
                self.stats.malformed_dropped += 1;
                return false;
            }
        };
        let is_request = message.is_binding_request();
        let password = if is_request {
            Some(self.local_creds.pass.as_str())
        } else {
            self.remote_creds.as_ref().map(|c| c.pass.as_str())
        };
        let hmac = self.core.provider().sha1_hmac_provider;
        let verified = password.is_some_and(|password| {
            message.verify(password.as_bytes(), |key, data| hmac.sha1_hmac(key, data))
        });
        if !verified {
            self.stats.stun_rejected += 1;
            return false;
        }
        let ends = Ends::of(received);
        if is_request && self.refuse_unknown(received, ends) {
            return false;
        }
        self.connectivity.heard(ends, self.now);
        self.connectivity.checked(ends, self.now);
        if message.is_successful_binding_response() {
            self.connectivity.consented(self.now);
            self.resend.answered(ends, self.now);
            self.check_answered(received.contents);
        }
        let now = self.now;
        let validated = self.validated_by(received.protocol);
        let evicted = validated.proved(received.source, now);
        if message.use_candidate() {
            validated.choose(received.source, now);
        }
        if received.protocol == Protocol::IceTcp {
            self.tcp_verified = true;
            return true;
        }
        if let Some(evicted) = evicted {
            self.out.push(Output::Route(Route::DropAddress(evicted)));
        }
        // Datagrams through a relay are routed by the relay's own socket.
        if !self.gatherer.is_relayed(received.destination) && self.validated.route(received.source)
        {
            self.out
                .push(Output::Route(Route::Address(received.source)));
        }
        true
    }
}
