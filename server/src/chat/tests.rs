//! The chat as people see it: what they type, and what each is sent.

mod budgets;
mod bytes;
mod copies;
mod lists;
mod moves;
mod rooms;
mod snapshot;
mod talk;

use super::*;
use forkchat_common::address::AddressBlock;
use forkchat_common::ids::{RecordId, Sequence};

/// A copy of the state that serves the sessions of some slots, and keeps what each was received.
struct Copy {
    chat: Chat,
    received: Outputs,
    cache: RenderCache,
}

#[derive(Default)]
struct Outputs {
    slots: Vec<Slot>,
    bytes: BTreeMap<SessionId, Vec<u8>>,
    /// Each delivery: the record's place, to whom, what.
    deliveries: Vec<(u64, SessionId, Vec<u8>)>,
    at: u64,
    closed: Vec<(SessionId, Ending)>,
    /// Lists that have another part, the latest last.
    continues: Vec<(SessionId, RecordId, u32)>,
    exceeded: Vec<AddressBlock>,
    /// Topics that the journal was to store.
    topics_stored: usize,
}

impl Deliveries for Outputs {
    fn wants(&mut self, _: SessionId, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }
    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        self.bytes.entry(session).or_default().extend_from_slice(bytes);
        self.deliveries.push((self.at, session, bytes.to_vec()));
    }
    fn stores_history(&self) -> bool {
        true
    }
}

impl Outputs {
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Closed { session, ending, .. } => self.closed.push((session, ending)),
            Effect::ListContinues { session, list, parts, .. } => {
                self.continues.push((session, list, parts));
            }
            Effect::AddressExceeded(address) => self.exceeded.push(address),
            Effect::Store(HistoryEntry::Topic { .. }) => self.topics_stored += 1,
            _ => {}
        }
    }
}

impl Copy {
    fn new(slots: &[u16]) -> Copy {
        let received = Outputs {
            slots: slots.iter().map(|&slot| Slot::at(slot)).collect(),
            ..Outputs::default()
        };
        let mut copy = Copy { chat: Chat::default(), received, cache: RenderCache::default() };
        let rate_limit = RateLimit::lines_per_second(20);
        let fact = Fact::Configured { rooms_bytes_max: 0, rate_limit };
        copy.apply(0, &Record { session: SessionId::NONE, input_end: 0, fact });
        copy
    }

    fn apply(&mut self, at: u64, record: &Record<'_>) {
        self.apply_at(
            Stamp { id: RecordId::first_of(Sequence(at)), time: Micros(at * 1_000) },
            record,
        );
    }

    fn apply_at(&mut self, stamp: Stamp, record: &Record<'_>) {
        let mut effects = Vec::new();
        self.outputs.at = stamp.id.sequence.0;
        self.chat.apply(stamp, record, &mut self.cache, &mut self.outputs, &mut effects);
        effects.into_iter().for_each(|effect| self.outputs.carry_out(effect));
    }
}

/// A room full of people, driven by what they type.
struct Room {
    copy: Copy,
    at: u64,
    sent: Vec<u64>,
}

impl Room {
    fn new(people: usize) -> Room {
        let mut room = Room { copy: Copy::new(&[0, 1]), at: 0, sent: Vec::new() };
        for _ in 0..people {
            room.arrive();
            room.fact(room.sent.len() - 1, Fact::Arrived);
        }
        room.received_all();
        room
    }

    fn id(person: usize) -> SessionId {
        SessionId::new(1, person)
    }

    fn arrive(&mut self) {
        self.sent.push(0);
        let (slot, peer) =
            (Slot::at(self.sent.len() as u16 % 2), "127.0.0.1:5000".parse().unwrap());
        self.fact(self.sent.len() - 1, Fact::opened(slot, Transport::Tcp, peer));
    }

    fn fact(&mut self, person: usize, fact: Fact<'_>) {
        self.at += 1;
        let input_end = if matches!(
            fact,
            Fact::Line(_) | Fact::LineBegins(_) | Fact::LongLineBegins | Fact::LongLineEnds
        ) {
            self.sent[person] += 10;
            self.sent[person]
        } else {
            0
        };
        self.copy.apply(self.at, &Record { session: Self::id(person), input_end, fact });
    }

    fn types(&mut self, person: usize, line: &str) {
        self.fact(person, Fact::Line(line.as_bytes()));
    }

    /// What a person was received since the last time.
    fn received(&mut self, person: usize) -> String {
        String::from_utf8(self.copy.outputs.bytes.remove(&Self::id(person)).unwrap_or_default())
            .unwrap()
    }

    fn received_all(&mut self) -> Vec<String> {
        (0..self.sent.len()).map(|person| self.received(person)).collect()
    }
}
