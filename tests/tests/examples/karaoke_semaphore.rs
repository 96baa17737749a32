use forkchat_tests::example::Example;

#[test]
fn karaoke_semaphore() {
    let example = Example::run("karaoke_semaphore", &[]);
    let inside = example.numbers_after("guests inside: ");
    assert_eq!(inside.len(), 10, "{example}");
    assert!(inside.iter().all(|inside| (1..=4).contains(inside)), "{example}");
    // With one room the maximum would be 1, without a semaphore 10.
    let most = example.numbers_after("ms, at most ")[0];
    assert!((2..=4).contains(&most), "{example}");
    example.printed(&[
        "shown: 10 guests sang in ",
        "guest 4 finds no room free and waits",
        "guest 2 was killed by signal 9; rooms free: 0, since its room was not given back",
        "the parent gives back what guest 2 held: 1",
        "guest 4 has a room until the house closes",
        "shown: after the death 0 rooms were free; the parent gave 1 back, and guest 4 got it; \
         rooms free at the end: 4",
    ]);
    assert_eq!(example.errors, "");
}
