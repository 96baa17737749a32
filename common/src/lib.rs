//! Code that forkchat's server and client share. No socket, no clock, no process: bytes and values
//! only.
//!
//! ```text
//! bytes from a client ──► what it wants ──► the server's chat ──► Event ──► bytes to a client
//!                protocol                                       protocol
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`address`] | addresses that limits count together |
//! | [`by_cell`] | a table of sessions by their cells |
//! | [`endpoint`] | network addresses in records and messages; cookies and keys |
//! | [`ids`] | numeric ids and times: [`ids::Sequence`], [`ids::SessionId`], [`ids::Micros`] |
//! | [`limits`] | all limits of the protocol |
//! | [`names`] | nicknames and room names, and when two of them are equal |
//! | [`charset`] | bytes to text and back |
//! | [`event`] | what is sent to sessions: events, refusals |
//! | [`token_bucket`] | how fast something may be done |
//! | [`protocol`] | how sessions talk: bytes to what a client wants, and events to bytes |
#![forbid(unsafe_code)]

pub mod address;
pub mod by_cell;
pub mod charset;
pub mod endpoint;
pub mod event;
pub mod ids;
pub mod limits;
pub mod names;
pub mod protocol;
pub mod token_bucket;
