//! The role of a process: its name in `ps` and in the log output. Setting it also makes a panic in
//! any thread end the whole process.

use crate::log_output;

/// Sets this process's role. From now on a panic in any of its threads ends the process: a process
/// with a missing thread would hang.
pub fn set(role: &str) {
    crate::sys::process::set_name(role);
    log_output::set_role(role);
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{panic}");
        std::process::abort();
    }));
}

/// A number and a noun in singular or plural: `1 connection`, `2 connections`.
pub fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
