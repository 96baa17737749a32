use forkchat_tests::example::Example;

#[test]
fn process_pool() {
    let example = Example::run("process_pool", &[]);
    example.printed(&[
        "watch for: apply waits",
        "apply(3) waited: 9, by pid ",
        "get: 12 squared is 144, by pid ",
        "shown: three jobs took ",
        "map: [1, 4, 9, 16, 25, 36, 49, 64, 81], in order, by ",
        "400 is there",
        "1600 is there",
        "3600 is there",
        "100000: the job panicked: 100000 is too much for me",
        "0: the process that did the job was killed by signal 6",
        "7 squared is 49",
        "shown: the pool goes on with processes ",
        "closed; another job? no: the pool is closed",
        "joined: the last six are done, the sum of their squares is 91",
        "have no result: the pool was terminated before the job was done",
        "shown: dropped without join: ",
    ]);
    let pids = |part| {
        example
            .words(part)
            .into_iter()
            .filter_map(|word| word.trim_end_matches(',').parse().ok())
            .collect::<Vec<u32>>()
    };
    let (before, after) =
        (pids("a pool of 3 processes: "), pids("the pool goes on with processes "));
    let stayed = after.iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(
        (&before[1..].len(), after.len(), stayed),
        (&3, 3, 2),
        "one was replaced\n{example}"
    );

    let mut jobs = Vec::new();
    for line in example.text.lines().filter_map(|line| line.split_once("map: pid ")) {
        let (pid, done) = line.1.split_once(" did jobs [").expect("a list of jobs");
        assert!(before.contains(&pid.parse().expect("a pid")), "a process of the pool: {example}");
        jobs.extend(
            done.trim_end_matches(']').split(", ").map(|job| job.parse::<u32>().expect("a job")),
        );
    }
    jobs.sort_unstable();
    assert_eq!(jobs, (1..=9).collect::<Vec<_>>(), "each job was done once: {example}");

    let (one_by_one, together) = (
        example.numbers_after("three jobs took ")[0],
        example.numbers_after("one by one, and ")[0],
    );
    assert!(one_by_one > together, "apply waits for each: {example}");
    let (done, lost) = (
        example.numbers_after("dropped without join: ")[0],
        example.numbers_after("of 50 jobs were done, ")[0],
    );
    assert_eq!(done + lost, 50, "{example}");
    assert!(done > 0 && lost > 0, "{example}");
    assert_eq!(example.errors, "");
}
