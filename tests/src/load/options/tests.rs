use super::*;

fn shapes(arguments: &[&str]) -> Vec<Shape> {
    Options::try_parse_from([&["forkchat-load"], arguments].concat()).unwrap().shapes().unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Options::command().debug_assert();
}

#[test]
fn options_change_the_presets() {
    assert_eq!(shapes(&["--quick"]).len(), PRESETS.len());
    assert_eq!(shapes(&["--idle", "7"]), [Shape { idle: 7, ..Shape::custom() }]);
    let changed = shapes(&["room-10", "storm", "--clients", "200", "--quiet"]);
    let changed: Vec<_> = changed
        .iter()
        .map(|shape| (shape.name, shape.clients, shape.rooms, shape.traffic))
        .collect();
    assert_eq!(changed, [("room-10", 200, 1, Traffic::Quiet), ("storm", 200, 100, Traffic::Quiet)]);
    assert_eq!(shapes(&["--fault", "lose"]).len(), 1);
}

#[test]
fn the_number_of_senders_is_the_presets_or_that_of_the_members_and_none_without_traffic() {
    let senders = |arguments: &[&str]| shapes(arguments)[0].senders;
    assert_eq!(
        [&["one-line"][..], &["room-10"], &["storm", "--window", "5"]].map(senders),
        [1, 4, 4]
    );
    assert_eq!(
        [&["room-10", "--clients", "2"][..], &["room-10", "--senders", "7"]].map(senders),
        [2, 7]
    );
    // Also with rooms without members, whose senders are not needed.
    assert_eq!(
        [&["storm"][..], &["idle"], &["room-10", "--storm", "--clients", "3", "--rooms", "5"]]
            .map(senders),
        [0, 0, 0]
    );
}

#[test]
fn another_server_speaks_lines_or_irc() {
    let other =
        |text| parse_compared(text).map(|other| (other.address.to_string(), other.protocol));
    assert_eq!(other("127.0.0.1:6667:irc"), Ok(("127.0.0.1:6667".into(), ChatProtocol::Irc)));
    assert_eq!(other("[::1]:9000"), Ok(("[::1]:9000".into(), ChatProtocol::Lines)));
    assert!(other("127.0.0.1:irc").is_err() && other("127.0.0.1:6667:xmpp").is_err());
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (arguments, part) in [
        (&["room-7"][..], "room-10, room-100"),
        (&["--bytes", "10"], "24"),
        (&["--seconds", "0"], "0.1 to 86400"),
        (&["--rate", "1", "--window", "1"], "cannot be used with"),
        (&["--addr", "127.0.0.1:1", "--baseline"], "cannot be used with"),
    ] {
        let error = Options::try_parse_from([&["forkchat-load"], arguments].concat())
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}
