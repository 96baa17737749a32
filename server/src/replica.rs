//! A process's copy of the chat, kept up with the log: how a worker and the journal begin, and how they go on.

use crate::chat::{BadSnapshot, Chat, Forms, Output, RateLimit, Record};
use crate::event_log::{Entry, EventLog, Reader};
use crate::ipc::mutex::LockError;
use forkchat_common::ids::{Sequence, Slot};
use forkchat_common::wire::line::Stamp;
use std::fmt;

/// The state, and the place in the log up to which it has come.
#[derive(Debug)]
pub struct Replica {
    /// The state.
    pub chat: Chat,
    reader: Reader,
    forms: Forms,
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
            JoinError::Lock(error) => write!(f, "cannot lock the event log: {error:?}"),
        }
    }
}

impl Replica {
    /// Begins a life in a slot: the state as the published snapshot has it, and the log from there on.
    pub fn join(log: &'static EventLog, slot: Slot, rate_limit: RateLimit) -> Result<Replica, JoinError> {
        let (start, snapshot) = log.join(slot).map_err(JoinError::Lock)?;
        let chat = match snapshot {
            None => Chat::new(rate_limit),
            Some(bytes) => Chat::restore(rate_limit, &bytes).map_err(JoinError::Snapshot)?,
        };
        Ok(Replica { chat, reader: Reader::new(log, start), forms: Forms::default() })
    }

    /// Everything before this is applied.
    pub fn position(&self) -> Sequence {
        self.reader.position()
    }

    /// Whether there is more to apply.
    pub fn is_behind(&self) -> bool {
        self.reader.is_behind()
    }

    /// Applies the records that come next, about `blocks_max` blocks of them, and calls `after` behind each. Returns how many they were.
    pub fn apply<O: Output>(&mut self, blocks_max: u64, out: &mut O, mut after: impl FnMut(&mut O)) -> u64 {
        let mut count = 0;
        for Entry { sequence, time, payload, .. } in self.reader.fetch(blocks_max) {
            match Record::decode(payload) {
                Some(record) => self.chat.apply(Stamp { id: sequence, time }, &record, &mut self.forms, out),
                None => log::error!("the record at {sequence} is none; it is passed over"),
            }
            after(out);
            count += 1;
        }
        count
    }
}
