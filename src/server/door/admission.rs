//! Admission of connections, and the order in which they are closed to make room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Value of a connection that may be closed: the lowest rank first, and within a rank the one that has been in it for
/// longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Its client has not sent a complete request yet.
    Stranger,
    /// Between two requests.
    Idle,
    /// Sending a further request.
    Sending,
    /// Reading a response.
    Reading,
}

/// Position of a connection in the order.
pub(super) type Place = (Rank, u64);

/// Counts connections, and keeps those that may be closed in order.
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
    /// Returns the number of connections of this address.
    pub fn count(&self, address: IpAddr) -> usize {
        self.addresses.get(&address).map_or(0, |of| of.count)
    }

    /// Returns the number of connections whose client has not sent a complete request yet.
    pub fn strangers(&self) -> usize {
        self.strangers
    }

    /// Returns the number of connections between two requests.
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

    /// Moves a connection to another rank, or out of the order (`None`); within the same rank it keeps its place.
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

    /// Returns the connection to close first.
    pub fn first(&self) -> Option<usize> {
        self.places.first_key_value().map(|(_, index)| *index)
    }

    /// Returns the connection that has been reading a response for longest.
    pub fn first_reading(&self) -> Option<usize> {
        let mut reading = self.places.range((Rank::Reading, 0)..);
        reading.next().map(|(_, index)| *index)
    }

    /// Returns the connection of this address that has been reading a response for longest.
    pub fn first_reading_of(&self, address: IpAddr) -> Option<usize> {
        let places = &self.addresses.get(&address)?.places;
        let place = places.range((Rank::Reading, 0)..).next()?;
        self.places.get(place).copied()
    }

    /// Records that the memory held for a connection of this address has changed from `before` to `now` bytes.
    pub fn hold(&mut self, address: IpAddr, before: usize, now: usize) {
        if let Some(of) = self.addresses.get_mut(&address) {
            of.held = of.held + now - before;
        }
    }

    /// Returns the address for which most memory is held.
    pub fn heaviest(&self) -> Option<IpAddr> {
        let heaviest = self.addresses.iter().max_by_key(|(_, of)| of.held);
        heaviest.map(|(address, _)| *address)
    }

    /// Returns the connection of this address to close first.
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
