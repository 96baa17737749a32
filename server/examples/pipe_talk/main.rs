//! Two processes talk: a pipe carries bytes one way, a pair of sockets messages both ways.
//!
//! Each part is a function below, in the order in which it runs; the deadlock and its cure are in
//! `deadlock.rs`.
//!
//! In the server: supervisor and worker talk through a queue (`ipc/queue.rs`, `channel.rs`) whose
//! ends never wait: a full queue is an error.

mod deadlock;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::queue::{self, QueueEnd, Received};
use forkchat_server::sys::socket::wait_for_input;
use stage::{Attempt, Failure, Lesson, ended, exit_code, part, patience, say, shown, went_well};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

const LESSON: Lesson = Lesson {
    about: ["Pipes: two processes talk, until they deadlock", "管道：两个进程通信，直到死锁"],
    watch_for: &[
        [
            "a pipe carries bytes: the reader needs line ends to find the lines",
            "管道传输的是字节流：读者靠换行符才能分出行",
        ],
        [
            "the end of input comes when the last writer has closed its end, and not before",
            "最后一个写端关闭之后，读端才会读到结尾",
        ],
        [
            "a full pipe blocks its writer: a parent that waits for that child first is in a deadlock",
            "管道写满后写者阻塞：父进程若先等待该子进程，就会死锁",
        ],
        ["the cure: read first, then wait for the child", "解决办法：先读完，再等待子进程"],
        [
            "a queue of non-blocking sockets does not block its writer: when it is full, send returns an error",
            "非阻塞套接字组成的队列不会阻塞写者：满了之后 send 返回错误",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        one_way()?;
        both_ways()?;
        full_queue()?;
        deadlock::and_cure()
    })
}

fn one_way() -> Result<(), Failure> {
    part!("one way: the parent writes, the child reads", "单向：父进程写，子进程读");
    let (reader, mut writer) = io::pipe().cannot("make a pipe")?;
    // The child has the reader and not the writer. With a copy of the writer the child itself would
    // keep the end of input from coming.
    let mut child = Process::start_with(
        reader,
        |reader| vec![reader.as_fd()],
        |reader| exit_code(read_lines(reader).cannot("read the pipe")),
    )
    .cannot("start a child")?;
    // Three writes, two lines.
    for bytes in ["a pipe carries bytes:\nlines are what ", "its two ends ", "agree on\n"] {
        say!("the parent writes {bytes:?}", "父进程写入 {bytes:?}");
        writer.write_all(bytes.as_bytes()).cannot("write to the pipe")?;
    }
    let is_alive = child.is_alive();
    say!(
        "the parent has written everything; is the child alive? {is_alive}",
        "父进程已写完；子进程还活着吗？{is_alive}"
    );
    drop(writer);
    let end = child.join();
    say!("the parent has closed its end; the child {}", "父进程关闭了写端；子进程{}", ended(end));
    shown!(
        "3 writes were 2 lines; the child was alive after the last write: {is_alive}; it ended when the pipe was closed",
        "3 次写入是 2 行；最后一次写入之后子进程还活着：{is_alive}；管道关闭后它才结束"
    );
    went_well("the child", end)
}

fn read_lines(reader: PipeReader) -> io::Result<()> {
    for line in BufReader::new(reader).lines() {
        say!("the child reads: {}", "子进程读到：{}", line?);
    }
    say!("the child is at the end of input", "子进程读到了结尾");
    Ok(())
}

fn both_ways() -> Result<(), Failure> {
    part!(
        "both ways: numbers to the child, their squares to the parent",
        "双向：数字发给子进程，平方发回父进程"
    );
    let (here, there) = queue::pair::<u64, u64>().cannot("make a queue")?;
    let mut child =
        Process::start_with(there, |there| vec![there.as_fd()], |there| exit_code(square(&there)))
            .cannot("start a child")?;
    let numbers = [2, 3, 4];
    for number in numbers {
        send(&here, number)?;
    }
    let mut squares = Vec::new();
    for _ in numbers {
        let square = next(&here)?
            .ok_or(())
            .map_err(|()| Failure("the child ended before it sent all squares".to_owned()))?;
        say!("the parent receives {square}", "父进程收到 {square}");
        squares.push(square);
    }
    drop(here);
    let end = child.join();
    say!(
        "the parent has closed its end; the child {}",
        "父进程关闭了它这一端；子进程{}",
        ended(end)
    );
    shown!(
        "{numbers:?} went to the child, {squares:?} came back",
        "发给子进程 {numbers:?}，收回 {squares:?}"
    );
    went_well("the child", end)
}

fn full_queue() -> Result<(), Failure> {
    part!("a queue that no process reads", "没有进程去读的队列");
    say!(
        "the queue is a pair of non-blocking sockets that carry whole messages (socketpair, SOCK_SEQPACKET)",
        "队列是一对非阻塞套接字，逐条传输完整的消息（socketpair，SOCK_SEQPACKET）"
    );
    let (here, _unread) = queue::pair::<u64, u64>().cannot("make a queue")?;
    let count = (0..).take_while(|number| here.send(number, None).is_ok()).count();
    shown!(
        "it took {count} messages: then the socket's buffer was full",
        "它接受了 {count} 条消息：之后套接字的缓冲区就满了"
    );
    shown!(
        "send did not wait, as a write to a full pipe does, but returned that the queue is full",
        "管道写满后 write 会阻塞；这里 send 不等待，而是返回“队列已满”"
    );
    Ok(())
}

fn square(end: &QueueEnd<u64, u64>) -> Result<(), Failure> {
    while let Some(number) = next(end)? {
        send(end, number * number)?;
    }
    say!("the child is at the end of input", "子进程读到了结尾");
    Ok(())
}

fn send(end: &QueueEnd<u64, u64>, number: u64) -> Result<(), Failure> {
    end.send(&number, None).map_err(|error| Failure(format!("cannot send {number}: {error:?}")))
}

/// Waits for the next message; `None` at the end of input.
fn next(end: &QueueEnd<u64, u64>) -> Result<Option<u64>, Failure> {
    let start = Instant::now();
    while start.elapsed() < patience() {
        match end.receive() {
            Received::Message(number, _) => return Ok(Some(number)),
            Received::Closed => return Ok(None),
            Received::Garbled => {
                return Err(Failure("cannot receive: the message is no number".to_owned()));
            }
            Received::Empty => drop(wait_for_input(end.as_fd(), Some(patience()))?),
        }
    }
    Err(Failure(format!("no message came in {:?}", patience())))
}
