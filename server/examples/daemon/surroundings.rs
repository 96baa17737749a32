//! What a process has of others.

use nix::sys::stat::{Mode, umask};
use nix::unistd::{getppid, getsid};
use std::fmt;
use std::fs;
use std::io;

/// What a process was given by whoever started it. Shown, it is one line; `{:#}` makes several short ones of it.
pub struct Surroundings {
    place: String,
    mask: String,
    standard: String,
}

impl Surroundings {
    /// Those of this process.
    pub fn look() -> io::Result<Surroundings> {
        // It can be looked at only by setting it.
        let mask = umask(Mode::empty());
        umask(mask);
        let leads = |number| fs::read_link(format!("/proc/self/fd/{number}")).map(|path| path.display().to_string());
        Ok(Surroundings {
            place: format!("parent {}, session {}, directory {}", getppid(), getsid(None)?, std::env::current_dir()?.display()),
            mask: format!("umask {:03o}", mask.bits()),
            standard: format!("0 1 2 are {} {} {}", leads(0)?, leads(1)?, leads(2)?),
        })
    }
}

impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if f.alternate() { "\n    " } else { ", " };
        f.write_str(&[&*self.place, &self.mask, &self.standard].join(between))
    }
}
