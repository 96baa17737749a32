//! Primitives between processes: a small library that stands by itself. Its shared memory is mapped before a fork ([`crate::sys::memory`]).
//!
//! | module | primitive | costs, when nobody waits | what a holder that is killed leaves behind, and who mends it |
//! |---|---|---|---|
//! | [`process`] | starting a process, waiting for its end | 0.15 ms for a small parent | a child dies with its parent |
//! | [`mutex`] | robust mutex with a known owner | 25 ns | the lock: the next to lock it gets it, and is told |
//! | [`semaphore`] | counting semaphore | 30 ns with 16 holders, 80 ns with 512 | its units: whoever reaps it gives them back with [`semaphore::Semaphore::release_all_of`] |
//! | [`event`] | a flag to wait for | 1.5 ns to look, 2.5 ns to set | the flag as it was or is to be; who waits finds it within 100 ms |
//! | [`start_gate`] | processes report that they are ready, and wait until all are | a store for a report | its report, in which its successor follows it |
//! | [`event_count`] | waiting for any change | 2 ns | a change that isn't told: who waits looks every 100 ms |
//! | [`value`] | a number, an array, several words written as one | 1 to 2 ns | the old value, whole, or the new: the switch is one store |
//! | [`joinable_queue`] | tasks, and when all are done | 0.2 µs for a task, put, taken and done | its tasks: whoever reaps it takes them over with [`joinable_queue::JoinableQueue::take_over`] |
//! | [`pool`] | a pool of processes that do jobs | 8 µs for a job of many, 18 µs for one alone | an error in place of its job's result, by the pool, which replaces it |
//! | [`doorbell`] | waking a process that sleeps in epoll | 2 ns | a ring not rung: the supervisor rings all at each reaping |
//! | [`queue`] | messages with descriptors between two processes | 2.6 µs for a message, sent and received | what it sent is still read; what was sent to it is gone with it |
//!
//! Measured on the machine of the README's other figures, in a release build, the best of five. With somebody who waits each costs a system call more on either
//! side, and a wake-up, 30 µs. None waits for the dead: every wait has a limit that the caller sets, and looks again all the while
//! ([`event_count::LOOK_AGAIN`]), should whoever was to wake it have died.

pub mod doorbell;
pub mod event;
pub mod event_count;
pub mod joinable_queue;
pub mod mutex;
pub mod pool;
pub mod process;
pub mod queue;
pub mod semaphore;
pub mod start_gate;
pub mod value;
