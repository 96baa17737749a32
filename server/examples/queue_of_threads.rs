//! A queue inside a process is shared by its threads, and copied by a fork. A queue in shared
//! memory is shared by processes.
//!
//! In the server: `worker/pair.rs` joins two threads of a worker by a queue inside the process;
//! `ipc/joinable_queue.rs` is a queue between processes, through which `ipc/pool.rs` gets its jobs.

mod stage;

use crossbeam_channel::{Receiver, unbounded};
use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use stage::proc::wait_for_threads;
use stage::{Attempt, Failure, Lesson, exit_code, nap, part, patience, say, shown, went_well};
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const ITEMS: u64 = 6;
/// How many items the child takes from the queue between processes.
const OF_CHILD: usize = 3;
/// Taken when there is something, without waiting for more.
const AT_ONCE: Duration = Duration::ZERO;

const LESSON: Lesson = Lesson {
    about: ["A queue of threads is no queue of processes", "线程的队列不是进程的队列"],
    watch_for: &[
        [
            "a queue inside the process (a channel) is copied by fork: the child takes from its own copy",
            "进程内的队列（channel）会被 fork 复制：子进程从自己的副本里取",
        ],
        [
            "what the child puts in its copy never comes to the parent",
            "子进程放进自己副本的东西，永远到不了父进程",
        ],
        [
            "a queue in shared memory is one for both: each item is taken once",
            "共享内存里的队列为双方共有：每一项只被取走一次",
        ],
        [
            "the channel is shared by threads; and beside a second thread this program refuses to fork",
            "channel 由线程共享；还有第二个线程时，本程序拒绝 fork",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let (by_child, left) = copied_by_a_fork()?;
        let (by_child_shared, by_parent_shared) = shared_by_processes()?;
        let by_threads = shared_by_threads()?;
        shown!(
            "channel and fork: {ITEMS} items in, the child took {by_child} and the parent {left}; queue in shared memory: {by_child_shared} and {by_parent_shared}; \
             channel and two threads: {} and {}",
            "channel 加 fork：放入 {ITEMS} 项，子进程取了 {by_child} 项，父进程取了 {left} 项；共享内存队列：{by_child_shared} 项和 {by_parent_shared} 项；\
             channel 加两个线程：{} 项和 {} 项",
            by_threads[0],
            by_threads[1]
        );
        Ok(())
    })
}

/// Returns how many items the child took, and how many the parent took after it.
fn copied_by_a_fork() -> Result<(u64, usize), Failure> {
    part!("a channel, and a fork", "一个 channel，再 fork");
    let (sender, receiver) = unbounded();
    (1..=ITEMS).try_for_each(|item| sender.send(item)).cannot("send")?;
    say!("the parent put {ITEMS} items in the channel", "父进程向 channel 放入了 {ITEMS} 项");
    let count = Value::map("taken").cannot("map a value")?;
    let mut child = Process::start(|| {
        let taken: Vec<u64> = receiver.try_iter().collect();
        count.set(taken.len() as u64);
        say!(
            "the child took {taken:?} from its copy, and puts 100 in it",
            "子进程从自己的副本取出 {taken:?}，并放入 100"
        );
        exit_code(sender.send(100).cannot("send 100"))
    })
    .cannot("start the child")?;
    went_well("the child", child.join())?;
    let taken: Vec<u64> = receiver.try_iter().collect();
    say!(
        "after that the parent takes {taken:?}: nothing is missing, and no 100 came",
        "之后父进程取出 {taken:?}：一项不少，也没有收到 100"
    );
    Ok((count.get(), taken.len()))
}

/// Returns how many items the child took, and how many the parent took after it.
fn shared_by_processes() -> Result<(u64, usize), Failure> {
    part!("a queue in shared memory, and a fork", "一个共享内存中的队列，再 fork");
    let queue: JoinableQueue<u64> =
        JoinableQueue::map("items", ITEMS as usize).cannot("map a queue")?;
    (1..=ITEMS).try_for_each(|item| queue.put(&item, patience())).cannot("put an item")?;
    say!("the parent put {ITEMS} items in the queue", "父进程向队列放入了 {ITEMS} 项");
    let count = Value::map("taken").cannot("map a value")?;
    let mut child = Process::start(|| {
        let taken = take(queue, 0, OF_CHILD);
        count.set(taken.len() as u64);
        say!(
            "the child took {taken:?}, and puts 100 in the queue",
            "子进程取出 {taken:?}，并放入 100"
        );
        exit_code(queue.put(&100, patience()).cannot("put 100"))
    })
    .cannot("start the child")?;
    went_well("the child", child.join())?;
    let taken = take(queue, 1, usize::MAX);
    say!(
        "after that the parent takes {taken:?}: what the child left, and what it put",
        "之后父进程取出 {taken:?}：子进程剩下的，以及它放入的"
    );
    let of_parents = taken.iter().filter(|&&item| item <= ITEMS).count();
    Ok((count.get(), of_parents))
}

/// Takes what there is, but no more than `at_most` items.
fn take(queue: JoinableQueue<u64>, me: u16, at_most: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    while taken.len() < at_most {
        let Ok(Taken::Task(item, claim)) = queue.take(me, AT_ONCE) else { break };
        claim.done();
        taken.push(item);
    }
    taken
}

/// Returns how many items each thread took.
fn shared_by_threads() -> Result<[usize; 2], Failure> {
    part!("the channel, and two threads of one process", "channel，以及同一进程中的两个线程");
    let (sender, receiver) = unbounded();
    let queue = &receiver;
    let taken = thread::scope(|scope| {
        // The threads wait at the empty queue.
        let start =
            |name| thread::Builder::new().spawn_scoped(scope, move || take_as_thread(name, queue));
        let threads = ["A", "B"].map(start);
        fork_is_refused();
        (1..=ITEMS).try_for_each(|item| sender.send(item)).cannot("send")?;
        drop(sender);
        let threads =
            threads.into_iter().collect::<io::Result<Vec<_>>>().cannot("start two threads")?;
        Ok::<_, Failure>(
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>(),
        )
    })?;
    let mut all = taken.concat();
    all.sort_unstable();
    say!("both together took {all:?}: each item once", "两者合计取出 {all:?}：每项一次");
    alone_again()?;
    Ok([taken[0].len(), taken[1].len()])
}

fn take_as_thread(name: &str, receiver: &Receiver<u64>) -> Vec<u64> {
    let mut taken = Vec::new();
    // Ends when the queue is empty and its last sender is gone.
    for item in receiver {
        taken.push(item);
        // The other thread has its turn.
        nap(5);
    }
    say!("thread {name} took {taken:?}", "线程 {name} 取出 {taken:?}");
    taken
}

/// While other threads run: the child would have a copy of every lock that they hold, and no thread
/// that unlocks it.
fn fork_is_refused() {
    match Process::start(|| 0) {
        Ok(mut child) => {
            say!(
                "a fork beside two threads worked: pid {} {}",
                "有两个其他线程时 fork 成功：pid {} {}",
                child.pid(),
                child.join()
            )
        }
        Err(error) => say!(
            "a fork beside two threads is refused: this program's own fork function refuses (Linux would fork, with the locks and without the threads \
             that unlock them): {error}",
            "有两个其他线程时 fork 被拒绝：本程序的 fork 函数主动拒绝（Linux 本身允许，但子进程会复制锁，却没有去解锁的线程）：{error}"
        ),
    }
}

/// The kernel removes a thread a moment after it was joined.
fn alone_again() -> Result<(), Failure> {
    wait_for_threads()?;
    let mut child = Process::start(|| 0).cannot("start a child after the threads' end")?;
    say!(
        "after the threads' end a fork works again: pid {} {}",
        "线程结束后又可以 fork：pid {} {}",
        child.pid(),
        stage::ended(child.join())
    );
    Ok(())
}
