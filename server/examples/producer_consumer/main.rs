//! A queue between processes: producers put tasks in, consumers take them out, and neither knows the others.
//!
//! Watch for: each number is consumed once, whoever gets it; a consumer ends when it takes an end marker, so there is one for each; a joinable queue
//! knows when all is *done*, not only taken; a task whose consumer is killed isn't lost, and who waits for all to be done doesn't wait for ever; and consumers that
//! nobody ends die with their parent.
//!
//! At work in the server: the journal consumes what the workers put in the log (`journal/reading.rs`); the doctor's pool of processes takes its jobs from
//! a joinable queue (`ipc/pool.rs`).

mod joined;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use joined::joined;
use stage::{Attempt, Failure, PATIENCE, exit_code, say, went_well};
use std::thread::sleep;
use std::time::Duration;

const CONSUMERS: u16 = 3;
const TASKS: u64 = 12;
/// Of all tasks, which are the numbers from 1.
const SUM: u64 = TASKS * (TASKS + 1) / 2;

fn main() -> Result<(), Failure> {
    say!("a queue of 4 places, a producer, {CONSUMERS} consumers");
    end_markers()?;
    say!("a joinable queue, and {CONSUMERS} consumers");
    joined()
}

/// `None` is an end marker: the consumer that takes it takes nothing more.
fn end_markers() -> Result<(), Failure> {
    let queue: JoinableQueue<Option<u64>> = JoinableQueue::map("numbers", 4).cannot("map a queue")?;
    let sum = Value::map("sum").cannot("map the sum")?;
    let consume = |me| {
        let mut count = 0;
        loop {
            let Taken::Task(task, claim) = queue.take(me, PATIENCE)? else {
                return Err(Failure(format!("consumer {me} took {count} numbers, and then none came, nor an end marker")));
            };
            claim.done();
            let Some(number) = task else { break };
            sum.increase(number);
            count += 1;
            sleep(Duration::from_millis(5));
        }
        say!("consumer {me} took {count} numbers and an end marker");
        Ok(())
    };
    let produce = || {
        let mut tasks = (1..=TASKS).map(Some).chain((0..CONSUMERS).map(|_| None));
        tasks.try_for_each(|task| queue.put(&task, PATIENCE).cannot(format!("put {task:?}")))?;
        say!("the producer has put {TASKS} numbers and {CONSUMERS} end markers, and waited while the queue of 4 was full");
        Ok(())
    };
    let consumers = (0..CONSUMERS).map(|me| Process::start(|| exit_code(consume(me)))).collect::<Result<Vec<_>, _>>();
    let producer = Process::start(|| exit_code(produce())).cannot("start the producer")?;
    for mut process in consumers.cannot("start the consumers")?.into_iter().chain([producer]) {
        went_well(format!("a producer or consumer, pid {}", process.pid()), process.join())?;
    }
    say!("the sum of all numbers is {}, and is to be {SUM}", sum.get());
    if sum.get() == SUM { Ok(()) } else { Err(Failure("a number was lost, or taken twice".to_owned())) }
}
