use forkchat_tests::example::Example;

#[test]
fn two_locks() {
    let example = Example::run("two_locks", &[]);
    example.printed(&[
        "── anna takes lock 1, then lock 2",
        "the parent looks: lock 1 is held by pid",
        "the parent looks: lock 1 is held by pid",
        "anna waited",
        "anna gives up and releases lock 1",
        "berta has both locks",
        "exited with code 2; berta, pid",
        "shown: each held the lock that the other wanted",
        "in two orders",
        "ends each deadlock: she then releases her lock",
        "account 1 has 100 coins, account 2 has 100 coins",
        "in one order",
        "0 deadlocks in",
        "shown: in two orders",
    ]);
    let (anna, berta) =
        (example.numbers_after("anna, pid ")[0], example.numbers_after("berta, pid ")[0]);
    assert_eq!(example.numbers_after("lock 1 is held by pid "), [anna, anna], "{example}");
    assert_eq!(example.numbers_after(", lock 2 by pid "), [berta, berta], "{example}");
    assert_eq!(example.numbers_after("in vain: lock 2 is held by pid "), [berta], "{example}");
    let waited = example.numbers_after("anna waited ")[0];
    assert!(waited >= example.numbers_after("only anna's timeout of ")[0], "{example}");
    assert!(
        example.numbers_after("shown: in two orders ")[0] > 0,
        "a deadlock must be seen: {example}"
    );
    assert_eq!(example.numbers_after("in one order ").last(), Some(&0), "{example}");
    assert_eq!(example.errors, "");
}
