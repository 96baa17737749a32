//! What a process has from its parent.

use crate::stage::proc::state_and_parent;
use crate::stage::text;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getppid, getsid};
use std::fs;
use std::io;

/// What a process inherits, unless it changes that.
pub struct Surroundings {
    place: String,
    mask: String,
    standard: String,
}

impl Surroundings {
    /// Those of this process.
    pub fn look() -> io::Result<Surroundings> {
        // The only way to read it is to set it.
        let mask = umask(Mode::empty());
        umask(mask);
        let (parent, session, directory) = (getppid(), getsid(None)?, std::env::current_dir()?);
        // No new process gets the number of a session that there still is. 0: the leader cannot be
        // seen from this container.
        let has_ended = session.as_raw() != 0
            && state_and_parent(session).is_none_or(|(state, _)| state == 'Z');
        let leader = if has_ended {
            text!(", whose leader has ended", "（首进程已结束）")
        } else {
            String::new()
        };
        let file = |descriptor| {
            fs::read_link(format!("/proc/self/fd/{descriptor}"))
                .map(|path| path.display().to_string())
        };
        Ok(Surroundings {
            place: text!(
                "parent {parent}, session {session}{leader}, directory {}",
                "父进程 {parent}，会话 {session}{leader}，工作目录 {}",
                directory.display()
            ),
            mask: format!("umask {:03o}", mask.bits()),
            standard: text!(
                "0, 1, 2 are {}, {}, {}",
                "0、1、2 是 {}、{}、{}",
                file(0)?,
                file(1)?,
                file(2)?
            ),
        })
    }

    /// Three short lines.
    pub fn lines(self) -> impl Iterator<Item = String> {
        [self.place, self.mask, self.standard].into_iter()
    }
}
