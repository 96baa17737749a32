//! The role of a process: its name for `ps` and in the log output. Also: a panic in any thread ends
//! the whole process.

use crate::log_output;

/// Gives this process its role. A panic in any of its threads ends it from now on: half a process
/// is worse than none.
pub fn set(role: &str) {
    crate::sys::process::set_name(role);
    log_output::set_role(role);
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{panic}");
        std::process::abort();
    }));
}

/// `1 connection`, `2 connections`.
pub fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
