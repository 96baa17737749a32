use crate::python::Python;
use crate::served::{interrupted, serve};
use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::{Client, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A client that has received its echo, and the process that serves it.
fn echoed(server: &Example, address: SocketAddr) -> (Client, Pid) {
    let mut client = Client::new(TcpStream::connect(address).expect("it listens"));
    client.say("hello");
    assert_eq!(client.line().as_deref(), Some("hello_sb"));
    let of_client = format!("accepted client {}; pid ", client.stream().local_addr().unwrap());
    let pid = server.reads(&of_client).split(' ').next().unwrap().parse().unwrap();
    (client, Pid::from_raw(pid))
}

#[test]
fn echo_per_process() {
    let example = Example::run("echo_per_process", &[]);
    let pids = example.numbers_after("; pid ");
    let (annas, bertas) = (pids[0], pids[1]);
    assert_ne!(annas, bertas, "a process for each client: {example}");
    example.printed(&[
        &format!("the parent kills pid {annas}"),
        "anna finds that the server has closed the connection",
        "berta receives \"still here_sb\"",
        &format!("pid {annas} has ended, and is a zombie"),
        &format!("pid {annas} was killed by signal 9"),
        &format!(
            "shown: after pid {annas} was killed, was anna disconnected? true; berta \
            got \"still here_sb\" from pid {bertas}"
        ),
        &format!("pid {bertas} exited with code 0"),
        "shown: answers to two quick messages: 1 without framing, 2 with a line end after each",
    ]);
    assert!(example.text.contains(&format!("is pid {annas} still a zombie? false")), "{example}");
    assert_eq!(example.errors, "", "{example}");
    // The id of a process's only thread is the pid.
    for line in example.text.lines().filter(|line| line.contains(": thread ")) {
        let number = |before| line.split_once(before).unwrap().1.split_whitespace().next().unwrap();
        assert_eq!(number("pid "), number(": thread "), "{example}");
    }
}

#[test]
fn an_echo_server_answers_pythons_clients() {
    if !has_tool("python3") {
        return;
    }
    let (example, address) = serve("echo_per_process", &[]);
    let mut python = Python::start("tcp_client.py", address, &["utf-8"]);
    for text in ["你好", "grüß dich", "😀"] {
        python.types(text);
        assert_eq!(python.prints(), format!("{text}_sb"));
    }
    python.types("exit");
    assert_eq!(python.finish(), ["exit_sb", "after exit: b''"]);

    let mut cut = Python::start("cut_character.py", address, &["utf-8"]);
    example.reads("the message ended in half a character (1 byte kept)");
    cut.types("");
    assert_eq!(cut.finish(), ["你好_sb"]);

    // The parent forks no process before both messages are there.
    kill(example.pid(), Signal::SIGSTOP).unwrap();
    let quick = Python::start("two_quick_messages.py", address, &["utf-8"]);
    assert_eq!(quick.prints(), "sent");
    kill(example.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(quick.finish(), ["你好再见_sb"]);

    Python::start("closes_at_once.py", address, &[]).finish();
    example.reads(" has closed the connection without a message");
    wait_for("the ends of all connections", || children_of(example.pid()).is_empty().then_some(()));
    let ended = interrupted(example, Signal::SIGINT);
    ended.printed(&[
        "said exit: the server closes the connection",
        "the half character kept before is completed",
        "SIGINT came: the server ends",
        "shown: clients, each with a process of its own: 4; still connected at the end: 0; \
         messages answered: 6; no process stays",
    ]);
}

#[test]
fn an_echo_server_has_a_process_for_each_client() {
    let (server, address) = serve("echo_per_process", &["--lines"]);
    // Zombies are children, too.
    let children_are = |expected: &[Pid]| {
        wait_for(&format!("{expected:?} to be all children"), || {
            let mut children = children_of(server.pid());
            children.sort();
            (children.iter().eq(expected)).then_some(())
        });
    };
    let ((mut anna, annas), (mut berta, bertas)) =
        (echoed(&server, address), echoed(&server, address));
    let mut both = [annas, bertas];
    both.sort();
    children_are(&both);

    anna.send(b"in ");
    // A round trip, so that the piece arrives separately.
    berta.say("two words");
    assert_eq!(berta.line().as_deref(), Some("two words_sb"));
    anna.send(b"pieces\r\ntwo\n\nat once\n");
    for echo in ["in pieces_sb", "two_sb", "_sb", "at once_sb"] {
        assert_eq!(anna.line().as_deref(), Some(echo));
    }
    anna.say(&"x".repeat(100_000));
    assert_eq!(
        anna.line().as_deref(),
        Some("refused: a line of more than 4096 bytes; send it in several")
    );
    anna.say(&"x".repeat(4_096));
    assert_eq!(anna.line(), Some(format!("{}_sb", "x".repeat(4_096))));

    let (mut clara, claras) = echoed(&server, address);
    clara.send(b"one line\nand half of one");
    clara.end_input();
    assert_eq!(clara.rest(), ["one line_sb", "and half of one_sb"], "and then the end");
    children_are(&both);

    kill(annas, Signal::SIGKILL).expect("it is there");
    assert_eq!(anna.line(), None);
    children_are(&[bertas]);
    berta.say("still here");
    assert_eq!(berta.line().as_deref(), Some("still here_sb"));

    let mut crowd: Vec<_> = (1..16).map(|_| echoed(&server, address)).collect();
    assert_eq!(children_of(server.pid()).len(), 16);
    let mut late = Client::new(TcpStream::connect(address).expect("the kernel lets it in"));
    late.say("one more");
    // The process waits a tenth of a second.
    assert!(late.stream().peek(&mut [0]).is_err(), "it waits until another one has left");
    drop(crowd.pop());
    assert_eq!(late.line().as_deref(), Some("one more_sb"));
    assert!(children_of(server.pid()).len() <= 16);
    let ended = interrupted(server, Signal::SIGTERM);
    ended.printed(&[
        &format!("pid {claras} exited with code 0"),
        &format!("pid {annas} was killed by signal 9"),
        "SIGTERM came: the server ends",
        &format!("pid {bertas} was killed by signal 15"),
        "shown: clients, each with a process of its own: 19; still connected at the end: 16;",
    ]);
    assert_eq!(ended.errors, "", "{ended}");
    assert_eq!(berta.line(), None);
}

#[test]
fn the_client_of_echo_per_process() {
    for (options, framing) in [(&[][..], &[][..]), (&["--lines"], &["--lines"])] {
        let (server, address) = serve("echo_per_process", options);
        let (input, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all("你好\n\nanother\nexit\nnot sent\n".as_bytes()).expect("it holds that");
        drop(writer);
        let address = address.to_string();
        let arguments = [&["--client", &address], framing].concat();
        let client = Example::start_with("echo_per_process", &arguments, input).finish();
        client.printed(&[
            "receives \"你好_sb\"",
            "receives \"another_sb\"",
            "receives \"exit_sb\"",
            "the server has closed the connection",
            "shown: ",
        ]);
        interrupted(server, Signal::SIGINT)
            .printed(&["shown: clients, each with a process of its own: 1;"]);
        let client = Example::run("echo_per_process", &arguments);
        assert_eq!(client.code, Some(1), "{client}");
        assert!(client.errors.contains(&format!("cannot connect to {address}: ")), "{client}");
        assert!(client.errors.contains("start the server first"), "{client}");
    }
}

#[test]
fn the_client_of_echo_per_process_sees_the_end_while_it_waits_for_input() {
    let (server, address) = serve("echo_per_process", &[]);
    let (input, mut typed) = std::io::pipe().expect("a pipe");
    let client =
        Example::start_with("echo_per_process", &["--client", &address.to_string()], input);
    typed.write_all(format!("{}\nhello\n", "x".repeat(3_000)).as_bytes()).expect("it holds that");
    client.reads("receives \"hello_sb\"");
    let pid = server.reads("; pid ").split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
    // Its input stays open.
    client.finish().printed(&[
        "3000 bytes: not sent;",
        "the server has closed the connection",
        "shown: messages answered: 1",
    ]);

    let (input, mut exit) = std::io::pipe().expect("a pipe");
    let client =
        Example::start_with("echo_per_process", &["--client", &address.to_string()], input);
    exit.write_all(b"exit\n").expect("it holds that");
    client.finish().printed(&[
        "receives \"exit_sb\"",
        "the server has closed the connection",
        "shown: messages answered: 1",
    ]);
    drop((typed, exit));
    interrupted(server, Signal::SIGINT);
}

#[test]
fn the_client_of_echo_per_process_says_what_may_be_wrong_when_no_answer_comes() {
    let (server, address) = serve("echo_per_process", &["--lines"]);
    let (input, mut typed) = std::io::pipe().expect("a pipe");
    typed.write_all(b"hello\n").expect("it holds that");
    let client =
        Example::start_with("echo_per_process", &["--client", &address.to_string()], input)
            .finish();
    assert_eq!(client.code, Some(1), "{client}");
    assert!(
        client
            .errors
            .contains("were server and client both started with --lines, or both without?"),
        "{client}"
    );
    interrupted(server, Signal::SIGTERM);
}

#[test]
fn an_echo_server_on_a_taken_address_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Example::run("echo_per_process", &["--serve", &address]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(
        ended
            .errors
            .starts_with(&format!("Error: cannot listen on {address}: Address already in use")),
        "{ended}"
    );
    assert!(ended.errors.contains("give another address after --serve"), "{ended}");
    for wrong in [
        &["--serve", "nonsense"][..],
        &["nonsense"],
        &["--client", "nonsense"],
        &["--serve", "--client"],
    ] {
        assert_eq!(Example::run("echo_per_process", wrong).code, Some(2));
    }
    let help = Example::run("echo_per_process", &["--help"]);
    assert!(help.text.contains("[without ADDR: 127.0.0.1:9595;"), "{help}");
    help.printed(&["--serve [<ADDR>]", "The message `exit` is answered", "with exit code 0"]);
}
