use super::*;
use proptest::prelude::*;

#[test]
fn names_are_equal_under_compatibility_and_case() {
    for (a, b) in [
        ("Alice", "aLICE"),
        ("ＡＬＩＣＥ", "alice"),
        ("straße", "STRASSE"),
        ("e\u{301}va", "ÉVA"),
        ("ﬁn", "FIN"),
    ] {
        assert_eq!(Nick::parse(a).unwrap(), Nick::parse(b).unwrap(), "{a} and {b}");
    }
    assert_ne!(
        Nick::parse("coco").unwrap(),
        Nick::parse("сосо").unwrap(),
        "a Cyrillic о is another letter"
    );
}

#[test]
fn a_name_that_imitates_another_script_is_refused() {
    for name in ["w\u{430}tch", "\u{1d430}\u{430}tch", "ｗ\u{430}tch"] {
        assert_eq!(Nick::parse(name), Err(NameError::MixedScripts('\u{430}')), "{name}");
        assert_eq!(
            RoomName::parse(&format!("#{name}")),
            Err(NameError::MixedScripts('\u{430}')),
            "{name}"
        );
    }
    assert!(Nick::parse("Вася_dev").is_ok() && Nick::parse("𝐛ob").is_ok());
}

#[test]
fn a_text_that_is_too_long_has_no_key() {
    assert_eq!(find_key("ＡＬＩＣＥ").as_deref(), Some("alice"));
    assert_eq!(find_key(&"ß".repeat(4_000)), None);
    let longest = Nick::parse(&"e\u{301}".repeat(NICK_CHARS_MAX)).unwrap();
    assert_eq!(find_key(&"e\u{301}".repeat(NICK_CHARS_MAX)).as_deref(), Some(longest.key()));
}

#[test]
fn an_invalid_name_has_its_reason() {
    assert_eq!(Nick::parse(""), Err(NameError::Empty));
    assert_eq!(Nick::parse("a b"), Err(NameError::Character(' ')));
    assert_eq!(Nick::parse("a.b"), Err(NameError::Character('.')));
    assert_eq!(Nick::parse("\u{fdfa}"), Err(NameError::Character(' ')));
    assert_eq!(Nick::parse(&"x".repeat(33)), Err(NameError::TooLong(32)));
    assert!(Nick::parse(&"é".repeat(32)).is_ok());
    for invisible in ["dora\u{3164}", "dora\u{1160}", "\u{ffa0}", "\u{345}"] {
        assert!(matches!(Nick::parse(invisible), Err(NameError::Character(_))), "{invisible:?}");
    }
    assert_eq!(RoomName::parse("lobby"), Err(NameError::NoHash));
    assert_eq!(RoomName::parse("#"), Err(NameError::Empty));
    assert_eq!(RoomName::parse("#a.b-c").unwrap().as_str(), "#a.b-c");
    assert_eq!(RoomName::parse("#a#b"), Err(NameError::Character('#')));
    assert_eq!(Nick::parse("İpek").unwrap().as_str(), "İpek");
    assert_eq!(Nick::parse("王小明").unwrap().as_str(), "王小明");
}

#[test]
fn names_may_contain_the_marks_of_their_script() {
    for name in [
        "कृष्ण",
        "श्रीमती",
        "தமிழ்",
        "น้ำ",
        "สมชาย์",
        "မြန်မာ",
        "ကျွန်ုပ်",
        "עִבְרִית",
        "שָׁלוֹם",
        "مُحَمَّد",
        "ភាសាខ្មែរ",
        "ລາວ",
        "বাংলা",
        "ਪੰਜਾਬੀ",
        "ગુજરાતી",
        "తెలుగు",
        "ಕನ್ನಡ",
        "മലയാളം",
        "සිංහල",
        "བོད་ཡིག".split('་').next().unwrap(),
        "አማርኛ",
        "Vi\u{1ec7}t",
        "Tie\u{302}\u{301}ng",
        "ẹ̀kọ́",
        "ė̃",
        "ジョン・スミス",
        "col·lega",
        "ג׳ורג׳",
        "می\u{200c}خواهم",
        "क्\u{200d}ष",
        "ශ්\u{200d}රී",
    ] {
        let nick = Nick::parse(name).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        assert_eq!(Nick::parse(nick.as_str()), Ok(nick.clone()));
        assert!(RoomName::parse(&format!("#{name}")).is_ok());
        let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(name);
        assert_eq!(Nick::parse(&decomposed).unwrap(), nick, "{name} in NFD");
    }
}

#[test]
fn names_with_hidden_or_misplaced_characters_are_refused() {
    for (name, hidden) in [
        ("\u{301}a", '\u{301}'),
        ("\u{94d}\u{94d}", '\u{94d}'),
        ("1\u{301}", '\u{301}'),
        ("_\u{301}", '\u{301}'),
        ("dora\u{200d}", '\u{200d}'),
        ("do\u{200c}ra", '\u{200c}'),
        ("क्\u{200d}", '\u{200d}'),
        ("dora\u{fe0f}", '\u{fe0f}'),
        ("dora\u{34f}", '\u{34f}'),
        ("dora\u{ad}", '\u{ad}'),
        ("ក\u{17b4}", '\u{17b4}'),
        ("dora\u{e49}", '\u{e49}'),
        ("dora\u{93f}", '\u{93f}'),
        ("x\u{20dd}", '\u{20dd}'),
        ("x\u{335}\u{336}\u{337}", '\u{337}'),
        ("\u{e01}\u{e49}\u{e49}\u{e49}\u{e49}\u{e49}", '\u{e49}'),
        ("a·b", '·'),
        ("・", '・'),
        ("dora\u{202e}", '\u{202e}'),
        ("😀", '😀'),
    ] {
        assert_eq!(Nick::parse(name), Err(NameError::Character(hidden)), "{name:?}");
    }
}

#[test]
fn joiners_and_a_full_width_hash_do_not_make_a_different_name() {
    assert_eq!(Nick::parse("می\u{200c}خواهم"), Nick::parse("میخواهم"));
    assert_eq!(RoomName::parse("＃room").unwrap().as_str(), "#room");
    assert_eq!(&*key_of("＃Room"), RoomName::parse("#room").unwrap().key());
}

/// The database stores keys of names, so the keys must not change between versions.
#[test]
fn keys_are_stable() {
    for (name, key) in [
        ("Straße", "strasse"),
        ("İpek", "i\u{307}pek"),
        ("ＡＬＩＣＥ", "alice"),
        ("ﬁn", "fin"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("王小明", "王小明"),
    ] {
        assert_eq!(Nick::parse(name).unwrap().key(), key);
    }
}

proptest! {
    #[test]
    fn a_name_with_marks_is_found_under_its_key(
        text in "[a-zé\u{915}-\u{94d}\u{e01}-\u{e4d}\u{5d0}\u{5b0}-\u{5c2}\u{1000}-\u{103e}\
            \u{300}-\u{345}\u{200c}\u{200d}]{1,8}",
    ) {
        if let Ok(nick) = Nick::parse(&text) {
            prop_assert_eq!(&*key_of(nick.as_str()), nick.key());
            prop_assert_eq!(&*key_of(nick.key()), nick.key());
            prop_assert_eq!(&Nick::parse(nick.as_str()).unwrap(), &nick);
        }
    }

    #[test]
    fn a_name_is_found_under_its_key(text in "\\PC{1,40}") {
        if let Ok(nick) = Nick::parse(&text) {
            prop_assert_eq!(&*key_of(nick.as_str()), nick.key());
            prop_assert_eq!(&*key_of(nick.key()), nick.key());
            prop_assert_eq!(&Nick::parse(nick.as_str()).unwrap(), &nick);
            prop_assert!(nick.as_str().chars().count() <= NICK_CHARS_MAX);
        }
    }
}
