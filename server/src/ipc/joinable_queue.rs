//! A queue of tasks between any number of processes. It knows for each task whether a consumer
//! works on it, and when all tasks are done.
//!
//! ```text
//!   put ──► waiting ──► take ──► taken by consumer 3 ──► done ──► free
//!              ▲                          │
//!              └──── dropped undone, or taken over after its consumer's death
//! ```
//!
//! Each arrow is one store, so a death leaves a task in the state before or after the arrow. In an
//! ordinary queue a killed consumer's task is lost, and a process that waits for all tasks waits
//! for ever. Here the process that reaps the dead consumer takes over its tasks
//! ([`JoinableQueue::take_over`]). Consumers take tasks in the order in which they were put; a task
//! that comes back is taken next.
//!
//! Costs: for each put and take, an uncontended lock (about 25 ns), a load for each slot, and a
//! copy of the task's bytes (0.2 µs together for a small task and 64 slots). Sleeping is a system
//! call, and so is waking. A slot takes a little more than [`TASK_BYTES_MAX`] bytes of memory once
//! it has been used.

use super::event_count::EventCount;
use super::mutex::{Guard, LOCK_TIMEOUT, LockError, Mutex, or_later};
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

/// The longest task, in bytes, encoded with postcard. Putting a longer one is a programming error
/// and fails.
pub const TASK_BYTES_MAX: usize = 1_024;

/// The states of a slot. A value above [`TAKEN`] means: taken by the consumer whose number is the
/// difference.
const FREE: u32 = 0;
const WAITING: u32 = 1;
const TAKEN: u32 = 2;

/// A queue of tasks of type `T`. A copy refers to the same queue.
#[derive(Debug)]
pub struct JoinableQueue<T> {
    state: &'static State,
    slots: Array<TaskSlot>,
    tasks: PhantomData<fn(T) -> T>,
}

#[derive(FromBytes, Debug)]
#[repr(C)]
struct State {
    lock: Mutex,
    /// Advanced when a task is put or comes back.
    arrivals: EventCount,
    /// Advanced when a task is done and its slot is free.
    departures: EventCount,
    /// How many tasks were put. Defines their order.
    puts: AtomicU64,
    /// Not 0 once the queue is closed.
    closed: AtomicU64,
}

#[derive(FromBytes, Debug)]
#[repr(C)]
struct TaskSlot {
    state: AtomicU32,
    length: AtomicU32,
    order: AtomicU64,
    bytes: [AtomicU8; TASK_BYTES_MAX],
}

/// The exclusive right to do a task, as long as this value exists. If it is dropped without
/// [`Claim::done`], the task waits again, before all others.
#[derive(Debug)]
pub struct Claim {
    state: &'static State,
    slot: &'static TaskSlot,
    is_done: bool,
}

/// What [`JoinableQueue::take`] found.
#[derive(Debug)]
pub enum Taken<T> {
    /// A task, and the right to do it.
    Task(T, Claim),
    /// No task was available in time.
    Nothing,
    /// The queue is closed, and all its tasks are done.
    Closed,
}

/// Why a task was not put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// All slots are in use, and none became free in time.
    Full,
    /// The queue is closed.
    Closed,
    /// The task is longer than [`TASK_BYTES_MAX`].
    TooLong,
    /// The lock can't be acquired: a programming error.
    Lock(LockError),
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Maps a queue with `slots` slots that is shared with the processes forked afterwards.
    /// `/proc/PID/maps` shows it as `name`.
    pub fn map(name: &str, slots: usize) -> io::Result<JoinableQueue<T>> {
        let state: &'static State = map_shared(name)?;
        state.lock.init()?;
        Ok(JoinableQueue { state, slots: Array::map(name, slots)?, tasks: PhantomData })
    }

    /// Puts a task after the others, waiting at most `timeout` for a free slot.
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
        let Some(slot) = self.slots.iter().find(|slot| slot.state.load(Ordering::Acquire) == FREE)
        else {
            return Ok(None);
        };
        bytes.iter().zip(&slot.bytes).for_each(|(byte, cell)| cell.store(*byte, Ordering::Relaxed));
        slot.length.store(bytes.len() as u32, Ordering::Relaxed);
        slot.order.store(self.state.puts.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // This one store puts the task: a process that dies before it has put nothing.
        slot.state.store(WAITING, Ordering::Release);
        self.state.arrivals.advance();
        Ok(Some(()))
    }

    /// Takes the first waiting task for `consumer`, waiting at most `timeout` for one. The caller
    /// chooses the consumers' numbers.
    pub fn take(&self, consumer: u16, timeout: Duration) -> Result<Taken<T>, LockError> {
        let attempt = || {
            let Some(_guard) = or_later(self.lock())? else { return Ok(None) };
            let task = self.take_from(WAITING, consumer);
            // A task that a consumer works on may come back.
            let is_over = || self.is_closed() && self.is_empty();
            Ok(task
                .map(|(task, claim)| Taken::Task(task, claim))
                .or_else(|| is_over().then_some(Taken::Closed)))
        };
        Ok(self.state.arrivals.wait_for(timeout, attempt)?.unwrap_or(Taken::Nothing))
    }

    /// Takes over a task that a dead consumer had taken; `None` if it has no more. `dead` must be
    /// dead: if it marked its task as done later, it would mark another task that is in the slot by
    /// then.
    pub fn take_over(&self, dead: u16, consumer: u16) -> Result<Option<(T, Claim)>, LockError> {
        let _guard = self.lock()?;
        Ok(self.take_from(taken_by(dead), consumer))
    }

    /// Takes the first task whose slot has this state. Called with the lock held.
    fn take_from(&self, state: u32, consumer: u16) -> Option<(T, Claim)> {
        let slots: &'static [TaskSlot] = *self.slots;
        let found = slots.iter().filter(|slot| slot.state.load(Ordering::Acquire) == state);
        let slot = found.min_by_key(|slot| slot.order.load(Ordering::Relaxed))?;
        let length = slot.length.load(Ordering::Relaxed) as usize;
        let bytes: Vec<u8> =
            slot.bytes[..length].iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        let task = postcard::from_bytes(&bytes)
            .expect("a task is read as the type that it was written as");
        // This one store takes the task: a process that dies before it leaves the task where it
        // was.
        slot.state.store(taken_by(consumer), Ordering::Release);
        Some((task, Claim { state: self.state, slot, is_done: false }))
    }

    /// Waits at most `timeout` until every task that was put is done. Returns false if one is not
    /// done.
    pub fn join(&self, timeout: Duration) -> Result<bool, LockError> {
        let attempt = || {
            // The check needs the lock: a consumer may put a new task before it is done with its
            // own, into a slot that was checked already.
            let Some(_guard) = or_later(self.lock())? else { return Ok(None) };
            Ok(self.is_empty().then_some(()))
        };
        Ok(self.state.departures.wait_for(timeout, attempt)?.is_some())
    }

    /// Closes the queue: it accepts no more tasks, and consumers get [`Taken::Closed`] when all
    /// tasks are done.
    pub fn close(&self) {
        self.state.closed.store(1, Ordering::SeqCst);
        self.state.arrivals.advance();
        self.state.departures.advance();
    }

    /// Whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Whether no task waits and no consumer has taken one. Called with the lock held.
    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.state.load(Ordering::Acquire) == FREE)
    }

    /// The timeout applies to each access to the queue, also to one that doesn't wait for a task.
    fn lock(&self) -> Result<Guard, LockError> {
        self.state.lock.lock(0, LOCK_TIMEOUT)
    }
}

impl State {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) != 0
    }
}

impl Claim {
    /// Marks the task as done.
    pub fn done(mut self) {
        self.is_done = true;
        self.slot.state.store(FREE, Ordering::Release);
        self.state.departures.advance();
        if self.state.is_closed() {
            // It may have been the last task: wake the consumers that wait for more.
            self.state.arrivals.advance();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_done {
            self.slot.state.store(WAITING, Ordering::Release);
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

    fn queue(slots: usize) -> JoinableQueue<u32> {
        JoinableQueue::map("test-tasks", slots).unwrap()
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
    fn tasks_are_taken_in_order_and_one_that_comes_back_is_next() {
        let queue = queue(8);
        (1..=5).for_each(|task| queue.put(&task, SOON).unwrap());
        let (_, first) = take(queue, 0);
        assert_eq!(take_and_do(queue), 2);
        // A dead consumer does not even drop its claim.
        std::mem::forget(first);
        let (task, taken_over) = queue.take_over(0, 1).unwrap().unwrap();
        assert_eq!(task, 1);
        drop(taken_over);
        assert_eq!([(); 4].map(|()| take_and_do(queue)), [1, 3, 4, 5]);
        assert!(queue.take_over(0, 1).unwrap().is_none() && queue.join(SOON).unwrap());
    }

    #[test]
    fn a_full_queue_and_a_closed_queue_accept_no_tasks_and_join_waits_for_all() {
        let queue = queue(2);
        queue.put(&1, SOON).unwrap();
        queue.put(&2, SOON).unwrap();
        assert_eq!(queue.put(&3, SOON), Err(PutError::Full));
        let producer = std::thread::spawn(move || queue.put(&3, LONG));
        let (_, one) = take(queue, 0);
        assert!(!producer.is_finished(), "a slot is free when its task is done");
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
    fn putting_a_task_that_is_too_long_fails() {
        let queue: JoinableQueue<Vec<u8>> = JoinableQueue::map("test-tasks", 1).unwrap();
        assert_eq!(queue.put(&vec![0; TASK_BYTES_MAX], SOON), Err(PutError::TooLong));
        queue.put(&vec![7; TASK_BYTES_MAX - 2], SOON).unwrap();
        let Ok(Taken::Task(task, _)) = queue.take(0, SOON) else { panic!("the task") };
        assert_eq!(task, vec![7; TASK_BYTES_MAX - 2]);
    }
}
