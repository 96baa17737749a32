//! A map and a list that several processes change: through a manager process that owns them, and in shared memory under a mutex.
//!
//! In the server: `ipc/queue.rs` carries the messages between the supervisor and the workers; `event_log/append.rs` changes shared memory under a mutex.

mod manager;
mod memory;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::queue::{QueueEnd, pair};
use forkchat_server::ipc::value::Value;
use manager::{Answer, Client, Owned, Request, manage};
use memory::Shared;
use stage::{Attempt, Failure, Lesson, exit_code, part, patience, say, shown, went_well};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ExitCode, id};
use std::time::Instant;

const WORKERS: usize = 3;
/// How often each worker adds, and how often it appends. The whole list must fit in a message of 1 KiB.
const UPDATES: usize = 250;
const ALL: usize = WORKERS * UPDATES;
/// The race is repeated until it has lost an update, but no more often than this.
const RACES_MAX: usize = 5;

const LESSON: Lesson = Lesson {
    about: ["A map and a list that several processes change", "多个进程共同修改的字典和列表"],
    watch_for: &[
        ["the manager process owns the map and the list; the others send it requests", "管理进程拥有字典和列表，其他进程向它发请求"],
        [
            "the time of an operation: a request to the manager, against a mutex around shared memory",
            "一次操作的耗时：向管理进程发请求，对比用互斥锁保护的共享内存",
        ],
        [
            "d['x'] += 1 is two requests, get and set: what another process adds between them is lost",
            "d['x'] += 1 是两个请求（先读后写）：别的进程在两者之间加上的数会丢失",
        ],
        [
            "two cures: the manager offers \"add\" as one request, or a lock is held during both requests",
            "两种解法：管理进程提供“加”这个单一请求，或者两个请求期间一直持有锁",
        ],
    ],
};

/// What became of the updates of all workers.
struct Outcome {
    owned: Owned,
    micros_per_worker: f64,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        owned_by_a_manager()?;
        what_each_costs()?;
        lost_and_cured()
    })
}

fn owned_by_a_manager() -> Result<(), Failure> {
    part!("each process puts its pid in the map and its number in the list", "每个进程把自己的 pid 放进字典，把编号放进列表");
    let ordinary = RefCell::new(BTreeMap::new());
    let outcome = with_manager(|client, worker| {
        let key = format!("worker {worker}");
        // In this process's copy.
        ordinary.borrow_mut().insert(key.clone(), id());
        client.ask(&Request::Set(key, id().into()))?;
        client.ask(&Request::Append(worker))?;
        say!("worker {worker} has sent two requests: set and append", "worker {worker} 发出了两个请求：写入和追加");
        Ok(())
    })?;
    say!("the manager's map: {:?}", "管理进程的字典：{:?}", outcome.owned.map);
    say!("the manager's list, in the order of the requests: {:?}", "管理进程的列表，按请求到达的顺序：{:?}", outcome.owned.list);
    shown!(
        "{} processes put {} entries in one map; an ordinary map of the parent's, which each child copied, has {}",
        "{} 个进程向同一个字典写入了 {} 项；父进程自己的普通字典被各子进程复制，其中有 {} 项",
        WORKERS,
        outcome.owned.map.len(),
        ordinary.borrow().len()
    );
    Ok(())
}

fn what_each_costs() -> Result<(), Failure> {
    part!(
        "the same updates with each: {WORKERS} processes, each adds 1 {UPDATES} times and appends {UPDATES} times",
        "两种方式做同样的修改：{WORKERS} 个进程，各加 1 共 {UPDATES} 次，各追加 {UPDATES} 次"
    );
    let managed = with_manager(|client, worker| {
        (0..UPDATES).try_for_each(|_| {
            client.ask(&Request::Add("x".to_owned(), 1))?;
            client.ask(&Request::Append(worker)).map(drop)
        })
    })?;
    let by_manager = told("manager", "管理进程", managed.owned.map["x"], &managed.owned.list, managed.micros_per_worker)?;

    let shared = Shared::map()?;
    let micros = at_once(
        vec![(); WORKERS],
        |()| Vec::new(),
        |(), worker| {
            (0..UPDATES).try_for_each(|_| {
                shared.add(worker, 1)?;
                shared.append(worker, worker)
            })
        },
    )?;
    let by_mutex = told("mutex", "互斥锁", shared.entry(), &shared.list(), micros)?;
    shown!(
        "both are right; an operation took {by_manager:.2} µs through the manager (two messages, two wake-ups) and {by_mutex:.2} µs under the mutex",
        "两者结果都正确；一次操作经管理进程耗时 {by_manager:.2} µs（两条消息、两次唤醒），用互斥锁耗时 {by_mutex:.2} µs"
    );
    Ok(())
}

/// Says what came out of the updates, and checks it. Returns the time of an operation in microseconds.
fn told(how: &str, how_in_chinese: &str, sum: u64, list: &[u64], micros: f64) -> Result<f64, Failure> {
    let of_each: Vec<usize> = (0..WORKERS as u64).map(|worker| list.iter().filter(|&&number| number == worker).count()).collect();
    let each = micros / (2 * UPDATES) as f64;
    say!(
        "{how}: x = {sum}, the list has {} items, of each worker {of_each:?}; an operation took {each:.2} µs",
        "{how_in_chinese}：x = {sum}，列表有 {} 项，各 worker 分别为 {of_each:?}；一次操作耗时 {each:.2} µs",
        list.len()
    );
    let is_right = sum == ALL as u64 && of_each.iter().all(|&count| count == UPDATES);
    if is_right { Ok(each) } else { Err(Failure(format!("{how}: x and the list's length were to be {ALL}"))) }
}

fn lost_and_cured() -> Result<(), Failure> {
    part!(
        "{WORKERS} processes add 1 to x {UPDATES} times each, through the manager",
        "{WORKERS} 个进程经管理进程各给 x 加 1 共 {UPDATES} 次"
    );
    let mut lost = 0;
    for _ in 0..RACES_MAX {
        let raced = with_manager(|client, _| (0..UPDATES).try_for_each(|_| get_and_set(client)))?;
        let found = raced.owned.map["x"];
        lost = ALL as u64 - found;
        say!("get and set, two requests: x = {found} of {ALL}; lost: {lost}", "先读后写，两个请求：x = {found}，应为 {ALL}；丢失：{lost}");
        if lost > 0 {
            break;
        }
    }

    let added = with_manager(|client, _| (0..UPDATES).try_for_each(|_| client.ask(&Request::Add("x".to_owned(), 1)).map(drop)))?;
    let found = added.owned.map["x"];
    say!("add, one request: x = {found} of {ALL}; lost: {}", "“加”，一个请求：x = {found}，应为 {ALL}；丢失：{}", ALL as u64 - found);

    let shared = Shared::map()?;
    let locked = with_manager(|client, worker| {
        (0..UPDATES).try_for_each(|_| {
            let _guard = shared.lock(worker)?;
            get_and_set(client)
        })
    })?;
    let found = locked.owned.map["x"];
    say!(
        "get and set with a lock held: x = {found} of {ALL}; lost: {}",
        "持锁先读后写：x = {found}，应为 {ALL}；丢失：{}",
        ALL as u64 - found
    );
    shown!(
        "two requests lost {lost} of {ALL} updates; one request and two requests under a lock lost none",
        "两个请求丢失了 {ALL} 次修改中的 {lost} 次；单一请求和持锁的两个请求一次也没丢"
    );
    let is_right = added.owned.map["x"] == ALL as u64 && found == ALL as u64;
    if is_right { Ok(()) } else { Err(Failure("an update was lost in spite of the cure".to_owned())) }
}

/// `d['x'] += 1`, as a program that has no other request does it.
fn get_and_set(client: &Client) -> Result<(), Failure> {
    let seen = client.get("x")?;
    client.ask(&Request::Set("x".to_owned(), seen + 1)).map(drop)
}

/// Has the workers do `work` at the same time, each with a connection to a new manager.
fn with_manager(work: impl Fn(&Client, u64) -> Result<(), Failure>) -> Result<Outcome, Failure> {
    // One for each worker, and one for this process.
    let pairs = (0..=WORKERS).map(|_| pair()).collect::<nix::Result<Vec<_>>>().cannot("make the connections")?;
    let (ends, managers): (Vec<_>, Vec<QueueEnd<Answer, Request>>) = pairs.into_iter().unzip();
    let mut manager = Process::start_with(managers, |ends| ends.iter().map(AsFd::as_fd).collect(), |ends| exit_code(manage(ends)))
        .cannot("start the manager")?;
    let mut clients: Vec<Client> = ends.into_iter().map(Client).collect();
    let own = clients.remove(0);
    let micros_per_worker = at_once(clients, |client| vec![client.0.as_fd()], work)?;
    let owned = own.all()?;
    // The manager ends when the last client has gone.
    drop(own);
    went_well("the manager", manager.join())?;
    Ok(Outcome { owned, micros_per_worker })
}

/// Starts a process for each of these, lets them begin at the same time, and waits for all. Returns the mean time of `work` in microseconds.
fn at_once<T>(
    of_each: Vec<T>,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>> + Copy,
    work: impl Fn(&T, u64) -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let (start, nanoseconds) = (Event::map("start").cannot("map an event")?, Value::map("time").cannot("map a value")?);
    let run = |own: T, worker| {
        start.wait(patience());
        let began = Instant::now();
        work(&own, worker)?;
        nanoseconds.increase(began.elapsed().as_nanos() as u64);
        Ok(())
    };
    let count = of_each.len();
    let workers = of_each.into_iter().zip(0..).map(|(own, worker)| Process::start_with(own, keep, |own| exit_code(run(own, worker))));
    let mut workers = workers.collect::<Result<Vec<_>, _>>().cannot("start the workers")?;
    start.set();
    for worker in &mut workers {
        went_well(format!("a worker, pid {},", worker.pid()), worker.join())?;
    }
    Ok(nanoseconds.get() as f64 / 1e3 / count as f64)
}
