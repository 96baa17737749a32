use forkchat_tests::example::Example;

#[test]
fn zombie_and_orphan() {
    let example = Example::run("zombie_and_orphan", &[]);
    let (main, zombie) = (example.behind(" s  pid ")[0], example.behind("waited for: pid ")[0]);
    example.said(&[
        &format!("pid {zombie} has ended and nobody has waited for it: state Z, parent pid {main}"),
        "its memory is given back (0 pages)",
        &format!("waited for: pid {zombie}: exited with code 3; not in /proc"),
    ]);
    let parent = |child: &str| example.behind(&format!("a child that {child} its parent, pid "))[0];
    let (first, second) = (parent("outlives"), parent("dies with"));
    let killed = |parent: &str| format!(", pid {parent}, was was killed by signal 9");
    let child =
        |parent: &str| example.text[..example.text.find(&killed(parent)).expect("the parent is killed")].rsplit(' ').next().unwrap();
    let (orphan, other) = (child(first), child(second));
    example.said(&[
        &format!("pid {orphan}: state"),
        &killed(first),
        &format!("the orphan lives: pid {orphan}, state"),
        &format!("pid {orphan}: exited with code 0"),
        &format!("pid {other}: state"),
        &killed(second),
        &format!("pid {other}: was killed by signal 9"),
    ]);
    assert!(example.words(&format!("pid {orphan}: state")).ends_with(&["parent", "pid", first]), "{example}");
    assert!(example.words("the orphan lives").ends_with(&["parent", "pid", main]), "{example}");
    assert_eq!(example.behind("an orphan: its parent was pid "), [first], "the other child's end comes with its parent's: {example}");
    assert_eq!(example.behind(&format!("an orphan: its parent was pid {first} and is pid ")), [main], "{example}");
}
