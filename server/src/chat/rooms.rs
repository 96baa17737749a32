//! The rooms and who is in them. A room lives while somebody is in it, or while it has a topic worth keeping.

use forkchat_common::ids::{Sequence, SessionId, Slot};
use forkchat_common::limits::{EMPTY_ROOMS_MAX, ROOMS_MAX};
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A room's place in the table. Given again when the room is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RoomId(u32);

/// Somebody in a room. With the worker that serves it, so that the other workers needn't look the session up for each line that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Member {
    pub session: SessionId,
    pub slot: Slot,
}

/// A room.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Room {
    /// As it was spelt by who made it.
    pub name: RoomName,
    /// May be empty.
    pub topic: Box<str>,
    /// In order of arrival.
    pub members: Vec<Member>,
    /// Where in the log the last member left, if nobody is in it.
    empty_since: Option<Sequence>,
}

/// All rooms.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rooms {
    table: Vec<Option<Room>>,
    /// By the name's key. Follows from the table, like all below.
    #[serde(skip)]
    by_name: BTreeMap<Box<str>, RoomId>,
    /// Places in the table that are free. The lowest is given first, so all copies agree.
    #[serde(skip)]
    free: BTreeSet<u32>,
    /// Rooms that are kept for their topic, longest empty first.
    #[serde(skip)]
    empty: BTreeSet<(Sequence, RoomId)>,
}

impl Rooms {
    /// Makes what follows from the table, after it was read from a snapshot.
    pub fn index(&mut self) {
        for (place, room) in (0..).zip(&self.table) {
            match room {
                Some(room) => {
                    self.by_name.insert(room.name.key().into(), RoomId(place));
                    self.empty.extend(room.empty_since.map(|since| (since, RoomId(place))));
                }
                None => drop(self.free.insert(place)),
            }
        }
    }

    /// The room of this key.
    pub fn find(&self, key: &str) -> Option<RoomId> {
        self.by_name.get(key).copied()
    }

    /// A room that exists: ids are kept only by sessions that are in the room, and members keep it alive.
    pub fn get(&self, id: RoomId) -> &Room {
        self.table[id.0 as usize].as_ref().expect("a session is in rooms that exist")
    }

    /// As [`Rooms::get`].
    pub fn get_mut(&mut self, id: RoomId) -> &mut Room {
        self.table[id.0 as usize].as_mut().expect("a session is in rooms that exist")
    }

    /// All rooms, by their keys' order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Room> {
        self.by_name.values().map(|&id| self.get(id))
    }

    /// The room of this name, made if there is none; `None` if there are as many as there may be.
    pub fn find_or_make(&mut self, name: RoomName) -> Option<RoomId> {
        if let Some(id) = self.find(name.key()) {
            return Some(id);
        }
        if self.by_name.len() >= ROOMS_MAX {
            self.forget_longest_empty();
        }
        if self.by_name.len() >= ROOMS_MAX {
            return None;
        }
        let place = self.free.pop_first().unwrap_or(self.table.len() as u32);
        let id = RoomId(place);
        self.by_name.insert(name.key().into(), id);
        let room = Some(Room { name, topic: "".into(), members: Vec::new(), empty_since: None });
        match self.table.get_mut(place as usize) {
            Some(free) => *free = room,
            None => self.table.push(room),
        }
        Some(id)
    }

    /// Adds a member who isn't one.
    pub fn enter(&mut self, id: RoomId, member: Member) {
        let room = self.get_mut(id);
        room.members.push(member);
        if let Some(since) = room.empty_since.take() {
            self.empty.remove(&(since, id));
        }
    }

    /// Takes a member out. The last one out leaves the room to be forgotten, now or, if it has a topic, when there are too many such.
    pub fn leave(&mut self, id: RoomId, session: SessionId, at: Sequence) {
        let room = self.get_mut(id);
        room.members.retain(|member| member.session != session);
        if !room.members.is_empty() {
            return;
        }
        if room.topic.is_empty() {
            self.forget(id);
            return;
        }
        self.keep_empty(id, at);
    }

    /// Gives a room its topic of an earlier run, unless it has one. With nobody in it, it is kept as others are that were left.
    pub fn restore(&mut self, name: RoomName, topic: &str, at: Sequence) {
        let Some(id) = self.find_or_make(name) else { return };
        let room = self.get_mut(id);
        if room.topic.is_empty() {
            room.topic = topic.into();
        }
        if room.members.is_empty() && room.empty_since.is_none() {
            self.keep_empty(id, at);
        }
    }

    fn keep_empty(&mut self, id: RoomId, at: Sequence) {
        self.get_mut(id).empty_since = Some(at);
        self.empty.insert((at, id));
        if self.empty.len() > EMPTY_ROOMS_MAX {
            self.forget_longest_empty();
        }
    }

    fn forget_longest_empty(&mut self) {
        if let Some((_, id)) = self.empty.pop_first() {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: RoomId) {
        if let Some(room) = self.table[id.0 as usize].take() {
            self.by_name.remove(room.name.key());
            self.free.insert(id.0);
        }
    }
}
