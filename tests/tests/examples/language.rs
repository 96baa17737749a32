//! Every example has its texts in Chinese, too. At its start it says what to watch for, and at its
//! end what it has shown.

use forkchat_tests::example::{Example, names};

#[test]
fn every_example_has_its_texts_in_chinese() {
    let names = names();
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        let example = Example::run(name, &["--lang", "zh"]);
        assert_eq!(example.code, Some(0), "{name}: {example}");
        let position = |part: &str| {
            example
                .text
                .find(part)
                .unwrap_or_else(|| panic!("{name} prints no {part:?}:\n{example}"))
        };
        assert!(position("请注意：") < position("结论："), "{name}: {example}");
        assert!(
            !example.text.contains("watch for:") && !example.text.contains("shown:"),
            "{name}: {example}"
        );
        let is_chinese = |line: &&str| line.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        let (chinese, all) =
            (example.text.lines().filter(is_chinese).count(), example.text.lines().count());
        // The other texts are rows of tables and names.
        assert!(
            chinese * 10 >= all * 7,
            "{name}: only {chinese} of {all} lines are Chinese: {example}"
        );
    }
}
