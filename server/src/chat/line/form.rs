//! The form in which a line session receives messages: charset, tags, Telnet.

use crate::chat::message::Message;
use forkchat_common::charset::Charset;
use forkchat_common::event::Stamp;
use forkchat_common::protocol::line::datagram::NUMBER_TAG_BYTES_MAX;
use forkchat_common::protocol::line::render::{Lines, render};
use forkchat_common::protocol::line::telnet::double_iac;

/// Decides the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Form {
    pub(super) charset: Charset,
    pub(super) wants_tags: bool,
    /// Whether the byte 0xFF of a character is doubled: the client speaks Telnet, where a single
    /// 0xFF is IAC.
    pub(super) doubles_ff: bool,
}

impl Form {
    /// Appends a message's bytes. `text` is an empty scratch buffer.
    pub fn write(self, message: Message<'_>, stamp: Stamp, text: &mut String, bytes: &mut Vec<u8>) {
        match message {
            Message::Event(event) => render(event, stamp, self.wants_tags, text),
            Message::Lines(tags, write) => {
                write(&mut Lines::new(text, stamp, self.wants_tags, tags));
            }
            Message::Raw(raw) => return bytes.extend_from_slice(raw),
        }
        self.charset.encode(text, bytes);
        if self.doubles_ff {
            double_iac(bytes);
        }
    }

    /// The largest number of bytes that the datagram number adds to the first line of a datagram.
    pub fn datagram_tag_bytes_max(self) -> usize {
        if self.wants_tags { NUMBER_TAG_BYTES_MAX } else { 0 }
    }
}
