use forkchat_tests::example::Example;

#[test]
fn separate_memory() {
    let example = Example::run("separate_memory", &[]);
    example.said(&[
        "before the fork: variable 1 at ",
        "in the child: variable 42 at ",
        "in the parent: variable 1 at ",
        "when it has read the row, whose sum is 16777216",
        "when it has written to all of it, sum 33554432",
        "the parent's row still has 16777216 ones",
        "the parent's own row is [0, 0, 0, 0]",
        "4 children added 1 to a shared value 1000 times each: 4000",
    ]);
    assert_eq!(
        example.behind("in the child: variable 42 at "),
        example.behind("in the parent: variable 1 at "),
        "one address, two variables"
    );
    for (side, value) in [("before the fork", "1"), ("in the child", "42"), ("in the parent", "42")] {
        assert_eq!(example.words(&format!("{side}: variable")).last(), Some(&value), "the shared value {side}");
    }
    let own = example.numbers_behind("memory that is the child's alone:");
    assert!(own[0] < 4_096 && own[1] < 4_096 && own[2] > 12_288, "16 MiB are copied when they are written, and not before: {own:?}");
    for place in 0..4 {
        let pid = example.behind(&format!("child {place}, pid "))[0];
        assert_eq!(example.words("the shared array is [")[4 + place].trim_matches(['[', ']', ',']), pid, "each child's entry");
        let mut row = ["0"; 4];
        row[place] = pid;
        assert!(example.words(&format!("child {place} has put")).join(" ").ends_with(&format!("[{}]", row.join(", "))), "{example}");
    }
}
