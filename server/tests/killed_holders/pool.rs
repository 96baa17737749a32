//! A pool of processes: every job that is submitted has one answer, whichever process dies.

use super::wait_until;
use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::joinable_queue::TASK_BYTES_MAX;
use forkchat_server::ipc::pool::{ApplyError, JobError, Pool};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use nix::sys::signal::Signal;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn numbers(pool: &Pool<u32, u32>) -> Vec<i32> {
    pool.processes().iter().map(|process| process.pid().as_raw()).collect()
}

pub fn more_jobs_than_processes_in_order() {
    let mut pool = Pool::start("pool", 3, |job: u32| job * 2).unwrap();
    let jobs = 0..1_000u32;
    let doubled: Vec<u32> = jobs.clone().map(|job| job * 2).collect();
    assert_eq!(
        pool.map(jobs.clone()).into_iter().collect::<Result<Vec<_>, _>>(),
        Ok(doubled.clone())
    );
    assert_eq!(pool.imap(jobs.clone()).collect::<Result<Vec<_>, _>>(), Ok(doubled.clone()));
    assert_eq!(
        pool.imap(0..).take(10).collect::<Result<Vec<_>, _>>().unwrap(),
        doubled[..10],
        "jobs without end"
    );
    let tickets: Vec<_> = jobs.map(|job| pool.apply_async(job).unwrap()).collect();
    assert!(
        tickets
            .iter()
            .rev()
            .zip(doubled.iter().rev())
            .all(|(ticket, result)| pool.get(*ticket) == Ok(*result)),
        "asked for backwards"
    );
    assert_eq!(pool.get(tickets[0]), Err(JobError::Unknown), "given back once");
}

pub fn a_panic_in_a_job_is_an_error_and_the_process_goes_on() {
    let mut pool = Pool::start("pool", 1, |job: u32| {
        100u32.checked_div(job).unwrap_or_else(|| panic!("{job} is no divisor"))
    })
    .unwrap();
    let pids = numbers(&pool);
    assert_eq!(
        pool.map([5, 0, 4]),
        [Ok(20), Err(JobError::Panicked("0 is no divisor".into())), Ok(25)]
    );
    assert_eq!(numbers(&pool), pids);
}

pub fn a_death_in_a_job_is_an_error_and_the_process_is_replaced() {
    let work = |job: u32| match job {
        1 => std::process::abort(),
        2 => std::process::exit(0),
        job => job,
    };
    let mut pool = Pool::start("pool", 1, work).unwrap();
    let pids = numbers(&pool);
    let died = |end| Err(JobError::Died(end));
    assert_eq!(
        pool.map([7, 1, 8, 2, 9]),
        [Ok(7), died(End::Killed(Signal::SIGABRT)), Ok(8), died(End::Exited(0)), Ok(9)]
    );
    assert_ne!(numbers(&pool), pids);
    pool.apply_async(2).unwrap();
    let last = pool.apply_async(3).unwrap();
    pool.join();
    assert_eq!(pool.get(last), Ok(3), "also when no more jobs come");
}

pub fn a_process_that_died_with_nothing_to_do_is_replaced_when_a_job_comes() {
    let done = Value::map("test-done").unwrap();
    let mut pool = Pool::start("pool", 1, move |job: u32| done.set(u64::from(job))).unwrap();
    let pid = pool.processes()[0].pid();
    pool.processes()[0].kill();
    wait_until("its end", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    pool.apply_async(7).unwrap();
    // Nobody asks for the result.
    wait_until("the job to be done", || done.get() == 7);
}

pub fn what_is_too_long_is_an_error() {
    let mut pool =
        Pool::start("pool", 1, |(length, _): (usize, Vec<u8>)| vec![1u8; length]).unwrap();
    assert_eq!(pool.apply_async((1, vec![0; TASK_BYTES_MAX])), Err(ApplyError::TooLong));
    assert_eq!(
        pool.map([(TASK_BYTES_MAX, Vec::new()), (2, Vec::new())]),
        [Err(JobError::TooLong), Ok(vec![1; 2])]
    );
}

pub fn it_is_closed_joined_and_terminated() {
    let gate = Event::map("test-gate").unwrap();
    let work = move |job: u32| if gate.wait(LONG) { job } else { 0 };
    let mut pool = Pool::start("pool", 2, work).unwrap();
    let tickets: Vec<_> = (1..=10).map(|job| pool.apply_async(job).unwrap()).collect();
    pool.close();
    assert_eq!(pool.apply_async(11), Err(ApplyError::Closed));
    assert_eq!(pool.map([12]), [Err(JobError::NotTaken(ApplyError::Closed))]);
    gate.set();
    pool.join();
    assert!((1..).zip(&tickets).all(|(job, ticket)| pool.get(*ticket) == Ok(job)));

    gate.clear();
    let mut pool = Pool::start("pool", 2, work).unwrap();
    let tickets: Vec<_> = (1..=10).map(|job| pool.apply_async(job).unwrap()).collect();
    pool.terminate();
    assert!(tickets.iter().all(|ticket| pool.get(*ticket) == Err(JobError::Terminated)));
    assert!(pool.processes().is_empty());
}

pub fn every_job_has_one_answer_whoever_is_killed() {
    let work = move |job: u32| {
        std::thread::sleep(Duration::from_micros(200));
        job + 1
    };
    let mut pool = Pool::start("pool", 3, work).unwrap();
    let (mut died, mut kills) = (0, 0);
    for round in 0..60u32 {
        let tickets: Vec<_> = (0..20).map(|job| pool.apply_async(job).unwrap()).collect();
        std::thread::sleep(Duration::from_micros(u64::from(round) * 37 % 900));
        // One of them, or all.
        let victims = if round % 5 == 0 {
            pool.processes()
        } else {
            &pool.processes()[(round % 3) as usize..][..1]
        };
        victims.iter().for_each(Process::kill);
        kills += victims.len();
        for (job, ticket) in (0..).zip(tickets) {
            match pool.get(ticket) {
                Ok(result) => assert_eq!(result, job + 1),
                Err(JobError::Died(End::Killed(Signal::SIGKILL))) => died += 1,
                other => panic!("a result or a death, not {other:?}"),
            }
        }
    }
    // Those who were killed with nothing in hand cost nothing; the others one job each.
    assert!((1..=kills).contains(&died), "{died} of {kills}");
    pool.join();
}
