//! The ways to do the tasks: one after the other, in threads, in processes, in an event loop.

use crate::TASKS;
use crate::event_loop;
use crate::stage::proc::wait_for_threads;
use crate::stage::{Attempt, Failure, went_well};
use crate::task::Run;
use forkchat_server::ipc::process::Process;
use std::io;
use std::thread;

/// A way to do all tasks.
#[derive(Clone, Copy)]
pub struct Way {
    pub name: [&'static str; 2],
    pub run_all: fn(Run) -> Result<(), Failure>,
}

pub const WAYS: [Way; 4] = [
    Way { name: ["serial", "串行"], run_all: serial },
    Way { name: ["threads", "线程"], run_all: threads },
    Way { name: ["processes", "进程"], run_all: processes },
    Way { name: ["event loop", "事件循环"], run_all: event_loop::run_all },
];

fn serial(run: Run) -> Result<(), Failure> {
    (0..TASKS).for_each(|place| run.perform(place));
    Ok(())
}

fn processes(run: Run) -> Result<(), Failure> {
    let start = |place| {
        Process::start(move || {
            run.perform(place);
            0
        })
    };
    let children: io::Result<Vec<_>> = (0..TASKS).map(start).collect();
    children
        .cannot("start the processes")?
        .iter_mut()
        .try_for_each(|child| went_well("a process", child.join()))
}

fn threads(run: Run) -> Result<(), Failure> {
    let start = |place| thread::Builder::new().spawn(move || run.perform(place));
    let threads: io::Result<Vec<_>> = (0..TASKS).map(start).collect();
    for thread in threads.cannot("start the threads")? {
        thread.join().map_err(|_| Failure("a thread panicked".to_owned()))?;
    }
    // The kernel removes a thread a moment after it was joined. Beside other threads this program
    // refuses to fork.
    wait_for_threads()?;
    Ok(())
}
