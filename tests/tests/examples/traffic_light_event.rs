use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::wait_for;
use nix::sys::signal::{Signal, kill};

#[test]
fn traffic_light_event() {
    let example = Example::run("traffic_light_event", &[]);
    example.said(&[
        "is it green? false",
        "the light turns green",
        "dora's car goes after ",
        "the light turns green and at once red again",
        "the keeper: killed by signal 9; is it green? true",
    ]);
    let line_of =
        |part: &str| example.text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part:?} in\n{example}"));
    let (green, pulse) = (line_of("the light turns green"), line_of("green and at once red"));
    for (car, light) in [("anna", green), ("berta", green), ("clara", green), ("emma", pulse), ("frida", pulse)] {
        assert!(line_of(&format!("{car}'s car stops")) < light, "{example}");
        assert!(line_of(&format!("{car}'s car goes")) > light, "{example}");
    }
    assert!(!example.text.contains("dora's car stops") && !example.text.contains("gives up"), "{example}");
}

#[test]
fn a_car_that_is_killed_ends_the_wait_for_it() {
    // Until it is met while it is waited for: at another time it may be across already.
    let (car, ended) = wait_for("a car that was killed at the red light", || {
        let example = Example::start("traffic_light_event", &[]);
        // None any more, if it has ended.
        let car = (0..1_000).find_map(|_| children_of(example.pid()).first().copied());
        // A child of the example, which was not waited for a moment ago.
        car.map(|car| kill(car, Signal::SIGKILL));
        let ended = example.finish();
        (ended.code == Some(1)).then_some((car?, ended))
    });
    assert!(ended.errors.contains(&format!("pid {car}: killed by signal 9")), "{ended}");
}
