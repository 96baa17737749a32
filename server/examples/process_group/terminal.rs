//! Job control, with a terminal of the example's own: that of the caller is left alone.

use crate::stage::{
    Attempt, Failure, exit_code, part, patience, say, shown, wait_until, went_well,
};
use crate::{OWN_GROUP, seen};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::process::fork_child;
use forkchat_server::sys::signals::{ignore_signal, reset_signal};
use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getsid, setpgid, setsid, tcgetpgrp, tcsetpgrp, ttyname};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::os::fd::AsFd;
use std::thread::sleep;

/// What a terminal makes SIGINT of.
const CTRL_C: &[u8] = b"\x03";

pub fn foreground_and_background() -> Result<(), Failure> {
    part!(
        "a small shell with two jobs, on a terminal of its own",
        "一个小型 shell，在自己的终端上运行两个作业"
    );
    let mut shell = Process::start(|| exit_code(shell())).cannot("start the shell")?;
    went_well("the shell", shell.join())
}

/// Two jobs want to use the terminal in the background. Then each does it in the foreground.
fn shell() -> Result<(), Failure> {
    let (terminal, keyboard) = own_terminal()?;
    let has_read = Value::map("example-has-read").cannot("map a shared value")?;
    let reader = start_job(&terminal, |terminal| read_line(terminal, has_read))
        .cannot("start the reader")?;
    let reader_stopped = wait_for(reader, WaitPidFlag::WUNTRACED)?;
    say!(
        "the reader, pid {reader}, reads in the background: it {}",
        "reader（pid {reader}）在后台读终端：{}",
        seen(reader_stopped)
    );
    let writer = start_job(&terminal, write_line).cannot("start the writer")?;
    let writer_stopped = wait_for(writer, WaitPidFlag::WUNTRACED)?;
    say!(
        "the writer, pid {writer}, writes in the background: it {} (stty tostop is set here; by default a background process may write)",
        "writer（pid {writer}）在后台写终端：{}（此处设置了 stty tostop；默认后台可以写终端）",
        seen(writer_stopped)
    );

    bring_to_foreground(&terminal, reader)?;
    (&keyboard).write_all(b"hello\n")?;
    wait_until("the reader to read", || has_read.get() != 0)?;
    say!("Ctrl-C is typed", "按下 Ctrl-C");
    (&keyboard).write_all(CTRL_C)?;
    let reader_ended = wait_for(reader, WaitPidFlag::empty())?;
    let writer_now = waitpid(writer, Some(WaitPidFlag::WNOHANG))?;
    say!(
        "the reader {}; the writer: waitpid {}",
        "reader {}；writer：waitpid {}",
        seen(reader_ended),
        seen(writer_now)
    );

    bring_to_foreground(&terminal, writer)?;
    let writer_ended = wait_for(writer, WaitPidFlag::empty())?;
    say!("the writer {}", "writer {}", seen(writer_ended));
    tcsetpgrp(&terminal, getpgrp()).cannot("take the terminal back")?;
    say!(
        "the shell has the terminal again: foreground group {}",
        "shell 收回终端：前台进程组 {}",
        tcgetpgrp(&terminal)?
    );
    shown!(
        "in the background the reader {} and the writer {}",
        "在后台，reader {}，writer {}",
        seen(reader_stopped),
        seen(writer_stopped)
    );
    shown!(
        "Ctrl-C reached the foreground alone: the reader {}, the writer {} later",
        "Ctrl-C 只到达前台：reader {}，之后 writer {}",
        seen(reader_ended),
        seen(writer_ended)
    );
    Ok(())
}

/// A new session with a new terminal. Returns the terminal, and the end where a user would type.
fn own_terminal() -> Result<(File, File), Failure> {
    setsid().cannot("make a session")?;
    let pty = openpty(None, None).cannot("open a pseudoterminal")?;
    let name = ttyname(&pty.slave)?;
    // The first terminal that the leader of a session opens becomes the session's.
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&name)
        .cannot(format!("open {}", name.display()))?;
    // Jobs that write in the background are to be stopped as well. Without that they may write.
    let mut settings = tcgetattr(&terminal)?;
    settings.local_flags |= LocalFlags::TOSTOP;
    tcsetattr(&terminal, SetArg::TCSANOW, &settings)?;
    // A shell gives the terminal away, and takes it back from the background. The jobs inherit what
    // it does with the other two.
    ignore_signal(Signal::SIGTTOU)?;
    // The leader of the session gets that when the keyboard is closed, at the end.
    ignore_signal(Signal::SIGHUP)?;
    [Signal::SIGINT, Signal::SIGTTIN].into_iter().try_for_each(reset_signal)?;
    say!(
        "setsid: the shell leads session {}; it opens {}, whose foreground group is {}",
        "setsid：shell 是会话 {} 的首进程；它打开 {}，前台进程组是 {}",
        getsid(None)?,
        name.display(),
        tcgetpgrp(&terminal)?
    );
    Ok((terminal, File::from(pty.master)))
}

/// Starts a job in the background: in a group of its own, which doesn't have the terminal.
fn start_job(
    terminal: &File,
    main: impl FnOnce(File) -> Result<(), Failure>,
) -> Result<Pid, Failure> {
    let run = |terminal| exit_code(join_own_group().and_then(|()| main(terminal)));
    let job = fork_child(
        terminal.try_clone()?,
        |terminal| vec![terminal.as_fd()],
        iter::empty(),
        &[],
        |terminal, _| run(terminal),
    )?;
    Ok(job)
}

fn join_own_group() -> Result<(), Failure> {
    reset_signal(Signal::SIGTTOU)?;
    setpgid(Pid::this(), OWN_GROUP).cannot("make a group")
}

fn read_line(terminal: File, has_read: Value) -> Result<(), Failure> {
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    say!("the reader read {line:?} from the terminal", "reader 从终端读到 {line:?}");
    has_read.set(1);
    // Until Ctrl-C.
    sleep(patience());
    Ok(())
}

fn write_line(mut terminal: File) -> Result<(), Failure> {
    writeln!(terminal, "hello")?;
    say!("the writer has written to the terminal", "writer 已写到终端");
    Ok(())
}

/// What a shell's `fg` does.
fn bring_to_foreground(terminal: &File, job: Pid) -> Result<(), Failure> {
    tcsetpgrp(terminal, job).cannot("give the terminal to a job")?;
    killpg(job, Signal::SIGCONT)?;
    say!(
        "fg: pid {job} is continued; the foreground group is {}",
        "fg：让 pid {job} 恢复运行；前台进程组是 {}",
        tcgetpgrp(terminal)?
    );
    Ok(())
}

/// Waits until a job has ended, or until what `also` names.
fn wait_for(job: Pid, also: WaitPidFlag) -> Result<WaitStatus, Failure> {
    let mut status = Ok(WaitStatus::StillAlive);
    wait_until("a job to change its state", || {
        status = waitpid(job, Some(WaitPidFlag::WNOHANG | also));
        status != Ok(WaitStatus::StillAlive)
    })?;
    Ok(status?)
}
