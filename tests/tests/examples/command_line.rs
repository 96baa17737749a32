//! A wrong command line, and a directory that can't be made: the error says what was attempted.

use crate::interrupted::in_own_group;
use forkchat_tests::example::Example;

#[test]
fn an_error_says_in_a_sentence_what_was_attempted() {
    for (example, argument, code, why) in [
        ("echo_per_process", "--client=127.0.0.1:1", 1, "Error: cannot connect to 127.0.0.1:1: "),
        (
            "daemon",
            "nonsense",
            2,
            "error: invalid value 'nonsense' for '[TASK]'\n  [possible values: start, stop, \
             restart]",
        ),
    ] {
        let ended = Example::run(example, &[argument]);
        assert_eq!(ended.code, Some(code), "{ended}");
        assert!(ended.errors.starts_with(why), "{ended}");
    }
    for name in ["daemon", "ticket_lock"] {
        let ended = in_own_group(name, "/nowhere/at all".as_ref()).wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with(&format!(
                "Error: cannot make the directory /nowhere/at all/forkchat-example-{name}-"
            )),
            "{errors}"
        );
    }
}
