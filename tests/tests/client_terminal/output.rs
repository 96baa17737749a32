//! How lines are shown.

use super::*;

#[test]
fn the_users_own_lines_are_marked_when_the_server_accepts_them() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    terminal.type_keys("hi bob\r");
    terminal.shows("✓ [#lobby] alice: hi bob");
    bob.reads("[#lobby] alice: hi bob");
    bob.say("hello");
    terminal.shows("  [#lobby] bob: hello");
    terminal.type_keys("/me waves\r/msg bob psst\r");
    terminal.shows("✓ [#lobby] * alice waves");
    terminal.shows("✓ [@bob] alice: psst");
    terminal.type_keys("/dance\r");
    terminal.shows("! no command /dance;");
    wait_for_prompt(&terminal, "#lobby> ");
    let lines = terminal.lines();
    assert_eq!(
        lines.iter().filter(|line| line.contains("hi bob")).count(),
        1,
        "what was typed isn't left beside what was said: {lines:?}"
    );
    let time = lines
        .iter()
        .find(|line| line.contains("alice: hi bob"))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert!(time.len() == 5 && time.as_bytes()[2] == b':', "{time:?}");
}

#[test]
fn colours_follow_the_option_and_no_color() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let has_colors = |arguments: &[&str], no_color: Option<&str>| {
        let home = Home::new();
        let mut command = command(&server, &home, arguments);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let terminal = Terminal::start(&command, ROWS, COLUMNS);
        wait_for_prompt(&terminal, "#lobby> ");
        (terminal, home)
    };
    let clients = [
        (has_colors(&[], None), true),
        (has_colors(&["--color", "auto"], Some("")), true),
        (has_colors(&[], Some("1")), false),
        (has_colors(&["--color", "always"], Some("1")), true),
        (has_colors(&["--color", "never"], None), false),
    ];
    bob.say("hello");
    for ((terminal, _), wanted) in &clients {
        terminal.shows("bob: hello");
        let colour = terminal.colour_of("bob: hello").unwrap();
        assert_eq!(colour != vt100::Color::Default, *wanted);
        let has_style = String::from_utf8_lossy(&terminal.raw_output()).contains("\x1b[38;5;");
        assert_eq!(has_style, *wanted);
    }
    let colours: Vec<_> = clients
        .iter()
        .filter(|(_, wanted)| *wanted)
        .map(|((terminal, _), _)| terminal.colour_of("bob: hello"))
        .collect();
    assert!(
        colours.iter().all(|colour| *colour == colours[0]),
        "a name has the same colour everywhere"
    );
}

#[test]
fn what_others_send_does_not_harm_the_terminal() {
    let server = Server::start(&[]);
    let mut eve = server.join("eve");
    let mut imitator = server.join("аӏісе");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    eve.reads("alice");
    eve.say("red\x1b[31m \x1b]0;title\x07\u{9b}2J end");
    eve.say("turned \u{202e}dnuora\u{2066} end");
    eve.say(&format!("Z{} end", "\u{335}".repeat(1_500)));
    eve.say("wide \u{fdfd}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} end");
    imitator.say("it is me");
    for whole in ["red  end", "turned dnuora end", "wide "] {
        terminal.shows(&format!("[#lobby] eve: {whole}"));
    }
    terminal.shows("аӏісе (not alice): it is me");
    let output = String::from_utf8_lossy(&terminal.raw_output()).into_owned();
    for harm in ['\u{202e}', '\u{2066}', '\u{9b}', '\x07'] {
        assert!(!output.contains(harm), "{harm:?}");
    }
    assert!(
        !output.contains("\x1b[31m]")
            && !output.contains("\x1b]0;")
            && output.matches('\u{335}').count() < 10
    );
    terminal.type_keys("still here\r");
    terminal.shows("✓ [#lobby] alice: still here");
    assert_ne!(
        terminal.cell_of("аӏісе (not"),
        terminal.cell_of("alice: still here"),
        "nor do they look alike"
    );
}

#[test]
fn the_users_name_rings_the_bell_unless_no_bell_is_given() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let loud = start_client(&server, &home, &["--nick", "alice"]);
    let silent = start_client(&server, &home, &["--nick", "carol", "--no-bell"]);
    bob.say("hi Alice and carol");
    bob.say("malice and carols");
    bob.say("/msg alice psst");
    bob.say("end");
    loud.shows("» [#lobby] bob: hi Alice and carol");
    loud.shows("» [@bob] bob: psst");
    silent.shows("» [#lobby] bob: hi Alice and carol");
    loud.shows("bob: end");
    silent.shows("bob: end");
    assert_eq!((loud.bells(), silent.bells()), (2, 0));
}
