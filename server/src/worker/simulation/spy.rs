//! The spy: reads the whole log and renders everything for every client. The clients must have
//! received exactly that.

use super::SPY;
use crate::chat::{Chat, Deliveries, Effect, Fact, HistoryEntry, Record};
use crate::segment::{self, Reader, Segment};
use forkchat_common::event::Stamp;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::BTreeMap;

/// Renders everything for everyone, from the whole log.
pub(super) struct Spy {
    pub reader: Reader,
    pub chat: Chat,
    pub told: Told,
    /// Lines in the log, by session, without repetitions.
    pub lines: BTreeMap<SessionId, Vec<Vec<u8>>>,
    pub input_end: BTreeMap<SessionId, u64>,
}

#[derive(Default)]
pub(super) struct Told {
    pub bytes: BTreeMap<SessionId, Vec<u8>>,
    /// Per session: behind which record how much had been told.
    pub marks: BTreeMap<SessionId, Vec<(Sequence, usize)>>,
    pub now: Sequence,
    /// What is to be stored, and where it was said.
    pub kept: Vec<(Sequence, String)>,
}

impl Deliveries for Told {
    fn wants(&mut self, _: SessionId, _: Slot) -> bool {
        true
    }
    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        let told = self.bytes.entry(session).or_default();
        told.extend_from_slice(bytes);
        self.marks.entry(session).or_default().push((self.now, told.len()));
    }
    fn stores_history(&self) -> bool {
        true
    }
}

impl Told {
    pub fn bytes_before(&self, session: SessionId, sequence: Sequence) -> usize {
        let marks = self.marks.get(&session).map_or(&[][..], Vec::as_slice);
        marks.iter().rev().find(|(end, _)| *end <= sequence).map_or(0, |(_, told)| *told)
    }
}

impl Spy {
    /// Has read nothing yet.
    pub fn new(segment: &'static Segment) -> Spy {
        let reader = Reader::new(&segment.log, segment.join(SPY).unwrap().0);
        let chat = Chat::default();
        Spy {
            reader,
            chat,
            told: Told::default(),
            lines: BTreeMap::new(),
            input_end: BTreeMap::new(),
        }
    }

    pub fn read(&mut self, segment: &Segment) {
        for segment::Entry { position, end, id, time, payload } in self.reader.fetch(u64::MAX) {
            let record = Record::decode(payload).unwrap();
            self.told.now = end;
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
            for effect in self.chat.effects_of(stamp, &record, &mut self.told) {
                if let Effect::Store(
                    HistoryEntry::Line { text, .. } | HistoryEntry::Topic { text, .. },
                ) = effect
                {
                    self.told.kept.push((position, text));
                }
            }
        }
        segment.cursors.publish_read(SPY, self.reader.position());
    }
}
