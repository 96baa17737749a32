use forkchat_tests::example::Example;

#[test]
fn separate_memory() {
    let example = Example::run("separate_memory", &[]);
    example.printed(&[
        "before the fork: variable 1 at ",
        "in the child: variable 42 at ",
        "in the parent: variable 1 at ",
        "shown: the child added 41 to both: the parent's variable is still 1, the shared value is \
         42",
        "after it read the buffer, whose sum is 16777216",
        "after it wrote to all of the buffer, whose sum is now 33554432",
        "the parent's buffer still has 16777216 ones",
        "shown: of 16384 KiB, reading copied ",
        "the parent's own list is [0, 0, 0, 0]",
        "shown: 0 entries of the parent's list were changed, 4 of the shared array; 4 children \
         added 1 to a shared value 1000 times each, by atomic addition: 4000",
    ]);
    assert!(
        example
            .text
            .contains(" KiB (the few KiB beyond the buffer are the child's own stack and heap)"),
        "{example}"
    );
    assert_eq!(
        example.after("in the child: variable 42 at "),
        example.after("in the parent: variable 1 at "),
        "one address, two variables"
    );
    for (side, value) in [("before the fork", "1"), ("in the child", "42"), ("in the parent", "42")]
    {
        assert_eq!(
            example.words(&format!("{side}: variable")).last(),
            Some(&value),
            "the shared value {side}"
        );
    }
    let own = example.numbers_after("only the child's:");
    assert!(
        own[0] < 4_096 && own[1] < 4_096 && own[2] > 12_288,
        "16 MiB are copied when they are written, and not before: {own:?}"
    );
    for place in 0..4 {
        let pid = example.after(&format!("child {place} (pid "))[0];
        assert_eq!(
            example.words("the shared array is [")[4 + place].trim_matches(['[', ']', ',']),
            pid,
            "each child's entry"
        );
        let mut list = ["0"; 4];
        list[place] = pid;
        assert!(
            example
                .words(&format!("child {place} has put"))
                .join(" ")
                .ends_with(&format!("[{}]", list.join(", "))),
            "{example}"
        );
    }
    assert_eq!(example.errors, "", "{example}");
}
