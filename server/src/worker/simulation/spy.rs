//! The spy: reads the whole log and renders everything for every client. The clients must have
//! received exactly that.

use super::SPY;
use crate::chat::{Chat, Ending, Fact, Forms, Kept, Output, RateLimit, Record};
use crate::segment::{self, Reader, Segment};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use forkchat_common::protocol::line::render::Stamp;
use std::collections::BTreeMap;

/// Renders everything for everyone, from the whole log.
pub(super) struct Spy {
    pub reader: Reader,
    pub chat: Chat,
    pub forms: Forms,
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
    /// The record that is applied.
    pub at: Sequence,
    /// What is to be stored, and where it was said.
    pub kept: Vec<(Sequence, String)>,
}

impl Output for Told {
    fn serves(&mut self, _: SessionId, _: Slot) -> bool {
        true
    }
    fn tell(&mut self, session: SessionId, bytes: &[u8]) {
        let told = self.bytes.entry(session).or_default();
        told.extend_from_slice(bytes);
        self.marks.entry(session).or_default().push((self.now, told.len()));
    }
    fn closed(&mut self, _: SessionId, _: Slot, _: Ending) {}
    fn kept(&mut self, kept: &Kept<'_>) {
        let (Kept::Line { text, .. } | Kept::Topic { text, .. }) = kept;
        self.kept.push((self.at, (*text).to_owned()));
    }
    fn begin(&mut self, stamp: Stamp, _: Option<Slot>) {
        self.at = stamp.id;
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
        let chat = Chat::new(RateLimit::OFF);
        Spy {
            reader,
            chat,
            forms: Forms::default(),
            told: Told::default(),
            lines: BTreeMap::new(),
            input_end: BTreeMap::new(),
        }
    }

    pub fn read(&mut self, segment: &Segment) {
        for segment::Entry { sequence, end, time, payload } in self.reader.fetch(u64::MAX) {
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
            self.chat.apply(Stamp { id: sequence, time }, &record, &mut self.forms, &mut self.told);
        }
        segment.cursors.publish_read(SPY, self.reader.position());
    }
}
