//! Who is let in, and who has to go for others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// How dear a connection is that could be closed; the cheapest goes first, and of these the one that has been so for
/// the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Its client has not yet sent a whole request.
    Stranger,
    /// Between two requests.
    Idle,
    /// In the middle of sending a further request.
    Sending,
    /// Reading a response.
    Reading,
}

/// Where a connection stands in the order.
pub(super) type Place = (Rank, u64);

/// Counts connections, and keeps those that could be closed in order.
#[derive(Debug, Default)]
pub(super) struct Admission {
    addresses: HashMap<IpAddr, Address>,
    places: BTreeMap<Place, usize>,
    stamp: u64,
    strangers: usize,
    idle: usize,
}

#[derive(Debug, Default)]
struct Address {
    count: usize,
    places: BTreeSet<Place>,
    /// Memory held for its connections, in bytes.
    held: usize,
}

impl Admission {
    /// Connections of this address.
    pub fn count(&self, address: IpAddr) -> usize {
        self.addresses.get(&address).map_or(0, |of| of.count)
    }

    /// Those whose client has not yet sent a whole request.
    pub fn strangers(&self) -> usize {
        self.strangers
    }

    /// Those between two requests.
    pub fn idle(&self) -> usize {
        self.idle
    }

    pub fn enter(&mut self, address: IpAddr) {
        self.addresses.entry(address).or_default().count += 1;
    }

    pub fn leave(&mut self, address: IpAddr, place: Option<Place>) {
        self.remove(address, place);
        if let Some(of) = self.addresses.get_mut(&address) {
            of.count -= 1;
            if of.count == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// Moves a connection to another rank, or out of the order (`None`); in the same rank it stays where it is.
    pub fn rank(
        &mut self,
        index: usize,
        address: IpAddr,
        place: Option<Place>,
        rank: Option<Rank>,
    ) -> Option<Place> {
        if place.map(|(rank, _)| rank) == rank {
            return place;
        }
        self.remove(address, place);
        let rank = rank?;
        self.stamp += 1;
        let place = (rank, self.stamp);
        self.places.insert(place, index);
        self.addresses
            .entry(address)
            .or_default()
            .places
            .insert(place);
        match rank {
            Rank::Stranger => self.strangers += 1,
            Rank::Idle => self.idle += 1,
            Rank::Sending | Rank::Reading => {}
        }
        Some(place)
    }

    /// The one that goes first.
    pub fn first(&self) -> Option<usize> {
        self.places.first_key_value().map(|(_, index)| *index)
    }

    /// The one that has been reading a response for the longest.
    pub fn first_reading(&self) -> Option<usize> {
        let mut reading = self.places.range((Rank::Reading, 0)..);
        reading.next().map(|(_, index)| *index)
    }

    /// Returns the first connection of this address that is still being read.
    pub fn first_reading_of(&self, address: IpAddr) -> Option<usize> {
        let places = &self.addresses.get(&address)?.places;
        let place = places.range((Rank::Reading, 0)..).next()?;
        self.places.get(place).copied()
    }

    /// Notes that what is held for a connection of this address has changed from `before` to `now` bytes.
    pub fn hold(&mut self, address: IpAddr, before: usize, now: usize) {
        if let Some(of) = self.addresses.get_mut(&address) {
            of.held = of.held + now - before;
        }
    }

    /// Returns the address for which most is held.
    pub fn heaviest(&self) -> Option<IpAddr> {
        let heaviest = self.addresses.iter().max_by_key(|(_, of)| of.held);
        heaviest.map(|(address, _)| *address)
    }

    /// The one of this address that goes first.
    pub fn first_of(&self, address: IpAddr) -> Option<usize> {
        let place = self.addresses.get(&address)?.places.first()?;
        self.places.get(place).copied()
    }

    fn remove(&mut self, address: IpAddr, place: Option<Place>) {
        let Some(place) = place else { return };
        self.places.remove(&place);
        if let Some(of) = self.addresses.get_mut(&address) {
            of.places.remove(&place);
        }
        match place.0 {
            Rank::Stranger => self.strangers -= 1,
            Rank::Idle => self.idle -= 1,
            Rank::Sending | Rank::Reading => {}
        }
    }
}
