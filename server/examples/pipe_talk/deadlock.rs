//! The classic deadlock of two processes: the parent waits for the child's end, and the child waits
//! until the parent reads. And its cure.

use crate::stage::proc::state;
use crate::stage::{
    Attempt, Failure, ended, exit_code, part, say, shown, slowed, text, wait_until, went_well,
};
use forkchat_server::ipc::process::Process;
use forkchat_server::sys::socket::unread;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::SYS_write;
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(200);

/// A child writes more than the pipe holds.
pub fn and_cure() -> Result<(), Failure> {
    part!(
        "a deadlock: the parent waits for a child that waits for the parent",
        "死锁：父进程等待子进程，子进程等待父进程"
    );
    let (mut reader, writer) = io::pipe().cannot("make a pipe")?;
    let capacity =
        fcntl(&reader, FcntlArg::F_GETPIPE_SZ).cannot("ask for the size of the pipe")? as usize;
    let letter = vec![b'x'; 4 * capacity + 1];
    say!(
        "the pipe holds {capacity} bytes, the child writes {} bytes; the parent waits for the child, and does not read",
        "管道容量 {capacity} 字节，子进程要写 {} 字节；父进程等待子进程，不读管道",
        letter.len()
    );
    let mut child = Process::start_with(
        writer,
        |writer| vec![writer.as_fd()],
        |mut writer| exit_code(writer.write_all(&letter).cannot("write to the pipe")),
    )
    .cannot("start a child")?;
    let in_time = child.join_timeout(slowed(WAIT));
    let status = in_time.map_or_else(|| text!("is still alive", "仍然活着"), ended);
    let waited = slowed(WAIT).as_millis();
    say!("after {waited} ms the child {status}", "{waited} 毫秒之后子进程{status}");
    let is_blocked =
        |child: &Process| unread(reader.as_fd()) == Ok(capacity) && state(child.pid()) == Some('S');
    wait_until("a full pipe and a blocked child", || is_blocked(&child) || !child.is_alive())?;
    if !child.is_alive() {
        return went_well("the child", child.join());
    }
    say!(
        "the pipe is full with {capacity} bytes; the child is in state {}, {}",
        "管道已满，有 {capacity} 字节；子进程处于状态 {}，{}",
        state(child.pid()).unwrap_or('?'),
        system_call(child.pid())
    );
    say!(
        "each waits for the other, and would for ever: a deadlock",
        "双方互相等待，永远等下去：这就是死锁"
    );

    part!("the cure: read, then wait", "解决办法：先读，再等待");
    let mut read = Vec::new();
    // To the end of input, which comes with the child's end. With several pipes, all have to be
    // read at the same time: by poll(2), or by a thread for each.
    reader.read_to_end(&mut read).cannot("read the pipe")?;
    let end = child.join();
    say!(
        "the parent has read {} bytes; the child {}",
        "父进程读了 {} 字节；子进程{}",
        read.len(),
        ended(end)
    );
    shown!(
        "waiting first: the child {status} after {waited} ms, blocked with {capacity} of {} bytes in the pipe",
        "先等待：{waited} 毫秒之后子进程{status}，管道里只有 {capacity} 字节（共 {} 字节），它被阻塞",
        letter.len()
    );
    shown!(
        "reading first: {} bytes, and the child {}",
        "先读：读到 {} 字节，子进程{}",
        read.len(),
        ended(end)
    );
    went_well("the child", end)
}

/// In which system call a process is, and where in the kernel it sleeps. The kernel may refuse to
/// report it. Source: proc_pid_syscall(5), proc_pid_wchan(5).
fn system_call(pid: Pid) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let call = read("syscall");
    match call.split(' ').next().unwrap_or_default() {
        "" => text!(
            "in a system call that the kernel does not report",
            "正在内核不予告知的系统调用中"
        ),
        number if number == SYS_write.to_string() => {
            text!(
                "in the system call write, in the kernel's function {}",
                "正在系统调用 write 中，停在内核函数 {}",
                read("wchan")
            )
        }
        number => text!("in system call {number}", "正在 {number} 号系统调用中"),
    }
}
