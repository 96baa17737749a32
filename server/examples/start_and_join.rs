//! A process is started with a function and its arguments, looked at, waited for, and ended.
//!
//! Watch for: the pids, and whose parent is whose; that `join` waits and a look doesn't; that an exit code is what a process says itself,
//! and a signal what was done to it.
//!
//! At work in the server: `supervisor/spawn.rs` starts the workers, `supervisor/reap.rs` words how they ended.

mod stage;

use forkchat_server::ipc::process::Process;
use nix::unistd::getppid;
use stage::say;
use std::io;
use std::thread::sleep;
use std::time::Duration;

fn main() -> io::Result<()> {
    say!("this is the parent");

    // The arguments are what the function captures: the child has a copy of everything.
    let (name, naps) = ("anna", 3);
    let mut anna = Process::start(|| work(name, naps))?;
    say!("started anna as pid {}; is she alive? {}", anna.pid(), anna.is_alive());
    say!("the parent waits for her");
    let end = anna.join();
    say!("anna {end}; is she alive? {}", anna.is_alive());

    let mut berta = Process::start(|| work("berta", 4))?;
    say!("started berta as pid {}; the parent doesn't wait, and looks now and then", berta.pid());
    let mut looks = 0;
    while berta.is_alive() {
        looks += 1;
        sleep(Duration::from_millis(10));
    }
    say!("after {looks} looks: berta {}", berta.join());

    let mut clara = Process::start(|| work("clara", 1_000))?;
    let in_time = clara.join_timeout(Duration::from_millis(80));
    say!("waited 80 ms for clara: {}", in_time.map_or("she still runs".to_owned(), |end| end.to_string()));
    clara.terminate();
    say!("terminated: clara {} (SIGTERM; it would have been her choice to do something about it)", clara.join());

    let mut dora = Process::start(|| work("dora", 1_000))?;
    dora.kill();
    say!("killed: dora {} (SIGKILL; there is nothing to be done about it)", dora.join());

    let mut emma = Process::start(|| panic!("emma's mistake"))?;
    say!("panicked: emma {}", emma.join());
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
