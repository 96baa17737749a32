//! Names that look like another name. Two names with different letters may look the same (`аӏісе`
//! in Cyrillic and `alice`, `guestl` and `guest1`). The name that was seen first is shown as it is;
//! one that looks like it is shown with a warning that names the first.
//!
//! Source: Unicode Technical Standard #39, section 4, "Confusable Detection": names with the same
//! skeleton look alike.

use forkchat_common::names::key_of;
use std::collections::HashMap;
use unicode_security::confusable_detection::skeleton;

/// How many names are remembered. When there are more, all except the user's own are forgotten, and
/// the next names seen count as first.
const NAMES_MAX: usize = 10_000;

/// For each look, the name that was seen first.
#[derive(Debug, Default)]
pub struct Lookalikes {
    /// By the skeleton of the key: key and spelling of the first name with that look.
    first: HashMap<String, (Box<str>, String)>,
    own: String,
}

impl Lookalikes {
    /// Sets the user's own name. It counts as first, even if a similar name was seen before.
    pub fn set_own(&mut self, nick: &str) {
        nick.clone_into(&mut self.own);
        self.first.insert(skeleton_of(nick), (key_of(nick), nick.to_owned()));
    }

    /// The other name that this name looks like, if there is one.
    pub fn imitated(&mut self, nick: &str) -> Option<&str> {
        let key = key_of(nick);
        if self.first.len() >= NAMES_MAX {
            self.first.clear();
            let own = std::mem::take(&mut self.own);
            self.set_own(&own);
        }
        let (first, spelling) =
            self.first.entry(skeleton_of(nick)).or_insert_with(|| (key.clone(), nick.to_owned()));
        (*first != key).then_some(spelling)
    }

    /// No user bears this name any more. A user who takes it later does not imitate it.
    pub fn forget(&mut self, nick: &str) {
        let look = skeleton_of(nick);
        if self.first.get(&look).is_some_and(|(key, _)| *key == key_of(nick)) {
            self.first.remove(&look);
        }
    }
}

fn skeleton_of(nick: &str) -> String {
    skeleton(&key_of(nick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_an_earlier_one_is_found() {
        let mut seen = Lookalikes::default();
        assert_eq!(seen.imitated("alice"), None);
        assert_eq!(seen.imitated("ALICE"), None, "the same name");
        assert_eq!(seen.imitated("\u{430}lice"), Some("alice"), "a Cyrillic а");
        assert_eq!(
            seen.imitated("\u{430}\u{4cf}\u{456}\u{441}\u{435}"),
            Some("alice"),
            "all Cyrillic"
        );
        assert_eq!(seen.imitated("bob"), None);
        seen.set_own("guest1");
        assert_eq!(seen.imitated("guestl"), Some("guest1"));
        assert_eq!(seen.imitated("王小明"), None);
    }

    #[test]
    fn names_with_marks_do_not_look_alike() {
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
    fn the_users_own_name_counts_as_first_and_a_name_no_longer_used_is_forgotten() {
        let mut seen = Lookalikes::default();
        assert_eq!(seen.imitated("\u{430}lice"), None);
        seen.set_own("alice");
        assert_eq!(seen.imitated("\u{430}lice"), Some("alice"));
        seen.forget("alice");
        assert_eq!(seen.imitated("\u{430}lice"), None);
    }

    #[test]
    fn the_number_of_remembered_names_is_limited() {
        let mut seen = Lookalikes::default();
        for number in 0..NAMES_MAX + 10 {
            seen.imitated(&format!("n{number}x"));
        }
        assert!(seen.first.len() <= NAMES_MAX);
    }
}
