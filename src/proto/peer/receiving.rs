//! Incoming packets: which sources are accepted, and what is passed to the core together.

use str0m::ice::StunMessage;
use str0m::net::{Protocol as CoreProtocol, Receive};

use super::connectivity::{Ends, ValidatedAddresses};
use super::{CryptoBackend, Dtls, Output, Peer, Route, joined};
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
            self.connectivity.heard(ends_of(received), self.now);
            self.resend.heard(ends_of(received));
        } else {
            // Only validated addresses reach DTLS, SRTP and SCTP.
            self.stats.unvalidated_dropped += 1;
            return;
        }
        if joined::is_joined(received.contents) {
            self.stats.malformed_dropped += 1;
            return;
        }
        if self.hold_early(received) {
            return;
        }
        if self.may_join(received) && self.joined.push(received) {
            return;
        }
        self.settle();
        if self.may_join(received) && self.joined.push(received) {
            return;
        }
        let placed = self.place_stream(received.contents);
        let repair = self.repair_in(received.contents);
        self.core_receive(received);
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

    /// Returns `true` if a datagram may wait for others, to be passed to the core together: DTLS (RFC 7983 §7) of our
    /// own implementation, after the handshake.
    fn may_join(&self, received: &Received<'_>) -> bool {
        self.dtls == Dtls::Connected
            && received.protocol == Protocol::Udp
            && self.backend != CryptoBackend::OpenSsl
            && matches!(received.contents.first(), Some(20..=63))
    }

    /// Passes the joined datagrams to the core.
    pub(super) fn receive_joined(&mut self) {
        if let Some((source, destination, contents)) = self.joined.take() {
            self.core_receive(&Received {
                protocol: Protocol::Udp,
                source,
                destination,
                contents: &contents,
            });
        }
    }

    pub(super) fn core_receive(&mut self, received: &Received<'_>) {
        let protocol = match received.protocol {
            Protocol::Udp => CoreProtocol::Udp,
            Protocol::Tcp | Protocol::IceTcp => CoreProtocol::Tcp,
        };
        let receive = Receive::new(
            protocol,
            received.source,
            received.destination,
            received.contents,
        );
        match receive {
            Ok(receive) => {
                self.core_now = self.now;
                self.dirty = true;
                let input = str0m::Input::Receive(self.now, receive);
                if let Err(e) = self.rtc.handle_input(input) {
                    self.on_core_fault(&e);
                }
            }
            Err(e) => {
                self.stats.malformed_dropped += 1;
                log::trace!("datagram from {}: {e}", received.source);
            }
        }
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
        let hmac = self.provider.sha1_hmac_provider;
        let verified = password.is_some_and(|password| {
            message.verify(password.as_bytes(), |key, data| hmac.sha1_hmac(key, data))
        });
        if !verified {
            self.stats.stun_rejected += 1;
            return false;
        }
        let ends = ends_of(received);
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
            self.out
                .push_back(Output::Route(Route::DropAddress(evicted)));
        }
        // Datagrams through a relay are routed by the relay's own socket.
        if !self.gatherer.is_relayed(received.destination) && self.validated.route(received.source)
        {
            self.out
                .push_back(Output::Route(Route::Address(received.source)));
        }
        true
    }
}

fn ends_of(received: &Received<'_>) -> Ends {
    Ends {
        protocol: received.protocol,
        local: received.destination,
        remote: received.source,
    }
}
