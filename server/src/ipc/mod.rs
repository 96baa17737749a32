//! Primitives for communication between processes: a small library that can be used on its own. A
//! process maps their shared memory before it forks ([`crate::sys::memory`]).
//!
//! | module | primitive | cost without waiters | what a killed process leaves behind, and what repairs it |
//! |---|---|---|---|
//! | [`process`] | starting a process, waiting for its end | 0.15 ms for a small parent | its children die with it |
//! | [`mutex`] | robust mutex that knows its owner | 25 ns | the lock: the next process that locks it gets it, and learns of the death |
//! | [`semaphore`] | counting semaphore | 30 ns with 16 holders, 80 ns with 512 | its units: the process that reaps it gives them back with [`semaphore::Semaphore::release`] |
//! | [`event`] | a flag to wait for | 1.5 ns to read, 2.5 ns to set | the flag before or after the change; waiters notice it within 100 ms |
//! | [`start_gate`] | processes report that they are ready, and wait until all are | a store for a report | its report; its successor reports again |
//! | [`event_count`] | waiting for any change | 2 ns | a change without a wake-up: waiters check every 100 ms |
//! | [`value`] | a number, an array, several words written as one | 1 to 2 ns | the complete old or new value: one store switches them |
//! | [`joinable_queue`] | tasks, and waiting until all are done | 0.2 µs for a task, put, taken and done | its tasks: the process that reaps it takes them over with [`joinable_queue::JoinableQueue::take_over`] |
//! | [`pool`] | a pool of processes that do jobs | 8 µs for a job of many, 18 µs for a single one | the pool returns an error for its job, and replaces the process |
//! | [`doorbell`] | waking a process that sleeps in epoll | 2 ns | a missing ring: the supervisor rings all doorbells whenever it reaps a process |
//! | [`queue`] | messages with descriptors between two processes | 2.6 µs for a message, sent and received | what it sent can still be received; what was sent to it is lost |
//!
//! Measured on the machine of the other figures in the documentation, in a release build, the best
//! of five. With a waiter, each primitive costs one more system call on either side, and a wake-up
//! of 30 µs. No wait depends on a dead process: the caller sets a limit for every wait, and the
//! wait checks its condition every [`event_count::RECHECK_INTERVAL`], in case the process that
//! should have woken the waiter has died.

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
