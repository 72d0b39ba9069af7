//! Admission to rooms: limits of the server, of each room, and of each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Rooms, RoomsConfig, config};
use crate::server::quota::{Held, Rates};

/// Use of the rooms by each client.
#[derive(Debug)]
pub(super) struct Clients {
    /// Number of participants, including those in the grace period.
    pub participants: Held<IpAddr>,
    joins: Rates,
}

impl Clients {
    pub fn new(config: &RoomsConfig) -> Self {
        let each = Duration::from_secs(1) / config.joins_per_second.max(1);
        Self {
            participants: Held::new(config.max_per_client),
            // As many as a client may have can join at once, for example a class behind one address.
            joins: Rates::new(
                u32::try_from(config.max_per_client).unwrap_or(u32::MAX),
                each,
            ),
        }
    }
}

impl Rooms {
    /// Checks that a client may join a room.
    ///
    /// # Errors
    ///
    /// Returns the reason, for the page.
    pub(super) fn may_join(
        &mut self,
        room: &str,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), &'static str> {
        if !self.clients.participants.has_room(&client) {
            return Err("this address has as many participants as it may have; try again later");
        }
        // For each room: the number of participants, and whether all of them belong to this client.
        let mut rooms: HashMap<&str, (usize, bool)> = HashMap::new();
        for participant in self.participants.values() {
            let (count, is_own) = rooms.entry(&participant.room).or_insert((0, true));
            *count += 1;
            *is_own &= participant.client == client;
        }
        match rooms.get(room) {
            Some((count, _)) => {
                let most = self.config.max_participants.min(config::MOST_PARTICIPANTS);
                if *count >= most {
                    return Err("this room is full; try again later");
                }
            }
            None => {
                if rooms.len() >= self.config.max_rooms {
                    return Err("there are too many rooms; try again later");
                }
                let own = rooms.values().filter(|(_, is_own)| *is_own).count();
                if own >= self.config.max_rooms_per_client {
                    return Err("this address has as many rooms as it may have; try again later");
                }
            }
        }
        if self.by_peer.len() >= self.config.max_peers {
            return Err("the server is full; try again later");
        }
        let joined = self.clients.joins.try_spend(client, 1, now);
        joined.map_err(|_| "too many joined from this address at once; try again in a second")
    }
}
