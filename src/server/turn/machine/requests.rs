//! Handling of authenticated requests.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turn_types::attribute::Lifetime;
use turn_types::message::{CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::attribute::ErrorCode;
use turn_types::stun::message::{
    Message, MessageClass, MessageWriteVec, StunWriteError, TransactionId,
};
use turn_types::stun::prelude::MessageWriteExt;

use super::{Reservation, TurnMachine, relay_id};
use crate::server::quota::client_of;
use crate::server::turn::allocation::{Allocation, NotGiven, Relay};
use crate::server::turn::answer::{self, Refusal, Wanted, WantedPort, refuse};
use crate::server::turn::auth::{Signer, quota_name};
use crate::server::turn::{Client, Output, RelayPort};

/// Lifetime of a reserved port (RFC 8656 §7.2: at least 30 s).
const RESERVATION: Duration = Duration::from_secs(30);

/// Response to a request, or a refusal; `None` if the response follows later.
pub(super) type Answer = Result<Option<MessageWriteVec>, Refusal>;

impl TurnMachine {
    pub(super) fn allocate(
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
            // A retransmission of the same request: its response was lost, or follows.
            return match a.relays.is_settled() {
                true => written(answer::allocated(a)),
                false => Ok(None),
            };
        }
        let wanted = answer::wanted(message)?;
        self.check_quotas(&client, signer, wanted.port)?;
        let port = self.port(wanted.port, (&client, signer), now)?;
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

    pub(super) fn check_quotas(
        &self,
        client: &Client,
        signer: &Signer,
        port: WantedPort,
    ) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let quota = |reason| Err(refuse(ErrorCode::ALLOCATION_QUOTA_REACHED, reason));
        let user = quota_name(&signer.username);
        let address = client_of(client.remote.ip());
        let more = |of_user: bool| match port {
            WantedPort::EvenAndNext => 2,
            // A reservation of the same user no longer counts in addition.
            WantedPort::Reserved(token) => {
                let reservation = self.reservations.get(&token);
                usize::from(!reservation.is_some_and(|r| match of_user {
                    true => r.user == user,
                    false => r.address == address,
                }))
            }
            WantedPort::Any | WantedPort::Even => 1,
        };
        if !self.per_user.has_room_for(user, more(true)) {
            return quota("the user has as many allocations as allowed");
        }
        if !self.per_address.has_room_for(&address, more(false)) {
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

    pub(super) fn port(
        &mut self,
        wanted: WantedPort,
        (client, signer): (&Client, &Signer),
        now: Instant,
    ) -> Result<RelayPort, Refusal> {
        let full = |reason| Err(refuse(ErrorCode::INSUFFICIENT_CAPACITY, reason));
        match wanted {
            WantedPort::Any => Ok(RelayPort::Any),
            WantedPort::Even => Ok(RelayPort::Even),
            WantedPort::Reserved(token) => match self.take_reservation(token) {
                Some(until) if until > now => Ok(RelayPort::Reserved(token)),
                _ => full("the reservation is not known any more"),
            },
            WantedPort::EvenAndNext => {
                if self.reservations.len() >= self.config.limits.allocations {
                    return full("too many ports are reserved");
                }
                // 64 unpredictable bits.
                let token = u128::from(TransactionId::generate()) as u64;
                let reservation = Reservation {
                    until: now + RESERVATION,
                    user: quota_name(&signer.username).to_owned(),
                    address: client_of(client.remote.ip()),
                };
                self.per_user.take(reservation.user.clone());
                self.per_address.take(reservation.address);
                self.reservations.insert(token, reservation);
                Ok(RelayPort::EvenAndNext(token))
            }
        }
    }

    /// Removes a reservation; returns its expiry time.
    pub(super) fn take_reservation(&mut self, token: u64) -> Option<Instant> {
        let reservation = self.reservations.remove(&token)?;
        self.per_user.give_back(reservation.user.as_str());
        self.per_address.give_back(&reservation.address);
        Some(reservation.until)
    }

    pub(super) fn insert(
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
        self.per_user.take(owner);
        self.per_address.take(client_of(client.remote.ip()));
        index
    }

    pub(super) fn refresh(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
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
                if let Relay::Open(address) = std::mem::take(a.relays.of(v6)) {
                    self.relays.remove(&address);
                }
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

    pub(super) fn permit(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
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

    pub(super) fn bind(&mut self, index: usize, message: &Message<'_>, now: Instant) -> Answer {
        answer::check_known(message)?;
        let number = answer::channel(message)?;
        let peers = answer::peers(message)?;
        self.check_peers(index, &peers)?;
        if peers.iter().any(|peer| !self.reaches(*peer)) {
            self.stats.forbidden_peers += 1;
            let reason = "this server does not relay to that port of its own address";
            return Err(refuse(ErrorCode::FORBIDDEN, reason));
        }
        let limit = self.config.limits.permissions;
        if let (Some(a), [peer, ..]) = (self.allocations.get_mut(index), &peers[..]) {
            a.bind(number, *peer, limit, now).map_err(not_given)?;
        }
        let id = message.transaction_id();
        let class = MessageClass::Success;
        Ok(Some(answer::begin(class, CHANNEL_BIND, id)))
    }

    /// Checks peer addresses. Every permission is installed here, and nothing is sent without one.
    pub(super) fn check_peers(
        &mut self,
        index: usize,
        peers: &[SocketAddr],
    ) -> Result<(), Refusal> {
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
}

fn written(built: Result<MessageWriteVec, StunWriteError>) -> Answer {
    built.map(Some).map_err(|e| {
        crate::seldom::seldom!(error, "writing an answer: {e}");
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
