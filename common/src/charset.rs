//! Bytes to text and back, in the charsets of the WHATWG Encoding Standard that contain ASCII.
//!
//! A character that a charset lacks is replaced by the most similar one in the charset (see
//! `substitutes`), at worst by `?`.
//!
//! Charsets without ASCII (UTF-16, ISO-2022-JP) are not supported, because their line ends are not
//! the byte 0x0A. In all others 0x0A is never part of another character, so lines are split before
//! they are decoded.

use crate::protocol::line::telnet::CharsetTraits;
use encoding_rs::{Encoding, UTF_8, X_USER_DEFINED};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod escapes;
mod stream;
mod substitutes;

pub use stream::StreamDecoder;

/// The charset of a client's input and output. UTF-8 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// Why a label does not name a usable charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharsetError {
    /// No charset has this name.
    Unknown,
    /// The charset does not contain ASCII, or has bytes that are not text. Holds the charset's
    /// name.
    NotAscii(&'static str),
}

impl Default for Charset {
    fn default() -> Charset {
        Charset(UTF_8)
    }
}

impl Charset {
    /// Finds a charset by any of its WHATWG labels, in any case (`gbk`, `cp1251`, `latin1`).
    pub fn by_label(label: &str) -> Result<Charset, CharsetError> {
        let encoding = Encoding::for_label(label.as_bytes()).ok_or(CharsetError::Unknown)?;
        // In x-user-defined each byte from 0x80 on stands for itself, so terminal control bytes
        // would pass.
        if encoding.is_ascii_compatible() && encoding != X_USER_DEFINED {
            Ok(Charset(encoding))
        } else {
            Err(CharsetError::NotAscii(encoding.name()))
        }
    }

    /// The name as WHATWG spells it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether the byte 0xFF is a character. If not, it is always Telnet's IAC.
    pub fn has_byte_ff(self) -> bool {
        self.0.is_single_byte() && self.0.decode_without_bom_handling(&[0xff]).0 != "\u{fffd}"
    }

    /// The properties of the charset that Telnet processing needs.
    pub fn traits(self) -> CharsetTraits {
        CharsetTraits {
            has_ff: self.has_byte_ff(),
            is_single: self.0.is_single_byte(),
            is_utf8: self.0 == UTF_8,
        }
    }

    /// Decodes one line's bytes and appends the text, without its line end, to `text`. Invalid
    /// bytes become U+FFFD. Escape sequences and control characters other than tab are removed,
    /// since they could control the terminals of other users. So are characters that change the
    /// direction of the text around them. Backspace and DEL remove the character before them,
    /// Ctrl-W the word, Ctrl-U all before it. Other line separators (CR, form feed, U+2028) become
    /// a space.
    pub fn decode(self, bytes: &[u8], text: &mut String) {
        let bytes = without_line_end(bytes);
        // A program may send a byte order mark of UTF-8 before a command even after it chose
        // another charset.
        let bytes = bytes
            .strip_prefix(BYTE_ORDER_MARK)
            .filter(|rest| rest.starts_with(b"/"))
            .unwrap_or(bytes);
        if self.0 == UTF_8
            && let Ok(valid) = std::str::from_utf8(bytes)
        {
            push_printable(valid, text);
        } else {
            push_printable(&self.0.decode_without_bom_handling(bytes).0, text);
        }
    }

    /// Encodes `text` in this charset and appends it to `bytes`. A character that the charset lacks
    /// is replaced by the most similar one, at worst by `?`.
    pub fn encode(self, text: &str, bytes: &mut Vec<u8>) {
        if self.0 == UTF_8 || text.is_ascii() {
            bytes.extend_from_slice(text.as_bytes());
            return;
        }
        let start = bytes.len();
        if !self.encode_exactly(text, bytes) {
            bytes.truncate(start);
            substitutes::encode(self, text, bytes);
        }
    }

    /// False if the charset lacks a character. Then only the text before this character is
    /// appended.
    fn encode_exactly(self, text: &str, bytes: &mut Vec<u8>) -> bool {
        let mut encoder = self.0.new_encoder();
        let mut rest = text;
        loop {
            let room = encoder
                .max_buffer_length_from_utf8_without_replacement(rest.len())
                .unwrap_or(rest.len() * 4);
            bytes.reserve(room);
            let (result, read) =
                encoder.encode_from_utf8_to_vec_without_replacement(rest, bytes, true);
            rest = &rest[read..];
            match result {
                encoding_rs::EncoderResult::InputEmpty => return true,
                encoding_rs::EncoderResult::OutputFull => {}
                encoding_rs::EncoderResult::Unmappable(_) => return false,
            }
        }
    }
}

/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without its end: CR LF, LF, or Telnet's CR NUL.
fn without_line_end(mut line: &[u8]) -> &[u8] {
    while let Some(shorter) =
        [&b"\n"[..], b"\r", b"\r\0"].iter().find_map(|end| line.strip_suffix(*end))
    {
        line = shorter;
    }
    line
}

fn push_printable(decoded: &str, text: &mut String) {
    let is_plain_ascii = |byte: u8| (0x20..0x7f).contains(&byte) || byte == b'\t';
    // The fold does not stop early, so that the compiler can vectorise it. Nearly always all bytes
    // are plain.
    if decoded.bytes().fold(true, |all, byte| all & is_plain_ascii(byte)) {
        text.push_str(decoded);
        return;
    }
    let (start, mut is_in_flag, mut rest) = (text.len(), false, decoded);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        is_in_flag = c == '\u{1f3f4}' || (is_in_flag && is_tag(c));
        match c {
            '\t' => text.push(c),
            '\u{1b}' => rest = escapes::after_escape(rest),
            '\u{9b}' => rest = escapes::after_control_sequence(rest),
            '\u{15}' => text.truncate(start),
            '\u{17}' => {
                let before =
                    text[start..].trim_end().trim_end_matches(|c: char| !c.is_whitespace());
                text.truncate(start + before.len());
            }
            '\u{8}' | '\u{7f}' if text.len() > start => drop(text.pop()),
            '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => text.push(' '),
            c if c.is_control() || changes_neighbours(c) || (is_tag(c) && !is_in_flag) => {}
            c => text.push(c),
        }
    }
}

/// Whether a character is invisible and changes how the text around it is displayed: embeddings,
/// overrides and isolates of the Bidirectional Algorithm, deprecated formats, annotations, byte
/// order marks. The direction marks that Hebrew and Arabic need are not included: their effect is
/// local.
fn changes_neighbours(c: char) -> bool {
    matches!(c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{feff}')
}

/// Whether a character is an invisible copy of an ASCII character. After a black flag they form the
/// flags of Scotland and others. Elsewhere they would hide text.
fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e007f}')
}

impl Serialize for Charset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Charset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Charset, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        Charset::by_label(name).map_err(|_| serde::de::Error::custom("not a usable charset"))
    }
}

#[cfg(test)]
mod tests;
