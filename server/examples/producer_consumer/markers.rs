//! End markers: the producer puts one for each consumer after the last item. And what happens when
//! it forgets one.

use crate::stage::{
    Attempt, Failure, exit_code, nap, part, patience, say, shown, slowed, went_well,
};
use crate::{CONSUMERS, ITEMS, SUM, WORK_MS};
use forkchat_server::ipc::joinable_queue::{JoinableQueue, PutError, Taken};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use std::time::Duration;

/// The places of the queue.
const PLACES: usize = 4;
/// How long a consumer waits for an item or a marker that should be there already.
const DEADLINE: Duration = Duration::from_millis(200);

/// `None` is an end marker: the consumer that takes it takes nothing more.
type Items = JoinableQueue<Option<u64>>;

/// What the consumers did.
#[derive(Clone, Copy)]
struct Sums {
    taken: Value,
    sum: Value,
    markers: Value,
    gave_up: Value,
}

impl Sums {
    fn map() -> Result<Sums, Failure> {
        let value = |name| Value::map(name).cannot("map a value");
        Ok(Sums {
            taken: value("taken")?,
            sum: value("sum")?,
            markers: value("markers")?,
            gave_up: value("gave-up")?,
        })
    }
}

pub fn one_for_each() -> Result<(), Failure> {
    part!(
        "a queue of {PLACES} places, a producer, {CONSUMERS} consumers, an end marker for each",
        "{PLACES} 个位置的队列，一个生产者，{CONSUMERS} 个消费者，每个消费者一个结束标记"
    );
    let queue = Items::map("items", PLACES).cannot("map a queue")?;
    let sums = Sums::map()?;
    let mut processes =
        vec![Process::start(|| exit_code(produce(queue, CONSUMERS))).cannot("start the producer")?];
    processes.extend(start_consumers(queue, patience(), sums)?);
    join_all(processes)?;
    let (taken, sum) = (sums.taken.get(), sums.sum.get());
    shown!(
        "{taken} items were taken, each once: their sum is {sum}, and is to be {SUM}",
        "共取走 {taken} 项，每项一次：总和 {sum}，应为 {SUM}"
    );
    if sum == SUM { Ok(()) } else { Err(Failure("an item was lost, or taken twice".to_owned())) }
}

pub fn one_forgotten() -> Result<(), Failure> {
    part!(
        "a producer that forgets an end marker; this queue has a place for everything",
        "忘放一个结束标记的生产者；这个队列放得下所有内容"
    );
    // With a place for everything, and the producer first, a consumer waits for nothing but the
    // forgotten marker.
    let queue =
        Items::map("items", ITEMS as usize + usize::from(CONSUMERS)).cannot("map a queue")?;
    let sums = Sums::map()?;
    join_all(vec![
        Process::start(|| exit_code(produce(queue, CONSUMERS - 1))).cannot("start the producer")?,
    ])?;
    join_all(start_consumers(queue, slowed(DEADLINE), sums)?)?;
    let (markers, gave_up) = (sums.markers.get(), sums.gave_up.get());
    shown!(
        "{markers} of {CONSUMERS} consumers got an end marker; {gave_up} would wait for ever, and a deadline of {} ms ended its wait",
        "{CONSUMERS} 个消费者中有 {markers} 个拿到结束标记；{gave_up} 个会永远等下去，是 {} 毫秒的超时结束了等待",
        slowed(DEADLINE).as_millis()
    );
    Ok(())
}

fn start_consumers(queue: Items, deadline: Duration, sums: Sums) -> Result<Vec<Process>, Failure> {
    (0..CONSUMERS)
        .map(|me| {
            Process::start(|| exit_code(consume(queue, me, deadline, sums)))
                .cannot("start a consumer")
        })
        .collect()
}

fn join_all(processes: Vec<Process>) -> Result<(), Failure> {
    processes.into_iter().try_for_each(|mut process| {
        went_well(format!("a producer or consumer, pid {},", process.pid()), process.join())
    })
}

fn produce(queue: Items, markers: u16) -> Result<(), Failure> {
    let mut waits = 0;
    for item in (1..=ITEMS).map(Some).chain((0..markers).map(|_| None)) {
        match queue.put(&item, Duration::ZERO) {
            Err(PutError::Full) => {
                waits += 1;
                queue.put(&item, patience())
            }
            done => done,
        }
        .cannot(format!("put {item:?}"))?;
    }
    say!(
        "the producer has put {ITEMS} items and {markers} end markers, and waited {waits} times for a place",
        "生产者放入了 {ITEMS} 项和 {markers} 个结束标记，因队列已满等待了 {waits} 次"
    );
    Ok(())
}

fn consume(queue: Items, me: u16, deadline: Duration, sums: Sums) -> Result<(), Failure> {
    let mut count = 0;
    loop {
        let Taken::Task(item, claim) = queue.take(me, deadline)? else {
            sums.gave_up.increase(1);
            say!(
                "consumer {me} took {count} items, then waited {} ms: no item came, nor an end marker",
                "消费者 {me} 取了 {count} 项，然后等了 {} 毫秒：没有新的项，也没有结束标记",
                deadline.as_millis()
            );
            return Ok(());
        };
        claim.done();
        let Some(number) = item else { break };
        say!("consumer {me} takes item {number}", "消费者 {me} 取走第 {number} 项");
        sums.sum.increase(number);
        sums.taken.increase(1);
        count += 1;
        nap(WORK_MS);
    }
    sums.markers.increase(1);
    say!(
        "consumer {me} took {count} items and an end marker",
        "消费者 {me} 取了 {count} 项和一个结束标记"
    );
    Ok(())
}
