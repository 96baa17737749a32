//! Nicknames and room names: which characters they may have, and when two of them are the same.
//!
//! Two names are the same if they agree after compatibility normalisation (NFKC) and full case folding, so `Ａlice`,
//! `ALICE` and `alice` are one person, and `straße` and `STRASSE` one room. A name keeps the spelling it was given in
//! (as NFC) and carries its folded form as *key*.
//! Source: Unicode Standard Annex #15 (normalisation) and section 3.13 (default caseless matching).

use crate::limits::{NICK_CHARS_MAX, ROOM_CHARS_MAX};
use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A person's name: 1 to 32 letters, digits and `_ - [ ] { } \ ^ |`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nick(Name);

/// A room's name: `#` and 1 to 50 of a nickname's characters or `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomName(Name);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More characters than the bound, which it carries.
    TooLong(usize),
    /// A character that names don't have.
    Character(char),
    /// A room's name that doesn't start with `#`.
    NoHash,
}

/// Spelling and key. The key is what is compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Name {
    spelling: Box<str>,
    /// `None` where it would equal the spelling: most names are ASCII in lower case, and there are many of them.
    key: Option<Box<str>>,
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Name {}

impl Name {
    fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.spelling)
    }
}

impl Nick {
    /// Reads a nickname as somebody typed it.
    ///
    /// ```
    /// use forkchat_common::names::Nick;
    /// assert_eq!(Nick::parse("Straße"), Nick::parse("STRASSE"));
    /// assert!(Nick::parse("two words").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Nick, NameError> {
        parse(text, "", NICK_CHARS_MAX, is_nick_char).map(Nick)
    }

    /// As it was typed (NFC).
    pub fn as_str(&self) -> &str {
        &self.0.spelling
    }

    /// The folded form: equal for names that are the same.
    pub fn key(&self) -> &str {
        self.0.key()
    }
}

impl RoomName {
    /// Reads a room's name, with its `#`, as somebody typed it.
    pub fn parse(text: &str) -> Result<RoomName, NameError> {
        let rest = text.strip_prefix('#').ok_or(NameError::NoHash)?;
        parse(rest, "#", ROOM_CHARS_MAX, |c| is_nick_char(c) || c == '.').map(RoomName)
    }

    /// As it was typed (NFC), with its `#`.
    pub fn as_str(&self) -> &str {
        &self.0.spelling
    }

    /// The folded form: equal for names that are the same.
    pub fn key(&self) -> &str {
        self.0.key()
    }
}

impl fmt::Display for Nick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The key under which a name that somebody typed would be found, if there were such a name.
///
/// The work grows with the length of `text`: on a server use [`find_key`].
pub fn key_of(text: &str) -> Box<str> {
    fold(text).into()
}

/// As [`key_of`]; `None` for a text so long that no nickname or room has it.
pub fn find_key(text: &str) -> Option<Box<str>> {
    // Composing shortens a text at most to a third; see `parse`.
    text.chars().nth(4 * (ROOM_CHARS_MAX + 1)).is_none().then(|| key_of(text))
}

fn parse(text: &str, prefix: &str, chars_max: usize, allowed: impl Fn(char) -> bool) -> Result<Name, NameError> {
    // Before the costly part: composing shortens a text at most to a third (a Hangul syllable is three letters).
    if text.chars().count() > 4 * chars_max {
        return Err(NameError::TooLong(chars_max));
    }
    let spelling = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    if spelling.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = spelling.chars().find(|&c| !allowed(c)).or_else(|| spelling.chars().next().filter(|&c| is_combining_fold(c))) {
        return Err(NameError::Character(c));
    }
    if spelling.chars().count() > chars_max {
        return Err(NameError::TooLong(chars_max));
    }
    let key = fold(&spelling);
    // A ligature such as U+FDFA is a letter that stands for words with spaces between: what it stands for counts.
    if let Some(c) = key.chars().find(|&c| !allowed(c) && !is_combining_fold(c)) {
        return Err(NameError::Character(c));
    }
    let (spelling, key) = (format!("{prefix}{spelling}"), format!("{prefix}{key}"));
    let key = (key != spelling).then(|| key.into());
    Ok(Name { spelling: spelling.into(), key })
}

/// Full case folding may leave a combining mark (`İ` folds to `i` and U+0307); it is no reason to refuse the name.
fn is_combining_fold(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

fn is_nick_char(c: char) -> bool {
    // Hangul fillers are letters that nobody sees: with them one could pass as another.
    let is_invisible = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    (c.is_alphanumeric() && !is_invisible) || "_-[]{}\\^|".contains(c)
}

fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let folder = CaseMapper::new();
    // Folding can undo composition and the other way round: twice is enough for a stable form (toNFKC_Casefold).
    let once = nfkc.normalize(&folder.fold_string(&nfkc.normalize(text))).into_owned();
    nfkc.normalize(&folder.fold_string(&once)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_the_same_under_compatibility_and_case() {
        for (a, b) in [("Alice", "aLICE"), ("ＡＬＩＣＥ", "alice"), ("straße", "STRASSE"), ("e\u{301}va", "ÉVA"), ("ﬁn", "FIN")] {
            assert_eq!(Nick::parse(a).unwrap(), Nick::parse(b).unwrap(), "{a} and {b}");
        }
        assert_ne!(Nick::parse("alice").unwrap(), Nick::parse("alicе").unwrap(), "a Cyrillic е is another letter");
    }

    #[test]
    fn a_text_of_any_length_costs_no_more_than_a_name_to_look_up() {
        assert_eq!(find_key("ＡＬＩＣＥ").as_deref(), Some("alice"));
        assert_eq!(find_key(&"ß".repeat(4_000)), None);
        let longest = Nick::parse(&"e\u{301}".repeat(NICK_CHARS_MAX)).unwrap();
        assert_eq!(find_key(&"e\u{301}".repeat(NICK_CHARS_MAX)).as_deref(), Some(longest.key()));
    }

    #[test]
    fn what_is_no_name_says_why() {
        assert_eq!(Nick::parse(""), Err(NameError::Empty));
        assert_eq!(Nick::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(Nick::parse("a.b"), Err(NameError::Character('.')));
        assert_eq!(Nick::parse("\u{fdfa}"), Err(NameError::Character(' ')));
        assert_eq!(Nick::parse(&"x".repeat(33)), Err(NameError::TooLong(32)));
        assert!(Nick::parse(&"é".repeat(32)).is_ok());
        for invisible in ["dora\u{3164}", "dora\u{1160}", "\u{ffa0}", "\u{345}"] {
            assert!(matches!(Nick::parse(invisible), Err(NameError::Character(_))), "{invisible:?}");
        }
        assert_eq!(RoomName::parse("lobby"), Err(NameError::NoHash));
        assert_eq!(RoomName::parse("#"), Err(NameError::Empty));
        assert_eq!(RoomName::parse("#a.b-c").unwrap().as_str(), "#a.b-c");
        assert_eq!(RoomName::parse("#a#b"), Err(NameError::Character('#')));
        assert_eq!(Nick::parse("İpek").unwrap().as_str(), "İpek");
        assert_eq!(Nick::parse("王小明").unwrap().as_str(), "王小明");
    }

    proptest! {
        #[test]
        fn a_name_is_found_under_its_key(text in "\\PC{1,40}") {
            if let Ok(nick) = Nick::parse(&text) {
                prop_assert_eq!(&*key_of(nick.as_str()), nick.key());
                prop_assert_eq!(&Nick::parse(nick.as_str()).unwrap(), &nick);
                prop_assert!(nick.as_str().chars().count() <= NICK_CHARS_MAX);
            }
        }
    }
}
