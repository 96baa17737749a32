use forkchat_tests::example::Example;

const ALL: u64 = 750;

#[test]
fn shared_dict() {
    let example = Example::run("shared_dict", &[]);
    example.printed(&[
        "watch for: the manager process owns",
        "worker 0 has sent two requests",
        "the manager handled 7 requests (6, and the parent's look), and no client is left",
        "shown: 3 processes put 3 entries in one map; an ordinary map of the parent's, which each \
         child copied, has 0",
        "manager: x = 750, the list has 750 items, of each worker [250, 250, 250]",
        "mutex: x = 750, the list has 750 items, of each worker [250, 250, 250]",
        "shown: both are right",
        "get and set, two requests: x = ",
        "add, one request: x = 750 of 750; lost: 0",
        "get and set with a lock held: x = 750 of 750; lost: 0",
        "of 750 updates; one request and two requests under a lock lost none",
    ]);
    for worker in 0..3 {
        let line = example
            .text
            .lines()
            .find(|line| line.contains(&format!("worker {worker} has sent")))
            .expect("a line of the worker's");
        let pid = line.split_whitespace().nth(3).expect("its pid");
        assert!(
            example.text.contains(&format!("\"worker {worker}\": {pid}")),
            "the map has the pid of worker {worker}: {example}"
        );
    }
    let list = example.words("the manager's list, in the order of the requests: ").join(" ");
    let mut list: Vec<char> = list.chars().filter(char::is_ascii_digit).collect();
    list.sort_unstable();
    assert_eq!(list, ['0', '1', '2'], "each worker's number once: {example}");
    // Only the last race counts. The example repeats it until something is lost.
    let (found, lost) =
        (example.numbers_after("two requests: x = "), example.numbers_after("; lost: "));
    let races = found.len();
    assert_eq!((found[races - 1] + lost[races - 1], lost.len()), (ALL, races + 2), "{example}");
    assert!(lost[races - 1] > 0, "a race must be seen: {example}");
    let took: Vec<f64> = example
        .after("an operation took ")
        .iter()
        .map(|number| number.parse().expect("a time"))
        .collect();
    assert!(took.len() >= 2 && took.iter().all(|&micros| micros > 0.0), "{example}");
    assert_eq!(example.errors, "");
}
