//! A map and a list that several processes change: through a manager process that owns them, and in
//! shared memory under a mutex.
//!
//! In the server: `ipc/queue.rs` carries the messages between the supervisor and the workers;
//! `segment/log/append.rs` changes shared memory under a mutex.

mod manager;
mod memory;
mod race;
#[path = "../stage/mod.rs"]
mod stage;
mod workers;

use manager::Request;
use memory::Shared;
use stage::{Failure, Lesson, part, say, shown};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::{ExitCode, id};
use workers::{at_once, with_manager};

const WORKERS: usize = 3;
/// How often each worker adds, and how often it appends. The whole list must fit in a message of 1
/// KiB.
const UPDATES: usize = 250;
const ALL: usize = WORKERS * UPDATES;
const LESSON: Lesson = Lesson {
    about: ["A map and a list that several processes change", "多个进程共同修改的字典和列表"],
    watch_for: &[
        [
            "the manager process owns the map and the list; the others send it requests",
            "管理者进程拥有字典和列表，其他进程向它发请求",
        ],
        [
            "the time of an operation: a request to the manager, against a mutex around shared memory",
            "一次操作的耗时：向管理者进程发请求，对比用互斥锁保护的共享内存",
        ],
        [
            "d['x'] += 1 is two requests, get and set: what another process adds between them is lost",
            "d['x'] += 1 是两个请求（先读后写）：别的进程在两者之间加上的数会丢失",
        ],
        [
            "two cures: the manager offers \"add\" as one request, or a lock is held during both requests",
            "两种解法：管理者进程提供“加”这个单一请求，或者两个请求期间一直持有锁",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        owned_by_a_manager()?;
        what_each_costs()?;
        race::lost_and_cured()
    })
}

fn owned_by_a_manager() -> Result<(), Failure> {
    part!(
        "each process puts its pid in the map and its number in the list",
        "每个进程把自己的 pid 放进字典，把编号放进列表"
    );
    let ordinary = RefCell::new(BTreeMap::new());
    let outcome = with_manager(|client, worker| {
        let key = format!("worker {worker}");
        // In this process's copy.
        ordinary.borrow_mut().insert(key.clone(), id());
        client.ask(&Request::Set(key, id().into()))?;
        client.ask(&Request::Append(worker))?;
        say!(
            "worker {worker} has sent two requests: set and append",
            "worker {worker} 发出了两个请求：写入和追加"
        );
        Ok(())
    })?;
    say!("the manager's map: {:?}", "管理者进程的字典：{:?}", outcome.owned.map);
    say!(
        "the manager's list, in the order of the requests: {:?}",
        "管理者进程的列表，按请求到达的顺序：{:?}",
        outcome.owned.list
    );
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
    let by_manager = told(
        "manager",
        "管理者进程",
        managed.owned.map["x"],
        &managed.owned.list,
        managed.micros_per_worker,
    )?;

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
        "两者结果都正确；一次操作经管理者进程耗时 {by_manager:.2} µs（两条消息、两次唤醒），用互斥锁耗时 {by_mutex:.2} µs"
    );
    Ok(())
}

/// Says what came out of the updates, and checks it. Returns the time of an operation in
/// microseconds.
fn told(
    how: &str,
    how_in_chinese: &str,
    sum: u64,
    list: &[u64],
    micros: f64,
) -> Result<f64, Failure> {
    let of_each: Vec<usize> = (0..WORKERS as u64)
        .map(|worker| list.iter().filter(|&&number| number == worker).count())
        .collect();
    let each = micros / (2 * UPDATES) as f64;
    say!(
        "{how}: x = {sum}, the list has {} items, of each worker {of_each:?}; an operation took {each:.2} µs",
        "{how_in_chinese}：x = {sum}，列表有 {} 项，各 worker 分别为 {of_each:?}；一次操作耗时 {each:.2} µs",
        list.len()
    );
    let is_right = sum == ALL as u64 && of_each.iter().all(|&count| count == UPDATES);
    if is_right {
        Ok(each)
    } else {
        Err(Failure(format!("{how}: x and the list's length were to be {ALL}")))
    }
}
