//! What the server knows of a line session that other protocols don't have, and how its bytes become
//! text.

use super::form::Form;
use crate::chat::rooms::RoomId;
use forkchat_common::charset::Charset;
use forkchat_common::event::Refusal;
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_common::protocol::line::settings::Setting;
use forkchat_common::protocol::line::telnet::{Answers, Telnet};
use serde::{Deserialize, Serialize};

/// A line session's own state.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::chat) struct LineState {
    /// The room in which it talks; one of the session's rooms, if there is any.
    pub current: Option<RoomId>,
    /// `/set echo|joins|tags`, in the order of [`forkchat_common::protocol::line::settings::SETTINGS`].
    pub settings: [bool; 3],
    /// How its bytes are read and written.
    pub charset: Charset,
    /// Whether it has sent a line in which something is seen: from then on its bytes are the chat's,
    /// and not another protocol's.
    pub has_spoken: bool,
    telnet: Telnet,
    /// The beginning of a line that was recorded before its end, or whose end belonged to a Telnet
    /// negotiation.
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

    /// The session has left `room`, which was at `place` among its rooms; `rooms` are the others.
    pub fn left(&mut self, room: RoomId, place: usize, rooms: &[RoomId]) {
        if self.current == Some(room) {
            // The one joined before it, or the first that is left.
            self.current = rooms.get(place.saturating_sub(1)).copied();
        }
    }

    /// Whether the session has sent nothing so far but empty lines.
    pub fn is_at_beginning(&self) -> bool {
        !self.has_spoken && self.partial.is_empty()
    }

    /// The input is over. Whether the beginning of a line was recorded, and not its end, which is now.
    pub fn finish_partial_line(&mut self) -> bool {
        self.telnet.end_input(&mut self.partial);
        !self.partial.is_empty()
    }

    /// The line that was partial turned out to be too long: nothing of it is kept.
    pub fn discard_partial_line(&mut self) {
        self.telnet.end_input(&mut self.partial);
        self.partial.clear();
    }

    /// Keeps the beginning of a line. What is too long to be a line is not kept, and refused when the
    /// line ends.
    pub fn begin_line(&mut self, bytes: &[u8]) -> Answers {
        let mut answers = Answers::default();
        self.telnet.filter(bytes, self.charset.bytes(), &mut self.partial, &mut answers);
        self.partial.truncate(LINE_BYTES_MAX);
        answers
    }

    /// Reads one line's bytes and appends their text to `text`. False if the line isn't complete: its
    /// end belonged to a Telnet negotiation.
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
            && !self.telnet.end_line(self.charset.bytes(), &mut self.partial, answers)
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
