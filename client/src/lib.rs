//! forkchat's client. At a terminal it shows coloured lines above a line editor; in a pipe it is a
//! filter.
//!
//! One thread reads the user's input, another reads the network. Both send what they read through
//! queues to the main thread, which alone holds the conversation and acts.
//!
//! ```text
//!  standard input ─► ui ────────┐                           ┌─► server
//!                               ├─► queues ─► event loop ───┤
//!  server ─────────► connector ─┘         (conversation)    └─► screen, or standard output
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`options`] | the command line |
//! | [`event_loop`] | the main loop: passes input to the conversation and does what it asks for |
//! | [`ui`] | the thread that reads the user's input, and the output to the user |
//! | [`connector`] | the thread that reads the network |
//! | [`transport`] | a connection over TCP or UDP that sends and receives lines |
//! | [`conversation`] | the client's side of the protocol, with reconnecting; no I/O |
//! | [`backoff`] | how long to wait before the next attempt to connect |
//! | [`render`] | formatting of output for a terminal, a pipe or a program |
//! | [`sanitize`] | makes text from others safe for a terminal |
//! | [`lookalike`] | finds names that look like another name |
//! | [`editor`], [`complete`] | editing and completing the input line |
//! | [`screen`] | the rows above the input line |
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
