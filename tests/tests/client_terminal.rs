//! The client at a terminal: a pseudo-terminal with an emulator, and a real server.

use forkchat_tests::processes::is_stopped;
use forkchat_tests::terminal::Terminal;
use forkchat_tests::{Client, Server, client_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// Where a client keeps its history; taken away when dropped.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Home(std::env::temp_dir().join(format!("forkchat-home-{}-{number}", std::process::id())))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(server: &Server, home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(client_binary());
    let address = if arguments.contains(&"--udp") { server.udp } else { server.tcp };
    command.args(arguments).arg(address.to_string()).env("XDG_STATE_HOME", &home.0).env("TZ", "UTC").env_remove("NO_COLOR");
    command
}

/// A client that is logged in, and its prompt on the screen.
fn client(server: &Server, home: &Home, arguments: &[&str]) -> Terminal {
    let terminal = Terminal::start(&command(server, home, arguments), ROWS, COLUMNS);
    prompt(&terminal, "#lobby> ");
    terminal
}

/// Waits until the prompt stands, with this behind it, below everything else.
fn prompt(terminal: &Terminal, prompt: &str) {
    terminal.waits(&format!("the prompt {prompt:?}"), |terminal| (edited(terminal) == prompt.trim_end()).then_some(()));
}

/// The line that is being edited, with its prompt from the room on. Where it exactly fills a row the editor ends the row itself.
fn edited(terminal: &Terminal) -> String {
    let whole = edited_whole(terminal);
    // What stands before the room is the nick.
    match whole.split_once(' ') {
        Some((nick, rest)) if !nick.starts_with('#') && rest.starts_with('#') => rest.to_owned(),
        _ => whole,
    }
}

/// The line that is being edited, with its whole prompt.
fn edited_whole(terminal: &Terminal) -> String {
    let lines = terminal.lines();
    let has_time = |line: &String| line.get(..5).is_some_and(|time| time.as_bytes()[2] == b':');
    let is_prompt = |line: &String| line.ends_with('>') || line.contains("> ") && !has_time(line);
    lines[lines.iter().rposition(is_prompt).unwrap_or(lines.len())..].concat()
}

/// Lines without their time and mark: what is behind column 8.
fn contents(terminal: &Terminal) -> Vec<String> {
    terminal.lines().iter().map(|line| line.chars().skip(8).collect()).collect()
}

#[test]
fn one_talks_and_ones_own_lines_are_marked_once_accepted() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
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
    prompt(&terminal, "#lobby> ");
    let lines = terminal.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("hi bob")).count(), 1, "what was typed isn't left beside what was said: {lines:?}");
    let time = lines.iter().find(|line| line.contains("alice: hi bob")).unwrap().split(' ').next().unwrap().to_owned();
    assert!(time.len() == 5 && time.as_bytes()[2] == b':', "{time:?}");
}

#[test]
fn a_flood_tears_no_line_that_is_being_typed_and_edited() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    let flood = std::thread::spawn(move || {
        for number in 0..3_000 {
            bob.say(&format!("flood {number} 洪水{} end", "漫".repeat(number % 60)));
            if number % 50 == 0 {
                bob.sync();
            }
        }
        bob
    });
    // Three rows long, typed character by character, with a correction in the middle and one at the front.
    let poem = "床前明月光疑是地上霜舉頭望明月低頭思故鄉".repeat(5);
    for (number, character) in poem.chars().enumerate() {
        terminal.type_keys(character.to_string());
        if number % 10 == 0 {
            let typed: String = poem.chars().take(number + 1).collect();
            prompt(&terminal, &format!("#lobby> {typed}"));
        }
    }
    terminal.type_keys("\x1b[D".repeat(3) + "\x7f" + "錯");
    terminal.type_keys("\x01始\x05終");
    let mut edited: Vec<char> = poem.chars().collect();
    let place = edited.len() - 4;
    edited[place] = '錯';
    let edited = format!("始{}終", edited.into_iter().collect::<String>());
    prompt(&terminal, &format!("#lobby> {edited}"));
    let mut bob = flood.join().unwrap();
    prompt(&terminal, &format!("#lobby> {edited}"));
    terminal.shows("flood 2999");
    terminal.type_keys("\r");
    terminal.shows(&format!("✓ [#lobby] alice: {edited}"));
    bob.reads(&format!("[#lobby] alice: {edited}"));
    prompt(&terminal, "#lobby> ");
    let contents = contents(&terminal);
    let said: Vec<&String> = contents.iter().filter(|line| line.contains("flood")).collect();
    let expected: Vec<String> =
        (0..3_000).map(|number| format!("[#lobby] bob: flood {number} 洪水{} end", "漫".repeat(number % 60))).collect();
    assert!(said.into_iter().eq(expected.iter()), "every line stands whole and in order");
    let others: Vec<&String> = contents.iter().filter(|line| !line.contains("flood")).collect();
    assert_eq!(others.len(), 5, "welcome, who is there, nick, the own line, the prompt; nothing torn: {others:?}");
}

#[test]
fn five_hundred_pasted_lines_are_said_in_order_bracketed_or_not() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    let lines =
        |name: &str| -> Vec<String> { (0..500).map(|number| format!("{name} {number}\t贴 {}", "x".repeat(number % 150))).collect() };
    let bracketed = lines("bracketed");
    assert!(terminal.bracketed_paste());
    let said = |heard: Vec<String>| {
        heard.into_iter().filter_map(|line| line.strip_prefix("[#lobby] alice: ").map(str::to_owned)).collect::<Vec<_>>()
    };
    terminal.paste(&(bracketed.join("\n") + "\nand more"));
    terminal.shows("- 501 lines pasted; Enter sends them, Ctrl-C drops them");
    prompt(&terminal, "#lobby> and more");
    bob.say("nothing yet");
    assert_eq!(said(bob.sync()), Vec::<String>::new());
    terminal.type_keys("\r");
    // Others talk at the same time.
    for number in 0..200 {
        bob.say(&format!("meanwhile {number}"));
    }
    let heard = said(bob.reads("alice: bracketed 499"));
    assert_eq!(heard, bracketed);
    bob.reads("[#lobby] alice: and more");
    prompt(&terminal, "#lobby> ");
    // As a terminal does it that knows no brackets; tabs are the business of completion then.
    let bare: Vec<String> = lines("bare").into_iter().map(|line| line.replace('\t', " ")).collect();
    terminal.type_keys(bare.join("\r") + "\r");
    assert_eq!(said(bob.reads("alice: bare 499")), bare);
    terminal.shows("✓ [#lobby] alice: bare 499");
    prompt(&terminal, "#lobby> ");
    let shown: Vec<String> =
        contents(&terminal).iter().filter_map(|line| line.strip_prefix("[#lobby] alice: bare").map(str::to_owned)).collect();
    let expected: Vec<String> = bare.iter().map(|line| line.trim_start_matches("bare").trim_end().to_owned()).collect();
    assert_eq!(shown, expected, "and each stands once on the screen");
    let meanwhile = contents(&terminal).iter().filter(|line| line.starts_with("[#lobby] bob: meanwhile ")).count();
    assert_eq!(meanwhile, 200);
}

#[test]
fn a_paste_with_commands_waits_for_enter() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
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
    let heard = bob.reads("evil");
    assert_eq!(heard[..2], ["[@alice] alice: secret", "[#lobby] alice: one"]);
    // A single line is what it is, and so are several without a slash.
    prompt(&terminal, "#lobby> ");
    terminal.paste("/nick alice\n");
    bob.reads("alice");
    prompt(&terminal, "#lobby> ");
    terminal.paste("three\n1/2\n");
    assert_eq!(bob.reads("1/2"), ["[#lobby] alice: three", "[#lobby] alice: 1/2"]);
}

#[test]
fn a_paste_is_a_paste_also_between_two_lines() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    for number in 0..10 {
        // The editor may not have begun the next line yet.
        terminal.type_keys(format!("line {number}\r"));
        terminal.paste(&format!("/msg bob secret {number}\nsaid\n"));
        terminal.waits("the question", |terminal| (terminal.count("- 2 lines pasted") == number + 1).then_some(()));
        terminal.type_keys("\x03");
    }
    assert_eq!(bob.sync(), (0..10).map(|number| format!("[#lobby] alice: line {number}")).collect::<Vec<_>>());
    let output = terminal.raw_output();
    assert!(!output.windows(8).any(|bytes| bytes == b"\x1b[?2004l"), "it was off in between");
}

#[test]
fn a_long_line_costs_as_many_bytes_of_output_as_it_has_and_not_their_square() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    prompt(&terminal, "#lobby> ");
    let written = |keys: &dyn Fn(), ends_with: &str| {
        let before = terminal.raw_output().len();
        keys();
        terminal.waits("the line to be shown", |terminal| edited(terminal).ends_with(ends_with).then_some(()));
        terminal.raw_output().len() - before
    };
    // In the row of the prompt: the first character is drawn with its prompt, each other alone.
    let typed = "0123456789".repeat(5);
    let row = written(&|| terminal.type_keys(&typed), &typed);
    assert!(row < 200, "{row} bytes for 50 characters that were typed");
    let long = "y".repeat(3_990) + "end";
    let pasted = written(&|| terminal.paste(&long), "yend");
    assert!(pasted < 3 * 4_000, "{pasted} bytes for 4,000 characters that were pasted");
    terminal.type_keys("\r");
    assert!(bob.reads("alice: ").pop().unwrap().ends_with(&(typed + &long)));
    prompt(&terminal, "#lobby> ");
    // Where a row is full the line is redrawn.
    let rows = written(&|| terminal.type_keys(&long), "yend");
    assert!(rows < 100 * 4_000, "{rows} bytes for 4,000 characters that were typed");
    terminal.type_keys("\r");
    assert!(bob.reads("alice: ").pop().unwrap().ends_with(&long));
}

#[test]
fn a_resize_keeps_the_line_and_what_comes_after() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    let typed = "一二三四五六七八九十".repeat(3);
    terminal.type_keys(&typed);
    prompt(&terminal, &format!("#lobby> {typed}"));
    for (columns, number) in [(100, 0), (50, 1), (33, 2), (120, 3)] {
        terminal.resize(ROWS, columns);
        bob.say(&format!("now {columns} columns"));
        terminal.shows(&format!("bob: now {columns} columns"));
        terminal.type_keys(format!("{number}"));
        let line: String = (0..=number).map(|number| number.to_string()).collect();
        prompt(&terminal, &format!("#lobby> {typed}{line}"));
    }
    terminal.type_keys("\r");
    terminal.shows(&format!("✓ [#lobby] alice: {typed}0123"));
    prompt(&terminal, "#lobby> ");
}

#[test]
fn when_the_server_is_killed_and_comes_back_so_does_the_client() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice", "--join", "#lobby"]);
    terminal.type_keys("/join #rust\r");
    prompt(&terminal, "#rust> ");
    terminal.type_keys("/leave #lobby\r");
    terminal.shows("you left #lobby");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("connection lost: ");
    terminal.shows("; trying again in ");
    terminal.type_keys("typed meanwhile\r");
    terminal.shows("… alice: typed meanwhile");
    terminal.type_keys("half a li");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    terminal.shows("✓ [#rust] alice: typed meanwhile");
    terminal.type_keys("ne");
    terminal.waits("the line", |terminal| edited(terminal).ends_with("> half a line").then_some(()));
    terminal.type_keys("\r");
    terminal.shows("✓ [#rust] alice: half a line");
    prompt(&terminal, "#rust> ");
    let mut bob = server.join("bob");
    bob.say("/who #lobby");
    let who = bob.reads("in #lobby").pop().unwrap();
    assert_eq!(who, "* in #lobby: bob");
}

#[test]
fn a_client_that_was_started_with_a_room_is_in_the_lobby_too_when_it_has_come_back() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = Terminal::start(&command(&server, &home, &["--nick", "alice", "--join", "#rust"]), ROWS, COLUMNS);
    prompt(&terminal, "#rust> ");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected as alice in #rust");
    let mut bob = server.join("bob");
    bob.say("/who #lobby");
    assert_eq!(bob.reads("in #lobby").pop().unwrap(), "* in #lobby: alice bob");
    bob.say("tea?");
    terminal.shows("[#lobby] bob: tea?");
    prompt(&terminal, "#rust> ");
}

#[test]
fn the_prompt_keeps_nick_and_room_while_the_server_is_away() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    let shows = |wanted: &str| terminal.waits(wanted, |terminal| (edited_whole(terminal) == wanted).then_some(()));
    shows("alice #lobby>");
    terminal.type_keys("/join #rust\r");
    shows("alice #rust>");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    // Each Enter begins another prompt.
    terminal.type_keys("\r");
    terminal.type_keys("typed meanwhile\r");
    terminal.shows("… alice: typed meanwhile");
    terminal.waits("the prompt that waits", |terminal| terminal.lines().iter().any(|line| line.trim_end() == "alice #rust…").then_some(()));
    terminal.type_keys("\r");
    let _server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    shows("alice #rust>");
}

#[test]
fn what_others_said_while_the_connection_was_lost_is_shown_as_earlier() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice", "--join", "#lobby"]);
    terminal.type_keys("here\r");
    terminal.shows("✓ [#lobby] alice: here");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    // It comes back when the line is said.
    terminal.signal(Signal::SIGSTOP);
    let server = Server::start_in_place_of(&server, &[]);
    let mut bob = server.join("bob");
    bob.say("alice, where are you?");
    bob.sync();
    terminal.signal(Signal::SIGCONT);
    terminal.shows("reconnected");
    terminal.shows("~ [#lobby] bob: alice, where are you?");
    terminal.shows("private messages from that time are not stored");
    bob.say("welcome back");
    terminal.shows("  [#lobby] bob: welcome back");
    assert_eq!(terminal.bells(), 0);
    assert_eq!(terminal.count("where are you?"), 1);
}

#[test]
fn a_line_that_may_have_arrived_is_doubtful_and_not_said_twice() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    let processes: Vec<_> = server.processes().into_iter().map(|(pid, _)| pid).chain([server.pid()]).collect();
    // The supervisor last: it would replace a worker that stands still.
    for &process in processes.iter().rev() {
        kill(process, Signal::SIGSTOP).unwrap();
        wait_for("the server to stand still", || is_stopped(process).then_some(()));
    }
    terminal.type_keys("into the void\r");
    terminal.shows("… [#lobby] alice: into the void");
    for &process in processes.iter().rev() {
        kill(process, Signal::SIGKILL).unwrap();
    }
    server.wait();
    terminal.shows("connection lost");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("? [#lobby] alice: into the void");
    terminal.shows("this line may not have arrived");
    let mut bob = server.join("bob");
    terminal.type_keys("next\r");
    let heard = bob.reads("alice: next");
    assert!(!heard.iter().any(|line| line.contains("void")), "{heard:?}");
    terminal.type_keys("\x1b[A\x1b[A\r");
    bob.reads("[#lobby] alice: into the void");
}

#[test]
fn colours_are_used_unless_they_are_not_wanted() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let has_colors = |arguments: &[&str], no_color: Option<&str>| {
        let home = Home::new();
        let mut command = command(&server, &home, arguments);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let terminal = Terminal::start(&command, ROWS, COLUMNS);
        prompt(&terminal, "#lobby> ");
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
    let colours: Vec<_> = clients.iter().filter(|(_, wanted)| *wanted).map(|((terminal, _), _)| terminal.colour_of("bob: hello")).collect();
    assert!(colours.iter().all(|colour| *colour == colours[0]), "a name has the same colour everywhere");
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    /// A way to end, what is done for it, and the exit code or signal that come of it.
    type End = (&'static str, fn(&Server, &mut Terminal), Option<i32>, Option<i32>);
    let ends: [End; 8] = [
        ("Ctrl-D", |_, terminal| terminal.type_keys("\x04"), Some(0), None),
        ("/quit", |_, terminal| terminal.type_keys("/quit\r"), Some(0), None),
        ("SIGTERM", |_, terminal| terminal.signal(Signal::SIGTERM), None, Some(15)),
        ("SIGINT", |_, terminal| terminal.signal(Signal::SIGINT), None, Some(2)),
        ("SIGHUP", |_, terminal| terminal.signal(Signal::SIGHUP), None, Some(1)),
        ("SIGQUIT", |_, terminal| terminal.signal(Signal::SIGQUIT), None, Some(3)),
        ("a panic", |_, terminal| terminal.type_keys("panic now\r"), Some(101), None),
        (
            "leaving while the server is away",
            |server, terminal| {
                server.signal(Signal::SIGKILL);
                terminal.shows("trying again");
                terminal.type_keys("\x04");
            },
            Some(0),
            None,
        ),
    ];
    for (name, end, code, signal) in ends {
        if name == "a panic" && !cfg!(debug_assertions) {
            continue;
        }
        let server = Server::start(&[]);
        let home = Home::new();
        // What the settings were is known from another program in a terminal of the same kind.
        let mut idle = Terminal::start(Command::new("cat").arg("/dev/null"), ROWS, COLUMNS);
        idle.wait();
        let mut command = command(&server, &home, &["--nick", "alice"]);
        command.env("FORKCHAT_CLIENT_PANICS_AT", "panic now");
        let mut terminal = Terminal::start(&command, ROWS, COLUMNS);
        prompt(&terminal, "#lobby> ");
        assert_ne!(terminal.settings(), idle.settings(), "{name}: it was taken");
        end(&server, &mut terminal);
        let status = terminal.wait();
        assert_eq!((status.code(), status.signal()), (code, signal), "{name}");
        assert_eq!(terminal.settings(), idle.settings(), "{name}");
        assert!(!terminal.bracketed_paste() && !terminal.cursor_hidden(), "{name}");
        let (_, column) = terminal.cursor();
        assert_eq!(column, 0, "{name}: the shell's prompt gets a row of its own");
        if name == "a panic" {
            terminal.shows("panics on purpose");
        }
    }
}

#[test]
fn a_terminal_that_is_closed_ends_the_client() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let mut terminal = client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    terminal.hang_up();
    bob.reads("* alice quit");
    // By the signal, or because nothing can be read any more: whichever comes first.
    let status = terminal.wait();
    assert!(status.signal() == Some(1) || status.code().is_some(), "{status:?}");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let mut server = Server::start(&[]);
    server.signal(Signal::SIGKILL);
    server.wait();
    let home = Home::new();
    for arguments in [&[] as &[&str], &["--udp"]] {
        let mut terminal = Terminal::start(&command(&server, &home, arguments), ROWS, COLUMNS);
        assert_eq!(terminal.wait().code(), Some(1));
        terminal.shows("cannot connect: connection refused; no server is running there");
    }
}

#[test]
fn ctrl_c_clears_the_line_and_history_outlives_the_client() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let mut terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("first\r");
    terminal.shows("✓ [#lobby] alice: first");
    terminal.type_keys("never said");
    prompt(&terminal, "#lobby> never said");
    terminal.type_keys("\x03");
    prompt(&terminal, "#lobby> ");
    terminal.type_keys("second\r\x04");
    assert_eq!(terminal.wait().code(), Some(0));
    let heard = bob.reads("* alice quit");
    assert!(heard.iter().any(|line| line.ends_with("alice: second")) && !heard.iter().any(|line| line.contains("never said")), "{heard:?}");
    let terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("\x1b[A\x1b[A");
    prompt(&terminal, "#lobby> first");
    terminal.type_keys("\x1b[B");
    prompt(&terminal, "#lobby> second");
}

#[test]
fn a_paste_that_is_dropped_is_never_said_and_a_short_one_needs_no_answer() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.paste(&"dropped\n".repeat(11));
    terminal.shows("- 11 lines pasted; Enter sends them, Ctrl-C drops them");
    terminal.type_keys("\x03");
    terminal.shows("- the pasted lines were dropped");
    terminal.paste(&"said\n".repeat(10));
    terminal.shows("✓ [#lobby] alice: said");
    terminal.type_keys("last\r");
    let heard = bob.reads("alice: last");
    assert!(!heard.iter().any(|line| line.contains("dropped")), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| line.ends_with(": said")).count(), 10);
}

#[test]
fn ctrl_c_where_there_is_nothing_to_clear_says_how_to_leave() {
    let server = Server::start(&[]);
    let home = Home::new();
    let mut terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("half");
    prompt(&terminal, "#lobby> half");
    terminal.type_keys("\x03");
    prompt(&terminal, "#lobby> ");
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
    let terminal = client(&server, &home, &["--nick", "bob"]);
    // Who was there before is known too.
    let complete = |typed: &str, completed: &str| {
        wait_for(&format!("{typed:?} to be completed to {completed:?}"), || {
            terminal.type_keys(format!("\x15{typed}\t"));
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while std::time::Instant::now() < deadline {
                if edited(&terminal) == format!("#lobby> {completed}") {
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
    prompt(&terminal, "#tea> ");
    terminal.type_keys("/join #lobby\r");
    prompt(&terminal, "#lobby> ");
    complete("/join te", "/join #tea");
}

#[test]
fn what_others_send_does_not_harm_the_terminal() {
    let server = Server::start(&[]);
    let mut eve = server.join("eve");
    let mut imitator = server.join("аӏісе");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
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
    assert!(!output.contains("\x1b[31m]") && !output.contains("\x1b]0;") && output.matches('\u{335}').count() < 10);
    terminal.type_keys("still here\r");
    terminal.shows("✓ [#lobby] alice: still here");
    assert_ne!(terminal.cell_of("аӏісе (not"), terminal.cell_of("alice: still here"), "nor do they look alike");
}

#[test]
fn ones_name_rings_the_bell_unless_it_should_not() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let loud = client(&server, &home, &["--nick", "alice"]);
    let silent = client(&server, &home, &["--nick", "carol", "--no-bell"]);
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

#[test]
fn over_udp_it_is_the_same() {
    let mut server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice", "--udp"]);
    terminal.type_keys("hi\r");
    terminal.shows("✓ [#lobby] alice: hi");
    bob.reads("[#lobby] alice: hi");
    terminal.type_keys("/join #rust\r");
    prompt(&terminal, "#rust> ");
    server.signal(Signal::SIGKILL);
    server.wait();
    // Nobody says so over UDP: it is noticed when something is sent.
    terminal.type_keys("meanwhile\r");
    terminal.shows("connection lost");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    terminal.type_keys("again\r");
    terminal.shows("✓ [#rust] alice: again");
    let mut bob = server.join("bob");
    bob.say("/who #rust");
    bob.reads("* in #rust: alice");
}

#[test]
fn over_udp_a_client_that_only_reads_notices_that_the_server_was_restarted() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut server = Server::start(&[]);
        let home = Home::new();
        let terminal = client(&server, &home, &["--nick", "alice", "--udp"]);
        terminal.type_keys("/join #rust\r");
        prompt(&terminal, "#rust> ");
        server.signal(signal);
        server.wait();
        let server = Server::start_in_place_of(&server, &[]);
        // A server that is stopped says goodbye, and the client asks whether it is still there. Of one that is killed it learns by its next sign of
        // life.
        let since = Instant::now();
        terminal.shows("connection lost");
        assert!(signal == Signal::SIGKILL || since.elapsed() < Duration::from_secs(15), "{:?} after the goodbye", since.elapsed());
        terminal.shows("reconnected");
        let mut bob = server.join("bob");
        bob.say("/join #rust\nwelcome back");
        terminal.shows("[#rust] bob: welcome back");
    }
}

#[test]
fn a_stopped_client_gives_the_terminal_back_and_takes_it_again() {
    let server = Server::start(&[]);
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    let (taken, pid) = (terminal.settings(), terminal.pid());
    terminal.type_keys("half");
    prompt(&terminal, "#lobby> half");
    terminal.type_keys("\x1a");
    let state = |wanted: char| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(wanted)).then_some(())
    };
    // A session's leader has no shell that would let it go on, and the kernel doesn't stop such (POSIX, orphaned process groups): both are right.
    wait_for("the terminal to be given back or taken again", || {
        (state('T').is_some() && terminal.settings() != taken || terminal.settings() == taken).then_some(())
    });
    terminal.signal(Signal::SIGCONT);
    terminal.type_keys(" a line\r");
    terminal.shows("✓ [#lobby] alice: half a line");
    wait_for("the terminal to be taken again", || {
        (!terminal.settings().local_flags.contains(nix::sys::termios::LocalFlags::ECHO)).then_some(())
    });
}

#[test]
fn bytes_that_are_no_text_leave_the_line_and_the_keys_as_they_are() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("first\r");
    terminal.shows("✓ [#lobby] alice: first");
    terminal.type_keys("good text");
    prompt(&terminal, "#lobby> good text");
    terminal.type_keys(b"\xff");
    terminal.shows("bytes that are not UTF-8");
    prompt(&terminal, "#lobby> good text");
    // In a paste whose end is lost with them, too.
    terminal.type_keys(b"\x1b[200~pasted \xff text\x1b[201~");
    terminal.waits("the second notice", |terminal| (terminal.count("not UTF-8") == 2).then_some(()));
    terminal.type_keys("\x03");
    prompt(&terminal, "#lobby> ");
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
    for (shell, options) in
        [(r#""$0" "$@" | cat"#, &[] as &[&str]), (r#""$0" "$@" | cat"#, &["--json"]), (r#"exec "$0" "$@""#, &["--json"])]
    {
        let mut bob = server.join("bob");
        let client = command(&server, &home, &[&["--nick", "alice"], options].concat());
        let mut piped = Command::new("sh");
        piped.args(["-c", shell]).arg(client.get_program()).args(client.get_args()).env("XDG_STATE_HOME", &home.0);
        let mut terminal = Terminal::start(&piped, ROWS, COLUMNS);
        bob.reads("alice");
        terminal.type_keys("/msg bob my secret\r/nick carol\r//etc\rhi\r");
        let heard = bob.reads("[#lobby] carol: hi");
        let said: Vec<&str> = heard.iter().map(String::as_str).filter(|line| line.starts_with('[')).collect();
        assert_eq!(said, ["[@alice] alice: my secret", "[#lobby] carol: /etc", "[#lobby] carol: hi"], "{shell} {options:?}");
        terminal.type_keys("\x04");
        assert_eq!(terminal.wait().code(), Some(0), "{shell} {options:?}");
        bob.say("/quit");
        bob.rest();
    }
}

#[test]
fn control_characters_in_a_paste_and_a_lone_escape_do_nothing() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    terminal.type_keys("from the history\r");
    terminal.shows("✓ [#lobby] alice: from the history");
    terminal.type_keys("\x1b[200~one \x12from\x15\x17\x04\x03 two\rthree\x1b[201~");
    terminal.shows("✓ [#lobby] alice: one from two");
    prompt(&terminal, "#lobby> three");
    terminal.type_keys("\x1b");
    bob.say("nobody waits");
    terminal.shows("bob: nobody waits");
    prompt(&terminal, "#lobby> three");
}

#[test]
fn after_a_resize_under_a_wrapped_line_everything_above_is_there() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = client(&server, &home, &["--nick", "alice"]);
    for number in 0..10 {
        bob.say(&format!("row {number}"));
    }
    terminal.shows("bob: row 9");
    let typed = "typed ".repeat(40);
    terminal.type_keys(&typed);
    prompt(&terminal, &format!("#lobby> {typed}"));
    for columns in [120, 50, 200, 80] {
        terminal.resize(ROWS, columns);
        bob.say(&format!("at {columns}"));
        terminal.shows(&format!("bob: at {columns}"));
        prompt(&terminal, &format!("#lobby> {typed}"));
        let screen = terminal.screen().join("\n");
        for number in 3..10 {
            assert_eq!(screen.matches(&format!("bob: row {number}")).count(), 1, "{columns} columns:\n{screen}");
        }
    }
}

#[test]
fn a_signal_at_any_moment_gives_the_terminal_back() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut idle = Terminal::start(Command::new("cat").arg("/dev/null"), ROWS, COLUMNS);
    idle.wait();
    for number in 0..25 {
        let home = Home::new();
        let mut terminal = client(&server, &home, &[]);
        // Between two lines the editor changes the terminal's modes.
        terminal.type_keys("line\r".repeat(200));
        terminal.shows(&format!("✓ [#lobby] guest{}: line", number + 1));
        terminal.signal(Signal::SIGTERM);
        assert_eq!(terminal.wait().signal(), Some(15));
        assert_eq!(terminal.settings(), idle.settings(), "the {number}th time");
        assert!(!terminal.bracketed_paste());
    }
}
