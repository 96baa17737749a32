//! Completion of commands, nicknames and rooms. Computes the candidates for a line and a cursor.

use forkchat_common::names::key_of;
use forkchat_common::protocol::line::commands::TABLE;
use forkchat_common::protocol::line::settings::SETTINGS;

/// Names that can be completed.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Nicknames, the latest first.
    pub nicks: Vec<String>,
    /// Rooms.
    pub rooms: Vec<String>,
}

/// The candidates for the word before the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where the unfinished word begins, in bytes.
    pub start: usize,
    /// What the word may become, the likeliest first.
    pub candidates: Vec<String>,
}

impl Words {
    /// Completes the word before the cursor, which is at `cursor` bytes.
    ///
    /// ```
    /// use forkchat_client::complete::Words;
    /// let words = Words { nicks: vec!["Alice".to_owned()], rooms: vec![] };
    /// assert_eq!(words.complete("al", 2).candidates, ["Alice: "]);
    /// ```
    pub fn complete(&self, line: &str, cursor: usize) -> Completion {
        let before = &line[..cursor];
        let start = before
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let (words_before, word) = before.split_at(start);
        let words_before: Vec<&str> = words_before.split_whitespace().collect();
        let commands = || TABLE.iter().filter(|row| row.is_listed()).map(|row| row.name);
        let candidates = match words_before.as_slice() {
            [] if word.starts_with('/') => {
                matching(word, commands().map(|name| format!("/{name}")), " ")
            }
            ["/help"] => matching(word, commands().map(str::to_owned), " "),
            ["/set"] => matching(word, SETTINGS.iter().map(|(_, name, _)| (*name).to_owned()), " "),
            ["/set", _] => matching(word, ["on", "off"].into_iter().map(str::to_owned), ""),
            _ if word.starts_with('#') => matching(word, self.rooms.iter().cloned(), " "),
            ["/join" | "/leave"] => matching(&format!("#{word}"), self.rooms.iter().cloned(), " "),
            [] => matching(word, self.nicks.iter().cloned(), ": "),
            _ => matching(word, self.nicks.iter().cloned(), " "),
        };
        Completion { start, candidates }
    }
}

fn matching(word: &str, names: impl Iterator<Item = String>, suffix: &str) -> Vec<String> {
    let key = key_of(word);
    names.filter(|name| key_of(name).starts_with(&*key)).map(|name| name + suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(line: &str) -> Vec<String> {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Words {
            nicks: names(&["Bob", "alice", "Alina", "王小明"]),
            rooms: names(&["#lobby", "#rust"]),
        }
        .complete(line, line.len())
        .candidates
    }

    #[test]
    fn the_candidates_depend_on_the_words_before() {
        assert_eq!(candidates("/wh"), ["/who ", "/whoami "]);
        assert_eq!(candidates("/help ni"), ["nick "]);
        assert_eq!(candidates("/set ec"), ["echo "]);
        assert_eq!(candidates("/set echo o"), ["on", "off"]);
        assert_eq!(candidates("al"), ["alice: ", "Alina: "]);
        assert_eq!(candidates("hi BO"), ["Bob "]);
        assert_eq!(candidates("王"), ["王小明: "]);
        assert_eq!(candidates("/msg 王"), ["王小明 "]);
        assert_eq!(candidates("/join #r"), ["#rust "]);
        assert_eq!(candidates("/join ru"), ["#rust "]);
        assert_eq!(candidates("see #l"), ["#lobby "]);
        assert_eq!(candidates("zz"), Vec::<String>::new());
        assert_eq!(candidates("").len(), 4, "all nicknames");
    }

    #[test]
    fn only_the_word_before_the_cursor_is_completed() {
        let words = Words { nicks: vec!["bob".to_owned()], rooms: Vec::new() };
        assert_eq!(
            words.complete("hi b, how", 4),
            Completion { start: 3, candidates: vec!["bob ".to_owned()] }
        );
        assert_eq!(
            words.complete("你好\u{3000}b", "你好\u{3000}b".len()).start,
            "你好\u{3000}".len()
        );
    }
}
