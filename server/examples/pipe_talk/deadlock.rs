//! The classic deadlock of two processes: one waits for the other's end, which waits for the one to read; and its cure.

use crate::stage::{Attempt, exit_code, say, wait_until};
use forkchat_server::ipc::process::Process;
use forkchat_server::sys::socket::unread;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::SYS_write;
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// A child writes more than the pipe holds.
pub fn and_cure() -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    let capacity = fcntl(&reader, FcntlArg::F_GETPIPE_SZ)? as usize;
    let letter = vec![b'x'; 4 * capacity + 1];
    say!(
        "a full pipe: it holds {capacity} bytes, the child writes {}; the parent waits for the child's end, and doesn't read",
        letter.len()
    );
    let mut child = Process::start_with(
        writer,
        |writer| vec![writer.as_fd()],
        |mut writer| exit_code(writer.write_all(&letter).cannot("write to the pipe")),
    )?;
    let end = child.join_timeout(Duration::from_millis(200));
    say!("200 ms later the child: {}", end.map_or("it still runs".to_owned(), |end| end.to_string()));
    wait_until("a full pipe", || unread(reader.as_fd()) == Ok(capacity))?;
    wait_until("a child that sleeps", || state(child.pid()) == "S")?;
    say!("in the pipe are {capacity} bytes; the child is in state {}, {}", state(child.pid()), system_call(child.pid()));
    say!("each waits for the other, and would for ever: a deadlock");
    let mut read = Vec::new();
    // To the end of input, which is the child's end. Where there are several pipes, all have to be read at the same time: by poll(2), or a thread for each.
    reader.read_to_end(&mut read)?;
    say!("the cure is to read while one waits: {} bytes; the child: {}", read.len(), child.join());
    Ok(())
}

/// `S` is one that sleeps. Source: proc_pid_stat(5).
fn state(pid: Pid) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|fields| fields.split(' ').next()).unwrap_or("?").to_owned()
}

/// In which system call a process is, and where in the kernel it sleeps. Not everybody is told. Source: proc_pid_syscall(5), proc_pid_wchan(5).
fn system_call(pid: Pid) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let call = read("syscall");
    match call.split(' ').next().unwrap_or_default() {
        "" => "in a system call that we are not told".to_owned(),
        number if number == SYS_write.to_string() => format!("in the system call write, in the kernel's function {}", read("wchan")),
        number => format!("in system call {number}"),
    }
}
