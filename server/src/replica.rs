//! A process's copy of the chat state, which follows the log. A worker and the journal begin with
//! it, and keep it up to date.

use crate::chat::{BadSnapshot, Chat, Deliveries, Effect, Record, RenderCache};
use crate::faults::{Step, inject_fault};
use crate::ipc::mutex::LockError;
use crate::segment::{Entry, Reader, Segment, Thread, Treatment, WorkItem};
use forkchat_common::event::Stamp;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::fmt;

/// The chat state, and the log position up to which it is applied.
#[derive(Debug)]
pub struct Replica {
    /// The chat state.
    pub chat: Chat,
    segment: &'static Segment,
    slot: Slot,
    reader: Reader,
    cache: RenderCache,
    effects: Vec<Effect>,
}

/// Why a process can't make its replica.
#[derive(Debug)]
pub enum JoinError {
    /// The snapshot can't be read.
    Snapshot(BadSnapshot),
    /// The log can't be locked.
    Lock(LockError),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Snapshot(error) => error.fmt(f),
            JoinError::Lock(error) => write!(f, "cannot lock the event log: {error}"),
        }
    }
}

/// The deliveries of a muted record: its output is reported as muted and not delivered.
struct Muted<'a, O>(&'a mut O);

impl<O: Deliveries> Deliveries for Muted<'_, O> {
    fn begin(&mut self, author: Option<Slot>) {
        self.0.begin(author);
    }
    fn opened(&mut self, session: SessionId, slot: Slot) {
        self.0.opened(session, slot);
    }
    fn wants(&mut self, session: SessionId, slot: Slot) -> bool {
        self.0.muted(session, slot);
        false
    }
    fn deliver(&mut self, _: SessionId, _: &[u8]) {}
    fn stores_history(&self) -> bool {
        self.0.stores_history()
    }
}

impl Replica {
    /// Makes the replica of a new process in a slot: the state of the published snapshot, and the
    /// log from there on, which is still to be applied.
    pub fn join(segment: &'static Segment, slot: Slot) -> Result<Replica, JoinError> {
        let (start, snapshot) = segment.join(slot).map_err(JoinError::Lock)?;
        let chat = match snapshot {
            None => Chat::default(),
            Some(bytes) => Chat::restore(&bytes).map_err(JoinError::Snapshot)?,
        };
        Ok(Replica {
            chat,
            segment,
            slot,
            reader: Reader::new(&segment.log, start),
            cache: RenderCache::default(),
            effects: Vec::new(),
        })
    }

    /// The sequence before which everything is applied.
    pub fn position(&self) -> Sequence {
        self.reader.position()
    }

    /// Whether there is more to apply.
    pub fn is_behind(&self) -> bool {
        self.reader.is_behind()
    }

    /// Applies the next records, about `blocks_max` blocks of them, and calls `carry_out` with the
    /// effects of each. Returns the number of records.
    pub fn apply<O: Deliveries>(
        &mut self,
        blocks_max: u64,
        deliveries: &mut O,
        mut carry_out: impl FnMut(&mut O, std::vec::Drain<'_, Effect>),
    ) -> u64 {
        let mut count = 0;
        for Entry { position: sequence, id, time, payload, .. } in self.reader.fetch(blocks_max) {
            let treatment = self.segment.quarantine.treatment(sequence);
            let at = |session| WorkItem::Record { sequence, session, treatment };
            self.segment.quarantine.enter(self.slot, Thread::Send, at(SessionId::NONE));
            // A skipped record is not even decoded.
            match (treatment != Treatment::Skip).then(|| Record::decode(payload)) {
                None => {}
                Some(None) => log::error!("the record at {sequence} can't be read; it is skipped"),
                Some(Some(record)) => {
                    self.segment.quarantine.enter(self.slot, Thread::Send, at(record.session));
                    inject_fault(Step::Applying, payload);
                    let stamp = Stamp { id, time };
                    deliveries.record(sequence);
                    let (cache, effects) = (&mut self.cache, &mut self.effects);
                    match treatment {
                        Treatment::Mute => {
                            let muted = &mut Muted(&mut *deliveries);
                            self.chat.apply(stamp, &record, cache, muted, effects);
                        }
                        _ => self.chat.apply(stamp, &record, cache, deliveries, effects),
                    }
                }
            }
            carry_out(deliveries, self.effects.drain(..));
            count += 1;
        }
        self.segment.quarantine.leave(self.slot, Thread::Send);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Fact;
    use crate::chat::Transport;
    use crate::proposer::push_fact;
    use crate::segment::Batch;
    use crate::segment::Geometry;
    use forkchat_common::endpoint::LocalAddress;

    const ME: Slot = Slot::at(0);

    /// How often each of the deliveries' methods was called.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Calls {
        begun: u64,
        delivered: u64,
        muted: u64,
    }

    impl Deliveries for Calls {
        fn begin(&mut self, _: Option<Slot>) {
            self.begun += 1;
        }
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            true
        }
        fn deliver(&mut self, _: SessionId, _: &[u8]) {
            self.delivered += 1;
        }
        fn muted(&mut self, _: SessionId, _: Slot) {
            self.muted += 1;
        }
    }

    /// Applies a session's opening after it has killed this many pairs of processes. Returns the
    /// calls, whether the session exists, and the session that the quarantine's entry had at last.
    fn after_pairs_of_deaths(pairs: usize) -> (Calls, bool, SessionId) {
        let segment = Segment::create(Geometry {
            ring_bytes: 1 << 16,
            slots: 1,
            sessions_max: 1,
            snapshot_bytes_max: 8,
        })
        .unwrap();
        let mut replica = Replica::join(segment, ME).unwrap();
        let (session, mut batch) = (SessionId::new(1, 0), Batch::default());
        let peer = ([127, 0, 0, 1], 1).into();
        // Over UDP the session is sent its welcome at once.
        push_fact(
            &mut batch,
            session,
            Fact::opened(ME, Transport::Udp { local: LocalAddress::default(), key: None }, peer),
        );
        let sequence = segment.log.append(ME, &batch, segment.clock.now()).unwrap().start;
        let mut item = WorkItem::Record { sequence, session, treatment: Treatment::Apply };
        (0..pairs).for_each(|_| item = segment.quarantine.add(item));
        let (mut calls, mut session_in_quarantine) = (Calls::default(), SessionId::NONE);
        let count = replica.apply(u64::MAX, &mut calls, |_, _| {
            session_in_quarantine =
                segment.quarantine.work_item(ME, Thread::Send).map(WorkItem::session).unwrap()
        });
        assert_eq!(
            (count, replica.position()),
            (1, segment.log.tail()),
            "the replica continues after it in any case"
        );
        (calls, replica.chat.session(session).is_some(), session_in_quarantine)
    }

    #[test]
    fn a_quarantined_record_is_applied_and_its_output_is_muted() {
        let me = SessionId::new(1, 0);
        assert_eq!(
            after_pairs_of_deaths(0),
            (Calls { begun: 1, delivered: 1, muted: 0 }, true, me)
        );
        assert_eq!(
            after_pairs_of_deaths(1),
            (Calls { begun: 1, delivered: 0, muted: 1 }, true, me)
        );
    }

    #[test]
    fn a_record_that_is_quarantined_twice_is_skipped_without_decoding() {
        for pairs in [2, 3] {
            // The session is unknown, since the record isn't decoded.
            assert_eq!(after_pairs_of_deaths(pairs), (Calls::default(), false, SessionId::NONE));
        }
    }
}
