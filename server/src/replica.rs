//! A process's copy of the chat state, kept up to date with the log: how a worker and the journal
//! begin, and how they go on.

use crate::chat::{BadSnapshot, Chat, Deliveries, Effect, Record, RenderCache};
use crate::faults::{Step, inject_fault};
use crate::ipc::mutex::LockError;
use crate::segment::{Entry, Place, Reader, Segment, Thread, Treatment};
use forkchat_common::event::Stamp;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::fmt;

/// The state, and the place in the log up to which it has come.
#[derive(Debug)]
pub struct Replica {
    /// The state.
    pub chat: Chat,
    segment: &'static Segment,
    slot: Slot,
    reader: Reader,
    cache: RenderCache,
    effects: Vec<Effect>,
}

/// Why a process can't begin.
#[derive(Debug)]
pub enum JoinError {
    /// The snapshot can't be read.
    Snapshot(BadSnapshot),
    /// The log's lock wasn't to be had.
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

/// Deliveries of a record whose output is muted.
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
    /// Begins a life in a slot: the state as the published snapshot has it, and the log from there
    /// on.
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

    /// Everything before this is applied.
    pub fn position(&self) -> Sequence {
        self.reader.position()
    }

    /// Whether there is more to apply.
    pub fn is_behind(&self) -> bool {
        self.reader.is_behind()
    }

    /// Applies the records that come next, about `blocks_max` blocks of them, and after each calls
    /// `carry_out` with its effects. Returns how many they were.
    pub fn apply<O: Deliveries>(
        &mut self,
        blocks_max: u64,
        deliveries: &mut O,
        mut carry_out: impl FnMut(&mut O, std::vec::Drain<'_, Effect>),
    ) -> u64 {
        let mut count = 0;
        for Entry { position: sequence, id, time, payload, .. } in self.reader.fetch(blocks_max) {
            let treatment = self.segment.quarantine.treatment(sequence);
            let at = |session| Place::Record { sequence, session, treatment };
            self.segment.quarantine.enter(self.slot, Thread::Send, at(SessionId::NONE));
            // What is passed over is not even decoded.
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

    /// What became of each record that might have been told to somebody.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Fate {
        begun: u64,
        told: u64,
        muted: u64,
    }

    impl Deliveries for Fate {
        fn begin(&mut self, _: Option<Slot>) {
            self.begun += 1;
        }
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            true
        }
        fn deliver(&mut self, _: SessionId, _: &[u8]) {
            self.told += 1;
        }
        fn muted(&mut self, _: SessionId, _: Slot) {
            self.muted += 1;
        }
    }

    /// A session's beginning is applied after so many pairs of deaths at it: what became of it,
    /// whether the session is there, and whose record the one who applied it said it was at last.
    fn after_pairs_of_deaths(pairs: usize) -> (Fate, bool, SessionId) {
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
        // Over UDP the welcome comes at once.
        push_fact(
            &mut batch,
            session,
            Fact::opened(ME, Transport::Udp { local: LocalAddress::default(), key: None }, peer),
        );
        let sequence = segment.log.append(ME, &batch, segment.clock.now()).unwrap().start;
        let mut place = Place::Record { sequence, session, treatment: Treatment::Apply };
        (0..pairs).for_each(|_| place = segment.quarantine.add(place));
        let (mut fate, mut whose) = (Fate::default(), SessionId::NONE);
        let count = replica.apply(u64::MAX, &mut fate, |_, _| {
            whose = segment.quarantine.place(ME, Thread::Send).map(Place::session).unwrap()
        });
        assert_eq!(
            (count, replica.position()),
            (1, segment.log.tail()),
            "whatever is done with it, it goes on behind it"
        );
        (fate, replica.chat.session(session).is_some(), whose)
    }

    #[test]
    fn a_quarantined_record_is_applied_and_who_would_have_been_told_is_muted() {
        let me = SessionId::new(1, 0);
        assert_eq!(after_pairs_of_deaths(0), (Fate { begun: 1, told: 1, muted: 0 }, true, me));
        assert_eq!(after_pairs_of_deaths(1), (Fate { begun: 1, told: 0, muted: 1 }, true, me));
    }

    #[test]
    fn a_record_that_is_quarantined_twice_is_passed_over_and_nobody_looks_whose_it_is() {
        for pairs in [2, 3] {
            // Whose it is nobody knows who hasn't decoded it.
            assert_eq!(after_pairs_of_deaths(pairs), (Fate::default(), false, SessionId::NONE));
        }
    }
}
