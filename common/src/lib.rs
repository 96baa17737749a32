//! Code that forkchat's server and client share. No socket, no clock, no process: bytes and values
//! only.
//!
//! ```text
//! bytes from a client ──lines──► raw line ──telnet, charset──► text ──command──► Command
//! bytes to a client   ◄─charset─ text line ◄──wire::line────── Event (what a client receives)
//!                                     └──wire::tagged──► Tagged (a line with tags, as a program reads it)
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`address`] | addresses that limits count together |
//! | [`endpoint`] | network addresses in records and messages; cookies and keys |
//! | [`ids`] | numeric ids and times: [`ids::Sequence`], [`ids::SessionId`], [`ids::Micros`] |
//! | [`limits`] | all limits of the protocol |
//! | [`names`] | nicknames and room names, and when two of them are equal |
//! | [`foreign`] | recognises clients of other protocols by their first bytes |
//! | [`lines`] | splits peeked bytes into lines |
//! | [`telnet`] | removes Telnet negotiations from a line and answers them |
//! | [`charset`] | bytes to text and back |
//! | [`command`] | the table of commands, and the parser that reads it |
//! | [`event`] | what a client can receive: events, replies, refusals |
//! | [`wire`] | renders an event as text, and parses it for programs |
#![forbid(unsafe_code)]

pub mod address;
pub mod charset;
pub mod command;
pub mod endpoint;
pub mod event;
pub mod foreign;
pub mod ids;
pub mod limits;
pub mod lines;
pub mod names;
pub mod telnet;
pub mod wire;
