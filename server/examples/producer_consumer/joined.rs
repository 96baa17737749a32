//! A queue that knows when all is done; a consumer that is killed with an item in hand; consumers
//! that die with their parent.

use crate::stage::{
    Attempt, Failure, ended, exit_code, nap, part, patience, say, shown, slowed, wait_until,
    went_well,
};
use crate::{CONSUMERS, ITEMS, SUM, WORK_MS};
use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::{Array, Value};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// How long `join` waits in vain, while the killed consumer's item is missing.
const A_WHILE: Duration = Duration::from_millis(100);
/// The consumer's number of the parent, when it takes over a dead consumer's item.
const PARENT: u16 = CONSUMERS + 1;

/// The consumers' pids. Their parent notes them for this process, whose grandchildren they are.
type Pids = Array<AtomicU64>;

/// Without end markers: `join` returns when every item is done, and then the consumers may end as
/// their parent does.
pub fn joined() -> Result<(), Failure> {
    part!("a joinable queue, and {CONSUMERS} consumers", "可 join 的队列，{CONSUMERS} 个消费者");
    // Orphans become children of this process, so it can see how they end.
    set_child_subreaper(true).cannot("become the parent of orphans")?;
    let pids = Pids::map("pids", usize::from(CONSUMERS)).cannot("map the pids")?;
    let mut parent =
        Process::start(|| exit_code(parent(pids))).cannot("start the consumers' parent")?;
    let end = parent.join();
    say!("the consumers' parent, pid {}, {}", "消费者的父进程 pid {} {}", parent.pid(), ended(end));
    went_well("the consumers' parent", end)?;
    let mut dead = 0;
    for pid in pids.iter().map(|pid| Pid::from_raw(pid.load(Ordering::Relaxed) as i32)) {
        let mut end = None;
        wait_until(&format!("the end of consumer {pid}"), || {
            end = waitpid(pid, Some(WaitPidFlag::WNOHANG)).ok().and_then(End::of);
            end.is_some()
        })?;
        if let Some(end) = end {
            say!("a consumer, pid {pid}, {}", "消费者 pid {pid} {}", ended(end));
            dead += 1;
        }
    }
    shown!(
        "all {ITEMS} items were done although a consumer was killed; {dead} consumers died with their parent",
        "虽然有一个消费者被杀，{ITEMS} 项全部做完；{dead} 个消费者随父进程一起结束"
    );
    Ok(())
}

fn parent(pids: Pids) -> Result<(), Failure> {
    let queue: JoinableQueue<u64> =
        JoinableQueue::map("items", ITEMS as usize).cannot("map a queue")?;
    (1..=ITEMS).try_for_each(|item| queue.put(&item, patience()).cannot(format!("put {item}")))?;
    let missing = killed_with_an_item(queue)?;

    let done = Value::map("done").cannot("map the sum")?;
    let consumers = (0..CONSUMERS)
        .map(|me| Process::start(|| consume(queue, me, done)))
        .collect::<Result<Vec<_>, _>>();
    let mut consumers = consumers.cannot("start the consumers")?;
    consumers
        .iter()
        .zip(*pids)
        .for_each(|(consumer, pid)| pid.store(consumer.pid().as_raw() as u64, Ordering::Relaxed));
    wait_until("the other items to be done", || done.get() == SUM - missing)?;
    let all_done = queue.join(slowed(A_WHILE))?;
    say!(
        "the {CONSUMERS} others have nothing left to take; all {ITEMS} done? {all_done}: the dead consumer still has item {missing}",
        "另外 {CONSUMERS} 个消费者已没有可取的项；{ITEMS} 项都做完了吗？{all_done}：第 {missing} 项还在被杀的消费者手里"
    );
    say!("the parent puts item {missing} back", "父进程把第 {missing} 项放回队列");
    // Dropped without `done`, the item waits again.
    drop(queue.take_over(CONSUMERS, PARENT)?);
    let all_done = queue.join(patience())?;
    say!(
        "all done now? {all_done}; the sum of what is done is {}",
        "现在都做完了吗？{all_done}；做完的各项总和是 {}",
        done.get()
    );
    if !all_done || done.get() != SUM {
        return Err(Failure(format!("not every item was done once: the sum was to be {SUM}")));
    }
    let alive = consumers
        .iter_mut()
        .filter_map(|consumer| consumer.is_alive().then(|| consumer.pid().to_string()));
    let alive = alive.collect::<Vec<_>>().join(", ");
    say!(
        "the consumers {alive} wait for more; they die with their parent",
        "消费者 {alive} 还在等；它们随父进程一起结束"
    );
    // As a parent that is killed, this one ends without ending its children.
    std::mem::forget(consumers);
    Ok(())
}

/// Starts a consumer that takes an item, and kills it. Returns the item.
fn killed_with_an_item(queue: JoinableQueue<u64>) -> Result<u64, Failure> {
    let taken = Value::map("taken").cannot("map a value")?;
    let victim = move || {
        if let Ok(Taken::Task(item, _claim)) = queue.take(CONSUMERS, patience()) {
            say!("a consumer takes item {item}", "一个消费者取走第 {item} 项");
            taken.set(item);
            sleep(patience());
        }
        0
    };
    let mut victim = Process::start(victim).cannot("start a consumer")?;
    wait_until("a consumer to take an item, or to end", || taken.get() != 0 || !victim.is_alive())?;
    victim.kill();
    say!(
        "the consumer with item {} in hand {}",
        "手里有第 {} 项的消费者{}",
        taken.get(),
        ended(victim.join())
    );
    Ok(taken.get())
}

/// What a consumer does. Returns its exit code.
fn consume(queue: JoinableQueue<u64>, me: u16, done: Value) -> i32 {
    while let Ok(Taken::Task(item, claim)) = queue.take(me, patience()) {
        say!("consumer {me} takes item {item}", "消费者 {me} 取走第 {item} 项");
        nap(WORK_MS);
        done.increase(item);
        claim.done();
    }
    0
}
