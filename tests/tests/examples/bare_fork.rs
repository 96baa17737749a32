use forkchat_tests::example::Example;
use std::collections::HashSet;

#[test]
fn bare_fork() {
    let example = Example::run("bare_fork", &[]);
    example.printed(&[
        "watch for: fork is called once and returns twice",
        "there is one process",
        "this line follows the fork",
        "exited with code 3",
        "this line follows the child's exit",
        "shown: processes that reached the line after the fork: 2; the line after the child's \
         exit: 1",
        "shown: 3 rounds of the loop made 7 forks: 8 processes, not 4",
        "the pipe had \"hello hello \"",
        "the pipe had \"hello \"",
        "the pipe had \"\"",
        "flush, fork, child: exit, parent: exit; the pipe had \"hello \"",
        "shown: the text came out 2 times when both called exit, 1 time when the child called \
         _exit, 0 times when both did",
        "shown: flushed before the fork, it came out 1 time",
    ]);
    let pids = |part: &str| -> Vec<&str> {
        let lines = example.text.lines().filter(|line| line.contains(part));
        lines.map(|line| line.split_whitespace().nth(3).expect("a line has a pid")).collect()
    };
    let (parent, child) = (example.words("pid ")[1], example.after("the child, pid ")[0]);
    let after_fork = pids("this line follows the fork");
    assert!(
        after_fork.len() == 2 && after_fork.contains(&parent) && after_fork.contains(&child),
        "{example}"
    );
    assert_eq!(pids("fork returned 0: "), [child], "{example}");
    assert_eq!(pids(&format!("fork returned {child}: ")), [parent], "{example}");
    assert_eq!(example.after("its parent is pid "), [parent], "{example}");
    assert_eq!(pids("this line follows the child's exit"), [parent], "{example}");
    let out_of_the_loop = pids("out of the loop");
    assert_eq!(
        (out_of_the_loop.len(), out_of_the_loop.iter().collect::<HashSet<_>>().len()),
        (8, 8),
        "{example}"
    );
    assert_eq!(example.errors, "");
}
