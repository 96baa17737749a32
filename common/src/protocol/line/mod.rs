//! The line protocol: lines of text that a person can type and read, with tags for programs.
//!
//! ```text
//! bytes ─framing─► raw line ─telnet, charset─► text ─input─► Input ─► the command's handler
//! bytes ◄─charset── lines ◄───────────────── render ◄──────── Event, or the handler's answer
//!                     └─tagged─► Tagged (a parsed line with tags)
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`FRAMING`] | where lines end |
//! | [`foreign`] | recognises clients of other protocols by their first bytes |
//! | [`telnet`] | removes Telnet negotiations from a line and answers them |
//! | [`input`] | distinguishes text and commands |
//! | [`commands`] | the table of commands |
//! | [`arguments`] | reads their arguments |
//! | [`settings`] | the settings that `/set` switches |
//! | [`hints`] | hints for commands of other chat programs |
//! | [`render`] | renders an event as lines |
//! | [`tags`] | the tags of a line |
//! | [`refusals`] | the texts of refusals |
//! | [`datagram`] | cuts lines into datagrams |
//! | [`tagged`] | parses a line with tags, for clients |

pub mod arguments;
pub mod commands;
pub mod datagram;
pub mod foreign;
mod framing;
pub mod hints;
pub mod input;
pub mod refusals;
pub mod render;
pub mod settings;
pub mod tagged;
pub mod tags;
pub mod telnet;

pub use framing::FRAMING;
