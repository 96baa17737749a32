//! Names that look like another name. Two names with different letters may look the same (`аӏісе`
//! in Cyrillic and `alice`, `guestl` and `guest1`). The name that was seen first is shown as it is;
//! one that looks like it is shown with a warning that names the first.
//!
//! Source: Unicode Technical Standard #39, section 4, "Confusable Detection": names with the same
//! skeleton look alike.

use forkchat_common::names::key_of;
use std::collections::HashMap;
use unicode_security::confusable_detection::skeleton;

/// Names remembered. Beyond it all except the user's own are forgotten, and the next ones seen
/// count as first.
const NAMES_MAX: usize = 10_000;

/// Who was seen first under each look.
#[derive(Debug, Default)]
pub struct Lookalikes {
    /// Skeleton of the key: key and spelling of the first with that look.
    first: HashMap<String, (Box<str>, String)>,
    own: String,
}

impl Lookalikes {
    /// The user's own name is genuine, whichever name was seen before.
    pub fn own(&mut self, nick: &str) {
        nick.clone_into(&mut self.own);
        self.first.insert(look(nick), (key_of(nick), nick.to_owned()));
    }

    /// The name that this one looks like without being it.
    pub fn imitated(&mut self, nick: &str) -> Option<&str> {
        let key = key_of(nick);
        if self.first.len() >= NAMES_MAX {
            self.first.clear();
            let own = std::mem::take(&mut self.own);
            self.own(&own);
        }
        let (first, spelling) =
            self.first.entry(look(nick)).or_insert_with(|| (key.clone(), nick.to_owned()));
        (*first != key).then_some(spelling)
    }

    /// A name was given up: a user who takes it later does not imitate it.
    pub fn gone(&mut self, nick: &str) {
        let look = look(nick);
        if self.first.get(&look).is_some_and(|(key, _)| *key == key_of(nick)) {
            self.first.remove(&look);
        }
    }
}

fn look(nick: &str) -> String {
    skeleton(&key_of(nick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_like_another_is_told() {
        let mut seen = Lookalikes::default();
        assert_eq!(seen.imitated("alice"), None);
        assert_eq!(seen.imitated("ALICE"), None, "the same person");
        assert_eq!(seen.imitated("\u{430}lice"), Some("alice"), "a Cyrillic а");
        assert_eq!(
            seen.imitated("\u{430}\u{4cf}\u{456}\u{441}\u{435}"),
            Some("alice"),
            "all Cyrillic"
        );
        assert_eq!(seen.imitated("bob"), None);
        seen.own("guest1");
        assert_eq!(seen.imitated("guestl"), Some("guest1"));
        assert_eq!(seen.imitated("王小明"), None);
    }

    #[test]
    fn names_with_marks_have_looks_of_their_own() {
        let mut seen = Lookalikes::default();
        for name in ["कृष्ण", "தமிழ்", "น้ำ", "မြန်မာ", "עִבְרִית", "Việt", "Viet"]
        {
            assert_eq!(seen.imitated(name), None, "{name}");
        }
        assert_eq!(seen.imitated("Vi\u{1eb9}\u{302}t"), None, "the same letters in other pieces");
        assert_eq!(seen.imitated("V\u{456}ệt"), Some("Việt"), "a Cyrillic і");
        assert_eq!(seen.imitated("می\u{200c}خواهم"), None);
        assert_eq!(seen.imitated("میخواهم"), None, "the same name without its joiner");
    }

    #[test]
    fn ones_own_name_is_genuine_and_a_left_one_is_free() {
        let mut seen = Lookalikes::default();
        assert_eq!(seen.imitated("\u{430}lice"), None);
        seen.own("alice");
        assert_eq!(seen.imitated("\u{430}lice"), Some("alice"));
        seen.gone("alice");
        assert_eq!(seen.imitated("\u{430}lice"), None);
    }

    #[test]
    fn names_without_end_are_forgotten() {
        let mut seen = Lookalikes::default();
        for number in 0..NAMES_MAX + 10 {
            seen.imitated(&format!("n{number}x"));
        }
        assert!(seen.first.len() <= NAMES_MAX);
    }
}
