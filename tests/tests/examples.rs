//! Each example of a building block, run as a person would: it shows what it says it shows, ends by itself, and leaves nothing behind.

use forkchat_tests::example::Example;

#[test]
fn start_and_join() {
    let example = Example::run("start_and_join", &[]);
    example.said(&[
        "is she alive? true",
        "anna exited with code 3; is she alive? false",
        "the parent doesn't wait",
        "looks: berta exited with code 4",
        "waited 80 ms for clara: she still runs",
        "clara killed by signal 15",
        "dora killed by signal 9",
        "panicked: emma exited with code 101",
    ]);
    let (parent, child) = (example.words("pid ")[1], example.words("started anna as pid")[4].trim_end_matches(';'));
    assert_eq!(example.words("anna begins; her parent is pid").last(), Some(&parent));
    assert_ne!(parent, child);
    assert!(example.errors.contains("emma's mistake"), "{example}");
}
