//! One thread for all tasks, as in an event loop (what tutorials call coroutines): it starts every
//! wait, and then sleeps until the first one is over.

use crate::stage::{Attempt, Failure, patience};
use crate::task::{Run, Task, wait_time};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Does all tasks of a run in the calling thread.
pub fn run_all(run: Run) -> Result<(), Failure> {
    match run.task {
        // A task that computes does not wait, so the loop can't turn to another before it is done.
        Task::Compute => (0..run.entries.len()).for_each(|place| run.perform(place)),
        Task::Wait => wait_for_all(run)?,
    }
    Ok(())
}

fn wait_for_all(run: Run) -> Result<(), Failure> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).cannot("make an epoll instance")?;
    let mut begun = Vec::new();
    for place in 0..run.entries.len() {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .cannot("make a timer")?;
        let once = Expiration::OneShot(TimeSpec::from_duration(wait_time()));
        timer.set(once, TimerSetTimeFlags::empty()).cannot("set a timer")?;
        epoll
            .add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))
            .cannot("watch a timer")?;
        begun.push((std::time::Instant::now(), timer));
    }
    let mut under_way = begun.len();
    while under_way > 0 {
        let mut events = [EpollEvent::empty(); 8];
        let timeout = EpollTimeout::try_from(patience()).unwrap_or(EpollTimeout::MAX);
        let ready = epoll.wait(&mut events, timeout).cannot("wait for events")?;
        if ready == 0 {
            return Err(Failure("a timer did not expire".to_owned()));
        }
        for event in &events[..ready] {
            let place = event.data() as usize;
            let (began, timer) = &begun[place];
            timer.wait().cannot("read a timer")?;
            run.note(place, began.elapsed(), 1);
            under_way -= 1;
        }
    }
    Ok(())
}
