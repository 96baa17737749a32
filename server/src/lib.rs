//! forkchat's server: forked workers over one event log.
//!
//! **Every event is a record in one log. A worker is a function from the log to bytes.**
//!
//! ```text
//!                           ┌────────────┐  forks, reaps, restarts; keeps a duplicate of every client's socket
//!                           │ supervisor │
//!                           └─────┬──────┘
//!            sockets, by message  │
//!          ┌──────────────────────┼──────────────────────┐
//!    ┌─────┴─────┐          ┌─────┴─────┐          ┌─────┴─────┐
//!    │ worker 0  │          │ worker 1  │    …     │  journal  │
//!    │ receive ─►│          │ receive ─►│          │           │
//!    │  ─► send  │          │  ─► send  │          │ snapshots │
//!    └──┬─────▲──┘          └──┬─────▲──┘          └──┬─────▲──┘
//!  append│     │apply    append│     │apply   publish │     │apply
//!    ╔══▼═════╧════════════════▼═════╧═══════════════▼══════╧═══╗
//!    ║  event log: a ring in shared memory, one order for all   ║
//!    ╚══════════════════════════════════════════════════════════╝
//! ```
//!
//! | part | what it is | may use |
//! |---|---|---|
//! | [`sys`] | system calls; the only `unsafe` | |
//! | [`ipc`] | primitives between processes, a library by itself: process, mutex, semaphore, event, value, queues, pool | `sys` |
//! | [`segment`] | the memory that all processes share: the event log, checkpoints, snapshots, heartbeats, quarantine, counters | `ipc`, `sys` |
//! | [`chat`] | the state machine: records in, bytes out; no I/O | `forkchat-common` |
//! | [`channel`] | the messages between supervisor and workers | `ipc` |
//! | [`admission`] | which connections are admitted | `ipc` |
//! | [`dropped`] | reports the dropped part of the clients' input | `segment` |
//! | [`proposer`] | appends a process's records, and reports when they are applied | `chat`, `segment` |
//! | [`replica`] | a process's copy of the chat state, which follows the log | `chat`, `segment`, `ipc` |
//! | [`stand_in`] | the worker that makes snapshots while there is no journal | `segment` |
//! | [`worker`] | serves connections and applies the log: the code that the models share | all above |
//! | [`models`] | the concurrency models: which process and which threads serve a connection | `options`, `worker` and what it uses |
//! | [`journal`] | publishes snapshots, keeps the history | `chat`, `segment`, `ipc`, `sys` |
//! | [`doctor`] | tests that the kernel supports what the server needs | `ipc`, `sys` |
//! | [`daemon`] | starts, finds and stops a process in the background | `sys` |
//! | [`supervisor`] | creates the shared memory, forks all processes, restarts them | all but the records |
//! | [`service`] | the server as a daemon | `daemon`, `options`, `supervisor` |
//! | [`log_output`] | log messages for the operator, on their way to standard error | `sys` |
//! | [`role`], [`options`] | a process's name; the command line | |
//! | [`faults`] | fault injection, in test builds | |
//! | [`guide`] | guides for operators, for writers of clients, and for readers of this code | |
//!
//! To follow one line of chat (in model `pool`): [`worker`]'s `receive_thread` reads it with
//! `peek`, `input` makes a record of it, and `serving` appends the record and consumes the line.
//! Every worker's `serving` applies it with [`chat`], which renders it into `outboxes`, and then
//! writes these.
#![deny(unsafe_code)]

pub mod admission;
pub mod channel;
pub mod chat;
pub mod daemon;
pub mod doctor;
pub mod dropped;
pub mod faults;
pub mod guide;
pub mod ipc;
pub mod journal;
pub mod log_output;
pub mod models;
pub mod options;
pub mod proposer;
pub mod replica;
pub mod role;
pub mod segment;
pub mod service;
pub mod stand_in;
pub mod supervisor;
pub mod sys;
pub mod worker;

pub use options::CommandLine;

/// Runs the command of the command line. Returns the exit code.
pub fn run(command_line: CommandLine) -> i32 {
    match command_line.command {
        None => service::serve(command_line.options),
        Some(options::Command::Doctor) => doctor::run(),
        Some(options::Command::Start(options)) => service::start(&options),
        Some(options::Command::Stop(options)) => service::stop(&options),
        Some(options::Command::Restart(options)) => service::restart(&options),
        Some(options::Command::Status(options)) => service::status(&options),
    }
}
