use forkchat_tests::example::{Ended, Example};

/// The items in the list after `part`.
fn items(example: &Ended, part: &str) -> Vec<u64> {
    let line = example
        .text
        .lines()
        .find_map(|line| Some(line.split_once(part)?.1))
        .unwrap_or_else(|| panic!("no {part:?} in\n{example}"));
    let list = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    list.split(", ")
        .filter(|item| !item.is_empty())
        .map(|item| item.parse().expect("an item"))
        .collect()
}

#[test]
fn queue_of_threads() {
    let example = Example::run("queue_of_threads", &[]);
    example.printed(&[
        "watch for: a queue inside the process",
        "the child took [1, 2, 3, 4, 5, 6] from its copy, and puts 100 in it",
        "after that the parent takes [1, 2, 3, 4, 5, 6]: nothing is missing",
        "the child took [1, 2, 3], and puts 100 in the queue",
        "after that the parent takes [4, 5, 6, 100]",
        "a fork beside two threads is refused: this program's own fork function refuses",
        "both together took [1, 2, 3, 4, 5, 6]",
        "after the threads' end a fork works again: pid ",
        "shown: channel and fork: 6 items in, the child took 6 and the parent 6; queue in shared \
         memory: 3 and 3",
    ]);
    let (a, b) = (items(&example, "thread A took "), items(&example, "thread B took "));
    assert_eq!(a.len() + b.len(), 6, "{example}");
    assert!(
        example.text.contains(&format!("channel and two threads: {} and {}", a.len(), b.len())),
        "{example}"
    );
    assert_eq!(example.errors, "");
}
