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
//! | [`event_loop`] | the main loop: passes input to the session and carries out what it asks for |
//! | [`ui`] | the thread that reads the person's input, and the output to them |
//! | [`connector`] | the thread that reads the network |
//! | [`transport`] | a connection over TCP or UDP: lines in, lines out |
//! | [`conversation`] | the conversation: accepted and doubtful lines, reconnecting; no I/O |
//! | [`backoff`] | how long to wait before the next attempt to connect |
//! | [`render`] | formatting of output for a terminal, a pipe or a program |
//! | [`sanitize`], [`lookalike`] | text from others made safe for a terminal; names that look like another name |
//! | [`editor`], [`complete`] | editing and completing the input line |
//! | [`screen`] | what is shown above the input line |
//! | [`terminal`] | setting and restoring the terminal's modes |
#![forbid(unsafe_code)]

pub mod backoff;
pub mod complete;
pub mod connector;
pub mod conversation;
pub mod editor;
pub mod event_loop;
pub mod lookalike;
pub mod options;
pub mod render;
pub mod sanitize;
pub mod screen;
pub mod terminal;
pub mod transport;
pub mod ui;

pub use event_loop::run;
pub use options::Options;
