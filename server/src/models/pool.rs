//! `--model pool`: one worker per CPU, and in each a receive and a send thread for all its
//! connections.
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
//! A connection costs a descriptor and a few KiB. Lines that arrive at the same time are appended,
//! applied and written together: under load each of them costs less. In return, nothing in these
//! threads may ever block.
//!
//! | to follow a connection | read |
//! |---|---|
//! | the supervisor accepts it and passes it to a worker | `supervisor/accept.rs`, `pass_to_worker` |
//! | its lines are read; it is closed at the end | `worker/receive_thread.rs` |
//! | the lines go into the log, and the output goes to the clients | `worker/send_thread.rs`, `worker/serving.rs` |
//! | how the two threads are joined | `worker/pair.rs` |

use super::{Model, Placement, Takes};
use crate::worker::pair;

/// The row of this model.
pub static MODEL: Model = Model {
    placement: Placement::Shared,
    takes: Takes { descriptors: 1, tasks: 0, bytes: 16 * 1024 },
    run: pair::run,
};
