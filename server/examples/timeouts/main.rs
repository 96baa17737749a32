//! Every call that waits can be given a timeout, and 0 makes it a `try_` call. To ask first ("is it
//! empty?") is no substitute: the answer is stale.
//!
//! In the server: `channel.rs` between supervisor and worker sends without waiting, and handles a
//! full queue when the send reports it.

#[path = "../stage/mod.rs"]
mod stage;
mod stale;

use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::joinable_queue::{JoinableQueue, PutError, Taken};
use forkchat_server::ipc::mutex::{Mutex, or_later};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::semaphore::Semaphore;
use forkchat_server::sys::memory::map_shared;
use stage::{
    Attempt, Failure, Lesson, exit_code, nap, part, patience, say, shown, slowed, text, wait_until,
    went_well,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: ["Timeouts: to wait, but not for ever", "超时：等待，但不无限等待"],
    watch_for: &[
        [
            "each call waits for its timeout and then returns empty-handed: the caller decides what to do next",
            "每个调用等满超时后空手返回：接下来怎么办由调用者决定",
        ],
        [
            "with a timeout of 0 the same call only tries, and returns at once",
            "超时为 0 时，同一个调用只是尝试一下，立即返回",
        ],
        [
            "a timeout is an upper limit: if it comes earlier, the call returns earlier",
            "超时只是上限：等的东西提前到来，调用就提前返回",
        ],
        [
            "between processes, \"is it empty?\" and \"how many?\" are answered about the past",
            "在进程之间，“空了吗？”“有几个？”得到的都是过去的答案",
        ],
    ],
};
const TIMEOUT: Duration = Duration::from_millis(80);

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        empty_handed()?;
        in_time()?;
        stale::answers()
    })
}

fn empty_handed() -> Result<(), Failure> {
    part!("six calls that wait in vain", "六个白等的调用");
    let event = Event::map("example-event").cannot("map an event")?;
    let empty = JoinableQueue::<u32>::map("example-empty", 4).cannot("map a queue")?;
    let full = JoinableQueue::<u32>::map("example-full", 1).cannot("map a queue")?;
    full.put(&1, Duration::ZERO).cannot("fill a queue")?;
    let semaphore = map_shared::<Semaphore<2>>("example-semaphore").cannot("map a semaphore")?;
    semaphore.init(1).cannot("make a semaphore")?;
    let lock = map_shared::<Mutex>("example-lock").cannot("map a lock")?;
    lock.init().cannot("make a lock")?;

    let over = Event::map("example-over").cannot("map an event")?;
    let mut holder =
        Process::start(|| exit_code(hold(lock, semaphore, over))).cannot("start the holder")?;
    wait_until("the holder to have both", || {
        lock.holder().is_some() && semaphore.available() == 0
    })?;

    let mut tries = Tries::default();
    tries.both("event.wait", |timeout| Ok(event.wait(timeout)))?;
    tries.both(&text!("queue.take, empty", "queue.take（空队列）"), |timeout| {
        Ok(matches!(empty.take(0, timeout)?, Taken::Task(..)))
    })?;
    tries.both(&text!("queue.put, full", "queue.put（满队列）"), |timeout| {
        match full.put(&2, timeout) {
            Err(PutError::Full) => Ok(false),
            other => other.map(|()| true).cannot("put"),
        }
    })?;
    tries.both("semaphore.acquire", |timeout| Ok(semaphore.acquire(1, timeout)?))?;
    tries.both("mutex.lock", |timeout| Ok(or_later(lock.lock(1, timeout))?.is_some()))?;
    tries.both("process.join", |timeout| Ok(holder.join_timeout(timeout).is_some()))?;
    over.set();
    went_well("the holder", holder.join())?;
    shown!(
        "{} calls came back empty-handed: with a timeout of {} ms after {:.2} to {:.2} ms, with a timeout of 0 after at most {:.2} ms",
        "{} 次调用空手返回：超时 {} 毫秒的等了 {:.2} 到 {:.2} 毫秒，超时为 0 的最多 {:.2} 毫秒",
        tries.in_vain,
        slowed(TIMEOUT).as_millis(),
        milliseconds(tries.waited.iter().min()),
        milliseconds(tries.waited.iter().max()),
        milliseconds(tries.tried.iter().max())
    );
    Ok(())
}

/// A process that has the lock and the only unit of the semaphore, until it's over.
fn hold(
    lock: &'static Mutex,
    semaphore: &'static Semaphore<2>,
    over: Event,
) -> Result<(), Failure> {
    let _guard = lock.lock(0, patience()).cannot("take the lock")?;
    semaphore.acquire(0, patience()).cannot("acquire a unit")?;
    say!(
        "another process has the lock and the semaphore's only unit",
        "另一个进程持有锁和信号量的唯一名额"
    );
    over.wait(patience());
    semaphore.release(0);
    Ok(())
}

fn milliseconds(time: Option<&Duration>) -> f64 {
    time.map_or(0.0, Duration::as_secs_f64) * 1_000.0
}

/// How long calls waited in vain.
#[derive(Default)]
struct Tries {
    in_vain: u32,
    waited: Vec<Duration>,
    tried: Vec<Duration>,
}

impl Tries {
    /// The call with a timeout, and the same as a mere try. `call` says whether it got what it
    /// waited for.
    fn both(
        &mut self,
        name: &str,
        mut call: impl FnMut(Duration) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let timeout = slowed(TIMEOUT);
        for (timeout, times) in [(timeout, &mut self.waited), (Duration::ZERO, &mut self.tried)] {
            let began = Instant::now();
            let got_it = call(timeout)?;
            let waited = began.elapsed();
            let (limit, ms) = (timeout.as_millis(), milliseconds(Some(&waited)));
            say!(
                "{name}, timeout {limit} ms: waited {ms:.2} ms; got it? {got_it}",
                "{name}，超时 {limit} 毫秒：等了 {ms:.2} 毫秒；等到了吗？{got_it}"
            );
            self.in_vain += u32::from(!got_it);
            times.push(waited);
        }
        Ok(())
    }
}

fn in_time() -> Result<(), Failure> {
    part!("the event comes before the timeout", "事件在超时之前到来");
    let event = Event::map("example-event").cannot("map an event")?;
    let mut setter = Process::start(|| {
        nap(30);
        say!("sets the event", "设置事件");
        event.set();
        0
    })
    .cannot("start a process")?;
    let began = Instant::now();
    let is_set = event.wait(patience());
    let (waited, limit) = (began.elapsed().as_millis(), patience().as_millis());
    say!(
        "event.wait, timeout {limit} ms: waited {waited} ms; got it? {is_set}",
        "event.wait，超时 {limit} 毫秒：等了 {waited} 毫秒；等到了吗？{is_set}"
    );
    went_well("the process that sets the event", setter.join())
}
