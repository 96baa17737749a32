use forkchat_tests::example::Example;

#[test]
fn zombie_and_orphan() {
    let example = Example::run("zombie_and_orphan", &[]);
    let states: Vec<&str> = ["R, running", "S, sleeping", "T, stopped", "Z, zombie"]
        .into_iter()
        .map(|state| {
            let line = example
                .text
                .lines()
                .find_map(|line| line.split_once(&format!(": state {state}")))
                .unwrap_or_else(|| panic!("{example}"));
            line.0.rsplit(' ').next().expect("a pid")
        })
        .collect();
    let [running, sleeping, stopped, ended] = states[..] else { unreachable!("there are four") };
    example.printed(&[
        "watch for: the states",
        &format!("to see them: ps -o pid,ppid,stat,comm -p {running},{sleeping},{stopped},{ended}"),
        &format!(
            "shown: four pids and their states in /proc: {running} R, {sleeping} S, {stopped} \
            T, {ended} Z"
        ),
    ]);
    let (main, zombie) = (example.after(" s  pid ")[0], example.after("after wait: pid ")[0]);
    example.printed(&[
        &format!(
            "pid {zombie} has ended, and its parent has not waited for it: state Z, parent \
            pid {main}"
        ),
        "its memory is 0 pages",
        &format!("after wait: pid {zombie} exited with code 3; it is not in /proc any more"),
        "shown: a zombie with 0 pages of memory; after wait: not in /proc any more",
    ]);
    let parent = |child: &str| example.after(&format!("this child {child} its parent, pid "))[0];
    let (first, second) = (parent("outlives"), parent("dies with"));
    let child = |parent: &str| {
        let killed = format!(", pid {parent}, was killed by signal 9");
        example.text[..example.text.find(&killed).expect("the parent is killed")]
            .rsplit(' ')
            .next()
            .expect("a pid")
    };
    let (orphan, other) = (child(first), child(second));
    example.printed(&[
        &format!("this process (pid {main}) takes in orphans"),
        &format!("pid {orphan}: state"),
        &format!("pid {first}, was killed by signal 9"),
        &format!("the orphan lives: pid {orphan}, state"),
        &format!("pid {orphan} exited with code 0"),
        &format!("pid {other}: state"),
        &format!("pid {second}, was killed by signal 9"),
        &format!("pid {other} was killed by signal 9"),
        "shown: after the parent's death the orphan went on and exited with code 0; the child with \
         PR_SET_PDEATHSIG was killed by signal 9",
    ]);
    assert!(
        example.words(&format!("pid {orphan}: state")).ends_with(&["parent", "pid", first]),
        "{example}"
    );
    assert!(example.words("the orphan lives").ends_with(&["parent", "pid", main]), "{example}");
    assert_eq!(
        example.after("an orphan: its parent was pid "),
        [first],
        "the other child's end comes with its parent's: {example}"
    );
    assert_eq!(
        example.after(&format!("an orphan: its parent was pid {first}, and is now pid ")),
        [main],
        "{example}"
    );
    assert_eq!(example.errors, "");
}
