//! TabCompletion with the Tab key.

use crate::complete::Words;
use std::sync::{Arc, Mutex, PoisonError};

/// TabCompletion: each press of Tab inserts the next candidate.
#[derive(Debug)]
pub struct TabCompletion {
    words: Arc<Mutex<Words>>,
    last: Mutex<Option<Offer>>,
}

/// The candidates of the last press.
#[derive(Debug)]
struct Offer {
    start: usize,
    candidates: Vec<String>,
    index: usize,
    /// The line up to the cursor, with the candidate in it. If it is unchanged at the next press,
    /// the next candidate replaces this one.
    before_cursor: String,
}

impl TabCompletion {
    pub fn new(words: Arc<Mutex<Words>>) -> TabCompletion {
        TabCompletion { words, last: Mutex::default() }
    }

    /// The text to insert before the cursor, and the position from which on it replaces the line.
    /// `None` if there is no candidate.
    pub fn complete(&self, line: &str, cursor: usize) -> Option<(usize, String)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &line[..cursor];
        let mut offer = match last.take() {
            Some(mut offer) if offer.before_cursor == before => {
                offer.index = (offer.index + 1) % offer.candidates.len();
                offer
            }
            _ => {
                let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
                let completion = words.complete(line, cursor);
                Offer {
                    start: completion.start,
                    candidates: completion.candidates,
                    index: 0,
                    before_cursor: String::new(),
                }
            }
        };
        let candidate = offer.candidates.get(offer.index)?.clone();
        let start = offer.start;
        offer.before_cursor = format!("{}{candidate}", &before[..start]);
        *last = Some(offer);
        Some((start, candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_press_inserts_the_next_candidate() {
        let words =
            Words { nicks: vec!["Alice".to_owned(), "alina".to_owned()], rooms: Vec::new() };
        let completion = TabCompletion::new(Arc::new(Mutex::new(words)));
        let press = |line: &str| {
            completion
                .complete(line, line.len())
                .map(|(start, candidate)| format!("{}{candidate}", &line[..start]))
        };
        for (line, completed) in [
            ("al", "Alice: "),
            ("Alice: ", "alina: "),
            ("alina: ", "Alice: "),
            ("hi AL", "hi Alice "),
            ("/whoa", "/whoami "),
        ] {
            assert_eq!(press(line).as_deref(), Some(completed));
        }
        assert_eq!(press("zz"), None);
    }
}
