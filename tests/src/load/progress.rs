//! A progress bar on the terminal, if standard error is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The progress bar.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar for a run of about this length. It shows nothing if standard error is not a
    /// terminal.
    pub fn start(all: Duration) -> Progress {
        let bar = ProgressBar::new(all.as_millis() as u64);
        // The template is valid. If it weren't, the default style would stay.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// Shows what the program is doing now.
    pub fn show(&self, what: String) {
        self.0.set_message(what);
    }

    /// Adds to the time done.
    pub fn advance(&self, time: Duration) {
        self.0.inc(time.as_millis() as u64);
    }

    /// Sets the time done.
    pub fn set(&self, time: Duration) {
        self.0.set_position(time.as_millis() as u64);
    }

    /// Hides the bar while something else is printed.
    pub fn hide_while<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
