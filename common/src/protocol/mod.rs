//! How sessions talk: a protocol turns a client's bytes into what the client wants, and events into
//! bytes.
//!
//! | module | contents |
//! |---|---|
//! | [`framing`] | splits peeked bytes into lines |
//! | [`line`](mod@line) | the line protocol: commands, text, tags |

pub mod framing;
pub mod line;
