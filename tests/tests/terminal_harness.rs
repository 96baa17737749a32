//! Tests of the terminal harness itself, with well-known programs.

use forkchat_tests::processes::{children_of, name_of};
use forkchat_tests::terminal::Terminal;
use forkchat_tests::wait_for;
use nix::sys::signal::Signal;
use nix::sys::termios::LocalFlags;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// A shell that runs this script in a terminal of 24 rows and 80 columns.
fn shell(script: &str) -> Terminal {
    Terminal::start(Command::new("bash").args(["-c", script]), 24, 80)
}

#[test]
fn typed_text_is_echoed_and_read_with_wide_characters_too() {
    let terminal = shell("read -r line; echo \"read: $line\"; exec cat");
    terminal.type_keys("日本x");
    terminal.waits("the echo", |terminal| (terminal.screen()[0] == "日本x").then_some(()));
    assert_eq!(terminal.cursor(), (0, 5), "a wide character takes two columns");
    // The kernel's line editor deletes whole characters (though it goes back a single column).
    terminal.type_keys(b"\x7f\x7f");
    terminal.type_keys(" said 你好\r");
    terminal.shows("read: 日 said 你好");
    assert_eq!(terminal.lines()[1], "read: 日 said 你好");
    assert_eq!(terminal.place_of("said 你好\n"), None);
    assert_eq!(terminal.place_of("日 said 你好"), Some((1, 6)));
    assert_eq!(terminal.place_of("你好"), Some((0, 9)));
    assert_eq!(terminal.place_of("nobody"), None);
}

#[test]
fn the_program_runs_with_the_environment_and_directory_of_the_command() {
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "echo \"$0 $1 is $$ in $PWD with $WORD on $TERM\"; tty; exec cat",
        "a b",
        "c",
    ]);
    let mut terminal = Terminal::start(command.env("WORD", "two words").current_dir("/"), 24, 80);
    terminal.shows(&format!("a b c is {} in / with two words on xterm-256color", terminal.pid()));
    terminal.shows("/dev/pts/");
    wait_for("the shell to have become cat", || (name_of(terminal.pid()) == "cat").then_some(()));
    assert!(children_of(terminal.pid()).is_empty());
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.wait().signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(
        Terminal::start(&Command::new("/nowhere/to/be/found"), 24, 80).wait().code(),
        Some(127)
    );
}

#[test]
fn all_output_before_the_end_of_the_program_is_seen() {
    let mut terminal = shell("seq 5000; printf 'the very end'");
    assert!(terminal.wait().success());
    assert_eq!(terminal.lines().last().map(String::as_str), Some("the very end"));
    assert_eq!(terminal.lines().len(), 5_001);
    assert!(terminal.raw_output().ends_with(b"5000\r\nthe very end"));
}

#[test]
fn a_resize_is_signalled_and_seen() {
    let terminal = shell(
        "trap 'stty size; echo resized' WINCH; stty size; echo ready; while :; do read -t 60; done",
    );
    terminal.shows("24 80");
    terminal.shows("ready");
    terminal.resize(50, 132);
    terminal.shows("50 132");
    terminal.shows("resized");
    assert_eq!(terminal.screen().len(), 50);
}

#[test]
fn rows_pushed_off_a_smaller_screen_come_back_to_a_larger_one() {
    let terminal = shell("seq 20; printf end; exec cat");
    terminal.shows("end");
    terminal.resize(5, 40);
    assert_eq!(terminal.screen(), ["17", "18", "19", "20", "end"]);
    assert_eq!(terminal.cursor(), (4, 3));
    assert_eq!(terminal.lines().len(), 21);
    terminal.resize(10, 40);
    assert_eq!(terminal.screen()[0], "12");
    assert_eq!(terminal.lines().len(), 21);
}

#[test]
fn settings_can_be_read_while_the_program_runs_and_afterwards() {
    let mut terminal = shell(
        "read -r; old=$(stty -g); stty -echo raw; echo raw; head -c1 >/dev/null; stty \"$old\"",
    );
    let before = terminal.settings();
    assert!(before.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    terminal.type_keys("\r");
    terminal.shows("raw");
    let raw = terminal.settings();
    assert_ne!(raw, before);
    assert!(!raw.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    terminal.type_keys(".");
    assert!(terminal.wait().success());
    assert_eq!(terminal.settings(), before);
}

#[test]
fn ctrl_c_interrupts_and_a_closed_window_hangs_up() {
    let mut terminal = Terminal::start(&Command::new("cat"), 24, 80);
    terminal.type_keys("\x03");
    assert_eq!(terminal.wait().signal(), Some(Signal::SIGINT as i32));
    let mut terminal = Terminal::start(&Command::new("cat"), 24, 80);
    terminal.hang_up();
    assert_eq!(terminal.wait().signal(), Some(Signal::SIGHUP as i32));
}

#[test]
fn bells_colours_and_modes_are_noticed() {
    let modes = |on: char| {
        format!("printf '\\033[?2004{on}\\033[?25{}'", if on == 'h' { 'l' } else { 'h' })
    };
    let script = format!(
        "printf 'a\\a\\a 好\\033[1;32m林é\\033[0m b\\n'; {}; read -r; {}; echo done; cat",
        modes('h'),
        modes('l')
    );
    let terminal = shell(&script);
    terminal.waits("bracketed paste", |terminal| terminal.bracketed_paste().then_some(()));
    terminal.waits("no cursor", |terminal| terminal.cursor_hidden().then_some(()));
    assert_eq!(terminal.bells(), 2);
    assert_eq!(terminal.colour_of("林é"), Some(vt100::Color::Idx(2)));
    assert_eq!(terminal.colour_of("é b"), Some(vt100::Color::Idx(2)));
    assert_eq!(terminal.colour_of("a "), Some(vt100::Color::Default));
    assert!(terminal.cell_of("林").is_some_and(|cell| cell.bold() && cell.is_wide()));
    assert!(terminal.colour_of("red").is_none());
    terminal.type_keys("\r");
    terminal.shows("done");
    assert!(!terminal.bracketed_paste() && !terminal.cursor_hidden());
}

#[test]
fn scrolled_off_rows_are_kept_and_wrapped_rows_are_one_line() {
    let script = "for i in $(seq 1000); do echo \"$i 林林林林林林林林林林林林 $i\"; done; echo end; exec cat";
    for cols in [9, 10, 11, 80] {
        let terminal = Terminal::start(Command::new("bash").args(["-c", script]), 7, cols);
        terminal.shows("end");
        let expected =
            (1..=1000).map(|i| format!("{i} {} {i}", "林".repeat(12))).chain(["end".to_owned()]);
        let expected: Vec<_> = expected.collect();
        assert_eq!(terminal.lines(), expected, "{cols} columns");
        let screen = terminal.screen().len();
        terminal.resize(7, 100);
        let scrolled_off = expected.len() - screen;
        assert_eq!(
            terminal.lines()[..scrolled_off],
            expected[..scrolled_off],
            "widened from {cols} columns"
        );
    }
}

#[test]
fn a_text_is_found_across_the_end_of_a_row() {
    let terminal = Terminal::start(
        Command::new("bash").args([
            "-c",
            "printf 'abcdefgh林ijklm\\nabcdefgh\\n林\\377\\357\\277\\275.\\n'; exec cat",
        ]),
        6,
        9,
    );
    terminal.shows("林\u{fffd}\u{fffd}.");
    assert_eq!(terminal.lines(), ["abcdefgh林ijklm", "abcdefgh", "林\u{fffd}\u{fffd}."]);
    assert_eq!(terminal.place_of("h林i"), Some((0, 7)));
    assert_eq!(terminal.place_of("林i"), Some((1, 0)), "it doesn't fit the last column");
    assert_eq!(
        terminal.screen(),
        ["abcdefgh", "林ijklm", "abcdefgh", "林\u{fffd}\u{fffd}.", "", ""]
    );
}

#[test]
fn a_large_paste_waits_for_a_slow_reader() {
    let lines: Vec<String> = (0..500).map(|i| format!("{i} {}", "中文".repeat(100))).collect();
    let text = lines.join("\n");
    // The program reads nothing before the gate is open, and the paste is many times larger than
    // the kernel's buffer.
    let script = "stty -echo raw; printf '\\033[?2004hready\\r\\n'; until [ -e \"$0\" ]; do sleep \
        0.01; done; exec cat";
    let gate = std::env::temp_dir().join(format!("forkchat-paste-{}", std::process::id()));
    let terminal = Terminal::start(Command::new("bash").args(["-c", script]).arg(&gate), 24, 80);
    terminal.shows("ready");
    terminal.paste(&text);
    assert!(!String::from_utf8_lossy(&terminal.raw_output()).contains("499"));
    std::fs::write(&gate, "").expect("the gate opens");
    let expected = format!("\x1b[200~{}\x1b[201~", text.replace('\n', "\r"));
    terminal.waits("the whole paste", |terminal| {
        terminal.raw_output().ends_with(expected.as_bytes()).then_some(())
    });
    std::fs::remove_file(&gate).expect("the gate is there");
}

#[test]
fn a_paste_without_brackets_is_typed_lines() {
    let mut terminal =
        shell("stty -echo; echo ready; read -r a; read -r b; read -r c; echo \"$a+$b+$c\"");
    terminal.shows("ready");
    terminal.paste("one\ntwo\r\nthree\n");
    assert!(terminal.wait().success());
    assert_eq!(terminal.lines(), ["ready", "one+two+three"]);
}

#[test]
fn a_terminal_that_is_dropped_leaves_no_process() {
    let terminal = shell("trap '' HUP TERM INT; echo ready; while :; do read -r; done");
    terminal.shows("ready");
    let pid = terminal.pid();
    drop(terminal);
    assert_eq!(name_of(pid), "");
}
