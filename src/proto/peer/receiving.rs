//! Incoming packets: which sources are accepted, and what is passed to the core together.

use super::Peer;
use super::core::{Check, Core};
use super::ends::Ends;
use super::path::{Understood, Verified};
use crate::proto::ice::stun;
use crate::proto::net::{Protocol, Received};

impl Peer {
    /// Handles a message from an ICE-TCP stream.
    pub(super) fn on_tcp_message(&mut self, received: &Received<'_>) {
        let (local, remote) = (received.destination, received.source);
        let is_verified = self.on_datagram(&Received {
            destination: self.path.base_of(local, remote),
            ..*received
        });
        if is_verified {
            self.path.stream_proved(local, remote, &mut self.out);
        }
    }

    /// Handles a datagram, or a message of a stream. Returns `true` if it was a verified check or response.
    pub(super) fn on_datagram(&mut self, received: &Received<'_>) -> bool {
        if received.protocol == Protocol::Tcp {
            // A stream that was given up.
            return false;
        }
        self.path.count(received);
        let core = &self.core;
        let hmac = |key: &[u8], data: &[&[u8]]| core.hmac(key, data);
        let repaired = self.path.with_priority(received.contents, hmac);
        let received = &Received {
            contents: repaired.as_deref().unwrap_or(received.contents),
            ..*received
        };
        let is_stun = stun::is_stun(received.contents);
        let is_let_in = match is_stun {
            true => self.on_stun(received),
            false => self.path.on_data(received, self.now),
        };
        if is_let_in {
            self.on_let_in(received);
        }
        is_stun && is_let_in
    }

    /// Handles a datagram from a validated source: it is for the core.
    fn on_let_in(&mut self, received: &Received<'_>) {
        if Core::looks_joined(received.contents) {
            self.path.count_malformed();
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
        self.send_again(received.contents, self.path.in_use());
        if let Some(repair) = repair {
            self.deliver_late(&repair, received.contents);
            self.settle();
        }
    }

    /// Holds a datagram while an answer with data channels is awaited. Returns `true` if it was held.
    fn hold_early(&mut self, received: &Received<'_>) -> bool {
        self.session.awaits_application()
            && self.core.is_connected()
            && self.core.early().hold(received, self.now)
    }

    /// Verifies a STUN message. Returns `true` if it has to be passed to the core.
    fn on_stun(&mut self, received: &Received<'_>) -> bool {
        let Some(check) = Check::parse(received.contents) else {
            self.path.count_malformed();
            return false;
        };
        let password = self.path.credentials().password(check.is_request());
        if !password.is_some_and(|password| self.core.verifies(&check, password)) {
            self.path.count_rejected();
            return false;
        }
        let ends = Ends::of(received);
        if check.is_request() && self.refuse_unknown(received, ends) {
            return false;
        }
        let message = Verified {
            is_success: check.is_success(),
            nominates: check.nominates(),
        };
        if message.is_success {
            self.check_answered(received.contents);
        }
        self.path
            .on_verified(ends, message, self.now, &mut self.out);
        true
    }

    /// Answers a check that has unknown attributes. Returns `true` if it was answered.
    fn refuse_unknown(&mut self, received: &Received<'_>, ends: Ends) -> bool {
        let core = &self.core;
        let hmac = |key: &[u8], data: &[&[u8]]| core.hmac(key, data);
        match self.path.understand(received.contents, hmac, self.now) {
            Understood::Yes => false,
            Understood::No(answer) => {
                if let Some(answer) = answer {
                    self.send_on(ends, answer);
                }
                true
            }
        }
    }
}
