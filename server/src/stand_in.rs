//! The stand-in is a worker that does the journal's indispensable work while there is no journal.
//!
//! Without snapshots the ring would soon be full, and all processes would wait. A journal may be
//! missing for long: a killed journal can't exit while one of its system calls waits for a disk
//! that hangs, so it can have no successor; or the system can't create a process. After a bounded
//! time the supervisor then appoints a worker. That worker runs a second reader of the log in the
//! journal's slot, which makes snapshots and answers requests, and stores nothing. It delays
//! snapshots for lines that are not stored, as a journal with a hanging disk does. So the next
//! journal finds those lines in the ring. Lines that lie more than half a ring back are dropped and
//! counted, and the history has a gap there.
//!
//! **Only one process at a time writes snapshots.** A second writer could choose the same buffer,
//! or publish an older snapshot after a later one, whose records are gone. One word in shared
//! memory says which process may write:
//!
//! ```text
//!            appoint(slot)              dismiss()                next turn of the worker
//!  vacant ────────────────► appointed ────────────► dismissed ─────────────────────────► vacant
//!    ▲                          │ the worker is reaped, or killed for good  │               │
//!    └──────────────────────────┴───────────────────────────────────────────┘       a new journal begins
//! ```
//!
//! The supervisor appoints a worker only when no journal runs, or when the killed journal can never
//! execute another instruction. A new journal begins its work only when the post is vacant; it
//! waits for that after its fork.

use crate::segment::Segment;
use forkchat_common::ids::Slot;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a journal checks whether the post is vacant.
const VACANT_CHECK: Duration = Duration::from_millis(1);
/// If a stand-in can't begin its work, it tries again after this.
const RETRY: Duration = Duration::from_secs(1);

const VACANT: u64 = 0;
const APPOINTED: u64 = 1;
const DISMISSED: u64 = 2;
const SLOT_SHIFT: u32 = 2;

/// The work of a stand-in.
pub trait Duty: fmt::Debug {
    /// Does the work that is due now, in a few milliseconds at most.
    fn turn(&mut self);
    /// How long the worker may wait until the next turn, at most.
    fn patience(&self) -> Duration;
}

/// Begins the work, in the appointed worker.
pub type Begin = dyn Fn() -> Result<Box<dyn Duty>, String> + Send + Sync;

/// The post of the stand-in. Every process has a copy.
#[derive(Clone)]
pub struct Post {
    /// The holder's slot and state: vacant, appointed or dismissed.
    word: &'static AtomicU64,
    begin: Arc<Begin>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("word", self.word).finish_non_exhaustive()
    }
}

impl Post {
    /// A post with this word in shared memory. A word of 0 means that it is vacant.
    pub fn new(word: &'static AtomicU64, begin: Arc<Begin>) -> Post {
        Post { word, begin }
    }

    /// The slot of the stand-in, dismissed or not.
    pub fn holder(&self) -> Option<Slot> {
        let word = self.word.load(Ordering::Acquire);
        (word != VACANT).then_some(Slot::at((word >> SLOT_SHIFT) as u16))
    }

    /// Appoints the worker in a slot, if the post is vacant. Only the supervisor calls this, and
    /// then wakes the worker.
    pub fn appoint(&self, slot: Slot) {
        let _ = self.word.compare_exchange(
            VACANT,
            word(slot, APPOINTED),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// Dismisses the holder. The post is vacant after that worker's next turn.
    pub fn dismiss(&self) {
        if let Some(slot) = self.holder() {
            let _ = self.word.compare_exchange(
                word(slot, APPOINTED),
                word(slot, DISMISSED),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }

    /// Notes that the process in a slot has exited, or will never execute another instruction. If
    /// it was the holder, the post becomes vacant, and the log no longer waits for the journal's
    /// cursor. Returns whether it was.
    pub fn leave(&self, slot: Slot, segment: &Segment, journal: Slot) -> bool {
        let was_holder = self.holder() == Some(slot);
        if was_holder {
            segment.cursors.abandon(journal);
            self.word.store(VACANT, Ordering::Release);
        }
        was_holder
    }

    /// Blocks until the post is vacant. A journal calls this before it begins; the supervisor
    /// dismisses the holder.
    pub fn wait_vacant(&self) {
        while self.holder().is_some() {
            std::thread::sleep(VACANT_CHECK);
        }
    }
}

fn word(slot: Slot, state: u64) -> u64 {
    (slot.index() as u64) << SLOT_SHIFT | state
}

/// A worker's part in the protocol.
#[derive(Debug)]
pub struct StandIn {
    me: Slot,
    post: Option<Post>,
    duty: Option<Box<dyn Duty>>,
    begin_at: Option<Instant>,
}

impl StandIn {
    /// Makes the part of the worker in slot `me`. Without a post it is never appointed.
    pub fn new(me: Slot, post: Option<Post>) -> StandIn {
        StandIn { me, post, duty: None, begin_at: None }
    }

    /// Does a turn of the work if this worker is appointed. Called in each turn of the worker.
    pub fn turn(&mut self) {
        let Some(post) = &self.post else { return };
        let word_now = post.word.load(Ordering::Acquire);
        if word_now == word(self.me, APPOINTED) {
            self.do_duty();
        } else if word_now == word(self.me, DISMISSED) {
            (self.duty, self.begin_at) = (None, None);
            post.word.store(VACANT, Ordering::Release);
        }
    }

    fn do_duty(&mut self) {
        if let (None, Some(post)) = (&self.duty, &self.post)
            && self.begin_at.is_none_or(|at| Instant::now() >= at)
        {
            match (post.begin)() {
                Ok(duty) => (self.duty, self.begin_at) = (Some(duty), None),
                Err(error) => {
                    log::error!("cannot stand in for the journal: {error}; trying again");
                    self.begin_at = Some(Instant::now() + RETRY);
                }
            }
        }
        if let Some(duty) = &mut self.duty {
            duty.turn();
        }
    }

    /// How long the worker may wait until the next call of [`StandIn::turn`], at most.
    pub fn patience(&self) -> Duration {
        match (&self.duty, self.begin_at) {
            (Some(duty), _) => duty.patience(),
            (None, Some(at)) => at.saturating_duration_since(Instant::now()),
            (None, None) => Duration::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Geometry;

    #[derive(Debug)]
    struct Counts(Arc<AtomicU64>);

    impl Duty for Counts {
        fn turn(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn patience(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_duty_that_cannot_begin_is_retried_without_a_wake_up() {
        let post = Post::new(Box::leak(Box::default()), Arc::new(|| Err("no memory".to_owned())));
        let mut worker = StandIn::new(Slot::at(0), Some(post.clone()));
        assert_eq!(worker.patience(), Duration::MAX);
        post.appoint(Slot::at(0));
        worker.turn();
        assert!(worker.patience() <= RETRY);
        post.dismiss();
        worker.turn();
        assert_eq!((worker.patience(), post.holder()), (Duration::MAX, None));
    }

    #[test]
    fn one_worker_at_a_time_does_the_duty_from_its_appointment_to_its_dismissal() {
        let turns = Arc::new(AtomicU64::new(0));
        let counted = turns.clone();
        let segment = Segment::create(Geometry {
            ring_bytes: 1 << 16,
            slots: 3,
            sessions_max: 1,
            snapshot_bytes_max: 8,
        })
        .unwrap();
        let begin = move || Ok(Box::new(Counts(counted.clone())) as Box<dyn Duty>);
        let post = Post::new(segment.stand_in, Arc::new(begin));
        let mut workers = [0, 1].map(|slot| StandIn::new(Slot::at(slot), Some(post.clone())));
        let mut turn = || {
            workers.iter_mut().for_each(StandIn::turn);
            turns.swap(0, Ordering::Relaxed)
        };
        assert_eq!(turn(), 0);
        post.appoint(Slot::at(1));
        // Without effect, since the post is not vacant.
        post.appoint(Slot::at(0));
        assert_eq!((turn(), post.holder()), (1, Some(Slot::at(1))));
        post.dismiss();
        assert_eq!(post.holder(), Some(Slot::at(1)), "it may be in the middle of a turn");
        post.appoint(Slot::at(0));
        assert_eq!((turn(), post.holder()), (0, None));
        post.appoint(Slot::at(0));
        assert_eq!((turn(), post.holder()), (1, Some(Slot::at(0))));
        segment.join(Slot::at(2)).unwrap();
        assert!(
            !post.leave(Slot::at(1), segment, Slot::at(2))
                && segment.cursors.get(Slot::at(2)).is_some()
        );
        assert!(
            post.leave(Slot::at(0), segment, Slot::at(2))
                && segment.cursors.get(Slot::at(2)).is_none()
        );
        post.wait_vacant();
    }
}
