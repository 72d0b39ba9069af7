//! The server as a state machine: messages of clients and datagrams of peers in, and out again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slab::Slab;
use turn_types::attribute::Lifetime;
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::attribute::{ErrorCode, Fingerprint, XorMappedAddress};
use turn_types::stun::message::{
    BINDING, Message, MessageClass, MessageWriteVec, StunWriteError, TransactionId,
};
use turn_types::stun::prelude::{AttributeStaticType, MessageWrite, MessageWriteExt};

use super::allocation::{Allocation, NotGiven, Relay};
use super::answer::{self, Refusal, Wanted, WantedPort, refuse};
use super::auth::{Auth, Denied, Signer, quota_name};
use super::config::TurnMachineConfig;
use super::limit::{Courtesy, who};
use super::{Client, Input, Link, Output, RelayId, RelayPort, TurnStats};
use crate::proto::ice::turn::frame::{self, Incoming};

/// How long a reserved port is held (RFC 8656 §7.2: at least 30 s).
const RESERVATION: Duration = Duration::from_secs(30);

/// The answer to a request, or why there is a refusal; `None`: it comes later.
type Answer = Result<Option<MessageWriteVec>, Refusal>;

/// A STUN and TURN server (RFC 8489, RFC 8656), sans-IO: it is told the time and what arrived, and says what to
/// send and which relays to open.
///
/// What it holds grows with allocations only, which are limited: who has proved nothing leaves no trace but a
/// line in a table of fixed size.
pub struct TurnMachine {
    config: TurnMachineConfig,
    auth: Auth,
    allocations: Slab<Allocation>,
    clients: HashMap<Client, usize>,
    per_user: HashMap<String, usize>,
    per_address: HashMap<IpAddr, usize>,
    reservations: BTreeMap<u64, Instant>,
    /// When allocations end.
    ends: BTreeSet<(Instant, usize)>,
    courtesy: Courtesy,
    outputs: VecDeque<Output>,
    generation: u32,
    indications: u128,
    /// Seconds since 1970, when, as last told.
    clock: (u64, Instant),
    stats: TurnStats,
}

impl TurnMachine {
    /// A server that has no clients yet. `unix`: the seconds since 1970, for time-limited credentials.
    pub fn new(config: TurnMachineConfig, now: Instant, unix: u64) -> Self {
        let credentials = config.credentials.clone();
        let nonces = config.limits.nonce_lifetime;
        Self {
            auth: Auth::new(config.realm.clone(), credentials, nonces, config.seed, now),
            courtesy: Courtesy::new(config.limits.courtesy, now),
            config,
            allocations: Slab::new(),
            clients: HashMap::new(),
            per_user: HashMap::new(),
            per_address: HashMap::new(),
            reservations: BTreeMap::new(),
            ends: BTreeSet::new(),
            outputs: VecDeque::new(),
            generation: 0,
            indications: 0,
            clock: (unix, now),
            stats: TurnStats::default(),
        }
    }

    /// Tells what the clock on the wall says: seconds since 1970. Between two calls it is taken to go on by itself.
    pub fn set_clock(&mut self, unix: u64, now: Instant) {
        self.clock = (unix, now);
    }

    /// Something has come, or time has passed. Bad input is counted in [`stats`](Self::stats).
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

    /// What is to be done. [`Output::Timeout`] comes last, and means: nothing more for now.
    pub fn poll_output(&mut self) -> Output {
        let next = || {
            let reservation = self.reservations.values().min().copied();
            let end = self.ends.first().map(|(at, _)| *at);
            reservation.into_iter().chain(end).min()
        };
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Timeout(next()),
        }
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Whether this client has one.
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.clients.contains_key(client)
    }

    /// What has been counted so far.
    pub fn stats(&self) -> TurnStats {
        TurnStats {
            allocations: self.allocations.len(),
            ..self.stats
        }
    }

    fn on_client(&mut self, client: Client, m: &[u8], now: Instant) {
        match frame::classify_from_client(m) {
            Incoming::Channel(number, range) => {
                let peer = self
                    .allocation_of(&client, now)
                    .and_then(|a| a.peer_of(number, now));
                match peer {
                    Some(peer) => self.relay_to_peer(&client, peer, &m[range], now),
                    None => self.stats.not_permitted += 1,
                }
            }
            Incoming::Data(peer, range) => self.relay_to_peer(&client, peer, &m[range], now),
            Incoming::Message => match Message::from_bytes(m) {
                Ok(message) => self.on_message(client, &message, m.len(), now),
                Err(_) => self.stats.malformed += 1,
            },
            Incoming::Junk => self.stats.malformed += 1,
        }
    }

    fn allocation_of(&self, client: &Client, now: Instant) -> Option<&Allocation> {
        let index = self.clients.get(client)?;
        self.allocations.get(*index).filter(|a| a.expires > now)
    }

    fn relay_to_peer(&mut self, client: &Client, peer: SocketAddr, contents: &[u8], now: Instant) {
        let index = self.clients.get(client).copied();
        let Some((index, a)) = index.and_then(|i| Some((i, self.allocations.get_mut(i)?))) else {
            self.stats.not_permitted += 1;
            return;
        };
        let v6 = peer.is_ipv6();
        if a.expires <= now || !a.relays.is_open(v6) || !a.is_permitted(peer.ip(), now) {
            self.stats.not_permitted += 1;
            return;
        }
        let rate = self.config.limits.bytes_per_second;
        if rate.is_some_and(|rate| !a.to_peers.take(rate, contents.len(), now)) {
            self.stats.over_bandwidth += 1;
            return;
        }
        if self.outputs.len() >= self.config.limits.queue {
            self.stats.over_queue += 1;
            return;
        }
        self.stats.to_peers += 1;
        self.stats.bytes_to_peers += contents.len() as u64;
        self.outputs.push_back(Output::Datagram {
            relay: relay_id(index, a.generation, v6),
            destination: peer,
            contents: contents.to_vec(),
        });
    }

    fn on_peer(&mut self, relay: RelayId, from: SocketAddr, contents: &[u8], now: Instant) {
        let Some(a) = self.by_relay(relay) else {
            return;
        };
        if a.expires <= now || !a.is_permitted(from.ip(), now) {
            self.stats.not_permitted += 1;
            return;
        }
        let channel = a.channel_to(from, now);
        let client = a.client;
        let rate = self.config.limits.bytes_per_second;
        if let Some(rate) = rate
            && let Some(a) = self.allocations.get_mut(relay.index as usize)
            && !a.to_client.take(rate, contents.len(), now)
        {
            self.stats.over_bandwidth += 1;
            return;
        }
        let is_full = self.outputs.len() >= self.config.limits.queue;
        if is_full || contents.len() > frame::MAX_CONTENTS {
            self.stats.over_queue += 1;
            return;
        }
        self.stats.to_clients += 1;
        self.stats.bytes_to_clients += contents.len() as u64;
        let stream = matches!(client.link, Link::Stream(_));
        let contents = match channel {
            Some(number) => frame::channel_data(number, contents, stream),
            None => {
                self.indications += 1;
                frame::data_indication(TransactionId::from(self.indications), from, contents)
            }
        };
        self.outputs.push_back(Output::Message(client, contents));
    }

    fn by_relay(&self, relay: RelayId) -> Option<&Allocation> {
        let a = self.allocations.get(relay.index as usize)?;
        (a.generation == relay.generation).then_some(a)
    }

    fn on_message(&mut self, client: Client, message: &Message<'_>, received: usize, now: Instant) {
        if !message.has_class(MessageClass::Request) {
            // A Binding indication keeps a NAT open; others say nothing to us.
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
        // Unsigned answers: anybody may have asked, in anybody's name.
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
            // Nobody can sign: what is asked for is not to be had here.
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
                log::debug!("{}: {} {}", client.remote, refusal.code, refusal.reason);
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
            Err(e) => log::error!("writing an answer to {}: {e}", client.remote),
        }
    }

    fn allocate(
        &mut self,
        client: Client,
        known: Option<usize>,
        message: &Message<'_>,
        signer: &Signer,
        now: Instant,
    ) -> Answer {
        answer::check_known(message)?;
        if let Some(a) = known.and_then(|index| self.allocations.get(index)) {
            if a.transaction != message.transaction_id() {
                let code = ErrorCode::ALLOCATION_MISMATCH;
                return Err(refuse(code, "there is an allocation already"));
            }
            // The same request once more: its answer was lost, or is on the way.
            return match a.relays.is_settled() {
                true => written(answer::allocated(a)),
                false => Ok(None),
            };
        }
        let wanted = answer::wanted(message)?;
        self.check_quotas(&client, signer)?;
        let port = self.port(wanted.port, now)?;
        let index = self.insert(client, message.transaction_id(), signer, &wanted, now);
        let Some(a) = self.allocations.get_mut(index) else {
            return Ok(None);
        };
        if let RelayPort::EvenAndNext(token) = port {
            a.reservation = Some(token);
        }
        for v6 in [false, true] {
            if if v6 { wanted.v6 } else { wanted.v4 } {
                *a.relays.of(v6) = Relay::Opening;
                let relay = relay_id(index, a.generation, v6);
                self.outputs.push_back(Output::OpenRelay {
                    relay,
                    client,
                    port,
                });
            }
        }
        Ok(None)
    }

    fn check_quotas(&self, client: &Client, signer: &Signer) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let quota = |reason| Err(refuse(ErrorCode::ALLOCATION_QUOTA_REACHED, reason));
        let of_user = self.per_user.get(quota_name(&signer.username));
        let of_address = self.per_address.get(&who(client.remote.ip()));
        if of_user.is_some_and(|n| *n >= limits.per_user) {
            return quota("the user has as many allocations as allowed");
        }
        if of_address.is_some_and(|n| *n >= limits.per_address) {
            return quota("this address has as many allocations as allowed");
        }
        if self.allocations.len() >= limits.allocations {
            let code = ErrorCode::INSUFFICIENT_CAPACITY;
            return Err(refuse(
                code,
                "the server has as many allocations as allowed",
            ));
        }
        Ok(())
    }

    fn port(&mut self, wanted: WantedPort, now: Instant) -> Result<RelayPort, Refusal> {
        let full = |reason| Err(refuse(ErrorCode::INSUFFICIENT_CAPACITY, reason));
        match wanted {
            WantedPort::Any => Ok(RelayPort::Any),
            WantedPort::Even => Ok(RelayPort::Even),
            WantedPort::Reserved(token) => match self.reservations.remove(&token) {
                Some(until) if until > now => Ok(RelayPort::Reserved(token)),
                _ => full("the reservation is not known any more"),
            },
            WantedPort::EvenAndNext => {
                if self.reservations.len() >= self.config.limits.allocations {
                    return full("too many ports are reserved");
                }
                // 64 bits that nobody can guess.
                let token = u128::from(TransactionId::generate()) as u64;
                self.reservations.insert(token, now + RESERVATION);
                Ok(RelayPort::EvenAndNext(token))
            }
        }
    }

    fn insert(
        &mut self,
        client: Client,
        id: TransactionId,
        signer: &Signer,
        wanted: &Wanted,
        now: Instant,
    ) -> usize {
        let limits = &self.config.limits;
        let lifetime = answer::grant(wanted.lifetime, limits.lifetime, limits.max_lifetime);
        let rate = limits.bytes_per_second.unwrap_or(0);
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let signer = signer.clone();
        let owner = quota_name(&signer.username).to_owned();
        let a = Allocation::new(client, signer, id, lifetime, rate, generation, now);
        let ends = a.expires;
        let index = self.allocations.insert(a);
        self.ends.insert((ends, index));
        self.clients.insert(client, index);
        *self.per_user.entry(owner).or_default() += 1;
        let address = who(client.remote.ip());
        *self.per_address.entry(address).or_default() += 1;
        index
    }

    fn on_opened(&mut self, relay: RelayId, result: Result<SocketAddr, String>) {
        let index = relay.index as usize;
        let is_known = self.by_relay(relay).is_some();
        let Some(a) = self.allocations.get_mut(index).filter(|_| is_known) else {
            // Its allocation has ended meanwhile.
            if result.is_ok() {
                self.outputs.push_back(Output::CloseRelay(relay));
            }
            return;
        };
        let slot = a.relays.of(relay.v6);
        *slot = match result {
            Ok(address) => Relay::Open(address),
            Err(why) => {
                log::warn!("no relay for {}: {why}", a.client.remote);
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

    fn refresh(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
        answer::check_known(message)?;
        let asked = answer::lifetime(message)?;
        let only = answer::only_family(message)?;
        let limits = &self.config.limits;
        let granted = match asked {
            Some(0) => 0,
            _ => answer::grant(asked, limits.lifetime, limits.max_lifetime),
        };
        let Some(a) = self.allocations.get_mut(index) else {
            return Ok(None);
        };
        if only.is_some_and(|v6| !a.relays.is_open(v6)) {
            return Err(wrong_family());
        }
        if granted > 0 {
            self.ends.remove(&(a.expires, index));
            a.expires = now + Duration::from_secs(granted.into());
            a.lifetime = granted;
            self.ends.insert((a.expires, index));
        } else {
            if let Some(v6) = only {
                *a.relays.of(v6) = Relay::None;
                let relay = relay_id(index, a.generation, v6);
                self.outputs.push_back(Output::CloseRelay(relay));
            }
            let is_empty = a.relays.addresses().next().is_none();
            if only.is_none() || is_empty {
                self.remove(index);
            }
        }
        let id = message.transaction_id();
        let mut answer = answer::begin(MessageClass::Success, REFRESH, id);
        written(
            answer
                .add_attribute(&Lifetime::new(granted))
                .map(|()| answer),
        )
    }

    fn permit(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
        answer::check_known(message)?;
        let peers = answer::peers(message)?;
        self.check_peers(index, &peers)?;
        let peers: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        let limit = self.config.limits.permissions;
        if let Some(a) = self.allocations.get_mut(index) {
            a.permit(&peers, limit, now).map_err(not_given)?;
        }
        let id = message.transaction_id();
        let class = MessageClass::Success;
        Ok(Some(answer::begin(class, CREATE_PERMISSION, id)))
    }

    fn bind(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
        answer::check_known(message)?;
        let number = answer::channel(message)?;
        let peers = answer::peers(message)?;
        self.check_peers(index, &peers)?;
        let limit = self.config.limits.permissions;
        if let (Some(a), [peer, ..]) = (self.allocations.get_mut(index), &peers[..]) {
            a.bind(number, *peer, limit, now).map_err(not_given)?;
        }
        let id = message.transaction_id();
        let class = MessageClass::Success;
        Ok(Some(answer::begin(class, CHANNEL_BIND, id)))
    }

    /// Every way to a peer leads through here: nothing is sent without a permission.
    fn check_peers(&mut self, index: usize, peers: &[SocketAddr]) -> Result<(), Refusal> {
        for peer in peers {
            if !self.config.peers.permits(peer.ip()) {
                self.stats.forbidden_peers += 1;
                log::info!("a relay to {} was asked for and is not allowed", peer.ip());
                let reason = "this server does not relay to that address";
                return Err(refuse(ErrorCode::FORBIDDEN, reason));
            }
            let a = self.allocations.get(index);
            if !a.is_some_and(|a| a.relays.is_open(peer.is_ipv6())) {
                return Err(wrong_family());
            }
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, index)) = self.ends.first().copied()
            && at <= now
        {
            self.stats.expired += 1;
            self.remove(index);
        }
        let outputs = &mut self.outputs;
        self.reservations.retain(|token, until| {
            let keep = *until > now;
            if !keep {
                outputs.push_back(Output::DropReservation(*token));
            }
            keep
        });
    }

    fn remove(&mut self, index: usize) {
        let Some(a) = self.allocations.try_remove(index) else {
            return;
        };
        log::info!("the relay of {} is gone", a.client.remote);
        self.ends.remove(&(a.expires, index));
        self.clients.remove(&a.client);
        count_down(&mut self.per_user, quota_name(&a.signer.username));
        count_down(&mut self.per_address, &who(a.client.remote.ip()));
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
        // The slab is dense, and its size limited.
        index: u32::try_from(index).unwrap_or(u32::MAX),
        generation,
        v6,
    }
}

fn count_down<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn written(built: Result<MessageWriteVec, StunWriteError>) -> Answer {
    built.map(Some).map_err(|e| {
        log::error!("writing an answer: {e}");
        refuse(ErrorCode::SERVER_ERROR, "the answer could not be written")
    })
}

fn wrong_family() -> Refusal {
    let code = ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH;
    refuse(code, "the allocation has no relay of this family")
}

fn not_given(why: NotGiven) -> Refusal {
    match why {
        NotGiven::TooMany => refuse(
            ErrorCode::INSUFFICIENT_CAPACITY,
            "the allocation has as many peers as allowed",
        ),
        NotGiven::Taken => refuse(
            ErrorCode::BAD_REQUEST,
            "the channel or the peer is bound otherwise",
        ),
    }
}

/// The bytes of an unsigned answer.
fn finish(built: Result<MessageWriteVec, StunWriteError>, to: &Message<'_>) -> Option<Vec<u8>> {
    let finished = built.and_then(|mut answer| {
        if to.has_attribute(Fingerprint::TYPE) {
            answer.add_fingerprint()?;
        }
        Ok(answer.finish())
    });
    finished
        .inspect_err(|e| log::error!("writing an answer: {e}"))
        .ok()
}

#[cfg(test)]
mod tests;
