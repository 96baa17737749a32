//! Tests of the chat as users see it: the lines that they type, and the lines that they receive.

mod budgets;
mod bytes;
mod lists;
mod moves;
mod replicas;
mod rooms;
mod snapshot;
mod talk;

use super::*;
use forkchat_common::address::AddressBlock;
use forkchat_common::ids::{RecordId, Sequence};

/// A replica of the state that serves the sessions of some slots, with its outputs.
struct Replica {
    chat: Chat,
    outputs: Outputs,
    cache: RenderCache,
}

#[derive(Default)]
struct Outputs {
    slots: Vec<Slot>,
    bytes: BTreeMap<SessionId, Vec<u8>>,
    /// Each delivery: the record's sequence, the session, the bytes.
    deliveries: Vec<(u64, SessionId, Vec<u8>)>,
    at: u64,
    closed: Vec<(SessionId, Ending)>,
    /// Lists that have another part, the latest last.
    continues: Vec<(SessionId, RecordId, u32)>,
    exceeded: Vec<AddressBlock>,
    /// The number of topics that the journal was asked to store.
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

impl Replica {
    fn new(slots: &[u16]) -> Replica {
        let outputs = Outputs {
            slots: slots.iter().map(|&slot| Slot::at(slot)).collect(),
            ..Outputs::default()
        };
        let mut replica = Replica { chat: Chat::default(), outputs, cache: RenderCache::default() };
        let rate_limit = RateLimit::lines_per_second(20);
        let fact = Fact::Configured { rooms_bytes_max: 0, rate_limit };
        replica.apply(0, &Record { session: SessionId::NONE, input_end: 0, fact });
        replica
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

/// Users, numbered from 0, and the replica that serves them.
struct Users {
    replica: Replica,
    at: u64,
    sent: Vec<u64>,
}

impl Users {
    fn new(people: usize) -> Users {
        let mut users = Users { replica: Replica::new(&[0, 1]), at: 0, sent: Vec::new() };
        for _ in 0..people {
            users.arrive();
            users.fact(users.sent.len() - 1, Fact::Arrived);
        }
        users.received_all();
        users
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
        self.replica.apply(self.at, &Record { session: Self::id(person), input_end, fact });
    }

    fn types(&mut self, person: usize, line: &str) {
        self.fact(person, Fact::Line(line.as_bytes()));
    }

    /// The text that a user received since the last call.
    fn received(&mut self, person: usize) -> String {
        String::from_utf8(self.replica.outputs.bytes.remove(&Self::id(person)).unwrap_or_default())
            .unwrap()
    }

    fn received_all(&mut self) -> Vec<String> {
        (0..self.sent.len()).map(|person| self.received(person)).collect()
    }
}
