//! Pastes, with and without bracketed paste.

use super::*;

#[test]
fn five_hundred_pasted_lines_are_said_in_order_with_or_without_bracketed_paste() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    let lines = |name: &str| -> Vec<String> {
        (0..500).map(|number| format!("{name} {number}\t贴 {}", "x".repeat(number % 150))).collect()
    };
    let bracketed = lines("bracketed");
    assert!(terminal.bracketed_paste());
    let said = |received: Vec<String>| {
        received
            .into_iter()
            .filter_map(|line| line.strip_prefix("[#lobby] alice: ").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    terminal.paste(&(bracketed.join("\n") + "\nand more"));
    terminal.shows("- 501 lines pasted; Enter sends them, Ctrl-C drops them");
    wait_for_prompt(&terminal, "#lobby> and more");
    bob.say("nothing yet");
    assert_eq!(said(bob.sync()), Vec::<String>::new());
    terminal.type_keys("\r");
    // Another user talks at the same time.
    for number in 0..200 {
        bob.say(&format!("meanwhile {number}"));
    }
    let received = said(bob.reads("alice: bracketed 499"));
    assert_eq!(received, bracketed);
    bob.reads("[#lobby] alice: and more");
    wait_for_prompt(&terminal, "#lobby> ");
    // As from a terminal that doesn't mark pastes. Without tabs, which would be completions.
    let bare: Vec<String> = lines("bare").into_iter().map(|line| line.replace('\t', " ")).collect();
    terminal.type_keys(bare.join("\r") + "\r");
    assert_eq!(said(bob.reads("alice: bare 499")), bare);
    terminal.shows("✓ [#lobby] alice: bare 499");
    wait_for_prompt(&terminal, "#lobby> ");
    let shown: Vec<String> = contents(&terminal)
        .iter()
        .filter_map(|line| line.strip_prefix("[#lobby] alice: bare").map(str::to_owned))
        .collect();
    let expected: Vec<String> =
        bare.iter().map(|line| line.trim_start_matches("bare").trim_end().to_owned()).collect();
    assert_eq!(shown, expected, "and each stands once on the screen");
    let meanwhile = contents(&terminal)
        .iter()
        .filter(|line| line.starts_with("[#lobby] bob: meanwhile "))
        .count();
    assert_eq!(meanwhile, 200);
}

#[test]
fn a_paste_with_commands_needs_confirmation() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    let question = "- 3 lines pasted, 2 of them commands; Enter sends them, Ctrl-C drops them";
    let paste = "/msg bob secret\none\n/nick evil\n";
    terminal.paste(paste);
    terminal.shows(question);
    assert!(bob.sync().is_empty(), "nothing yet");
    terminal.type_keys("\x03");
    terminal.shows("- the pasted lines were dropped");
    terminal.type_keys("two\r");
    assert_eq!(bob.reads("two"), ["[#lobby] alice: two"]);
    terminal.paste(paste);
    terminal.waits("the question again", |terminal| (terminal.count(question) == 2).then_some(()));
    terminal.type_keys("\r");
    let received = bob.reads("evil");
    assert_eq!(received[..2], ["[@alice] alice: secret", "[#lobby] alice: one"]);
    // A single line needs no confirmation, and neither do several without a slash.
    wait_for_prompt(&terminal, "#lobby> ");
    terminal.paste("/nick alice\n");
    bob.reads("alice");
    wait_for_prompt(&terminal, "#lobby> ");
    terminal.paste("three\n1/2\n");
    assert_eq!(bob.reads("1/2"), ["[#lobby] alice: three", "[#lobby] alice: 1/2"]);
}

#[test]
fn a_dropped_paste_is_never_said_and_a_short_one_needs_no_confirmation() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.paste(&"dropped\n".repeat(11));
    terminal.shows("- 11 lines pasted; Enter sends them, Ctrl-C drops them");
    terminal.type_keys("\x03");
    terminal.shows("- the pasted lines were dropped");
    terminal.paste(&"said\n".repeat(10));
    terminal.shows("✓ [#lobby] alice: said");
    terminal.type_keys("last\r");
    let received = bob.reads("alice: last");
    assert!(!received.iter().any(|line| line.contains("dropped")), "{received:?}");
    assert_eq!(received.iter().filter(|line| line.ends_with(": said")).count(), 10);
}

#[test]
fn control_characters_in_a_paste_and_a_lone_escape_do_nothing() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("from the history\r");
    terminal.shows("✓ [#lobby] alice: from the history");
    terminal.type_keys("\x1b[200~one \x12from\x15\x17\x04\x03 two\rthree\x1b[201~");
    terminal.shows("✓ [#lobby] alice: one from two");
    wait_for_prompt(&terminal, "#lobby> three");
    terminal.type_keys("\x1b");
    bob.say("nobody waits");
    terminal.shows("bob: nobody waits");
    wait_for_prompt(&terminal, "#lobby> three");
}

#[test]
fn a_paste_between_two_lines_is_a_paste() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    for number in 0..10 {
        // The editor may not have begun the next line yet.
        terminal.type_keys(format!("line {number}\r"));
        terminal.paste(&format!("/msg bob secret {number}\nsaid\n"));
        terminal.waits("the question", |terminal| {
            (terminal.count("- 2 lines pasted") == number + 1).then_some(())
        });
        terminal.type_keys("\x03");
    }
    let said: Vec<String> =
        (0..10).map(|number| format!("[#lobby] alice: line {number}")).collect();
    assert_eq!(bob.sync(), said);
    let output = terminal.raw_output();
    assert!(!output.windows(8).any(|bytes| bytes == b"\x1b[?2004l"), "it was off in between");
}
