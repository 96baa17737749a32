use forkchat_tests::example::Example;
use unicode_width::UnicodeWidthStr;

#[test]
fn cpu_or_io() {
    let example = Example::run("cpu_or_io", &[]);
    assert_eq!(example.code, Some(0), "{example}");
    // Milliseconds, milliseconds of CPU time, how many tasks ran at a time, how many CPUs worked,
    // what was found.
    let row = |work: &str, way: &str| -> Vec<f64> {
        let start = format!("{work:<11}{way:<13}");
        let numbers = example.text.lines().find_map(|line| Some(line.split_once(&start)?.1));
        let numbers = numbers.unwrap_or_else(|| panic!("no {work} {way} in {example}"));
        numbers.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    };
    let (computed, waited) = (row("computing", "serial"), row("waiting", "serial"));
    assert!(waited[0] >= 399.0 && waited[1] < computed[1], "{example}");
    assert!(computed[2] < 1.1 && waited[2] < 1.1, "one at a time: {example}");
    // All primes below 200,000, four times.
    assert_eq!((computed[4], waited[4]), (4.0 * 17_984.0, 4.0), "{example}");
    for way in ["threads", "processes", "event loop"] {
        let (computing, waiting) = (row("computing", way), row("waiting", way));
        assert_eq!(
            (computing[4], waiting[4]),
            (computed[4], waited[4]),
            "the same work: {example}"
        );
        assert!(
            waiting[0] < 0.75 * waited[0] && waiting[2] > 1.3,
            "tasks that wait, wait at the same time: {example}"
        );
        // Not exact: other processes on the machine change the state of the caches and the clock
        // rate.
        assert!(
            (computed[1] / 3.0..computed[1] * 3.0).contains(&computing[1]),
            "no way makes the work itself less: {example}"
        );
        assert!(waiting[1] < computing[1], "a task that waits needs no CPU: {example}");
    }
    assert!(
        row("computing", "event loop")[2] < 1.1,
        "an event loop computes one task after the other: {example}"
    );
    example.printed(&[
        "shown: waiting, event loop: one thread had ",
        "shown: computing, event loop: ",
        "shown: threads computed ",
        "with the GIL of CPython, threads do not compute in parallel",
    ]);
    // The last sentences state what was measured.
    let at_work = row("computing", "threads")[3];
    let parallel = example.text.contains("threads computed in parallel, on ");
    assert!(
        if parallel {
            at_work >= 1.2
        } else {
            at_work <= 1.2
                && (example.text.contains("run it again")
                    || example.text.contains("may use one CPU only"))
        },
        "{example}"
    );
    assert_eq!(example.errors, "");

    // The columns are aligned for a terminal, in which a Chinese character is as wide as two Latin
    // letters.
    let chinese = Example::run("cpu_or_io", &["--lang", "zh"]);
    let is_row =
        |line: &&str| matches!(line.split_whitespace().nth(4), Some("任务类型" | "计算" | "等待"));
    let widths: Vec<usize> =
        chinese.text.lines().filter(is_row).map(UnicodeWidthStr::width).collect();
    assert!(
        widths.len() == 9 && widths.iter().all(|width| *width == widths[0]),
        "a title and eight rows: {chinese}"
    );
}
