//! The reference reads the whole log and renders the output of every client. The clients must have
//! received exactly that.

use super::REFERENCE;
use crate::chat::{Chat, Deliveries, Effect, Fact, HistoryEntry, Record};
use crate::segment::{self, Reader, Segment};
use forkchat_common::event::Stamp;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::BTreeMap;

/// A reader that renders everything for every client.
pub(super) struct Reference {
    pub reader: Reader,
    pub chat: Chat,
    pub expected: Expected,
    /// The lines in the log by session, each once.
    pub lines: BTreeMap<SessionId, Vec<Vec<u8>>>,
    pub input_end: BTreeMap<SessionId, u64>,
}

#[derive(Default)]
pub(super) struct Expected {
    pub bytes: BTreeMap<SessionId, Vec<u8>>,
    /// Per session: the length of its output after each record.
    pub marks: BTreeMap<SessionId, Vec<(Sequence, usize)>>,
    pub now: Sequence,
    /// The history that must be stored, with the sequence of each entry.
    pub history: Vec<(Sequence, String)>,
}

impl Deliveries for Expected {
    fn wants(&mut self, _: SessionId, _: Slot) -> bool {
        true
    }
    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        let expected = self.bytes.entry(session).or_default();
        expected.extend_from_slice(bytes);
        self.marks.entry(session).or_default().push((self.now, expected.len()));
    }
    fn stores_history(&self) -> bool {
        true
    }
}

impl Expected {
    pub fn bytes_before(&self, session: SessionId, sequence: Sequence) -> usize {
        let marks = self.marks.get(&session).map_or(&[][..], Vec::as_slice);
        marks.iter().rev().find(|(end, _)| *end <= sequence).map_or(0, |(_, expected)| *expected)
    }
}

impl Reference {
    /// A reader at the log's beginning.
    pub fn new(segment: &'static Segment) -> Reference {
        let reader = Reader::new(&segment.log, segment.join(REFERENCE).unwrap().0);
        let chat = Chat::default();
        Reference {
            reader,
            chat,
            expected: Expected::default(),
            lines: BTreeMap::new(),
            input_end: BTreeMap::new(),
        }
    }

    pub fn read(&mut self, segment: &Segment) {
        for segment::Entry { position, end, id, time, payload } in self.reader.fetch(u64::MAX) {
            let record = Record::decode(payload).unwrap();
            self.expected.now = end;
            let is_open = self.chat.session(record.session).is_some();
            if let Fact::Line(line) = record.fact
                && is_open
                && self
                    .input_end
                    .insert(record.session, record.input_end)
                    .is_none_or(|before| before < record.input_end)
            {
                self.lines.entry(record.session).or_default().push(line.to_vec());
            }
            let stamp = Stamp { id, time };
            for effect in self.chat.effects_of(stamp, &record, &mut self.expected) {
                if let Effect::Store(
                    HistoryEntry::Line { text, .. } | HistoryEntry::Topic { text, .. },
                ) = effect
                {
                    self.expected.history.push((position, text));
                }
            }
        }
        segment.cursors.publish_read(REFERENCE, self.reader.position());
    }
}
