//! Parts of the sentences about models.

use super::metrics::number;
use super::subject::Subject;

pub fn goals_text(count: usize) -> String {
    if count == 1 { "one goal".into() } else { format!("{count} goals") }
}

pub fn same_text(count: usize) -> String {
    match count {
        0 => "in every goal the models differ by more than the spread".into(),
        1 => "in one goal the models do not differ by more than the spread".into(),
        _ => format!("in {count} goals the models do not differ by more than the spread"),
    }
}

pub fn is_are_best(subjects: &[Subject]) -> String {
    match subjects {
        [one] => format!("{} is the best, or as good as the best,", one.text()),
        _ => format!("{} are each the best, or as good as the best,", names(subjects)),
    }
}

pub fn capitalized(text: &str) -> String {
    text.char_indices()
        .map(|(index, letter)| if index == 0 { letter.to_ascii_uppercase() } else { letter })
        .collect()
}

/// `a, b and c`.
pub fn names(subjects: &[Subject]) -> String {
    joined(subjects, "and")
}

/// `a, b or c`.
pub fn names_or(subjects: &[Subject]) -> String {
    joined(subjects, "or")
}

fn joined(subjects: &[Subject], word: &str) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.text()).collect();
    match &names[..] {
        [most @ .., last] if !most.is_empty() => format!("{} {word} {last}", most.join(", ")),
        _ => names.concat(),
    }
}

/// A number in relation to another subject's: as a multiple or, if it is less, in percent.
pub fn share(value: f64, other: f64, subject: Subject) -> String {
    let (times, name) = (value / other, subject.text());
    let whose = if name.ends_with('s') { format!("{name}'") } else { format!("{name}'s") };
    if times >= 1.0 {
        format!("{} times {whose}", number(times))
    } else {
        format!("{} % of {whose}", number(times * 100.0))
    }
}
