//! A queue that knows when all is done; a consumer that is killed with a task in hand; consumers that die with their parent.

use crate::stage::{Attempt, Failure, PATIENCE, exit_code, say, wait_until, went_well};
use crate::{CONSUMERS, SUM, TASKS};
use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::{Array, Value};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The consumers' pids. Their parent notes them for this process, whose grandchildren they are.
type Pids = Array<AtomicU64>;

/// Nobody counts end markers: `join` returns when every task is done, and then the consumers may end as their parent does.
pub fn joined() -> Result<(), Failure> {
    // Orphans come to this process, so it can see how they end.
    set_child_subreaper(true).cannot("take in orphans")?;
    let pids = Pids::map("pids", usize::from(CONSUMERS)).cannot("map the pids")?;
    let mut parent = Process::start(|| exit_code(parent(pids))).cannot("start the consumers' parent")?;
    let end = parent.join();
    say!("the consumers' parent, pid {}: {end}", parent.pid());
    went_well("the consumers' parent", end)?;
    for pid in pids.iter().map(|pid| Pid::from_raw(pid.load(Ordering::Relaxed) as i32)) {
        let mut end = None;
        wait_until(&format!("the end of consumer {pid}"), || {
            end = waitpid(pid, Some(WaitPidFlag::WNOHANG)).ok().and_then(End::of);
            end.is_some()
        })?;
        say!("a consumer, pid {pid}: {}", end.map_or("not ended".to_owned(), |end| end.to_string()));
    }
    Ok(())
}

fn parent(pids: Pids) -> Result<(), Failure> {
    let queue: JoinableQueue<u64> = JoinableQueue::map("tasks", TASKS as usize).cannot("map a queue")?;
    let (taken, done) = (Value::map("taken").cannot("map a value")?, Value::map("done").cannot("map the sum")?);
    (1..=TASKS).try_for_each(|task| queue.put(&task, PATIENCE).cannot(format!("put {task}")))?;

    let victim = move || {
        if let Ok(Taken::Task(task, _claim)) = queue.take(CONSUMERS, PATIENCE) {
            taken.set(task);
            sleep(PATIENCE);
        }
        0
    };
    let mut victim = Process::start(victim).cannot("start a consumer")?;
    wait_until("a consumer to take a task, or to end", || taken.get() != 0 || !victim.is_alive())?;
    victim.kill();
    say!("a consumer with task {} in hand: {}", taken.get(), victim.join());

    let consume = move |me| {
        while let Ok(Taken::Task(task, claim)) = queue.take(me, PATIENCE) {
            sleep(Duration::from_millis(5));
            done.increase(task);
            claim.done();
        }
        0
    };
    let consumers = (0..CONSUMERS).map(|me| Process::start(|| consume(me))).collect::<Result<Vec<_>, _>>();
    let mut consumers = consumers.cannot("start the consumers")?;
    consumers.iter().zip(*pids).for_each(|(consumer, pid)| pid.store(consumer.pid().as_raw() as u64, Ordering::Relaxed));
    let all_done = queue.join(Duration::from_millis(300))?;
    say!("{CONSUMERS} others are at work; all of {TASKS} tasks done? {all_done}: one is with the dead");
    // Dropped undone, its task waits again.
    drop(queue.take_over(CONSUMERS, CONSUMERS + 1)?);
    let all_done = queue.join(PATIENCE)?;
    say!("its task waits again; all done? {all_done}; the sum of what is done is {}", done.get());
    if !all_done || done.get() != SUM {
        return Err(Failure(format!("not every task was done once: the sum was to be {SUM}")));
    }
    let alive = consumers.iter_mut().filter_map(|consumer| consumer.is_alive().then(|| consumer.pid().to_string()));
    say!("the consumers {} wait for more; they die with their parent", alive.collect::<Vec<_>>().join(", "));
    // As a parent ends that is killed: without a word to its children.
    std::mem::forget(consumers);
    Ok(())
}
