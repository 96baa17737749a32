//! Keys, completion and resizing, while lines come in.

use super::*;

#[test]
fn incoming_lines_never_tear_the_line_being_edited() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    let flood = std::thread::spawn(move || {
        for number in 0..3_000 {
            bob.say(&format!("flood {number} 洪水{} end", "漫".repeat(number % 60)));
            if number % 50 == 0 {
                bob.sync();
            }
        }
        bob
    });
    // The line is three rows long, and is typed character by character, with a correction in the
    // middle and one at the front.
    let poem = "床前明月光疑是地上霜舉頭望明月低頭思故鄉".repeat(5);
    for (number, character) in poem.chars().enumerate() {
        terminal.type_keys(character.to_string());
        if number % 10 == 0 {
            let typed: String = poem.chars().take(number + 1).collect();
            wait_for_prompt(&terminal, &format!("#lobby> {typed}"));
        }
    }
    terminal.type_keys("\x1b[D".repeat(3) + "\x7f" + "錯");
    terminal.type_keys("\x01始\x05終");
    let mut edited: Vec<char> = poem.chars().collect();
    let place = edited.len() - 4;
    edited[place] = '錯';
    let edited = format!("始{}終", edited.into_iter().collect::<String>());
    wait_for_prompt(&terminal, &format!("#lobby> {edited}"));
    let mut bob = flood.join().unwrap();
    wait_for_prompt(&terminal, &format!("#lobby> {edited}"));
    terminal.shows("flood 2999");
    terminal.type_keys("\r");
    terminal.shows(&format!("✓ [#lobby] alice: {edited}"));
    bob.reads(&format!("[#lobby] alice: {edited}"));
    wait_for_prompt(&terminal, "#lobby> ");
    let contents = contents(&terminal);
    let said: Vec<&String> = contents.iter().filter(|line| line.contains("flood")).collect();
    let expected: Vec<String> = (0..3_000)
        .map(|number| format!("[#lobby] bob: flood {number} 洪水{} end", "漫".repeat(number % 60)))
        .collect();
    assert!(said.into_iter().eq(expected.iter()), "every line stands whole and in order");
    let others: Vec<&String> = contents.iter().filter(|line| !line.contains("flood")).collect();
    assert_eq!(
        others.len(),
        5,
        "welcome, who is there, nick, the own line, the prompt; nothing torn: {others:?}"
    );
}

#[test]
fn the_output_for_a_typed_line_is_proportional_to_its_length() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    wait_for_prompt(&terminal, "#lobby> ");
    let written = |keys: &dyn Fn(), ends_with: &str| {
        let before = terminal.raw_output().len();
        keys();
        terminal.waits("the line to be shown", |terminal| {
            edited_line(terminal).ends_with(ends_with).then_some(())
        });
        terminal.raw_output().len() - before
    };
    // In the row of the prompt, only the first character is drawn with the prompt. The others are
    // written alone.
    let typed = "0123456789".repeat(5);
    let row = written(&|| terminal.type_keys(&typed), &typed);
    assert!(row < 200, "{row} bytes for 50 characters that were typed");
    let long = "y".repeat(3_990) + "end";
    let pasted = written(&|| terminal.paste(&long), "yend");
    assert!(pasted < 3 * 4_000, "{pasted} bytes for 4,000 characters that were pasted");
    terminal.type_keys("\r");
    assert!(bob.reads("alice: ").pop().unwrap().ends_with(&(typed + &long)));
    wait_for_prompt(&terminal, "#lobby> ");
    // When a row is full, the editor redraws the line.
    let rows = written(&|| terminal.type_keys(&long), "yend");
    assert!(rows < 100 * 4_000, "{rows} bytes for 4,000 characters that were typed");
    terminal.type_keys("\r");
    assert!(bob.reads("alice: ").pop().unwrap().ends_with(&long));
}

#[test]
fn a_resize_changes_neither_the_line_nor_later_output() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    let typed = "一二三四五六七八九十".repeat(3);
    terminal.type_keys(&typed);
    wait_for_prompt(&terminal, &format!("#lobby> {typed}"));
    for (columns, number) in [(100, 0), (50, 1), (33, 2), (120, 3)] {
        terminal.resize(ROWS, columns);
        bob.say(&format!("now {columns} columns"));
        terminal.shows(&format!("bob: now {columns} columns"));
        terminal.type_keys(format!("{number}"));
        let line: String = (0..=number).map(|number| number.to_string()).collect();
        wait_for_prompt(&terminal, &format!("#lobby> {typed}{line}"));
    }
    terminal.type_keys("\r");
    terminal.shows(&format!("✓ [#lobby] alice: {typed}0123"));
    wait_for_prompt(&terminal, "#lobby> ");
}

#[test]
fn ctrl_c_clears_the_line_and_the_history_outlives_the_client() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let mut terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("first\r");
    terminal.shows("✓ [#lobby] alice: first");
    terminal.type_keys("never said");
    wait_for_prompt(&terminal, "#lobby> never said");
    terminal.type_keys("\x03");
    wait_for_prompt(&terminal, "#lobby> ");
    terminal.type_keys("second\r\x04");
    assert_eq!(terminal.wait().code(), Some(0));
    let received = bob.reads("* alice quit");
    assert!(
        received.iter().any(|line| line.ends_with("alice: second"))
            && !received.iter().any(|line| line.contains("never said")),
        "{received:?}"
    );
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("\x1b[A\x1b[A");
    wait_for_prompt(&terminal, "#lobby> first");
    terminal.type_keys("\x1b[B");
    wait_for_prompt(&terminal, "#lobby> second");
}

#[test]
fn ctrl_c_on_an_empty_line_shows_how_to_leave() {
    let server = Server::start(&[]);
    let home = Home::new();
    let mut terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("half");
    wait_for_prompt(&terminal, "#lobby> half");
    terminal.type_keys("\x03");
    wait_for_prompt(&terminal, "#lobby> ");
    assert!(!terminal.lines().iter().any(|line| line.contains("Ctrl-D")));
    terminal.type_keys("\x03\x03\x03");
    terminal.shows("- Ctrl-C clears the line; Ctrl-D or /quit leaves");
    terminal.type_keys("/part\r");
    terminal.shows("! no command /part; /leave [#ROOM] leaves a room");
    assert_eq!(terminal.count("Ctrl-D"), 1, "once is enough");
    terminal.type_keys("\x04");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn tab_completes_commands_nicks_and_rooms() {
    let server = Server::start(&[]);
    let mut others: Vec<Client> = ["Alina", "alma"].iter().map(|name| server.join(name)).collect();
    others[0].say("/join #rustaceans");
    others[0].sync();
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "bob"]);
    // Users who were there before are completed, too.
    let complete = |typed: &str, completed: &str| {
        wait_for(&format!("{typed:?} to be completed to {completed:?}"), || {
            terminal.type_keys(format!("\x15{typed}\t"));
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while std::time::Instant::now() < deadline {
                if edited_line(&terminal) == format!("#lobby> {completed}") {
                    return Some(());
                }
                std::thread::yield_now();
            }
            None
        });
    };
    complete("/whoa", "/whoami");
    complete("alm", "alma:");
    complete("hi ALI", "hi Alina");
    complete("/msg al\t", "/msg Alina");
    others[1].say("see #rustaceans");
    others[1].say("/join #tea");
    terminal.type_keys("\x15/join #tea\r");
    wait_for_prompt(&terminal, "#tea> ");
    terminal.type_keys("/join #lobby\r");
    wait_for_prompt(&terminal, "#lobby> ");
    complete("/join te", "/join #tea");
}

#[test]
fn invalid_bytes_change_neither_the_line_nor_the_keys() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("first\r");
    terminal.shows("✓ [#lobby] alice: first");
    terminal.type_keys("good text");
    wait_for_prompt(&terminal, "#lobby> good text");
    terminal.type_keys(b"\xff");
    terminal.shows("bytes that are not UTF-8");
    wait_for_prompt(&terminal, "#lobby> good text");
    // Also in a paste whose end mark is dropped with the bytes.
    terminal.type_keys(b"\x1b[200~pasted \xff text\x1b[201~");
    terminal
        .waits("the second notice", |terminal| (terminal.count("not UTF-8") == 2).then_some(()));
    terminal.type_keys("\x03");
    wait_for_prompt(&terminal, "#lobby> ");
    for number in 0..20 {
        terminal.type_keys(b"\x1c\xfe");
        bob.say(&format!("row {number}"));
        terminal.shows(&format!("bob: row {number}"));
    }
    terminal.type_keys("still here\r");
    terminal.shows("✓ [#lobby] alice: still here");
    let history = std::fs::read_to_string(home.0.join("forkchat/client-history")).unwrap();
    assert_eq!(history.lines().skip(1).collect::<Vec<_>>(), ["first", "still here"]);
}

#[test]
fn commands_typed_at_a_terminal_are_executed_wherever_the_output_goes() {
    let server = Server::start(&[]);
    let home = Home::new();
    for (shell, options) in [
        (r#""$0" "$@" | cat"#, &[] as &[&str]),
        (r#""$0" "$@" | cat"#, &["--json"]),
        (r#"exec "$0" "$@""#, &["--json"]),
    ] {
        let mut bob = server.join("bob");
        let client = command(&server, &home, &[&["--nick", "alice"], options].concat());
        let mut piped = Command::new("sh");
        piped
            .args(["-c", shell])
            .arg(client.get_program())
            .args(client.get_args())
            .env("XDG_STATE_HOME", &home.0);
        let mut terminal = Terminal::start(&piped, ROWS, COLUMNS);
        bob.reads("alice");
        terminal.type_keys("/msg bob my secret\r/nick carol\r//etc\rhi\r");
        let received = bob.reads("[#lobby] carol: hi");
        let said: Vec<&str> =
            received.iter().map(String::as_str).filter(|line| line.starts_with('[')).collect();
        assert_eq!(
            said,
            ["[@alice] alice: my secret", "[#lobby] carol: /etc", "[#lobby] carol: hi"],
            "{shell} {options:?}"
        );
        terminal.type_keys("\x04");
        assert_eq!(terminal.wait().code(), Some(0), "{shell} {options:?}");
        bob.say("/quit");
        bob.rest();
    }
}

#[test]
fn after_a_resize_with_a_wrapped_line_the_rows_above_are_complete() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    for number in 0..10 {
        bob.say(&format!("row {number}"));
    }
    terminal.shows("bob: row 9");
    let typed = "typed ".repeat(40);
    terminal.type_keys(&typed);
    wait_for_prompt(&terminal, &format!("#lobby> {typed}"));
    for columns in [120, 50, 200, 80] {
        terminal.resize(ROWS, columns);
        bob.say(&format!("at {columns}"));
        terminal.shows(&format!("bob: at {columns}"));
        wait_for_prompt(&terminal, &format!("#lobby> {typed}"));
        let screen = terminal.screen().join("\n");
        for number in 3..10 {
            assert_eq!(
                screen.matches(&format!("bob: row {number}")).count(),
                1,
                "{columns} columns:\n{screen}"
            );
        }
    }
}
