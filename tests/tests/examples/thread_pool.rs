use forkchat_tests::example::Example;

#[test]
fn thread_pool() {
    let example = Example::run("thread_pool", &[]);
    for whose in ["our own pool", "the pool of the crate threadpool"] {
        let done = example
            .text
            .lines()
            .filter(|line| line.contains(&format!("{whose}: ThreadId")))
            .map(|line| {
                let jobs = line.split_once('[').expect("a list of jobs").1.trim_end_matches(']');
                jobs.split(", ")
                    .map(|job| job.parse().expect("the number of a job"))
                    .collect::<Vec<u64>>()
            });
        let done: Vec<_> = done.collect();
        assert!((1..=4).contains(&done.len()), "as many threads as the pool has: {example}");
        let mut jobs = done.concat();
        jobs.sort_unstable();
        assert_eq!(jobs, (1..=20).collect::<Vec<_>>(), "each job is done once: {example}");
        example.printed(&[&format!(
            "{whose}: {} threads, jobs that add up to 210, and 1 that panicked",
            done.len()
        )]);
    }
    let lost = example.numbers_after("; lost: ");
    assert!(lost[0] > 0, "a race must be seen: {example}");
    example.printed(&[
        &format!(
            "race: 4 threads added 400, the counter says {}; lost: {}",
            400 - lost[0],
            lost[0]
        ),
        "mutex: 4 threads added 400, the counter says 400; lost: 0",
        "one step: 4 threads added 400, the counter says 400; lost: 0",
        "rounds so far; the flag says stop",
        "all threads have stopped, after ",
    ]);
    assert!(example.numbers_after("all threads have stopped, after ")[0] >= 40, "{example}");
    example.printed(&[
        "goes wrong",
        "shown: the race lost ",
        "after the threads, the main thread sees 4",
        "after the child processes, the parent sees 4",
        "shown: 4 threads changed the global variable from 0 to 4; 4 child processes changed \
         copies of it, and it is still 4",
    ]);
    let seen = |by: &str| {
        (1..=4)
            .map(|number| example.numbers_after(&format!("{by} {number} added 1 and sees "))[0])
            .collect::<Vec<_>>()
    };
    let mut by_threads = seen("thread");
    by_threads.sort_unstable();
    assert_eq!(
        (by_threads, seen("child process")),
        (vec![1, 2, 3, 4], vec![5; 4]),
        "one for all threads, a copy for each process: {example}"
    );
    for job in [
        "a job for our own pool goes wrong",
        "a job for the pool of the crate threadpool goes wrong",
    ] {
        assert_eq!(
            example
                .text
                .lines()
                .filter(|line| line.contains("panic at ") && line.ends_with(job))
                .count(),
            1,
            "{example}"
        );
    }
    assert_eq!(example.errors, "", "a panic is a line among the others, without a backtrace");
}
