//! The TURN server as a state machine: input from clients and peers, output to both.

mod data;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use slab::Slab;
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::attribute::{ErrorCode, Fingerprint, XorMappedAddress};
use turn_types::stun::message::{BINDING, Message, MessageClass, MessageWriteVec, StunWriteError};
use turn_types::stun::prelude::{AttributeStaticType, MessageWrite, MessageWriteExt};

use super::allocation::{Allocation, Relay};
use super::answer::{self, Refusal, refuse};
use super::auth::{Auth, Denied, Signer, quota_name};
use super::config::TurnMachineConfig;
use super::limit::Courtesy;
use super::{Client, Input, Link, Output, RelayId, TurnStats};
use crate::server::quota::{Held, client_of};

/// A sans-IO STUN and TURN server (RFC 8489, RFC 8656): it is passed the time and incoming messages, and returns
/// messages to send and relays to open.
///
/// Its memory grows with allocations only, which are limited: an unauthenticated client leaves nothing but an entry in
/// a table of bounded size.
pub struct TurnMachine {
    config: TurnMachineConfig,
    auth: Auth,
    allocations: Slab<Allocation>,
    clients: HashMap<Client, usize>,
    /// Number of allocations and reserved ports of each user, and of each client address.
    per_user: Held<String>,
    per_address: Held<IpAddr>,
    reservations: BTreeMap<u64, Reservation>,
    /// Addresses of the open relays, as seen by clients and peers.
    relays: HashSet<SocketAddr>,
    /// Expiry times of allocations.
    ends: BTreeSet<(Instant, usize)>,
    courtesy: Courtesy,
    outputs: VecDeque<Output>,
    generation: u32,
    indications: u128,
    /// The time in seconds since 1970, and the instant when it was passed.
    clock: (u64, Instant),
    stats: TurnStats,
}

/// A port reserved for a second allocation (EVEN-PORT with R); counts as an allocation until it is used or expires.
struct Reservation {
    until: Instant,
    user: String,
    address: IpAddr,
}

impl TurnMachine {
    /// Creates a server without clients. `unix` is the time in seconds since 1970, for time-limited credentials.
    pub fn new(config: TurnMachineConfig, now: Instant, unix: u64) -> Self {
        let credentials = config.credentials.clone();
        let nonces = config.limits.nonce_lifetime;
        Self {
            auth: Auth::new(config.realm.clone(), credentials, nonces, config.seed, now),
            courtesy: Courtesy::new(config.limits.courtesy, now),
            per_user: Held::new(config.limits.per_user),
            per_address: Held::new(config.limits.per_address),
            config,
            allocations: Slab::new(),
            clients: HashMap::new(),
            reservations: BTreeMap::new(),
            relays: HashSet::new(),
            ends: BTreeSet::new(),
            outputs: VecDeque::new(),
            generation: 0,
            indications: 0,
            clock: (unix, now),
            stats: TurnStats::default(),
        }
    }

    /// Sets the time of day, in seconds since 1970. Between calls it advances with `now`.
    pub fn set_clock(&mut self, unix: u64, now: Instant) {
        self.clock = (unix, now);
    }

    /// Sets the addresses of this machine and the UDP ports on which peers may reach it: see
    /// [`PeerPolicy::own`](super::PeerPolicy).
    pub fn set_own(&mut self, addresses: Option<Vec<IpAddr>>, ports: &[u16]) {
        let peers = &mut self.config.peers;
        if let Some(addresses) = addresses {
            peers.own = addresses;
        }
        if peers.own_ports != ports {
            peers.own_ports = ports.to_vec();
        }
    }

    /// Returns `true` if this port of a permitted address may be reached.
    fn reaches(&self, peer: SocketAddr) -> bool {
        let is_relay = self.relays.contains(&peer);
        self.config.peers.permits_port(peer, is_relay)
    }

    /// Handles input or expired timers. Invalid input is counted in [`stats`](Self::stats).
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        if self.ends.first().is_some_and(|(at, _)| *at <= now) {
            self.expire(now);
        }
        match input {
            Input::Message(client, contents) => self.on_client(client, contents, now),
            Input::Datagram {
                relay,
                source,
                contents,
            } => self.on_peer(relay, source, contents, now),
            Input::RelayOpened(relay, result) => self.on_opened(relay, result),
            Input::Closed(client) => {
                if let Some(index) = self.clients.get(&client) {
                    self.remove(*index);
                }
            }
            Input::Timeout => self.expire(now),
        }
    }

    /// Returns the next output. Call it until it returns [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        let next = || {
            let reservation = self.reservations.values().map(|r| r.until).min();
            let end = self.ends.first().map(|(at, _)| *at);
            reservation.into_iter().chain(end).min()
        };
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Timeout(next()),
        }
    }

    /// Returns the number of allocations.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Returns `true` if this client has an allocation.
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.clients.contains_key(client)
    }

    /// Returns the counters accumulated since the server was created.
    pub fn stats(&self) -> TurnStats {
        TurnStats {
            allocations: self.allocations.len(),
            ..self.stats
        }
    }

    /// Returns `true` if no state of any client is left.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.allocations.is_empty()
            && self.clients.is_empty()
            && self.per_user.total() == 0
            && self.per_address.total() == 0
            && self.ends.is_empty()
            && self.reservations.is_empty()
    }

    fn on_message(&mut self, client: Client, message: &Message<'_>, received: usize, now: Instant) {
        if !message.has_class(MessageClass::Request) {
            // A Binding indication is a NAT keepalive; other indications have no meaning here.
            return;
        }
        let built = match message.method() {
            BINDING => self.binding(client, message),
            ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND => {
                match self.signer(&client, message, now) {
                    Ok(signer) => return self.on_signed(client, message, signer, now),
                    Err(denied) => self.deny(client, message, denied, now),
                }
            }
            _ => {
                self.stats.malformed += 1;
                return;
            }
        };
        // Unsigned responses: the request may be forged.
        let Some(contents) = finish(built, message) else {
            return;
        };
        let (ip, size) = (client.remote.ip(), contents.len());
        let may = match client.link {
            Link::Stream(_) => true,
            Link::Datagrams(_) => self.courtesy.permits(ip, received, size, now),
        };
        match may {
            true => self.outputs.push_back(Output::Message(client, contents)),
            false => self.stats.unanswered += 1,
        }
    }

    fn binding(
        &mut self,
        client: Client,
        message: &Message<'_>,
    ) -> Result<MessageWriteVec, StunWriteError> {
        let (method, id) = (BINDING, message.transaction_id());
        if let Err(refusal) = answer::check_known(message) {
            return answer::error(
                method,
                id,
                &Refusal {
                    reason: "",
                    ..refusal
                },
            );
        }
        self.stats.bindings += 1;
        let mut answer = answer::begin(MessageClass::Success, method, id);
        answer.add_attribute(&XorMappedAddress::new(client.remote, id))?;
        Ok(answer)
    }

    fn signer(
        &self,
        client: &Client,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Signer, Denied> {
        let (unix, told) = self.clock;
        let unix = unix + now.saturating_duration_since(told).as_secs();
        let known = self.allocation_of(client, now).map(|a| &a.signer);
        self.auth.check(message, client.remote, known, now, unix)
    }

    fn deny(
        &mut self,
        client: Client,
        message: &Message<'_>,
        denied: Denied,
        now: Instant,
    ) -> Result<MessageWriteVec, StunWriteError> {
        self.stats.denied += 1;
        let (method, id) = (message.method(), message.transaction_id());
        let code = match denied {
            // Without credentials nobody can authenticate, so allocations are not available.
            _ if self.config.credentials.is_empty() => ErrorCode::FORBIDDEN,
            Denied::Unauthorized => ErrorCode::UNAUTHORIZED,
            Denied::Stale => ErrorCode::STALE_NONCE,
            Denied::Malformed => ErrorCode::BAD_REQUEST,
        };
        let mut answer = answer::error(method, id, &refuse(code, ""))?;
        if [ErrorCode::UNAUTHORIZED, ErrorCode::STALE_NONCE].contains(&code) {
            self.auth.challenge(&mut answer, client.remote, now)?;
        }
        Ok(answer)
    }

    fn on_signed(&mut self, client: Client, message: &Message<'_>, signer: Signer, now: Instant) {
        let (method, id) = (message.method(), message.transaction_id());
        let known = self.clients.get(&client).copied();
        let owner = known.and_then(|index| self.allocations.get(index));
        let is_another = owner.is_some_and(|a| a.signer.username != signer.username);
        let answer = match (known, method) {
            _ if is_another => Err(refuse(
                ErrorCode::WRONG_CREDENTIALS,
                "the allocation is another user's",
            )),
            (known, ALLOCATE) => self.allocate(client, known, message, &signer, now),
            (None, _) => Err(refuse(ErrorCode::ALLOCATION_MISMATCH, "no allocation")),
            (Some(index), REFRESH) => self.refresh(index, message, now),
            (Some(index), CREATE_PERMISSION) => self.permit(index, message, now),
            (Some(index), _) => self.bind(index, message, now),
        };
        let built = match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => return,
            Err(refusal) => {
                let (remote, code, reason) = (client.remote, refusal.code, refusal.reason);
                log::debug!("{method} of {remote} refused: {code} {reason}");
                self.stats.refused += 1;
                answer::error(method, id, &refusal)
            }
        };
        self.send_signed(
            client,
            built,
            message.has_attribute(Fingerprint::TYPE),
            &signer,
        );
    }

    fn send_signed(
        &mut self,
        client: Client,
        built: Result<MessageWriteVec, StunWriteError>,
        fingerprint: bool,
        signer: &Signer,
    ) {
        let signed = built.and_then(|mut answer| {
            signer.sign(&mut answer)?;
            if fingerprint {
                answer.add_fingerprint()?;
            }
            Ok(answer.finish())
        });
        match signed {
            Ok(contents) => self.outputs.push_back(Output::Message(client, contents)),
            Err(e) => crate::seldom::seldom!(error, "writing an answer to {}: {e}", client.remote),
        }
    }

    fn on_opened(&mut self, relay: RelayId, result: Result<SocketAddr, String>) {
        let index = relay.index as usize;
        let is_known = self.by_relay(relay).is_some();
        let Some(a) = self.allocations.get_mut(index).filter(|_| is_known) else {
            // The allocation has ended meanwhile.
            if result.is_ok() {
                self.outputs.push_back(Output::CloseRelay(relay));
            }
            return;
        };
        let slot = a.relays.of(relay.v6);
        *slot = match result {
            Ok(address) => {
                self.relays.insert(address);
                Relay::Open(address)
            }
            Err(why) => {
                crate::seldom::seldom!(warn, "no relay for {}: {why}", a.client.remote);
                Relay::Failed
            }
        };
        if !a.relays.is_settled() {
            return;
        }
        let (client, signer) = (a.client, a.signer.clone());
        let built = if a.relays.addresses().next().is_some() {
            self.stats.allocated += 1;
            log::info!("{} of {:?} has a relay", client.remote, signer.username);
            answer::allocated(a)
        } else {
            let id = a.transaction;
            self.remove(index);
            let code = ErrorCode::INSUFFICIENT_CAPACITY;
            answer::error(ALLOCATE, id, &refuse(code, "no relay could be opened"))
        };
        self.send_signed(client, built, false, &signer);
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, index)) = self.ends.first().copied()
            && at <= now
        {
            self.stats.expired += 1;
            self.remove(index);
        }
        let over = self.reservations.iter().filter(|(_, r)| r.until <= now);
        for token in over.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.take_reservation(token);
            self.outputs.push_back(Output::DropReservation(token));
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(a) = self.allocations.try_remove(index) else {
            return;
        };
        log::info!("the relay of {} is gone", a.client.remote);
        self.ends.remove(&(a.expires, index));
        self.clients.remove(&a.client);
        self.per_user.give_back(quota_name(&a.signer.username));
        self.per_address.give_back(&client_of(a.client.remote.ip()));
        for address in a.relays.addresses() {
            self.relays.remove(&address);
        }
        for v6 in [false, true] {
            if a.relays.is_open(v6) {
                let relay = relay_id(index, a.generation, v6);
                self.outputs.push_back(Output::CloseRelay(relay));
            }
        }
    }
}

fn relay_id(index: usize, generation: u32, v6: bool) -> RelayId {
    RelayId {
        // The slab is dense and limited in size.
        index: u32::try_from(index).unwrap_or(u32::MAX),
        generation,
        v6,
    }
}

/// Returns the bytes of an unsigned response.
fn finish(built: Result<MessageWriteVec, StunWriteError>, to: &Message<'_>) -> Option<Vec<u8>> {
    let finished = built.and_then(|mut answer| {
        if to.has_attribute(Fingerprint::TYPE) {
            answer.add_fingerprint()?;
        }
        Ok(answer.finish())
    });
    finished
        .inspect_err(|e| crate::seldom::seldom!(error, "writing an answer: {e}"))
        .ok()
}

#[cfg(test)]
mod tests;
