//! Substitutes for characters that a charset lacks: the most similar character that it has.
//!
//! | tried | example |
//! |---|---|
//! | a character that the standard only decodes | `喺` in Big5's Hong Kong part |
//! | another character with the same look | `〜` in Shift_JIS: `～` |
//! | the letter and its marks, separately | `ế` in windows-1258: `ê` and an acute accent |
//! | the letter without its marks | `é` in windows-1251: `e` |
//! | nothing, for an invisible character | a variation selector |
//! | `?` | |

use super::Charset;
use encoding_rs::{BIG5, EUC_JP};
use icu_normalizer::properties::{
    CanonicalCombiningClassMapBorrowed, CanonicalCompositionBorrowed,
};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Substitutes that look the same or similar. The first one that the charset has is used.
const ALIKE: &[(char, &[&str])] = &[
    ('\u{301c}', &["\u{ff5e}", "\u{223c}", "~"]),
    ('\u{ff5e}', &["\u{301c}", "\u{223c}", "~"]),
    ('\u{223c}', &["\u{ff5e}", "~"]),
    ('\u{2016}', &["\u{2225}", "||"]),
    ('\u{2225}', &["\u{2016}", "||"]),
    ('\u{2212}', &["\u{ff0d}", "-"]),
    ('\u{ff0d}', &["\u{2212}", "-"]),
    ('\u{a2}', &["\u{ffe0}", "c"]),
    ('\u{a3}', &["\u{ffe1}", "GBP"]),
    ('\u{ac}', &["\u{ffe2}", "-"]),
    ('\u{2014}', &["\u{2015}", "\u{2013}", "-"]),
    ('\u{2015}', &["\u{2014}", "-"]),
    ('\u{2013}', &["\u{2014}", "-"]),
    ('\u{2010}', &["-"]),
    ('\u{2011}', &["-"]),
    ('\u{2018}', &["'"]),
    ('\u{2019}', &["'"]),
    ('\u{201a}', &["'"]),
    ('\u{201c}', &["\""]),
    ('\u{201d}', &["\""]),
    ('\u{201e}', &["\""]),
    ('\u{ab}', &["\""]),
    ('\u{bb}', &["\""]),
    ('\u{2026}', &["\u{22ef}", "..."]),
    ('\u{22ef}', &["\u{2026}", "..."]),
    ('\u{2022}', &["\u{b7}", "*"]),
    ('\u{2027}', &["\u{b7}", "\u{2022}"]),
    ('\u{b7}', &["\u{2022}", "\u{30fb}"]),
    ('\u{a0}', &[" "]),
    ('\u{202f}', &[" "]),
    ('\u{2009}', &[" "]),
    ('\u{20ac}', &["EUR"]),
    ('\u{2116}', &["No."]),
    // Romanian letters with a comma. Older charsets have them with a cedilla.
    ('\u{218}', &["\u{15e}", "S"]),
    ('\u{219}', &["\u{15f}", "s"]),
    ('\u{21a}', &["\u{162}", "T"]),
    ('\u{21b}', &["\u{163}", "t"]),
    ('\u{1e9e}', &["SS"]),
    ('\u{131}', &["i"]),
    ('\u{111}', &["d"]),
    ('\u{110}', &["D"]),
    ('\u{142}', &["l"]),
    ('\u{141}', &["L"]),
    ('\u{f8}', &["o"]),
    ('\u{d8}', &["O"]),
];

/// Encodes `text`, which contains a character that `charset` lacks.
pub(super) fn encode(charset: Charset, text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        // A letter and its marks. Other systems send them as one character.
        let (cluster, after) = rest.split_at(
            rest[letter.len_utf8()..]
                .find(|c| !is_mark(c))
                .map_or(rest.len(), |end| letter.len_utf8() + end),
        );
        rest = after;
        if charset.0 == BIG5
            && let Some((_, sequence)) = BIG5_PAIRS.iter().find(|(pair, _)| *pair == cluster)
        {
            bytes.extend_from_slice(sequence);
        } else if cluster.len() == letter.len_utf8() {
            encode_nearest(charset, letter, bytes);
        } else {
            let composed = ComposingNormalizerBorrowed::new_nfc().normalize(cluster);
            composed.chars().for_each(|c| encode_nearest(charset, c, bytes));
        }
    }
}

fn encode_nearest(charset: Charset, c: char, bytes: &mut Vec<u8>) {
    let is_sent = encode_char(charset, c, bytes)
        || encode_alike(charset, c, bytes)
        || encode_parts(charset, c, bytes)
        || is_dispensable(c);
    if !is_sent {
        bytes.push(b'?');
    }
}

/// The byte pairs of Big5 that stand for two characters each.
const BIG5_PAIRS: [(&str, [u8; 2]); 4] = [
    ("Ê\u{304}", [0x88, 0x62]),
    ("Ê\u{30c}", [0x88, 0x64]),
    ("ê\u{304}", [0x88, 0xa3]),
    ("ê\u{30c}", [0x88, 0xa5]),
];

/// Appends a character that the charset has.
fn encode_char(charset: Charset, c: char, bytes: &mut Vec<u8>) -> bool {
    if charset.encode_exactly(c.encode_utf8(&mut [0; 4]), bytes) {
        return true;
    }
    let decode_only = if charset.0 == BIG5 {
        BIG5_DECODE_ONLY.get(&c)
    } else if charset.0 == EUC_JP {
        EUC_JP_DECODE_ONLY.get(&c)
    } else {
        None
    };
    decode_only.inspect(|known| bytes.extend_from_slice(known)).is_some()
}

/// Appends a letter with as many of its marks as the charset has, combined into one character or
/// after it.
fn encode_parts(charset: Charset, c: char, bytes: &mut Vec<u8>) -> bool {
    let decomposed: String =
        DecomposingNormalizerBorrowed::new_nfd().normalize(c.encode_utf8(&mut [0; 4])).into_owned();
    let mut parts = decomposed.chars();
    let Some(mut letter) = parts.next().filter(|&letter| letter != c && !is_mark(letter)) else {
        return false;
    };
    let composition = CanonicalCompositionBorrowed::new();
    let (mut marks, mut scratch) = (Vec::new(), Vec::new());
    for mark in parts {
        match composition
            .compose(letter, mark)
            .filter(|&composed| encode_char(charset, composed, &mut scratch))
        {
            Some(composed) => letter = composed,
            None => marks.push(mark),
        }
    }
    if !encode_char(charset, letter, bytes) {
        return false;
    }
    for mark in marks {
        // A mark that the charset lacks is left out: the letter is still readable.
        encode_char(charset, mark, bytes);
    }
    true
}

fn encode_alike(charset: Charset, c: char, bytes: &mut Vec<u8>) -> bool {
    let alike = ALIKE.iter().find(|(other, _)| *other == c).map_or(&[][..], |(_, alike)| alike);
    let start = bytes.len();
    alike.iter().any(|text| {
        let is_sent = charset.encode_exactly(text, bytes);
        if !is_sent {
            bytes.truncate(start);
        }
        is_sent
    })
}

/// Whether text is readable without a character: an accent on a letter, or a selector among the
/// variants of another character.
fn is_dispensable(c: char) -> bool {
    is_mark(c)
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{ad}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn is_mark(c: char) -> bool {
    CanonicalCombiningClassMapBorrowed::new().get_u8(c) >= 200
}

/// Byte pairs that Big5 decodes to characters that the standard's encoder does not encode: the Hong
/// Kong Supplementary Character Set.
static BIG5_DECODE_ONLY: LazyLock<HashMap<char, Vec<u8>>> = LazyLock::new(|| {
    let pairs =
        (0x81..=0xfeu8).flat_map(|lead| (0x40..=0xfeu8).map(move |trail| vec![lead, trail]));
    decode_only(Charset(BIG5), pairs)
});

/// Sequences of three bytes that EUC-JP decodes but does not encode: JIS X 0212.
static EUC_JP_DECODE_ONLY: LazyLock<HashMap<char, Vec<u8>>> = LazyLock::new(|| {
    let triples =
        (0xa1..=0xfeu8).flat_map(|row| (0xa1..=0xfeu8).map(move |cell| vec![0x8f, row, cell]));
    decode_only(Charset(EUC_JP), triples)
});

/// The characters that are only decoded, with their first sequence each.
fn decode_only(
    charset: Charset,
    sequences: impl Iterator<Item = Vec<u8>>,
) -> HashMap<char, Vec<u8>> {
    let (mut known, mut scratch) = (HashMap::new(), Vec::new());
    for sequence in sequences {
        let text = charset.0.decode_without_bom_handling(&sequence).0;
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next())
            && c != '\u{fffd}'
            && !charset.encode_exactly(&text, &mut scratch)
        {
            known.entry(c).or_insert(sequence);
        }
        scratch.clear();
    }
    known
}

#[cfg(test)]
mod tests {
    use crate::charset::Charset;

    fn reads(charset: &str, text: &str) -> String {
        let charset = Charset::by_label(charset).unwrap();
        let (mut bytes, mut read) = (Vec::new(), String::new());
        charset.encode(text, &mut bytes);
        charset.decode(&bytes, &mut read);
        read
    }

    #[test]
    fn vietnamese_keeps_its_letters_and_tones_in_windows_1258() {
        for text in ["Tiếng Việt", "Được đấy, nhưng ướt quá", "ỸỆ ằẵặ"] {
            let composed = icu_normalizer::ComposingNormalizerBorrowed::new_nfc()
                .normalize(&reads("windows-1258", text))
                .into_owned();
            assert_eq!(composed, text);
        }
    }

    #[test]
    fn hong_kong_characters_are_encoded_as_they_are_decoded() {
        assert_eq!(reads("big5-hkscs", "我哋喺度"), "我哋喺度");
        assert_eq!(reads("big5", "嘅😀"), "嘅?");
    }

    #[test]
    fn a_letter_without_its_accent_is_better_than_a_question_mark() {
        assert_eq!(reads("windows-1251", "café Tiếng"), "cafe Tieng");
        assert_eq!(
            reads("windows-1252", "e\u{301}te\u{301} ř"),
            "été r",
            "accents that came by themselves"
        );
        assert_eq!(reads("koi8-r", "Łódź"), "Lodz");
        assert_eq!(reads("shift_jis", "é"), "e");
    }

    #[test]
    fn a_missing_character_is_replaced_by_a_similar_one() {
        assert_eq!(reads("shift_jis", "あ〜‖"), "あ～∥");
        assert_eq!(reads("koi8-r", "“да” — 5 €…"), "\"да\" - 5 EUR...");
        assert_eq!(reads("iso-8859-2", "știință"), "ştiinţă");
        assert_eq!(reads("windows-1252", "❤\u{fe0f}"), "?");
    }
}
