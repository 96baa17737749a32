//! Processes sell the last tickets, whose number is in a JSON file. Without a lock they sell too
//! many, with a lock exactly as many as there are.
//!
//! In the server: the log's lock (`segment/log/append.rs`) is of this kind. When a worker is killed
//! while it appends, the others go on.

mod office;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::mutex::Mutex;
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::memory::map_shared;
use office::{Office, Reads, Tickets};
use stage::scratch::in_scratch;
use stage::{
    Attempt, Failure, Lesson, ended, exit_code, nap, part, patience, say, shown, wait_until,
    went_well,
};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

const LESSON: Lesson = Lesson {
    about: ["Tickets: a race, and the lock against it", "卖票：竞态，以及防止竞态的锁"],
    watch_for: &[
        [
            "without a lock two sellers read the same number, and both sell that ticket",
            "不加锁时，两个售票员读到同一个数字，把同一张票各卖一次",
        ],
        [
            "how many tickets too many are sold differs from run to run: that is a race",
            "多卖了几张，每次运行都不一样：这就是竞态",
        ],
        [
            "with a lock each number is read by one seller alone",
            "加锁之后，每个数字只会被一个售票员读到",
        ],
        [
            "a seller that is killed cannot unlock; the next one gets the lock all the same, and learns of the death",
            "被杀死的售票员无法解锁；下一个售票员照样能拿到锁，并得知前任已死",
        ],
    ],
};
const TICKETS: u64 = 12;
const SELLERS: u32 = 4;
/// The race is seen nearly always. A machine that is too busy to run two sellers at the same time
/// gets another chance.
const ATTEMPTS: u32 = 5;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| in_scratch("ticket_lock", run))
}

fn run(directory: &Path) -> Result<(), Failure> {
    let lock = map_shared::<Mutex>("example-lock").cannot("map the lock")?;
    lock.init().cannot("make the lock")?;
    let office = Office::new(directory);
    part!(
        "{SELLERS} sellers, {TICKETS} tickets, without a lock",
        "{SELLERS} 个售票员，{TICKETS} 张票，不加锁"
    );
    let mut without = 0;
    for _ in 0..ATTEMPTS {
        without = sell_all(&office, None)?;
        if without > TICKETS {
            break;
        }
    }
    part!(
        "{SELLERS} sellers, {TICKETS} tickets, with a lock",
        "{SELLERS} 个售票员，{TICKETS} 张票，加锁"
    );
    let with = sell_all(&office, Some(lock))?;
    shown!(
        "of {TICKETS} tickets {without} were sold without a lock, {} too many; {with} with a lock, {} too many",
        "{TICKETS} 张票：不加锁卖出 {without} 张，多卖 {} 张；加锁卖出 {with} 张，多卖 {} 张",
        without.saturating_sub(TICKETS),
        with.saturating_sub(TICKETS)
    );
    lose_an_owner(&office, lock)
}

/// Returns how many tickets were sold.
fn sell_all(office: &Office<'_>, lock: Option<&'static Mutex>) -> Result<u64, Failure> {
    office.write(&Tickets { left: TICKETS })?;
    let (is_open, sold) = (Value::map("example-is-open")?, Value::map("example-sold")?);
    let reads = Reads::map(TICKETS, SELLERS).cannot("map what is read")?;
    let sell = |seller| {
        wait_until("the opening", || is_open.get() == 1)?;
        // At most so many each: without a lock, a seller that writes an old number brings back
        // tickets that others have sold.
        for _ in 0..TICKETS {
            let guard = lock
                .map(|lock| lock.lock(seller, patience()))
                .transpose()
                .cannot("lock the file")?;
            let Some(number) = office.sell_one()? else { return Ok(()) };
            drop(guard);
            reads.note(number, seller);
            sold.increase(1);
            // Until the next customer comes. Meanwhile another seller has the lock. Each seller at
            // its own pace: in step, they would sell the same number in every run.
            nap(1 + u64::from(seller));
        }
        Ok(())
    };
    let sellers: io::Result<Vec<_>> =
        (0..SELLERS).map(|seller| Process::start(|| exit_code(sell(seller)))).collect();
    let mut sellers = sellers.cannot("start the sellers")?;
    is_open.set(1);
    for seller in &mut sellers {
        went_well("a seller", seller.join())?;
    }
    show_reads(&reads, &sellers);
    Ok(sold.get())
}

/// Prints the first number that two sellers have read.
fn show_reads(reads: &Reads, sellers: &[Process]) {
    let readers_of = |number| -> Vec<_> {
        sellers
            .iter()
            .zip(reads.of(number))
            .filter(|(_, times)| *times > 0)
            .map(|(seller, _)| seller.pid())
            .collect()
    };
    let doubly_read: Vec<_> =
        (1..=TICKETS).rev().filter(|&number| readers_of(number).len() > 1).collect();
    let Some(&first) = doubly_read.first() else {
        return say!("each number was read by one seller alone", "每个数字都只被一个售票员读到");
    };
    let pids = readers_of(first);
    say!(
        "pid {} and pid {} both read \"{first} left\": each sold that ticket, and wrote \"{} left\"",
        "pid {} 和 pid {} 都读到“还剩 {first} 张”：各自卖出这张票，又各自写下“还剩 {} 张”",
        pids[0],
        pids[1],
        first - 1
    );
    say!(
        "read by more than one seller: the numbers {doubly_read:?}",
        "被不止一个售票员读到的数字：{doubly_read:?}"
    );
}

fn lose_an_owner(office: &Office<'_>, lock: &'static Mutex) -> Result<(), Failure> {
    part!("a seller is killed while it holds the lock", "一个售票员在持有锁时被杀死");
    office.write(&Tickets { left: 1 })?;
    let (is_locked, is_waiting) =
        (Value::map("example-is-locked")?, Value::map("example-is-waiting")?);
    let mut owner = Process::start(|| {
        let guard = lock.lock(1, patience());
        is_locked.set(u64::from(guard.is_ok()));
        sleep(patience());
        1
    })
    .cannot("start seller 1")?;
    let sell_next = |seller| {
        is_waiting.set(u64::from(lock.lock(seller, Duration::ZERO).is_err()));
        let guard = lock.lock(seller, patience()).cannot("lock the file")?;
        // Nothing has to be repaired: a sale is one rename, done or not done. Where it takes
        // several steps, the repair would be here.
        say!(
            "seller {seller} has the lock; did its owner die? {}; tickets left: {}",
            "售票员 {seller} 拿到锁；前任死了吗？{}；剩余票数：{}",
            guard.owner_died,
            office.read()?.left
        );
        let sold = office.sell_one()?.is_some();
        say!("did seller {seller} sell a ticket? {sold}", "售票员 {seller} 卖出票了吗？{sold}");
        Ok(())
    };
    wait_until("seller 1 to have the lock", || is_locked.get() == 1)?;
    let mut next = Process::start(|| exit_code(sell_next(2))).cannot("start seller 2")?;
    wait_until("seller 2 to wait for it", || is_waiting.get() == 1)?;
    let holder = lock.holder().map_or(0, |holder| holder.owner);
    say!(
        "seller {holder} has the lock, seller 2 waits for it",
        "售票员 {holder} 持有锁，售票员 2 在等它"
    );
    owner.kill();
    say!(
        "seller 1 {}; seller 2 {}",
        "售票员 1 {}；售票员 2 {}",
        ended(owner.join()),
        ended(next.join())
    );
    let end: End = Process::start(|| exit_code(sell_next(3))).cannot("start seller 3")?.join();
    say!("seller 3 {}", "售票员 3 {}", ended(end));
    went_well("seller 2", next.join())?;
    went_well("seller 3", end)?;
    shown!(
        "the lock outlived its dead owner: two more sellers had it, and the last ticket was sold once; tickets left: {}",
        "持有者死后锁仍可用：又有两个售票员先后拿到锁，最后一张票只卖了一次；剩余票数：{}",
        office.read()?.left
    );
    Ok(())
}
