use forkchat_tests::example::Example;

#[test]
fn producer_consumer() {
    let example = Example::run("producer_consumer", &[]);
    example.said(&[
        "a queue of 4 places",
        "the sum of all numbers is 78, and is to be 78",
        "in hand: killed by signal 9",
        "all of 12 tasks done? false: one is with the dead",
        "its task waits again; all done? true; the sum of what is done is 78",
        "wait for more; they die with their parent",
    ]);
    let taken = (0..3).map(|me| example.words(&format!("consumer {me} took"))[3].parse::<u32>().unwrap()).sum::<u32>();
    assert_eq!(taken, 12, "{example}");
    assert_eq!(example.text.matches(" numbers and an end marker").count(), 3, "one for each\n{example}");
    let consumers = example.words("the consumers ").into_iter().skip(2).take(3).map(|pid| pid.trim_end_matches(','));
    let (consumers, parent) = (consumers.collect::<Vec<_>>(), example.behind("the consumers' parent, pid ")[0]);
    assert_ne!(parent, example.behind(" s  pid ")[0], "{example}");
    assert!(example.text.contains(&format!("the consumers' parent, pid {parent}: exited with code 0")), "{example}");
    assert_eq!(example.behind("a consumer, pid "), consumers, "all are seen to be gone: {example}");
    for pid in consumers {
        assert!(example.text.contains(&format!("a consumer, pid {pid}: killed by signal 9")), "{example}");
    }
}
