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

#[test]
fn zombie_and_orphan() {
    let example = Example::run("zombie_and_orphan", &[]);
    let (main, zombie) = (example.behind(" s  pid ")[0], example.behind("waited for: pid ")[0]);
    example.said(&[
        &format!("pid {zombie} has ended and nobody has waited for it: state Z, parent pid {main}"),
        "its memory is given back (0 pages)",
        &format!("waited for: pid {zombie} exited with code 3; not in /proc"),
    ]);
    let parent = |child: &str| example.behind(&format!("a child that {child} its parent, pid "))[0];
    let (first, second) = (parent("outlives"), parent("dies with"));
    let killed = |parent: &str| format!(", pid {parent}, was killed by signal 9");
    let child =
        |parent: &str| example.text[..example.text.find(&killed(parent)).expect("the parent is killed")].rsplit(' ').next().unwrap();
    let (orphan, other) = (child(first), child(second));
    example.said(&[
        &format!("pid {orphan}: state"),
        &killed(first),
        &format!("the orphan lives: pid {orphan}, state"),
        &format!("pid {orphan} exited with code 4"),
        &format!("pid {other}: state"),
        &killed(second),
        &format!("pid {other} killed by signal 9"),
    ]);
    assert!(example.words(&format!("pid {orphan}: state")).ends_with(&["parent", "pid", first]), "{example}");
    assert!(example.words("the orphan lives").ends_with(&["parent", "pid", main]), "{example}");
    assert_eq!(example.behind("an orphan: its parent was pid "), [first], "the other child's end comes with its parent's: {example}");
    assert_eq!(example.behind(&format!("an orphan: its parent was pid {first} and is pid ")), [main], "{example}");
}
