//! forkchat's client. At a terminal it shows coloured lines above a line editor; in a pipe it is a
//! filter.
//!
//! Like the server's worker it has one thread for each source of input: one reads the network, one
//! reads the person. Both send what they read through a queue to the main thread, which alone holds
//! the conversation and acts.
//!
//! ```text
//!  standard input ─► person ──┐                      ┌─► server
//!                             ├─► queue ─► talk ─────┤
//!  server ─────────► network ─┘     (the session)    └─► screen, or standard output
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`options`] | the command line |
//! | [`talk`] | the main loop: passes input to the session and carries out what it asks for |
//! | [`person`] | the thread that reads the person's input, and the output to them |
//! | [`network`] | the thread that reads the network |
//! | [`link`] | a connection over TCP or UDP: lines in, lines out |
//! | [`session`] | the conversation: accepted and doubtful lines, reconnecting; no I/O |
//! | [`backoff`] | how long to wait before the next attempt to connect |
//! | [`look`] | formatting of output for a terminal, a pipe or a program |
//! | [`defuse`], [`lookalike`] | text from others made safe for a terminal; names that look like another name |
//! | [`editor`], [`complete`] | editing and completing the input line |
//! | [`screen`] | what is shown above the input line |
//! | [`terminal`] | setting and restoring the terminal's modes |
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
