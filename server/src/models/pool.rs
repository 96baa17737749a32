//! `--model pool`: a worker a CPU, and in each a receive and a send thread for all its connections.
//!
//! ```text
//!                     supervisor
//!        ┌────────────────┼────────────────┐ descriptors, to the worker with the fewest
//!   ┌────▼─────┐     ┌────▼─────┐     ┌────▼─────┐
//!   │ worker 0 │     │ worker 1 │     │ worker 2 │   as many as CPUs
//!   │ receive  │     │ receive  │     │ receive  │   epoll over its connections' input
//!   │  │ queue │     │  │ queue │     │  │ queue │
//!   │ send     │     │ send     │     │ send     │   one write for each client and turn
//!   └────┬─────┘     └────┬─────┘     └────┬─────┘
//!     a third          a third          a third       of the connections
//! ```
//!
//! A connection costs a descriptor and a few KiB, and what is said at the same time is appended, applied and written together: the more there is to do,
//! the less each of it costs. What it asks for in return is that nothing here ever blocks.
//!
//! | to follow a connection | read |
//! |---|---|
//! | it is accepted and passed to a worker | `supervisor/listeners.rs`, `pass_to_worker` |
//! | its lines are looked at; in the end it is ended | `worker/receive_thread.rs` |
//! | they go into the log, and what everyone is told goes out | `worker/send_thread.rs`, `worker/serving.rs` |
//! | how the two threads are joined | `worker/pair.rs` |

use super::{Model, Placement, Takes};
use crate::worker::pair;

/// The row.
pub const MODEL: Model = Model {
    name: "pool",
    about: "a worker a CPU, each with one receive and one send thread for all its connections",
    placement: Placement::Shared,
    takes: Takes { descriptors: 1, tasks: 0, bytes: 16 * 1024 },
    run: pair::run,
};
