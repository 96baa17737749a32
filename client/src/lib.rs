//! forkchat's client: at a terminal an editor below a screen of coloured lines, in a pipe a filter.
//!
//! It is built as the server's worker is: one thread reads the network, one the person, and queues join them to the one that acts, which alone knows the
//! conversation.
//!
//! ```text
//!  standard input ─► person ──┐                      ┌─► server
//!                             ├─► queue ─► talk ─────┤
//!  server ─────────► network ─┘     (the session)    └─► screen, or standard output
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | the command line |
//! | [`talk`] | the loop that joins the threads, and does what the session says |
//! | [`person`] | the thread that reads the person, and how they are shown what happens |
//! | [`network`] | the thread that reads the network |
//! | [`link`] | a connection over TCP or UDP: lines in, lines out |
//! | [`session`] | the conversation: acceptance, reconnecting, what is doubtful; no I/O |
//! | [`backoff`] | how long to wait before the next attempt |
//! | [`look`] | how things look: for a terminal, a pipe, a program |
//! | [`defuse`], [`lookalike`] | what others wrote, made harmless; names that look like another's |
//! | [`editor`], [`complete`] | the line that is typed |
//! | [`screen`] | what stands above it |
//! | [`terminal`] | the terminal's modes, and how they are given back |
#![forbid(unsafe_code)]

pub mod backoff;
pub mod complete;
pub mod defuse;
pub mod editor;
pub mod link;
pub mod look;
pub mod lookalike;
pub mod network;
pub mod options;
pub mod person;
pub mod screen;
pub mod session;
pub mod talk;
pub mod terminal;

pub use options::Options;
pub use talk::run;
