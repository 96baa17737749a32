//! Holders killed at each step of what they do.
//!
//! A step is an instruction behind which shared memory is not as it was: between two of them it
//! makes no difference to others when a process dies. A process is traced and goes on by single
//! instructions (ptrace(2)), once to find the steps of an operation, then again and again to be
//! killed behind the first, the second, and so on; and at some places between, all the same. What
//! is in shared memory then must be whole, and the next must not be held up.

use super::{child, end};
use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::joinable_queue::{JoinableQueue, PutError, Taken};
use forkchat_server::ipc::mutex::Mutex;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::semaphore::Semaphore;
use forkchat_server::ipc::value::{DoubleBuffered, Value};
use forkchat_server::sys::memory::map_shared;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use std::cell::Cell;
use std::fs::{File, read_to_string};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// More than the next ever waits for the lock of one who is dead.
const SOON: Duration = Duration::from_secs(5);
/// Places between the steps at which it is killed, too.
const BETWEEN: usize = 30;
/// What the memory is called.
const NAME: &str = "stepped";

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// A name that no other mapping has.
fn name() -> String {
    COUNT.set(COUNT.get() + 1);
    format!("{NAME}-{}", COUNT.get())
}

/// The memory that was mapped last, under that name.
struct Shared {
    memory: File,
    ranges: Vec<Range<u64>>,
}

impl Shared {
    fn last() -> Shared {
        let (maps, name) =
            (read_to_string("/proc/self/maps").unwrap(), format!("memfd:{NAME}-{} ", COUNT.get()));
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let range = |line: &str| {
            line.split_once(' ')
                .unwrap()
                .0
                .split_once('-')
                .map(|(start, end)| hex(start)..hex(end))
                .unwrap()
        };
        let ranges: Vec<_> = maps.lines().filter(|line| line.contains(&name)).map(range).collect();
        assert!(!ranges.is_empty(), "{name} is mapped");
        Shared { memory: File::open("/proc/self/mem").unwrap(), ranges }
    }

    fn read(&self) -> Vec<u8> {
        let read = |range: &Range<u64>| {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.memory.read_exact_at(&mut bytes, range.start).unwrap();
            bytes
        };
        self.ranges.iter().flat_map(read).collect()
    }
}

/// A process that stands before `operation`, and stops again behind it.
fn start(operation: impl FnOnce()) -> Process {
    let process = child(|| {
        ptrace::traceme().expect("a child can be traced");
        raise(Signal::SIGSTOP).expect("it stops");
        operation();
        raise(Signal::SIGSTOP).expect("it stops");
    });
    assert!(matches!(waitpid(process.pid(), None), Ok(WaitStatus::Stopped(_, Signal::SIGSTOP))));
    process
}

/// Goes one instruction on. False if the operation is over.
fn step(process: &Process) -> bool {
    ptrace::step(process.pid(), None).expect("it is stopped");
    match waitpid(process.pid(), None) {
        Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => true,
        Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => false,
        other => panic!("a step, or the end of the operation, not {other:?}"),
    }
}

/// Has `operation` go on until memory has changed so often, and so many instructions farther, and
/// ends it there. Told is how often that was, and how many instructions: less, if the operation was
/// over before.
fn kill_behind(
    operation: impl FnOnce(),
    changes_max: usize,
    instructions_max: usize,
) -> (usize, usize) {
    let (shared, process) = (Shared::last(), start(operation));
    let (mut changes, mut instructions, mut last) = (0, 0, shared.read());
    while (changes < changes_max || instructions < instructions_max) && step(&process) {
        instructions += 1;
        let now = shared.read();
        if now != last {
            changes += 1;
            last = now;
        }
    }
    end(process);
    (changes, instructions)
}

/// Kills a process at each step of `operation`, each time with what `prepare` has made, and looks
/// `after`wards whether that is as it must be. Told is what was done: steps that were seen.
fn kill_at_each_step<T>(
    prepare: impl Fn(&str) -> T,
    operation: impl Fn(&T),
    after: impl Fn(&T),
) -> usize {
    let kill = |changes, instructions| {
        let made = prepare(&name());
        let done = kill_behind(|| operation(&made), changes, instructions);
        after(&made);
        done
    };
    let (changes, instructions) = kill(usize::MAX, usize::MAX);
    for step in 1..=changes {
        assert_eq!(kill(step, 0).0, step, "an operation changes the same each time");
    }
    // Of instructions there may be some more or fewer: reading the clock takes now more, now fewer.
    for i in 0..BETWEEN {
        kill(0, instructions * i / BETWEEN);
    }
    changes
}

pub fn mutex() {
    let made = |name: &str| {
        let mutex = map_shared::<Mutex>(name).unwrap();
        mutex.init().unwrap();
        mutex
    };
    let lock_and_unlock = |mutex: &&'static Mutex| drop(mutex.lock(1, Duration::ZERO));
    let steps = kill_at_each_step(made, lock_and_unlock, |mutex| {
        let was_held = mutex.holder().is_some_and(|holder| holder.owner == 1);
        let guard = mutex.lock(2, SOON).expect("the next gets it");
        assert!(guard.owner_died || !was_held, "and is told if it was held");
        drop(guard);
        assert!(!mutex.lock(3, Duration::ZERO).expect("it is whole").owner_died);
    });
    assert!(steps >= 6, "{steps}");
}

pub fn semaphore() {
    let made = |name: &str| {
        let units = map_shared::<Semaphore<2>>(name).unwrap();
        units.init(2).unwrap();
        units
    };
    let take_and_give = |units: &&'static Semaphore<2>| {
        let _ = units.try_acquire(1);
        let _ = units.release(1);
    };
    let steps = kill_at_each_step(made, take_and_give, |units| {
        let had = units.held_by(1);
        assert!(had <= 1);
        assert_eq!(units.release(1), had == 1);
        assert_eq!(units.available(), 2);
        assert_eq!((units.acquire(0, SOON), units.acquire(0, SOON)), (Ok(true), Ok(true)));
    });
    assert!(steps >= 15, "{steps}");
}

pub fn event() {
    let steps = kill_at_each_step(
        |name| Event::map(name).unwrap(),
        |event| {
            event.set();
            event.clear();
            event.set();
        },
        |event| {
            event.clear();
            assert!(!event.is_set() && !event.wait(Duration::ZERO));
            event.set();
            assert!(event.wait(SOON));
        },
    );
    assert_eq!(steps, 3);
}

pub fn value_and_switched() {
    let steps = kill_at_each_step(
        |name| (map_shared::<DoubleBuffered<2>>(name).unwrap(), Value::map(name).unwrap()),
        |(switched, value)| {
            switched.store([1, 2]);
            switched.store([2, 4]);
            value.increase(1);
            value.set(value.get() + 1);
        },
        |(switched, value)| {
            let ([one, two], _) = switched.load();
            assert!(one <= 2 && two == 2 * one);
            assert!(value.get() <= 2 && (value.get() == 0 || one == 2));
        },
    );
    assert_eq!(steps, 3 + 3 + 2);
}

pub fn put() {
    let made = |name: &str| JoinableQueue::map(name, 2).unwrap();
    let steps = kill_at_each_step(
        made,
        |queue| queue.put(&7u32, Duration::ZERO).unwrap(),
        |queue: &JoinableQueue<u32>| {
            let is_there = match queue.take(0, Duration::ZERO).unwrap() {
                Taken::Task(7, claim) => {
                    claim.done();
                    true
                }
                Taken::Nothing => false,
                other => panic!("all of it or nothing, not {other:?}"),
            };
            assert!(queue.join(SOON).unwrap(), "it was there: {is_there}");
            // No place is lost.
            queue.put(&8, SOON).unwrap();
            queue.put(&9, SOON).unwrap();
            assert_eq!(queue.put(&10, Duration::ZERO), Err(PutError::Full));
        },
    );
    assert!(steps >= 8, "{steps}");
}

pub fn take_and_do() {
    let made = |name: &str| {
        let (queue, worked) = (JoinableQueue::map(name, 2).unwrap(), Value::map(name).unwrap());
        queue.put(&7u32, SOON).unwrap();
        queue.put(&8, SOON).unwrap();
        (queue, worked)
    };
    let take_and_do = |(queue, worked): &(JoinableQueue<u32>, Value)| {
        let Taken::Task(7, claim) = queue.take(1, Duration::ZERO).unwrap() else {
            panic!("the first")
        };
        worked.set(1);
        claim.done();
    };
    let steps = kill_at_each_step(made, take_and_do, |(queue, worked)| {
        // Waiting, with the dead, or done.
        let with_the_dead = queue.take_over(1, 0).unwrap();
        assert!(with_the_dead.as_ref().is_none_or(|(task, _)| *task == 7));
        drop(with_the_dead);
        assert!(queue.take_over(1, 0).unwrap().is_none());
        let mut left = Vec::new();
        while let Taken::Task(task, claim) = queue.take(0, Duration::ZERO).unwrap() {
            claim.done();
            left.push(task);
        }
        assert!(left == [7, 8] || left == [8] && worked.get() == 1, "{left:?}");
        assert!(queue.join(SOON).unwrap());
    });
    assert!(steps >= 9, "{steps}");
}
