//! A line on the terminal that tells how far it is, if there is one.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The line.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// For a run of about this long. Shows nothing if standard error is no terminal.
    pub fn begin(all: Duration) -> Progress {
        let bar = ProgressBar::new(all.as_millis() as u64);
        // The template is right, or it is left as it was.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// What is going on now.
    pub fn tell(&self, what: String) {
        self.0.set_message(what);
    }

    /// So much is done.
    pub fn pass(&self, time: Duration) {
        self.0.inc(time.as_millis() as u64);
    }

    /// So much is done in all.
    pub fn reach(&self, time: Duration) {
        self.0.set_position(time.as_millis() as u64);
    }

    /// Makes room on the terminal for something else.
    pub fn hide_while<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
