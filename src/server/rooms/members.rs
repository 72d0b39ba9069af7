//! Lists of who is in a room: sent when they have changed, gathered, and no more often than a room's share.

use std::collections::HashMap;
use std::time::Instant;

use super::Rooms;
use super::ids::ParticipantId;
use super::message::{self, Member};
use crate::server::http::SocketOutput;
use crate::server::limits::RateLimit;

/// Lists of one room: as many in quick succession, and as many a second after that. A list goes to everybody, so that
/// what one participant says is multiplied by the square of how many there are.
const BURST: u32 = 5;
const RATE: u32 = 2;

/// The member lists that were sent, by room.
#[derive(Debug, Default)]
pub(super) struct Lists(HashMap<String, List>);

#[derive(Debug)]
struct List {
    /// Something has happened since it was sent.
    may_have_changed: bool,
    /// The list that everybody has; `None` if somebody may have another one.
    last: Option<String>,
    rate: RateLimit,
}

impl Lists {
    /// Notes that the members of a room may have changed.
    pub fn note(&mut self, room: &str, now: Instant) {
        self.of(room, now).may_have_changed = true;
    }

    fn of(&mut self, room: &str, now: Instant) -> &mut List {
        let new = || List {
            may_have_changed: false,
            last: None,
            rate: RateLimit::new(BURST, RATE, now),
        };
        self.0.entry(room.to_owned()).or_insert_with(new)
    }
}

impl Rooms {
    /// Sends the lists that have changed to all members of their rooms. Called once per tick.
    pub(super) fn tell_members(&mut self, now: Instant) {
        let mut lists = std::mem::take(&mut self.lists);
        lists.0.retain(|room, list| {
            if !list.may_have_changed {
                return true;
            }
            let text = self.members(room);
            if list.last.as_ref() == Some(&text) {
                list.may_have_changed = false;
            } else if list.rate.allows(now) {
                let members = self.participants.values().filter(|p| p.room == *room);
                let sockets = members.filter_map(|p| p.socket);
                let sends = sockets.map(|socket| SocketOutput::Send(socket, text.clone()));
                self.out.extend(sends);
                list.last = Some(text);
                list.may_have_changed = false;
            }
            // One that is empty is told nothing; what opens it again begins anew.
            self.participants.values().any(|p| p.room == *room)
        });
        self.lists = lists;
    }

    /// Sends the list to one who has just come, or is back; the others follow with the next tick.
    pub(super) fn tell_newcomer(&mut self, id: ParticipantId, now: Instant) {
        let Some(room) = self.participants.get(&id).map(|p| p.room.clone()) else {
            return;
        };
        let text = self.members(&room);
        let list = self.lists.of(&room, now);
        (list.may_have_changed, list.last) = (true, None);
        self.send(id, text);
    }

    pub(super) fn members(&self, room: &str) -> String {
        let all = self.participants.iter().filter(|(_, p)| p.room == room);
        let members: Vec<Member<'_>> = all.map(|(id, p)| p.member(*id)).collect();
        message::members(&members)
    }
}
