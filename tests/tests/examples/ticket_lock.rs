use forkchat_tests::example::Example;

#[test]
fn ticket_lock() {
    let example = Example::run("ticket_lock", &[]);
    let sold = example.numbers_behind("a lock: of 12 tickets ");
    assert!(sold[0] > 12, "a race must be seen: {example}");
    assert_eq!(sold[1], 12, "{example}");
    example.said(&[
        "4 sellers, 12 tickets, without a lock",
        &format!("without a lock: of 12 tickets {} were sold, {} too many", sold[0], sold[0] - 12),
        "4 sellers, 12 tickets, with a lock",
        "with a lock: of 12 tickets 12 were sold, 0 too many",
        "seller 1 has the lock, seller 2 waits for it",
        "seller 2 has the lock; its owner died: true; tickets left: 1",
        "seller 2 sold one: true",
        "seller 1, who had the lock, was killed by signal 9; seller 2: exited with code 0",
        "seller 3 has the lock; its owner died: false; tickets left: 0",
        "seller 3 sold one: false",
        "seller 3: exited with code 0",
    ]);
    assert_eq!(
        example.text.lines().filter(|line| line.contains("a seller, pid") && line.ends_with(": exited with code 0")).count(),
        8,
        "{example}"
    );
}
