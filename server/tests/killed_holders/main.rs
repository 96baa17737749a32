//! The primitives between processes, with real processes that are killed while they hold them.
//!
//! It has a main of its own: only a process with one thread may fork, and the usual test harness
//! starts several.

mod at_each_step;
mod pool;

use forkchat_common::ids::{Micros, Sequence, Slot};
use forkchat_server::daemon::pid_file::{Holder, PidFile, TakeError};
use forkchat_server::ipc::joinable_queue::{JoinableQueue, Taken};
use forkchat_server::ipc::mutex::{LockError, Mutex};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::semaphore::Semaphore;
use forkchat_server::ipc::value::DoubleBuffered;
use forkchat_server::segment::{Batch, Geometry, Reader, Segment, SnapshotWriter};
use forkchat_server::sys::memory::map_shared;
use forkchat_server::sys::process::fork_child;
use forkchat_server::sys::signals::{FAULTS, block, ignore_signal, signal_set};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Names and functions of tests.
macro_rules! tests {
    ($($path:path),* $(,)?) => { &[$((stringify!($path), $path)),*] };
}

const TESTS: &[(&str, fn())] = tests![
    the_next_gets_a_dead_owners_mutex_and_is_told,
    a_dead_holders_units_are_given_back_by_who_reaps_it,
    a_semaphore_counts_right_wherever_its_holders_die,
    a_value_is_whole_wherever_its_writer_dies,
    the_log_is_whole_wherever_its_writers_die,
    another_process_attaches_the_segment_by_its_descriptor_which_no_child_inherits,
    a_segment_that_can_be_no_file_is_shared_without_a_descriptor,
    a_pid_file_has_one_holder_whoever_comes_and_goes,
    a_child_dies_with_its_parent,
    a_consumer_that_waits_sleeps,
    a_child_inherits_descriptors_as_its_own_and_no_others,
    a_fault_ends_a_process_that_sees_faults_sent_by_others_as_values,
    a_child_dies_of_a_fault_that_another_process_sends,
    at_each_step::mutex,
    at_each_step::semaphore,
    at_each_step::event,
    at_each_step::value_and_switched,
    at_each_step::put,
    at_each_step::take_and_do,
    pool::more_jobs_than_processes_in_order,
    pool::a_panic_in_a_job_is_an_error_and_the_process_goes_on,
    pool::a_death_in_a_job_is_an_error_and_the_process_is_replaced,
    pool::a_process_that_died_with_nothing_to_do_is_replaced_when_a_job_comes,
    pool::what_is_too_long_is_an_error,
    pool::it_is_closed_joined_and_terminated,
    pool::every_job_has_one_answer_whoever_is_killed,
];

fn main() {
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> = TESTS.iter().filter(|(name, _)| name.contains(&filter)).collect();
    if std::env::args().any(|argument| argument == "--list") {
        return chosen.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    println!("\nrunning {} tests", chosen.len());
    let start = Instant::now();
    for (name, test) in &chosen {
        // A failure panics, which ends the run with its message.
        test();
        println!("test {name} ... ok");
    }
    let (passed, left_out, seconds) =
        (chosen.len(), TESTS.len() - chosen.len(), start.elapsed().as_secs_f32());
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {left_out} filtered out; finished in {seconds:.2}s\n"
    );
}

fn child(main: impl FnOnce()) -> Process {
    let run = || {
        main();
        0
    };
    Process::start(run).expect("a process with one thread forks")
}

/// A call that no stack is deep enough for.
#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn overflow_stack(depth: u64) -> u64 {
    std::hint::black_box(overflow_stack(std::hint::black_box(depth) + 1)) + 1
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a second panic");
    }
}

/// And leaves no core.
fn block_faults() {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    block(&signal_set(FAULTS.map(|signal| signal as i32)).unwrap()).unwrap();
}

/// As the supervisor, which has them blocked: its own faults are the kernel's and the C library's
/// to send, who don't mind.
fn a_fault_ends_a_process_that_sees_faults_sent_by_others_as_values() {
    let end_of = |fault: fn()| {
        let mut process = child(|| {
            block_faults();
            FAULTS.into_iter().for_each(|signal| raise(signal).unwrap());
            std::panic::set_hook(Box::new(|_| {}));
            fault();
        });
        process.join()
    };
    assert_eq!(end_of(|| ()), End::Exited(0), "what was sent did nothing");
    assert_eq!(end_of(|| std::process::abort()), End::Killed(Signal::SIGABRT));
    assert_eq!(end_of(|| _ = overflow_stack(0)), End::Killed(Signal::SIGSEGV));
    let panic_twice = || {
        let _drop = PanicsWhenDropped;
        panic!("a first panic");
    };
    assert_eq!(end_of(panic_twice), End::Killed(Signal::SIGABRT));
}

fn a_child_dies_of_a_fault_that_another_process_sends() {
    for signal in FAULTS {
        // The supervisor has them blocked, and its children begin like this one.
        let mut parent = child(|| {
            block_faults();
            let mut process = child(|| std::thread::sleep(Duration::from_secs(60)));
            process.signal(signal);
            assert_eq!(process.join(), End::Killed(signal));
        });
        assert_eq!(parent.join(), End::Exited(0), "{signal}");
    }
}

fn end(mut process: Process) {
    process.kill();
    assert_eq!(process.join(), End::Killed(Signal::SIGKILL));
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a child that does `work` without end, again and again, each after another while.
fn kill_again_and_again(times: u64, work: impl Fn(), after: impl Fn()) {
    for i in 0..times {
        let worker = child(|| {
            loop {
                work();
            }
        });
        std::thread::sleep(Duration::from_micros(300 + i * 37 % 1_700));
        end(worker);
        after();
    }
}

fn the_next_gets_a_dead_owners_mutex_and_is_told() {
    let mutex = map_shared::<Mutex>("test").unwrap();
    mutex.init().unwrap();
    let owner = child(|| {
        let _guard = mutex.lock(5, Duration::ZERO);
        std::thread::sleep(Duration::from_secs(60));
    });
    wait_until("the child to have the lock", || {
        mutex.holder().is_some_and(|holder| holder.owner == 5)
    });
    assert_eq!(
        mutex.lock(6, Duration::from_millis(1)).map(|_| ()),
        Err(LockError::TimedOut),
        "it lives"
    );
    end(owner);
    assert!(mutex.lock(6, Duration::from_secs(5)).unwrap().owner_died);
    assert!(!mutex.lock(6, Duration::ZERO).unwrap().owner_died, "told once");
}

fn a_dead_holders_units_are_given_back_by_who_reaps_it() {
    let rooms = map_shared::<Semaphore>("test").unwrap();
    rooms.init(2).unwrap();
    let holder = child(|| {
        let _ = (rooms.try_acquire(1), rooms.try_acquire(1));
        std::thread::sleep(Duration::from_secs(60));
    });
    wait_until("the child to have both units", || rooms.held_by(1) == 2);
    let mut waiter = child(|| assert_eq!(rooms.acquire(2, Duration::from_secs(20)), Ok(true)));
    end(holder);
    assert_eq!(rooms.available(), 0, "a death alone gives nothing back");
    assert_eq!([(); 3].map(|()| rooms.release(1)), [true, true, false]);
    assert_eq!(waiter.join(), End::Exited(0), "who waited is woken");
    assert_eq!((rooms.held_by(2), rooms.available()), (1, 1));
}

fn a_semaphore_counts_right_wherever_its_holders_die() {
    let units = map_shared::<Semaphore>("test").unwrap();
    units.init(3).unwrap();
    let work = || {
        let _ = (units.try_acquire(1), units.try_acquire(1), units.release(1), units.release(1));
    };
    let after = || {
        while units.release(1) {}
        assert_eq!(units.available(), 3);
    };
    kill_again_and_again(150, work, after);
}

fn a_value_is_whole_wherever_its_writer_dies() {
    let value = map_shared::<DoubleBuffered<3>>("test").unwrap();
    let work = || {
        let next = value.load().0[0] + 1;
        value.store([next, next * 3, next * 7]);
    };
    let after = || {
        let ([one, three, seven], _) = value.load();
        assert_eq!((three, seven), (one * 3, one * 7));
    };
    kill_again_and_again(300, work, after);
    assert!(value.load().0[0] > 300, "they wrote");
}

/// Two writers append batches of three numbered records, and one of them is killed and followed by
/// another, again and again.
fn the_log_is_whole_wherever_its_writers_die() {
    const READER: Slot = Slot::at(2);
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 3,
        sessions_max: 1,
        snapshot_bytes_max: 64,
    })
    .unwrap();
    let (start, _) = segment.join(READER).unwrap();
    let mut reader = Reader::new(&segment.log, start);
    let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, READER);
    let generation = map_shared::<AtomicU32>("test").unwrap();
    let write = |writer: u16| {
        let generation = generation.fetch_add(1, Ordering::Relaxed);
        for number in 0u32.. {
            let mut batch = Batch::default();
            (0..3u8).for_each(|part| {
                batch.push(|payload| {
                    payload.extend(
                        [&generation.to_le_bytes()[..], &number.to_le_bytes(), &[part]].concat(),
                    )
                })
            });
            while segment.log.append(Slot::at(writer), &batch, Micros(0)).is_err() {
                std::thread::yield_now();
            }
        }
    };
    let mut writers = [0, 1].map(|writer| Some(child(|| write(writer))));
    // By generation: the number that comes next, and the part of it.
    let mut expected = std::collections::BTreeMap::<u32, (u32, u8)>::new();
    let mut records = 0;
    for round in 0..150u64 {
        let deadline = Instant::now() + Duration::from_micros(500 + round * 91 % 2_500);
        while Instant::now() < deadline || reader.is_behind() && round == 149 {
            for entry in reader.fetch(64) {
                let (generation, rest) = entry.payload.split_first_chunk::<4>().unwrap();
                let (number, part) = rest.split_first_chunk::<4>().unwrap();
                let found = (u32::from_le_bytes(*number), part[0]);
                let next = expected.entry(u32::from_le_bytes(*generation)).or_default();
                assert_eq!(found, *next, "whole batches, in order");
                *next = if found.1 == 2 { (found.0 + 1, 0) } else { (found.0, found.1 + 1) };
                records += 1;
            }
            let position: Sequence = reader.position();
            segment.cursors.publish(READER, position);
            snapshots.write(position, b"state");
            snapshots.publish(position);
            if round == 149 && !reader.is_behind() {
                break;
            }
        }
        let victim = (round % 2) as usize;
        let writer = writers[victim].take();
        end(writer.expect("one writes until the last round"));
        if round < 148 {
            writers[victim] = Some(child(|| write(victim as u16)));
        }
    }
    assert!(expected.values().all(|&(_, part)| part == 0), "a batch is all there or not there");
    assert!(records > 10_000, "they wrote: {records}");
}

/// Several processes take the same file and let go of it, so that it is made again each time; one
/// of them is killed and replaced, again and again. Others keep the CPUs busy, so that the process
/// that removes a file comes late, and finds another holder.
fn a_pid_file_has_one_holder_whoever_comes_and_goes() {
    let busy = [(); 6].map(|()| {
        child(|| {
            loop {
                std::hint::spin_loop()
            }
        })
    });
    let path = std::env::temp_dir().join(format!("forkchat-test-{}.pid", std::process::id()));
    let [holder, takes, doubles] = map_shared::<[AtomicU32; 3]>("test").unwrap().each_ref();
    let work = || {
        let me = std::process::id();
        loop {
            match PidFile::take(&path) {
                Ok(held) => {
                    holder.store(me, Ordering::SeqCst);
                    takes.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    // Who else has it now would have said so.
                    doubles.fetch_add(
                        u32::from(holder.load(Ordering::SeqCst) != me),
                        Ordering::SeqCst,
                    );
                    drop(held);
                }
                Err(TakeError::Held(pid)) => assert_ne!(pid.as_raw().cast_unsigned(), me),
                Err(TakeError::System(error)) => panic!("{error}"),
            }
        }
    };
    let mut workers = [(); 3].map(|()| child(work));
    for round in 0..60 {
        let before = takes.load(Ordering::SeqCst);
        wait_until("it to be taken on and on", || takes.load(Ordering::SeqCst) > before + 10);
        if let Some(found) = Holder::find(&path).unwrap() {
            assert!(
                workers.iter().any(|worker| worker.pid() == found.pid),
                "{found:?} is none of those who take it"
            );
        }
        end(std::mem::replace(&mut workers[round % 3], child(work)));
    }
    workers.into_iter().chain(busy).for_each(end);
    assert!(Holder::find(&path).unwrap().is_none());
    drop(PidFile::take(&path));
    assert!(!path.exists());
    assert_eq!(
        doubles.load(Ordering::SeqCst),
        0,
        "twice at once, of {} times",
        takes.load(Ordering::SeqCst)
    );
}

fn a_child_dies_with_its_parent() {
    let grandchild = map_shared::<AtomicU32>("test").unwrap();
    let parent = child(|| {
        let process = child(|| std::thread::sleep(Duration::from_secs(60)));
        grandchild.store(process.pid().as_raw().cast_unsigned(), Ordering::Release);
        std::thread::sleep(Duration::from_secs(60));
    });
    wait_until("the grandchild", || grandchild.load(Ordering::Acquire) != 0);
    end(parent);
    let status = format!("/proc/{}/stat", grandchild.load(Ordering::Acquire));
    wait_until("the grandchild's end", || {
        std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "))
    });
}

/// One child is given the descriptor, and shares nothing else of the segment with its parent that
/// it uses.
fn another_process_attaches_the_segment_by_its_descriptor_which_no_child_inherits() {
    const ME: Slot = Slot::at(0);
    let geometry =
        Geometry { ring_bytes: 1 << 16, slots: 2, sessions_max: 1, snapshot_bytes_max: 64 };
    let segment = Segment::create(geometry).unwrap();
    let (start, _) = segment.join(ME).unwrap();
    let descriptor = segment.descriptor().unwrap();
    let run = |(), mut given: Vec<OwnedFd>| {
        let attached = Segment::attach(given.remove(0)).unwrap();
        let mut batch = Batch::default();
        batch.push(|payload| payload.extend(b"from there"));
        attached.log.append(Slot::at(1), &batch, Micros(0)).unwrap();
        i32::from(segment.descriptor().is_some() || attached.descriptor().is_none())
    };
    let pid = fork_child((), |()| Vec::new(), std::iter::empty(), &[descriptor], run).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    let mut reader = Reader::new(&segment.log, start);
    let read: Vec<_> = reader.fetch(9).map(|entry| entry.payload.to_vec()).collect();
    assert_eq!(read, [b"from there"]);
}

/// In a process that may have no file of the segment's size; and in its child.
fn a_segment_that_can_be_no_file_is_shared_without_a_descriptor() {
    const ME: Slot = Slot::at(0);
    let limited = || {
        ignore_signal(Signal::SIGXFSZ).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 4_096, 4_096).unwrap();
        let geometry =
            Geometry { ring_bytes: 1 << 16, slots: 2, sessions_max: 1, snapshot_bytes_max: 64 };
        let segment = Segment::create(geometry).unwrap();
        let (start, _) = segment.join(ME).unwrap();
        let append = || {
            let mut batch = Batch::default();
            batch.push(|payload| payload.extend(b"shared"));
            segment.log.append(Slot::at(1), &batch, Micros(0)).map_or(1, |_| 0)
        };
        assert_eq!(Process::start(append).unwrap().join(), End::Exited(0));
        let mut reader = Reader::new(&segment.log, start);
        let read: Vec<_> = reader.fetch(9).map(|entry| entry.payload.to_vec()).collect();
        assert_eq!((read, segment.descriptor().is_none()), (vec![b"shared".to_vec()], true));
        0
    };
    let pid = fork_child((), |()| Vec::new(), std::iter::empty(), &[], |(), _| limited()).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
}

fn a_child_inherits_descriptors_as_its_own_and_no_others() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (other_reader, other_writer) = std::io::pipe().unwrap();
    let is_open = |fd: i32| std::fs::exists(format!("/proc/self/fd/{fd}")).unwrap_or(false);
    let others = [reader.as_raw_fd(), other_reader.as_raw_fd(), other_writer.as_raw_fd()];
    let run = |(), bequeathed: Vec<OwnedFd>| {
        let closed = others.iter().all(|&fd| !is_open(fd));
        let mut writers: Vec<File> = bequeathed.into_iter().map(File::from).collect();
        writers[0].write_all(if closed { b"only this" } else { b"others, too" }).unwrap();
        0
    };
    let pid = fork_child((), |()| Vec::new(), std::iter::empty(), &[writer.as_fd()], run).unwrap();
    drop(writer);
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "only this");
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    let twice = [other_writer.as_fd(), other_writer.as_fd()];
    let refused =
        fork_child((), |()| Vec::new(), std::iter::empty(), &twice, |(), _| 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(nix::errno::Errno::EINVAL as i32));
}

/// CPU time in ticks of 10 ms, from proc_pid_stat(5).
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("it runs");
    let fields: Vec<&str> =
        stat.rsplit(") ").next().expect("a name, and fields behind it").split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

fn a_consumer_that_waits_sleeps() {
    let queue: JoinableQueue<u32> = JoinableQueue::map("test", 4).unwrap();
    let consumer = child(|| match queue.take(0, Duration::from_secs(60)) {
        Ok(Taken::Task(7, claim)) => claim.done(),
        other => panic!("the task, not {other:?}"),
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        ticks(&consumer) <= 10,
        "{} ticks of CPU while it waited for a second",
        ticks(&consumer)
    );
    queue.put(&7, Duration::ZERO).unwrap();
    assert_eq!(queue.join(Duration::from_secs(20)), Ok(true));
}
