//! A process that ended is a zombie until its parent waits for it; one whose parent ended is an orphan and gets another; or it dies with its parent.
//!
//! Watch for: the state Z, and what is left of a zombie; the orphan's parent before and after; that the third family differs from the
//! second by one system call, and that nobody but the kernel ends its child.
//!
//! At work in the server: `supervisor/reap.rs` waits for all who ended; `sys/process.rs` (`die_with`, PR_SET_PDEATHSIG) has every child die with the
//! supervisor, so none goes on alone with its clients' sockets.

mod stage;

use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use stage::{Attempt, Failure, PATIENCE, exit_code, say, wait_until};
use std::fs;
use std::io;
use std::thread::sleep;

fn main() -> Result<(), Failure> {
    zombie().cannot("show a zombie")?;
    // An orphan goes to its nearest ancestor that has asked for orphans, or else to process 1, which waits for whoever comes.
    // This one asks, so that it can wait for them itself and leaves nothing behind.
    set_child_subreaper(true).cannot("take in orphans")?;
    say!("now the parent takes in orphans, as process 1 does for those whom nobody else takes in");
    orphan(false).cannot("show an orphan")?;
    orphan(true).cannot("show a child that dies with its parent")
}

fn zombie() -> io::Result<()> {
    let mut child = Process::start(|| 3)?;
    let pid = child.pid();
    // Waits for the end, and leaves the zombie where it is: a look at the status, which `join` would take away.
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    say!("pid {pid} has ended and nobody has waited for it: {}", in_proc(pid));
    let memory = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    say!(
        "its memory is given back ({} pages); it keeps its pid and its exit code, until somebody asks for it",
        memory.split(' ').next().unwrap_or("?")
    );
    let end = child.join();
    say!("waited for: pid {pid}: {end}; {}", in_proc(pid));
    Ok(())
}

/// A parent with a child; the parent is killed.
fn orphan(dies_with_parent: bool) -> io::Result<()> {
    let (born, adopted_by) = (Value::map("example-born")?, Value::map("example-adopted-by")?);
    let mut parent = Process::start(|| {
        let Ok(_child) = Process::start(|| exit_code(lonely_child(dies_with_parent, born, adopted_by).cannot("be a child"))) else {
            return 1;
        };
        // Until it is killed. It is given no chance to take its child with it, as a `Process` that is dropped would.
        sleep(PATIENCE);
        1
    })?;
    wait_until("a child", || born.get() != 0)?;
    let child = Pid::from_raw(born.get() as i32);
    say!("pid {child}: {}", in_proc(child));
    parent.kill();
    say!("the parent of pid {child}, pid {}, was {}", parent.pid(), parent.join());
    if !dies_with_parent {
        wait_until("an adoption", || adopted_by.get() != 0)?;
        say!("the orphan lives: pid {child}, {}", in_proc(child));
        adopted_by.set(0);
    }
    // It is no child that was started here, but has become one.
    let end = waitpid(child, None).map(End::of)?;
    say!("pid {child}: {}", end.map_or("was stopped".to_owned(), |end| end.to_string()));
    Ok(())
}

fn lonely_child(dies_with_parent: bool, born: Value, adopted_by: Value) -> io::Result<()> {
    let parent = getppid();
    if dies_with_parent {
        say!("a child that dies with its parent, pid {parent}: `Process` has asked for that");
    } else {
        set_pdeathsig(None)?;
        say!("a child that outlives its parent, pid {parent}: it has taken back what `Process` asked for");
    }
    born.set(getpid().as_raw() as u64);
    // One that dies with its parent doesn't come farther.
    wait_until("the parent's death", || getppid() != parent)?;
    say!("an orphan: its parent was pid {parent} and is pid {}", getppid());
    adopted_by.set(getppid().as_raw() as u64);
    wait_until("a look at the orphan", || adopted_by.get() == 0)
}

/// A process's state and parent, as everyone may read them. Source: proc_pid_stat(5), the fields behind the name.
fn in_proc(pid: Pid) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match stat.rsplit(") ").next().map(|fields| fields.split(' ').collect::<Vec<_>>()).as_deref() {
        Some([state, parent, ..]) => format!("state {state}, parent pid {parent}"),
        _ => "not in /proc".to_owned(),
    }
}
