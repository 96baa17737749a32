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

/// The memory that a room uses besides its name and topic, in bytes.
const ROOM_BYTES: usize = 256;

/// A room's index in the table. Reused after the room is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RoomId(u32);

/// A member of a room, with the worker that serves it: other workers need not look up the session
/// for each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Member {
    pub session: SessionId,
    pub slot: Slot,
}

/// A room.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Room {
    /// The name as spelt by the session that created the room.
    pub name: RoomName,
    /// May be empty.
    pub topic: Box<str>,
    /// In order of arrival.
    pub members: Vec<Member>,
    /// The log position at which the last member left, if the room is empty.
    empty_since: Option<RecordId>,
    /// The address that the room counts for; `None` for the lobby and rooms of an earlier run.
    created_by: Option<AddressBlock>,
    /// The address that the topic counts for; `None` for no topic and topics of an earlier run.
    topic_by: Option<AddressBlock>,
}

/// A room's position in the list of rooms. Rooms with more members come first, rooms of equal size
/// in the order of their ids.
pub(super) type ListPosition = (Reverse<usize>, RoomId);

impl Room {
    /// The memory that a room of this name uses without its topic, in bytes.
    fn state_bytes(name: &RoomName) -> usize {
        ROOM_BYTES + name.as_str().len() + name.key().len()
    }
}

/// All rooms.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rooms {
    table: Vec<Option<Room>>,
    /// The configured memory limit of all rooms and topics together. [`ROOMS_BYTES_MIN`] applies if
    /// this is less.
    bytes_max: u64,
    /// The memory in use. Derived from the table, like all fields below.
    #[serde(skip)]
    bytes: usize,
    /// Room ids by the key of their names.
    #[serde(skip)]
    by_name: BTreeMap<Box<str>, RoomId>,
    /// Free indices of the table. The lowest is reused first, so all replicas agree.
    #[serde(skip)]
    free: BTreeSet<u32>,
    /// Empty rooms that exist because of their topic, longest empty first.
    #[serde(skip)]
    empty: BTreeSet<(RecordId, RoomId)>,
    /// All rooms in the order of the list of rooms.
    #[serde(skip)]
    by_size: BTreeSet<ListPosition>,
}

impl Rooms {
    /// Derives the other fields from the table, after it was read from a snapshot.
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

    /// The room whose name has this key.
    pub fn find(&self, key: &str) -> Option<RoomId> {
        self.by_name.get(key).copied()
    }

    /// An existing room. Only the members of a room store its id, and a room with members is not
    /// removed.
    pub fn get(&self, id: RoomId) -> &Room {
        self.table[id.0 as usize].as_ref().expect("a session is in rooms that exist")
    }

    fn get_mut(&mut self, id: RoomId) -> &mut Room {
        self.table[id.0 as usize].as_mut().expect("a session is in rooms that exist")
    }

    /// The memory that all rooms and topics together may use, in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.max(ROOMS_BYTES_MIN as u64)
    }

    /// Sets the memory limit of all rooms and topics together. Existing rooms stay, even beyond it.
    pub fn set_bytes_max(&mut self, bytes: u64) {
        self.bytes_max = bytes;
    }

    /// Whether `bytes` more bytes fit within the limit. Removes empty rooms to make them fit.
    fn make_space(&mut self, bytes: usize, addresses: &mut Addresses) -> bool {
        while (self.bytes + bytes) as u64 > self.bytes_max() && self.remove_longest_empty(addresses)
        {
        }
        (self.bytes + bytes) as u64 <= self.bytes_max()
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The rooms that follow `after` in the list of rooms.
    pub fn list(&self, after: Option<ListPosition>) -> impl Iterator<Item = (ListPosition, &Room)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_size.range((start, Bound::Unbounded)).map(|&place| (place, self.get(place.1)))
    }

    /// The room of this name, which is created if it doesn't exist. A new room counts for
    /// `created_by`.
    ///
    /// # Errors
    /// The limit of the address, or that of all rooms and topics together, is reached.
    pub fn find_or_create(
        &mut self,
        name: RoomName,
        created_by: Option<AddressBlock>,
        addresses: &mut Addresses,
    ) -> Result<RoomId, Refusal<'static>> {
        if let Some(id) = self.find(name.key()) {
            return Ok(id);
        }
        let bytes = Room::state_bytes(&name);
        if created_by.is_some_and(|address| !addresses.has_space(address, bytes)) {
            return Err(Refusal::TooMuchState);
        }
        if self.by_name.len() >= ROOMS_MAX {
            self.remove_longest_empty(addresses);
        }
        // The lobby is created in any case.
        let has_space = self.make_space(bytes, addresses) || created_by.is_none();
        if self.by_name.len() >= ROOMS_MAX || !has_space {
            return Err(Refusal::NoMoreRooms);
        }
        self.bytes += bytes;
        created_by.into_iter().for_each(|address| addresses.charge(address, bytes));
        let place = self.free.pop_first().unwrap_or(self.table.len() as u32);
        let id = RoomId(place);
        self.by_name.insert(name.key().into(), id);
        self.by_size.insert((Reverse(0), id));
        let room = Some(Room {
            name,
            topic: "".into(),
            members: Vec::new(),
            empty_since: None,
            created_by,
            topic_by: None,
        });
        match self.table.get_mut(place as usize) {
            Some(free) => *free = room,
            None => self.table.push(room),
        }
        Ok(id)
    }

    /// Sets a room's topic, which counts for `set_by`.
    pub fn set_topic(
        &mut self,
        id: RoomId,
        topic: &str,
        set_by: Option<AddressBlock>,
        addresses: &mut Addresses,
    ) -> Result<(), Refusal<'static>> {
        let more = topic.len().saturating_sub(self.get(id).topic.len());
        if more > 0 && !self.make_space(more, addresses) {
            return Err(Refusal::NoMoreRooms);
        }
        let room = self.get_mut(id);
        let (old_by, old_bytes) = (room.topic_by, room.topic.len());
        // An address that replaces its own topic frees the bytes of the old one.
        let of_same = if old_by == set_by { old_bytes } else { 0 };
        if set_by.is_some_and(|address| {
            !addresses.has_space(address, topic.len().saturating_sub(of_same))
        }) {
            return Err(Refusal::TooMuchState);
        }
        (room.topic, room.topic_by) = (topic.into(), set_by);
        old_by.into_iter().for_each(|address| addresses.release(address, old_bytes));
        set_by.into_iter().for_each(|address| addresses.charge(address, topic.len()));
        self.bytes = self.bytes - old_bytes + topic.len();
        Ok(())
    }

    /// Adds a session that is not yet a member.
    pub fn enter(&mut self, id: RoomId, member: Member) {
        let room = self.get_mut(id);
        room.members.push(member);
        let (members, empty_since) = (room.members.len(), room.empty_since.take());
        if let Some(since) = empty_since {
            self.empty.remove(&(since, id));
        }
        self.resize(id, members - 1, members);
    }

    /// Removes a member. An empty room without a topic is removed at once, one with a topic when
    /// there are too many of these.
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
            (0, true) => self.retain_empty(id, at, addresses),
            (0, false) => self.remove(id, addresses),
        }
    }

    /// Records that another worker serves a member from now on.
    pub fn move_member(&mut self, id: RoomId, session: SessionId, to: Slot) {
        let members = self.get_mut(id).members.iter_mut();
        members.filter(|member| member.session == session).for_each(|member| member.slot = to);
    }

    /// Moves a room in the list after its number of members has changed.
    fn resize(&mut self, id: RoomId, before: usize, after: usize) {
        self.by_size.remove(&(Reverse(before), id));
        self.by_size.insert((Reverse(after), id));
    }

    /// Restores the topic that a room had in an earlier run, unless it has one. Creates the room if
    /// it doesn't exist.
    pub fn restore(
        &mut self,
        name: RoomName,
        topic: &str,
        at: RecordId,
        addresses: &mut Addresses,
    ) {
        if !self.make_space(Room::state_bytes(&name) + topic.len(), addresses) {
            return;
        }
        let Ok(id) = self.find_or_create(name, None, addresses) else { return };
        if self.get(id).topic.is_empty() {
            self.bytes += topic.len();
            self.get_mut(id).topic = topic.into();
        }
        let room = self.get(id);
        if room.members.is_empty() && room.empty_since.is_none() {
            self.retain_empty(id, at, addresses);
        }
    }

    fn retain_empty(&mut self, id: RoomId, at: RecordId, addresses: &mut Addresses) {
        self.get_mut(id).empty_since = Some(at);
        self.empty.insert((at, id));
        if self.empty.len() > EMPTY_ROOMS_MAX {
            self.remove_longest_empty(addresses);
        }
    }

    /// Removes the room that has been empty longest. False if no room is empty.
    fn remove_longest_empty(&mut self, addresses: &mut Addresses) -> bool {
        let Some((_, id)) = self.empty.pop_first() else { return false };
        self.remove(id, addresses);
        true
    }

    fn remove(&mut self, id: RoomId, addresses: &mut Addresses) {
        let Some(room) = self.table[id.0 as usize].take() else { return };
        self.by_name.remove(room.name.key());
        self.by_size.remove(&(Reverse(room.members.len()), id));
        self.free.insert(id.0);
        self.bytes -= Room::state_bytes(&room.name) + room.topic.len();
        let made = room.created_by.map(|address| (address, Room::state_bytes(&room.name)));
        let topic = room.topic_by.map(|address| (address, room.topic.len()));
        made.into_iter()
            .chain(topic)
            .for_each(|(address, bytes)| addresses.release(address, bytes));
    }
}

/// Whether a room's key matches a pattern. A pattern with `*` (any text) or `?` (any character)
/// must match the whole key, any other must be contained in it. The time is at most proportional to
/// the product of the two lengths.
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
            // Extend the text that the last star matches by one character.
            _ => {
                let Some((star_at, matched_to)) = star else { return false };
                star = Some((star_at, matched_to + 1));
                (at_pattern, at_key) = (star_at + 1, matched_to + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_substring_or_has_wildcards() {
        for pattern in ["rust", "#rust", "#rust-ja", "*rust*", "#r?st*", "*ja", "*", "#*-*a"] {
            assert!(matches(pattern, "#rust-ja"), "{pattern}");
        }
        for pattern in ["java", "rust*", "#r?t*", "*rust", "?", ""] {
            assert_eq!(matches(pattern, "#rust-ja"), pattern.is_empty(), "{pattern}");
        }
        assert!(!matches(&"*a".repeat(20), &"b".repeat(50)));
    }
}
