//! The server's side of Telnet: removes negotiations from client input and answers them.
//!
//! `telnet HOST PORT` may negotiate options in the middle of the text: `IAC WILL x`, `IAC SB x …
//! IAC SE`, the Synch signal's `IAC DM`. A negotiation may contain the byte LF (a window ten lines
//! high). The input was already split into lines at such bytes. So the state lasts from line to
//! line, and decides whether an LF was part of the text.
//!
//! In a charset whose byte 0xFF is a character (windows-1251: `я`), 0xFF is Telnet's IAC only for a
//! client that has negotiated. The first negotiation of such a client is recognised by its option,
//! a control byte: text does not contain a control byte after these two letters.
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
/// The only supported option: all eight bits of a byte are text. This is always the case.
const BINARY: u8 = 0;

/// The Telnet state of one client after the input so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telnet {
    state: State,
    has_negotiated: bool,
    /// Whether binary was agreed for input, and for output.
    binary: [bool; 2],
}

/// The position in a negotiation at the end of the input so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// In the text.
    #[default]
    Text,
    /// After an IAC.
    Command,
    /// After this WILL, WONT, DO or DONT: the option's number follows.
    Option(u8),
    /// In a subnegotiation, after this many bytes.
    Subnegotiation(u16),
    /// After an IAC in a subnegotiation, after this many bytes.
    SubnegotiationCommand(u16),
    /// After a 0xFF that may be a letter.
    MaybeCommand,
    /// After a 0xFF and this byte, which may be two letters.
    MaybeOption(u8),
}

/// The properties of a charset that matter for Telnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharsetTraits {
    /// The byte 0xFF is a character.
    pub has_ff: bool,
    /// Each byte is a character.
    pub is_single: bool,
    /// The charset is UTF-8.
    pub is_utf8: bool,
}

/// The answers to a client's negotiations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Negotiations, which are sent unchanged.
    pub bytes: Vec<u8>,
    /// The client asked "are you there".
    pub are_you_there: bool,
}

impl Telnet {
    /// Whether the client has negotiated. If so, a 0xFF that is a character is sent twice in both
    /// directions.
    pub fn has_negotiated(&self) -> bool {
        self.has_negotiated
    }

    /// Whether the input so far ends in text, not in a possible negotiation.
    pub fn is_in_text(&self) -> bool {
        self.state == State::Text
    }

    /// Appends the text in `bytes` to `line`, which is the line so far, and the answers to
    /// `answers`.
    pub fn filter(
        &mut self,
        bytes: &[u8],
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        if self.is_in_text() && !bytes.contains(&IAC) {
            line.extend_from_slice(bytes);
        } else {
            bytes.iter().for_each(|&byte| self.feed(byte, charset, line, answers));
        }
    }

    /// Handles an LF. True if it ends the line; false if it belongs to a negotiation.
    pub fn end_line(
        &mut self,
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) -> bool {
        let before = line.len();
        self.feed(b'\n', charset, line, answers);
        // Bytes that could have become a negotiation turn out to be text, and are appended before
        // the LF.
        let is_text = line.len() > before;
        if is_text {
            line.pop();
        }
        is_text
    }

    /// Handles the end of input. Bytes that could have become a negotiation are text; an unfinished
    /// negotiation is dropped.
    pub fn end_input(&mut self, line: &mut Vec<u8>) {
        match std::mem::take(&mut self.state) {
            State::MaybeCommand => line.push(IAC),
            State::MaybeOption(command) => line.extend([IAC, command]),
            _ => {}
        }
    }

    fn feed(
        &mut self,
        byte: u8,
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        use State::*;
        let is_doubtful = charset.has_ff && !self.has_negotiated;
        self.state = match (self.state, byte) {
            (Text, IAC) if is_doubtful => MaybeCommand,
            (Text, IAC) => Command,
            (Text, _) => {
                line.push(byte);
                Text
            }
            (MaybeCommand, SB..=DONT) => MaybeOption(byte),
            (MaybeCommand, _) => return self.push_text(&[IAC], byte, charset, line, answers),
            (MaybeOption(command), _) if is_option_and_no_text(byte) => {
                self.execute_late_commands(charset, line, answers);
                self.state = if command == SB { Subnegotiation(0) } else { Option(command) };
                return self.feed(byte, charset, line, answers);
            }
            (MaybeOption(command), _) => {
                return self.push_text(&[IAC, command], byte, charset, line, answers);
            }
            (Command, IAC) => {
                line.push(IAC);
                Text
            }
            (Command, SB) => Subnegotiation(0),
            (Command, WILL..=DONT) => Option(byte),
            (Command, EOF..=249) => {
                self.execute(byte, charset, line, answers);
                Text
            }
            // Not a command: a stray 0xFF before text.
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

    /// Appends bytes that could have become a negotiation as text, and continues with `byte`.
    fn push_text(
        &mut self,
        text: &[u8],
        byte: u8,
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        line.extend_from_slice(text);
        self.state = State::Text;
        self.feed(byte, charset, line, answers);
    }

    /// Executes commands directly before the first negotiation, which were taken for letters.
    /// Ctrl-C sends IAC IP, IAC DO TM.
    fn execute_late_commands(
        &mut self,
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        let mut start = line.len();
        while start >= 2 && line[start - 2] == IAC && (SE..=249).contains(&line[start - 1]) {
            start -= 2;
        }
        let commands = line.split_off(start);
        commands.chunks(2).for_each(|pair| self.execute(pair[1], charset, line, answers));
    }

    fn execute(
        &mut self,
        command: u8,
        charset: CharsetTraits,
        line: &mut Vec<u8>,
        answers: &mut Answers,
    ) {
        match command {
            ARE_YOU_THERE => answers.are_you_there = true,
            BREAK | INTERRUPT | ABORT | ERASE_LINE => line.clear(),
            ERASE_CHARACTER if charset.is_utf8 => {
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            ERASE_CHARACTER if charset.is_single => drop(line.pop()),
            // In other charsets the beginning of a character can't be found from its end, so
            // nothing is erased.
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

/// Whether a byte after two possible letters is an option: a control character, which text does not
/// contain.
fn is_option_and_no_text(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Whether an incomplete line contains a complete negotiation or command. Its client may wait for
/// the answer before it continues.
///
/// In a charset where 0xFF is a character, this may be true for text.
pub fn has_command(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(IAC, rest) {
        rest = &rest[at + 1..];
        match rest {
            [EOF..=249, ..] | [WILL..=DONT, _, ..] => return true,
            [SB, inside @ ..] => return memchr::memmem::find(inside, &[IAC, SE]).is_some(),
            // A doubled 0xFF is a character.
            [IAC, after @ ..] => rest = after,
            _ => {}
        }
    }
    false
}

/// The length of a line in bytes after negotiations are removed and commands are executed. In a
/// charset where 0xFF is a character, a few letters may count as such.
pub fn text_len(line: &[u8]) -> usize {
    if memchr::memchr(IAC, line).is_none() {
        return line.len();
    }
    let (mut text, utf_8) =
        (Vec::new(), CharsetTraits { has_ff: false, is_single: false, is_utf8: true });
    Telnet::default().filter(line, utf_8, &mut text, &mut Answers::default());
    text.len()
}

/// Doubles each 0xFF, for a client that speaks Telnet.
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
