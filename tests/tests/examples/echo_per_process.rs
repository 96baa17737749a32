use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::{Client, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::TcpStream;

/// A client of `echo_per_process`, and the process that serves it.
fn echoed(address: &str) -> (Client, Pid) {
    let mut client = Client::new(TcpStream::connect(address).expect("it listens"));
    client.say("hello");
    let echo = client.line().expect("an echo");
    let pid = echo.strip_prefix("hello (echoed by pid ").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
    (client, Pid::from_raw(pid.unwrap_or_else(|| panic!("hello and its suffix, and not {echo}"))))
}

#[test]
fn echo_per_process() {
    let server = Example::start("echo_per_process", &[]);
    let address = server.reads("listening on ");
    // Zombies are children, too.
    let children_are = |expected: &[Pid]| {
        wait_for(&format!("{expected:?} to be all children"), || {
            let mut children = children_of(server.pid());
            children.sort();
            (children.iter().eq(expected)).then_some(())
        });
    };
    let ((mut anna, annas), (mut berta, bertas)) = (echoed(&address), echoed(&address));
    let mut both = [annas, bertas];
    both.sort();
    children_are(&both);
    let echo = |line: &str, pid| Some(format!("{line} (echoed by pid {pid})"));

    anna.send(b"in ");
    // A way there and back: time enough for the piece to arrive as one.
    berta.say("two words");
    assert_eq!(berta.line(), echo("two words", bertas));
    anna.send(b"pieces\r\n");
    assert_eq!(anna.line(), echo("in pieces", annas));
    anna.send(b"two\n\nat once\n");
    assert_eq!([anna.line(), anna.line(), anna.line()], [echo("two", annas), echo("", annas), echo("at once", annas)]);
    anna.say(&"x".repeat(1_500));
    assert_eq!([anna.line(), anna.line()], [echo(&"x".repeat(1_024), annas), echo(&"x".repeat(476), annas)]);

    let (mut clara, claras) = echoed(&address);
    clara.send(b"one line\nand half of one");
    clara.end_input();
    assert_eq!([clara.line(), clara.line(), clara.line()], [echo("one line", claras), echo("and half of one", claras), None]);
    children_are(&both);

    kill(annas, Signal::SIGKILL).expect("it is there");
    assert_eq!(anna.line(), None);
    children_are(&[bertas]);
    berta.say("still here");
    assert_eq!(berta.line(), echo("still here", bertas));

    let client = Example::run("echo_per_process", &["--client", &address]);
    client.said(&["hears: hello (echoed by pid", "hears: is anybody there? (", "hears: goodbye (", "the client has heard everything"]);
    let (input, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"a line\nand another").expect("it holds that");
    drop(writer);
    let client = Example::start_with("echo_per_process", &["--client", &address], input).finish();
    client.said(&["hears: a line (", "hears: and another (", "the client has heard everything"]);
    assert!(!client.text.contains("goodbye"), "{client}");

    children_are(&[bertas]);
    let mut crowd: Vec<_> = (1..16).map(|_| echoed(&address)).collect();
    assert_eq!(children_of(server.pid()).len(), 16);
    let mut late = Client::new(TcpStream::connect(&address).expect("the kernel lets it in"));
    late.say("one more");
    // For a tenth of a second.
    assert!(late.stream().peek(&mut [0]).is_err(), "it waits until another has left");
    drop(crowd.pop());
    assert!(late.line().is_some_and(|line| line.starts_with("one more (echoed by pid ")));
    assert!(children_of(server.pid()).len() <= 16);

    drop((berta, crowd, late));
    let ended = server.finish();
    let (claras, annas) = (format!("pid {claras}: exited with code 0"), format!("pid {annas}: killed by signal 9"));
    ended.said(&["hears: hello (echoed by pid", "the client has heard everything"]);
    ended.said(&["listening on 127.0.0.1:", &claras, &annas, &format!("pid {bertas}: exited with code 0"), "nobody has been here for 3s"]);
    assert_eq!(ended.errors, "", "{ended}");
    let client = Example::run("echo_per_process", &["--client", &address]);
    assert_eq!(client.code, Some(1), "{client}");
    assert!(client.text.contains(&format!("cannot connect to {address}: ")) && client.text.contains("start the server first"), "{client}");
    let client = Example::run("echo_per_process", &["--client", "nonsense"]);
    assert_eq!(client.code, Some(1), "{client}");
    assert!(client.text.contains("cannot connect to nonsense: ") && !client.text.contains("start the server"), "{client}");
}
