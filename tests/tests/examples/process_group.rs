use forkchat_tests::example::Example;

/// Pid, group and session of a child, in each part in which it is named.
fn identities<'a>(text: &'a str, name: &str) -> Vec<[&'a str; 3]> {
    let rest = text
        .lines()
        .filter_map(|line| line.split_once(&format!("{name} is pid "))?.1.split_once(", group "));
    rest.map(|(pid, rest)| {
        let (group, session) = rest.split_once(", session ").expect("a session");
        [pid, group, session.split(' ').next().expect("a number")]
    })
    .collect()
}

#[test]
fn process_group() {
    let example = Example::run("process_group", &[]);
    let of = |name: &str| identities(&example.text, name);
    let parent = of("the parent")[0];
    for part in 0..2 {
        let [anna, berta, clara] = ["anna", "berta", "clara"].map(|name| of(name)[part]);
        assert!(
            anna[0] == anna[1] && berta[1] == anna[0] && berta[0] != anna[0],
            "anna leads berta's group: {example}"
        );
        assert_eq!(clara[1], if part == 0 { parent[1] } else { clara[0] }, "{example}");
        assert!(
            [anna, berta, clara].iter().all(|child| child[2] == parent[2]),
            "a group is in one session: {example}"
        );
    }
    let ([group, ..], [clara, ..], dora) = (of("anna")[1], of("clara")[1], of("dora")[0]);
    assert_eq!(dora[1], parent[1], "{example}");
    example.printed(&[
        "anna was killed by signal 15",
        "berta was killed by signal 15",
        "clara, in the parent's group, still alive? true",
        "waitpid(-1, WNOHANG): returned 0 at once",
        &format!("> 0: waitpid({clara}): clara exited with code 3"),
        "0: waitpid(0): dora exited with code 4",
        &format!("< -1: waitpid(-{group}): "),
        "-1: waitpid(-1): ",
        "waitpid(-1) once more: ECHILD",
        "WUNTRACED): it was stopped by signal 19",
        "it returned 0 at once",
        "WCONTINUED): it was continued",
        "it was killed by signal 15",
        "shown: the parent saw that the child was stopped by signal 19 (SIGSTOP), was continued, \
         was killed by signal 15",
        "setsid: the shell leads session ",
        "reads in the background: it was stopped by signal 21",
        "writes in the background: it was stopped by signal 22 (SIGTTOU) (stty tostop is set here",
        r#"the reader read "hello\n" from the terminal"#,
        "the reader was killed by signal 2; the writer: waitpid returned 0 at once",
        "the writer has written to the terminal",
        "the writer exited with code 0",
        "the shell has the terminal again",
        "shown: in the background the reader was stopped by signal 21",
        "shown: Ctrl-C reached the foreground alone: the reader was killed by signal 2",
    ]);
    let mut pair = [
        example.words(&format!("waitpid(-{group}): ")),
        example.words(": waitpid(-1): ")[1..].to_vec(),
    ]
    .map(|words| words[1..].join(" "));
    pair.sort();
    assert_eq!(
        pair,
        ["anna exited with code 1", "berta exited with code 2"],
        "both, in either order: {example}"
    );
    let foreground = example.numbers_after("foreground group is ");
    let shell = example.numbers_after("the shell leads session ")[0];
    let jobs = [
        example.numbers_after("the reader, pid ")[0],
        example.numbers_after("the writer, pid ")[0],
    ];
    assert_eq!(foreground, [shell, jobs[0], jobs[1]], "{example}");
    assert_ne!(shell.to_string(), parent[2], "the caller's terminal is left alone: {example}");
    assert_eq!(example.numbers_after("again: foreground group "), [shell], "{example}");
    assert_eq!(example.errors, "");
}
