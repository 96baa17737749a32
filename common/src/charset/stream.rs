//! Decoding of a stream, where a read may end in the middle of a character.

use super::Charset;
use encoding_rs::Decoder;

/// Decodes the bytes of a connection read by read. The text does not depend on where the reads cut
/// the bytes.
///
/// Control characters stay in the text. [`Charset::decode`], for whole lines, removes them.
pub struct StreamDecoder {
    decoder: Decoder,
    kept: usize,
}

impl Charset {
    /// A decoder at the start of a stream of bytes in this charset.
    pub fn stream_decoder(self) -> StreamDecoder {
        StreamDecoder { decoder: self.0.new_decoder_without_bom_handling(), kept: 0 }
    }

    /// Decodes complete bytes, including control characters. Invalid bytes become U+FFFD.
    pub fn decode_all(self, bytes: &[u8]) -> String {
        self.0.decode_without_bom_handling(bytes).0.into_owned()
    }
}

impl StreamDecoder {
    /// Appends the characters that are complete with these bytes to `text`. An incomplete character
    /// at the end is kept until its other bytes arrive. Invalid bytes become U+FFFD.
    pub fn decode(&mut self, bytes: &[u8], text: &mut String) {
        // Byte by byte, since the decoder does not report how many bytes it keeps.
        for byte in bytes {
            let length = text.len();
            self.feed(&[*byte], text, false);
            self.kept = match self.is_between_characters() {
                true => 0,
                // The kept bytes were invalid; this one begins another character.
                false if text.len() > length => 1,
                false => self.kept + 1,
            };
        }
    }

    /// The number of kept bytes of an incomplete character.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Ends the stream. An incomplete character becomes U+FFFD.
    pub fn finish(mut self, text: &mut String) {
        self.feed(&[], text, true);
    }

    fn feed(&mut self, bytes: &[u8], text: &mut String, is_last: bool) {
        // Without this space the decoder would stop early. The length overflows only for inputs
        // near usize::MAX.
        text.reserve(self.decoder.max_utf8_buffer_length(bytes.len()).unwrap_or_default());
        let _ = self.decoder.decode_to_string(bytes, text, is_last);
    }

    /// The decoder has no method for this question, but this one returns `None` in the middle of a
    /// character.
    fn is_between_characters(&self) -> bool {
        self.decoder.latin1_byte_compatible_up_to(&[]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [&str; 9] = [
        "utf-8",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-jp",
        "euc-kr",
        "windows-1252",
        "koi8-r",
    ];

    /// The text of these reads, and how many bytes were kept after each.
    fn read(charset: Charset, reads: &[&[u8]]) -> (String, Vec<usize>) {
        let (mut decoder, mut text, mut kept) =
            (charset.stream_decoder(), String::new(), Vec::new());
        for bytes in reads {
            decoder.decode(bytes, &mut text);
            kept.push(decoder.kept());
        }
        decoder.finish(&mut text);
        (text, kept)
    }

    fn by_label(label: &str) -> Charset {
        Charset::by_label(label).unwrap()
    }

    #[test]
    fn a_character_in_two_reads_is_one_character() {
        assert_eq!(
            read(by_label("gbk"), &[b"\xc4\xe3\xba", b"\xc3!"]),
            ("你好!".to_owned(), vec![1, 0])
        );
        assert_eq!(
            read(by_label("utf-8"), &[b"\xe4", b"\xbd", b"\xa0"]),
            ("你".to_owned(), vec![1, 2, 0])
        );
        assert_eq!(
            read(by_label("gb18030"), &[b"\x94\x39\xda", b"\x33"]),
            ("💩".to_owned(), vec![3, 0])
        );
        assert_eq!(
            read(by_label("windows-1251"), &[b"\xff", b"\xfe"]),
            ("яю".to_owned(), vec![0, 0])
        );
    }

    #[test]
    fn invalid_bytes_are_not_kept() {
        assert_eq!(
            read(by_label("utf-8"), &[b"\xe4\xe4", b"a"]),
            ("\u{fffd}\u{fffd}a".to_owned(), vec![1, 0])
        );
        assert_eq!(read(by_label("gbk"), &[b"\xc4\n"]), ("\u{fffd}\n".to_owned(), vec![0]));
        assert_eq!(
            read(by_label("gbk"), &[b"a\xc4"]),
            ("a\u{fffd}".to_owned(), vec![1]),
            "the stream ends in half a character"
        );
    }

    proptest! {
        #[test]
        fn the_text_does_not_depend_on_where_reads_cut_the_bytes(
            label in prop::sample::select(&LABELS[..]),
            reads: Vec<Vec<u8>>,
        ) {
            let reads: Vec<&[u8]> = reads.iter().map(Vec::as_slice).collect();
            let (text, kept) = read(by_label(label), &reads);
            prop_assert_eq!(text, by_label(label).decode_all(&reads.concat()));
            prop_assert!(kept.iter().all(|&kept| kept < 4));
        }

        #[test]
        fn valid_text_may_be_cut_anywhere(
            label in prop::sample::select(&LABELS[..]),
            words in "[ a-zа-я你好再见吃饭한글かな]{0,20}",
            cut in 0..100_usize,
        ) {
            let (charset, mut bytes) = (by_label(label), Vec::new());
            charset.encode(&words, &mut bytes);
            let (before, after) = bytes.split_at(cut.min(bytes.len()));
            let (text, kept) = read(charset, &[before, after]);
            prop_assert_eq!(text, charset.decode_all(&bytes));
            prop_assert_eq!(kept[1], 0);
            // The bytes that were not kept are whole characters.
            let whole = charset.decode_all(&before[..before.len() - kept[0]]);
            prop_assert!(!whole.contains(char::REPLACEMENT_CHARACTER), "{}", whole);
        }
    }
}
