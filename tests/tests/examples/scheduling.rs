use forkchat_tests::example::Example;
use forkchat_tests::has_tool;
use nix::unistd::gettid;
use std::process::Command;

#[test]
fn scheduling() {
    let example = Example::run("scheduling", &[]);
    example.printed(&[
        "watch for: two equal processes",
        "equal processes on one CPU",
        "policies",
        "yielding",
        "two CPUs",
        "shown: as started and yielding shared their time ",
        "affinity: ",
        "real time",
        "shown: ",
    ]);
    // Wake-ups and migrations of unpinned processes, of pinned ones, and the pins and migrations of
    // a process that is pinned to one CPU after another.
    let affinity = example
        .text
        .lines()
        .find_map(|line| line.split_once("shown: soft affinity: "))
        .expect("it is always shown")
        .1;
    let affinity: Vec<u64> = affinity
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let [free_wake_ups, _, pinned_wake_ups, pinned, _, moved] = affinity[..] else {
        panic!("{example}")
    };
    assert!(free_wake_ups > 0 && pinned_wake_ups > 0, "{example}");
    assert_eq!(pinned, 0, "a pinned process never moves: {example}");
    let one_cpu = example.text.contains("in turns; CPUs: 1\n");
    assert!(
        if one_cpu { moved == 0 } else { moved >= 9 },
        "a process goes where it is pinned: {example}"
    );
    assert_eq!(example.errors, "");
    if example.text.contains("disturbed all") {
        return;
    }
    // "as started and nice 19 shared their time 97 : 3; …"
    let ratio = |what: &str| -> Option<Vec<u64>> {
        let rest = example
            .text
            .lines()
            .filter(|line| line.contains("shown: "))
            .find_map(|line| Some(line.split_once(what)?.1))?;
        Some(
            rest.split(';')
                .next()?
                .split(" : ")
                .map(|part| part.trim().parse().expect("a number"))
                .collect(),
        )
    };
    let adds_up = |parts: &[u64]| (99..=102).contains(&parts.iter().sum::<u64>());
    let equal = ratio("equal processes shared their time ").expect("it is always shown");
    assert!(equal.len() == 2 && adds_up(&equal) && equal.iter().all(|&part| part > 0), "{example}");
    match ratio("as started and nice 19 shared their time ") {
        Some(nice) => assert!(adds_up(&nice) && nice[0] > nice[1], "{example}"),
        None => assert!(
            example.text.contains("not shown: this process was started at nice "),
            "{example}"
        ),
    }
    let policies = ratio("other, batch and idle shared their time ").expect("it is always shown");
    assert!(policies.len() == 3 && adds_up(&policies), "{example}");
    assert!(policies[2] <= policies[0] && policies[2] <= policies[1], "idle comes last: {example}");
    let yielding = ratio("as started and yielding shared their time ").expect("it is always shown");
    assert!(adds_up(&yielding) && yielding[0] > yielding[1], "{example}");
    if !example.text.contains("this process may use one CPU only") {
        let apart = example.words("on another CPU nice costs nothing: ").join(" ");
        let apart: Vec<u64> = apart
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .rev()
            .take(2)
            .collect();
        assert!(apart.iter().all(|&share| share >= 70), "each has a CPU: {example}");
    }
    match ratio("other and fifo shared their time ") {
        Some(real_time) => {
            assert!(real_time[1] > real_time[0], "{example}");
            let (fifo, turns) = (
                ratio("two fifo of one priority ").unwrap(),
                ratio("two rr of one priority ").unwrap(),
            );
            assert!(
                fifo.iter().max() > turns.iter().max(),
                "fifo runs one to its end, rr takes turns: {example}"
            );
        }
        None => assert!(
            example.text.contains("real time is not shown: it needs CAP_SYS_NICE"),
            "{example}"
        ),
    }
}

#[test]
fn scheduling_says_so_when_no_process_can_be_nicer() {
    if !has_tool("renice") {
        return;
    }
    // A nice value belongs to a thread, and the processes that the thread starts inherit it.
    let run = || {
        let renice = Command::new("renice")
            .args(["-n", "19", "-p", &gettid().to_string()])
            .output()
            .expect("renice runs");
        assert!(renice.status.success(), "{renice:?}");
        Example::run("scheduling", &[])
    };
    let example = std::thread::spawn(run).join().unwrap();
    example.printed(&["not shown: this process was started at nice 19"]);
}
