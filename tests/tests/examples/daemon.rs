use forkchat_tests::example::{Ended, Example};

/// The three lines that the example prints after a line about a process: its parent, its session,
/// and the rest.
fn surroundings(example: &Ended, of: &str) -> (u64, u64, String) {
    let after =
        example.text.split_once(of).unwrap_or_else(|| panic!("{of:?} is missing in\n{example}")).1;
    let texts =
        after.lines().skip(1).filter_map(|line| line.split_once(" s  pid ")?.1.split_once(' '));
    let lines: Vec<_> = texts.map(|(_, text)| text.trim()).take(3).collect();
    let (parent, rest) =
        lines[0].strip_prefix("parent ").unwrap().split_once(", session ").unwrap();
    let (session, directory) = rest.split_once(", ").unwrap();
    (
        parent.parse().unwrap(),
        session.parse().unwrap(),
        format!("{directory}, {}, {}", lines[1], lines[2]),
    )
}

#[test]
fn daemon() {
    let example = Example::run("daemon", &[]);
    let pids = example.after("start: pid ");
    let [first, second] = pids[..] else { panic!("{example}") };
    assert_ne!(first, second);
    example.printed(&[
        "watch for: the daemon keeps nothing",
        &format!("start: pid {first} is ready; does it hold the pid file? true"),
        &format!("start: a daemon runs already, as pid {first}"),
        "restart: first stop, then start",
        &format!("stop: pid {first} has ended"),
        &format!("start: pid {second} is ready; does it hold the pid file? true"),
        &format!("stop: pid {second} has ended"),
        "is the pid file there? false",
        &format!("pid {first} begins:"),
        &format!("pid {first} ends:"),
        &format!("pid {second} begins:"),
        &format!("pid {second} ends:"),
        &format!(
            "shown: 3 starts made 2 daemons, one after the other: pid {first}, {second}; is \
            the pid file left? false"
        ),
    ]);
    assert_eq!(
        example.text.matches(" begins:").count(),
        2,
        "a daemon that was refused never began: {example}"
    );
    let starter: u64 = example.words("pid ")[1].parse().unwrap();
    let (_, session, _) = surroundings(&example, "the starter:");
    for pid in [first, second] {
        let (parent, its_session, rest) = surroundings(&example, &format!("pid {pid} ends:"));
        assert!(
            parent != starter && its_session != session && its_session.to_string() != pid,
            "{example}"
        );
        assert_eq!(
            rest,
            "whose leader has ended, directory /, umask 077, 0, 1, 2 are /dev/null, /dev/null, \
             /dev/null"
        );
    }
    assert_eq!(example.errors, "");
}

#[test]
fn daemons_started_one_after_another_find_each_other_and_leave_nothing() {
    let example = Example::start("daemon", &["stop"]);
    // Before there is a daemon: otherwise it might be the one that is started next.
    example.reads("stop: no daemon runs");
    let started = example.again(&["start"]);
    let first = started.words("start: pid ")[2];
    example.again(&["start"]).printed(&[&format!("start: a daemon runs already, as pid {first}")]);
    let restarted = example.again(&["restart"]);
    let second = restarted.words("start: pid ")[2];
    restarted.printed(&[
        "restart: ",
        &format!("stop: pid {first} has ended"),
        &format!("start: pid {second} is ready"),
        "it ends by itself after ",
    ]);
    example.again(&["stop"]).printed(&[&format!("stop: pid {second} has ended")]);
    example.again(&["stop"]).printed(&["stop: no daemon runs"]);
    example.again(&["restart"]).printed(&["stop: no daemon runs", "is ready"]);
    // The last daemon ends by itself and removes its pid file.
    example.finish().printed(&["stop: no daemon runs"]);
}
