//! What forkchat's server and client share. No socket, no clock, no process: bytes and values only.
//!
//! ```text
//! bytes from a client ──lines──► raw line ──telnet, charset──► text ──command──► Command
//! bytes to a client   ◄─charset─ text line ◄──wire::line────── Event (what somebody is told)
//!                                     └──wire::tagged──► Tagged (a line with tags, as a program reads it)
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`address`] | which addresses count as one |
//! | [`endpoint`] | network addresses as they are stored and sent; cookies and keys |
//! | [`ids`] | the numbers that name things: [`ids::Sequence`], [`ids::SessionId`], [`ids::Micros`] |
//! | [`limits`] | every bound of the protocol, by name |
//! | [`names`] | nicknames and room names, with their own rule of equality |
//! | [`foreign`] | clients of other protocols, by their first bytes |
//! | [`lines`] | cutting peeked bytes into lines |
//! | [`telnet`] | taking Telnet's negotiations out of a line, and answering them |
//! | [`charset`] | bytes to text and back |
//! | [`command`] | the table of commands, and the parser that reads it |
//! | [`event`] | what a person can be told: events, replies, refusals |
//! | [`wire`] | how an event looks to one kind of client, and the reader for programs |
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
