//! Pipes to and from a program: how much fits into one, and why input and output have to be handled
//! at the same time.

use crate::described;
use crate::stage::{Attempt, Failure, part, patience, say, shown, slowed, text, wait_until};
use forkchat_server::sys::socket::unread;
use nix::fcntl::{FcntlArg, fcntl};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const KIB: usize = 1024;

/// Input and output that are both larger than a pipe.
pub fn communicate() -> Result<(), Failure> {
    part!(
        "communicate: standard input and standard output at the same time",
        "communicate：标准输入与标准输出同时进行"
    );
    let (reader, _writer) = io::pipe()?;
    let input = vec![b'a'; 4 * capacity(&reader)?];
    let output =
        write_and_read(Command::new("tr").args(["a", "b"]), &input).cannot("talk to tr")?;
    let written = output.stdout.iter().filter(|&&byte| byte == b'b').count();
    say!(
        "tr a b got {} bytes and returned {written}; tr {}",
        "tr a b 收到 {} 字节，返回 {written} 字节；tr {}",
        input.len(),
        described(output.status)
    );
    Ok(())
}

/// Python's `Popen.communicate`: a thread writes the input while this one reads the output to its
/// end, and waits for the program.
fn write_and_read(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = program.stdin.take();
    thread::scope(|scope| {
        // The pipe is closed after that: the end of the program's input.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input)));
        program.wait_with_output()
    })
}

/// The parent waits for the end of a program, and reads only after that.
pub fn full() -> Result<(), Failure> {
    part!(
        "the parent waits for a program whose output is not read",
        "父进程等待程序结束，却不读它的输出"
    );
    let (reader, _writer) = io::pipe()?;
    let capacity = capacity(&reader)?;
    say!(
        "a pipe holds {capacity} bytes, that is {} KiB",
        "管道能容纳 {capacity} 字节，即 {} KiB",
        capacity / KIB
    );
    let (mut head, _reader) = write_zeros(capacity)?;
    let fits = wait_within(&mut head, patience())?;
    say!(
        "{capacity} bytes, not read: head {}",
        "{capacity} 字节，没有读取：head {}",
        after_waiting(fits)
    );

    let (mut head, mut reader) = write_zeros(capacity + 1)?;
    wait_until("the pipe to be full", || unread(reader.as_fd()) == Ok(capacity))?;
    let deadline = slowed(Duration::from_millis(200));
    let hangs = wait_within(&mut head, deadline)?;
    say!(
        "{} bytes, not read, {deadline:?} after the pipe was full: head {}",
        "{} 字节，没有读取，管道写满 {deadline:?} 之后：head {}",
        capacity + 1,
        after_waiting(hangs)
    );
    let mut read = Vec::new();
    // To the end of input, which is head's end. To wait for head first would be a deadlock: each
    // waits for the other.
    reader.read_to_end(&mut read)?;
    let cured = described(head.wait()?);
    say!(
        "the cure: read, then wait: {} bytes read; head {cured}",
        "解决办法：先读，再 wait：读到 {} 字节；head {cured}",
        read.len()
    );
    shown!(
        "{capacity} bytes, not read: head {}",
        "{capacity} 字节，没有读取：head {}",
        after_waiting(fits)
    );
    shown!(
        "{} bytes, not read: head {}; read: head {cured}",
        "{} 字节，没有读取：head {}；读取之后：head {cured}",
        capacity + 1,
        after_waiting(hangs)
    );
    Ok(())
}

/// Starts a program that writes so many bytes to a pipe. Returns the reading end, too.
fn write_zeros(bytes: usize) -> Result<(Child, PipeReader), Failure> {
    let (reader, writer) = io::pipe()?;
    let head = Command::new("head")
        .args(["-c", &bytes.to_string(), "/dev/zero"])
        .stdout(writer)
        .spawn()
        .cannot("start head")?;
    Ok((head, reader))
}

/// Waits for a program's end, at most for so long: `None` if it still runs. Python's
/// `wait(timeout=...)`.
fn wait_within(program: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        let status = program.try_wait()?;
        if status.is_some() || start.elapsed() > timeout {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn after_waiting(status: Option<ExitStatus>) -> String {
    status.map_or_else(
        || text!("still runs: it is blocked in write", "还在运行：阻塞在 write 中"),
        described,
    )
}

fn capacity(pipe: &PipeReader) -> Result<usize, Failure> {
    let bytes = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).cannot("ask how much a pipe holds")?;
    Ok(bytes as usize)
}
