use forkchat_tests::example::Example;

#[test]
fn producer_consumer() {
    let example = Example::run("producer_consumer", &[]);
    example.printed(&[
        "watch for: which consumer takes which item",
        "a queue of 4 places",
        "shown: 12 items were taken, each once: their sum is 78, and is to be 78",
        "a producer that forgets an end marker",
        "the producer has put 12 items and 2 end markers",
        ": no item came, nor an end marker",
        "shown: 2 of 3 consumers got an end marker; 1 would wait for ever",
        "in hand was killed by signal 9",
        "the 3 others have nothing left to take; all 12 done? false: the dead consumer still has \
         item 1",
        "the parent puts item 1 back",
        "all done now? true; the sum of what is done is 78",
        "wait for more; they die with their parent",
        "shown: all 12 items were done although a consumer was killed; 3 consumers died with their \
         parent",
    ]);
    let parts: Vec<&str> = example.text.split("── ").collect();
    let (markers, forgotten, joined) = (parts[2], parts[3], parts[4]);
    // In the joinable queue, the item of the killed consumer is taken twice.
    for (part, twice) in [(markers, None), (forgotten, None), (joined, Some(1))] {
        let items = part.lines().filter_map(|line| line.split_once(" takes item ")?.1.parse().ok());
        let mut items: Vec<u64> = items.collect();
        items.sort_unstable();
        let expected: Vec<u64> = twice.into_iter().chain(1..=12).collect();
        assert_eq!(items, expected, "every item is shown: {example}");
    }
    assert_eq!(markers.matches(" items and an end marker").count(), 3, "one for each\n{example}");
    assert_eq!(
        forgotten.matches(" items and an end marker").count(),
        2,
        "one is missing\n{example}"
    );
    let consumers = example
        .words("the consumers ")
        .into_iter()
        .skip(2)
        .take(3)
        .map(|pid| pid.trim_end_matches(','));
    let (consumers, parent) =
        (consumers.collect::<Vec<_>>(), example.after("the consumers' parent, pid ")[0]);
    assert_ne!(parent, example.after(" s  pid ")[0], "{example}");
    assert!(
        example.text.contains(&format!("the consumers' parent, pid {parent}, exited with code 0")),
        "{example}"
    );
    assert_eq!(example.after("a consumer, pid "), consumers, "all are seen to be gone: {example}");
    for pid in consumers {
        assert!(
            example.text.contains(&format!("a consumer, pid {pid}, was killed by signal 9")),
            "{example}"
        );
    }
    assert_eq!(example.errors, "");
}
