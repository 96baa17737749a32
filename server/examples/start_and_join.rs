//! A process is started with a function and its arguments, looked at, waited for, and ended.
//!
//! Watch for: the pids, and whose parent is whose; that `join` waits and a look doesn't; that an exit code is what a process says itself,
//! and a signal what was done to it.
//!
//! At work in the server: `supervisor/spawn.rs` starts the workers, `supervisor/reap.rs` words how they ended.

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use nix::unistd::getppid;
use stage::{Attempt, Failure, PATIENCE, say, wait_until};
use std::thread::sleep;
use std::time::Duration;

fn main() -> Result<(), Failure> {
    say!("this is the parent");

    // The arguments are what the function captures: the child has a copy of everything.
    let (name, naps) = ("anna", 3);
    let mut anna = Process::start(|| work(name, naps)).cannot("start anna")?;
    say!("started anna as pid {}; is she alive? {}", anna.pid(), anna.is_alive());
    say!("the parent waits for her");
    let end = anna.join();
    say!("anna: {end}; is she alive? {}", anna.is_alive());

    let mut berta = Process::start(|| work("berta", 4)).cannot("start berta")?;
    say!("started berta as pid {}; the parent doesn't wait, and looks now and then", berta.pid());
    let mut looks = 0;
    while berta.is_alive() {
        looks += 1;
        sleep(Duration::from_millis(10));
    }
    say!("after {looks} looks: berta: {}", berta.join());

    let mut clara = Process::start(|| work("clara", 1_000)).cannot("start clara")?;
    let in_time = clara.join_timeout(Duration::from_millis(80));
    say!("waited 80 ms for clara: {}", in_time.map_or("she still runs".to_owned(), |end| end.to_string()));
    clara.terminate();
    say!("clara: {} (SIGTERM; it would have been her choice to do something about it)", clara.join());

    let has_begun = Value::map("example-has-begun").cannot("map a shared value")?;
    let mut dora = Process::start(|| {
        say!("dora begins");
        has_begun.set(1);
        sleep(PATIENCE);
        0
    })
    .cannot("start dora")?;
    wait_until("dora to begin", || has_begun.get() == 1)?;
    dora.kill();
    say!("dora: {} (SIGKILL; there is nothing to be done about it)", dora.join());

    let mut emma = Process::start(|| panic!("emma's mistake")).cannot("start emma")?;
    say!("emma, who panicked: {}", emma.join());
    Ok(())
}

/// What a child does. Returns its exit code.
fn work(name: &str, naps: u32) -> i32 {
    say!("{name} begins; her parent is pid {}", getppid());
    for _ in 0..naps {
        sleep(Duration::from_millis(20));
    }
    say!("{name} is done after {naps} naps");
    naps as i32
}
