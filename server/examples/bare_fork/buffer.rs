//! Output that is still in a buffer when the process forks.

use crate::stage::{Attempt, Failure, exit_code, part, say, shown, text, went_well};
use forkchat_server::ipc::process::Process;
use forkchat_server::sys::process::{bare_fork, exit_now};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stdout};
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::exit;

const TEXT: &str = "hello ";

/// A way to leave a process: its name, and the function, which does not return.
type Leave = (&'static str, fn(i32) -> !);
const EXIT: Leave = ("exit", exit);
const UNDERSCORE_EXIT: Leave = ("_exit", exit_now);

/// Shows how often a text comes out that was in the buffer at the fork.
pub fn copied_by_fork() -> Result<(), Failure> {
    part!("text in the buffer when the process forks", "fork 时缓冲区里还有文本");
    say!(
        "a program prints {TEXT:?} without an end of line, forks, and both processes end; its output goes to a pipe, which this process reads",
        "程序打印 {TEXT:?}（没有换行），然后 fork，两个进程都结束；输出进入管道，由本进程读取"
    );
    let buffered = |child, parent| times_printed(false, child, parent);
    let both = buffered(EXIT, EXIT)?;
    let parent_alone = buffered(UNDERSCORE_EXIT, EXIT)?;
    let neither = buffered(UNDERSCORE_EXIT, UNDERSCORE_EXIT)?;
    let flushed = times_printed(true, EXIT, EXIT)?;
    shown!(
        "the text came out {both} times when both called exit, {parent_alone} time when the child called _exit, {neither} times when both did: it was lost",
        "两个进程都调用 exit，文本出现 {both} 次；子进程改用 _exit，出现 {parent_alone} 次；两个都用 _exit，出现 {neither} 次：文本丢失了"
    );
    shown!(
        "flushed before the fork, it came out {flushed} time",
        "在 fork 之前 flush，文本只出现 {flushed} 次"
    );
    Ok(())
}

/// Runs the program with its standard output in a pipe. Returns how often the text came out.
fn times_printed(flushes: bool, child: Leave, parent: Leave) -> Result<usize, Failure> {
    let (mut reader, writer) = io::pipe()?;
    let main = |output| exit_code(program(output, flushes, child.1, parent.1));
    let mut process = Process::start_with(writer, |writer| vec![writer.as_fd()], main)
        .cannot("start the program")?;
    let mut output = String::new();
    reader.read_to_string(&mut output)?;
    went_well("the program", process.join())?;
    let flush = if flushes { text!("flush, ", "flush，") } else { String::new() };
    say!(
        "{flush}fork, child: {}, parent: {}; the pipe had {output:?}",
        "{flush}fork，子进程：{}，父进程：{}；管道里是 {output:?}",
        child.0,
        parent.0
    );
    Ok(output.matches(TEXT).count())
}

fn program(
    output: PipeWriter,
    flushes: bool,
    child_leaves: fn(i32) -> !,
    parent_leaves: fn(i32) -> !,
) -> Result<(), Failure> {
    dup2_stdout(&output)?;
    drop(output);
    // Rust buffers standard output up to the end of a line. C and Python do so on a terminal alone:
    // in a pipe or a file whole lines stay in the buffer, too.
    print!("{TEXT}");
    if flushes {
        io::stdout().flush()?;
    }
    match bare_fork()? {
        ForkResult::Child => child_leaves(0),
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            parent_leaves(0)
        }
    }
}
