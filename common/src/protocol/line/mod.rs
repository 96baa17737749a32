//! The line protocol: lines of text that a person can type and read, with tags for programs.
//!
//! | module | contents |
//! |---|---|
//! | [`command`] | the table of commands, and the parser that reads it |
//! | [`telnet`] | removes Telnet negotiations from a line and answers them |
//! | [`foreign`] | recognises clients of other protocols by their first bytes |
//! | [`render`] | renders an event as text |
//! | [`tagged`] | parses a line with tags, as a program reads it |

pub mod command;
pub mod foreign;
pub mod render;
pub mod tagged;
pub mod telnet;
