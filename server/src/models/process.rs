//! `--model process`: a process for each connection, forked when it comes, with a receive and a send thread in it.
//!
//! ```text
//!                      supervisor  accepts, forks, reaps
//!        ┌───────────┬─────┴─────┬───────────┐ forks
//!   ┌────▼─────┐┌────▼─────┐┌────▼─────┐┌────▼─────┐
//!   │ worker 0 ││ worker 2 ││ worker 3 ││ worker 4 │
//!   │ receive  ││ receive  ││ receive  ││ receive  │
//!   │  │ queue ││  │ queue ││  │ queue ││  │ queue │
//!   │ send     ││ send     ││ send     ││ send     │
//!   └────┬─────┘└────┬─────┘└────┬─────┘└────┬─────┘
//!   all of UDP   a client     a client     a client
//! ```
//!
//! It begins as a successor does: with a connection that was accepted and of which the log knows nothing. When that is over it exits, and
//! its slot is free. Nothing that happens to one client's process touches another's connection, and the kernel accounts for each client by itself. The price:
//! each process has a copy of the state and applies the whole log, so what each costs grows with how many there are, and a line to a room wakes a process for
//! each who hears it.

use super::{Model, Placement, Takes};
use crate::worker::pair;

/// The row.
pub const MODEL: Model = Model {
    name: "process",
    about: "a process for each connection, forked when it comes; --workers is ignored",
    placement: Placement::Own,
    // A descriptor of the client's socket, one of its process's bell and one of the queue to it; the process's first thread and the two that work.
    takes: Takes { descriptors: 3, tasks: 3, bytes: 640 * 1024, bytes_per_other: 512 },
    run: pair::run,
};
