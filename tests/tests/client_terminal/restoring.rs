//! The terminal is restored however the client ends.

use super::*;

#[test]
fn the_terminal_is_restored_however_the_client_ends() {
    /// A way to end the client, the action that causes it, and the resulting exit code or signal.
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
        // Another program in a terminal of the same kind shows the original settings.
        let mut idle = Terminal::start(Command::new("cat").arg("/dev/null"), ROWS, COLUMNS);
        idle.wait();
        let mut command = command(&server, &home, &["--nick", "alice"]);
        command.env("FORKCHAT_CLIENT_PANICS_AT", "panic now");
        let mut terminal = Terminal::start(&command, ROWS, COLUMNS);
        wait_for_prompt(&terminal, "#lobby> ");
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
fn closing_the_terminal_ends_the_client() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let mut terminal = start_client(&server, &home, &["--nick", "alice"]);
    bob.reads("alice");
    terminal.hang_up();
    bob.reads("* alice quit");
    // The client ends because of the signal, or because reading fails, whichever comes first.
    let status = terminal.wait();
    assert!(status.signal() == Some(1) || status.code().is_some(), "{status:?}");
}

#[test]
fn a_suspended_client_restores_the_terminal_and_sets_it_again_when_continued() {
    let server = Server::start(&[]);
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    let (taken, pid) = (terminal.settings(), terminal.pid());
    terminal.type_keys("half");
    wait_for_prompt(&terminal, "#lobby> half");
    terminal.type_keys("\x1a");
    // The kernel may or may not stop the leader of a session, since no shell would continue it
    // (POSIX, orphaned process groups). Both are right.
    wait_for("the terminal to be given back or taken again", || {
        (state_of(pid) == Some('T') && terminal.settings() != taken || terminal.settings() == taken)
            .then_some(())
    });
    terminal.signal(Signal::SIGCONT);
    terminal.type_keys(" a line\r");
    terminal.shows("✓ [#lobby] alice: half a line");
    wait_for("the terminal to be taken again", || {
        (!terminal.settings().local_flags.contains(nix::sys::termios::LocalFlags::ECHO))
            .then_some(())
    });
}

#[test]
fn a_signal_at_any_moment_restores_the_terminal() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut idle = Terminal::start(Command::new("cat").arg("/dev/null"), ROWS, COLUMNS);
    idle.wait();
    for number in 0..25 {
        let home = Home::new();
        let mut terminal = start_client(&server, &home, &[]);
        // The editor changes the terminal's modes between two lines.
        terminal.type_keys("line\r".repeat(200));
        terminal.shows(&format!("✓ [#lobby] guest{}: line", number + 1));
        terminal.signal(Signal::SIGTERM);
        assert_eq!(terminal.wait().signal(), Some(15));
        assert_eq!(terminal.settings(), idle.settings(), "the {number}th time");
        assert!(!terminal.bracketed_paste());
    }
}
