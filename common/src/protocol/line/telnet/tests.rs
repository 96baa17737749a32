use super::*;
use crate::charset::Charset;
use proptest::prelude::*;

const UTF_8: CharsetTraits = CharsetTraits { has_ff: false, is_single: false, is_utf8: true };
const WINDOWS_1251: CharsetTraits = CharsetTraits { has_ff: true, is_single: true, is_utf8: false };

fn filtered(bytes: &[u8], charset: CharsetTraits) -> (Vec<u8>, Telnet, Answers) {
    let (mut telnet, mut text, mut answers) = (Telnet::default(), Vec::new(), Answers::default());
    telnet.filter(bytes, charset, &mut text, &mut answers);
    (text, telnet, answers)
}

fn text(bytes: &[u8]) -> Vec<u8> {
    filtered(bytes, UTF_8).0
}

fn answers(bytes: &[u8]) -> Vec<u8> {
    filtered(bytes, UTF_8).2.bytes
}

#[test]
fn negotiations_are_removed() {
    assert_eq!(text(b"\xff\xfb\x1fhe\xff\xf1llo\xff\xfd\x01"), b"hello");
    assert_eq!(text(b"a\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0b"), b"ab");
    assert_eq!(text(b"a\xff\xffb"), b"a\xffb");
    assert_eq!(text(b"a\xffb"), b"ab");
}

#[test]
fn an_lf_in_a_subnegotiation_does_not_end_the_line() {
    let (mut text, mut telnet, mut answers) = filtered(b"ab\xff\xfa\x1f\x00\x50\x00", UTF_8);
    assert_eq!(text, b"ab");
    assert!(!telnet.end_line(UTF_8, &mut text, &mut answers));
    telnet.filter(b"\xff\xf0cd", UTF_8, &mut text, &mut answers);
    assert_eq!((text.as_slice(), telnet.is_in_text()), (&b"abcd"[..], true));
    assert!(telnet.end_line(UTF_8, &mut text, &mut answers));
    assert_eq!(text, b"abcd");
}

#[test]
fn an_unfinished_subnegotiation_ends_at_its_limit() {
    let mut bytes = b"\xff\xfa".to_vec();
    bytes.resize(SUBNEGOTIATION_BYTES_MAX + 3, b'x');
    bytes.extend_from_slice(b"heard");
    assert_eq!(text(&bytes), b"heard");
}

#[test]
fn requests_are_refused_and_refusals_are_not_answered() {
    assert_eq!(answers(b"\xff\xfd\x06"), b"\xff\xfc\x06", "DO TIMING-MARK, WONT TIMING-MARK");
    assert_eq!(
        answers(b"\xff\xfd\x01\xff\xfb\x1f\xff\xfd\x01"),
        b"\xff\xfc\x01\xff\xfe\x1f\xff\xfc\x01"
    );
    assert_eq!(answers(b"\xff\xfc\x01\xff\xfe\x03"), b"");
    assert_eq!(answers(b"\xff\xfa\x18\x01\xff\xf0"), b"");
}

#[test]
fn binary_is_agreed_once_in_each_direction() {
    assert_eq!(
        answers(b"\xff\xfd\x00\xff\xfb\x00\xff\xfd\x00\xff\xfb\x00"),
        b"\xff\xfb\x00\xff\xfd\x00"
    );
    assert_eq!(answers(b"\xff\xfd\x00\xff\xfe\x00\xff\xfe\x00"), b"\xff\xfb\x00\xff\xfc\x00");
    assert_eq!(answers(b"\xff\xfc\x00\xff\xfe\x00"), b"");
}

#[test]
fn commands_act_on_the_line_so_far() {
    assert_eq!(text(b"hell\xc3\xb3\xff\xf7\xff\xf7p"), b"help");
    assert_eq!(text(b"\xff\xf7a"), b"a");
    assert_eq!(text(b"wrong\xff\xf8right"), b"right");
    assert_eq!(text(b"wrong\xff\xf4\xff\xfd\x06right"), b"right");
    assert_eq!(text(b"a\xff\xf1\xff\xf2\xff\xf5\xff\xf9\xff\xec\xff\xedb"), b"ab");
    assert!(filtered(b"\xff\xf6\xff\xf6", UTF_8).2.are_you_there);
}

#[test]
fn letters_are_not_negotiations_where_0xff_is_a_letter() {
    let windows_1251 = Charset::by_label("windows-1251").unwrap();
    for words in
        ["моя идея", "сияющий яю яы яф яъ яэ", "яю 5", "яя", "я", "яф", "юя", "яъ\tя", "Яяяы"]
    {
        let mut bytes = Vec::new();
        windows_1251.encode(words, &mut bytes);
        let (mut text, mut telnet, mut answers) = filtered(&bytes, WINDOWS_1251);
        assert!(telnet.end_line(WINDOWS_1251, &mut text, &mut answers), "{words}");
        assert_eq!(
            (&text, telnet.has_negotiated(), &answers.bytes),
            (&bytes, false, &vec![]),
            "{words}"
        );
        let (mut text, mut telnet, _) = filtered(&bytes, WINDOWS_1251);
        telnet.end_input(&mut text);
        assert_eq!(text, bytes, "{words}");
    }
}

#[test]
fn a_client_that_has_negotiated_sends_0xff_twice() {
    let negotiated = filtered(b"\xff\xfb\x18\xec\xee\xff\xff \xff\xff\xff\xf1", WINDOWS_1251);
    assert_eq!(
        (negotiated.0.as_slice(), negotiated.1.has_negotiated()),
        (&b"\xec\xee\xff \xff"[..], true)
    );
    let interrupted = filtered(b"\xec\xff\xf4\xff\xfd\x06\xff\xff", WINDOWS_1251);
    assert_eq!(
        (interrupted.0.as_slice(), interrupted.2.bytes.as_slice()),
        (&b"\xff"[..], &b"\xff\xfc\x06"[..])
    );
    let window = filtered(b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0\xff\xff", WINDOWS_1251);
    assert_eq!((window.0.as_slice(), window.1.has_negotiated()), (&b"\xff"[..], true));
    let mut bytes = b"\xff a \xff".to_vec();
    double_iac(&mut bytes);
    assert_eq!(bytes, b"\xff\xff a \xff\xff");
}

#[test]
fn a_complete_negotiation_is_found_before_its_line_ends() {
    for bytes in [
        &b"\xff\xf4\xff\xfd\x06"[..],
        b"text\xff\xf6",
        b"\xff\xfd\x03",
        b"\xff\xff\xff\xf1",
        b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0",
    ] {
        assert!(has_command(bytes), "{bytes:?}");
    }
    for bytes in [
        &b"text"[..],
        b"\xff",
        b"\xff\xfd",
        b"a\xff\xff",
        b"\xff\xff\xf6",
        b"\xff\xfa\x1f\0\x50",
        b"",
    ] {
        assert!(!has_command(bytes), "{bytes:?}");
    }
}

#[test]
fn negotiations_do_not_count_as_text() {
    assert_eq!(text_len(b"text"), 4);
    assert_eq!(text_len(&[&b"\xff\xfd\x06".repeat(5_000)[..], b"te\xff\xf1xt\xff"].concat()), 4);
    assert_eq!(text_len(b"wrong\xff\xf4\xff\xfd\x06right"), 5);
}

proptest! {
    #[test]
    fn text_does_not_depend_on_how_bytes_arrive(bytes: Vec<u8>, at in 0usize..100, has_ff: bool) {
        let charset = if has_ff { WINDOWS_1251 } else { UTF_8 };
        let whole = filtered(&bytes, charset);
        let (first, second) = bytes.split_at(at.min(bytes.len()));
        let (mut text, mut telnet, mut answers) = filtered(first, charset);
        telnet.filter(second, charset, &mut text, &mut answers);
        prop_assert!(answers.bytes.len() <= bytes.len());
        prop_assert_eq!((text, telnet, answers), whole);
    }
}
