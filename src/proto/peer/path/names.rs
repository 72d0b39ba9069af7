//! Names in place of addresses, and the numbers of ICE generations.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::ice::{IceCandidate, TransactionIds};

/// Maximum number of remote candidates that wait for name resolution; further ones are dropped.
const MAX_WAITING: usize = 32;

/// Number of generations remembered. One can be rolled back, so it is not always the last.
const MAX_GENERATIONS: usize = 4;

/// mDNS names in place of addresses: our own, and those of remote candidates being resolved.
#[derive(Debug)]
pub(in super::super) struct Names {
    ids: TransactionIds,
    hidden: Vec<(SocketAddr, String)>,
    waiting: Vec<IceCandidate>,
    /// The ufrags of the last generations that were signaled, with their numbers.
    generations: VecDeque<(String, u8)>,
}

impl Names {
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            ids: TransactionIds::new(seed),
            hidden: Vec::new(),
            waiting: Vec::new(),
            generations: VecDeque::new(),
        }
    }

    /// Returns the number of the generation with this ufrag, if it is known.
    pub fn generation_of(&self, ufrag: &str) -> Option<u8> {
        let mut known = self.generations.iter();
        known.find(|(u, _)| u == ufrag).map(|(_, number)| *number)
    }

    /// Returns the number of the generation with this ufrag; a new ufrag starts a new generation.
    pub fn generation(&mut self, ufrag: &str) -> u8 {
        if let Some(number) = self.generation_of(ufrag) {
            return number;
        }
        let last = self.generations.back();
        let number = last.map_or(0, |(_, number)| number.saturating_add(1));
        if self.generations.len() >= MAX_GENERATIONS {
            self.generations.pop_front();
        }
        self.generations.push_back((ufrag.to_owned(), number));
        number
    }

    /// Returns the name for this address: a random UUID (RFC 9562 §5.4), as in other implementations.
    pub fn hide(&mut self, address: SocketAddr) -> String {
        let [a, b] = [(); 2].map(|()| u128::from(self.ids.next()));
        let bits = (a << 64) ^ b;
        let id = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{id:032x}");
        let part = |range: Range<usize>| hex.get(range).unwrap_or_default();
        let (a, b, c, d, e) = (
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        );
        let name = format!("{a}-{b}-{c}-{d}-{e}.local");
        self.hidden.push((address, name.clone()));
        name
    }

    pub fn of(&self, address: SocketAddr) -> Option<&str> {
        let hidden = self.hidden.iter().find(|(a, _)| *a == address);
        hidden.map(|(_, name)| name.as_str())
    }

    /// Keeps a remote candidate until its name is resolved. Returns `false` if there is no room.
    pub fn wait(&mut self, candidate: &IceCandidate) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push(candidate.clone());
        }
        has_room
    }

    /// Returns the candidates that waited for this name.
    pub fn take(&mut self, host: &str) -> Vec<IceCandidate> {
        let is_it = |c: &IceCandidate| matches!(&c.address, CandidateAddress::Name(n) if n == host);
        let (taken, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(is_it);
        self.waiting = waiting;
        taken
    }

    /// Forgets the name of an address that is gone.
    pub fn forget(&mut self, address: SocketAddr) {
        self.hidden.retain(|(a, _)| *a != address);
    }

    pub fn clear(&mut self) {
        self.hidden.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_keeps_its_number() {
        let mut names = Names::new(Some(1));
        let numbers = ["a", "b", "a", "c", "b"].map(|ufrag| names.generation(ufrag));
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        for n in 0..100 {
            names.generation(&n.to_string());
        }
        assert_eq!(names.generations.len(), MAX_GENERATIONS);
        assert_eq!(names.generation_of("a"), None);
    }

    #[test]
    fn a_name_is_a_random_uuid_and_goes_with_its_address() {
        let mut names = Names::new(Some(1));
        let address = SocketAddr::from(([192, 0, 2, 1], 5));
        let name = names.hide(address);
        assert_eq!(name.len(), 36 + ".local".len());
        assert!(name.ends_with(".local") && name.as_bytes()[14] == b'4');
        assert_eq!(names.of(address), Some(name.as_str()));
        names.forget(address);
        assert_eq!(names.of(address), None);
    }
}
