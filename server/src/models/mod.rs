//! The concurrency models: three ways to serve the same chat, so that they can be compared.
//! `--model` chooses one.
//!
//! A model is a row ([`Model`]) and a file or folder, which says how connections get to processes,
//! what runs in a process, and which files to read. Everything else is the same in every model: the
//! chat, the log, taking over from a dead worker ([`crate::worker`]), and the supervisor, which
//! knows only the model's row.
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
    /// The resources that one connection takes.
    pub takes: Takes,
    /// Runs a worker in a slot until it is killed or, with [`Start::ends_with_connections`], its
    /// last connection has ended. Returns the exit code.
    pub run: fn(&'static Segment, Slot, ServingConfig, Start) -> i32,
}

/// Which process serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One of the `--workers` workers that always run: the worker with the fewest connections.
    Shared,
    /// A process of its own, which is forked for the connection and exits with it. One more worker
    /// has the UDP sessions and rejects connections that can't be served.
    Own,
}

/// The resources that one connection takes, so that the server admits no more connections than
/// there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Descriptors in the process that needs the most of them.
    pub descriptors: u64,
    /// Processes and threads.
    pub tasks: u64,
    /// Measured memory in bytes of an idle connection, including the kernel's. The supervisor's
    /// memory budget (`supervisor/budget.rs`) counts the rest: its part of the state, its unread
    /// input and output, and their socket buffers.
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
