use forkchat_tests::example::{Ended, Example};

/// The number after `part` in the line of a call, which may have a fraction.
fn number(example: &Ended, line: &str, part: &str) -> f64 {
    let line = example
        .text
        .lines()
        .find(|text| text.contains(line))
        .unwrap_or_else(|| panic!("{line:?} is missing in\n{example}"));
    let word = line.split_once(part).and_then(|(_, rest)| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no number after {part:?} in {line:?}"))
}

#[test]
fn timeouts() {
    let example = Example::run("timeouts", &[]);
    for call in [
        "event.wait",
        "queue.take, empty",
        "queue.put, full",
        "semaphore.acquire",
        "mutex.lock",
        "process.join",
    ] {
        let waited = number(&example, &format!("{call}, timeout 80 ms"), "waited ");
        let tried = number(&example, &format!("{call}, timeout 0 ms"), "waited ");
        assert!(waited >= 80.0, "{call} returned before its timeout: {example}");
        assert!(tried < waited, "{call} waited longer for nothing than with a timeout: {example}");
    }
    example.printed(&["shown: 12 calls came back empty-handed", "sets the event", "got it? true"]);
    let limit = number(&example, "got it? true", "timeout ");
    assert!(number(&example, "got it? true", "waited ") < limit, "{example}");

    let (wrong, asked) = (
        number(&example, "took 1 ms after", "wrong in "),
        number(&example, "took 1 ms after", "the answer was 1 in "),
    );
    assert!(wrong > 0.0 && wrong <= asked, "a stale answer must be seen: {example}");
    let taken = |who: &str| number(&example, "the result of taking was always right", who);
    assert_eq!(
        taken(": parent ") + taken("+ other "),
        taken("= "),
        "each job is taken once: {example}"
    );
    assert_eq!(example.errors, "");
}
