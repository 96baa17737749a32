//! Runs programs: fork makes the process, exec replaces its program.
//! It shows what Python's `subprocess` offers, with the standard library's `Command`.
//!
//! In the server: no process calls exec. All are forks that run functions of the same program
//! (`sys/process.rs`), because they inherit memory and descriptors. exec would take the memory
//! away.

mod pipes;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::process::{End, Process};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use stage::{Attempt, Failure, Lesson, ended, nap, part, say, shown, slowed, text, wait_until};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

const LESSON: Lesson = Lesson {
    about: [
        "fork and exec: run a program, as Python's subprocess does",
        "fork 与 exec：运行程序，如同 Python 的 subprocess",
    ],
    watch_for: &[
        [
            "exec replaces the program of a process; the pid stays",
            "exec 替换进程里的程序；pid 不变",
        ],
        [
            "wait waits for the end, try_wait (Python: poll) only looks",
            "wait 等待结束，try_wait（Python：poll）只是查看",
        ],
        [
            "the return code: 0, another exit code, or minus the number of a signal",
            "返回码：0、其他退出码，或者信号编号的负数",
        ],
        [
            "a program that fills a pipe blocks until its output is read: one byte makes the difference",
            "程序写满管道后会阻塞，直到有人读取：差别只在一个字节",
        ],
        [
            "a program that is not found is an error, and there is no process",
            "找不到程序是一个错误值，不会产生进程",
        ],
    ],
};

/// What a child exits with if exec fails, as a shell has it. Source: sh(1p), "Exit Status for
/// Commands".
const EXIT_NOT_EXECUTED: i32 = 127;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        exec_keeps_the_pid()?;
        poll_and_wait()?;
        return_codes()?;
        killed()?;
        redirected()?;
        pipes::communicate()?;
        pipes::full()?;
        not_found()
    })
}

fn exec_keeps_the_pid() -> Result<(), Failure> {
    part!(
        "fork, then exec: the program changes, the pid stays",
        "先 fork，再 exec：程序变了，pid 不变"
    );
    let (their_input, mut input) = io::pipe()?;
    let (output, their_output) = io::pipe()?;
    let theirs = (their_input, their_output);
    let mut child = Process::start_with(
        theirs,
        |(input, output)| vec![input.as_fd(), output.as_fd()],
        exec_shell,
    )
    .cannot("start a child")?;
    let pid = child.pid();
    let mut printed = String::new();
    BufReader::new(output).read_line(&mut printed)?;
    say!(
        "`echo $$` printed {}; pid {pid} now runs {}",
        "`echo $$` 打印了 {}；pid {pid} 现在运行 {}",
        printed.trim(),
        program_of(pid)
    );
    let second = program_of(pid);
    // The shell waits for a line, and then calls exec itself.
    writeln!(input, "go on")?;
    wait_until("the second exec", || program_of(pid) != second)?;
    let third = program_of(pid);
    say!(
        "after the shell's `exec cat` pid {pid} runs {third}",
        "shell 执行 `exec cat` 之后，pid {pid} 运行 {third}"
    );
    drop(input);
    say!("pid {pid} {}", "pid {pid} {}", ended(child.join()));
    shown!(
        "pid {pid} was one process with three programs: {}, {second}, {third}",
        "pid {pid} 是同一个进程，先后运行了三个程序：{}、{second}、{third}",
        program_of(Pid::this())
    );
    Ok(())
}

/// The child's function.
fn exec_shell((input, output): (PipeReader, PipeWriter)) -> i32 {
    say!(
        "the child runs {}, and calls exec",
        "子进程运行 {}，接着调用 exec",
        program_of(Pid::this())
    );
    let error = Command::new("sh")
        .args(["-c", "echo $$; read line; exec cat"])
        .stdin(input)
        .stdout(output)
        .exec();
    // Exec returns only if it fails: otherwise there is no program any more to which it could
    // return.
    say!("cannot exec sh: {error}", "无法 exec sh：{error}");
    EXIT_NOT_EXECUTED
}

/// The name of the program that a process runs. Source: proc_pid_comm(5).
fn program_of(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn poll_and_wait() -> Result<(), Failure> {
    part!("start, poll, wait", "启动、查看、等待");
    let script = format!("sleep {}; exit 3", slowed(Duration::from_millis(60)).as_secs_f32());
    let mut program = Command::new("sh").args(["-c", &script]).spawn().cannot("start sh")?;
    say!("started sh -c '{script}' as pid {}", "已启动 sh -c '{script}'，pid {}", program.id());
    let mut looks = 0;
    while program.try_wait()?.is_none() && looks < 3 {
        looks += 1;
        say!("try_wait returned None: it still runs", "try_wait 返回 None：还在运行");
        nap(5);
    }
    let end = described(program.wait()?);
    say!("wait returned when sh had ended: sh {end}", "sh 结束后 wait 才返回：sh {end}");
    Ok(())
}

fn return_codes() -> Result<(), Failure> {
    part!("return codes", "返回码");
    let mut codes = Vec::new();
    for script in ["exit 0", "exit 3", "kill -TERM $$"] {
        let status = Command::new("sh").args(["-c", script]).status().cannot("run sh")?;
        say!("sh -c '{script}': sh {}", "sh -c '{script}'：sh {}", described(status));
        codes.push(return_code(status));
    }
    shown!("the return codes were {codes:?}", "返回码依次为 {codes:?}");
    Ok(())
}

fn killed() -> Result<(), Failure> {
    part!("kill", "kill：杀死程序");
    // It waits for input that never comes.
    let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().cannot("start cat")?;
    say!(
        "cat, pid {}, reads from a pipe; try_wait: {:?}",
        "cat（pid {}）在读管道；try_wait：{:?}",
        cat.id(),
        cat.try_wait()?
    );
    cat.kill()?;
    let end = described(cat.wait()?);
    shown!("after kill and wait: cat {end}", "kill 并 wait 之后：cat {end}");
    Ok(())
}

fn redirected() -> Result<(), Failure> {
    part!(
        "standard output and standard input are redirected to a file",
        "把标准输出、标准输入重定向到文件"
    );
    // A file in memory, without a name: nothing to remove.
    let mut file = File::from(
        memfd_create("example-output", MFdFlags::MFD_CLOEXEC).cannot("make a file in memory")?,
    );
    Command::new("echo")
        .arg("written by echo")
        .stdout(file.try_clone()?)
        .status()
        .cannot("run echo")?;
    let mut written = String::new();
    file.rewind()?;
    file.read_to_string(&mut written)?;
    say!(
        "echo printed to the file, not here; the file has {written:?}",
        "echo 写进了文件，没有打印到这里；文件内容是 {written:?}"
    );
    file.rewind()?;
    let upper = Command::new("tr").args(["a-z", "A-Z"]).stdin(file).output().cannot("run tr")?;
    let upper = String::from_utf8_lossy(&upper.stdout);
    say!(
        "tr a-z A-Z read the file, and printed {upper:?}",
        "tr a-z A-Z 读入该文件，打印出 {upper:?}"
    );
    Ok(())
}

fn not_found() -> Result<(), Failure> {
    part!("a program that does not exist", "不存在的程序");
    match Command::new("no-such-program").spawn() {
        Ok(mut program) => {
            say!("it does exist, and {}", "它居然存在，{}", described(program.wait()?))
        }
        Err(error) => shown!(
            "spawn returned an error, {:?}: {error}",
            "spawn 返回错误 {:?}：{error}",
            error.kind()
        ),
    }
    Ok(())
}

/// How a program ended, as the rest of a sentence, with Python's return code.
pub fn described(status: ExitStatus) -> String {
    let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
    let end = signal.map_or_else(|| End::Exited(return_code(status)), End::Killed);
    text!("{} (return code {})", "{}（返回码 {}）", ended(end), return_code(status))
}

/// As Python's `Popen.returncode`: an exit code, or minus the number of the signal that killed the
/// program.
fn return_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| Some(-status.signal()?)).unwrap_or_default()
}
