use forkchat_tests::example::Example;

#[test]
fn start_and_join() {
    let example = Example::run("start_and_join", &[]);
    example.printed(&[
        "watch for: the pids",
        "is she alive? true",
        "anna exited with code 3; is she alive? false",
        "the parent does not wait",
        "looks: berta exited with code 4",
        "waited 80 ms for clara; has she ended? false",
        "clara was killed by signal 15",
        "dora begins",
        "dora was killed by signal 9",
        "emma's mistake",
        "emma, who panicked, exited with code 101",
        "shown: join returned four kinds of end",
    ]);
    let (parent, child) =
        (example.words("pid ")[1], example.words("started anna as pid")[4].trim_end_matches(';'));
    assert_eq!(example.words("anna begins; the parent is pid").last(), Some(&parent));
    assert_ne!(parent, child);
    let together = example.numbers_after("both were started, then both joined: ")[0];
    let one_by_one = example.numbers_after("each was joined before the next was started: ")[0];
    assert!(together < one_by_one, "the longer time is less than the sum: {example}");
    assert_eq!(example.errors, "", "a panic is a line among the others, without a backtrace");
}
