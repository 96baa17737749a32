use forkchat_tests::example::Example;

#[test]
fn thread_pool() {
    let example = Example::run("thread_pool", &[]);
    for whose in ["our own pool", "the crate's pool"] {
        let done = example.text.lines().filter(|line| line.contains(&format!("{whose}: ThreadId"))).map(|line| {
            let jobs = line.split_once('[').expect("a list of jobs").1.trim_end_matches(']');
            jobs.split(", ").map(|job| job.parse().expect("the number of a job")).collect::<Vec<u64>>()
        });
        let done: Vec<_> = done.collect();
        assert!((1..=4).contains(&done.len()), "as many threads as the pool has: {example}");
        let mut jobs = done.concat();
        jobs.sort_unstable();
        assert_eq!(jobs, (1..=20).collect::<Vec<_>>(), "each job is done once: {example}");
        example.said(&[&format!("{whose}: {} threads, jobs that add up to 210, and 1 that panicked", done.len())]);
    }
    let lost = example.numbers_behind("; lost: ");
    assert!(lost[0] > 0, "a race must be seen: {example}");
    example.said(&[
        &format!("race: 4 threads added 400, the counter says {}; lost: {}", 400 - lost[0], lost[0]),
        "mutex: 4 threads added 400, the counter says 400; lost: 0",
        "one step: 4 threads added 400, the counter says 400; lost: 0",
        "rounds so far; the flag says stop",
        "all threads have stopped, after ",
    ]);
    assert!(example.numbers_behind("all threads have stopped, after ")[0] >= 40, "{example}");
    assert!(example.errors.contains("our own pool goes wrong") && example.errors.contains("the crate's pool goes wrong"), "{example}");
}
