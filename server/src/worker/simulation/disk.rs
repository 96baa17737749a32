//! The simulated journal: its two threads take turns, and the entries that they have stored survive
//! the journal process.

use super::{JOURNAL, WORKERS};
use crate::chat::{PartEnd, PastLine, RateLimit};
use crate::journal::store::{Entry, Line, Topic};
use crate::journal::{BATCH_ENTRIES_MAX, Backlog, Journal, JournalConfig, Lookup, Prepared, Quota};
use crate::segment::{Segment, Tally, step};
use forkchat_common::ids::{RecordId, Sequence};
use std::sync::Arc;

/// The entries that the journal has stored. They outlive the process.
pub(super) struct Disk {
    pub entries: Vec<Entry>,
    pub reached: Sequence,
    pub tally: &'static Tally,
    pub is_full: bool,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            entries: Vec::new(),
            reached: Sequence(0),
            tally: Box::leak(Box::default()),
            is_full: false,
        }
    }
}

/// A journal's two threads, which take turns.
pub(super) struct JournalProcess {
    pub reading: Journal,
    pub backlog: Arc<Backlog>,
}

impl JournalProcess {
    pub fn join(segment: &'static Segment, disk: &Disk) -> JournalProcess {
        let backlog = Arc::new(Backlog::new(disk.tally));
        let data_dir = Some("/nowhere".into());
        let config = JournalConfig {
            rate_limit: RateLimit::OFF,
            workers: WORKERS,
            data_dir,
            quota: Quota { lines_max: 1, bytes_max: 1 },
            rooms_bytes_max: 0,
            tally: disk.tally,
        };
        JournalProcess {
            reading: Journal::join(segment, JOURNAL, &config, backlog.clone()).unwrap(),
            backlog,
        }
    }

    /// A turn of the storing thread, with a disk that is full now and then.
    pub fn store(&self, disk: &mut Disk) {
        self.backlog.found_topics(vec![Topic {
            sequence: Sequence(1),
            room: "#kept".into(),
            room_key: "#kept".into(),
            text: "tea".into(),
        }]);
        let entries = self.backlog.take(BATCH_ENTRIES_MAX);
        step();
        if disk.is_full {
            self.backlog.not_stored(entries);
        } else {
            let is_new = |entry: &&Entry| {
                entry.position() > disk.reached && !matches!(entry, Entry::Gap { .. })
            };
            disk.entries.extend(entries.iter().filter(is_new).cloned());
            disk.reached = disk.reached.max(entries.last().map_or(Sequence(0), Entry::position));
            step();
            self.backlog.stored(&entries);
        }
        while let Some(Lookup { request, room_key, more, after }) = self.backlog.take_lookup() {
            let stored = disk.entries.iter().filter_map(|entry| {
                if let Entry::Line { line, .. } = entry { Some(line) } else { None }
            });
            let stored =
                stored.filter(|line| line.room_key == room_key && line.id < request).cloned();
            let waiting = self.backlog.waiting_lines(&room_key, request, Some(disk.reached));
            let mut lines: Vec<_> = stored.chain(waiting).collect();
            lines.drain(..lines.len().saturating_sub(more));
            lines.retain(|line| line.id > after);
            let part = &lines[..lines.len().min(2)];
            let mut bytes = Vec::new();
            for Line { id, time, nick, is_action, text, .. } in part {
                PastLine { id: *id, time: *time, nick, is_action: *is_action, text }
                    .encode(&mut bytes);
            }
            let end = if part.len() == lines.len() {
                PartEnd::Since(RecordId::ZERO)
            } else {
                PartEnd::More
            };
            self.backlog.prepare(Prepared { request, after, lines: bytes, end });
        }
    }
}
pub(super) fn text_of(entry: &Entry) -> &str {
    match entry {
        Entry::Line { line, .. } => &line.text,
        Entry::Topic(topic) => &topic.text,
        Entry::Gap { .. } => "",
    }
}
