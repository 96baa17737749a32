//! The state of a session that is particular to the line protocol, and the conversion of its bytes
//! to text.

use super::form::Form;
use crate::chat::rooms::RoomId;
use forkchat_common::charset::Charset;
use forkchat_common::event::Refusal;
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_common::protocol::line::settings::Setting;
use forkchat_common::protocol::line::telnet::{Answers, Telnet};
use serde::{Deserialize, Serialize};

/// The part of a session's state that belongs to the line protocol.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::chat) struct LineState {
    /// The room to which its lines are sent: one of the session's rooms; `None` if it is in no
    /// room.
    pub current: Option<RoomId>,
    /// `/set echo|joins|tags`, in the order of [`forkchat_common::protocol::line::settings::SETTINGS`].
    pub settings: [bool; 3],
    /// The charset of its input and output.
    pub charset: Charset,
    /// Whether it has sent a line with a visible character. From then on its input is not checked
    /// for other protocols.
    pub has_spoken: bool,
    telnet: Telnet,
    /// The text of an unfinished line: its beginning was recorded alone, or its LF belonged to a
    /// Telnet negotiation.
    partial: Vec<u8>,
}

impl Default for LineState {
    fn default() -> Self {
        LineState {
            current: None,
            settings: [false, true, false],
            charset: Charset::default(),
            has_spoken: false,
            telnet: Telnet::default(),
            partial: Vec::new(),
        }
    }
}

impl LineState {
    pub fn has(&self, setting: Setting) -> bool {
        self.settings[setting as usize]
    }

    pub fn wants_presence(&self) -> bool {
        self.has(Setting::Joins)
    }

    pub fn wants_echo(&self) -> bool {
        self.has(Setting::Echo)
    }

    pub fn form(&self) -> Form {
        Form {
            charset: self.charset,
            wants_tags: self.has(Setting::Tags),
            doubles_ff: self.telnet.has_negotiated() && self.charset.has_byte_ff(),
        }
    }

    /// Chooses another current room after the session has left `room`, which was at index `index`
    /// of its rooms. `rooms` are the remaining rooms.
    pub fn left(&mut self, room: RoomId, index: usize, rooms: &[RoomId]) {
        if self.current == Some(room) {
            // The room that was joined before it, or else the first remaining one.
            self.current = rooms.get(index.saturating_sub(1)).copied();
        }
    }

    /// Whether the session has sent nothing but empty lines.
    pub fn is_at_beginning(&self) -> bool {
        !self.has_spoken && self.partial.is_empty()
    }

    /// Handles the end of input. True if it ends an unfinished line.
    pub fn finish_partial_line(&mut self) -> bool {
        self.telnet.end_input(&mut self.partial);
        !self.partial.is_empty()
    }

    /// Discards an unfinished line that turned out to be too long.
    pub fn discard_partial_line(&mut self) {
        self.telnet.end_input(&mut self.partial);
        self.partial.clear();
    }

    /// Stores the beginning of a line. A line that is too long is cut here, and refused at its end.
    pub fn begin_line(&mut self, bytes: &[u8]) -> Answers {
        let mut answers = Answers::default();
        self.telnet.filter(bytes, self.charset.traits(), &mut self.partial, &mut answers);
        self.partial.truncate(LINE_BYTES_MAX);
        answers
    }

    /// Reads one line's bytes and appends their text to `text`. False if the line isn't complete,
    /// because its LF belonged to a Telnet negotiation.
    pub fn read_line(
        &mut self,
        line: &[u8],
        text: &mut String,
        answers: &mut Answers,
    ) -> Result<bool, Refusal<'static>> {
        if self.partial.is_empty() && self.telnet.is_in_text() && !line.contains(&0xff) {
            self.charset.decode(line, text);
            return Ok(true);
        }
        *answers = self.begin_line(line);
        if !self.telnet.is_in_text()
            && !self.telnet.end_line(self.charset.traits(), &mut self.partial, answers)
        {
            return Ok(false);
        }
        let bytes = std::mem::take(&mut self.partial);
        if bytes.len() >= LINE_BYTES_MAX {
            return Err(Refusal::LineTooLong);
        }
        self.charset.decode(&bytes, text);
        Ok(true)
    }
}
