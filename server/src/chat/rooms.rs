//! The rooms and their members. A room exists while a session is in it, or while its topic is kept.
//! A room counts for the address that created it, and a topic for the address that set it.

use super::addresses::Addresses;
use forkchat_common::address::AddressBlock;
use forkchat_common::event::Refusal;
use forkchat_common::ids::{RecordId, SessionId, Slot};
use forkchat_common::limits::{EMPTY_ROOMS_MAX, ROOMS_BYTES_MIN, ROOMS_MAX};
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What a room takes in the state besides its name and topic, in bytes.
const ROOM_BYTES: usize = 256;

/// A room's place in the table. Given again when the room is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RoomId(u32);

/// A member of a room, with the worker that serves it, so that other workers need not look the
/// session up for each line.
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
    /// The log position at which the last member left, if the room is empty.
    empty_since: Option<RecordId>,
    /// For whom the room counts; `None` for the lobby and rooms of an earlier run.
    made_by: Option<AddressBlock>,
    /// For whom the topic counts.
    topic_by: Option<AddressBlock>,
}

/// A room's place in the list of rooms: the largest first, of those with equally many members the
/// one whose place in the table is lower.
pub(super) type ListPlace = (Reverse<usize>, RoomId);

impl Room {
    /// What it takes in the state, without its topic.
    fn state_bytes(name: &RoomName) -> usize {
        ROOM_BYTES + name.as_str().len() + name.key().len()
    }
}

/// All rooms.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rooms {
    table: Vec<Option<Room>>,
    /// What all rooms and topics together may take, if more than [`ROOMS_BYTES_MIN`].
    bytes_max: u64,
    /// What they take. Follows from the table, like all below.
    #[serde(skip)]
    bytes: usize,
    /// By the name's key.
    #[serde(skip)]
    by_name: BTreeMap<Box<str>, RoomId>,
    /// Places in the table that are free. The lowest is given first, so all copies agree.
    #[serde(skip)]
    free: BTreeSet<u32>,
    /// Rooms that are kept for their topic, longest empty first.
    #[serde(skip)]
    empty: BTreeSet<(RecordId, RoomId)>,
    /// All rooms in the order of the list.
    #[serde(skip)]
    by_size: BTreeSet<ListPlace>,
}

impl Rooms {
    /// Makes what follows from the table, after it was read from a snapshot.
    pub fn index(&mut self) {
        for (place, room) in (0..).zip(&self.table) {
            match room {
                Some(room) => {
                    self.bytes += Room::state_bytes(&room.name) + room.topic.len();
                    self.by_name.insert(room.name.key().into(), RoomId(place));
                    self.empty.extend(room.empty_since.map(|since| (since, RoomId(place))));
                    self.by_size.insert((Reverse(room.members.len()), RoomId(place)));
                }
                None => drop(self.free.insert(place)),
            }
        }
    }

    /// The room of this key.
    pub fn find(&self, key: &str) -> Option<RoomId> {
        self.by_name.get(key).copied()
    }

    /// A room that exists: ids are kept only by sessions that are in the room, and members keep it
    /// alive.
    pub fn get(&self, id: RoomId) -> &Room {
        self.table[id.0 as usize].as_ref().expect("a session is in rooms that exist")
    }

    fn get_mut(&mut self, id: RoomId) -> &mut Room {
        self.table[id.0 as usize].as_mut().expect("a session is in rooms that exist")
    }

    /// What all rooms and topics together may take, in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.max(ROOMS_BYTES_MIN as u64)
    }

    /// Sets what all rooms and topics together may take. What there is already stays.
    pub fn set_bytes_max(&mut self, bytes: u64) {
        self.bytes_max = bytes;
    }

    /// Whether so many bytes more may be taken, once empty rooms have made place for them.
    fn make_place(&mut self, bytes: usize, addresses: &mut Addresses) -> bool {
        while (self.bytes + bytes) as u64 > self.bytes_max() && self.forget_longest_empty(addresses)
        {
        }
        (self.bytes + bytes) as u64 <= self.bytes_max()
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The rooms in the order of the list, those that follow `after`.
    pub fn list(&self, after: Option<ListPlace>) -> impl Iterator<Item = (ListPlace, &Room)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_size.range((start, Bound::Unbounded)).map(|&place| (place, self.get(place.1)))
    }

    /// The room of this name, made if there is none, for an address if it is to count for one.
    ///
    /// # Errors
    /// The address, or all together, have as many rooms and topics as they may.
    pub fn find_or_make(
        &mut self,
        name: RoomName,
        made_by: Option<AddressBlock>,
        addresses: &mut Addresses,
    ) -> Result<RoomId, Refusal<'static>> {
        if let Some(id) = self.find(name.key()) {
            return Ok(id);
        }
        let bytes = Room::state_bytes(&name);
        if made_by.is_some_and(|address| !addresses.has_room(address, bytes)) {
            return Err(Refusal::TooMuchState);
        }
        if self.by_name.len() >= ROOMS_MAX {
            self.forget_longest_empty(addresses);
        }
        // The lobby is made in any case.
        let has_place = self.make_place(bytes, addresses) || made_by.is_none();
        if self.by_name.len() >= ROOMS_MAX || !has_place {
            return Err(Refusal::NoMoreRooms);
        }
        self.bytes += bytes;
        made_by.into_iter().for_each(|address| addresses.charge(address, bytes));
        let place = self.free.pop_first().unwrap_or(self.table.len() as u32);
        let id = RoomId(place);
        self.by_name.insert(name.key().into(), id);
        self.by_size.insert((Reverse(0), id));
        let room = Some(Room {
            name,
            topic: "".into(),
            members: Vec::new(),
            empty_since: None,
            made_by,
            topic_by: None,
        });
        match self.table.get_mut(place as usize) {
            Some(free) => *free = room,
            None => self.table.push(room),
        }
        Ok(id)
    }

    /// Sets a room's topic, for an address if it is to count for one.
    pub fn set_topic(
        &mut self,
        id: RoomId,
        topic: &str,
        set_by: Option<AddressBlock>,
        addresses: &mut Addresses,
    ) -> Result<(), Refusal<'static>> {
        let more = topic.len().saturating_sub(self.get(id).topic.len());
        if more > 0 && !self.make_place(more, addresses) {
            return Err(Refusal::NoMoreRooms);
        }
        let room = self.get_mut(id);
        let (old_by, old_bytes) = (room.topic_by, room.topic.len());
        // What the same address gives back counts for it.
        let of_same = if old_by == set_by { old_bytes } else { 0 };
        if set_by.is_some_and(|address| {
            !addresses.has_room(address, topic.len().saturating_sub(of_same))
        }) {
            return Err(Refusal::TooMuchState);
        }
        (room.topic, room.topic_by) = (topic.into(), set_by);
        old_by.into_iter().for_each(|address| addresses.release(address, old_bytes));
        set_by.into_iter().for_each(|address| addresses.charge(address, topic.len()));
        self.bytes = self.bytes - old_bytes + topic.len();
        Ok(())
    }

    /// Adds a member who isn't one.
    pub fn enter(&mut self, id: RoomId, member: Member) {
        let room = self.get_mut(id);
        room.members.push(member);
        let (members, empty_since) = (room.members.len(), room.empty_since.take());
        if let Some(since) = empty_since {
            self.empty.remove(&(since, id));
        }
        self.resize(id, members - 1, members);
    }

    /// Takes a member out. The last one out leaves the room to be forgotten, now or, if it has a
    /// topic, when there are too many such.
    pub fn leave(
        &mut self,
        id: RoomId,
        session: SessionId,
        at: RecordId,
        addresses: &mut Addresses,
    ) {
        let room = self.get_mut(id);
        let before = room.members.len();
        room.members.retain(|member| member.session != session);
        let (members, has_topic) = (room.members.len(), !room.topic.is_empty());
        self.resize(id, before, members);
        match (members, has_topic) {
            (1.., _) => {}
            (0, true) => self.keep_empty(id, at, addresses),
            (0, false) => self.forget(id, addresses),
        }
    }

    /// Another worker serves a member from now on.
    pub fn move_member(&mut self, id: RoomId, session: SessionId, to: Slot) {
        let members = self.get_mut(id).members.iter_mut();
        members.filter(|member| member.session == session).for_each(|member| member.slot = to);
    }

    /// A room has another number of members: it has another place in the list.
    fn resize(&mut self, id: RoomId, before: usize, after: usize) {
        self.by_size.remove(&(Reverse(before), id));
        self.by_size.insert((Reverse(after), id));
    }

    /// Gives a room its topic of an earlier run, unless it has one. If the room is empty, it is
    /// kept as other empty rooms with a topic are.
    pub fn restore(
        &mut self,
        name: RoomName,
        topic: &str,
        at: RecordId,
        addresses: &mut Addresses,
    ) {
        if !self.make_place(Room::state_bytes(&name) + topic.len(), addresses) {
            return;
        }
        let Ok(id) = self.find_or_make(name, None, addresses) else { return };
        if self.get(id).topic.is_empty() {
            self.bytes += topic.len();
            self.get_mut(id).topic = topic.into();
        }
        let room = self.get(id);
        if room.members.is_empty() && room.empty_since.is_none() {
            self.keep_empty(id, at, addresses);
        }
    }

    fn keep_empty(&mut self, id: RoomId, at: RecordId, addresses: &mut Addresses) {
        self.get_mut(id).empty_since = Some(at);
        self.empty.insert((at, id));
        if self.empty.len() > EMPTY_ROOMS_MAX {
            self.forget_longest_empty(addresses);
        }
    }

    /// False if no room is kept for its topic alone.
    fn forget_longest_empty(&mut self, addresses: &mut Addresses) -> bool {
        let Some((_, id)) = self.empty.pop_first() else { return false };
        self.forget(id, addresses);
        true
    }

    fn forget(&mut self, id: RoomId, addresses: &mut Addresses) {
        let Some(room) = self.table[id.0 as usize].take() else { return };
        self.by_name.remove(room.name.key());
        self.by_size.remove(&(Reverse(room.members.len()), id));
        self.free.insert(id.0);
        self.bytes -= Room::state_bytes(&room.name) + room.topic.len();
        let made = room.made_by.map(|address| (address, Room::state_bytes(&room.name)));
        let topic = room.topic_by.map(|address| (address, room.topic.len()));
        made.into_iter()
            .chain(topic)
            .for_each(|(address, bytes)| addresses.release(address, bytes));
    }
}

/// Whether a room's key matches a pattern: contains it, or, if it has `*` (any text) or `?` (any
/// character) in it, is matched by it as a whole. Takes time in proportion to the product of the
/// two lengths at most.
pub(super) fn matches(pattern: &str, key: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return key.contains(pattern);
    }
    let (pattern, key): (Vec<char>, Vec<char>) = (pattern.chars().collect(), key.chars().collect());
    let (mut at_pattern, mut at_key, mut star) = (0, 0, None);
    while at_key < key.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                star = Some((at_pattern, at_key));
                at_pattern += 1;
            }
            Some(&c) if c == '?' || c == key[at_key] => {
                (at_pattern, at_key) = (at_pattern + 1, at_key + 1)
            }
            // The last star takes one character more.
            _ => {
                let Some((star_at, taken_to)) = star else { return false };
                star = Some((star_at, taken_to + 1));
                (at_pattern, at_key) = (star_at + 1, taken_to + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_of_a_name_or_has_wildcards() {
        for pattern in ["rust", "#rust", "#rust-ja", "*rust*", "#r?st*", "*ja", "*", "#*-*a"] {
            assert!(matches(pattern, "#rust-ja"), "{pattern}");
        }
        for pattern in ["java", "rust*", "#r?t*", "*rust", "?", ""] {
            assert_eq!(matches(pattern, "#rust-ja"), pattern.is_empty(), "{pattern}");
        }
        assert!(!matches(&"*a".repeat(20), &"b".repeat(50)));
    }
}
