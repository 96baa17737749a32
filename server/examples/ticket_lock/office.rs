//! The office whose tickets are sold: a file that says how many are left. It knows of no lock.

use crate::stage::{Attempt, Failure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How long a sale takes, and how long it is until the next customer comes.
pub const NAP: Duration = Duration::from_millis(2);

/// What the file says.
#[derive(Serialize, Deserialize)]
pub struct Tickets {
    /// How many are left.
    pub left: u64,
}

/// The tickets' file.
pub struct Office<'a> {
    directory: &'a Path,
}

impl Office<'_> {
    /// In a directory that is its own, without a file yet.
    pub fn new(directory: &Path) -> Office<'_> {
        Office { directory }
    }

    /// Sells a ticket. False if there was none left.
    pub fn sell_one(&self) -> Result<bool, Failure> {
        let Some(left) = self.read()?.left.checked_sub(1) else { return Ok(false) };
        // The ticket is printed. There is always some time between a look and what is done about it; so long it is sure to be seen what comes of that.
        sleep(NAP);
        self.write(&Tickets { left })?;
        Ok(true)
    }

    /// How many are left.
    pub fn read(&self) -> Result<Tickets, Failure> {
        let file = self.directory.join("tickets.json");
        let text = fs::read(&file).cannot(format!("read {}", file.display()))?;
        serde_json::from_slice(&text).cannot(format!("understand {}", file.display()))
    }

    /// Replaces the file as a whole: nobody ever reads half of one, whatever becomes of the writer.
    pub fn write(&self, tickets: &Tickets) -> Result<(), Failure> {
        let (new, file) = (self.directory.join(format!("new-{}.json", std::process::id())), self.directory.join("tickets.json"));
        fs::write(&new, serde_json::to_vec(tickets)?).cannot(format!("write {}", new.display()))?;
        fs::rename(&new, &file).cannot(format!("rename {} to {}", new.display(), file.display()))
    }
}
