//! Processes sell the last tickets, whose number stands in a JSON file: too many of them without a lock, with one as many as there are.
//!
//! Watch for: how many too many, which differs from run to run (that is what a race is); that nobody unlocks for the seller that is killed, and
//! the next gets the lock all the same, is told so, and finds a file that is whole.
//!
//! At work in the server: the log's robust mutex (`event_log/append.rs`): a worker may be killed while it appends, and the others go on.

mod office;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::mutex::Mutex;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::memory::map_shared;
use office::{NAP, Office, Tickets};
use stage::scratch::in_scratch;
use stage::{Attempt, Failure, PATIENCE, exit_code, say, wait_until, went_well};
use std::io;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

const TICKETS: u64 = 12;
const SELLERS: u32 = 4;

fn main() -> Result<ExitCode, Failure> {
    in_scratch("ticket_lock", |directory| {
        let lock = map_shared::<Mutex>("example-lock").cannot("map the lock")?;
        lock.init().cannot("make the lock")?;
        let office = Office::new(directory);
        sell_all(&office, None)?;
        sell_all(&office, Some(lock))?;
        lose_an_owner(&office, lock)
    })
}

fn sell_all(office: &Office<'_>, lock: Option<&'static Mutex>) -> Result<(), Failure> {
    let how = if lock.is_some() { "with" } else { "without" };
    say!("{SELLERS} sellers, {TICKETS} tickets, {how} a lock");
    office.write(&Tickets { left: TICKETS })?;
    let (is_open, sold) = (Value::map("example-is-open")?, Value::map("example-sold")?);
    let sell = |seller| {
        wait_until("the opening", || is_open.get() == 1)?;
        // At most so many each: who writes an old number without the lock brings back what others have sold.
        for _ in 0..TICKETS {
            let guard = lock.map(|lock| lock.lock(seller, PATIENCE)).transpose().cannot("lock the file")?;
            if !office.sell_one()? {
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
    for seller in &mut sellers.cannot("start the sellers")? {
        say!("a seller, pid {}: {}", seller.pid(), seller.join());
        went_well("a seller", seller.join())?;
    }
    say!("{how} a lock: of {TICKETS} tickets {} were sold, {} too many", sold.get(), sold.get().saturating_sub(TICKETS));
    Ok(())
}

fn lose_an_owner(office: &Office<'_>, lock: &'static Mutex) -> Result<(), Failure> {
    office.write(&Tickets { left: 1 })?;
    let (is_locked, is_waiting) = (Value::map("example-is-locked")?, Value::map("example-is-waiting")?);
    let mut owner = Process::start(|| {
        let guard = lock.lock(1, PATIENCE);
        is_locked.set(u64::from(guard.is_ok()));
        sleep(PATIENCE);
        1
    })
    .cannot("start seller 1")?;
    let sell_next = |seller| {
        is_waiting.set(u64::from(lock.lock(seller, Duration::ZERO).is_err()));
        let guard = lock.lock(seller, PATIENCE).cannot("lock the file")?;
        // Nothing has to be mended: a sale is one rename, done or not done. Where it takes several steps, here would be the place for it.
        say!("seller {seller} has the lock; its owner died: {}; tickets left: {}", guard.owner_died, office.read()?.left);
        say!("seller {seller} sold one: {}", office.sell_one()?);
        Ok(())
    };
    wait_until("seller 1 to have the lock", || is_locked.get() == 1)?;
    let mut next = Process::start(|| exit_code(sell_next(2))).cannot("start seller 2")?;
    wait_until("seller 2 to wait for it", || is_waiting.get() == 1)?;
    say!("seller {} has the lock, seller 2 waits for it", lock.holder().map_or(0, |holder| holder.owner));
    owner.kill();
    say!("seller 1, who had the lock, was {}; seller 2: {}", owner.join(), next.join());
    let end = Process::start(|| exit_code(sell_next(3))).cannot("start seller 3")?.join();
    say!("seller 3: {end}");
    went_well("seller 2", next.join()).and_then(|()| went_well("seller 3", end))
}
