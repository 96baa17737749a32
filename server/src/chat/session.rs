//! The state of one session, and how its bytes are decoded into text.

use super::allowance::Allowance;
use super::answers::{Pending, Waiting};
use super::history::Question;
use super::rate::RateUsed;
use super::record::Transport;
use super::rooms::RoomId;
use forkchat_common::address::AddressBlock;
use forkchat_common::charset::Charset;
use forkchat_common::endpoint::whole;
use forkchat_common::event::Refusal;
use forkchat_common::ids::{Micros, SessionId, Slot};
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_common::names::Nick;
use forkchat_common::protocol::line::telnet::{Answers, Telnet};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A session, as every copy of the state knows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// The worker that serves it.
    pub slot: Slot,
    /// How it is connected.
    pub transport: Transport,
    /// Where it comes from.
    #[serde(with = "whole")]
    pub peer: SocketAddr,
    /// Its name.
    pub(super) nick: Nick,
    /// The rooms it is in, in the order in which it entered them.
    pub(super) rooms: Vec<RoomId>,
    /// The current room; one of `rooms`, if there is any.
    pub(super) current: Option<RoomId>,
    /// Whether it has a name of its own and a room, and was welcomed. Before that nobody can meet
    /// it.
    pub(super) is_welcomed: bool,
    /// Whether it has sent a line in which something is seen: from then on its bytes are the
    /// chat's.
    pub(super) has_spoken: bool,
    /// Whether others have heard of it.
    pub(super) announced: bool,
    /// `/set echo|joins|tags`, in the order of [`forkchat_common::protocol::line::command::SETTINGS`].
    pub(super) settings: [bool; 3],
    /// How its bytes are read and written.
    pub(super) charset: Charset,
    /// The offset in its input after the last line that was applied.
    pub input_end: u64,
    /// Inside a line that is longer than lines may be.
    pub in_long_line: bool,
    /// When it was last heard.
    pub last_heard: Micros,
    /// The long answer that it waits for. In a box, since few ever ask.
    pub(super) waiting: Option<Box<Waiting>>,
    pub(super) rate: RateUsed,
    /// Over UDP, without a key: what it may be sent for its own lines.
    pub(super) allowance: Allowance,
    telnet: Telnet,
    /// The beginning of a line that was recorded before its end, or whose end belonged to a Telnet
    /// negotiation.
    held: Vec<u8>,
}

impl Session {
    /// A new session, with a placeholder name that stays free for others.
    pub fn new(
        id: SessionId,
        slot: Slot,
        transport: Transport,
        peer: SocketAddr,
        now: Micros,
    ) -> Session {
        Session {
            id,
            slot,
            transport,
            peer,
            nick: Nick::parse("guest")
                .expect("guest is a nickname; the session is given its own before anyone sees it"),
            rooms: Vec::new(),
            current: None,
            is_welcomed: false,
            has_spoken: false,
            announced: false,
            settings: [false, true, false],
            charset: Charset::default(),
            input_end: 0,
            in_long_line: false,
            last_heard: now,
            waiting: None,
            rate: RateUsed::default(),
            allowance: Allowance::default(),
            telnet: Telnet::default(),
            held: Vec::new(),
        }
    }

    /// Which address its lines count for.
    pub fn address(&self) -> AddressBlock {
        AddressBlock::of(self.peer.ip())
    }

    /// What it asked the journal, and that isn't answered.
    pub(super) fn question(&self) -> Option<&Question> {
        match &self.waiting.as_ref()?.answer {
            Pending::History(question) => Some(question),
            Pending::List(_) => None,
        }
    }

    /// The input is over. Whether the beginning of a line was recorded, and not its end, which is
    /// now.
    pub(super) fn end_begun_line(&mut self) -> bool {
        self.telnet.end_input(&mut self.held);
        !self.held.is_empty()
    }

    /// Whether the client has negotiated as Telnet does.
    pub(super) fn speaks_telnet(&self) -> bool {
        self.telnet.has_negotiated()
    }

    /// Whether it has sent nothing so far but empty lines.
    pub(super) fn is_at_beginning(&self) -> bool {
        !self.has_spoken && self.held.is_empty()
    }

    /// Whether others have heard of it.
    pub fn is_announced(&self) -> bool {
        self.announced
    }

    /// The line that was begun turned out to be too long: nothing of it is kept.
    pub(super) fn forget_begun_line(&mut self) {
        self.telnet.end_input(&mut self.held);
        self.held.clear();
    }

    /// Keeps the beginning of a line. What is too long to be a line is not kept, and refused when
    /// the line ends.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> Answers {
        let mut answers = Answers::default();
        self.telnet.filter(bytes, self.charset.bytes(), &mut self.held, &mut answers);
        self.held.truncate(LINE_BYTES_MAX);
        answers
    }

    /// Reads one line's bytes and appends their text to `text`. False if the line isn't complete:
    /// its end belonged to a Telnet negotiation.
    pub(super) fn read_line(
        &mut self,
        line: &[u8],
        text: &mut String,
        answers: &mut Answers,
    ) -> Result<bool, Refusal<'static>> {
        if self.held.is_empty() && self.telnet.is_in_text() && !line.contains(&0xff) {
            self.charset.decode(line, text);
            return Ok(true);
        }
        *answers = self.hold(line);
        if !self.telnet.is_in_text()
            && !self.telnet.end_line(self.charset.bytes(), &mut self.held, answers)
        {
            return Ok(false);
        }
        let bytes = std::mem::take(&mut self.held);
        if bytes.len() >= LINE_BYTES_MAX {
            return Err(Refusal::LineTooLong);
        }
        self.charset.decode(&bytes, text);
        Ok(true)
    }
}
