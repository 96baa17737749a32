//! Processes sell the last tickets, whose number stands in a JSON file: too many of them without a lock, with one as many as there are.
//!
//! Watch for: how many too many, which differs from run to run (that is what a race is); that nobody unlocks for the seller that is killed, and
//! the next gets the lock all the same, is told so, and finds a file that is whole.
//!
//! At work in the server: the log's robust mutex (`event_log/append.rs`): a worker may be killed while it appends, and the others go on.

mod stage;

use forkchat_server::ipc::mutex::Mutex;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::memory::map_shared;
use serde::{Deserialize, Serialize};
use stage::{PATIENCE, exit_code, say, wait_until};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

const TICKETS: u64 = 12;
const SELLERS: u32 = 4;
const NAP: Duration = Duration::from_millis(2);

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Tickets {
    left: u64,
}

/// What the sellers share: a lock, and a file in a directory that goes with this.
struct Office {
    lock: &'static Mutex,
    directory: PathBuf,
}

fn main() -> io::Result<()> {
    let lock = map_shared::<Mutex>("example-lock")?;
    lock.init()?;
    let directory = std::env::temp_dir().join(format!("forkchat-ticket_lock-{}", std::process::id()));
    fs::create_dir(&directory)?;
    // The sellers borrow it: a child that owned it would take the directory away at its end.
    let office = Office { lock, directory };
    office.sell_all(false)?;
    office.sell_all(true)?;
    office.lose_an_owner()
}

impl Office {
    fn sell_all(&self, is_locked: bool) -> io::Result<()> {
        let how = if is_locked { "with" } else { "without" };
        say!("{SELLERS} sellers, {TICKETS} tickets, {how} a lock");
        self.write(&Tickets { left: TICKETS })?;
        let (is_open, sold) = (Value::map("example-is-open")?, Value::map("example-sold")?);
        let sell = |seller| {
            wait_until("the opening", || is_open.get() == 1)?;
            // At most so many each: who writes an old number without the lock brings back what others have sold.
            for _ in 0..TICKETS {
                let guard = if is_locked { Some(self.lock.lock(seller, PATIENCE).map_err(io::Error::other)?) } else { None };
                if !self.sell_one()? {
                    return Ok(());
                }
                drop(guard);
                sold.increase(1);
                // Until the next customer. Somebody else has the lock meanwhile.
                sleep(NAP);
            }
            Ok(())
        };
        let sellers: io::Result<Vec<_>> = (0..SELLERS).map(|seller| Process::start(|| exit_code(sell(seller)))).collect();
        is_open.set(1);
        sellers?.iter_mut().for_each(|seller| say!("a seller, pid {}, {}", seller.pid(), seller.join()));
        say!("{how} a lock: of {TICKETS} tickets {} were sold, {} too many", sold.get(), sold.get().saturating_sub(TICKETS));
        Ok(())
    }

    /// False if there was none left.
    fn sell_one(&self) -> io::Result<bool> {
        let Some(left) = self.read()?.left.checked_sub(1) else { return Ok(false) };
        // The ticket is printed. There is always some time between a look and what is done about it; so long it is sure to be seen what comes of that.
        sleep(NAP);
        self.write(&Tickets { left })?;
        Ok(true)
    }

    fn lose_an_owner(&self) -> io::Result<()> {
        self.write(&Tickets { left: 1 })?;
        let (is_locked, is_waiting) = (Value::map("example-is-locked")?, Value::map("example-is-waiting")?);
        let mut owner = Process::start(|| {
            let guard = self.lock.lock(1, PATIENCE);
            is_locked.set(u64::from(guard.is_ok()));
            sleep(PATIENCE);
            1
        })?;
        let sell_next = |seller| {
            is_waiting.set(u64::from(self.lock.lock(seller, Duration::ZERO).is_err()));
            let guard = self.lock.lock(seller, PATIENCE).map_err(io::Error::other)?;
            // Nothing has to be mended: a sale is one rename, done or not done. Where it takes several steps, here would be the place for it.
            say!("seller {seller} has the lock; its owner died: {}; tickets left: {}", guard.owner_died, self.read()?.left);
            say!("seller {seller} sold one: {}", self.sell_one()?);
            Ok(())
        };
        wait_until("seller 1 to have the lock", || is_locked.get() == 1)?;
        let mut next = Process::start(|| exit_code(sell_next(2)))?;
        wait_until("seller 2 to wait for it", || is_waiting.get() == 1)?;
        say!("seller {} has the lock, seller 2 waits for it", self.lock.holder().map_or(0, |holder| holder.owner));
        owner.kill();
        say!("seller 1, who had the lock, was {}; seller 2 {}", owner.join(), next.join());
        say!("seller 3 {}", Process::start(|| exit_code(sell_next(3)))?.join());
        Ok(())
    }

    fn read(&self) -> io::Result<Tickets> {
        Ok(serde_json::from_slice(&fs::read(self.directory.join("tickets.json"))?)?)
    }

    /// Replaces the file as a whole: nobody ever reads half of one, whatever becomes of the writer.
    fn write(&self, tickets: &Tickets) -> io::Result<()> {
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
