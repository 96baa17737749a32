//! Any input from a client is handled: none of it is lost, and none of it does harm.

use forkchat_tests::{Server, has_tool, wait_for};
use nix::sys::socket::{MsgFlags, send};
use socket2::SockRef;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_line_of_10_mb_is_refused_once_and_the_connection_goes_on() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let before = server.memory_kib();
    let chunk = vec![b'x'; 1 << 20];
    (0..10).for_each(|_| alice.send(&chunk));
    alice.reads("! line too long: at most 4095 bytes are allowed");
    assert!(server.memory_kib() < before + 8 * 1024, "nothing of it is kept");
    alice.send(b"yyy\nshort\n");
    assert_eq!(bob.reads("alice: ").last().unwrap(), "[#lobby] alice: short");
    assert_eq!(alice.sync(), [""; 0], "it is refused once");
}

#[test]
fn a_line_of_10_mb_that_ends_with_the_input_is_refused_and_flushed() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    alice.send(&vec![b'x'; 10 << 20]);
    alice.end_input();
    assert!(alice.rest().iter().any(|line| line.starts_with("! line too long")));
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say(&"a".repeat(4_095));
    alice.say(&"b".repeat(4_096));
    alice.say("end");
    let heard = bob.reads("alice: end");
    assert_eq!(
        heard.len(),
        2 + usize::from(heard[0].contains("joined")) + usize::from(heard[0].contains("is now")),
        "{heard:?}"
    );
    alice.reads("! line too long");
}

#[test]
fn nul_control_bytes_and_invalid_utf8_are_made_harmless() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.send(b"a\0b\x1b[2Jc\x07x\x7f\td\xff\xfed\xc3\n");
    let line = bob.reads("alice: ").pop().unwrap();
    assert_eq!(line, "[#lobby] alice: abc\td\u{fffd}");
    // 0xFF 0xFE is Telnet's DONT and removes the byte after it. Other invalid bytes are replaced.
    alice.send(b"\x80\xbf\xc0\xaf\xed\xa0\x80\n");
    let line = bob.reads("alice: ").pop().unwrap();
    assert!(line.trim_start_matches("[#lobby] alice: ").chars().all(|c| c == '\u{fffd}'), "{line}");
    alice.send(b"\0\x01\x02\n\n\r\nstill here\n");
    bob.reads("[#lobby] alice: still here");
}

#[test]
fn characters_that_arrive_in_two_pieces_are_joined() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    for (charset, bytes, text) in [
        ("utf-8", &b"\xe4\xbd\xa0\xf0\x9f\x98\x80\n"[..], "你😀"),
        ("gbk", &b"\xc4\xe3\xba\xc3\n"[..], "你好"),
    ] {
        alice.say(&format!("/charset {charset}"));
        let (last, pieces) = bytes.split_last().unwrap();
        for byte in pieces {
            alice.send(std::slice::from_ref(byte));
            // The server has time to read the first piece.
            bob.sync();
        }
        alice.send(std::slice::from_ref(last));
        assert_eq!(bob.reads("alice: ").pop().unwrap(), format!("[#lobby] alice: {text}"));
    }
}

#[test]
fn line_ends_of_every_kind() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.send(b"one\r\ntwo\n\nthree\r\r\nfour");
    alice.end_input();
    let heard = bob.reads("* alice quit");
    let said: Vec<&str> =
        heard.iter().filter_map(|line| line.strip_prefix("[#lobby] alice: ")).collect();
    assert_eq!(said, ["one", "two", "three", "four"]);
    alice.rest();
}

#[test]
fn half_close_is_a_quit_after_the_lines_before_it() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for i in 0..20 {
        let mut nc = Command::new("nc")
            .args(["-N", "127.0.0.1", &server.tcp.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        nc.stdin.take().unwrap().write_all(format!("hi {i}\n/whoami").as_bytes()).unwrap();
        let output = nc.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success()
                && text.contains("* Welcome")
                && text.ends_with(")\n")
                && text.lines().last().unwrap().contains("served by worker "),
            "{text}"
        );
        bob.reads(&format!(": hi {i}"));
        bob.reads(" quit");
    }
}

#[test]
fn unread_input_after_quit_does_not_destroy_flushed_output() {
    let server = Server::start(&["--rate-limit", "off"]);
    for _ in 0..20 {
        let mut alice = server.connect();
        alice.send("/help\n".repeat(200).as_bytes());
        alice.send(b"/quit\n");
        alice.send(&vec![b'u'; 100_000]);
        let lines = alice.rest();
        assert_eq!(lines.last().unwrap(), "* goodbye");
        assert_eq!(lines.iter().filter(|line| line.contains("/help [COMMAND]")).count(), 200);
    }
}

#[test]
fn lines_that_arrived_before_a_reset_are_said() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for i in 0..20 {
        let mut alice = server.connect();
        alice.send(format!("last words {i}\n").as_bytes());
        // The client closes with an unread answer and no time to linger, so the kernel sends a
        // reset.
        SockRef::from(alice.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(alice);
        bob.reads(&format!(": last words {i}"));
        bob.reads(" quit");
    }
}

#[test]
fn telnet_negotiation_and_urgent_data_are_removed() {
    let server = Server::start(&[]);
    let (mut telnet, mut bob) = (server.join("telnet"), server.join("bob"));
    telnet.send(b"\xff\xfd\x03\xff\xfb\x18one\xff\xfa\x1f\x00\x50\x00\x0a\xff\xf0 line\r\n");
    assert_eq!(bob.reads("telnet: ").pop().unwrap(), "[#lobby] telnet: one line");
    // Telnet's Synch: IAC, then DM as urgent data.
    telnet.send(b"be");
    bob.sync();
    telnet.send(b"\xff");
    send(telnet.stream().as_raw_fd(), b"\xf2", MsgFlags::MSG_OOB).unwrap();
    telnet.send(b"fore and behind\r\n");
    assert_eq!(bob.reads("telnet: ").pop().unwrap(), "[#lobby] telnet: before and behind");
    // The same at the end of the input, without a LF after it.
    telnet.send(b"one\r\ntw");
    bob.reads("telnet: one");
    send(telnet.stream().as_raw_fd(), b"o", MsgFlags::MSG_OOB).unwrap();
    telnet.send(b" three\nfour");
    telnet.end_input();
    bob.reads("telnet: two three");
    bob.reads("telnet: four");
}

#[test]
fn in_charsets_in_which_0xff_is_a_character_it_is_kept() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say("/charset windows-1251");
    alice.sync();
    alice.send(b"\xff\xfb\xff\n");
    assert_eq!(bob.reads("alice: ").pop().unwrap(), "[#lobby] alice: яыя");
}

#[test]
fn a_partial_line_costs_nothing_while_it_waits() {
    let server = Server::start(&[]);
    let mut people: Vec<_> = (0..20).map(|i| server.join(&format!("p{i}"))).collect();
    people.iter_mut().for_each(|person| person.send(b"unfinished"));
    // An unfinished line gets no answer. All clients have read about all arrivals by now, so
    // nothing more comes before the line is complete.
    let mut watcher = server.join("watcher");
    watcher.sync();
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        server.cpu() - before < Duration::from_millis(100),
        "{:?} of CPU while nothing happened",
        server.cpu() - before
    );
    people[0].say(" no more");
    wait_for("the line", || {
        people[1].line().filter(|line| line.ends_with("p0: unfinished no more"))
    });
}

/// The kernel frees input by whole buffers. The rest of a line in the last buffer once kept the
/// peer's window closed for ever.
#[test]
fn part_of_a_line_after_much_input_does_not_close_the_window() {
    let server = Server::start(&["--rate-limit", "off"]);
    let (alice, mut bob) = (server.join("alice"), server.join("bob"));
    let mut stream = alice.stream().try_clone().unwrap();
    let text: String =
        (0..3_000).map(|number| format!("{number} {}\n", "y".repeat(700 + number % 13))).collect();
    let writer = std::thread::spawn(move || stream.write_all(text.as_bytes()).unwrap());
    for number in 0..3_000 {
        let heard = bob.reads(&format!("alice: {number} "));
        assert_eq!(
            heard.last().unwrap().len(),
            format!("[#lobby] alice: {number} ").len() + 700 + number % 13
        );
    }
    writer.join().unwrap();
}

#[test]
fn a_small_receive_buffer_holds_lines_and_costs_no_cpu() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(1_024).unwrap();
    socket.connect(&server.tcp.into()).unwrap();
    let mut alice = forkchat_tests::Client::new(socket.into());
    let line = "slow ".repeat(800);
    for piece in line.as_bytes().chunks(50) {
        alice.send(piece);
    }
    bob.sync();
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(1));
    assert!(server.cpu() - before < Duration::from_millis(100));
    alice.say("end");
    assert!(bob.reads("end").pop().unwrap().len() > 4_000);
}

#[test]
fn ctrl_c_in_telnet_is_answered_without_a_line_end_and_drops_the_line() {
    for model in ["pool", "threads", "process"] {
        let server = Server::start(&["--model", model]);
        let (mut telnet, mut bob) = (server.join("telnet"), server.join("bob"));
        telnet.sync();
        // GNU telnet sends IAC IP, IAC DO TIMING-MARK. It shows nothing until WONT TIMING-MARK
        // arrives.
        telnet.send(b"wrong\xff\xf4\xff\xfd\x06");
        telnet.reads_bytes(b"\xff\xfc\x06");
        telnet.send(b"right\r\n");
        assert_eq!(bob.reads("telnet: ").pop().unwrap(), "[#lobby] telnet: right", "{model}");
    }
}

#[test]
fn answers_to_telnet_survive_the_workers_death_and_come_once() {
    let server = Server::start(&["--workers", "1"]);
    let mut telnet = server.join("telnet");
    telnet.sync();
    for round in 0..20u8 {
        let option = [0xff, 0xfd, 40 + round];
        telnet.send(&option);
        let worker = server.process("worker 0");
        nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).unwrap();
        telnet.reads_bytes(&[0xff, 0xfc, 40 + round]);
        server.replaced("worker 0", worker);
    }
    telnet.say("/ping end");
    assert_eq!(telnet.line().unwrap(), "* pong end", "nothing came twice");
}

#[test]
fn negotiations_do_not_make_a_line_too_long() {
    for model in ["pool", "threads", "process"] {
        let server = Server::start(&["--model", model]);
        let mut telnet = server.join("telnet");
        telnet.sync();
        let asked = 5_000;
        telnet.send(&[&b"\xff\xfd\x06".repeat(asked)[..], b"/ping b\n"].concat());
        let answer = telnet.line_bytes().unwrap();
        assert!(
            answer == [&b"\xff\xfc\x06".repeat(asked)[..], b"* pong b"].concat(),
            "{model}: {} bytes",
            answer.len()
        );
        // A line of the maximum length with negotiations in between.
        let mut bob = server.join("bob");
        telnet.send(
            &[&[b'x'; 2_000][..], &b"\xff\xf1".repeat(3_000), &[b'y'; 2_095], b"\n"].concat(),
        );
        let said = bob.reads("telnet: xxx").pop().unwrap();
        assert!(
            said == format!("[#lobby] telnet: {}{}", "x".repeat(2_000), "y".repeat(2_095)),
            "{model}: {} bytes",
            said.len()
        );
    }
}

#[test]
fn a_worker_that_dies_between_negotiations_answers_each_once() {
    let server = Server::start(&["--workers", "1"]);
    let mut telnet = server.join("telnet");
    telnet.sync();
    let mut asked = Vec::new();
    for option in 1..=5u8 {
        let part = [0xff, 0xfd, 40 + option].repeat(1_000);
        telnet.send(&part);
        asked.extend_from_slice(&part);
        let worker = server.process("worker 0");
        nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).unwrap();
        server.replaced("worker 0", worker);
    }
    telnet.say("/ping end");
    let refused: Vec<u8> =
        asked.iter().map(|&byte| if byte == 0xfd { 0xfc } else { byte }).collect();
    assert!(telnet.line_bytes().unwrap() == [&refused[..], b"* pong end"].concat());
}

#[test]
fn in_windows_1251_0xff_is_doubled_for_telnet_alone() {
    let server = Server::start(&[]);
    let (mut raw, mut telnet, mut bob) =
        (server.join("raw"), server.join("telnet"), server.join("bob"));
    raw.say("/charset windows-1251");
    telnet.say("/charset windows-1251");
    raw.sync();
    telnet.sync();
    // `telnet -8` requests binary transmission in both directions, and the server agrees.
    telnet.send(b"\xff\xfb\x00\xff\xfd\x00");
    telnet.reads_bytes(b"\xff\xfd\x00\xff\xfb\x00");
    raw.send(b"\xec\xee\xff \xe8\xe4\xe5\xff\n");
    assert_eq!(bob.reads("raw: ").pop().unwrap(), "[#lobby] raw: моя идея");
    telnet.reads_bytes(b"[#lobby] raw: \xec\xee\xff\xff \xe8\xe4\xe5\xff\xff\n");
    telnet.send(b"\xec\xee\xff\xff \xe8\xe4\xe5\xff\xff\r\n");
    assert_eq!(bob.reads("telnet: ").pop().unwrap(), "[#lobby] telnet: моя идея");
    raw.reads_bytes(b"[#lobby] telnet: \xec\xee\xff \xe8\xe4\xe5\xff\n");
}

#[test]
fn are_you_there_is_answered() {
    let server = Server::start(&[]);
    let mut telnet = server.join("telnet");
    telnet.sync();
    telnet.send(b"\xff\xf6");
    assert_eq!(telnet.line().unwrap(), "* pong");
}

#[test]
fn a_command_after_a_byte_order_mark_or_other_blanks_is_executed() {
    let server = Server::start(&[]);
    let (mut bob, mut eve) = (server.join("bob"), server.join("eve"));
    let mut alice = server.connect();
    alice.send("\u{feff}/nick alice\n".as_bytes());
    alice.reads("* you are now alice");
    for line in [
        "／msg bob secret",
        "\u{3000}/msg bob secret",
        "/msg\u{a0}bob\u{a0}secret",
        " ／ｍｓｇ　bob　secret",
    ] {
        alice.say(line);
        assert_eq!(bob.reads("alice: ").pop().unwrap(), "[@alice] alice: secret");
    }
    for line in ["\u{3000}\u{3000}", "\u{a0}", " \t", "\u{200b}"] {
        alice.say(line);
    }
    alice.say("⁄msg bob secret");
    alice.reads("! not sent: ⁄msg starts with U+2044");
    alice.say(" /usr/bin/ld: cannot find -lfoo");
    let heard: Vec<String> =
        eve.reads("-lfoo").into_iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(heard, ["[#lobby] alice:  /usr/bin/ld: cannot find -lfoo"]);
}

#[test]
fn a_command_after_keys_and_stray_bytes_is_executed() {
    let server = Server::start(&[]);
    let (mut alice, mut bob, mut eve) =
        (server.join("alice"), server.join("bob"), server.join("eve"));
    for line in [
        &b"\x1b[A/msg bob secret"[..],
        b"\x1b[C\x1b[D/msg bob secret",
        b"\x1bOA/msg bob secret",
        b"\x1b[200~/msg bob secret\x1b[201~",
        b"\x1b/msg bob secret",
        b"\x1bb/msg bob secret",
        b"\x01\x02/msg bob secret",
        b"\x08\x7f/msg bob secret",
        b"hi\x7f\x08/msg bob secret",
        b"\xa0/msg bob secret",
        b"\x80\x1b[A\xa0/msg bob secret",
        "\u{301}/msg bob secret".as_bytes(),
        "\u{ad}\u{200d}\u{fe0f}\u{200f}/msg bob secret".as_bytes(),
    ] {
        alice.send(&[line, b"\n"].concat());
        assert_eq!(
            bob.reads("alice: ").pop().unwrap(),
            "[@alice] alice: secret",
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
    for (line, refusal) in [
        ("\\msg bob secret", "! not sent: \\msg starts with U+005C"),
        ("＼msg bob secret", "! not sent: ＼msg starts with U+FF3C"),
        ("\u{1b}[A/mgs bob secret", "! no command /mgs"),
        ("\u{301}/mgs bob secret", "! no command /mgs"),
        (" /query bob secret", "! no command /query"),
    ] {
        alice.say(line);
        alice.reads(refusal);
    }
    alice.say("\\o/");
    let heard: Vec<String> =
        eve.reads("\\o/").into_iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(heard, ["[#lobby] alice: \\o/"]);
}

#[test]
fn a_nickname_that_mixes_scripts_that_look_alike_is_refused() {
    let server = Server::start(&[]);
    let (mut eve, _watch) = (server.join("eve"), server.join("watch"));
    eve.say("/nick w\u{430}tch");
    eve.reads(
        "! w\u{430}tch is not a valid nickname: it mixes scripts: \u{430} (U+0430) looks like",
    );
    eve.say("/join #l\u{43e}bby");
    eve.reads(
        "! #l\u{43e}bby is not a valid room name: it mixes scripts: \u{43e} (U+043E) looks like",
    );
    for name in ["Иван", "Νίκος", "tanaka田中", "김chulsoo"] {
        server.join(name);
    }
}

#[test]
fn other_line_separators_do_not_forge_a_line() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.send("10%\r20%\u{2028}[#lobby] bob: yes\u{2029}a\u{202e}b\u{85}c\r\n".as_bytes());
    assert_eq!(
        bob.reads("alice: ").pop().unwrap(),
        "[#lobby] alice: 10% 20% [#lobby] bob: yes ab c"
    );
}

#[test]
fn charsets_keep_what_they_have() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say("/charset big5-hkscs");
    bob.say("/charset big5-hkscs");
    alice.sync();
    bob.sync();
    // 我哋喺度
    alice.send(b"\xa7\xda\x93\x70\x92\xf4\xab\xd7\n");
    bob.reads_bytes(b"[#lobby] alice: \xa7\xda\x93\x70\x92\xf4\xab\xd7\n");
    bob.say("/charset windows-1258");
    bob.sync();
    alice.say("/charset utf-8");
    alice.sync();
    alice.say("Tiếng Việt");
    bob.reads_bytes(b"[#lobby] alice: Ti\xea\xecng Vi\xea\xf2t\n");
    bob.say("/charset x-user-defined");
    bob.reads_bytes(b"! charset x-user-defined can't be used");
}

#[test]
fn names_of_every_script_are_nicknames_and_rooms() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for name in ["कृष्ण", "தமிழ்", "น้ำ", "မြန်မာ", "עִבְרִית", "Việt"]
    {
        let mut person = server.join(name);
        person.say(&format!("/join #{name}"));
        person.reads("* you joined #");
        bob.say(&format!("/msg {name} hi"));
        person.reads("[@bob] bob: hi");
    }
    bob.say("/nick bo\u{200d}b");
    bob.reads("! bo\u{200d}b is not a valid nickname: U+200D is not allowed there");
}
