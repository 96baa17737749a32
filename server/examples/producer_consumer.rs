//! A queue between processes: producers put tasks in, consumers take them out, and neither knows the others.
//!
//! Watch for: each number is consumed once, whoever gets it; a consumer ends when it takes an end marker, so there is one for each; a joinable queue
//! knows when all is *done*, not only taken; a task whose consumer is killed isn't lost, and who waits for all to be done doesn't wait for ever; and consumers that
//! nobody ends die with their parent.
//!
//! At work in the server: the journal consumes what the workers put in the log (`journal/reading.rs`); the doctor's pool of processes takes its jobs from
//! a joinable queue (`ipc/pool.rs`).

mod stage;

use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use stage::say;
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);
const CONSUMERS: u16 = 3;
const TASKS: u64 = 12;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    say!("a queue of 4 places, a producer, {CONSUMERS} consumers");
    end_markers()?;
    say!("a joinable queue, and {CONSUMERS} consumers");
    joined()
}

/// `None` is an end marker: the consumer that takes it takes nothing more.
fn end_markers() -> Outcome<()> {
    let queue: JoinableQueue<Option<u64>> = JoinableQueue::map("numbers", 4)?;
    let sum = Value::map("sum")?;
    let consume = move |me| {
        let mut count = 0;
        while let Ok(Taken::Task(task, claim)) = queue.take(me, LONG) {
            claim.done();
            let Some(number) = task else { break };
            sum.increase(number);
            count += 1;
            sleep(Duration::from_millis(5));
        }
        say!("consumer {me} took {count} numbers and an end marker");
        0
    };
    let consumers = (0..CONSUMERS).map(|me| Process::start(move || consume(me))).collect::<Result<Vec<_>, _>>()?;
    let producer = Process::start(move || {
        let numbers = (1..=TASKS).map(Some);
        let put = numbers.chain((0..CONSUMERS).map(|_| None)).try_for_each(|task| queue.put(&task, LONG));
        say!("the producer has put {TASKS} numbers and {CONSUMERS} end markers, and waited while the queue of 4 was full");
        i32::from(put.is_err())
    })?;
    for mut process in consumers.into_iter().chain([producer]) {
        process.join();
    }
    say!("the sum of all numbers is {}, and is to be {}", sum.get(), TASKS * (TASKS + 1) / 2);
    Ok(())
}

/// Nobody counts end markers: `join` returns when every task is done, and then the consumers may end as their parent does.
fn joined() -> Outcome<()> {
    let queue: JoinableQueue<u64> = JoinableQueue::map("tasks", TASKS as usize)?;
    let (taken, done) = (Value::map("taken")?, Value::map("done")?);
    (1..=TASKS).try_for_each(|task| queue.put(&task, LONG))?;

    let mut victim = Process::start(move || {
        if let Ok(Taken::Task(task, _claim)) = queue.take(CONSUMERS, LONG) {
            taken.set(task);
            sleep(LONG);
        }
        0
    })?;
    while taken.get() == 0 {
        sleep(Duration::from_millis(1));
    }
    victim.kill();
    say!("a consumer with task {} in hand: {}", taken.get(), victim.join());

    let consume = move |me| {
        while let Ok(Taken::Task(task, claim)) = queue.take(me, LONG) {
            sleep(Duration::from_millis(5));
            done.increase(task);
            claim.done();
        }
        0
    };
    let mut consumers = (0..CONSUMERS).map(|me| Process::start(move || consume(me))).collect::<Result<Vec<_>, _>>()?;
    let all_done = queue.join(Duration::from_millis(300))?;
    say!("{CONSUMERS} others are at work; all of {TASKS} tasks done? {all_done}: one is with the dead");
    // Dropped undone, its task waits again.
    drop(queue.take_over(CONSUMERS, CONSUMERS + 1)?);
    say!("its task waits again; all done? {}; the sum of what is done is {}", queue.join(LONG)?, done.get());
    let alive = consumers.iter_mut().filter_map(|consumer| consumer.is_alive().then(|| consumer.pid().to_string()));
    say!("the consumers {} wait for more; they die with this process", alive.collect::<Vec<_>>().join(", "));
    // As a parent ends that is killed: without a word to its children.
    std::mem::forget(consumers);
    Ok(())
}
