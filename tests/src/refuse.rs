//! Runs a program in which certain system calls fail:
//! `forkchat-refuse clone3=EPERM,close_range=ENOSYS PROGRAM ARGUMENT…`.
//!
//! In a container with a seccomp profile such a call fails with EPERM or ENOSYS, on an older kernel
//! with ENOSYS. The launcher installs a seccomp filter on itself, then executes the program. The
//! program and its children inherit the filter.

use nix::errno::Errno;
use seccompiler::{BpfMap, apply_filter, compile_from_json};
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Exit code if the program can't be run.
const EXIT_FAILED: u8 = 125;

/// The errors that a call can fail with.
const ERRORS: [(&str, Errno); 4] = [
    ("ENOSYS", Errno::ENOSYS),
    ("EPERM", Errno::EPERM),
    ("EACCES", Errno::EACCES),
    ("EINVAL", Errno::EINVAL),
];

/// Executes the program of the command line. Returns only if that fails.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(refused), Some(program)) = (arguments.next(), arguments.next()) else {
        eprintln!(
            "usage: forkchat-refuse CALL=ERROR[,CALL=ERROR…] PROGRAM [ARGUMENT…]\n\
            runs PROGRAM with these system calls failing; ERROR is ENOSYS, EPERM, EACCES or EINVAL"
        );
        return EXIT_FAILED.into();
    };
    let mut program = Command::new(program);
    program.args(arguments);
    match install(&refused) {
        Ok(()) => eprintln!("forkchat-refuse: cannot run the program: {}", program.exec()),
        Err(error) => eprintln!("forkchat-refuse: cannot refuse {refused}: {error}"),
    }
    EXIT_FAILED.into()
}

/// Installs one filter for each error.
fn install(refused: &str) -> Result<(), Box<dyn Error>> {
    let pairs: Vec<(&str, &str)> = refused
        .split(',')
        .map(|pair| pair.split_once('=').ok_or("give CALL=ERROR"))
        .collect::<Result<_, _>>()?;
    let known = |error: &str| ERRORS.iter().any(|(name, _)| *name == error);
    if let Some((_, error)) = pairs.iter().find(|(_, error)| !known(error)) {
        return Err(format!("unknown error {error}; use ENOSYS, EPERM, EACCES or EINVAL").into());
    }
    let architecture = std::env::consts::ARCH.try_into()?;
    // All are compiled before the first is installed: what that refuses could be needed here.
    let mut filters = Vec::new();
    for (name, errno) in ERRORS {
        let calls: Vec<_> = pairs
            .iter()
            .filter(|(_, error)| *error == name)
            .map(|(call, _)| serde_json::json!({ "syscall": call }))
            .collect();
        if calls.is_empty() {
            continue;
        }
        let filter = serde_json::json!({
            "refuse": {
                "mismatch_action": "allow",
                "match_action": { "errno": errno as i32 },
                "filter": calls,
            }
        });
        let compiled: BpfMap = compile_from_json(filter.to_string().as_bytes(), architecture)?;
        filters.extend(compiled.into_values());
    }
    Ok(filters.iter().try_for_each(|filter| apply_filter(filter))?)
}
