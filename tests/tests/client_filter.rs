//! The client without a terminal: lines in, lines out, an exit code.

use forkchat_tests::{Client, Server, client_binary, wait_for};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

/// The client with these arguments and the server's address.
fn command(server: &Server, arguments: &[&str]) -> Command {
    let udp = arguments.contains(&"--udp");
    let mut command = Command::new(client_binary());
    command.args(arguments).arg(if udp { server.udp } else { server.tcp }.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn filter(server: &Server, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(server, arguments).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // In a thread, while the test reads the output. It fails if the client rejects its arguments,
    // because the client then doesn't read.
    std::thread::spawn(move || stdin.write_all(&input));
    finished(child)
}

/// Waits for the end of the client, with a deadline.
fn finished(mut child: Child) -> Output {
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = [
        std::thread::spawn(move || read_all(&mut stdout)),
        std::thread::spawn(move || read_all(&mut stderr)),
    ];
    let status = wait_for("the client to end", || child.try_wait().unwrap());
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap());
    Output { status, stdout, stderr }
}

fn read_all(source: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_filter_ends_when_its_line_is_accepted() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    for arguments in [&["--nick", "bob"] as &[&str], &["--nick", "bob", "--udp"]] {
        let output = filter(&server, arguments, b"hi\n");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stdout).contains("[#lobby] bob: hi\n"), "{output:?}");
        assert_eq!(text(&output.stderr), "");
        alice.reads("[#lobby] bob: hi");
        alice.reads("* bob quit");
    }
}

#[test]
fn a_file_is_said_completely_and_in_order() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut alice = server.join("alice");
    let lines: Vec<String> =
        (0..5_000).map(|number| format!("line {number} {}", "x".repeat(number % 300))).collect();
    let output = filter(&server, &["--nick", "bob"], (lines.join("\n") + "\n").as_bytes());
    assert_eq!(output.status.code(), Some(0));
    let expected: Vec<String> = lines.iter().map(|line| format!("[#lobby] bob: {line}")).collect();
    let is_said = |line: &&str| line.starts_with("[#lobby]");
    assert!(
        text(&output.stdout).lines().filter(is_said).eq(expected.iter()),
        "the log is the file"
    );
    let received = alice.reads("* bob quit");
    assert!(
        received.iter().map(String::as_str).filter(is_said).eq(expected.iter()),
        "the room heard the file"
    );
}

#[test]
fn over_udp_a_file_is_said_in_order_and_nothing_twice() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut alice = server.join("alice");
    let lines: String = (0..1_000).map(|number| format!("line {number}\n")).collect();
    let output = filter(&server, &["--udp", "--nick", "bob"], lines.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let received = alice.reads("* bob quit");
    let mut numbers: Vec<u32> = received
        .iter()
        .filter_map(|line| line.strip_prefix("[#lobby] bob: line ")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1_000));
}

#[test]
fn the_output_is_plain_text_without_escape_sequences_or_prompt() {
    let server = Server::start(&[]);
    let output = filter(
        &server,
        &["--commands", "--color", "always", "--join", "#rust"],
        "你好\n/me waves\n/dance\n//etc\n".as_bytes(),
    );
    let lines = text(&output.stdout);
    assert!(!lines.contains(['\x1b', '\r', '\x07']), "{lines:?}");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "* you joined #rust; nobody else is here",
            "[#rust] guest1: 你好",
            "[#rust] * guest1 waves",
            "! no command /dance; /help lists the commands; to send \"/dance\", type //dance",
            "[#rust] guest1: /etc",
            "* goodbye"
        ]
    );
}

#[test]
fn lines_from_a_pipe_are_text_and_not_executed() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let texts = [
        "/usr/bin/ld: cannot find -lfoo",
        "/nick ceo",
        "/topic pwned",
        "/quit",
        "//x",
        "/set tags off",
        "last",
    ];
    for arguments in
        [&["--nick", "bob"] as &[&str], &["--nick", "bob", "--json"], &["--nick", "bob", "--udp"]]
    {
        let output = filter(&server, arguments, texts.join("\n").as_bytes());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let received: Vec<String> =
            alice.reads("* bob quit").into_iter().filter(|line| line.starts_with('[')).collect();
        assert_eq!(received, texts.map(|text| format!("[#lobby] bob: {text}")));
    }
}

#[test]
fn a_message_without_a_receiver_is_named_and_the_filter_fails() {
    let server = Server::start(&[]);
    let output = filter(&server, &["--commands"], b"/msg carol psst\n/dance\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr).lines().next(),
        Some("forkchat-client: not delivered: /msg carol psst")
    );
}

#[test]
fn a_line_that_only_looks_like_a_command_is_named_and_the_filter_fails() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    for udp in [&[] as &[&str], &["--udp"]] {
        let arguments = [&["--nick", "bob", "--commands"], udp].concat();
        let output =
            filter(&server, &arguments, "\\nick is a macro\n\u{2215}dance\nhi\n".as_bytes());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = text(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "forkchat-client: not delivered: \\nick is a macro",
                "forkchat-client: not delivered: \u{2215}dance"
            ],
            "{stderr}"
        );
        assert!(lines[2].ends_with("2 lines were not accepted"), "{stderr}");
        alice.reads("[#lobby] bob: hi");
        alice.reads("* bob quit");
    }
    // A line that begins with a slash is a command, and its refusal is an answer.
    let output = filter(&server, &["--commands"], b"/dance\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn host_and_port_may_be_two_arguments_as_for_nc() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let (host, port) = (server.tcp.ip().to_string(), server.tcp.port().to_string());
    for address in [vec![host.clone(), port.clone()], vec![format!("{host}:{port}")]] {
        let mut client = Command::new(client_binary());
        client
            .args(["--nick", "bob"])
            .args(&address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let output = client
            .spawn()
            .map(|mut child| wait_for("the client to end", || child.try_wait().unwrap()))
            .unwrap();
        assert_eq!(output.code(), Some(0), "{address:?}");
        alice.reads("* bob quit");
    }
}

#[test]
fn json_output_has_one_object_per_line() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let mut child = command(&server, &["--json", "--commands", "--nick", "bob"]).spawn().unwrap();
    alice.reads("bob");
    alice.say("hi \"bob\"\\");
    alice.say("/msg bob psst");
    alice.say("/topic tea");
    alice.sync();
    let mut input = child.stdin.take().unwrap();
    input.write_all("ça va\n/nick robert\n/who\n".as_bytes()).unwrap();
    drop(input);
    let output = finished(child);
    let objects: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let find = |event: &str| {
        objects.iter().filter(|object| object["event"] == event).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        find("welcome").len()
            + find("reply").len()
            + find("say").len()
            + find("private").len()
            + find("topic").len(),
        objects.len()
    );
    let said = find("say");
    assert_eq!(
        (said[0]["nick"].as_str(), said[0]["text"].as_str()),
        (Some("alice"), Some("hi \"bob\"\\"))
    );
    assert_eq!((said[1]["nick"].as_str(), said[1]["own"].as_bool()), (Some("bob"), Some(true)));
    assert!(
        said[0]["id"].as_u64() < said[1]["id"].as_u64()
            && said[0]["time"].as_str().is_some_and(|time| time.ends_with('Z'))
    );
    assert_eq!(
        (find("private")[0]["text"].as_str(), find("private")[0]["target"].as_str()),
        (Some("psst"), Some("bob"))
    );
    assert_eq!(find("topic")[0]["text"].as_str(), Some("alice set the topic of #lobby: tea"));
    assert_eq!(
        find("reply").iter().find(|reply| reply["to"] == "who").unwrap()["names"],
        serde_json::json!(["alice", "robert"])
    );
}

#[test]
fn a_closed_output_pipe_is_no_error() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    // The client prints the arrival of this user, so there is more to print than the welcome.
    let mut child = command(&server, &["--nick", "bob", "--join", "#rust"]).spawn().unwrap();
    let mut first = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    assert!(first.starts_with("* Welcome"), "{first}");
    drop(output);
    // The client notices the closed pipe when it prints something. It still says what it has read.
    alice.say("anybody?");
    let status = wait_for("the client to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_eq!(text(&read_all(&mut child.stderr.take().unwrap())), "");
}

#[test]
fn the_exit_code_says_what_happened() {
    let mut server = Server::start(&[]);
    for (arguments, why) in [
        (&["--nick", "a b"] as &[&str], "a nickname is"),
        (&["--join", "rust"], "a room is #"),
        (&["--charset", "klingon"], "use utf-8, gbk"),
        (&["--charset", "utf-16"], "lacks ASCII"),
        (&["--color", "green"], "never"),
    ] {
        let output = filter(&server, arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(why), "{output:?}");
    }
    let mut child = command(&server, &[]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hi\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(": hi")));
    server.signal(Signal::SIGKILL);
    server.wait();
    let status =
        wait_for("the client to end, with its input still open", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(text(&read_all(&mut child.stderr.take().unwrap())).contains("connection lost: "));

    let output = filter(&server, &[], b"hi\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot connect: "), "{output:?}");
}

/// A server that answers a login, echoes "one", and breaks the connection when it has read "two".
fn breaking_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"* Welcome\n").unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            let answer = match line.as_str() {
                "/whoami" => "@id=1;event=reply;to=whoami;nick=bob;room=#lobby * you are bob\n",
                "one" => "@id=2;event=say;room=#lobby;nick=bob [#lobby] bob: one\n",
                "two" => return,
                _ => "@id=1;event=reply;to=set * set\n",
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_line_that_was_not_accepted_is_named() {
    let mut client = Command::new(client_binary());
    client
        .arg(breaking_server().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = finished(child);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "* Welcome\n[#lobby] bob: one\n");
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("perhaps not delivered: two\n") && stderr.contains("connection lost: "),
        "{stderr}"
    );
}

#[test]
fn if_the_nickname_or_a_room_is_refused_nothing_is_said() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let output = filter(&server, &["--nick", "Alice"], b"I am not alice\n");
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("the nickname Alice is taken")
            && stderr.contains("not delivered: I am not alice"),
        "{stderr}"
    );
    let received = alice.reads(" quit");
    assert!(!received.iter().any(|line| line.contains("I am not")), "{received:?}");
}

#[test]
fn a_charset_applies_to_input_server_and_output() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let output = filter(&server, &["--charset", "gbk", "--nick", "bob"], b"\xc4\xe3\xba\xc3\n");
    alice.reads("[#lobby] bob: 你好");
    let said = b"[#lobby] bob: \xc4\xe3\xba\xc3\n";
    assert!(output.stdout.windows(said.len()).any(|window| window == said), "{output:?}");
    let output =
        filter(&server, &["--charset", "gbk", "--nick", "bob", "--json"], b"\xc4\xe3\xba\xc3\n");
    assert!(text(&output.stdout).contains("\"text\":\"你好\""), "JSON is UTF-8: {output:?}");
}

#[test]
fn of_unusual_input_everything_that_can_be_said_is_said() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let long = "x".repeat(2 * 1024 * 1024);
    let input = format!(
        "one\r\n\n\x1b[2Jcleared\n\x07\n{long}\n/set tags off\n/set echo off\ntwo\u{ff}\nlast \
         without an end"
    );
    let output = filter(&server, &["--nick", "bob", "--commands"], input.as_bytes());
    assert_eq!(output.status.code(), Some(1), "three lines were not said: {output:?}");
    let received: Vec<String> =
        alice.reads("* bob quit").into_iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(
        received,
        [
            "[#lobby] bob: one",
            "[#lobby] bob: cleared",
            "[#lobby] bob: twoÿ",
            "[#lobby] bob: last without an end"
        ]
    );
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("line too long: 1048576 bytes") && stderr.contains("needs echo and tags"),
        "{stderr}"
    );
}

#[test]
fn quit_in_the_input_ends_the_client() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let mut child = command(&server, &["--nick", "bob", "--commands"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hi\n/quit done\n").unwrap();
    assert_eq!(finished(child).status.code(), Some(0), "with its input still open");
    drop(input);
    alice.reads("* bob quit: done");
}

#[test]
fn a_filter_whose_server_stops_fails() {
    let mut server = Server::start(&[]);
    let mut child = command(&server, &["--nick", "bob"]).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let mut alice: Client = server.join("alice");
    wait_for("bob to be there", || {
        alice.say("/who");
        alice.sync().iter().any(|line| line.contains("bob")).then_some(())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(alice);
    let output = finished(child);
    drop(input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("* the server is stopping; goodbye\n"), "{output:?}");
}

#[test]
fn closed_standard_error_does_not_matter() {
    let mut server = Server::start(&[]);
    server.signal(Signal::SIGKILL);
    server.wait();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = command(&server, &[]).stderr(full).spawn().unwrap();
    let mut child = child;
    let status = wait_for("the client to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "not a panic");
}

#[test]
fn a_read_error_is_not_treated_as_the_end_of_input() {
    let server = Server::start(&[]);
    let directory = std::fs::File::open("/").unwrap();
    let mut child = command(&server, &[]).stdin(directory).spawn().unwrap();
    let status = wait_for("the client to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(
        text(&read_all(&mut child.stderr.take().unwrap())).contains("cannot read standard input: ")
    );
}
