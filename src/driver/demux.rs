//! Assigns datagrams on a shared port to peers, in constant time.
//!
//! | datagram | peer |
//! |---|---|
//! | STUN request | the one with the ufrag before the colon of its USERNAME |
//! | STUN response | the one that sent the request with this transaction id |
//! | anything else | the one for which the remote address has been validated |
//!
//! Datagrams that belong to no peer are counted and dropped. A remote address belongs to one peer: while that peer
//! receives from it, no other peer can claim it; otherwise one peer could take over another's traffic.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::checks::Checks;
use crate::proto::ice::stun::{self, StunPeek};

/// Time to wait for the response to a STUN request. Longer than all its retransmissions.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(10);

/// Maximum number of STUN requests without a response; the oldest is removed.
const MAX_TRANSACTIONS: usize = 65_536;

/// Minimum capacity of the transaction table.
const MIN_ROOM: usize = 64;

/// Routing table of a loop. Peers are identified by small numbers.
#[derive(Debug)]
pub(crate) struct Demux {
    addresses: HashMap<(usize, SocketAddr), Owner>,
    ufrags: HashMap<String, usize>,
    /// Transactions of STUN requests that were sent: the peer and the address asked.
    transactions: HashMap<[u8; 12], (usize, SocketAddr)>,
    order: VecDeque<(Instant, [u8; 12])>,
    hold: Duration,
    checks: Checks,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    peer: usize,
    heard: Instant,
}

impl Demux {
    /// Creates an empty table. `hold` is the time for which a silent peer keeps an address that another one claims;
    /// `checks` is the maximum number of unanswered ICE checks.
    pub fn new(hold: Duration, checks: u32, now: Instant) -> Self {
        Self {
            addresses: HashMap::new(),
            ufrags: HashMap::new(),
            transactions: HashMap::new(),
            order: VecDeque::new(),
            hold,
            checks: Checks::new(checks, now),
        }
    }

    /// Returns the peer that a datagram belongs to.
    pub fn route(
        &mut self,
        socket: usize,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<usize> {
        if stun::is_stun(datagram) {
            return match stun::peek(datagram)? {
                StunPeek::Request { local_ufrag } => self.ufrags.get(local_ufrag).copied(),
                // A transaction has one response.
                StunPeek::Response { transaction, .. } => self.answered(transaction, now),
                StunPeek::Other => None,
            };
        }
        let owner = self.addresses.get_mut(&(socket, from))?;
        owner.heard = now;
        Some(owner.peer)
    }

    /// Returns the peer that a STUN request is for.
    pub fn by_ufrag(&self, message: &[u8]) -> Option<usize> {
        match stun::is_stun(message).then(|| stun::peek(message))?? {
            StunPeek::Request { local_ufrag } => self.ufrags.get(local_ufrag).copied(),
            StunPeek::Response { .. } | StunPeek::Other => None,
        }
    }

    /// Handles a datagram on a socket that belongs to one peer: records it if it is the response to a check.
    pub fn note_received(&mut self, datagram: &[u8], now: Instant) {
        let peek = stun::is_stun(datagram).then(|| stun::peek(datagram));
        if let Some(Some(StunPeek::Response { transaction, .. })) = peek {
            self.answered(transaction, now);
        }
    }

    fn answered(&mut self, transaction: [u8; 12], now: Instant) -> Option<usize> {
        let (peer, asked) = self.transactions.remove(&transaction)?;
        self.checks.answered(asked, now);
        Some(peer)
    }

    /// Handles a datagram that a peer sends: records STUN requests, so that their responses can be assigned. Returns
    /// `false` if it is a check beyond the budget and must not be sent.
    pub fn note_sent(
        &mut self,
        peer: usize,
        to: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> bool {
        let Some(id) = stun::request_transaction(datagram) else {
            return true;
        };
        if !self.checks.allows(to, now) {
            return false;
        }
        while let Some((at, old)) = self.order.front().copied() {
            if now < at + TRANSACTION_LIFETIME && self.order.len() < MAX_TRANSACTIONS {
                break;
            }
            self.order.pop_front();
            self.transactions.remove(&old);
        }
        if self.order.len() > 2 * self.transactions.len() + MIN_ROOM {
            self.forget_answered();
        }
        if self.transactions.insert(id, (peer, to)).is_none() {
            self.order.push_back((now, id));
        }
        true
    }

    /// Removes answered transactions and releases capacity, so that 10 s of many peers' checks do not stay in memory.
    fn forget_answered(&mut self) {
        let transactions = &mut self.transactions;
        self.order.retain(|(_, id)| transactions.contains_key(id));
        let room = 2 * self.order.len() + MIN_ROOM;
        if self.order.capacity() > 4 * room {
            self.order.shrink_to(room);
            transactions.shrink_to(room);
        }
    }

    pub fn add_ufrag(&mut self, ufrag: String, peer: usize) {
        self.ufrags.insert(ufrag, peer);
    }

    pub fn drop_ufrag(&mut self, ufrag: &str, peer: usize) {
        if self.ufrags.get(ufrag) == Some(&peer) {
            self.ufrags.remove(ufrag);
        }
    }

    /// Assigns a validated address to this peer. Returns `false` if it belongs to another peer that still receives from
    /// it.
    pub fn claim(&mut self, socket: usize, address: SocketAddr, peer: usize, now: Instant) -> bool {
        let hold = self.hold;
        let owner = self
            .addresses
            .entry((socket, address))
            .or_insert(Owner { peer, heard: now });
        if owner.peer != peer && now < owner.heard + hold {
            return false;
        }
        *owner = Owner { peer, heard: now };
        true
    }

    pub fn drop_address(&mut self, socket: usize, address: SocketAddr, peer: usize) {
        let key = (socket, address);
        if self.addresses.get(&key).is_some_and(|o| o.peer == peer) {
            self.addresses.remove(&key);
        }
    }

    /// Removes a peer with its ufrags and addresses. Its transactions expire by time: a response that is assigned to
    /// another peer meanwhile fails the integrity check there.
    pub fn drop_peer(&mut self, peer: usize, ufrags: &[String], addresses: &[(usize, SocketAddr)]) {
        for ufrag in ufrags {
            self.drop_ufrag(ufrag, peer);
        }
        for (socket, address) in addresses {
            self.drop_address(*socket, *address, peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 5000))
    }

    fn stun(kind: u16, transaction: u8, username: &str) -> Vec<u8> {
        let mut body = Vec::new();
        if !username.is_empty() {
            body.extend([0, 6]);
            body.extend((username.len() as u16).to_be_bytes());
            body.extend(username.bytes());
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut m = kind.to_be_bytes().to_vec();
        m.extend((body.len() as u16).to_be_bytes());
        m.extend([0x21, 0x12, 0xA4, 0x42]);
        m.extend([transaction; 12]);
        m.extend(body);
        m
    }

    #[test]
    fn finds_the_peer_by_ufrag_transaction_and_address() {
        let t = Instant::now();
        let mut d = Demux::new(Duration::from_secs(5), u32::MAX, t);
        d.add_ufrag("aaaa".into(), 1);
        d.add_ufrag("bbbb".into(), 2);
        assert_eq!(d.route(0, addr(1), &stun(1, 1, "bbbb:x"), t), Some(2));
        assert_eq!(d.route(0, addr(1), &stun(1, 1, "cccc:x"), t), None);
        d.note_sent(1, addr(9), &stun(1, 9, "x:aaaa"), t);
        assert_eq!(d.route(0, addr(3), &stun(0x0101, 9, ""), t), Some(1));
        assert_eq!(d.route(0, addr(3), &stun(0x0101, 8, ""), t), None);
        assert_eq!(d.route(0, addr(1), &[20, 0, 0], t), None);
        assert!(d.claim(0, addr(1), 2, t));
        assert_eq!(d.route(0, addr(1), &[20, 0, 0], t), Some(2));
        assert_eq!(d.route(1, addr(1), &[20, 0, 0], t), None);
    }

    #[test]
    fn an_address_in_use_cannot_be_taken() {
        let t = Instant::now();
        let s = Duration::from_secs;
        let mut d = Demux::new(s(5), u32::MAX, t);
        assert!(d.claim(0, addr(1), 1, t));
        assert!(!d.claim(0, addr(1), 2, t + s(4)));
        d.route(0, addr(1), &[20], t + s(4));
        assert!(!d.claim(0, addr(1), 2, t + s(8)));
        assert!(d.claim(0, addr(1), 2, t + s(9)));
        d.drop_address(0, addr(1), 1);
        assert_eq!(d.route(0, addr(1), &[20], t + s(9)), Some(2));
    }

    #[test]
    fn a_peer_that_goes_leaves_nothing() {
        let t = Instant::now();
        let mut d = Demux::new(Duration::from_secs(5), u32::MAX, t);
        d.add_ufrag("aaaa".into(), 1);
        d.claim(0, addr(1), 1, t);
        d.drop_peer(1, &["aaaa".into()], &[(0, addr(1))]);
        assert!(d.addresses.is_empty() && d.ufrags.is_empty());
    }

    #[test]
    fn transactions_expire() {
        let t = Instant::now();
        let mut d = Demux::new(Duration::from_secs(5), u32::MAX, t);
        for n in 0..200 {
            d.note_sent(1, addr(9), &stun(1, n, "x:y"), t);
        }
        d.note_sent(1, addr(9), &stun(1, 201, "x:y"), t + TRANSACTION_LIFETIME);
        assert_eq!(d.transactions.len(), 1);
        assert_eq!(d.order.len(), 1);
    }

    #[test]
    fn what_is_answered_leaves_nothing() {
        let t = Instant::now();
        let mut d = Demux::new(Duration::from_secs(5), u32::MAX, t);
        // One request that is never answered, and many that are.
        d.note_sent(1, addr(9), &stun(1, 0, "x:y"), t);
        for n in 0..10_000u32 {
            let mut request = stun(1, 1, "x:y");
            request[8..12].copy_from_slice(&n.to_be_bytes());
            d.note_sent(2, addr(9), &request, t);
            let mut answer = request.clone();
            answer[..2].copy_from_slice(&0x0101u16.to_be_bytes());
            assert_eq!(d.route(0, addr(1), &answer, t), Some(2));
            assert_eq!(d.route(0, addr(1), &answer, t), None, "there is one answer");
        }
        assert_eq!(d.transactions.len(), 1);
        assert!(d.order.capacity() < 1000, "{}", d.order.capacity());
    }

    #[test]
    fn a_flood_of_requests_pushes_out_the_oldest() {
        let t = Instant::now();
        let mut d = Demux::new(Duration::from_secs(5), u32::MAX, t);
        let numbered = |n: u32| {
            let mut request = stun(1, 0, "x:y");
            request[8..12].copy_from_slice(&n.to_be_bytes());
            request
        };
        let most = u32::try_from(MAX_TRANSACTIONS).unwrap();
        for n in 0..=most {
            d.note_sent(1, addr(9), &numbered(n), t);
        }
        assert_eq!(d.transactions.len(), MAX_TRANSACTIONS);
        assert_eq!(d.order.len(), MAX_TRANSACTIONS);
        let answer = |n: u32| {
            let mut answer = numbered(n);
            answer[..2].copy_from_slice(&0x0101u16.to_be_bytes());
            answer
        };
        assert_eq!(d.route(0, addr(1), &answer(0), t), None);
        assert_eq!(d.route(0, addr(1), &answer(1), t), Some(1));
        assert_eq!(d.route(0, addr(1), &answer(most), t), Some(1));
    }
}
