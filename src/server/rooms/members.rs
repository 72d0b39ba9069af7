//! Member lists of rooms: sent after changes, batched, with a limited rate per room.

use std::collections::HashMap;
use std::time::Instant;

use super::Rooms;
use super::ids::ParticipantId;
use super::message::{self, Member};
use crate::server::http::SocketOutput;
use crate::server::limits::RateLimit;

/// Limit for lists of a room: burst, and number per second after it. A list is sent to every member, so the traffic
/// caused by one participant grows with the square of their number.
const BURST: u32 = 5;
const RATE: u32 = 2;

/// The member lists sent so far, by room.
#[derive(Debug, Default)]
pub(super) struct Lists(HashMap<String, List>);

#[derive(Debug)]
struct List {
    /// Set if something happened since the list was sent.
    may_have_changed: bool,
    /// The list that all members have; `None` if some may have another one.
    last: Option<String>,
    rate: RateLimit,
}

impl Lists {
    /// Records that the members of a room may have changed.
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
    /// Sends changed lists to all members of their rooms. Called once per tick.
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
            // Members of an empty room need no list; reopening it starts anew.
            self.participants.values().any(|p| p.room == *room)
        });
        self.lists = lists;
    }

    /// Sends the list to a participant that has joined or returned; the others get it with the next tick.
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
