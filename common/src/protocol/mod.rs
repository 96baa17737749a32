//! How sessions talk: a protocol turns a client's bytes into what the client wants, and events into
//! bytes. Which protocol a session has is decided by the listener at which its client arrived.
//!
//! | module | contents |
//! |---|---|
//! | [`framing`] | splits peeked bytes into lines, by a protocol's rules |
//! | [`line`](mod@line) | the line protocol: commands, text, tags |
//!
//! A further protocol is a folder here, a variant of [`Protocol`], and a folder in
//! `server/src/chat`, which holds what the server knows of each of its sessions.

pub mod framing;
pub mod line;

use crate::event::Rejection;
use framing::Framing;
use serde::{Deserialize, Serialize};

/// A protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Lines of text, see [`mod@line`].
    #[default]
    Line,
}

impl Protocol {
    /// How its bytes are split into lines.
    pub fn framing(self) -> &'static Framing {
        match self {
            Protocol::Line => &line::FRAMING,
        }
    }

    /// What a client is sent whose connection is rejected.
    pub fn rejection(self, why: Rejection) -> &'static str {
        match self {
            Protocol::Line => line::refusals::rejection(why),
        }
    }
}
