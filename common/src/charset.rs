//! Bytes to text and back, in the charsets of the WHATWG Encoding Standard that contain ASCII.
//!
//! A charset that doesn't contain ASCII (UTF-16, ISO-2022-JP) can't be used: its line ends aren't bytes 0x0A.
//! In all the others 0x0A is never part of another character, so lines are cut before they are decoded.

use crate::telnet::Bytes;
use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a client's bytes are read, and how it is written to. UTF-8 unless it said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// Why a name is not a charset that can be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharsetError {
    /// No charset has this name.
    Unknown,
    /// A charset, but one without ASCII in it; carries its proper name.
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
        if encoding.is_ascii_compatible() { Ok(Charset(encoding)) } else { Err(CharsetError::NotAscii(encoding.name())) }
    }

    /// The proper name, as WHATWG spells it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether 0xFF stands for a character; where it doesn't, it is Telnet's IAC.
    pub fn has_byte_ff(self) -> bool {
        self.0.is_single_byte() && self.0.decode_without_bom_handling(&[0xff]).0 != "\u{fffd}"
    }

    /// How its bytes are read, as far as Telnet is concerned.
    pub fn bytes(self) -> Bytes {
        Bytes { has_ff: self.has_byte_ff(), is_single: self.0.is_single_byte(), is_utf8: self.0 == UTF_8 }
    }

    /// Reads one line's bytes and appends its text to `text`. What isn't valid becomes U+FFFD; control characters other than tab are
    /// taken out, so that nobody writes escape sequences to another's terminal.
    pub fn decode(self, bytes: &[u8], text: &mut String) {
        if self.0 == UTF_8
            && let Ok(valid) = std::str::from_utf8(bytes)
        {
            push_printable(valid, text);
        } else {
            push_printable(&self.0.decode_without_bom_handling(bytes).0, text);
        }
    }

    /// Appends `text` in this charset to `bytes`; a character that the charset lacks becomes `?`.
    pub fn encode(self, text: &str, bytes: &mut Vec<u8>) {
        if self.0 == UTF_8 || text.is_ascii() {
            bytes.extend_from_slice(text.as_bytes());
            return;
        }
        let mut encoder = self.0.new_encoder();
        let mut rest = text;
        loop {
            let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len()).unwrap_or(rest.len() * 4);
            bytes.reserve(room);
            let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, bytes, true);
            rest = &rest[read..];
            match result {
                encoding_rs::EncoderResult::InputEmpty => return,
                encoding_rs::EncoderResult::OutputFull => {}
                encoding_rs::EncoderResult::Unmappable(_) => bytes.push(b'?'),
            }
        }
    }
}

fn push_printable(decoded: &str, text: &mut String) {
    let is_plain_ascii = |byte: u8| (0x20..0x7f).contains(&byte) || byte == b'\t';
    // Without an early end, so that the compiler can look at many bytes at a time: nearly always all of them are plain.
    if decoded.bytes().fold(true, |all, byte| all & is_plain_ascii(byte)) {
        text.push_str(decoded);
    } else {
        text.extend(decoded.chars().filter(|&c| c == '\t' || !c.is_control()));
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(charset: &str, bytes: &[u8]) -> String {
        let mut text = String::new();
        Charset::by_label(charset).unwrap().decode(bytes, &mut text);
        text
    }

    fn encoded(charset: &str, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Charset::by_label(charset).unwrap().encode(text, &mut bytes);
        bytes
    }

    #[test]
    fn text_passes_through_a_charset_and_back() {
        for (charset, text) in [("gbk", "你好"), ("big5", "中文"), ("shift_jis", "日本語"), ("windows-1251", "привет"), ("gb18030", "😀")]
        {
            assert_eq!(decoded(charset, &encoded(charset, text)), text, "{charset}");
        }
        assert_eq!(encoded("gbk", "你好"), [0xc4, 0xe3, 0xba, 0xc3]);
    }

    #[test]
    fn what_a_charset_lacks_is_a_question_mark() {
        assert_eq!(encoded("gbk", "a😀b"), b"a?b");
        assert_eq!(encoded("windows-1251", "я 你好"), b"\xff ??");
    }

    #[test]
    fn what_is_invalid_is_replaced_and_controls_are_gone() {
        assert_eq!(decoded("utf-8", b"a\xffb\x1b[31m\0\tc\x7f"), "a\u{fffd}b[31m\tc");
        assert_eq!(decoded("utf-8", "a\u{9b}31mb".as_bytes()), "a31mb");
        assert_eq!(decoded("gbk", b"\xc4"), "\u{fffd}");
    }

    #[test]
    fn charsets_without_ascii_are_refused_by_name() {
        assert_eq!(Charset::by_label("utf-16"), Err(CharsetError::NotAscii("UTF-16LE")));
        assert_eq!(Charset::by_label("iso-2022-jp"), Err(CharsetError::NotAscii("ISO-2022-JP")));
        assert_eq!(Charset::by_label("klingon"), Err(CharsetError::Unknown));
    }

    #[test]
    fn byte_ff_is_a_character_in_some() {
        for (charset, has) in
            [("utf-8", false), ("gbk", false), ("windows-1251", true), ("koi8-r", true), ("shift_jis", false), ("big5", false)]
        {
            assert_eq!(Charset::by_label(charset).unwrap().has_byte_ff(), has, "{charset}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_yields_a_control_character(label in prop::sample::select(vec!["utf-8", "gbk", "gb18030", "big5", "shift_jis", "euc-kr", "windows-1252"]), bytes: Vec<u8>) {
            let text = decoded(label, &bytes);
            prop_assert!(text.chars().all(|c| c == '\t' || !c.is_control()));
            prop_assert!(!encoded(label, &text).contains(&b'\n'));
        }
    }
}
