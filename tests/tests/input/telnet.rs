//! Telnet: negotiations, urgent data, and the byte 0xFF.

use super::*;

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
