//! The concurrency models: three ways to serve the same chat, so that they can be compared.
//! `--model` chooses one.
//!
//! A model is a row ([`Model`]) and a file or folder, which says how connections get to processes
//! and what runs in a process, and which files to read. All else is the same in every model and
//! does not depend on it: the chat, the log, taking over from a dead worker ([`crate::worker`]),
//! and the supervisor, which knows a model by its row alone.
//!
//! | model | processes | threads |
//! |---|---|---|
//! | [`pool`] | one worker per CPU | a receive and a send thread, for all its connections |
//! | [`threads`] | one worker per CPU | for each connection a receive and a send thread that block, and one that applies the log |
//! | [`process`] | one for each connection, forked when it is made | a receive and a send thread |

pub mod pool;
pub mod process;
pub mod threads;

use crate::options::ModelName;
use crate::segment::Segment;
use crate::worker::{ServingConfig, Start};
use forkchat_common::ids::Slot;

/// A way to serve connections.
#[derive(Debug)]
pub struct Model {
    /// Which process serves a connection.
    pub placement: Placement,
    /// What one connection takes of the machine.
    pub takes: Takes,
    /// Runs a worker in a slot until it is killed, or as [`Start::ends_with_connections`] says.
    /// Returns its exit code.
    pub run: fn(&'static Segment, Slot, ServingConfig, Start) -> i32,
}

/// Which process serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One of `--workers` that are always there: the one with the fewest connections.
    Shared,
    /// One of its own, forked for it, which ends with it. A single worker besides keeps the UDP
    /// sessions and rejects those who can't be served.
    Own,
}

/// What one connection takes of the machine, so that the server doesn't let in more than there is
/// room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Descriptors in the process that has the most of them.
    pub descriptors: u64,
    /// Processes and threads.
    pub tasks: u64,
    /// Memory in bytes while it is idle, the kernel's included, measured. Its part of the state,
    /// its unread input and output and their socket buffers are counted by the supervisor's memory
    /// budget (`supervisor/budget.rs`).
    pub bytes: u64,
}

/// The row of a model.
pub fn named(name: ModelName) -> &'static Model {
    match name {
        ModelName::Pool => &pool::MODEL,
        ModelName::Threads => &threads::MODEL,
        ModelName::Process => &process::MODEL,
    }
}
