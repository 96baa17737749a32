//! Bytes to text and back, in the charsets of the WHATWG Encoding Standard that contain ASCII.
//!
//! A character that a charset lacks is replaced by the most similar one that it has (see
//! `substitutes`), at worst by `?`.
//!
//! Charsets without ASCII (UTF-16, ISO-2022-JP) are not supported, because their line ends are not
//! the byte 0x0A. In all others 0x0A is never part of another character, so lines are split before
//! they are decoded.

use crate::protocol::line::telnet::Bytes;
use encoding_rs::{Encoding, UTF_8, X_USER_DEFINED};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod escapes;
mod stream;
mod substitutes;

pub use stream::StreamDecoder;

/// How a client's bytes are read, and how it is written to. UTF-8 unless it said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// Why a name is not a charset that can be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharsetError {
    /// No charset has this name.
    Unknown,
    /// A charset, but one without ASCII in it, or with bytes that are no text; carries its proper
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
        // In x-user-defined each byte from 0x80 on stands for itself: a control byte of a terminal
        // would be one.
        if encoding.is_ascii_compatible() && encoding != X_USER_DEFINED {
            Ok(Charset(encoding))
        } else {
            Err(CharsetError::NotAscii(encoding.name()))
        }
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
        Bytes {
            has_ff: self.has_byte_ff(),
            is_single: self.0.is_single_byte(),
            is_utf8: self.0 == UTF_8,
        }
    }

    /// Reads one line's bytes and appends its text, without its line end, to `text`. What isn't
    /// valid becomes U+FFFD; escape sequences and control characters other than tab are taken out,
    /// so that nobody writes to another's terminal what it acts on, and so are those that turn the
    /// direction of what stands beside them. Backspace and DEL take back the character before them,
    /// Ctrl-W the word and Ctrl-U all before it. What ends a line elsewhere (CR, form feed, U+2028)
    /// becomes a space.
    pub fn decode(self, bytes: &[u8], text: &mut String) {
        let bytes = without_line_end(bytes);
        // A program that was told another charset may still begin with it, and with a command after
        // it.
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

    /// Appends `text` in this charset to `bytes`; a character that the charset lacks becomes what
    /// stands nearest to it, at worst `?`.
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

    /// False if the charset lacks a character; then what was appended ends before it.
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

/// That of UTF-8.
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
    // Without an early end, so that the compiler can look at many bytes at a time: nearly always
    // all of them are plain.
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
            c if c.is_control() || acts_on_others(c) || (is_tag(c) && !is_in_flag) => {}
            c => text.push(c),
        }
    }
}

/// Invisible characters that change how what stands beside them is shown: embeddings, overrides and
/// isolates of the Bidirectional Algorithm (the marks of direction, which Hebrew and Arabic need,
/// change nothing but their own place), deprecated formats, annotations, byte order marks.
fn acts_on_others(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{feff}')
}

/// Invisible copies of ASCII. The flags of Scotland and others are made of them, behind a black
/// flag; elsewhere they hide text.
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
        for (charset, text) in [
            ("gbk", "你好"),
            ("big5", "中文"),
            ("shift_jis", "日本語"),
            ("windows-1251", "привет"),
            ("gb18030", "😀"),
        ] {
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
        assert_eq!(decoded("utf-8", b"a\xffb\x1b[31m\0\tc\x07"), "a\u{fffd}b\tc");
        assert_eq!(decoded("utf-8", "a\u{9b}31mb".as_bytes()), "ab");
        assert_eq!(decoded("gbk", b"\xc4"), "\u{fffd}");
    }

    #[test]
    fn keys_and_colours_leave_nothing_behind() {
        for sequence in [
            "\x1b[A",
            "\x1b[1;5C",
            "\x1b[3~",
            "\x1b[200~",
            "\x1b[[A",
            "\x1bOA",
            "\x1bO5P",
            "\x1b\x1b[D",
            "\x1b[31;1m",
            "\x1b[?25l",
            "\x1b[2 q",
            "\x1b(B",
            "\x1b%G",
            "\x1b#8",
            "word\x17",
            "two words\x17\x17",
            "\x1b]0;title\x07",
            "\x1b]11;rgb:f/f/f\x1b\\",
            "\x1bP1$r0m\x1b\\",
            "\u{9b}A",
            "\x1bb",
            "\x1bb\x1bf",
            "\x1bb\x03",
            "\x1b",
            "\x1b[",
            "\x1b[ ",
            "\x1b[1;",
            "\x1b[A\x1b[A\x1bOC",
            "\x01\x15\x03",
            "ab\x08\x08",
            "abc\x15",
            "é\x7f",
            "\x7f\x08",
            "\x08x\x1b[D\x7f",
        ] {
            assert_eq!(
                decoded("utf-8", format!("{sequence}/who").as_bytes()),
                "/who",
                "{sequence:?}"
            );
        }
        assert_eq!(decoded("utf-8", b"\x1b[200~/msg bob hi\x1b[201~"), "/msg bob hi");
        assert_eq!(
            decoded("utf-8", b"\x1b[1mbold\x1b[m, N\x08NA\x08A, 1%\x08\x082%"),
            "bold, NA, 2%"
        );
        assert_eq!(decoded("utf-8", "你好\x7f们\x08".as_bytes()), "你");
    }

    #[test]
    fn what_was_typed_after_esc_stays() {
        for text in [
            "hello",
            "Oh dear",
            "OK",
            "On time",
            "]x",
            "Please",
            "X marks it",
            "^_^",
            "(hello)",
            "你好",
            "/who",
            "//who",
        ] {
            assert_eq!(decoded("utf-8", format!("\x1b{text}").as_bytes()), text);
        }
    }

    #[test]
    fn only_characters_of_the_same_line_are_taken_back() {
        let mut text = "before".to_owned();
        Charset::default().decode(b"\x15a\x08\x08\x7fb", &mut text);
        assert_eq!(text, "beforeb");
    }

    #[test]
    fn charsets_without_ascii_are_refused_by_name() {
        assert_eq!(Charset::by_label("utf-16"), Err(CharsetError::NotAscii("UTF-16LE")));
        assert_eq!(Charset::by_label("iso-2022-jp"), Err(CharsetError::NotAscii("ISO-2022-JP")));
        assert_eq!(Charset::by_label("klingon"), Err(CharsetError::Unknown));
        for label in ["utf-16be", "replacement", "iso-2022-kr", "hz-gb-2312", "x-user-defined"] {
            assert!(matches!(Charset::by_label(label), Err(CharsetError::NotAscii(_))), "{label}");
        }
    }

    #[test]
    fn what_ends_a_line_elsewhere_is_a_space() {
        assert_eq!(decoded("utf-8", b"10%\r20%"), "10% 20%");
        assert_eq!(decoded("utf-8", b"10%\r20%\r\r\0\r\n"), "10% 20%");
        for separator in ["\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}"] {
            assert_eq!(
                decoded("utf-8", format!("hi{separator}[#lobby] bob: hi").as_bytes()),
                "hi [#lobby] bob: hi",
                "{separator:?}"
            );
        }
        assert_eq!(decoded("windows-1251", b"10%\r20%"), "10% 20%");
        assert_eq!(decoded("iso-8859-1", b"a\x85b"), "a…b", "windows-1252 by its WHATWG name");
        assert_eq!(decoded("iso-8859-2", b"a\x85b"), "a b");
    }

    #[test]
    fn what_acts_on_other_text_is_gone_and_what_words_need_stays() {
        assert_eq!(
            decoded("utf-8", "a\u{202e}b\u{2066}c\u{2069}d\u{feff}e\u{fff9}f\u{e0041}g".as_bytes()),
            "abcdefg"
        );
        for text in [
            "שלום\u{200f}!",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "❤\u{fe0f}",
            "นา\u{200b}ง",
        ] {
            assert_eq!(decoded("utf-8", text.as_bytes()), text);
        }
        assert_eq!(decoded("utf-8", b"\xef\xbb\xbf/nick bob"), "/nick bob", "a byte order mark");
        assert_eq!(decoded("gb18030", b"\x84\x31\x95\x33/nick bob"), "/nick bob");
    }

    #[test]
    fn sentences_pass_through_their_languages_charsets() {
        for (charset, text) in [
            ("big5-hkscs", "我哋喺度食嘢，佢哋唔嚟㗎"),
            ("euc-jp", "鷗外と内田百閒 丂丄"),
            ("euc-kr", "다람쥐 헌 쳇바퀴"),
            ("shift_jis", "～日本語のテスト－"),
            ("gbk", "€5 镕"),
            ("gb18030", "Tiếng Việt कृष्ण"),
            ("windows-1250", "Příliš žluťoučký kůň, zażółć gęślą jaźń"),
            ("iso-8859-2", "árvíztűrő tükörfúrógép"),
            ("windows-1251", "Съешь ещё этих булочек, ґанок, ўсё"),
            ("koi8-u", "їжак ґанок"),
            ("x-mac-cyrillic", "Съешь ещё"),
            ("windows-1253", "Ξεσκεπάζω την ψυχοφθόρα"),
            ("windows-1254", "Pijamalı hasta yağız şoföre"),
            ("windows-1255", "דג סקרן שט"),
            ("iso-8859-8", "דג סקרן שט"),
            ("iso-8859-6", "صِف خَلقَ خَودِ"),
            ("windows-1256", "صِف خَلقَ خَودِ"),
            ("windows-1257", "Įlinkdama fechtuotojo špaga"),
            ("windows-874", "เป็นมนุษย์สุดประเสริฐ"),
            ("iso-8859-15", "Œuvre à 5 €"),
        ] {
            assert_eq!(decoded(charset, &encoded(charset, text)), text, "{charset}");
        }
    }

    /// Whatever a client can send in its charset, another in the same charset reads.
    #[test]
    fn all_pairs_of_bytes_pass_through_a_charset_and_back() {
        for label in [
            "big5",
            "euc-kr",
            "euc-jp",
            "shift_jis",
            "gbk",
            "gb18030",
            "windows-1258",
            "koi8-r",
            "iso-8859-8-i",
            "macintosh",
        ] {
            for lead in 0x80..=0xffu8 {
                for trail in 0x40..=0xffu8 {
                    let text = decoded(label, &[lead, trail]);
                    // Shift_JIS has a range for private use, which is read and can't be written.
                    let is_private =
                        text.chars().any(|c| matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fffd}'));
                    if !is_private {
                        let back = decoded(label, &encoded(label, &text));
                        assert_eq!(back, text, "{label} {lead:x} {trail:x}");
                    }
                }
            }
        }
    }

    #[test]
    fn byte_ff_is_a_character_in_some() {
        for (charset, has) in [
            ("utf-8", false),
            ("gbk", false),
            ("windows-1251", true),
            ("koi8-r", true),
            ("shift_jis", false),
            ("big5", false),
        ] {
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

        #[test]
        fn a_command_after_keys_is_a_command(keys in prop::collection::vec(prop::sample::select(vec!["\x1b[A", "\x1b[1;2~", "\x1bOB", "\x1b", "\x1b[", "\x1b]0;t\x07", "\x08", "\x7f", "\x03", "x\x7f", "\u{9b}5m"]), 0..6)) {
            prop_assert_eq!(decoded("utf-8", format!("{}/who", keys.concat()).as_bytes()), "/who");
        }
    }
}
