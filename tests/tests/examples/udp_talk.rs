use crate::python::Python;
use crate::served::acknowledged;
use forkchat_tests::example::Example;
use forkchat_tests::has_tool;
use nix::sys::signal::{Signal, kill};
use std::io::{PipeWriter, Write};
use std::net::{SocketAddr, UdpSocket};

#[test]
fn udp_talk() {
    let example = Example::run("udp_talk", &[]);
    example.printed(&[
        "Anna leaves out 7 and 12 on purpose",
        "Anna exited with code 0, Berta exited with code 0",
        "shown: Anna received 12 of 12, Berta 10; Anna had left out 2 on purpose",
        "shown: received while",
        "recv with a buffer of 100 bytes takes \"one\"",
        "recv with a buffer of 100 bytes takes \"two\"",
        "recv with a buffer of 4 bytes takes \"0123\"",
        "recv with a buffer of 100 bytes takes \"next\"",
        "shown: two quick sends arrived as [\"one\", \"two\"];",
    ]);
    assert!(example.text.contains("Anna received 12 of 12; missing: []\n"), "{example}");
    assert!(
        example.text.contains(
            "Berta received 10 of 12; missing: [7, 12]; Berta's kernel reported nothing\n"
        ),
        "{example}"
    );
    assert!(example.text.contains("6 bytes were thrown away"), "{example}");
    assert!(
        example.text.contains("Berta has received nothing for 1s, and waits no longer"),
        "Berta waits for the last one, but not for ever: {example}"
    );
    for (name, numbers) in
        [("Anna", (1..=12).collect()), ("Berta", Vec::from([1, 2, 3, 4, 5, 6, 8, 9, 10, 11]))]
    {
        let lines =
            example.text.lines().filter(|line| line.contains(&format!("{name}, at number ")));
        let number =
            |line: &str| line.split_once("receives \"")?.1.split(' ').next()?.parse::<u32>().ok();
        assert_eq!(lines.filter_map(number).collect::<Vec<_>>(), numbers, "{example}");
    }
    // A program that first sends and then receives would have sent all 12 by then.
    let early = example.numbers_after("at number ").iter().filter(|&&sent| sent < 12).count();
    let shown: Vec<usize> = example
        .words("still had to send: Anna")
        .iter()
        .filter_map(|word| word.trim_matches(',').parse().ok())
        .collect();
    assert!(early > 0 && shown.len() == 2 && shown.iter().sum::<usize>() == early, "{example}");
    assert_eq!(example.errors, "", "{example}");
}

/// Starts a program that talks until Ctrl-C. Returns it, its address, and the pipe into which its
/// lines are typed.
fn serve(options: &[&str]) -> (Example, SocketAddr, PipeWriter) {
    let (input, typed) = std::io::pipe().expect("a pipe");
    let example =
        Example::start_with("udp_talk", &[&["--serve", "127.0.0.1:0"], options].concat(), input);
    let address = example.reads("  at ");
    (example, address.split(';').next().unwrap().parse().unwrap(), typed)
}

#[test]
fn udp_talk_answers_pythons_clients() {
    if !has_tool("python3") {
        return;
    }
    let (example, address, mut typed) = serve(&[]);
    let mut python = Python::start("udp_client.py", address, &[]);
    let port = python.prints().rsplit(' ').next().unwrap().to_owned();
    for text in ["你好", "吃饭了吗", &acknowledged("我")[3..]] {
        python.types(text);
        assert_eq!(python.prints(), acknowledged(text));
    }
    python.types("exit");
    assert_eq!(python.finish(), [acknowledged("exit")]);
    example.reads(&format!("127.0.0.1:{port} said exit; this program goes on"));

    // Typed lines go to the last sender.
    let listener = Python::start("udp_listener.py", address, &[]);
    assert_eq!(listener.prints(), acknowledged("hello"));
    typed.write_all("再见\nexit\n".as_bytes()).unwrap();
    assert_eq!(listener.finish(), ["再见", "exit"]);
    let ended = example.finish();
    ended.printed(&[
        "exit was typed: the program ends",
        "shown: datagrams received: 5; acknowledged: 5; typed lines sent: 2",
    ]);
    assert_eq!(ended.errors, "", "{ended}");
}

#[test]
fn acknowledgements_are_not_acknowledged() {
    let (one, address, mut typed) = serve(&[]);
    let (other, others, mut others_typed) = serve(&["--peer", &address.to_string()]);
    others_typed.write_all("你好\n".as_bytes()).unwrap();
    one.reads(&format!("{others}: thread "));
    other.reads("received \"您的消息 【你好】 已收到, over !\"");
    // If the acknowledgement had been acknowledged, that datagram would have come before these.
    typed.write_all("再见\n".as_bytes()).unwrap();
    one.reads("received \"您的消息 【再见】 已收到, over !\"");
    typed.write_all("exit\n".as_bytes()).unwrap();
    other.reads("received \"exit\"");
    // It may have received the acknowledgement of `exit` before its end.
    let ended = one.finish();
    ended.printed(&["exit was typed: the program ends", "; acknowledged: 1; typed lines sent: 2"]);
    assert_eq!(ended.text.matches(" sends \"您的消息").count(), 1, "{ended}");
    kill(other.pid(), Signal::SIGINT).unwrap();
    other.finish().printed(&[
        "SIGINT came: the program ends",
        "shown: datagrams received: 3; acknowledged: 2; typed lines sent: 1",
    ]);
}

#[test]
fn udp_talk_continues_without_input() {
    let (example, address, typed) = serve(&[]);
    drop(typed);
    example.reads("standard input has ended; datagrams are still received");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(forkchat_tests::DEADLINE)).unwrap();
    // Half a character, an empty datagram, a large one.
    for (bytes, answer) in [
        (&b"\xc4"[..], acknowledged("?")),
        (b"", acknowledged("")),
        (&[b'x'; 60_000], acknowledged(&"x".repeat(60_000))),
    ] {
        client.send_to(bytes, address).unwrap();
        let mut buffer = [0; 65_536];
        let length = client.recv(&mut buffer).unwrap();
        // The sentence is 10 characters of two bytes, and 11 of one, around the text.
        assert_eq!(length, answer.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>());
    }
    kill(example.pid(), Signal::SIGTERM).unwrap();
    example.finish().printed(&[
        "SIGTERM came: the program ends",
        "shown: datagrams received: 3; acknowledged: 3; typed lines sent: 0",
    ]);
}

#[test]
fn udp_talk_shows_how_characters_that_gbk_lacks_are_sent() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (example, _, mut typed) = serve(&["--peer", &listener.local_addr().unwrap().to_string()]);
    typed.write_all("a😀b\nexit\n".as_bytes()).unwrap();
    example
        .finish()
        .printed(&[" sends \"a?b\" to ", "characters that GBK lacks were replaced in \"a😀b\""]);
    let mut buffer = [0; 100];
    let length = listener.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"a?b");
}

#[test]
fn udp_talk_on_a_taken_address_says_what_to_do() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = Example::run("udp_talk", &["--serve", &address.to_string()]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(
        ended
            .errors
            .starts_with(&format!("Error: cannot listen on {address}: Address already in use")),
        "{ended}"
    );
    assert!(ended.errors.contains("give another address after --serve"), "{ended}");
    for wrong in [&["--serve", "nonsense"][..], &["nonsense"], &["--peer", "8000"]] {
        assert_eq!(Example::run("udp_talk", wrong).code, Some(2));
    }
    let help = Example::run("udp_talk", &["--help"]);
    assert!(help.text.contains("[without ADDR: 127.0.0.1:9000;"), "{help}");
    help.printed(&["--serve [<ADDR>]", "--peer <ADDR>", "with exit code 0"]);
}
