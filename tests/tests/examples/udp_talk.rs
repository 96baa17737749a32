use forkchat_tests::example::Example;

#[test]
fn udp_talk() {
    let example = Example::run("udp_talk", &[]);
    example.said(&["Anna: exited with code 0, Berta: exited with code 0"]);
    assert!(example.text.contains("Anna received 12 of 12; lost: []"), "{example}");
    assert!(example.text.contains("Berta received 10 of 12; lost: [7, 12]"), "{example}");
    assert!(
        example.text.contains("Berta has heard nothing for 1s, and waits no longer"),
        "the last one is waited for, but not for ever: {example}"
    );
    for (name, heard) in [("Anna", (1..=12).collect()), ("Berta", Vec::from([1, 2, 3, 4, 5, 6, 8, 9, 10, 11]))] {
        let lines = example.text.lines().filter(|line| line.contains(&format!("{name}, who has sent ")));
        let number = |line: &str| line.split_once("hears: ")?.1.split(' ').next()?.parse::<u32>().ok();
        assert_eq!(lines.filter_map(number).collect::<Vec<_>>(), heard, "{example}");
    }
    // Who first sent and then received would have sent all 12 by then.
    assert!(example.numbers_behind("who has sent ").iter().any(|&sent| sent < 12), "{example}");
}
