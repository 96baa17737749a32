//! What the journal appends to the log.

use super::Journal;
use crate::chat::{Answer, Fact, HistoryPart, Part, Query};
use crate::journal::backlog::{Lookup, Prepared};
use crate::proposer::push_fact;
use crate::segment::Batch;
use forkchat_common::ids::{Micros, RecordId, Sequence, SessionId};
use std::time::{Duration, Instant};

/// A question that the storing thread doesn't answer for so long can't be answered.
const ANSWER: Duration = Duration::from_secs(2);
/// The wall clock was set if it is so far from where it was: the kernel's small corrections are
/// none.
pub(super) const CLOCK_STEP_MICROS: u64 = Micros::SECOND;

/// What the journal has proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    /// Topics of earlier runs; so many are then left.
    Topics {
        left: usize,
    },
    Configured,
    /// How far the wall clock is ahead of the log's, in µs, and was before.
    Clock {
        ahead: i64,
        before: i64,
    },
    Answer,
}

/// A request for a history, between two parts of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The record at which its last part was sent, or that of the request.
    sent_at: RecordId,
    /// The end of that record, or a later position.
    sent_before: Sequence,
    /// When the storing thread was asked for the next part.
    asked_at: Option<Instant>,
}

impl Journal {
    pub(super) fn restore_topics(&mut self) {
        self.topics = self.topics.take().or_else(|| self.backlog.take_topics());
        let Some(topics) = &mut self.topics else { return };
        if self.replica.chat.is_restored() {
            self.topics = None;
            return;
        }
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Topics { .. });
        if self.proposer.unapplied().any(is_proposed) {
            return;
        }
        let (mut batch, mut count) = (Batch::default(), 0);
        // Those set last come first; a room is kept the longer the later it was left, so they go
        // last. Each takes less than a tenth of a batch.
        while let Some(topic) = topics.len().checked_sub(count + 1).map(|last| &topics[last])
            && batch.blocks() < self.segment.geometry.batch_blocks_max() / 2
        {
            push_fact(
                &mut batch,
                SessionId::NONE,
                Fact::Topic { room: &topic.room, topic: &topic.text },
            );
            count += 1;
        }
        let left = topics.len() - count;
        if left == 0 {
            push_fact(&mut batch, SessionId::NONE, Fact::Restored);
        }
        self.proposer.propose(batch, Proposed::Topics { left });
    }

    /// Whether the state has this run's configuration.
    pub(super) fn is_configured(&self) -> bool {
        let chat = &self.replica.chat;
        (chat.rooms_bytes_max(), chat.rate_limit()) == (self.rooms_bytes_max, self.rate_limit)
    }

    /// Records what the state machine reads of the configuration.
    pub(super) fn configure(&mut self) {
        let mut unapplied = self.proposer.unapplied();
        if self.is_configured() || unapplied.any(|proposed| *proposed == Proposed::Configured) {
            return;
        }
        drop(unapplied);
        let (rooms_bytes_max, rate_limit) = (self.rooms_bytes_max, self.rate_limit);
        let fact = Fact::Configured { rooms_bytes_max, rate_limit };
        self.proposer.propose_fact(SessionId::NONE, fact, Proposed::Configured);
    }

    /// Records that the wall clock was set, so that the times which are shown follow it.
    pub(super) fn follow_clock(&mut self) {
        let (ahead, before) = (self.segment.clock.wall_ahead(), self.replica.chat.clock_ahead());
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Clock { .. });
        if ahead.abs_diff(before) > CLOCK_STEP_MICROS && !self.proposer.unapplied().any(is_proposed)
        {
            let proposed = Proposed::Clock { ahead, before };
            self.proposer.propose_fact(SessionId::NONE, Fact::Clock { ahead }, proposed);
        }
    }

    /// Does what follows from its own records that are now applied.
    pub(super) fn settle(&mut self) {
        while let Some(proposed) = self.proposer.take_applied(self.replica.position()) {
            match (proposed, &mut self.topics) {
                (Proposed::Topics { left }, Some(topics)) => topics.truncate(left),
                (Proposed::Clock { ahead, before }, _) => {
                    let seconds = ahead.abs_diff(before) / Micros::SECOND;
                    let direction = if ahead > before { "ahead" } else { "back" };
                    log::warn!(
                        "the clock was set {direction} by {seconds} s; the times of new lines \
                         follow it"
                    );
                }
                (Proposed::Topics { .. } | Proposed::Configured | Proposed::Answer, _) => {}
            }
        }
    }

    /// Asks the storing thread for what the state says is to be answered, and appends what it has
    /// answered.
    pub(super) fn answer_requests(&mut self) {
        let mut before = std::mem::take(&mut self.pending);
        for (name, request) in self.replica.chat.requests() {
            let Query::History(history) = &request.query;
            let (sent_at, sent_before) = (history.sent_at, self.replica.position());
            let begun = Pending { sent_at, sent_before, asked_at: None };
            let same_part = before.remove(&name).filter(|pending| pending.sent_at == sent_at);
            let pending = self.pending.entry(name).or_insert(same_part.unwrap_or(begun));
            // The next part when what was sent before is out: so an answer is no more than its
            // reader reads, however long.
            let checkpoint =
                self.segment.checkpoints.effective(request.session, &self.segment.cursors);
            let checkpoint = checkpoint.filter(|checkpoint| !checkpoint.is_lagging);
            let is_ready = checkpoint.is_some_and(|it| it.sequence >= pending.sent_before);
            let after = history.after;
            match pending.asked_at {
                // The storing thread hangs, with the disk perhaps: the client waits, and all that it
                // sent after the request.
                Some(asked_at) if asked_at.elapsed() > ANSWER => {
                    pending.asked_at = Some(Instant::now());
                    self.backlog.prepare(Prepared::unreadable(name, after));
                }
                None if is_ready => {
                    pending.asked_at = Some(Instant::now());
                    let room_key = history.room.key().to_owned();
                    let more = history.more;
                    self.backlog.ask(Lookup { request: name, room_key, more, after });
                }
                _ => {}
            }
        }
        for Prepared { request: name, after, lines, end } in self.backlog.take_prepared() {
            if let Some(request) = self.replica.chat.request(name) {
                let part = Part::History(HistoryPart { after, lines: &lines, end });
                let answer = Fact::Answer(Answer { request: name, part });
                self.proposer.propose_fact(request.session, answer, Proposed::Answer);
            }
        }
    }
}
