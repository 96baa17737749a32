//! `--model process`: a process for each connection, forked when the connection is made, with a
//! receive and a send thread in it.
//!
//! ```text
//!                      supervisor  accepts, forks, reaps
//!        ┌───────────┬─────┴─────┬───────────┐ forks
//!   ┌────▼─────┐┌────▼─────┐┌────▼─────┐┌────▼─────┐
//!   │ worker 0 ││ worker 1 ││ worker 2 ││ worker 3 │
//!   │ receive  ││ receive  ││ receive  ││ receive  │
//!   │  │ queue ││  │ queue ││  │ queue ││  │ queue │
//!   │ send     ││ send     ││ send     ││ send     │
//!   └────┬─────┘└────┬─────┘└────┬─────┘└────┬─────┘
//!   all of UDP   a client     a client     a client
//! ```
//!
//! The process of a connection begins in the same way as the successor of a dead worker: with an
//! accepted connection that the log does not know yet. When the connection is over, the process
//! exits, and its slot is free for another. Any process may have to wake any other, also a process
//! that is forked later, so each has a descriptor of every doorbell that may ever exist. A crash of
//! one client's process doesn't affect another's connection, and the kernel accounts for each
//! client separately. The price: each process has a copy of the state and applies the whole log, so
//! the cost of each grows with the number of processes, and a line wakes a process for each member
//! of the room.
//!
//! | to follow a connection | read |
//! |---|---|
//! | it is accepted, and a process forked for it | `supervisor/accept.rs`, `fork_worker`; `supervisor/spawn.rs` |
//! | the process finds a connection that the log doesn't know, and begins its session | `worker/takeover.rs`, `resume_session` |
//! | it is served as in [`super::pool`], by the same two threads | `worker/pair.rs` |
//! | it is over: the process exits, is reaped, and its slot is free | `worker/receive_thread.rs`, `ends_with_connections`; `supervisor/reap.rs`, `vacate` |

use super::{Model, Placement, Takes};
use crate::worker::pair;

/// The row of this model.
pub static MODEL: Model = Model {
    placement: Placement::Own,
    // Descriptors of the client's socket, of its process's doorbell and of the queue to the
    // process; the main thread and the two threads of the pair.
    takes: Takes { descriptors: 3, tasks: 3, bytes: 640 * 1024 },
    run: pair::run,
};
