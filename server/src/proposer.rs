//! A process appends all its records through a proposer, in every concurrency model and in the
//! journal.
//!
//! ```text
//! propose ─► pending ─► commit: append ─► consume the input ─► wait until it is applied ─► then …
//! ```
//!
//! After an append only the input is consumed, since what a record means also depends on the
//! records before it. Its consequences are returned when it is *applied*
//! ([`Proposer::take_applied`]). So it does not matter how a proposal gets into the log, nor how
//! long that takes.

use crate::chat::{Fact, Record};
use crate::segment::{AppendError, Batch, Segment};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::VecDeque;

/// The proposals of one thread. `T` says what to do when a proposal's records are applied.
#[derive(Debug)]
pub struct Proposer<T> {
    segment: &'static Segment,
    me: Slot,
    /// Proposals that are not in the log yet, in order.
    pending: VecDeque<Proposal<T>>,
    /// Proposals in the log that are not known to be applied: the end of each, in order.
    appended: VecDeque<(Sequence, T)>,
    /// The batch that is being appended. It is a field so that its memory is reused.
    batch: Batch,
    /// The ring was full. The proposer tries again when this process is woken.
    waits_for_room: bool,
}

/// Records that must be appended together.
#[derive(Debug)]
struct Proposal<T> {
    batch: Batch,
    /// Input to consume once the records are appended: the session, and the number of bytes.
    input: Option<(SessionId, usize)>,
    then: T,
}

impl<T> Proposer<T> {
    /// A proposer of the process in slot `me`.
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

    /// Proposes records. They must fit in one batch.
    pub fn propose(&mut self, batch: Batch, then: T) {
        self.pending.push_back(Proposal { batch, input: None, then });
    }

    /// Proposes a fact.
    pub fn propose_fact(&mut self, session: SessionId, fact: Fact<'_>, then: T) {
        self.propose(fact_batch(session, fact), then);
    }

    /// Proposes the records of `bytes` bytes of a session's input.
    pub fn propose_input(&mut self, session: SessionId, bytes: usize, batch: Batch, then: T) {
        self.pending.push_back(Proposal { batch, input: Some((session, bytes)), then });
    }

    /// The number of proposals that are not in the log yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether a commit may succeed now.
    pub fn has_work(&self) -> bool {
        let is_full = self.waits_for_room && self.segment.doorbells.is_space_wanted();
        !self.pending.is_empty() && !is_full
    }

    /// Notes that this process was woken: there may be room again.
    pub fn rung(&mut self) {
        self.waits_for_room = false;
    }

    /// Appends as many of the pending proposals as one batch holds, and then calls `consume` for
    /// their input. If the ring is full or the log can't be locked, the proposals stay pending.
    ///
    /// # Panics
    /// If a single proposal is larger than a batch may be: that is a bug.
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

    /// Appends the batch, and returns its end; `None` if that fails now.
    fn append(&mut self) -> Option<Sequence> {
        let Segment { log, clock, doorbells, .. } = self.segment;
        let mut appended = log.append(self.me, &self.batch, clock.now());
        self.waits_for_room = appended == Err(AppendError::Full);
        if self.waits_for_room {
            doorbells.request_space();
            // Tries once more: a process that made room before this request did not know whom to
            // wake. The process that holds the space may be asleep, so it is woken.
            appended = log.append(self.me, &self.batch, clock.now());
            log.wake_behind();
            // If only the lock was held this time, there may be room by now, and nobody rings.
            self.waits_for_room = appended == Err(AppendError::Full);
        }
        match appended {
            Ok(range) => {
                log.wake_far_behind();
                Some(range.end)
            }
            Err(AppendError::TooLarge) => panic!("a proposal has {} blocks", self.batch.blocks()),
            Err(AppendError::Busy | AppendError::Full) => None,
        }
    }

    /// Notes that another thread has appended records, up to `end`.
    pub fn note_appended(&mut self, end: Sequence, then: T) {
        self.appended.push_back((end, then));
    }

    /// Takes the oldest appended proposal, for another thread that applies it: its end, and what to
    /// do then.
    pub fn take_appended(&mut self) -> Option<(Sequence, T)> {
        self.appended.pop_front()
    }

    /// Takes what to do for the oldest proposal whose records are all before `position`, up to
    /// which the log is applied.
    pub fn take_applied(&mut self, position: Sequence) -> Option<T> {
        if self.appended.front()?.0 > position {
            return None;
        }
        self.take_appended().map(|(_, then)| then)
    }

    /// Whether some records of this process are in the log and not known to be applied.
    pub fn awaits_records(&self) -> bool {
        !self.appended.is_empty()
    }

    /// What to do for the proposals that are not applied yet.
    pub fn unapplied(&self) -> impl Iterator<Item = &T> {
        let pending = self.pending.iter().map(|proposal| &proposal.then);
        self.appended.iter().map(|(_, then)| then).chain(pending)
    }
}

/// Adds a record that is not about a line of a session's input.
pub fn push_fact(batch: &mut Batch, session: SessionId, fact: Fact<'_>) {
    batch.push(|payload| Record { session, input_end: 0, fact }.encode(payload));
}

/// A batch with one such record.
pub fn fact_batch(session: SessionId, fact: Fact<'_>) -> Batch {
    let mut batch = Batch::default();
    push_fact(&mut batch, session, fact);
    batch
}
