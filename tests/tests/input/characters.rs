//! Charsets, names, and characters that must not pass for others.

use super::*;

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
    let received: Vec<String> =
        eve.reads("-lfoo").into_iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(received, ["[#lobby] alice:  /usr/bin/ld: cannot find -lfoo"]);
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
    let received: Vec<String> =
        eve.reads("\\o/").into_iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(received, ["[#lobby] alice: \\o/"]);
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
