//! Primitives between processes, each usable by itself. They live in memory that is mapped before a fork ([`crate::sys::memory`]).
//!
//! | module | primitive | what a holder that is killed leaves behind, and who mends it |
//! |---|---|---|
//! | [`mutex`] | robust mutex with a known owner | the lock: the next to lock it gets it, and is told |
//! | [`semaphore`] | counting semaphore | its units: whoever reaps it gives them back with [`semaphore::Semaphore::release_all_of`] |
//! | [`value`] | several words written as one; a counter | the old value, whole: the switch to the new one is one store |
//! | [`doorbell`] | waking a process that sleeps in epoll | a ring not rung: the supervisor rings all at each reaping |
//! | [`queue`] | messages with descriptors between two processes | what it sent is still read; what was sent to it is gone with it |

pub mod doorbell;
pub mod event;
pub mod event_count;
pub mod joinable_queue;
pub mod mutex;
pub mod pool;
pub mod process;
pub mod queue;
pub mod semaphore;
pub mod value;
