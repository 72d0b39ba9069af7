//! What somebody on the path sees of a simulated network, and can send again.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::{Parcel, Simulation};
use crate::proto::net::{Protocol, Transmit};
use crate::proto::peer::SessionDescription;

/// Datagrams and descriptions that are kept.
const MAX_DATAGRAMS: usize = 256;
const MAX_DESCRIPTIONS: usize = 32;

/// The last of what was under way.
#[derive(Debug, Default)]
pub(super) struct Tap {
    /// Between the addresses that the network sees: behind NATs these are not the peers' own.
    pub datagrams: VecDeque<Transmit>,
    pub descriptions: VecDeque<SessionDescription>,
}

impl Tap {
    pub fn datagram(&mut self, transmit: &Transmit) {
        if self.datagrams.len() >= MAX_DATAGRAMS {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(transmit.clone());
    }

    pub fn description(&mut self, description: &SessionDescription) {
        if self.descriptions.len() >= MAX_DESCRIPTIONS {
            self.descriptions.pop_front();
        }
        self.descriptions.push_back(description.clone());
    }
}

impl Simulation {
    /// Keeps the last of what is under way from here on.
    pub(super) fn tap(&mut self) {
        self.tap = Some(Tap::default());
    }

    /// Bytes of what is under way, and kept of what was.
    pub(super) fn held(&self) -> usize {
        let size = |Reverse((_, _, parcel)): &Reverse<(Instant, u64, Parcel)>| match parcel {
            Parcel::Datagram { contents, .. } | Parcel::Piece { contents, .. } => contents.len(),
            Parcel::Tcp(segment) => segment.size(),
            Parcel::Description { sdp, .. } => sdp.len(),
            Parcel::Opened { .. } | Parcel::Candidate { .. } => 200,
        };
        let under_way: usize = self.parcels.iter().map(|p| size(p) + size_of_val(p)).sum();
        let tap = self.tap.as_ref().map_or(0, |tap| {
            let datagrams = tap.datagrams.iter();
            let bytes: usize = datagrams.map(|t| t.contents.len() + size_of_val(t)).sum();
            let texts = tap.descriptions.iter().map(|d| d.sdp.len());
            bytes + texts.sum::<usize>()
        });
        under_way + tap
    }

    /// Puts a datagram on the network, between any two addresses.
    pub(super) fn inject(&mut self, from: SocketAddr, to: SocketAddr, contents: Vec<u8>) {
        self.post(self.now, Parcel::Datagram { from, to, contents });
    }

    /// A datagram with a byte of it changed.
    pub(super) fn corrupted(&mut self, mut transmit: Transmit) -> Transmit {
        let length = transmit.contents.len() as u64;
        let at = self.rng.below(length) as usize;
        let change = 1 + self.rng.below(255) as u8;
        if let Some(byte) = transmit.contents.get_mut(at)
            && transmit.protocol == Protocol::Udp
        {
            *byte ^= change;
        }
        transmit
    }
}
