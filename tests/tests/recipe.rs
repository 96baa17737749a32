//! The guide's recipe for a command, followed to the letter: its two files are changed in a copy of
//! the workspace, and the server's chat does the command there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROWS: &str = "common/src/protocol/line/commands.rs";
const HANDLERS: &str = "server/src/chat/line/commands.rs";

/// What the test adds besides: a test of the command.
const TEST: &str = r#"

#[test]
fn a_command_by_the_recipe() {
    let mut users = Users::new(2);
    users.types(0, "/shrug who knows");
    assert_eq!(users.received(1), "[#lobby] guest1: who knows ¯\\_(ツ)_/¯\n");
    users.types(0, "/shrug");
    assert_eq!(users.received(0), "! usage: /shrug TEXT\n");
    users.types(0, "/help shrug");
    assert_eq!(users.received(0), "* /shrug TEXT: says the text and shrugs\n");
}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The code blocks of the guide's section about commands, without their indentation in the guide.
fn recipe() -> Vec<String> {
    let guide = fs::read_to_string(root().join("server/doc/learning.md")).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with("How to add a command"));
    let blocks = section.expect("the section is there").split("   ```rust,ignore\n").skip(1);
    let blocks = blocks.map(|block| block.split("   ```\n").next().unwrap());
    let unindent = |line: &str| line.strip_prefix("   ").unwrap_or(line).to_owned() + "\n";
    blocks.map(|block| block.lines().map(unindent).collect()).collect()
}

/// Copies the sources of the workspace.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_output = name == "target" || name == ".git";
        match path.is_dir() {
            true if is_output => {}
            true => copy(&path, &to.join(name)),
            false => _ = fs::copy(&path, to.join(name)).unwrap(),
        }
    }
}

/// Puts text after a line of a file.
fn insert(file: &Path, after: &str, text: &str) {
    let before = fs::read_to_string(file).unwrap();
    assert_eq!(before.matches(after).count(), 1, "{after:?} in {}", file.display());
    fs::write(file, before.replace(after, &format!("{after}{text}"))).unwrap();
}

#[test]
fn a_command_is_a_row_and_a_handler_in_two_files() {
    let blocks = recipe();
    let [row, entry, handler] = &blocks[..] else { panic!("three code blocks: {blocks:?}") };
    // Beside the build's own output, so that its dependencies needn't be built again.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let workspace = target.join("recipe");
    let _ = fs::remove_dir_all(&workspace);
    copy(&root(), &workspace);
    insert(&workspace.join(ROWS), "pub static TABLE: &[Row] = &[\n", row);
    let handlers = workspace.join(HANDLERS);
    insert(&handlers, "const ALL: [(&'static str, Handler<O>); TABLE.len()] = [\n", entry);
    insert(&handlers, "\nimpl Chat {\n", handler);
    let tests = workspace.join("server/src/chat/tests.rs");
    fs::write(&tests, fs::read_to_string(&tests).unwrap() + TEST).unwrap();
    // A library's test has a name of its own in the build's output: nothing there is replaced.
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()));
    cargo.current_dir(&workspace).env("CARGO_TARGET_DIR", &target);
    cargo.args(["test", "--offline", "-p", "forkchat-server", "--lib", "a_command_by_the_recipe"]);
    let output = cargo.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    fs::remove_dir_all(&workspace).unwrap();
}
