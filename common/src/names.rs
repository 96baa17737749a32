//! Nicknames and room names: which characters they may contain, and when two names are equal.
//!
//! Two names are equal if they are the same after compatibility normalisation (NFKC) and full case
//! folding: `Ａlice`, `ALICE` and `alice` are one nickname, `straße` and `STRASSE` one room. A name
//! keeps its original spelling (as NFC) and has its folded form as *key*.
//!
//! Besides letters and digits a name may contain combining marks: on a letter of their own script,
//! and only a few on one letter. Zero-width joiners are allowed where they change how the name
//! looks; they are ignored when names are compared.
//!
//! Letters of different scripts may look alike. A name that mixes scripts but looks like a name in
//! a single script is invalid (`disguise`). A whole name in one script may still look like one in
//! another (`сосо` and `coco`); the client warns about these.
//!
//! Source: Unicode Standard Annex #15 (normalisation), section 3.13 (default caseless matching),
//! Annex #31 (identifiers); RFC 5892, appendix A (joiners and middle dots).

mod disguise;

use crate::limits::{NICK_CHARS_MAX, ROOM_CHARS_MAX};
use disguise::first_disguised;
use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    Alphabetic, CanonicalCombiningClass, DefaultIgnorableCodePoint, GeneralCategory, JoiningType,
    Script,
};
use icu_properties::script::ScriptWithExtensions;
use icu_properties::{CodePointMapData, CodePointSetData};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A nickname: 1 to 32 letters, digits and `_ - [ ] { } \ ^ |`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nick(Name);

/// A room's name: `#` and 1 to 50 characters, those of nicknames and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomName(Name);

/// Why a text is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text is longer than this limit, in characters.
    TooLong(usize),
    /// Names can't contain this character at this position.
    Character(char),
    /// The name looks like a name in a single script, but this letter belongs to another.
    MixedScripts(char),
    /// A room's name must start with `#`.
    NoHash,
}

/// Spelling and key. Only the key is compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Name {
    spelling: Box<str>,
    /// `None` if it equals the spelling. This saves memory: most names are ASCII in lower case.
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
    /// Parses a nickname as typed.
    ///
    /// ```
    /// use forkchat_common::names::Nick;
    /// assert_eq!(Nick::parse("Straße"), Nick::parse("STRASSE"));
    /// assert!(Nick::parse("two words").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Nick, NameError> {
        parse(text, "", NICK_CHARS_MAX, NICK_PUNCTUATION).map(Nick)
    }

    /// The original spelling, as NFC.
    pub fn as_str(&self) -> &str {
        &self.0.spelling
    }

    /// The folded form: equal for names that are the same.
    pub fn key(&self) -> &str {
        self.0.key()
    }
}

impl RoomName {
    /// Parses a room's name as typed. Its `#` may be the full-width one.
    pub fn parse(text: &str) -> Result<RoomName, NameError> {
        let rest = text.strip_prefix(['#', '\u{ff03}']).ok_or(NameError::NoHash)?;
        parse(rest, "#", ROOM_CHARS_MAX, ROOM_PUNCTUATION).map(RoomName)
    }

    /// The original spelling with its `#`, as NFC.
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

/// The key of a text as typed, which need not be a valid name.
///
/// The work grows with the length of `text`: on a server use [`find_key`].
pub fn key_of(text: &str) -> Box<str> {
    fold(text).into()
}

/// As [`key_of`], but `None` for a text that is too long for any name.
pub fn find_key(text: &str) -> Option<Box<str>> {
    // See `parse` for the factor.
    text.chars().nth(4 * (ROOM_CHARS_MAX + 1)).is_none().then(|| key_of(text))
}

const NICK_PUNCTUATION: &str = "_-[]{}\\^|";
const ROOM_PUNCTUATION: &str = "_-[]{}\\^|.";
/// The largest number of marks on a letter. Burmese and Hebrew need up to four.
const MARKS_MAX: usize = 4;
/// The largest number of marks on a letter that belong to no script, such as accents, after
/// composition. Yoruba and Lithuanian need two.
const ACCENTS_MAX: usize = 2;

fn parse(text: &str, prefix: &str, chars_max: usize, punctuation: &str) -> Result<Name, NameError> {
    // Checked first because normalisation is expensive. It shortens a text at most to a third (a
    // Hangul syllable is three letters).
    if text.chars().take(4 * chars_max + 1).count() > 4 * chars_max {
        return Err(NameError::TooLong(chars_max));
    }
    let spelling = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    if spelling.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = first_misplaced(&spelling, punctuation) {
        return Err(NameError::Character(c));
    }
    if spelling.chars().count() > chars_max {
        return Err(NameError::TooLong(chars_max));
    }
    let key = fold(&spelling);
    // A ligature such as U+FDFA is one letter that stands for several words with spaces. The
    // expanded form must be valid too.
    if let Some(c) =
        key.chars().find(|&c| !is_base(c, punctuation) && !is_mark(c) && !is_middle_dot(c))
    {
        return Err(NameError::Character(c));
    }
    // The key has ordinary letters in place of mathematical ones.
    if let Some(c) = first_disguised(&spelling).or_else(|| first_disguised(&key)) {
        return Err(NameError::MixedScripts(c));
    }
    let (spelling, key) = (format!("{prefix}{spelling}"), format!("{prefix}{key}"));
    let key = (key != spelling).then(|| key.into());
    Ok(Name { spelling: spelling.into(), key })
}

/// The first character that a name may not contain, or not at this position.
fn first_misplaced(name: &str, punctuation: &str) -> Option<char> {
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || punctuation.as_bytes().contains(&byte))
    {
        return None;
    }
    let (mut letter, mut marks, mut accents) = (None, 0, 0);
    for (at, c) in name.char_indices() {
        if is_mark(c) {
            (marks, accents) = (
                marks + usize::from(is_nonspacing(c)),
                accents + usize::from(script_of(c) == Script::Inherited),
            );
            if !letter.is_some_and(|letter| is_mark_of(c, letter))
                || marks > MARKS_MAX
                || accents > ACCENTS_MAX
            {
                return Some(c);
            }
        } else if is_joiner(c) {
            if !joins(c, &name[..at], &name[at + c.len_utf8()..]) {
                return Some(c);
            }
        } else if is_middle_dot(c) {
            if !is_between(c, &name[..at], &name[at + c.len_utf8()..]) {
                return Some(c);
            }
            (letter, marks, accents) = (None, 0, 0);
        } else if is_base(c, punctuation) {
            (letter, marks, accents) =
                (Some(c).filter(|&c| CodePointSetData::new::<Alphabetic>().contains(c)), 0, 0);
        } else {
            return Some(c);
        }
    }
    None
}

/// Whether a name may begin with a character. Invisible letters (Hangul fillers) are excluded,
/// because two names that differ in them look the same.
fn is_base(c: char, punctuation: &str) -> bool {
    (c.is_alphanumeric() && !is_mark(c) && !is_ignorable(c)) || punctuation.contains(c)
}

/// Whether a character is a mark that is written on, around or beside a letter.
fn is_mark(c: char) -> bool {
    // Marks for symbols and halves of marks do not occur in words.
    let is_for_symbols =
        matches!(c, '\u{20d0}'..='\u{20ff}' | '\u{1ab0}'..='\u{1aff}' | '\u{fe20}'..='\u{fe2f}');
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark)
        && !is_ignorable(c)
        && !is_for_symbols
}

fn is_nonspacing(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::NonspacingMark
}

/// Whether a mark belongs to a letter's script, or to every script.
fn is_mark_of(mark: char, letter: char) -> bool {
    let scripts = ScriptWithExtensions::new();
    let script = script_of(letter);
    scripts.has_script(mark, script)
        || scripts.has_script(mark, Script::Inherited)
        || (script == Script::Common && script_of(mark) == Script::Inherited)
}

fn script_of(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a joiner changes how the name looks: after a virama, or a non-joiner between letters
/// that would join (RFC 5892, A.1 and A.2).
fn joins(joiner: char, before: &str, after: &str) -> bool {
    let is_after_virama = before.chars().next_back().is_some_and(|c| {
        CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
    });
    let types = CodePointMapData::<JoiningType>::new();
    let is_seen = |c: &char| types.get(*c) != JoiningType::Transparent;
    let joins_on = before.chars().rev().find(is_seen).is_some_and(|c| {
        matches!(types.get(c), JoiningType::LeftJoining | JoiningType::DualJoining)
    });
    let joins_back = after.chars().find(is_seen).is_some_and(|c| {
        matches!(types.get(c), JoiningType::RightJoining | JoiningType::DualJoining)
    });
    !after.is_empty() && (is_after_virama || (joiner == '\u{200c}' && joins_on && joins_back))
}

/// Whether a character is punctuation inside words: Catalan's middle dot, Hebrew's geresh and
/// gershayim, the dot between the parts of a foreign name in Katakana.
fn is_middle_dot(c: char) -> bool {
    matches!(c, '\u{b7}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}')
}

/// Whether such punctuation is at a valid position (RFC 5892, A.3, A.5 to A.7).
fn is_between(dot: char, before: &str, after: &str) -> bool {
    let (last, next) = (before.chars().next_back(), after.chars().next());
    let is =
        |c: Option<char>, scripts: &[Script]| c.is_some_and(|c| scripts.contains(&script_of(c)));
    match dot {
        '\u{b7}' => matches!((last, next), (Some('l' | 'L'), Some('l' | 'L'))),
        '\u{30fb}' => {
            let scripts = [Script::Katakana, Script::Hiragana, Script::Han];
            // The sign for a long vowel belongs to no single script.
            let is_word = |c: Option<char>| is(c, &scripts) || c == Some('\u{30fc}');
            is_word(last) && is_word(next)
        }
        _ => before
            .chars()
            .rev()
            .find(|&c| !is_mark(c))
            .is_some_and(|c| is(Some(c), &[Script::Hebrew])),
    }
}

/// Whether a character is visible by itself: it is no mark, not invisible, and assigned.
pub(crate) fn is_visible_alone(c: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, PrivateUse, SpacingMark, Unassigned};
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_shown =
        !matches!(category, NonspacingMark | SpacingMark | EnclosingMark | PrivateUse | Unassigned);
    is_shown
        && !is_ignorable(c)
        && !c.is_whitespace()
        && !c.is_control()
        && !matches!(c, '\u{fffc}' | char::REPLACEMENT_CHARACTER)
}

fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let folder = CaseMapper::new();
    let seen: String = text.chars().filter(|&c| !is_joiner(c)).collect();
    // Folding can undo composition and the other way round: twice is enough for a stable form
    // (toNFKC_Casefold).
    let once = nfkc.normalize(&folder.fold_string(&nfkc.normalize(&seen))).into_owned();
    nfkc.normalize(&folder.fold_string(&once)).into_owned()
}

#[cfg(test)]
mod tests;
