use forkchat_tests::example::Example;

#[test]
fn clock_process() {
    let example = Example::run("clock_process", &[]);
    let sleeps_late = example.numbers_after("shown: after 20 ticks the loop of sleeps was ")[0];
    let timer_late = example.numbers_after("ms late, the timer ")[0];
    // A sleep is never too short, so the work adds up: 19 times 5 ms when the last tick comes.
    assert!(sleeps_late >= 19 * 5, "{example}");
    assert!(timer_late < sleeps_late, "{example}");
    example.printed(&[
        "tick 1 was due after 20 ms",
        "tick 20 was due after 400 ms",
        "shown: after 20 ticks",
        "three and a half periods",
        "shown: the timer",
    ]);

    let (returned, ticks) =
        (example.numbers_after(" returned "), example.numbers_after("this is tick "));
    // The read after the long work.
    assert!(returned[3] >= 3, "{example}");
    let mut sum = 0;
    for (expired, tick) in returned.iter().zip(&ticks) {
        sum += expired;
        assert_eq!(sum, *tick, "{example}");
    }
    assert_eq!(example.numbers_after("shown: the timer expired ")[0], sum, "{example}");
    assert_eq!(example.numbers_after("saw it: ")[0], sum - returned.len() as u64, "{example}");
    assert_eq!(example.errors, "");
}
