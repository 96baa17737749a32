use crate::python::Python;
use crate::served::{acknowledged, interrupted, serve};
use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::{Client, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn connected(address: SocketAddr) -> Client {
    Client::new(TcpStream::connect(address).unwrap())
}

fn signal_all(example: &Example, signal: Signal) {
    children_of(example.pid()).into_iter().for_each(|pid| kill(pid, signal).expect("it is there"));
}

#[test]
fn ack_server() {
    let example = Example::run("ack_server", &[]);
    example.printed(&[
        "── without framing",
        "received \"你好再见\" (8 bytes)",
        "received \"你\" (3 bytes)",
        "the message ended in half a character (1 byte kept)",
        "received \"好\" (1 byte)",
        "the half character kept before is completed by these bytes",
        "clara finds that the server has closed the connection",
        "── with framing",
        "received \"你好\" (5 bytes)",
        "shown: answers to two quick messages: 1 without framing, 2 with a line end after each",
    ]);
    assert_eq!(example.errors, "", "{example}");
    // One thread receives, another one answers.
    let of_threads = |verb: &str| -> Vec<&str> {
        let lines = example
            .text
            .lines()
            .filter_map(|line| line.split_once(": thread ")?.1.split_once(verb));
        lines.map(|(thread, _)| thread).collect()
    };
    let (receiving, answering) = (of_threads(" received "), of_threads(" answers "));
    assert!(
        !answering.is_empty() && answering.iter().all(|thread| !receiving.contains(thread)),
        "{example}"
    );
    // The accepting processes are children of the started process.
    let started: Vec<_> = example
        .text
        .lines()
        .filter_map(|line| line.split_once("as pid "))
        .map(|(_, pid)| pid)
        .collect();
    for line in example.text.lines().filter(|line| line.contains("accepted client ")) {
        let pid = line.split_once("pid ").unwrap().1.split_whitespace().next().unwrap();
        assert!(started.contains(&pid), "{example}");
    }
}

#[test]
fn an_ack_server_answers_pythons_clients() {
    if !has_tool("python3") {
        return;
    }
    let (example, address) = serve("ack_server", &[]);
    let mut python = Python::start("tcp_client.py", address, &["gbk"]);
    for text in ["你好", "吃饭了吗", "plain"] {
        python.types(text);
        assert_eq!(python.prints(), acknowledged(text));
    }
    python.types("exit");
    assert_eq!(python.finish(), [acknowledged("exit"), "after exit: b''".to_owned()]);

    let mut cut = Python::start("cut_character.py", address, &["gbk"]);
    example.reads("the message ended in half a character (1 byte kept)");
    cut.types("");
    assert_eq!(cut.finish(), [acknowledged("你好")]);

    // No process reads before both messages are there.
    signal_all(&example, Signal::SIGSTOP);
    let quick = Python::start("two_quick_messages.py", address, &["gbk"]);
    assert_eq!(quick.prints(), "sent");
    signal_all(&example, Signal::SIGCONT);
    assert_eq!(quick.finish(), [acknowledged("你好再见")]);

    Python::start("closes_at_once.py", address, &[]).finish();
    example.reads(" has closed the connection without a message");
    let ended = interrupted(example, Signal::SIGINT);
    ended.printed(&[
        "said exit: the server closes the connection",
        "the half character kept before is completed",
        "SIGINT came: the server ends",
        "shown: clients accepted: 4 (by process: [",
    ]);
    assert!(ended.text.contains("; messages answered: 6; no process stays"), "{ended}");
}

#[test]
fn an_ack_server_of_lines_answers_pythons_clients() {
    if !has_tool("python3") {
        return;
    }
    let (example, address) = serve("ack_server", &["--lines"]);
    let answers = Python::start("two_quick_messages.py", address, &["gbk", "lines"]).finish();
    assert_eq!(
        answers,
        ["sent".to_owned(), acknowledged("你好"), acknowledged("再见"), String::new()]
    );
    interrupted(example, Signal::SIGTERM)
        .printed(&["SIGTERM came: the server ends", "; messages answered: 2;"]);
}

#[test]
fn an_ack_server_of_lines_splits_lines_and_has_limits() {
    let (example, address) = serve("ack_server", &["--lines", "--charset", "utf-8"]);
    let mut client = connected(address);
    client.send(b"gr\xc3");
    client.send(b"\xbc\xc3\x9f dich\r\none\ntwo\nexit ");
    for text in ["grüß dich", "one", "two"] {
        assert_eq!(client.line(), Some(acknowledged(text)));
    }
    client.send("ohne Ende".as_bytes());
    client.end_input();
    assert_eq!(client.rest(), [acknowledged("exit ohne Ende")], "and then the end");
    // A line that is too long is refused once, however long, and the next one is answered.
    let mut long = connected(address);
    for bytes in [4_097, 100_000] {
        long.send(&b"\xc3\xbc".repeat(bytes / 2 + 1));
        long.say("\nhere again");
        assert_eq!(
            long.line().as_deref(),
            Some("refused: a line of more than 4096 bytes; send it in several")
        );
        assert_eq!(long.line(), Some(acknowledged("here again")));
    }
    long.say(&"x".repeat(4_096));
    assert_eq!(long.line(), Some(acknowledged(&"x".repeat(4_096))));
    drop(long);
    // A client that never reads holds no other client up.
    let mut slow_reader = TcpStream::connect(address).unwrap();
    slow_reader.write_all(&b"no client reads this\n".repeat(1_000)).unwrap();
    let mut many: Vec<Client> = (0..20).map(|_| connected(address)).collect();
    for (number, client) in many.iter_mut().enumerate() {
        client.say(&format!("I am {number}"));
    }
    for (number, client) in many.iter_mut().enumerate() {
        client.reads(&acknowledged(&format!("I am {number}")));
    }
    // All clients are still connected when the server ends.
    interrupted(example, Signal::SIGINT)
        .printed(&["SIGINT came: the server ends", "shown: clients accepted: 23 ("]);
    assert!(many.iter_mut().all(|client| client.line().is_none()));
}

#[test]
fn an_ack_server_continues_without_a_killed_process() {
    let (example, address) = serve("ack_server", &["--lines", "--charset", "utf-8"]);
    let workers = children_of(example.pid());
    kill(workers[0], Signal::SIGKILL).expect("it is there");
    let of_the_end = example.reads(&format!(
        "(pid {}) was killed by signal 9; its clients are disconnected",
        workers[0]
    ));
    assert!(
        of_the_end.ends_with(&format!("; processes left: {}", workers.len() - 1)),
        "{of_the_end}"
    );
    if workers.len() == 1 {
        assert_eq!(example.finish().code, Some(1));
        return;
    }
    let mut client = connected(address);
    client.say("hello");
    assert_eq!(client.line(), Some(acknowledged("hello")));
    for &worker in &workers[1..] {
        kill(worker, Signal::SIGKILL).expect("it is there");
    }
    assert_eq!(client.line(), None);
    let ended = example.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert_eq!(ended.errors, "Error: no process is left to serve\n");
}

#[test]
fn an_ack_server_on_a_taken_address_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = Example::run("ack_server", &["--serve", &address.to_string()]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(
        ended
            .errors
            .starts_with(&format!("Error: cannot listen on {address}: Address already in use")),
        "{ended}"
    );
    assert!(ended.errors.contains("give another address after --serve"), "{ended}");
    drop(taken);
    for wrong in [
        &["--serve", "nonsense"][..],
        &["nonsense"],
        &["--lines"],
        &["--serve", "--charset", "klingon"],
    ] {
        assert_eq!(Example::run("ack_server", wrong).code, Some(2));
    }
    let help = Example::run("ack_server", &["--help"]);
    assert!(help.text.contains("[without ADDR: 127.0.0.1:9000;"), "{help}");
    help.printed(&["--serve [<ADDR>]", "The message `exit` is answered", "with exit code 0"]);
    assert!(help.text.contains("A process that dies is not replaced"), "{help}");
}

#[test]
fn an_ack_server_can_start_at_once_where_another_one_ended() {
    if !has_tool("python3") {
        return;
    }
    let (example, address) = serve("ack_server", &[]);
    // The server closes first, so its end of the connection stays in TIME_WAIT.
    let mut python = Python::start("tcp_client.py", address, &["gbk"]);
    python.types("exit");
    python.finish();
    interrupted(example, Signal::SIGINT);
    let again = Example::start("ack_server", &["--serve", &address.to_string()]);
    again.reads(&format!("listening on {address}"));
    wait_for("its processes", || (!children_of(again.pid()).is_empty()).then_some(()));
    interrupted(again, Signal::SIGTERM).printed(&["shown: clients accepted: 0 ("]);
}
