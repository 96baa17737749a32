//! Checks in the source which modules may import which, and where `unsafe` is allowed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// The server's parts, and which of the others each may use.
const ARROWS: [(&str, &[&str]); 23] = [
    ("sys", &[]),
    ("ipc", &["sys"]),
    ("segment", &["ipc", "sys"]),
    ("chat", &[]),
    ("channel", &["ipc"]),
    ("admission", &["ipc"]),
    ("dropped", &["segment"]),
    ("options", &["chat", "segment", "sys"]),
    ("log_output", &["sys"]),
    ("role", &["log_output", "sys"]),
    ("faults", &[]),
    ("guide", &[]),
    ("replica", &["chat", "segment", "faults", "ipc"]),
    ("stand_in", &["segment"]),
    ("proposer", &["chat", "segment"]),
    (
        "worker",
        &[
            "stand_in",
            "faults",
            "proposer",
            "replica",
            "role",
            "admission",
            "channel",
            "chat",
            "segment",
            "ipc",
            "sys",
        ],
    ),
    ("models", &["worker", "channel", "chat", "segment", "ipc", "options", "proposer", "sys"]),
    ("journal", &["chat", "segment", "ipc", "proposer", "replica", "stand_in", "sys"]),
    ("doctor", &["ipc", "sys"]),
    ("daemon", &["sys"]),
    (
        "supervisor",
        &[
            "admission",
            "channel",
            "doctor",
            "dropped",
            "segment",
            "ipc",
            "journal",
            "log_output",
            "models",
            "options",
            "role",
            "stand_in",
            "sys",
            "worker",
        ],
    ),
    ("service", &["daemon", "options", "supervisor"]),
    ("lib", &["doctor", "options", "service", "supervisor"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file below a directory, without its tests and comments.
fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let names = [path.file_stem(), path.parent().and_then(Path::file_name)];
            let is_test =
                names.into_iter().flatten().any(|name| name == "tests" || name == "simulation");
            let text =
                if is_test { String::new() } else { std::fs::read_to_string(&path).unwrap() };
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            let code = text
                .lines()
                .map(|line| line.split("//").next().unwrap_or_default())
                .collect::<Vec<_>>()
                .join("\n");
            files.push((path, code));
        }
    }
    files
}

#[test]
fn the_servers_parts_use_only_what_the_design_allows() {
    let server = root().join("server/src");
    let mut seen = 0;
    for (path, code) in sources(&server) {
        let inside = path.strip_prefix(&server).unwrap();
        let part = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if part == "bin" {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == part)
            .unwrap_or_else(|| panic!("{part} is no part of the design"));
        for used in code
            .split("crate::")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        {
            assert!(!used.is_empty(), "{}: name each part on a line of its own", inside.display());
            assert!(
                used == part || allowed.contains(&used),
                "{} may not use {used}",
                inside.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "the source was read: {seen}");
}

/// What code that does no I/O must not name. Addresses are allowed.
const IO: [&str; 18] = [
    "std::{",
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "getrandom::",
    "libc::",
    "nix::",
    "socket2::",
];

/// What reads or writes records.
const RECORDS: [&str; 9] =
    ["Record", "Fact", "Batch", "Reader", "append", "fetch", "push_fact", "Replica", "Chat"];

#[test]
fn no_circle_of_imports_exists_inside_a_part() {
    let server = root().join("server/src");
    let files: Vec<File> =
        sources(&server).iter().map(|(path, code)| File::new(&server, path, code)).collect();
    let imports: BTreeMap<&str, BTreeSet<&str>> =
        files.iter().map(|file| (file.name.as_str(), file.imports(&files))).collect();
    let seen: usize = imports.values().map(BTreeSet::len).sum();
    assert!(seen > 100, "the imports were read: {seen}");
    let circles: Vec<String> =
        imports.keys().filter_map(|&file| Some(way_back(file, &imports)?.join(" → "))).collect();
    assert!(circles.is_empty(), "circles of imports:\n{}", circles.join("\n"));
}

/// A source file of the server as a module.
struct File {
    /// Its path below the source directory.
    name: String,
    /// Its place in the tree of modules: that of `worker/mod.rs` is `worker`.
    module: Vec<String>,
    /// The modules and items that it names.
    paths: Vec<Vec<String>>,
    /// The names that it imports from its children, and from which.
    imported_from_children: Vec<(String, String)>,
}

impl File {
    fn new(source: &Path, path: &Path, code: &str) -> File {
        let inside = path.strip_prefix(source).unwrap();
        let names = inside.with_extension("");
        let mut module: Vec<String> =
            names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        module.pop_if(|name| name == "mod" || name == "lib");
        let mut paths = Vec::new();
        for (index, _) in code.match_indices("crate::") {
            paths.extend(expand(&code[index + "crate::".len()..]));
        }
        for (index, _) in code.match_indices("super::") {
            // Of several in a row the first stands for all.
            if !code[..index].ends_with("super::") {
                let rest = code[index..].trim_start_matches("super::");
                let ups = (code.len() - index - rest.len()) / "super::".len();
                let base = &module[..module.len() - ups];
                paths.extend(expand(rest).into_iter().map(|path| [base, &path].concat()));
            }
        }
        let uses = code.split("use ").skip(1).flat_map(expand);
        let imported_from_children = uses
            .filter(|path| path.len() > 1)
            .map(|path| (path[path.len() - 1].clone(), path[0].clone()))
            .collect();
        File { name: inside.to_str().unwrap().to_owned(), module, paths, imported_from_children }
    }

    /// The files of its part that it imports. A module is made of its children, so its imports from
    /// them do not count. If a child imports a sibling by way of the parent, that counts.
    fn imports<'a>(&self, files: &'a [File]) -> BTreeSet<&'a str> {
        let named = self.paths.iter().filter_map(|path| defining(path, files));
        let others = named.filter(|file| {
            file.module.first() == self.module.first() && !file.module.starts_with(&self.module)
        });
        others.map(|file| file.name.as_str()).collect()
    }
}

/// The file in which a path's item is.
fn defining<'a>(path: &[String], files: &'a [File]) -> Option<&'a File> {
    let (file, rest) = (1..=path.len()).rev().find_map(|length| {
        let file = files.iter().find(|file| file.module == path[..length])?;
        Some((file, &path[length..]))
    })?;
    let Some(name) = rest.first() else { return Some(file) };
    let from = file.imported_from_children.iter().find(|(imported, _)| imported == name);
    let child = from.and_then(|(_, child)| {
        let module = [&file.module[..], std::slice::from_ref(child)].concat();
        files.iter().find(|file| file.module == module)
    });
    Some(child.unwrap_or(file))
}

/// The paths that a piece of code begins with: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(code: &str) -> Vec<Vec<String>> {
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if let Some(list) = code.strip_prefix('{') {
        let mut depth = 0;
        let end = list.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth < 0
        });
        let mut depth = 0;
        let parts = list[..end.unwrap_or(list.len())].split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && c == ','
        });
        return parts.flat_map(|part| expand(part.trim_start())).collect();
    }
    match code[name.len()..].strip_prefix("::") {
        _ if name.is_empty() => Vec::new(),
        Some(rest) if !rest.starts_with('<') => {
            expand(rest).into_iter().map(|path| [vec![name.clone()], path].concat()).collect()
        }
        _ => vec![vec![name]],
    }
}

/// The shortest way from a file over its imports back to it.
fn way_back<'a>(
    start: &'a str,
    imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &next in &imports[way.last()?] {
            let longer = [&way[..], &[next]].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn unsafe_stands_in_sys_alone() {
    let server = root().join("server/src");
    for (path, code) in ["server/src", "server/examples", "client/src", "common/src", "tests/src"]
        .iter()
        .flat_map(|part| sources(&root().join(part)))
    {
        assert!(
            path.starts_with(server.join("sys")) || words(&code).all(|word| word != "unsafe"),
            "unsafe in {}",
            path.display()
        );
    }
}

#[test]
fn what_is_pure_does_no_io() {
    for part in ["common/src", "client/src/conversation", "server/src/chat"] {
        for (path, code) in sources(&root().join(part)) {
            for io in IO {
                assert!(!code.contains(io), "{} uses {io}", path.display());
            }
        }
    }
}

#[test]
fn the_supervisor_reads_and_writes_no_record() {
    for (path, code) in sources(&root().join("server/src/supervisor")) {
        // Where a process crashed may be a record, by its sequence.
        let code = code.replace("WorkItem::Record", "");
        let named = words(&code).find(|word| RECORDS.contains(word));
        assert_eq!(named, None, "{}", path.display());
    }
}
