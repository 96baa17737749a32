//! Checks the links, files, options, functions and messages that the documentation names: README
//! and the guides in `server/doc`, in every language.

use forkchat_tests::example::{examples, names};
use forkchat_tests::{client_binary, server_binary};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of other programs that the documentation mentions: cargo's.
const OPTIONS_OF_OTHERS: [&str; 12] = [
    "--all-tasks",
    "--as",
    "--bins",
    "--example",
    "--idle",
    "--no-deps",
    "--open",
    "--pid",
    "--ppid",
    "--release",
    "--test",
    "--workspace",
];

/// Directories from which the documentation names files.
const BASES: [&str; 3] = ["", "server/src", "server/examples"];

/// A Markdown file.
struct Document {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

/// Code in backticks, and the text after it up to the next code.
struct Span<'t> {
    code: &'t str,
    after: &'t str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README, its translations, and all guides.
fn documents() -> Vec<Document> {
    let markdown_in = |directory: &str| {
        let files =
            std::fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect::<Vec<_>>()
    };
    let mut paths = [markdown_in(""), markdown_in("server/doc")].concat();
    paths.sort();
    let document = |path: PathBuf| Document {
        text: read(&path),
        path: path.strip_prefix(root()).unwrap().to_owned(),
    };
    paths.into_iter().map(document).collect()
}

/// The guides that are part of the server's rustdoc.
fn guides_in_rustdoc() -> Vec<Document> {
    let modules = read("server/src/guide.rs");
    documents()
        .into_iter()
        .filter(|document| modules.contains(&format!("\"{}\"", file_name(&document.path))))
        .collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

impl Document {
    /// The text without its code blocks, and the code blocks alone.
    fn prose_and_blocks(&self) -> (String, String) {
        let (mut prose, mut blocks, mut is_block) = (String::new(), String::new(), false);
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            is_block ^= is_fence;
            if !is_fence {
                let part = if is_block { &mut blocks } else { &mut prose };
                *part += line;
                part.push('\n');
            }
        }
        assert!(!is_block, "{}: a code block has no end", self.path.display());
        (prose, blocks)
    }

    /// Targets of inline links and of definitions.
    fn targets(&self) -> Vec<String> {
        let (prose, _) = self.prose_and_blocks();
        let inline = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target.to_owned());
        let defined = definitions(&prose).into_iter().map(|(_, target)| target);
        inline.chain(defined).filter(|target| !target.contains("://")).collect()
    }

    /// The anchors of its headings, as GitHub and rustdoc generate them.
    fn anchors(&self) -> BTreeSet<String> {
        let (prose, _) = self.prose_and_blocks();
        let mut anchors = BTreeSet::new();
        for heading in prose
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim())
        {
            let kept = heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .collect::<String>();
            let anchor = kept.replace(' ', "-");
            let numbered = (1..)
                .map(|number| format!("{anchor}-{number}"))
                .find(|anchor| !anchors.contains(anchor))
                .unwrap();
            let anchor = if anchors.contains(&anchor) { numbered } else { anchor };
            anchors.insert(anchor);
        }
        anchors
    }

    /// The target of a relative path in this file.
    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap().join(path)
    }
}

/// `[label]: target` lines.
fn definitions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    lines.map(|(label, target)| (label.to_owned(), target.trim().to_owned())).collect()
}

/// All code in backticks, in order.
fn spans(prose: &str) -> Vec<Span<'_>> {
    let mut pieces = prose.split('`').skip(1);
    let mut spans = Vec::new();
    while let (Some(code), after) = (pieces.next(), pieces.next()) {
        spans.push(Span { code, after: after.unwrap_or_default() });
    }
    spans
}

/// Words that begin with `begin` and continue with characters for which `goes_on` returns true.
fn words<'t>(
    text: &'t str,
    begin: &'t str,
    goes_on: fn(char) -> bool,
) -> impl Iterator<Item = &'t str> {
    text.match_indices(begin).filter_map(move |(at, _)| {
        let is_word = !text[..at]
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '.'));
        let end = text[at + begin.len()..]
            .find(|c| !goes_on(c))
            .map_or(text.len(), |end| at + begin.len() + end);
        is_word.then(|| &text[at..end])
    })
}

/// The file that the documentation means by a path.
fn named_file(path: &str) -> Option<PathBuf> {
    BASES.iter().map(|base| Path::new(base).join(path)).find(|path| root().join(path).exists())
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut checked = 0;
    for document in documents() {
        for target in document.targets() {
            let (path, anchor) = target
                .split_once('#')
                .map_or((target.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let file = if path.is_empty() { document.path.clone() } else { document.resolve(path) };
            let name = document.path.display();
            assert!(root().join(&file).exists(), "{name} links to {target}, which doesn't exist");
            if let Some(anchor) = anchor {
                let anchors = Document { text: read(&file), path: file }.anchors();
                assert!(
                    anchors.contains(anchor),
                    "{name} links to {target}, and there is no such heading"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 100, "the links were read: {checked}");
}

/// In rustdoc a guide has another path than in the tree. So a guide uses only reference links, and
/// each reference is defined for both.
#[test]
fn each_reference_of_a_guide_is_defined_for_the_tree_and_for_rustdoc() {
    let in_rustdoc: BTreeSet<String> = definitions(&read("server/src/guide/links.md"))
        .into_iter()
        .map(|(label, _)| label)
        .collect();
    let guides = guides_in_rustdoc();
    assert!(guides.len() >= 6, "the guides are in server/src/guide.rs");
    for guide in guides {
        let (prose, _) = guide.prose_and_blocks();
        let name = guide.path.display();
        for inline in prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
        {
            assert!(
                inline.starts_with('#') || inline.contains("://"),
                "{name}: make a reference of the link to {inline}"
            );
        }
        let in_tree: BTreeSet<String> =
            definitions(&prose).into_iter().map(|(label, _)| label).collect();
        let used = prose
            .split("][")
            .skip(1)
            .filter_map(|rest| rest.split_once(']'))
            .map(|(label, _)| label.to_owned());
        let code = prose
            .split("[`")
            .skip(1)
            .filter_map(|rest| rest.split_once("`]"))
            .map(|(label, _)| format!("`{label}`"));
        let alone = in_tree.iter().filter(|label| prose.contains(&format!("[{label}]"))).cloned();
        for label in used
            .chain(code.filter(|label| label.contains('/') && !label.contains(' ')))
            .chain(alone)
        {
            assert!(in_tree.contains(&label), "{name}: [{label}] is not defined at its end");
            assert!(
                in_rustdoc.contains(&label),
                "{name}: [{label}] is not defined in server/src/guide/links.md"
            );
        }
    }
}

/// What code blocks of the guides may be. Documentation tests would compile one without a language
/// as Rust.
const LANGUAGES: [&str; 4] = ["sh", "text", "python", "rust,ignore"];

#[test]
fn each_code_block_of_a_guide_names_its_language() {
    for guide in guides_in_rustdoc() {
        let fences: Vec<&str> =
            guide.text.lines().filter_map(|line| line.trim_start().strip_prefix("```")).collect();
        let is_named = fences.iter().step_by(2).all(|language| LANGUAGES.contains(language));
        assert!(is_named, "{}: {fences:?}", guide.path.display());
    }
}

#[test]
fn files_that_are_named_exist() {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let mut checked = 0;
    for document in documents() {
        let (prose, blocks) = document.prose_and_blocks();
        let code: Vec<&str> =
            spans(&prose).iter().map(|span| span.code).chain([blocks.as_str()]).collect();
        for directory in ["server/", "tests/", "common/", "client/"] {
            for path in code.iter().flat_map(|code| words(code, directory, goes_on)) {
                let path = path.trim_end_matches('.');
                assert!(
                    root().join(path).exists(),
                    "{} names {path}, which doesn't exist",
                    document.path.display()
                );
                checked += 1;
            }
        }
        for path in spans(&prose)
            .iter()
            .map(|span| span.code)
            .filter(|code| code.ends_with(".rs") && code.contains('/') && !code.contains(' '))
        {
            assert!(
                named_file(path).is_some(),
                "{} names {path}, which doesn't exist",
                document.path.display()
            );
        }
    }
    assert!(checked > 100, "the paths were read: {checked}");
}

/// Steps are given as a file and one or more functions in it: `path/file.rs`, `function`.
#[test]
fn functions_that_are_named_with_their_file_are_in_it() {
    let mut checked = 0;
    for document in documents() {
        let (prose, _) = document.prose_and_blocks();
        let mut file: Option<(PathBuf, String)> = None;
        let mut is_joined = false;
        for Span { code, after } in spans(&prose) {
            let is_identifier = code.chars().all(|c| c.is_alphanumeric() || c == '_')
                && code.contains(|c: char| c.is_lowercase());
            if code.ends_with(".rs") {
                file = named_file(code).map(|path| (path.clone(), read(path)));
            } else if let Some((path, source)) =
                file.as_ref().filter(|_| is_joined && is_identifier)
            {
                let declarations =
                    [format!("fn {code}("), format!("fn {code}<"), format!("pub {code}: ")];
                let is_there = declarations.iter().any(|declaration| source.contains(declaration));
                assert!(
                    is_there,
                    "{} names {code} in {}, which has no such function",
                    document.path.display(),
                    path.display()
                );
                checked += 1;
            } else {
                file = None;
            }
            is_joined = matches!(after.trim_start_matches(']').trim(), "," | "and" | ", and");
        }
    }
    assert!(checked > 30, "the functions were read: {checked}");
}

#[test]
fn options_that_are_named_exist() {
    let help = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{} {arguments:?}", program.display());
        String::from_utf8(output.stdout).unwrap()
    };
    let server = server_binary();
    let subcommands = ["start", "stop", "restart", "status", "doctor"]
        .map(|subcommand| help(server, &[subcommand]));
    let programs = [
        server,
        client_binary(),
        Path::new(env!("CARGO_BIN_EXE_forkchat-load")),
        Path::new(env!("CARGO_BIN_EXE_forkchat-chaos")),
    ];
    // The examples with a client. All others have a subset of their options.
    let examples = ["ack_server", "echo_per_process", "udp_talk"]
        .map(|name| help(&examples().join(name), &[]));
    let helps = programs.map(|program| help(program, &[])).concat()
        + &subcommands.concat()
        + &examples.concat();
    let goes_on = |c: char| c.is_ascii_lowercase() || c == '-';
    let known: BTreeSet<&str> = words(&helps, "--", goes_on).chain(OPTIONS_OF_OTHERS).collect();
    let mut checked = 0;
    for document in documents() {
        let (prose, blocks) = document.prose_and_blocks();
        for code in spans(&prose).iter().map(|span| span.code).chain([blocks.as_str()]) {
            for option in words(code, "--", goes_on).filter(|option| *option != "--") {
                assert!(
                    known.contains(option),
                    "{} names {option}, which no program knows",
                    document.path.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "the options were read: {checked}");
}

#[test]
fn every_example_is_in_the_tables_of_both_readmes() {
    for file in ["README.md", "README.zh-CN.md"] {
        let readme = read(file);
        let rows: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(name, _)| name)
            .collect();
        for name in names() {
            assert!(rows.contains(&name), "{file} has no row for the example {name}");
        }
    }
}

/// Operators look messages up as the server logs them. In the list `…` stands for the parts that
/// differ.
#[test]
fn messages_in_the_operators_list_are_logged_by_the_server() {
    const SHORTEST: usize = 6;
    // Joins strings that continue in the next line of the source.
    let source: String =
        sources(&root().join("server/src")).split("\\\n").map(str::trim_start).collect();
    let guide = read("server/doc/operating.md");
    let list = guide
        .split_once("## Messages and what to do")
        .and_then(|(_, rest)| rest.split_once("\n## "))
        .unwrap()
        .0;
    let mut checked = 0;
    for item in list.split("\n- ").skip(1) {
        let mut is_over = false;
        for Span { code, after } in spans(item) {
            if is_over {
                break;
            }
            is_over = after.starts_with(':');
            let message = code.split_whitespace().collect::<Vec<_>>().join(" ");
            for fragment in message
                .split('…')
                .map(|fragment| fragment.trim_matches(|c: char| !c.is_alphanumeric()))
            {
                assert!(
                    fragment.len() < SHORTEST || source.contains(fragment),
                    "the server logs no {fragment:?}"
                );
                checked += usize::from(fragment.len() >= SHORTEST);
            }
        }
    }
    assert!(checked > 60, "the messages were read: {checked}");
}

/// All source below a directory.
fn sources(directory: &Path) -> String {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => std::fs::read_to_string(path).unwrap(),
            _ => String::new(),
        })
        .collect()
}
