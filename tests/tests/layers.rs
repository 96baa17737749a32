//! Checks in the source which modules may import which, and where `unsafe` is allowed.

use std::path::{Path, PathBuf};

/// The server's parts, and which of the others each may use.
const ARROWS: [(&str, &[&str]); 22] = [
    ("sys", &[]),
    ("ipc", &["sys"]),
    ("segment", &["ipc", "sys"]),
    ("chat", &[]),
    ("channel", &["ipc"]),
    ("admission", &["ipc"]),
    ("dropped", &["segment"]),
    ("options", &["chat", "segment", "models", "sys"]),
    ("log_output", &["sys"]),
    ("role", &["log_output", "sys"]),
    ("faults", &[]),
    ("guide", &[]),
    ("replica", &["chat", "segment", "faults", "ipc"]),
    ("stand_in", &["segment"]),
    (
        "worker",
        &[
            "stand_in",
            "faults",
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
    ("models", &["worker", "channel", "chat", "segment", "ipc", "sys"]),
    ("journal", &["chat", "segment", "ipc", "replica", "stand_in", "sys"]),
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

#[test]
fn unsafe_stands_in_sys_alone_and_what_is_pure_does_no_io() {
    let server = root().join("server/src");
    for (path, code) in ["server/src", "server/examples", "client/src", "common/src", "tests/src"]
        .iter()
        .flat_map(|part| sources(&root().join(part)))
    {
        let has_unsafe =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        assert!(
            !has_unsafe || path.starts_with(server.join("sys")),
            "unsafe in {}",
            path.display()
        );
    }
    for (path, code) in sources(&root().join("common/src"))
        .into_iter()
        .chain(sources(&root().join("client/src/conversation")))
    {
        for io in [
            "std::fs",
            "std::io",
            "std::thread",
            "std::process",
            "SystemTime",
            "Instant::now",
            "TcpStream",
            "UdpSocket",
        ] {
            assert!(!code.contains(io), "{} uses {io}", path.display());
        }
    }
}
