use forkchat_tests::example::Example;

#[test]
fn pipe_talk() {
    let example = Example::run("pipe_talk", &[]);
    let capacity = example.numbers_behind("a full pipe: it holds ")[0];
    let letter = example.numbers_behind("bytes, the child writes ")[0];
    assert!(letter > capacity, "{example}");
    example.said(&[
        "the parent has written everything; is the child alive? true",
        "the parent has closed its end; the child: exited with code 0",
    ]);
    example.said(&[
        "the child reads: a pipe knows no borders:",
        "the child reads: lines are what its two ends agree on",
        "the child is at the end of input",
        "the parent hears Some(4)",
        "the parent hears Some(9)",
        "the parent hears Some(16)",
        "the child is at the end of input",
        "the parent has closed its end; the child: exited with code 0",
        "200 ms later the child: it still runs",
        &format!("in the pipe are {capacity} bytes; the child is in state S, in "),
        &format!("read while one waits: {letter} bytes; the child: exited with code 0"),
    ]);
    let call = example.words("the child is in state S, in");
    assert!(call.contains(&"write,") || call.ends_with(&["we", "are", "not", "told"]), "{example}");
    assert!(example.numbers_behind("a queue that nobody reads takes ")[0] >= 10, "{example}");
}
