//! A queue of tasks between any number of processes. It knows for each task whether a consumer
//! works on it, and when all tasks are done.
//!
//! ```text
//!   put ──► waiting ──► take ──► taken by consumer 3 ──► done ──► free
//!              ▲                          │
//!              └──── dropped undone, or taken over after its consumer's death
//! ```
//!
//! Each arrow is one store, so a death leaves a task where it was or where it was going. In a plain
//! queue a killed consumer's task is lost, and a process that waits for all tasks waits for ever.
//! Here the process that reaps the dead consumer takes over its tasks
//! ([`JoinableQueue::take_over`]). Tasks are taken in the order in which they were put; a task that
//! comes back is the next one.
//!
//! Costs: an uncontended lock (about 25 ns), a look at every place, and a copy of the task's bytes
//! for each put and take (0.2 µs together for a small task and 64 places). Sleeping is a system
//! call, and so is waking. A place takes a little more than [`TASK_BYTES_MAX`] of memory once it
//! has been used.

use super::event_count::EventCount;
use super::mutex::{BRIEFLY, Guard, LockError, Mutex, or_later};
use super::value::Array;
use crate::sys::memory::map_shared;
use serde::{Serialize, de::DeserializeOwned};
use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// The longest task, in bytes, as it is written down (postcard). A longer one is a mistake in the
/// program and refused when it is put.
pub const TASK_BYTES_MAX: usize = 1_024;

/// The states of a place. Above them: taken, by the consumer whose number it is above [`TAKEN`].
const FREE: u32 = 0;
const WAITING: u32 = 1;
const TAKEN: u32 = 2;

/// A queue of tasks of type `T`. A copy is the same queue.
#[derive(Debug)]
pub struct JoinableQueue<T> {
    state: &'static State,
    places: Array<Place>,
    tasks: PhantomData<fn(T) -> T>,
}

#[derive(FromBytes, Debug)]
#[repr(C)]
struct State {
    lock: Mutex,
    /// Advanced when a task comes, or comes back.
    arrivals: EventCount,
    /// Advanced when a task is done, and its place free.
    departures: EventCount,
    /// How many tasks were put: their order.
    puts: AtomicU64,
    /// Not 0: no more tasks come.
    closed: AtomicU64,
}

#[derive(FromBytes, Debug)]
#[repr(C)]
struct Place {
    state: AtomicU32,
    length: AtomicU32,
    order: AtomicU64,
    bytes: [AtomicU8; TASK_BYTES_MAX],
}

/// The right to do a task, which nobody else has as long as this exists. Dropped without
/// [`Claim::done`] it lets the task wait again, before all others.
#[derive(Debug)]
pub struct Claim {
    state: &'static State,
    place: &'static Place,
    is_done: bool,
}

/// What [`JoinableQueue::take`] found.
#[derive(Debug)]
pub enum Taken<T> {
    /// A task, and the right to do it.
    Task(T, Claim),
    /// None came in time.
    Nothing,
    /// The queue is closed, and all its tasks are done.
    Closed,
}

/// Why a task wasn't put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// All places are taken, and none came free in time.
    Full,
    /// The queue is closed.
    Closed,
    /// Longer than [`TASK_BYTES_MAX`].
    TooLong,
    /// The lock can't be had: a mistake in the program.
    Lock(LockError),
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Makes one with so many places, to be shared with the processes forked afterwards. `name` is
    /// what `/proc/PID/maps` shows.
    pub fn map(name: &str, places: usize) -> io::Result<JoinableQueue<T>> {
        let state: &'static State = map_shared(name)?;
        state.lock.init()?;
        Ok(JoinableQueue { state, places: Array::map(name, places)?, tasks: PhantomData })
    }

    /// Puts a task behind the others, waiting at most `timeout` for a place.
    pub fn put(&self, task: &T, timeout: Duration) -> Result<(), PutError> {
        let mut buffer = [0; TASK_BYTES_MAX];
        let bytes = postcard::to_slice(task, &mut buffer).map_err(|_| PutError::TooLong)?;
        let put = self.state.departures.wait_for(timeout, || self.try_put(bytes))?;
        put.ok_or(PutError::Full)
    }

    fn try_put(&self, bytes: &[u8]) -> Result<Option<()>, PutError> {
        let Some(_guard) = or_later(self.lock()).map_err(PutError::Lock)? else { return Ok(None) };
        if self.is_closed() {
            return Err(PutError::Closed);
        }
        let Some(place) =
            self.places.iter().find(|place| place.state.load(Ordering::Acquire) == FREE)
        else {
            return Ok(None);
        };
        bytes
            .iter()
            .zip(&place.bytes)
            .for_each(|(byte, cell)| cell.store(*byte, Ordering::Relaxed));
        place.length.store(bytes.len() as u32, Ordering::Relaxed);
        place.order.store(self.state.puts.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // The one store that puts it: a death before it put nothing.
        place.state.store(WAITING, Ordering::Release);
        self.state.arrivals.advance();
        Ok(Some(()))
    }

    /// Takes the first task that waits, for `consumer`, waiting at most `timeout` for one. The
    /// consumers' numbers are the caller's choice.
    pub fn take(&self, consumer: u16, timeout: Duration) -> Result<Taken<T>, LockError> {
        let attempt = || {
            let Some(_guard) = or_later(self.lock())? else { return Ok(None) };
            let task = self.take_from(WAITING, consumer);
            // One that is in somebody's hand may come back.
            let is_over = || self.is_closed() && self.is_empty();
            Ok(task
                .map(|(task, claim)| Taken::Task(task, claim))
                .or_else(|| is_over().then_some(Taken::Closed)))
        };
        Ok(self.state.arrivals.wait_for(timeout, attempt)?.unwrap_or(Taken::Nothing))
    }

    /// Takes a task over that a dead consumer had in hand, if there is one (more). `dead` must be
    /// dead: what it would still say of the task it would say of another that is in that place by
    /// then.
    pub fn take_over(&self, dead: u16, consumer: u16) -> Result<Option<(T, Claim)>, LockError> {
        let _guard = self.lock()?;
        Ok(self.take_from(taken_by(dead), consumer))
    }

    /// With the lock.
    fn take_from(&self, state: u32, consumer: u16) -> Option<(T, Claim)> {
        let places: &'static [Place] = *self.places;
        let found = places.iter().filter(|place| place.state.load(Ordering::Acquire) == state);
        let place = found.min_by_key(|place| place.order.load(Ordering::Relaxed))?;
        let length = place.length.load(Ordering::Relaxed) as usize;
        let bytes: Vec<u8> =
            place.bytes[..length].iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        let task = postcard::from_bytes(&bytes)
            .expect("a task is read as the type that it was written as");
        // The one store that takes it: a death before it left it where it was.
        place.state.store(taken_by(consumer), Ordering::Release);
        Some((task, Claim { state: self.state, place, is_done: false }))
    }

    /// Waits until every task that was put is done, at most for `timeout`. False if one isn't.
    pub fn join(&self, timeout: Duration) -> Result<bool, LockError> {
        let attempt = || {
            // With the lock: one who does a task may put the next before it is done with this one,
            // somewhere behind our back.
            let Some(_guard) = or_later(self.lock())? else { return Ok(None) };
            Ok(self.is_empty().then_some(()))
        };
        Ok(self.state.departures.wait_for(timeout, attempt)?.is_some())
    }

    /// No more tasks come: consumers are told when all are done.
    pub fn close(&self) {
        self.state.closed.store(1, Ordering::SeqCst);
        self.state.arrivals.advance();
        self.state.departures.advance();
    }

    /// Whether no more tasks come.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Whether nothing waits and nobody has anything in hand. With the lock.
    fn is_empty(&self) -> bool {
        self.places.iter().all(|place| place.state.load(Ordering::Acquire) == FREE)
    }

    /// Each look at the queue may take so long, also one that is to wait for nothing.
    fn lock(&self) -> Result<Guard, LockError> {
        self.state.lock.lock(0, BRIEFLY)
    }
}

impl State {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) != 0
    }
}

impl Claim {
    /// The task is done.
    pub fn done(mut self) {
        self.is_done = true;
        self.place.state.store(FREE, Ordering::Release);
        self.state.departures.advance();
        if self.state.is_closed() {
            // It may have been the last: who waits for more is told.
            self.state.arrivals.advance();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_done {
            self.place.state.store(WAITING, Ordering::Release);
            self.state.arrivals.advance();
        }
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        *self
    }
}

impl<T> Copy for JoinableQueue<T> {}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full => f.write_str("all places of the queue are taken"),
            PutError::Closed => f.write_str("the queue is closed"),
            PutError::TooLong => write!(f, "the task is longer than {TASK_BYTES_MAX} bytes"),
            PutError::Lock(error) => error.fmt(f),
        }
    }
}

impl Error for PutError {}

fn taken_by(consumer: u16) -> u32 {
    TAKEN + u32::from(consumer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn queue(places: usize) -> JoinableQueue<u32> {
        JoinableQueue::map("test-tasks", places).unwrap()
    }

    fn take(queue: JoinableQueue<u32>, consumer: u16) -> (u32, Claim) {
        match queue.take(consumer, LONG).unwrap() {
            Taken::Task(task, claim) => (task, claim),
            other => panic!("a task, not {other:?}"),
        }
    }

    fn take_and_do(queue: JoinableQueue<u32>) -> u32 {
        let (task, claim) = take(queue, 1);
        claim.done();
        task
    }

    #[test]
    fn tasks_come_in_order_and_one_that_comes_back_is_the_next() {
        let queue = queue(8);
        (1..=5).for_each(|task| queue.put(&task, SOON).unwrap());
        let (_, first) = take(queue, 0);
        assert_eq!(take_and_do(queue), 2);
        // The dead do nothing more, not even let go.
        std::mem::forget(first);
        let (task, taken_over) = queue.take_over(0, 1).unwrap().unwrap();
        assert_eq!(task, 1);
        drop(taken_over);
        assert_eq!([(); 4].map(|()| take_and_do(queue)), [1, 3, 4, 5]);
        assert!(queue.take_over(0, 1).unwrap().is_none() && queue.join(SOON).unwrap());
    }

    #[test]
    fn it_is_full_closed_and_joined_when_it_says_so() {
        let queue = queue(2);
        queue.put(&1, SOON).unwrap();
        queue.put(&2, SOON).unwrap();
        assert_eq!(queue.put(&3, SOON), Err(PutError::Full));
        let producer = std::thread::spawn(move || queue.put(&3, LONG));
        let (_, one) = take(queue, 0);
        assert!(!producer.is_finished(), "a place is free when its task is done");
        one.done();
        producer.join().unwrap().unwrap();
        queue.close();
        assert_eq!(queue.put(&4, SOON), Err(PutError::Closed));
        assert_eq!(take_and_do(queue), 2);
        let (_, last) = take(queue, 0);
        assert!(
            matches!(queue.take(1, SOON), Ok(Taken::Nothing)) && !queue.join(SOON).unwrap(),
            "the last may come back"
        );
        let waiter = std::thread::spawn(move || {
            (queue.join(LONG), matches!(queue.take(1, LONG), Ok(Taken::Closed)))
        });
        last.done();
        assert_eq!(waiter.join().unwrap(), (Ok(true), true));
    }

    #[test]
    fn a_task_that_is_too_long_is_refused() {
        let queue: JoinableQueue<Vec<u8>> = JoinableQueue::map("test-tasks", 1).unwrap();
        assert_eq!(queue.put(&vec![0; TASK_BYTES_MAX], SOON), Err(PutError::TooLong));
        queue.put(&vec![7; TASK_BYTES_MAX - 2], SOON).unwrap();
        let Ok(Taken::Task(task, _)) = queue.take(0, SOON) else { panic!("the task") };
        assert_eq!(task, vec![7; TASK_BYTES_MAX - 2]);
    }
}
