//! Code that forkchat's server and client share. No socket, no clock, no process: bytes and values
//! only.
//!
//! ```text
//! bytes from a client ──► Input ──► the server's chat ──► Event ──► bytes to a client
//!                protocol                                protocol
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`address`] | blocks of addresses that limits count together |
//! | [`by_cell`] | a table of sessions, indexed by cell |
//! | [`endpoint`] | network addresses in records and messages; cookies and keys |
//! | [`ids`] | numeric ids and times: [`ids::Sequence`], [`ids::SessionId`], [`ids::Micros`] |
//! | [`limits`] | all limits of the protocol |
//! | [`names`] | nicknames and room names, and when two of them are equal |
//! | [`charset`] | bytes to text and back |
//! | [`event`] | events and refusals that are sent to sessions |
//! | [`token_bucket`] | rate limits |
//! | [`protocol`] | protocols of sessions: parse input, render events |
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
