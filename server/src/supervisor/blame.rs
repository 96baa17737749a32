//! Who is to blame when processes die by their own doing: what their threads were at. At the second death at one place it is quarantined.

use crate::event_log::{EventLog, Place, Thread, Treatment};
use forkchat_common::ids::Slot;
use std::collections::VecDeque;

/// Places that are remembered: each was one death.
const PLACES_MAX: usize = 64;

/// The places at which somebody died by its own doing, once each.
#[derive(Debug, Default)]
pub(super) struct Blame {
    places: VecDeque<Place>,
}

impl Blame {
    /// The process in a slot died by its own doing.
    pub fn count_death(&mut self, log: &EventLog, slot: Slot) {
        // Which of its threads it was is not known from outside. An innocent one is hardly twice at the same place.
        for place in [Thread::Send, Thread::Receive].into_iter().filter_map(|thread| log.place(slot, thread)) {
            if let Some(first) = self.places.iter().position(|other| other.is_same(place)) {
                self.places.remove(first);
                tell(log.quarantine(place));
            } else {
                self.places.push_back(place);
                let too_many = self.places.len().saturating_sub(PLACES_MAX);
                self.places.drain(..too_many);
            }
        }
    }
}

fn tell(quarantined: Place) {
    match quarantined {
        Place::Input { session, offset } => {
            log::error!("input of session {session}, from byte {offset} on, was the death of two processes: the session is ended");
        }
        Place::Record { sequence, session, treatment: Treatment::ApplySilently } => {
            log::error!(
                "record {sequence} of session {session} was the death of two processes: nobody is told of it any more, the session is ended"
            );
        }
        Place::Record { sequence, session, .. } => {
            log::error!("record {sequence} of session {session} is still the death of processes: it is passed over");
        }
    }
}
