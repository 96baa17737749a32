//! Shows what fork(2) itself does: it returns twice, and both processes go on from there.
//! Each has its own copy of everything, buffered output included.
//!
//! In the server: in `sys/process.rs`, `fork_then` gives every child a function of its own and lets
//! it leave with `_exit` (`exit_now`). So a child never comes back to its parent's code, and no
//! text that the parent had buffered comes out twice.

mod buffer;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::process::End;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::process::bare_fork;
use nix::sys::wait::{wait, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid};
use stage::{Attempt, Failure, Lesson, ended, nap, part, say, shown};
use std::process::{ExitCode, exit};

const LESSON: Lesson = Lesson {
    about: ["fork returns twice; exit and _exit", "fork 返回两次；exit 与 _exit"],
    watch_for: &[
        [
            "fork is called once and returns twice: in the parent the child's pid, in the child 0",
            "fork 调用一次，返回两次：在父进程中返回子进程的 pid，在子进程中返回 0",
        ],
        [
            "the line after the fork is printed twice, by two pids",
            "fork 之后的那一行打印了两次，pid 不同",
        ],
        [
            "only the parent reaches the line after the child's exit",
            "子进程退出之后的代码，只有父进程会执行到",
        ],
        [
            "a child that forgets to exit goes on in the loop, and forks too",
            "忘记退出的子进程会继续循环，也跟着 fork",
        ],
        [
            "text in a buffer is copied by the fork: exit writes it, _exit does not",
            "缓冲区里的文本会随 fork 一起被复制：exit 会把它写出，_exit 不会",
        ],
    ],
};

/// How often the loop is run.
const FORKS: u32 = 3;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        returns_twice()?;
        no_exit_in_a_loop()?;
        buffer::copied_by_fork()
    })
}

fn returns_twice() -> Result<(), Failure> {
    part!("fork returns twice", "fork 返回两次");
    // Shared between the two processes, so that both can count.
    let after_fork = Value::map("example-after-fork").cannot("map a shared value")?;
    let after_exit = Value::map("example-after-exit").cannot("map a shared value")?;
    say!("there is one process, and it calls fork", "现在只有一个进程，它调用 fork");
    let returned = bare_fork().cannot("fork")?;
    after_fork.increase(1);
    say!("this line follows the fork", "这一行紧跟在 fork 之后");
    match returned {
        ForkResult::Child => {
            say!(
                "fork returned 0: this is the child; its parent is pid {}",
                "fork 返回 0：这是子进程，父进程是 pid {}",
                getppid()
            );
            nap(20);
            exit(3);
        }
        ForkResult::Parent { child } => {
            say!(
                "fork returned {child}: this is the parent; it waits for the child",
                "fork 返回 {child}：这是父进程，它等待子进程"
            );
            say!("the child, pid {child}, {}", "子进程 pid {child} {}", ended(join(child)?));
        }
    }
    after_exit.increase(1);
    say!(
        "this line follows the child's exit: the child never reaches it",
        "这一行在子进程的 exit 之后：子进程永远到不了这里"
    );
    shown!(
        "processes that reached the line after the fork: {}; the line after the child's exit: {}",
        "到达 fork 之后那一行的进程数：{}；到达子进程 exit 之后那一行的进程数：{}",
        after_fork.get(),
        after_exit.get()
    );
    Ok(())
}

fn no_exit_in_a_loop() -> Result<(), Failure> {
    part!(
        "a loop forks {FORKS} times, and no child exits in it",
        "循环 fork {FORKS} 次，子进程都不在循环中退出"
    );
    let processes = Value::map("example-processes").cannot("map a shared value")?;
    let first = getpid();
    for _ in 0..FORKS {
        // Not what a beginner means: parent and child both go on with the loop.
        bare_fork().cannot("fork")?;
    }
    processes.increase(1);
    say!("out of the loop; the parent is pid {}", "走出循环；父进程是 pid {}", getppid());
    // Until there is no child left.
    while wait().is_ok() {}
    if getpid() != first {
        exit(0);
    }
    let processes = processes.get();
    shown!(
        "{FORKS} rounds of the loop made {} forks: {processes} processes, not {}",
        "循环 {FORKS} 轮共 fork {} 次：1 个进程变成 {processes} 个，而不是 {} 个",
        processes - 1,
        FORKS + 1
    );
    Ok(())
}

fn join(child: Pid) -> Result<End, Failure> {
    End::of(waitpid(child, None)?).ok_or_else(|| Failure(format!("pid {child} has not ended")))
}
