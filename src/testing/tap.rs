//! Datagrams that an observer on the path of a simulated network sees, and can send again.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Simulation;
use super::transit::Parcel;
use crate::proto::net::{Protocol, Transmit};
use crate::proto::peer::SessionDescription;

/// Number of datagrams and descriptions kept.
const MAX_DATAGRAMS: usize = 256;
const MAX_DESCRIPTIONS: usize = 32;

/// The latest datagrams and descriptions.
#[derive(Debug, Default)]
pub(super) struct Tap {
    /// With the addresses used in the network: behind NATs, these are not the peers' own.
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
    /// Starts keeping the latest datagrams and descriptions.
    pub(super) fn tap(&mut self) {
        self.tap = Some(Tap::default());
    }

    /// Returns the number of bytes in flight and kept.
    pub(super) fn held(&self) -> usize {
        let under_way: usize = self.transit.bytes();
        let tap = self.tap.as_ref().map_or(0, |tap| {
            let datagrams = tap.datagrams.iter();
            let bytes: usize = datagrams.map(|t| t.contents.len() + size_of_val(t)).sum();
            let texts = tap.descriptions.iter().map(|d| d.sdp.len());
            bytes + texts.sum::<usize>()
        });
        under_way + tap
    }

    /// Sends a datagram, between any two addresses.
    pub(super) fn inject(&mut self, from: SocketAddr, to: SocketAddr, contents: Vec<u8>) {
        self.post(self.now, Parcel::Datagram { from, to, contents });
    }

    /// Returns the datagram with one byte changed.
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
