//! Telnet's negotiation, taken out of what a client sends.
//!
//! `telnet HOST PORT` may negotiate options in the middle of the text: `IAC WILL x`, `IAC SB x … IAC SE`, the Synch signal's
//! `IAC DM`. A negotiation may contain the byte LF (a window ten lines high), at which the line was already cut when it
//! comes here; so the filter's state is kept from line to line, and says whether the LF belonged to the text.
//! Source: RFC 854 (commands), RFC 855 (subnegotiation).

use crate::limits::SUBNEGOTIATION_BYTES_MAX;
use serde::{Deserialize, Serialize};

const IAC: u8 = 255;
const DONT: u8 = 254;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// Where in a negotiation the bytes so far have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TelnetFilter {
    /// In the text.
    #[default]
    Text,
    /// Behind an IAC.
    Command,
    /// Behind WILL, WONT, DO or DONT: the option's number comes.
    Option,
    /// Inside a subnegotiation of so many bytes so far.
    Subnegotiation(u16),
    /// Behind an IAC inside a subnegotiation of so many bytes so far.
    SubnegotiationCommand(u16),
}

impl TelnetFilter {
    /// Takes one byte; gives it back if it is text.
    pub fn feed(&mut self, byte: u8) -> Option<u8> {
        use TelnetFilter::*;
        let mut text = None;
        *self = match (*self, byte) {
            (Text, IAC) => Command,
            (Text, _) => {
                text = Some(byte);
                Text
            }
            (Command, IAC) => {
                text = Some(IAC);
                Text
            }
            (Command, SB) => Subnegotiation(0),
            (Command, WILL..=DONT) => Option,
            (Command, SE..=249) | (Option, _) => Text,
            // Not a command: a stray 0xFF in front of text.
            (Command, _) => {
                text = Some(byte);
                Text
            }
            (Subnegotiation(bytes), _) if usize::from(bytes) >= SUBNEGOTIATION_BYTES_MAX => Text,
            (Subnegotiation(bytes), IAC) => SubnegotiationCommand(bytes + 1),
            (Subnegotiation(bytes), _) => Subnegotiation(bytes + 1),
            (SubnegotiationCommand(_), SE) => Text,
            (SubnegotiationCommand(bytes), _) => Subnegotiation(bytes + 1),
        };
        text
    }

    /// Appends the text in `bytes` to `text`.
    pub fn filter(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        if *self == TelnetFilter::Text && !bytes.contains(&IAC) {
            text.extend_from_slice(bytes);
        } else {
            text.extend(bytes.iter().filter_map(|&byte| self.feed(byte)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(bytes: &[u8]) -> (Vec<u8>, TelnetFilter) {
        let (mut filter, mut text) = (TelnetFilter::default(), Vec::new());
        filter.filter(bytes, &mut text);
        (text, filter)
    }

    #[test]
    fn negotiation_is_taken_out() {
        assert_eq!(filtered(b"\xff\xfb\x1fhe\xff\xf1llo\xff\xfd\x01"), (b"hello".to_vec(), TelnetFilter::Text));
        assert_eq!(filtered(b"a\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0b").0, b"ab");
        assert_eq!(filtered(b"a\xff\xffb").0, b"a\xffb");
        assert_eq!(filtered(b"a\xffb").0, b"ab");
    }

    #[test]
    fn a_line_end_inside_a_subnegotiation_is_not_the_texts() {
        let (text, mut filter) = filtered(b"ab\xff\xfa\x1f\x00\x50\x00");
        assert_eq!(text, b"ab");
        assert_eq!(filter.feed(b'\n'), None);
        let mut rest = Vec::new();
        filter.filter(b"\xff\xf0cd", &mut rest);
        assert_eq!((rest.as_slice(), filter), (&b"cd"[..], TelnetFilter::Text));
    }

    #[test]
    fn a_subnegotiation_without_an_end_does_not_mute_for_ever() {
        let mut bytes = b"\xff\xfa".to_vec();
        bytes.resize(SUBNEGOTIATION_BYTES_MAX + 3, b'x');
        bytes.extend_from_slice(b"heard");
        assert_eq!(filtered(&bytes).0, b"heard");
    }
}
