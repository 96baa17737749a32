//! Panics. Some examples panic on purpose, to show what becomes of a panic: one line says so,
//! whatever `RUST_BACKTRACE` is.

use super::{line, text};
use std::panic::{PanicHookInfo, set_hook};

/// From now on a panic prints one line, on standard output between the others. The processes that
/// are forked later inherit this.
pub fn print_in_one_line() {
    set_hook(Box::new(|panic| {
        line(text!("panic at {}: {}", "panic 于 {}：{}", place(panic), message(panic)))
    }));
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map_or_else(
        || "?".to_owned(),
        |location| format!("{}:{}", location.file(), location.line()),
    )
}

fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").lines().next().unwrap_or_default()
}
