use forkchat_tests::example::Example;

#[test]
fn run_program() {
    let example = Example::run("run_program", &[]);
    let pid = example.after("`echo $$` printed ")[0];
    let capacity = example.numbers_after("a pipe holds ")[0];
    let one_more = capacity + 1;
    example.printed(&[
        "watch for: exec replaces the program",
        "the child runs run_program, and calls exec",
        &format!("`echo $$` printed {pid}; pid {pid} now runs sh"),
        &format!("pid {pid} runs cat"),
        &format!("pid {pid} exited with code 0"),
        &format!("shown: pid {pid} was one process with three programs: run_program, sh, cat"),
        "try_wait returned None",
        "sh exited with code 3 (return code 3)",
        "sh -c 'exit 0': sh exited with code 0 (return code 0)",
        "sh -c 'exit 3': sh exited with code 3 (return code 3)",
        "sh was killed by signal 15 (return code -15)",
        "shown: the return codes were [0, 3, -15]",
        "reads from a pipe; try_wait: None",
        "shown: after kill and wait: cat was killed by signal 9 (return code -9)",
        r#"the file has "written by echo\n""#,
        r#"printed "WRITTEN BY ECHO\n""#,
        &format!("{capacity} bytes, not read: head exited with code 0"),
        &format!("{one_more} bytes, not read, "),
        &format!("{one_more} bytes read; head exited with code 0"),
        &format!("shown: {capacity} bytes, not read: head exited with code 0 (return code 0)"),
        &format!("shown: {one_more} bytes, not read: head still runs"),
        "shown: spawn returned an error, NotFound: ",
    ]);
    let before_exec = example
        .text
        .lines()
        .find(|line| line.contains("and calls exec"))
        .expect("the child's own line");
    assert!(
        before_exec.contains(&format!(" pid {pid} ")),
        "the pid is the same before exec and after it: {example}"
    );
    let (sent, returned) =
        (example.numbers_after("tr a b got ")[0], example.numbers_after("bytes and returned ")[0]);
    assert!(sent == returned && sent > capacity, "{example}");
    assert_eq!(example.errors, "");
}
