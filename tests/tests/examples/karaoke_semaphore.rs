use forkchat_tests::example::Example;

#[test]
fn karaoke_semaphore() {
    let example = Example::run("karaoke_semaphore", &[]);
    let inside = example.numbers_behind("inside are now ");
    assert_eq!(inside.len(), 10, "{example}");
    assert!(inside.iter().all(|inside| (1..=4).contains(inside)), "{example}");
    // With one room it would be 1, without a semaphore 10.
    let most = example.numbers_behind("inside were at most ")[0];
    assert!((2..=4).contains(&most), "{example}");
    example.said(&[
        &format!("10 guests have sung; inside were at most {most}; rooms free: 4"),
        "guest 4 finds no room free and waits",
        "guest 2: killed by signal 9; rooms free: 0",
        "the host has given back what guest 2 had: 1",
        "guest 4 has a room; rooms free: 0",
        "guest 2: killed by signal 9",
        "guest 4: exited with code 0",
        "rooms free: 4",
    ]);
}
