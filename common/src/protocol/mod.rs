//! Protocols of sessions. A protocol parses a client's bytes, and renders events as bytes. The
//! listener that accepted a client determines the protocol of its session.
//!
//! | module | contents |
//! |---|---|
//! | [`framing`] | splits peeked bytes into lines, by a protocol's rules |
//! | [`line`](mod@line) | the line protocol: commands, text, tags |
//!
//! A new protocol needs a folder here, a variant of [`Protocol`], and a folder in `server/src/chat`
//! for the state of its sessions.

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
    /// How input is split into lines.
    pub fn framing(self) -> &'static Framing {
        match self {
            Protocol::Line => &line::FRAMING,
        }
    }

    /// The message to a client whose connection is rejected.
    pub fn rejection(self, why: Rejection) -> &'static str {
        match self {
            Protocol::Line => line::refusals::rejection(why),
        }
    }
}
