//! Finds names that mix scripts but look like a name in a single script: `wаtch` with a Cyrillic а.
//!
//! People do mix scripts in their names (`Вася_dev`). So a name counts as disguised only if each of
//! its letters has a lookalike in one script. Letters that no name in that script would have
//! (phonetic, historic) do not count as lookalikes.
//!
//! Source: Unicode Technical Standard #39, sections 4 (mixed-script confusables) and 3.1 (letters
//! that are in use).

use super::script_of;
use icu_properties::props::Script;
use std::collections::HashSet;
use std::sync::LazyLock;
use unicode_security::GeneralSecurityProfile;
use unicode_security::confusable_detection::skeleton;

/// Scripts with letters that look like letters of other scripts in this list.
const ALIKE: [Script; 7] = [
    Script::Latin,
    Script::Cyrillic,
    Script::Greek,
    Script::Armenian,
    Script::Cherokee,
    Script::Coptic,
    Script::Lisu,
];
/// All letters of these scripts are below this.
const END: char = '\u{20000}';

/// The first letter that belongs to another script than the name seems to be in. `None` for a name
/// in one script, and for one that mixes scripts visibly.
pub fn first_disguised(name: &str) -> Option<char> {
    if name.is_ascii() {
        return None;
    }
    let letters: Vec<(char, Script)> = name
        .chars()
        .map(|c| (c, script_of(c)))
        .filter(|(_, script)| ALIKE.contains(script))
        .collect();
    let has_others = |script| letters.iter().any(|&(_, other)| other != script);
    let seems = |script| letters.iter().all(|&(c, own)| own == script || has_like(c, script));
    let script = letters
        .iter()
        .map(|&(_, script)| script)
        .find(|&script| has_others(script) && seems(script))?;
    letters.iter().find(|&&(_, other)| other != script).map(|&(c, _)| c)
}

/// Whether a letter looks like a letter of this script.
fn has_like(c: char, script: Script) -> bool {
    /// The skeletons of the letters of each script in `ALIKE`.
    static SKELETONS: LazyLock<HashSet<(Script, String)>> = LazyLock::new(|| {
        let letters = ('A'..END)
            .map(|c| (script_of(c), c))
            .filter(|(script, c)| ALIKE.contains(script) && c.identifier_allowed());
        letters.map(|(script, c)| (script, skeleton_of(c))).collect()
    });
    SKELETONS.contains(&(script, skeleton_of(c)))
}

fn skeleton_of(c: char) -> String {
    skeleton(c.encode_utf8(&mut [0; 4])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_that_looks_like_one_script_is_found() {
        for (name, foreign) in [
            ("w\u{430}tch", '\u{430}'),
            ("\u{430}lice", 'l'),
            ("\u{391}lice", '\u{391}'),
            ("b\u{3bf}b", '\u{3bf}'),
            ("b_\u{585}_b", '\u{585}'),
            ("п\u{3bf}п", '\u{3bf}'),
            ("Ив\u{61}н", '\u{61}'),
            ("\u{412}ob", 'o'),
        ] {
            assert_eq!(first_disguised(name), Some(foreign), "{name}");
        }
    }

    #[test]
    fn names_in_one_script_and_visible_mixtures_are_allowed() {
        for name in [
            "alice",
            "Иван-007",
            "Вася_dev",
            "Лена_UK",
            "Иван_v2",
            "жm0",
            "Νίκος",
            "Νίκος_dev",
            "tanaka田中たなかタナカ",
            "김chulsoo",
            "王bobㄅ",
            "ไทยthai",
            "µTorrent",
            "μtorrent",
            "5μm",
            "éßİ",
            "[Բարեւ]",
            "сосо",
        ] {
            assert_eq!(first_disguised(name), None, "{name}");
        }
    }
}
