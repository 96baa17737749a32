//! Shows the states of a process, what is left of a process that has ended (a zombie), and what
//! becomes of a process whose parent has ended (an orphan).
//!
//! In the server: `supervisor/reap.rs` waits for every process that has ended. In `sys/process.rs`,
//! `die_with` (`PR_SET_PDEATHSIG`) lets every child die with the supervisor, so that no worker
//! lives on alone with its clients' sockets.

#[path = "../stage/mod.rs"]
mod stage;
mod states;

use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use stage::proc::state_and_parent;
use stage::{
    Attempt, Failure, Lesson, ended, exit_code, part, patience, say, shown, text, wait_until,
};
use std::fs;
use std::process::ExitCode;
use std::thread::sleep;

const LESSON: Lesson = Lesson {
    about: ["The states of a process; zombies and orphans", "进程的状态；僵尸进程与孤儿进程"],
    watch_for: &[
        [
            "the states: R runs, S sleeps, T is stopped, Z is a zombie",
            "状态：R 运行，S 睡眠，T 暂停，Z 僵尸",
        ],
        [
            "a zombie has no memory any more, only a pid and an exit code, until its parent waits for it",
            "僵尸进程不再占用内存，只剩 pid 和退出码，直到父进程 wait",
        ],
        ["an orphan lives on with another parent", "孤儿进程继续运行，由另一个父进程收养"],
        [
            "with PR_SET_PDEATHSIG the kernel kills the child when its parent dies",
            "设置 PR_SET_PDEATHSIG 后，父进程一死，内核就杀死子进程",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        states::four_states()?;
        zombie()?;
        orphans()
    })
}

fn zombie() -> Result<(), Failure> {
    part!("a zombie", "僵尸进程");
    let mut child = Process::start(|| 3).cannot("start a child")?;
    let pid = child.pid();
    // Waits for the end and leaves the zombie there, which `join` would take away.
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    say!(
        "pid {pid} has ended, and its parent has not waited for it: {}",
        "pid {pid} 已结束，父进程还没有 wait：{}",
        in_proc(pid)
    );
    let memory = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = memory.split(' ').next().unwrap_or("?");
    say!(
        "its memory is {pages} pages; it keeps its pid and its exit code",
        "它占用的内存是 {pages} 页；只保留 pid 和退出码"
    );
    let end = ended(child.join());
    say!("after wait: pid {pid} {end}; it is {}", "wait 之后：pid {pid} {end}；{}", in_proc(pid));
    shown!(
        "a zombie with {pages} pages of memory; after wait: {}",
        "僵尸进程占用 {pages} 页内存；wait 之后：{}",
        in_proc(pid)
    );
    Ok(())
}

fn orphans() -> Result<(), Failure> {
    // An orphan goes to its nearest ancestor that has asked for orphans, or else to process 1,
    // which waits for all children. This process asks, so that it can wait for the orphan itself
    // and leaves nothing behind.
    set_child_subreaper(true).cannot("take in orphans")?;
    part!("a child that outlives its parent", "比父进程活得更久的子进程");
    say!(
        "this process (pid {}) takes in orphans (PR_SET_CHILD_SUBREAPER), as process 1 does otherwise",
        "本进程（pid {}）收养孤儿（PR_SET_CHILD_SUBREAPER）；通常由 1 号进程收养",
        getpid()
    );
    let outlives = parent_killed(false)?;
    part!("a child that dies with its parent", "随父进程一起死亡的子进程");
    let dies = parent_killed(true)?;
    shown!(
        "after the parent's death the orphan went on and {}; the child with PR_SET_PDEATHSIG {}",
        "父进程死后，孤儿继续运行，自行结束（{}）；设置了 PR_SET_PDEATHSIG 的子进程{}",
        ended(outlives),
        ended(dies)
    );
    Ok(())
}

/// Kills a parent that has a child. Returns how the child ended.
fn parent_killed(dies_with_parent: bool) -> Result<End, Failure> {
    let (born, adopted_by) = (Value::map("example-born")?, Value::map("example-adopted-by")?);
    let mut parent = Process::start(|| {
        let Ok(_child) =
            Process::start(|| exit_code(lonely_child(dies_with_parent, born, adopted_by)))
        else {
            return 1;
        };
        // Until it is killed. So it can't kill its child, as a `Process` that is dropped would.
        sleep(patience());
        1
    })
    .cannot("start a parent")?;
    wait_until("a child", || born.get() != 0)?;
    let child = Pid::from_raw(born.get() as i32);
    say!("the child, pid {child}: {}", "子进程 pid {child}：{}", in_proc(child));
    parent.kill();
    say!(
        "the parent of pid {child}, pid {}, {}",
        "pid {child} 的父进程 pid {} {}",
        parent.pid(),
        ended(parent.join())
    );
    if !dies_with_parent {
        wait_until("an adoption", || adopted_by.get() != 0)?;
        say!("the orphan lives: pid {child}, {}", "孤儿还活着：pid {child}，{}", in_proc(child));
        adopted_by.set(0);
    }
    // This process did not start it, but has become its parent.
    let end = End::of(waitpid(child, None)?)
        .ok_or_else(|| Failure(format!("pid {child} has not ended")))?;
    say!("pid {child} {}", "pid {child} {}", ended(end));
    Ok(end)
}

fn lonely_child(dies_with_parent: bool, born: Value, adopted_by: Value) -> Result<(), Failure> {
    let parent = getppid();
    if dies_with_parent {
        say!(
            "this child dies with its parent, pid {parent}: `Process` has set PR_SET_PDEATHSIG",
            "这个子进程随父进程 pid {parent} 一起死亡：`Process` 设置了 PR_SET_PDEATHSIG"
        );
    } else {
        set_pdeathsig(None)?;
        say!(
            "this child outlives its parent, pid {parent}: it has cleared PR_SET_PDEATHSIG",
            "这个子进程比父进程 pid {parent} 活得更久：它清除了 PR_SET_PDEATHSIG"
        );
    }
    born.set(getpid().as_raw() as u64);
    // A child that dies with its parent does not get farther.
    wait_until("the parent's death", || getppid() != parent)?;
    say!(
        "an orphan: its parent was pid {parent}, and is now pid {}",
        "成为孤儿：父进程原来是 pid {parent}，现在是 pid {}",
        getppid()
    );
    adopted_by.set(getppid().as_raw() as u64);
    Ok(wait_until("a look at the orphan", || adopted_by.get() == 0)?)
}

/// A process's state and parent, in words.
fn in_proc(pid: Pid) -> String {
    match state_and_parent(pid) {
        Some((state, parent)) => {
            text!("state {state}, parent pid {parent}", "状态 {state}，父进程 pid {parent}")
        }
        None => text!("not in /proc any more", "/proc 中已没有它"),
    }
}
