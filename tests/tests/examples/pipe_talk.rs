use forkchat_tests::example::Example;

#[test]
fn pipe_talk() {
    let example = Example::run("pipe_talk", &[]);
    let capacity = example.numbers_after("the pipe holds ")[0];
    let letter = example.numbers_after("bytes, the child writes ")[0];
    assert!(letter > capacity, "{example}");
    // The parent's lines and the child's come in any order between these.
    example.printed(&[
        "the parent has written everything; is the child alive? true",
        "the parent has closed its end; the child exited with code 0",
        "shown: 3 writes were 2 lines; the child was alive after the last write: true",
    ]);
    example.printed(&[
        "the child reads: a pipe carries bytes:",
        "the child reads: lines are what its two ends agree on",
        "the child is at the end of input",
        "the parent receives 4",
        "the parent receives 9",
        "the parent receives 16",
        "the child is at the end of input",
        "the parent has closed its end; the child exited with code 0",
        "shown: [2, 3, 4] went to the child, [4, 9, 16] came back",
        "the queue is a pair of non-blocking sockets",
        "shown: it took ",
        "shown: send did not wait",
        "after 200 ms the child is still alive",
        &format!("the pipe is full with {capacity} bytes; the child is in state S, in "),
        "a deadlock",
        &format!("the parent has read {letter} bytes; the child exited with code 0"),
        &format!(
            "shown: waiting first: the child is still alive after 200 ms, blocked with \
            {capacity} of {letter} bytes in the pipe"
        ),
        &format!("shown: reading first: {letter} bytes, and the child exited with code 0"),
    ]);
    let call = example.words("the child is in state S, in");
    assert!(call.contains(&"write,") || call.ends_with(&["does", "not", "report"]), "{example}");
    assert!(example.numbers_after("shown: it took ")[0] >= 10, "{example}");
    assert_eq!(example.errors, "", "{example}");
}
