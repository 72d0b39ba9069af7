//! The gate: only addresses that have shown a correct STUN integrity may speak to DTLS, SRTP and SCTP.
//!
//! There is one gate for UDP and ICE-TCP, with a list for each, because a TCP port is not the UDP port of the same
//! number. It also keeps which ICE-TCP streams are validated, so that each is reported once.

use std::net::SocketAddr;
use std::time::Instant;

use super::super::contract::{Output, Route};
use super::super::ends::Ends;
use super::super::outbox::Outbox;
use crate::proto::net::Protocol;

/// Maximum number of validated streams remembered. Forgetting one is harmless: it is reported again.
const MAX_PROVED: usize = 16;

/// Validated addresses and streams.
#[derive(Debug)]
pub(in super::super) struct Gate {
    udp: ValidatedAddresses,
    tcp: ValidatedAddresses,
    /// Validated ICE-TCP streams, by local and remote address.
    streams: Vec<(SocketAddr, SocketAddr)>,
}

impl Gate {
    /// Creates a gate; `max` is the maximum number of addresses per protocol.
    pub fn new(max: usize) -> Self {
        Self {
            udp: ValidatedAddresses::new(max),
            tcp: ValidatedAddresses::new(max),
            streams: Vec::new(),
        }
    }

    fn of(&mut self, protocol: Protocol) -> &mut ValidatedAddresses {
        match protocol {
            Protocol::Udp => &mut self.udp,
            Protocol::Tcp | Protocol::IceTcp => &mut self.tcp,
        }
    }

    /// Handles data received on this address pair. Returns `true` if it is accepted.
    pub fn data(&mut self, ends: Ends, now: Instant) -> bool {
        self.of(ends.protocol).data(ends.remote, now)
    }

    /// Handles a verified check or response on this address pair. `chosen`: it nominates the pair. `is_relayed`: it
    /// came through a relay, whose own socket is routed to this peer.
    pub fn proved(
        &mut self,
        ends: Ends,
        chosen: bool,
        is_relayed: bool,
        now: Instant,
        out: &mut Outbox,
    ) {
        let validated = self.of(ends.protocol);
        let evicted = validated.proved(ends.remote, now);
        if chosen {
            validated.choose(ends.remote, now);
        }
        if ends.protocol == Protocol::IceTcp {
            return;
        }
        if let Some(evicted) = evicted {
            out.push(Output::Route(Route::DropAddress(evicted)));
        }
        if !is_relayed && self.udp.route(ends.remote) {
            out.push(Output::Route(Route::Address(ends.remote)));
        }
    }

    /// Handles a nominating check of ours: data from this address is accepted from now on; sending to it still needs
    /// consent.
    pub fn choose(&mut self, ends: Ends, now: Instant) {
        self.of(ends.protocol).choose(ends.remote, now);
    }

    /// Handles a verified check on a stream. Returns `true` the first time.
    pub fn stream_proved(&mut self, local: SocketAddr, remote: SocketAddr) -> bool {
        let is_new = !self.streams.contains(&(local, remote));
        if is_new {
            if self.streams.len() >= MAX_PROVED {
                self.streams.remove(0);
            }
            self.streams.push((local, remote));
        }
        is_new
    }

    /// Handles the closing of a stream that the remote peer opened.
    pub fn stream_lost(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.streams.retain(|ends| *ends != (local, remote));
        self.tcp.remove(remote);
    }

    /// Handles the closing of a stream that we opened to this address.
    pub fn stream_failed(&mut self, remote: SocketAddr) {
        self.tcp.remove(remote);
    }

    /// Returns the validated remote addresses.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.udp.iter().chain(self.tcp.iter())
    }

    /// Clears everything, because the connection is closed.
    pub fn clear(&mut self) {
        self.udp.clear();
        self.tcp.clear();
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> [(&'static str, usize, usize); 2] {
        [
            ("validated addresses", self.udp.list.len(), self.udp.max),
            (
                "validated addresses over TCP",
                self.tcp.list.len(),
                self.tcp.max,
            ),
        ]
    }
}

/// The validated remote addresses of one protocol.
#[derive(Debug)]
struct ValidatedAddresses {
    max: usize,
    list: Vec<Validated>,
}

#[derive(Debug, Clone, Copy)]
struct Validated {
    address: SocketAddr,
    heard: Instant,
    /// When it was last in use: data came from it, or a check nominated it (RFC 8445 §7.1.2).
    chosen: Option<Instant>,
    /// Set once the driver has been told to route this address; not needed for addresses behind a relay.
    routed: bool,
}

impl ValidatedAddresses {
    fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            list: Vec::new(),
        }
    }

    /// Records data from this address. Returns `true` if the address is validated.
    fn data(&mut self, address: SocketAddr, now: Instant) -> bool {
        let is_known = self.touch(address, now);
        if is_known {
            self.list[0].chosen = Some(now);
        }
        is_known
    }

    /// Returns `true` if this address is validated, and records that it was heard.
    fn touch(&mut self, address: SocketAddr, now: Instant) -> bool {
        match self.list.iter().position(|v| v.address == address) {
            Some(index) => {
                self.list[index].heard = now;
                self.list.swap(0, index);
                true
            }
            None => false,
        }
    }

    /// Records that a check by either side has nominated the pair with this address.
    fn choose(&mut self, address: SocketAddr, now: Instant) {
        if let Some(found) = self.list.iter_mut().find(|v| v.address == address) {
            found.chosen = Some(now);
        }
    }

    /// Adds a validated address. Returns the one removed for it, if any: addresses that carry data stay longest,
    /// however many others are checked.
    fn proved(&mut self, address: SocketAddr, now: Instant) -> Option<SocketAddr> {
        if self.touch(address, now) {
            return None;
        }
        let evicted = (self.list.len() >= self.max).then(|| {
            let oldest = (0..self.list.len()).min_by_key(|i| {
                let v = &self.list[*i];
                (v.chosen, v.heard)
            });
            self.list.swap_remove(oldest.unwrap_or(0)).address
        });
        self.list.push(Validated {
            address,
            heard: now,
            chosen: None,
            routed: false,
        });
        evicted
    }

    /// Records that datagrams from this address have to be routed to this peer. Returns `true` if that is new.
    fn route(&mut self, address: SocketAddr) -> bool {
        let validated = self.list.iter_mut().find(|v| v.address == address);
        validated.is_some_and(|v| !std::mem::replace(&mut v.routed, true))
    }

    fn remove(&mut self, address: SocketAddr) {
        self.list.retain(|v| v.address != address);
    }

    fn clear(&mut self) {
        self.list = Vec::new();
    }

    fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.list.iter().map(|v| v.address)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_oldest_address_makes_room() {
        let t0 = Instant::now();
        let a = |n: u8| SocketAddr::from(([192, 0, 2, n], 1));
        let mut v = ValidatedAddresses::new(2);
        assert_eq!(v.proved(a(1), t0), None);
        assert_eq!(v.proved(a(2), t0 + secs(1)), None);
        assert_eq!(v.proved(a(1), t0 + secs(2)), None);
        assert_eq!(v.proved(a(3), t0 + secs(3)), Some(a(2)));
        assert!(!v.data(a(2), t0 + secs(4)));
        assert_eq!(v.iter().count(), 2);
    }

    /// With more addresses than there is room for, all checked in turns, the one that carries data stays.
    #[test]
    fn the_address_of_the_path_makes_no_room() {
        let t0 = Instant::now();
        let a = |n: u8| SocketAddr::from(([192, 0, 2, n], 1));
        let mut v = ValidatedAddresses::new(3);
        v.proved(a(0), t0);
        v.choose(a(0), t0);
        for second in 1..60 {
            v.proved(a((second % 7) as u8), t0 + secs(second));
            assert!(v.data(a(0), t0 + secs(second)), "after {second} s");
        }
    }

    fn ends(protocol: Protocol, port: u16) -> Ends {
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        Ends {
            protocol,
            local: address(1),
            remote: address(port),
        }
    }

    #[test]
    fn a_port_of_tcp_is_not_that_of_udp() {
        let now = Instant::now();
        let mut out = Outbox::default();
        let mut gate = Gate::new(4);
        let (udp, tcp) = (ends(Protocol::Udp, 5), ends(Protocol::IceTcp, 5));
        assert!(!gate.data(udp, now), "nobody has proved anything");
        gate.proved(tcp, false, false, now, &mut out);
        assert!(gate.data(tcp, now) && !gate.data(udp, now));
        assert_eq!(out.len(), 0, "streams are routed by themselves");
        gate.proved(udp, false, false, now, &mut out);
        gate.proved(udp, false, false, now, &mut out);
        assert!(gate.data(udp, now));
        assert_eq!(out.len(), 1, "an address is routed once");
        gate.stream_failed(tcp.remote);
        assert!(!gate.data(tcp, now) && gate.data(udp, now));
    }

    #[test]
    fn what_comes_by_a_relay_is_let_in_but_not_routed() {
        let now = Instant::now();
        let mut out = Outbox::default();
        let mut gate = Gate::new(4);
        gate.proved(ends(Protocol::Udp, 5), false, true, now, &mut out);
        assert!(gate.data(ends(Protocol::Udp, 5), now));
        assert_eq!(out.len(), 0);
    }

    #[test]
    fn a_stream_proves_itself_once() {
        let mut gate = Gate::new(4);
        let Ends { local, remote, .. } = ends(Protocol::IceTcp, 5);
        assert!(gate.stream_proved(local, remote) && !gate.stream_proved(local, remote));
        gate.stream_lost(local, remote);
        assert!(gate.stream_proved(local, remote));
        for port in 100..200 {
            gate.stream_proved(local, ends(Protocol::IceTcp, port).remote);
        }
        assert_eq!(gate.streams.len(), MAX_PROVED);
    }
}
