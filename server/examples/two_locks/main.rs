//! Two processes take the same two locks in opposite orders, and each waits for the other: a
//! deadlock. A timeout finds it; one order for all prevents it.
//!
//! In the server: a wait for a lock between processes always has a timeout, and the lock knows its
//! holder (`ipc/mutex.rs`). The holder of the log's lock waits for nothing else
//! (`segment/log/append.rs`).

mod account;
#[path = "../stage/mod.rs"]
mod stage;

use account::{Account, Order};
use forkchat_server::ipc::mutex::or_later;
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use stage::{
    Attempt, Failure, Lesson, ended, exit_code, nap, part, patience, say, shown, slowed,
    wait_until, went_well,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: ["Two locks: a deadlock and its cure", "两把锁：死锁及其解法"],
    watch_for: &[
        [
            "which process holds which lock while neither gets any further",
            "双方都停滞不前时，哪个进程持有哪把锁",
        ],
        ["without a timeout both would wait for ever", "如果没有超时，双方会永远等下去"],
        [
            "the process that times out must also release the lock that it already holds",
            "超时的进程还必须释放自己已经持有的锁",
        ],
        [
            "when all processes take the locks in the same order, no deadlock is possible",
            "所有进程都按同一顺序加锁，就不可能死锁",
        ],
    ],
};
const TRANSFERS: u64 = 15;
/// There are nearly always deadlocks. A machine that is too busy to run both processes at the same
/// time gets more chances.
const ATTEMPTS: u32 = 5;
/// The exit code of a process that waited in vain for its second lock.
const GAVE_UP: i32 = 2;
const ANNA_WAITS: Duration = Duration::from_millis(300);
/// How long anna waits for the second lock of a transfer, where a deadlock is possible.
const ANNA_WAITS_TO_PAY: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let (one, two) = (Account::open(1)?, Account::open(2)?);
        deadlock(one, two)?;
        part!(
            "{TRANSFERS} transfers each way, in two orders: each locks the payer's account first",
            "双向各转账 {TRANSFERS} 次，两种顺序：各自先锁付款账户"
        );
        say!(
            "anna's timeout of {} ms ends each deadlock: she then releases her lock, pauses, and tries again; berta just waits",
            "每次死锁都由 anna 的 {} 毫秒超时解除：她释放已持有的锁，稍停后重试；berta 只是等待",
            slowed(ANNA_WAITS_TO_PAY).as_millis()
        );
        let mut with_two = transfers(one, two, Order::PayerFirst)?;
        for _ in 1..ATTEMPTS {
            if with_two.deadlocks == 0 {
                with_two = transfers(one, two, Order::PayerFirst)?;
            }
        }
        part!(
            "{TRANSFERS} transfers each way, in one order: each locks account 1 first",
            "双向各转账 {TRANSFERS} 次，同一顺序：都先锁账户 1"
        );
        let with_one = transfers(one, two, Order::ByNumber)?;
        shown!(
            "in two orders {} deadlocks and {} ms, in one order {} deadlocks and {} ms, for the same {} transfers",
            "两种顺序：死锁 {} 次，共 {} 毫秒；同一顺序：死锁 {} 次，共 {} 毫秒；转账次数都是 {}",
            with_two.deadlocks,
            with_two.milliseconds,
            with_one.deadlocks,
            with_one.milliseconds,
            2 * TRANSFERS
        );
        Ok(())
    })
}

/// Each process takes its first lock, and wants the second only when the other has its first, too:
/// a deadlock every time.
fn deadlock(one: Account, two: Account) -> Result<(), Failure> {
    part!(
        "anna takes lock 1, then lock 2; berta takes lock 2, then lock 1",
        "anna 先取锁 1 再取锁 2；berta 先取锁 2 再取锁 1"
    );
    let meeting = Meeting {
        have_one: Value::map("example-have-one")?,
        parent_has_looked: Value::map("example-looked")?,
    };
    // Berta is the more patient one. If both gave up at the same time, neither would get both
    // locks.
    let timeout = slowed(ANNA_WAITS);
    let mut anna =
        Process::start(|| take_both("anna", one, two, meeting, timeout)).cannot("start anna")?;
    let mut berta = Process::start(|| take_both("berta", two, one, meeting, patience()))
        .cannot("start berta")?;
    wait_until("anna and berta to have a lock each", || meeting.have_one.get() == 2)?;
    for _ in 0..2 {
        nap(80);
        say!(
            "the parent looks: lock 1 is held by pid {}, lock 2 by pid {}",
            "父进程查看：锁 1 的持有者是 pid {}，锁 2 的持有者是 pid {}",
            one.holder(),
            two.holder()
        );
    }
    meeting.parent_has_looked.set(1);
    let pids = (anna.pid(), berta.pid());
    say!(
        "anna, pid {}, {}; berta, pid {}, {}",
        "anna（pid {}）{}；berta（pid {}）{}",
        pids.0,
        ended(anna.join()),
        pids.1,
        ended(berta.join())
    );
    if anna.join() != End::Exited(GAVE_UP) {
        return Err(Failure(format!("anna should have given up, but {}", anna.join())));
    }
    went_well("berta", berta.join())?;
    shown!(
        "each held the lock that the other wanted; only anna's timeout of {} ms ended this deadlock",
        "双方各持有对方想要的锁；直到 anna 的 {} 毫秒超时到期，死锁才解除",
        timeout.as_millis()
    );
    Ok(())
}

/// What anna, berta and their parent know of each other.
#[derive(Clone, Copy)]
struct Meeting {
    /// How many have their first lock.
    have_one: Value,
    /// 1 when the parent has seen which process holds which lock.
    parent_has_looked: Value,
}

/// What anna and berta do. Returns the exit code.
fn take_both(
    name: &str,
    first: Account,
    second: Account,
    meeting: Meeting,
    timeout: Duration,
) -> i32 {
    match take_first_then_second(name, first, second, meeting, timeout) {
        Ok(true) => 0,
        Ok(false) => GAVE_UP,
        Err(failure) => exit_code(Err(failure)),
    }
}

/// False if the second lock was not free in time. The first is released then, too.
fn take_first_then_second(
    name: &str,
    first: Account,
    second: Account,
    meeting: Meeting,
    timeout: Duration,
) -> Result<bool, Failure> {
    let me = std::process::id();
    let _first = first.lock.lock(me, patience()).cannot("take the first lock")?;
    say!("{name} holds lock {}", "{name} 持有锁 {}", first.number);
    meeting.have_one.increase(1);
    wait_until("the other to have a lock", || meeting.have_one.get() == 2)?;
    say!("{name} wants lock {}, too, and waits", "{name} 还想要锁 {}，开始等待", second.number);
    let began = Instant::now();
    let locked = or_later(second.lock.lock(me, timeout)).cannot("take the second lock")?;
    let waited = began.elapsed().as_millis();
    if locked.is_some() {
        say!(
            "{name} has both locks after {waited} ms",
            "{name} 等了 {waited} 毫秒，两把锁都拿到了"
        );
    } else {
        let (number, holder) = (second.number, second.holder());
        say!(
            "{name} waited {waited} ms in vain: lock {number} is held by pid {holder}",
            "{name} 白等了 {waited} 毫秒：锁 {number} 的持有者是 pid {holder}"
        );
        wait_until("the parent to look", || meeting.parent_has_looked.get() == 1)?;
        say!("{name} gives up and releases lock {}", "{name} 放弃，并释放锁 {}", first.number);
    }
    Ok(locked.is_some())
}

/// What was seen of some transfers.
struct Seen {
    deadlocks: u64,
    milliseconds: u128,
}

/// Anna pays from account 1 to account 2, and berta the other way, at the same time.
fn transfers(one: Account, two: Account, order: Order) -> Result<Seen, Failure> {
    let deadlocks = Value::map("example-deadlocks").cannot("map a count")?;
    let began = Instant::now();
    // Where a deadlock is possible, anna's patience is short and her timeouts are counted. Where
    // none is, a timeout would be a failure.
    let timeout = if order == Order::PayerFirst { slowed(ANNA_WAITS_TO_PAY) } else { patience() };
    let pay = |payer: Account, payee: Account, timeout| {
        (0..TRANSFERS).try_for_each(|_| {
            while !payer.pay(payee, order, timeout)? {
                deadlocks.increase(1);
                // While anna pauses, berta gets the lock that anna has released.
                nap(2);
            }
            Ok(())
        })
    };
    let mut anna = Process::start(|| exit_code(pay(one, two, timeout))).cannot("start anna")?;
    let mut berta =
        Process::start(|| exit_code(pay(two, one, patience()))).cannot("start berta")?;
    let ends = (anna.join(), berta.join());
    went_well("anna", ends.0)?;
    went_well("berta", ends.1)?;
    let milliseconds = began.elapsed().as_millis();
    say!(
        "{} deadlocks in {milliseconds} ms; account 1 has {} coins, account 2 has {} coins",
        "{milliseconds} 毫秒内死锁 {} 次；账户 1 有 {} 枚硬币，账户 2 有 {} 枚硬币",
        deadlocks.get(),
        one.coins.get(),
        two.coins.get()
    );
    Ok(Seen { deadlocks: deadlocks.get(), milliseconds })
}
