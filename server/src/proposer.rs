//! Proposing: all that a process appends to the log goes through a proposer, in every concurrency
//! model and in the journal.
//!
//! ```text
//! propose ─► pending ─► commit: append ─► consume the input ─► until it is applied: then …
//! ```
//!
//! Nothing follows from an append alone: that a record was appended doesn't say what it means. What
//! is to follow is handed out when the record is *applied* ([`Proposer::take_applied`]). So it does
//! not matter by which way a proposal comes into the log, nor how long that takes.

use crate::chat::{Fact, Record};
use crate::segment::{AppendError, Batch, Segment};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::VecDeque;

/// What one process proposes. `T` is what follows when a proposal's records are applied.
#[derive(Debug)]
pub struct Proposer<T> {
    segment: &'static Segment,
    me: Slot,
    /// Not yet in the log. In order.
    pending: VecDeque<Proposal<T>>,
    /// In the log, up to this sequence, and not known to be applied. In order.
    appended: VecDeque<(Sequence, T)>,
    /// What is being appended; kept for its memory.
    batch: Batch,
    /// The ring was full: tried again when this process is rung.
    waits_for_room: bool,
}

/// Records that are to be appended together.
#[derive(Debug)]
struct Proposal<T> {
    batch: Batch,
    /// Input to be taken out of the kernel once the records are appended: whose, and how many bytes.
    input: Option<(SessionId, usize)>,
    then: T,
}

impl<T> Proposer<T> {
    /// Of the process in slot `me`, which has proposed nothing.
    pub fn new(segment: &'static Segment, me: Slot) -> Proposer<T> {
        Proposer {
            segment,
            me,
            pending: VecDeque::new(),
            appended: VecDeque::new(),
            batch: Batch::default(),
            waits_for_room: false,
        }
    }

    /// Proposes records. They are at most as many as one batch may hold.
    pub fn propose(&mut self, batch: Batch, then: T) {
        self.pending.push_back(Proposal { batch, input: None, then });
    }

    /// Proposes a fact.
    pub fn propose_fact(&mut self, session: SessionId, fact: Fact<'_>, then: T) {
        self.propose(fact_batch(session, fact), then);
    }

    /// Proposes what `bytes` bytes of a session's input say.
    pub fn propose_input(&mut self, session: SessionId, bytes: usize, batch: Batch, then: T) {
        self.pending.push_back(Proposal { batch, input: Some((session, bytes)), then });
    }

    /// How many proposals are not in the log yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether a commit may achieve something now.
    pub fn has_work(&self) -> bool {
        let is_full = self.waits_for_room && self.segment.doorbells.is_space_wanted();
        !self.pending.is_empty() && !is_full
    }

    /// This process was rung: there may be room.
    pub fn rung(&mut self) {
        self.waits_for_room = false;
    }

    /// Appends as many of the pending proposals as one batch holds, and then has `consume` take their
    /// input out of the kernel. Without room, or the lock, nothing happens: it is tried again.
    ///
    /// # Panics
    /// If a single proposal is larger than a batch may be: a mistake in the program.
    pub fn commit(&mut self, mut consume: impl FnMut(SessionId, usize)) {
        let room = self.segment.geometry.batch_blocks_max();
        let mut count = 0;
        self.batch.clear();
        for proposal in &self.pending {
            if count > 0 && self.batch.blocks() + proposal.batch.blocks() > room {
                break;
            }
            self.batch.extend(&proposal.batch);
            count += 1;
        }
        if count == 0 {
            return;
        }
        let Some(end) = self.append() else { return };
        for Proposal { input, then, .. } in self.pending.drain(..count) {
            if let Some((session, bytes)) = input.filter(|(_, bytes)| *bytes > 0) {
                consume(session, bytes);
            }
            self.appended.push_back((end, then));
        }
    }

    /// Appends the batch, and returns where it ends; `None` if that can't be done now.
    fn append(&mut self) -> Option<Sequence> {
        let Segment { log, clock, doorbells, .. } = self.segment;
        let mut appended = log.append(self.me, &self.batch, clock.now());
        self.waits_for_room = appended == Err(AppendError::Full);
        if self.waits_for_room {
            doorbells.request_space();
            // Once more, since a process that made room before we asked for it didn't know whom to
            // ring; and the process that holds it may be asleep.
            appended = log.append(self.me, &self.batch, clock.now());
            log.ring_behind();
            // If only the lock was held this time, there may be room by now, and nobody rings.
            self.waits_for_room = appended == Err(AppendError::Full);
        }
        match appended {
            Ok(range) => {
                log.ring_far_behind();
                Some(range.end)
            }
            Err(AppendError::TooLarge) => panic!("a proposal has {} blocks", self.batch.blocks()),
            Err(AppendError::Busy | AppendError::Full) => None,
        }
    }

    /// Another thread has appended something, up to `end`.
    pub fn note_appended(&mut self, end: Sequence, then: T) {
        self.appended.push_back((end, then));
    }

    /// What was appended, for another thread that applies it: up to where, and what then follows.
    pub fn take_appended(&mut self) -> Option<(Sequence, T)> {
        self.appended.pop_front()
    }

    /// What follows next of a proposal whose records are all before `position`, up to which the log
    /// is applied.
    pub fn take_applied(&mut self, position: Sequence) -> Option<T> {
        if self.appended.front()?.0 > position {
            return None;
        }
        self.take_appended().map(|(_, then)| then)
    }

    /// Whether records of this process are in the log that are not known to be applied.
    pub fn awaits_records(&self) -> bool {
        !self.appended.is_empty()
    }

    /// What follows of the proposals that are not applied yet.
    pub fn unapplied(&self) -> impl Iterator<Item = &T> {
        let pending = self.pending.iter().map(|proposal| &proposal.then);
        self.appended.iter().map(|(_, then)| then).chain(pending)
    }
}

/// Adds a record of something that is no line of a session's input.
pub fn push_fact(batch: &mut Batch, session: SessionId, fact: Fact<'_>) {
    batch.push(|payload| Record { session, input_end: 0, fact }.encode(payload));
}

/// A batch with one such record.
pub fn fact_batch(session: SessionId, fact: Fact<'_>) -> Batch {
    let mut batch = Batch::default();
    push_fact(&mut batch, session, fact);
    batch
}
