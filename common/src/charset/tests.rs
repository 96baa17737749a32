use super::*;
use proptest::prelude::*;

fn decoded(charset: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    Charset::by_label(charset).unwrap().decode(bytes, &mut text);
    text
}

fn encoded(charset: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Charset::by_label(charset).unwrap().encode(text, &mut bytes);
    bytes
}

#[test]
fn text_passes_through_a_charset_and_back() {
    for (charset, text) in [
        ("gbk", "你好"),
        ("big5", "中文"),
        ("shift_jis", "日本語"),
        ("windows-1251", "привет"),
        ("gb18030", "😀"),
    ] {
        assert_eq!(decoded(charset, &encoded(charset, text)), text, "{charset}");
    }
    assert_eq!(encoded("gbk", "你好"), [0xc4, 0xe3, 0xba, 0xc3]);
}

#[test]
fn a_missing_character_becomes_a_question_mark() {
    assert_eq!(encoded("gbk", "a😀b"), b"a?b");
    assert_eq!(encoded("windows-1251", "я 你好"), b"\xff ??");
}

#[test]
fn invalid_bytes_are_replaced_and_controls_are_removed() {
    assert_eq!(decoded("utf-8", b"a\xffb\x1b[31m\0\tc\x07"), "a\u{fffd}b\tc");
    assert_eq!(decoded("utf-8", "a\u{9b}31mb".as_bytes()), "ab");
    assert_eq!(decoded("gbk", b"\xc4"), "\u{fffd}");
}

#[test]
fn escape_sequences_and_edited_text_are_removed_whole() {
    for sequence in [
        "\x1b[A",
        "\x1b[1;5C",
        "\x1b[3~",
        "\x1b[200~",
        "\x1b[[A",
        "\x1bOA",
        "\x1bO5P",
        "\x1b\x1b[D",
        "\x1b[31;1m",
        "\x1b[?25l",
        "\x1b[2 q",
        "\x1b(B",
        "\x1b%G",
        "\x1b#8",
        "word\x17",
        "two words\x17\x17",
        "\x1b]0;title\x07",
        "\x1b]11;rgb:f/f/f\x1b\\",
        "\x1bP1$r0m\x1b\\",
        "\u{9b}A",
        "\x1bb",
        "\x1bb\x1bf",
        "\x1bb\x03",
        "\x1b",
        "\x1b[",
        "\x1b[ ",
        "\x1b[1;",
        "\x1b[A\x1b[A\x1bOC",
        "\x01\x15\x03",
        "ab\x08\x08",
        "abc\x15",
        "é\x7f",
        "\x7f\x08",
        "\x08x\x1b[D\x7f",
    ] {
        assert_eq!(decoded("utf-8", format!("{sequence}/who").as_bytes()), "/who", "{sequence:?}");
    }
    assert_eq!(decoded("utf-8", b"\x1b[200~/msg bob hi\x1b[201~"), "/msg bob hi");
    assert_eq!(decoded("utf-8", b"\x1b[1mbold\x1b[m, N\x08NA\x08A, 1%\x08\x082%"), "bold, NA, 2%");
    assert_eq!(decoded("utf-8", "你好\x7f们\x08".as_bytes()), "你");
}

#[test]
fn text_typed_after_esc_is_kept() {
    for text in [
        "hello",
        "Oh dear",
        "OK",
        "On time",
        "]x",
        "Please",
        "X marks it",
        "^_^",
        "(hello)",
        "你好",
        "/who",
        "//who",
    ] {
        assert_eq!(decoded("utf-8", format!("\x1b{text}").as_bytes()), text);
    }
}

#[test]
fn only_characters_of_the_same_line_are_erased() {
    let mut text = "before".to_owned();
    Charset::default().decode(b"\x15a\x08\x08\x7fb", &mut text);
    assert_eq!(text, "beforeb");
}

#[test]
fn charsets_without_ascii_are_refused_by_name() {
    assert_eq!(Charset::by_label("utf-16"), Err(CharsetError::NotAscii("UTF-16LE")));
    assert_eq!(Charset::by_label("iso-2022-jp"), Err(CharsetError::NotAscii("ISO-2022-JP")));
    assert_eq!(Charset::by_label("klingon"), Err(CharsetError::Unknown));
    for label in ["utf-16be", "replacement", "iso-2022-kr", "hz-gb-2312", "x-user-defined"] {
        assert!(matches!(Charset::by_label(label), Err(CharsetError::NotAscii(_))), "{label}");
    }
}

#[test]
fn other_line_separators_become_a_space() {
    assert_eq!(decoded("utf-8", b"10%\r20%"), "10% 20%");
    assert_eq!(decoded("utf-8", b"10%\r20%\r\r\0\r\n"), "10% 20%");
    for separator in ["\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}"] {
        assert_eq!(
            decoded("utf-8", format!("hi{separator}[#lobby] bob: hi").as_bytes()),
            "hi [#lobby] bob: hi",
            "{separator:?}"
        );
    }
    assert_eq!(decoded("windows-1251", b"10%\r20%"), "10% 20%");
    assert_eq!(decoded("iso-8859-1", b"a\x85b"), "a…b", "windows-1252 by its WHATWG name");
    assert_eq!(decoded("iso-8859-2", b"a\x85b"), "a b");
}

#[test]
fn characters_that_change_their_neighbours_are_removed_and_joiners_are_kept() {
    assert_eq!(
        decoded("utf-8", "a\u{202e}b\u{2066}c\u{2069}d\u{feff}e\u{fff9}f\u{e0041}g".as_bytes()),
        "abcdefg"
    );
    for text in [
        "שלום\u{200f}!",
        "می\u{200c}خواهم",
        "👩\u{200d}🚀",
        "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "❤\u{fe0f}",
        "นา\u{200b}ง",
    ] {
        assert_eq!(decoded("utf-8", text.as_bytes()), text);
    }
    assert_eq!(decoded("utf-8", b"\xef\xbb\xbf/nick bob"), "/nick bob", "a byte order mark");
    assert_eq!(decoded("gb18030", b"\x84\x31\x95\x33/nick bob"), "/nick bob");
}

#[test]
fn sentences_pass_through_their_languages_charsets() {
    for (charset, text) in [
        ("big5-hkscs", "我哋喺度食嘢，佢哋唔嚟㗎"),
        ("euc-jp", "鷗外と内田百閒 丂丄"),
        ("euc-kr", "다람쥐 헌 쳇바퀴"),
        ("shift_jis", "～日本語のテスト－"),
        ("gbk", "€5 镕"),
        ("gb18030", "Tiếng Việt कृष्ण"),
        ("windows-1250", "Příliš žluťoučký kůň, zażółć gęślą jaźń"),
        ("iso-8859-2", "árvíztűrő tükörfúrógép"),
        ("windows-1251", "Съешь ещё этих булочек, ґанок, ўсё"),
        ("koi8-u", "їжак ґанок"),
        ("x-mac-cyrillic", "Съешь ещё"),
        ("windows-1253", "Ξεσκεπάζω την ψυχοφθόρα"),
        ("windows-1254", "Pijamalı hasta yağız şoföre"),
        ("windows-1255", "דג סקרן שט"),
        ("iso-8859-8", "דג סקרן שט"),
        ("iso-8859-6", "صِف خَلقَ خَودِ"),
        ("windows-1256", "صِف خَلقَ خَودِ"),
        ("windows-1257", "Įlinkdama fechtuotojo špaga"),
        ("windows-874", "เป็นมนุษย์สุดประเสริฐ"),
        ("iso-8859-15", "Œuvre à 5 €"),
    ] {
        assert_eq!(decoded(charset, &encoded(charset, text)), text, "{charset}");
    }
}

/// A client can read all text that another client sends in the same charset.
#[test]
fn all_pairs_of_bytes_pass_through_a_charset_and_back() {
    for label in [
        "big5",
        "euc-kr",
        "euc-jp",
        "shift_jis",
        "gbk",
        "gb18030",
        "windows-1258",
        "koi8-r",
        "iso-8859-8-i",
        "macintosh",
    ] {
        for lead in 0x80..=0xffu8 {
            for trail in 0x40..=0xffu8 {
                let text = decoded(label, &[lead, trail]);
                // Shift_JIS has a range for private use, which is decoded but not encoded.
                let is_private =
                    text.chars().any(|c| matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fffd}'));
                if !is_private {
                    let back = decoded(label, &encoded(label, &text));
                    assert_eq!(back, text, "{label} {lead:x} {trail:x}");
                }
            }
        }
    }
}

#[test]
fn byte_ff_is_a_character_in_some_charsets() {
    for (charset, has) in [
        ("utf-8", false),
        ("gbk", false),
        ("windows-1251", true),
        ("koi8-r", true),
        ("shift_jis", false),
        ("big5", false),
    ] {
        assert_eq!(Charset::by_label(charset).unwrap().has_byte_ff(), has, "{charset}");
    }
}

proptest! {
    #[test]
    fn decoding_never_yields_a_control_character(
            label in prop::sample::select(vec![
                "utf-8", "gbk", "gb18030", "big5", "shift_jis", "euc-kr",
                "windows-1252",
            ]),
            bytes: Vec<u8>,
        ) {
        let text = decoded(label, &bytes);
        prop_assert!(text.chars().all(|c| c == '\t' || !c.is_control()));
        prop_assert!(!encoded(label, &text).contains(&b'\n'));
    }

    #[test]
    fn a_command_after_keys_is_a_command(
            keys in prop::collection::vec(prop::sample::select(vec![
                "\x1b[A", "\x1b[1;2~", "\x1bOB", "\x1b", "\x1b[", "\x1b]0;t\x07", "\x08",
                "\x7f", "\x03", "x\x7f", "\u{9b}5m",
            ]), 0..6),
        ) {
        prop_assert_eq!(decoded("utf-8", format!("{}/who", keys.concat()).as_bytes()), "/who");
    }
}
