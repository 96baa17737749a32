//! The office whose tickets are sold: a file that says how many are left. It knows of no lock.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;
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

/// The tickets' file, in a directory that goes with this.
pub struct Office {
    directory: PathBuf,
}

impl Office {
    /// In a directory of its own, without a file yet.
    pub fn open() -> io::Result<Office> {
        let directory = std::env::temp_dir().join(format!("forkchat-ticket_lock-{}", std::process::id()));
        fs::create_dir(&directory)?;
        Ok(Office { directory })
    }

    /// Sells a ticket. False if there was none left.
    pub fn sell_one(&self) -> io::Result<bool> {
        let Some(left) = self.read()?.left.checked_sub(1) else { return Ok(false) };
        // The ticket is printed. There is always some time between a look and what is done about it; so long it is sure to be seen what comes of that.
        sleep(NAP);
        self.write(&Tickets { left })?;
        Ok(true)
    }

    /// How many are left.
    pub fn read(&self) -> io::Result<Tickets> {
        Ok(serde_json::from_slice(&fs::read(self.directory.join("tickets.json"))?)?)
    }

    /// Replaces the file as a whole: nobody ever reads half of one, whatever becomes of the writer.
    pub fn write(&self, tickets: &Tickets) -> io::Result<()> {
        let new = self.directory.join(format!("new-{}.json", std::process::id()));
        fs::write(&new, serde_json::to_vec(tickets)?)?;
        fs::rename(new, self.directory.join("tickets.json"))
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
