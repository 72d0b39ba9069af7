//! An allocation: its relays, permissions and channels (RFC 8656 §3.2, §9, §12).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turn_types::stun::message::TransactionId;

use super::Client;
use super::auth::Signer;
use super::limit::Bucket;

/// Lifetime of a permission (RFC 8656 §9).
const PERMISSION: Duration = Duration::from_secs(300);

/// Lifetime of a channel (RFC 8656 §12).
const CHANNEL: Duration = Duration::from_secs(600);

pub(super) struct Allocation {
    pub generation: u32,
    pub client: Client,
    pub signer: Signer,
    /// Transaction id of the Allocate request, which may be retransmitted.
    pub transaction: TransactionId,
    pub relays: Relays,
    pub expires: Instant,
    /// The lifetime granted last, in seconds.
    pub lifetime: u32,
    /// Token of the port reserved for the next allocation.
    pub reservation: Option<u64>,
    permissions: Vec<(IpAddr, Instant)>,
    channels: Vec<Channel>,
    pub to_peers: Bucket,
    pub to_client: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Instant,
}

/// Relays of an allocation: at most one per address family.
#[derive(Debug, Default)]
pub(super) struct Relays {
    pub v4: Relay,
    pub v6: Relay,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relay {
    /// Not requested, or released.
    #[default]
    None,
    /// Being opened by the driver.
    Opening,
    /// Open at this address, as seen by clients and peers.
    Open(SocketAddr),
    /// The driver could not open it.
    Failed,
}

impl Relays {
    pub fn of(&mut self, v6: bool) -> &mut Relay {
        if v6 { &mut self.v6 } else { &mut self.v4 }
    }

    pub fn is_open(&self, v6: bool) -> bool {
        matches!(if v6 { self.v6 } else { self.v4 }, Relay::Open(_))
    }

    /// Returns `true` if the driver has replied for all relays.
    pub fn is_settled(&self) -> bool {
        ![self.v4, self.v6].contains(&Relay::Opening)
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.v4, self.v6].into_iter().filter_map(|r| match r {
            Relay::Open(address) => Some(address),
            _ => None,
        })
    }
}

/// Reason why a permission or a channel is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotGiven {
    TooMany,
    /// The number or the peer is already bound differently (RFC 8656 §12.2).
    Taken,
}

impl Allocation {
    pub fn new(
        client: Client,
        signer: Signer,
        transaction: TransactionId,
        lifetime: u32,
        rate: u64,
        generation: u32,
        now: Instant,
    ) -> Self {
        Self {
            generation,
            client,
            signer,
            transaction,
            relays: Relays::default(),
            expires: now + Duration::from_secs(lifetime.into()),
            lifetime,
            reservation: None,
            permissions: Vec::new(),
            channels: Vec::new(),
            to_peers: Bucket::new(rate, now),
            to_client: Bucket::new(rate, now),
        }
    }

    /// Installs permissions for all of these addresses, or for none.
    pub fn permit(&mut self, peers: &[IpAddr], limit: usize, now: Instant) -> Result<(), NotGiven> {
        self.permissions.retain(|(_, expires)| *expires > now);
        let mut fresh: Vec<IpAddr> = Vec::new();
        for peer in peers {
            let is_known = self.permissions.iter().any(|(ip, _)| ip == peer);
            if !is_known && !fresh.contains(peer) {
                fresh.push(*peer);
            }
        }
        if self.permissions.len() + fresh.len() > limit {
            return Err(NotGiven::TooMany);
        }
        self.permissions
            .extend(fresh.into_iter().map(|ip| (ip, now)));
        for (ip, expires) in &mut self.permissions {
            if peers.contains(ip) {
                *expires = now + PERMISSION;
            }
        }
        Ok(())
    }

    pub fn is_permitted(&self, peer: IpAddr, now: Instant) -> bool {
        let mut all = self.permissions.iter();
        all.any(|(ip, expires)| *ip == peer && *expires > now)
    }

    /// Binds or refreshes a channel, and its permission.
    pub fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        limit: usize,
        now: Instant,
    ) -> Result<(), NotGiven> {
        self.channels.retain(|c| c.expires > now);
        let of = |c: &Channel| c.number == number || c.peer == peer;
        let found = self.channels.iter().position(of);
        match found.and_then(|at| self.channels.get(at)) {
            Some(c) if c.number != number || c.peer != peer => return Err(NotGiven::Taken),
            None if self.channels.len() >= limit => return Err(NotGiven::TooMany),
            _ => self.permit(&[peer.ip()], limit, now)?,
        }
        let expires = now + CHANNEL;
        match found.and_then(|at| self.channels.get_mut(at)) {
            Some(channel) => channel.expires = expires,
            None => self.channels.push(Channel {
                number,
                peer,
                expires,
            }),
        }
        Ok(())
    }

    pub fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let mut all = self.channels.iter();
        let channel = all.find(|c| c.number == number && c.expires > now)?;
        Some(channel.peer)
    }

    pub fn channel_to(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let mut all = self.channels.iter();
        let channel = all.find(|c| c.peer == peer && c.expires > now)?;
        Some(channel.number)
    }
}
