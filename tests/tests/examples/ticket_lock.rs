use forkchat_tests::example::Example;

#[test]
fn ticket_lock() {
    let example = Example::run("ticket_lock", &[]);
    example.printed(&[
        "4 sellers, 12 tickets, without a lock",
        "left\": each sold that ticket, and wrote \"",
        "read by more than one seller: the numbers [",
        "4 sellers, 12 tickets, with a lock",
        "each number was read by one seller alone",
        "shown: of 12 tickets ",
        "seller 1 has the lock, seller 2 waits for it",
        "seller 2 has the lock; did its owner die? true; tickets left: 1",
        "did seller 2 sell a ticket? true",
        "seller 1 was killed by signal 9; seller 2 exited with code 0",
        "seller 3 has the lock; did its owner die? false; tickets left: 0",
        "did seller 3 sell a ticket? false",
        "seller 3 exited with code 0",
        "shown: the lock outlived its dead owner",
    ]);
    let sold = example.numbers_after("shown: of 12 tickets ")[0];
    assert!(sold > 12, "a race must be seen: {example}");
    assert_eq!(example.numbers_after("without a lock, ")[0], sold - 12, "{example}");
    let with = example.words("too many; 12 with a lock, 0 too many");
    assert_eq!(with[..2], ["too", "many;"]);

    let line = example.words("and pid ");
    let (one, other) = (
        example.numbers_after(" and pid ")[0],
        example.text.lines().find(|line| line.contains(" both read ")).unwrap(),
    );
    let first = other.split("pid ").nth(2).and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert_ne!(first, one.to_string(), "two different sellers: {line:?}");
    let (read, wrote) =
        (example.numbers_after("both read \"")[0], example.numbers_after("and wrote \"")[0]);
    assert_eq!(read, wrote + 1, "{example}");
    assert_eq!(example.errors, "");
}
