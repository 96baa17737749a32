//! What the journal appends to the log: its configuration, changes of the wall clock, topics of
//! earlier runs, and answers to requests for a history.

use super::Journal;
use crate::chat::{Answer, Fact, HistoryPart, Part, Query};
use crate::journal::backlog::{Lookup, Prepared};
use crate::proposer::push_fact;
use crate::segment::Batch;
use forkchat_common::ids::{Micros, RecordId, Sequence, SessionId};
use std::time::{Duration, Instant};

/// If the storing thread doesn't answer a request for this long, the journal answers that the
/// history is unreadable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The wall clock counts as set if it deviates by more than this: the kernel's small corrections
/// must not count.
pub(super) const CLOCK_STEP_MICROS: u64 = Micros::SECOND;

/// A record that the journal has proposed, and what to do when it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    /// Topics of earlier runs. Once these are applied, `left` more have to be appended.
    Topics {
        left: usize,
    },
    Configured,
    /// How far the wall clock is ahead of the log's clock now, and was before, in µs.
    Clock {
        ahead: i64,
        before: i64,
    },
    Answer,
}

/// The state of a request for a history, between two parts of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The record with the last part of the answer, or the request's own record before the first
    /// part.
    sent_at: RecordId,
    /// The worker must have written everything before this position: it is after that record.
    flush_needed_to: Sequence,
    /// When the journal asked the storing thread for the next part.
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
        // The topics are sorted by the time at which they were set, latest first. They are appended
        // from the end of the list, so that the latest come last: a room without members is kept
        // the longer, the later it was left. Each topic takes less than a tenth of a batch.
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

    /// Whether the chat state has this run's configuration.
    pub(super) fn is_configured(&self) -> bool {
        let chat = &self.replica.chat;
        (chat.rooms_bytes_max(), chat.rate_limit()) == (self.rooms_bytes_max, self.rate_limit)
    }

    /// Records the part of the configuration that the chat state needs.
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

    /// Records that the wall clock was set, so that the times that clients see follow it.
    pub(super) fn follow_clock(&mut self) {
        let (ahead, before) = (self.segment.clock.wall_ahead(), self.replica.chat.clock_ahead());
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Clock { .. });
        if ahead.abs_diff(before) > CLOCK_STEP_MICROS && !self.proposer.unapplied().any(is_proposed)
        {
            let proposed = Proposed::Clock { ahead, before };
            self.proposer.propose_fact(SessionId::NONE, Fact::Clock { ahead }, proposed);
        }
    }

    /// Handles the journal's own records that are now applied.
    pub(super) fn handle_applied(&mut self) {
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

    /// Asks the storing thread for the requests that the chat state contains, and appends its
    /// answers.
    pub(super) fn answer_requests(&mut self) {
        let mut before = std::mem::take(&mut self.pending);
        for (name, request) in self.replica.chat.requests() {
            let Query::History(history) = &request.query;
            let (sent_at, flush_needed_to) = (history.sent_at, self.replica.position());
            let begun = Pending { sent_at, flush_needed_to, asked_at: None };
            let same_part = before.remove(&name).filter(|pending| pending.sent_at == sent_at);
            let pending = self.pending.entry(name).or_insert(same_part.unwrap_or(begun));
            // Ask for the next part only when the previous one has been written to the client: then
            // an answer, however long, is sent no faster than the client reads.
            let checkpoint =
                self.segment.checkpoints.effective(request.session, &self.segment.cursors);
            let checkpoint = checkpoint.filter(|checkpoint| !checkpoint.is_lagging);
            let is_ready = checkpoint.is_some_and(|it| it.sequence >= pending.flush_needed_to);
            // Other sessions' lines may lie between the part and that position. Nobody wakes the
            // worker for them.
            if let Some(slot) = self.replica.chat.session(request.session).map(|it| it.slot)
                && self.segment.cursors.get(slot) < Some(pending.flush_needed_to)
            {
                self.segment.doorbells.get(slot).ring();
            }
            let after = history.after;
            match pending.asked_at {
                // The storing thread hangs, perhaps with the disk. Without an answer the client
                // would wait, and so would everything that it sent after the request.
                Some(asked_at) if asked_at.elapsed() > ANSWER_TIMEOUT => {
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
