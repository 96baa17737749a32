//! A question about a queue, asked in one process while another takes from it. The queue is a pipe,
//! and a job is a byte, so the kernel knows the answer.

use crate::stage::{
    Attempt, Failure, exit_code, nap, part, patience, say, shown, wait_until, went_well,
};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::socket::{unread, wait_for_input};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::read;
use std::io::{self, PipeReader, Write};
use std::os::fd::AsFd;

/// A wrong answer is rare if the parent takes at once, so that takes many rounds. Each is short.
const ROUNDS_AT_ONCE: u64 = 10_000;
const ROUNDS_LATER: u64 = 100;

/// What was seen in some rounds.
#[derive(Default)]
struct Seen {
    /// How often the answer was 1.
    said_one: u64,
    /// How often there was nothing left after that answer.
    was_wrong: u64,
    /// How many jobs each process took.
    by_parent: u64,
    by_other: u64,
}

/// Counts how often "how many jobs?" is answered with 1, and the parent then finds none.
pub fn answers() -> Result<(), Failure> {
    part!(
        "\"how many jobs?\" while another process takes jobs, too",
        "另一个进程也在取任务时，问“有几个任务？”"
    );
    let at_once = rounds(ROUNDS_AT_ONCE, || ())?;
    say!(
        "took at once after the answer: of {ROUNDS_AT_ONCE} rounds the answer was 1 in {} and wrong in {} of these",
        "得到答案后立即去取：共 {ROUNDS_AT_ONCE} 轮，{} 轮的答案是 1，其中 {} 轮落空",
        at_once.said_one,
        at_once.was_wrong
    );
    let later = rounds(ROUNDS_LATER, || nap(1))?;
    say!(
        "took 1 ms after the answer: of {ROUNDS_LATER} rounds the answer was 1 in {} and wrong in {} of these",
        "得到答案之后过 1 毫秒再取：共 {ROUNDS_LATER} 轮，{} 轮的答案是 1，其中 {} 轮落空",
        later.said_one,
        later.was_wrong
    );
    let rounds = ROUNDS_AT_ONCE + ROUNDS_LATER;
    let (by_parent, by_other) =
        (at_once.by_parent + later.by_parent, at_once.by_other + later.by_other);
    say!(
        "a shorter moment makes the mistake rarer, not impossible: do not ask first, try to take and look at the result",
        "间隔越短，出错越少，但不会消失：不要先问，直接尝试去取，再看结果"
    );
    shown!(
        "of {rounds} rounds the answer was 1 in {} and wrong in {} of these",
        "共 {rounds} 轮，{} 轮的答案是 1，其中 {} 轮是错的",
        at_once.said_one + later.said_one,
        at_once.was_wrong + later.was_wrong
    );
    shown!(
        "the result of taking was always right: parent {by_parent} + other {by_other} = {rounds} jobs",
        "取的结果则总是对的：父进程 {by_parent} + 另一个进程 {by_other} = {rounds} 个任务"
    );
    Ok(())
}

/// In each round the parent puts a job, asks how many there are, does something else, and tries to
/// take it. The other process takes whatever comes.
fn rounds(count: u64, something_else: impl Fn()) -> Result<Seen, Failure> {
    let (reader, mut writer) = io::pipe().cannot("make a pipe")?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).cannot("make the pipe non-blocking")?;
    let by_other = Value::map("example-by-other").cannot("map a count")?;
    let others = reader.try_clone().cannot("duplicate the pipe's end")?;
    let mut other = Process::start_with(
        others,
        |reader| vec![reader.as_fd()],
        |reader| exit_code(take_whatever_comes(&reader, by_other)),
    )
    .cannot("start the other process")?;
    let mut seen = Seen::default();
    for round in 1..=count {
        writer.write_all(b"j").cannot("put a job")?;
        if unread(reader.as_fd()).cannot("ask how many there are")? == 1 {
            seen.said_one += 1;
            something_else();
            match take(&reader)? {
                Some(jobs) => seen.by_parent += jobs,
                None => seen.was_wrong += 1,
            }
        }
        wait_until("the job to be taken", || seen.by_parent + by_other.get() == round)?;
    }
    drop(writer);
    went_well("the other process", other.join())?;
    Ok(Seen { by_other: by_other.get(), ..seen })
}

fn take_whatever_comes(reader: &PipeReader, taken: Value) -> Result<(), Failure> {
    loop {
        wait_for_input(reader.as_fd(), Some(patience())).cannot("wait for a job")?;
        match take(reader)? {
            Some(0) => return Ok(()),
            jobs => taken.increase(jobs.unwrap_or(0)),
        };
    }
}

/// Tries to take a job: 1, or `None` if there is none now, or 0 if there will never be one again.
/// Source: pipe(7), `O_NONBLOCK`.
fn take(reader: &PipeReader) -> Result<Option<u64>, Failure> {
    match read(reader, &mut [0]) {
        Ok(count) => Ok(Some(count as u64)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error).cannot("take a job"),
    }
}
