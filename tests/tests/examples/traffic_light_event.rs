use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::wait_for;
use nix::sys::signal::{Signal, kill};

#[test]
fn traffic_light_event() {
    let example = Example::run("traffic_light_event", &[]);
    example.printed(&[
        "is the light green? false",
        "TURNS GREEN",
        "dora's car comes and does not stop",
        "TURNS RED",
        "emma's car gives up after ",
        "emma's car exited with code 2",
        "TURNS GREEN",
        "TURNS RED",
        "TURNS GREEN and at once red again",
        "TURNS GREEN",
        "was killed by signal 9; is the light green? true",
        "jana's car comes and does not stop",
        "shown: 9 cars crossed, 1 gave up after ",
    ]);
    let line_of = |part: &str| {
        example
            .text
            .lines()
            .position(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part:?} in\n{example}"))
    };
    let greens: Vec<_> = example
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("TURNS GREEN"))
        .map(|(at, _)| at)
        .collect();
    for (car, green) in [
        ("anna", 0),
        ("berta", 0),
        ("clara", 0),
        ("frida", 1),
        ("greta", 2),
        ("hanna", 2),
        ("ida", 3),
    ] {
        assert!(line_of(&format!(" {car}'s car comes and stops")) < greens[green], "{example}");
        assert!(line_of(&format!(" {car}'s car goes")) > greens[green], "{example}");
    }
    let waited = example.numbers_after("emma's car gives up after ")[0];
    assert!(waited >= example.numbers_after("1 gave up after ")[0], "{example}");
    assert_eq!(example.errors, "");
}

#[test]
fn a_car_that_is_killed_ends_the_wait_for_it() {
    // Repeated until the car is killed while the example waits for it. At other times it may have
    // crossed already.
    let (car, ended) = wait_for("a car that was killed at the red light", || {
        let example = Example::start("traffic_light_event", &[]);
        // There is none any more if the example has ended.
        let car = (0..1_000).find_map(|_| children_of(example.pid()).first().copied());
        // It was a child of the example that was not reaped a moment before.
        car.map(|car| kill(car, Signal::SIGKILL));
        let ended = example.finish();
        (ended.code == Some(1)).then_some((car?, ended))
    });
    assert!(ended.errors.contains(&format!("pid {car}, was killed by signal 9")), "{ended}");
}
