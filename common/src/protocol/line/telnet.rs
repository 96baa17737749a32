//! The server's side of Telnet: removes negotiations from client input and answers them.
//!
//! `telnet HOST PORT` may negotiate options in the middle of the text: `IAC WILL x`, `IAC SB x …
//! IAC SE`, the Synch signal's `IAC DM`. A negotiation may contain the byte LF (a window ten lines
//! high). The input was already split into lines at such bytes, so the state is kept from line to
//! line and tells whether an LF was part of the text.
//!
//! In a charset whose byte 0xFF is a character (windows-1251: `я`), 0xFF is Telnet's IAC only for a
//! client that has negotiated. The first negotiation of such a client is recognised by an option
//! that is a control byte: text does not contain one after two letters.
//!
//! A request for an option is answered if it changes something or is refused. The server requests
//! no options and does not answer refusals, so two sides with these rules never loop.
//! Source: RFC 854 (commands), RFC 855 (subnegotiation), RFC 856 (binary), RFC 860 (timing mark),
//! RFC 1184 (commands from 236 on).

use crate::limits::SUBNEGOTIATION_BYTES_MAX;
use serde::{Deserialize, Serialize};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const BREAK: u8 = 243;
const INTERRUPT: u8 = 244;
const ARE_YOU_THERE: u8 = 246;
const ERASE_CHARACTER: u8 = 247;
const ERASE_LINE: u8 = 248;
const ABORT: u8 = 238;
/// The lowest command.
const EOF: u8 = 236;
/// The one option that is supported: all eight bits of a byte are the text's, as they are anyway.
const BINARY: u8 = 0;

/// One client's Telnet, as it follows from the bytes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telnet {
    place: Place,
    has_negotiated: bool,
    /// The client sends binary; it is sent binary.
    binary: [bool; 2],
}

/// Where in a negotiation the bytes so far have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// In the text.
    #[default]
    Text,
    /// Behind an IAC.
    Command,
    /// Behind WILL, WONT, DO or DONT, which it holds: the option's number comes.
    Option(u8),
    /// Inside a subnegotiation of so many bytes so far.
    Subnegotiation(u16),
    /// Behind an IAC inside a subnegotiation of so many bytes so far.
    SubnegotiationCommand(u16),
    /// Behind 0xFF, which may be a letter.
    MaybeCommand,
    /// Behind 0xFF and this byte, which may be two letters.
    MaybeOption(u8),
}

/// How a charset's bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// 0xFF stands for a character.
    pub has_ff: bool,
    /// Each byte is a character.
    pub is_single: bool,
    /// UTF-8.
    pub is_utf8: bool,
}

/// What a client is to be sent for its negotiations, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Negotiations, to be sent as they are.
    pub bytes: Vec<u8>,
    /// It asked whether the server is there.
    pub are_you_there: bool,
}

impl Telnet {
    /// Whether the client has negotiated: then 0xFF is sent and received twice where it is a
    /// character.
    pub fn has_negotiated(&self) -> bool {
        self.has_negotiated
    }

    /// Whether the bytes so far end in the text, and not in a negotiation or what may become one.
    pub fn is_in_text(&self) -> bool {
        self.place == Place::Text
    }

    /// Appends the text in `bytes` to the line so far.
    pub fn filter(
        &mut self,
        bytes: &[u8],
        charset: Bytes,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        if self.is_in_text() && !bytes.contains(&IAC) {
            line.extend_from_slice(bytes);
        } else {
            bytes.iter().for_each(|&byte| self.feed(byte, charset, line, answers));
        }
    }

    /// A LF has come. Whether it ends the line, and is not a negotiation's.
    pub fn end_line(&mut self, charset: Bytes, line: &mut Vec<u8>, answers: &mut Answers) -> bool {
        let before = line.len();
        self.feed(b'\n', charset, line, answers);
        // Letters that might have become a negotiation come out with it.
        let is_text = line.len() > before;
        if is_text {
            line.pop();
        }
        is_text
    }

    /// The input is over: what may have become a negotiation is text, and one that has begun is
    /// nothing.
    pub fn end_input(&mut self, line: &mut Vec<u8>) {
        match std::mem::take(&mut self.place) {
            Place::MaybeCommand => line.push(IAC),
            Place::MaybeOption(command) => line.extend([IAC, command]),
            _ => {}
        }
    }

    fn feed(&mut self, byte: u8, charset: Bytes, line: &mut Vec<u8>, answers: &mut Answers) {
        use Place::*;
        let is_doubtful = charset.has_ff && !self.has_negotiated;
        self.place = match (self.place, byte) {
            (Text, IAC) if is_doubtful => MaybeCommand,
            (Text, IAC) => Command,
            (Text, _) => {
                line.push(byte);
                Text
            }
            (MaybeCommand, SB..=DONT) => MaybeOption(byte),
            (MaybeCommand, _) => return self.was_text(&[IAC], byte, charset, line, answers),
            (MaybeOption(command), _) if is_option_and_no_text(byte) => {
                self.take_back_commands(charset, line, answers);
                self.place = if command == SB { Subnegotiation(0) } else { Option(command) };
                return self.feed(byte, charset, line, answers);
            }
            (MaybeOption(command), _) => {
                return self.was_text(&[IAC, command], byte, charset, line, answers);
            }
            (Command, IAC) => {
                line.push(IAC);
                Text
            }
            (Command, SB) => Subnegotiation(0),
            (Command, WILL..=DONT) => Option(byte),
            (Command, EOF..=249) => {
                self.obey(byte, charset, line, answers);
                Text
            }
            // Not a command: a stray 0xFF in front of text.
            (Command, _) => {
                line.push(byte);
                Text
            }
            (Option(command), option) => {
                self.has_negotiated = true;
                self.answer(command, option, &mut answers.bytes);
                Text
            }
            (Subnegotiation(bytes), _) if usize::from(bytes) >= SUBNEGOTIATION_BYTES_MAX => Text,
            (Subnegotiation(bytes), IAC) => SubnegotiationCommand(bytes + 1),
            (Subnegotiation(bytes), _) => Subnegotiation(bytes + 1),
            (SubnegotiationCommand(_), SE) => {
                self.has_negotiated = true;
                Text
            }
            (SubnegotiationCommand(bytes), _) => Subnegotiation(bytes + 1),
        };
    }

    /// What might have been a negotiation's beginning was text.
    fn was_text(
        &mut self,
        text: &[u8],
        byte: u8,
        charset: Bytes,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        line.extend_from_slice(text);
        self.place = Place::Text;
        self.feed(byte, charset, line, answers);
    }

    /// Now that it is known to be Telnet: commands right before the first negotiation, which were
    /// taken for letters (Ctrl-C sends IAC IP, IAC DO TM).
    fn take_back_commands(&mut self, charset: Bytes, line: &mut Vec<u8>, answers: &mut Answers) {
        let mut start = line.len();
        while start >= 2 && line[start - 2] == IAC && (SE..=249).contains(&line[start - 1]) {
            start -= 2;
        }
        let commands = line.split_off(start);
        commands.chunks(2).for_each(|pair| self.obey(pair[1], charset, line, answers));
    }

    fn obey(&mut self, command: u8, charset: Bytes, line: &mut Vec<u8>, answers: &mut Answers) {
        match command {
            ARE_YOU_THERE => answers.are_you_there = true,
            BREAK | INTERRUPT | ABORT | ERASE_LINE => line.clear(),
            ERASE_CHARACTER if charset.is_utf8 => {
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            ERASE_CHARACTER if charset.is_single => drop(line.pop()),
            // Where a character's beginning can't be found from its end, nothing is erased.
            _ => {}
        }
    }

    fn answer(&mut self, command: u8, option: u8, answers: &mut Vec<u8>) {
        let [receives, sends] = &mut self.binary;
        let answer = match (command, option) {
            (WILL, BINARY) if !std::mem::replace(receives, true) => DO,
            (WONT, BINARY) if std::mem::replace(receives, false) => DONT,
            (DO, BINARY) if !std::mem::replace(sends, true) => WILL,
            (DONT, BINARY) if std::mem::replace(sends, false) => WONT,
            (_, BINARY) => return,
            (WILL, _) => DONT,
            (DO, _) => WONT,
            _ => return,
        };
        answers.extend([IAC, answer, option]);
    }
}

/// Whether a byte after two letters is an option's number: a control character that no text has.
fn is_option_and_no_text(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Whether some bytes, of a line that isn't whole, hold a negotiation or command that is: a client
/// may wait for its answer before it goes on.
///
/// In a charset where 0xFF is a character this may also be so of text.
pub fn has_command(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(IAC, rest) {
        rest = &rest[at + 1..];
        match rest {
            [EOF..=249, ..] | [WILL..=DONT, _, ..] => return true,
            [SB, inside @ ..] => return memchr::memmem::find(inside, &[IAC, SE]).is_some(),
            // Twice: a character.
            [IAC, behind @ ..] => rest = behind,
            _ => {}
        }
    }
    false
}

/// How many bytes of a line are left when negotiations and commands are taken out and obeyed. Where
/// 0xFF is a character, a few letters may be taken for them.
pub fn text_len(line: &[u8]) -> usize {
    if memchr::memchr(IAC, line).is_none() {
        return line.len();
    }
    let (mut text, utf_8) = (Vec::new(), Bytes { has_ff: false, is_single: false, is_utf8: true });
    Telnet::default().filter(line, utf_8, &mut text, &mut Answers::default());
    text.len()
}

/// Doubles each 0xFF, as text is sent to a client that speaks Telnet.
pub fn double_iac(bytes: &mut Vec<u8>) {
    if bytes.contains(&IAC) {
        *bytes = bytes
            .iter()
            .flat_map(|&byte| std::iter::repeat_n(byte, if byte == IAC { 2 } else { 1 }))
            .collect();
    }
}

#[cfg(test)]
mod tests;
