use forkchat_tests::example::Example;

#[test]
fn process_pool() {
    let example = Example::run("process_pool", &[]);
    example.said(&[
        "get: 12 squared is 144",
        "map: [1, 4, 9, 16, 25, 36, 49, 64, 81], by ",
        "100 is there",
        "121 is there",
        "144 is there",
        "100000: the job panicked: 100000 is too much for me",
        "0: the process that did the job was killed by signal 6",
        "7 squared is 49",
        "closed; another job? Some(Closed)",
        "joined: the last six are done, their sum is 91",
        "have no result: the pool was terminated before the job was done",
    ]);
    let pids = |part| example.words(part).into_iter().filter_map(|word| word.trim_end_matches(',').parse().ok()).collect::<Vec<u32>>();
    let (before, after) = (pids("a pool of 3 processes: "), pids("the pool goes on: "));
    let stayed = after.iter().filter(|pid| before.contains(pid)).count();
    assert_eq!((&before[1..].len(), after.len(), stayed), (&3, 3, 2), "one was replaced\n{example}");
}
