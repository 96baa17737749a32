use forkchat_tests::example::Example;

#[test]
fn cpu_or_io() {
    let example = Example::run("cpu_or_io", &[]);
    assert_eq!(example.code, Some(0), "{example}");
    // Milliseconds, those of CPU time, how many were under way, how many CPUs were at work, what was found.
    let row = |work: &str, way: &str| -> Vec<f64> {
        let words = example.text.lines().map(|line| line.split_whitespace().skip(4).collect::<Vec<_>>());
        let words =
            words.into_iter().find(|words| words.starts_with(&[work, way])).unwrap_or_else(|| panic!("no {work} {way} in {example}"));
        words[2..].iter().map(|word| word.parse().expect("a number")).collect()
    };
    let (computed, waited) = (row("computing", "serial"), row("waiting", "serial"));
    assert!(waited[0] >= 399.0 && waited[1] < computed[1], "{example}");
    assert!(computed[2] < 1.1 && waited[2] < 1.1, "one at a time: {example}");
    // All primes below 200,000, four times.
    assert_eq!((computed[4], waited[4]), (4.0 * 17_984.0, 4.0), "{example}");
    for way in ["threads", "processes"] {
        let (computing, waiting) = (row("computing", way), row("waiting", way));
        assert_eq!((computing[4], waiting[4]), (computed[4], waited[4]), "the same work: {example}");
        assert!(waiting[0] < 0.75 * waited[0] && waiting[2] > 1.3, "those who wait, wait at the same time: {example}");
        // It isn't the same to the millisecond: what others do on the machine takes cache and clock rate away.
        assert!((computed[1] / 3.0..computed[1] * 3.0).contains(&computing[1]), "no way makes the work itself less: {example}");
        assert!(waiting[1] < computing[1], "who waits needs no CPU: {example}");
    }
    // What is said last is what was measured.
    let at_work = row("computing", "threads")[3];
    let parallel = example.text.contains("threads computed in parallel, on ");
    assert!(if parallel { at_work >= 1.2 } else { at_work <= 1.2 && example.text.contains("with more than one CPU free") }, "{example}");
}
