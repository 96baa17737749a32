//! The office whose tickets are sold: a file that says how many are left. It has no lock of its
//! own.

use crate::stage::{Attempt, Failure, nap};
use forkchat_server::ipc::value::Array;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// How long a sale takes.
const SALE_MS: u64 = 2;

/// The contents of the file.
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

    /// Sells a ticket. Returns how many the seller had read to be left; `None` if there was none.
    pub fn sell_one(&self) -> Result<Option<u64>, Failure> {
        let before = self.read()?.left;
        let Some(left) = before.checked_sub(1) else { return Ok(None) };
        // The ticket is printed. Some time always passes between a look and what is done about it;
        // here it is long enough to see what happens then.
        nap(SALE_MS);
        self.write(&Tickets { left })?;
        Ok(Some(before))
    }

    /// How many are left.
    pub fn read(&self) -> Result<Tickets, Failure> {
        let file = self.directory.join("tickets.json");
        let text = fs::read(&file).cannot(format!("read {}", file.display()))?;
        serde_json::from_slice(&text).cannot(format!("understand {}", file.display()))
    }

    /// Replaces the file as a whole: no reader ever sees half of it, whatever happens to the
    /// writer.
    pub fn write(&self, tickets: &Tickets) -> Result<(), Failure> {
        let (new, file) = (
            self.directory.join(format!("new-{}.json", std::process::id())),
            self.directory.join("tickets.json"),
        );
        fs::write(&new, serde_json::to_vec(tickets)?).cannot(format!("write {}", new.display()))?;
        fs::rename(&new, &file).cannot(format!("rename {} to {}", new.display(), file.display()))
    }
}

/// Which seller sold a ticket after it had read which number, in shared memory: a table with a row
/// for each number and a column for each seller.
pub struct Reads {
    times: Array<AtomicU32>,
    sellers: usize,
}

impl Reads {
    pub fn map(tickets: u64, sellers: u32) -> io::Result<Reads> {
        let (rows, sellers) = (tickets as usize + 1, sellers as usize);
        Ok(Reads { times: Array::map("example-reads", rows * sellers)?, sellers })
    }

    pub fn note(&self, number: u64, seller: u32) {
        self.times[number as usize * self.sellers + seller as usize]
            .fetch_add(1, Ordering::Relaxed);
    }

    /// How often each seller read this number.
    pub fn of(&self, number: u64) -> impl Iterator<Item = u32> {
        let row = number as usize * self.sellers;
        self.times[row..row + self.sellers].iter().map(|times| times.load(Ordering::Relaxed))
    }
}
