use forkchat_tests::example::Example;

#[test]
fn threads_at_the_end() {
    let example = Example::run("threads_at_the_end", &[]);
    example.printed(&[
        "main returns; the thread is at step",
        "did it tidy up? false",
        "main waits in join",
        "the thread is at step 8",
        "join returned what the thread returned: 8; main returns",
        "did it tidy up? true",
        "main is at the end of the scope",
        "the thread is at step 8",
        "did it tidy up? true",
        "main asks the thread to stop",
        "the thread tidies up",
        "did it tidy up? true",
        "shown: steps out of 8:",
    ]);
    let steps = example.numbers_after("its thread came to step ");
    assert!((3..8).contains(&steps[0]), "the thread was not cut off: {example}");
    assert_eq!(steps[1..3], [8, 8], "{example}");
    assert!((3..8).contains(&steps[3]), "the thread did not stop when it was asked to: {example}");
    // The first child's thread prints nothing after its process has ended.
    let (before, after) = example.text.split_once("did it tidy up? false").expect("it was said");
    let pid = before
        .lines()
        .find(|line| line.contains("main returns; the thread"))
        .and_then(|line| line.split("pid ").nth(1));
    let pid = pid.and_then(|rest| rest.split_whitespace().next()).expect("a line has a pid");
    assert!(!after.contains(&format!("pid {pid} ")), "{example}");
    assert_eq!(example.errors, "");
}
