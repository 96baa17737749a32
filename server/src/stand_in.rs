//! The stand-in: a worker that does the journal's indispensable work while there is no journal.
//!
//! Without snapshots the ring would soon be full, and all would wait. A journal may be missing for
//! long: a killed journal can't end while a system call of it waits for a disk that hangs, so it
//! can have no successor; or the system gives no process. After a bounded time the supervisor then
//! appoints a worker. That worker runs a second reader of the log in the journal's slot, which
//! makes snapshots and answers requests, and stores nothing. It holds back the snapshots for lines
//! that are not stored, as a journal with a hanging disk does. So the next journal finds those
//! lines in the ring. What lies more than half a ring back is dropped and counted, and the history
//! has a gap there.
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
//! execute another instruction. A journal begins only when the post is vacant: it waits for that
//! after its fork.

use crate::segment::Segment;
use forkchat_common::ids::Slot;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a journal looks whether the post is vacant.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// What can't begin is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

const VACANT: u64 = 0;
const APPOINTED: u64 = 1;
const DISMISSED: u64 = 2;
const SLOT_SHIFT: u32 = 2;

/// What a stand-in runs.
pub trait Duty: fmt::Debug {
    /// Does what there is to do now, in a few milliseconds at most.
    fn turn(&mut self);
    /// How long until the next turn, at most.
    fn patience(&self) -> Duration;
}

/// Begins the duty: in the worker that was appointed.
pub type Begin = dyn Fn() -> Result<Box<dyn Duty>, String> + Send + Sync;

/// The post, as every process has it.
#[derive(Clone)]
pub struct Post {
    /// The slot of the one who has it, and whether that is dismissed.
    word: &'static AtomicU64,
    begin: Arc<Begin>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("word", self.word).finish_non_exhaustive()
    }
}

impl Post {
    /// The post whose word is this, in shared memory; 0 for a vacant one.
    pub fn new(word: &'static AtomicU64, begin: Arc<Begin>) -> Post {
        Post { word, begin }
    }

    /// The slot of the stand-in, dismissed or not.
    pub fn holder(&self) -> Option<Slot> {
        let word = self.word.load(Ordering::Acquire);
        (word != VACANT).then_some(Slot::at((word >> SLOT_SHIFT) as u16))
    }

    /// Appoints the worker in a slot, if the post is vacant. The supervisor alone does that; it
    /// rings the worker then.
    pub fn appoint(&self, slot: Slot) {
        let _ = self.word.compare_exchange(
            VACANT,
            word(slot, APPOINTED),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// Dismisses whoever is appointed: the post is vacant after that worker's next turn.
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

    /// The process in a slot is gone, or will never execute an instruction again. If it was the
    /// stand-in, the post is vacant and the log doesn't wait for it any more. Whether it was.
    pub fn leave(&self, slot: Slot, segment: &Segment, journal: Slot) -> bool {
        let was_holder = self.holder() == Some(slot);
        if was_holder {
            segment.cursors.abandon(journal);
            self.word.store(VACANT, Ordering::Release);
        }
        was_holder
    }

    /// Waits until the post is vacant. For a journal, before it begins; the supervisor sees to it
    /// that it gets vacant.
    pub fn wait_vacant(&self) {
        while self.holder().is_some() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

fn word(slot: Slot, state: u64) -> u64 {
    (slot.index() as u64) << SLOT_SHIFT | state
}

/// A worker's side.
#[derive(Debug)]
pub struct Reserve {
    me: Slot,
    post: Option<Post>,
    duty: Option<Box<dyn Duty>>,
    begin_at: Option<Instant>,
}

impl Reserve {
    /// For the worker in slot `me`. Without a post it is never appointed.
    pub fn new(me: Slot, post: Option<Post>) -> Reserve {
        Reserve { me, post, duty: None, begin_at: None }
    }

    /// Does a turn of the duty, if this worker is appointed. In each turn of the worker.
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
                    self.begin_at = Some(Instant::now() + AGAIN);
                }
            }
        }
        if let Some(duty) = &mut self.duty {
            duty.turn();
        }
    }

    /// How long the worker may sleep until the duty's next turn, or the next attempt to begin it.
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
    fn a_duty_that_cannot_begin_is_tried_again_though_nothing_wakes_the_worker() {
        let post = Post::new(Box::leak(Box::default()), Arc::new(|| Err("no memory".to_owned())));
        let mut worker = Reserve::new(Slot::at(0), Some(post.clone()));
        assert_eq!(worker.patience(), Duration::MAX);
        post.appoint(Slot::at(0));
        worker.turn();
        assert!(worker.patience() <= AGAIN);
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
        let mut workers = [0, 1].map(|slot| Reserve::new(Slot::at(slot), Some(post.clone())));
        let mut turn = || {
            workers.iter_mut().for_each(Reserve::turn);
            turns.swap(0, Ordering::Relaxed)
        };
        assert_eq!(turn(), 0);
        post.appoint(Slot::at(1));
        // It is not vacant.
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
