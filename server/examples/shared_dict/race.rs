//! The race through the manager, and its two cures.

use crate::manager::{Client, Request};
use crate::memory::Shared;
use crate::stage::{Failure, part, say, shown};
use crate::workers::with_manager;
use crate::{ALL, UPDATES, WORKERS};

/// The race is repeated until it has lost an update, but no more often than this.
const RACES_MAX: usize = 5;

pub fn lost_and_cured() -> Result<(), Failure> {
    part!(
        "{WORKERS} processes add 1 to x {UPDATES} times each, through the manager",
        "{WORKERS} 个进程经管理进程各给 x 加 1 共 {UPDATES} 次"
    );
    let lost = race()?;
    let in_one_request = with_manager(|client, _| {
        (0..UPDATES).try_for_each(|_| client.ask(&Request::Add("x".to_owned(), 1)).map(drop))
    })?;
    told(["add, one request", "“加”，一个请求"], in_one_request.owned.map["x"])?;
    let shared = Shared::map()?;
    let locked = with_manager(|client, worker| {
        (0..UPDATES).try_for_each(|_| {
            let _guard = shared.lock(worker)?;
            get_and_set(client)
        })
    })?;
    told(["get and set with a lock held", "持锁先读后写"], locked.owned.map["x"])?;
    shown!(
        "two requests lost {lost} of {ALL} updates; one request and two requests under a lock lost none",
        "两个请求丢失了 {ALL} 次修改中的 {lost} 次；单一请求和持锁的两个请求一次也没丢"
    );
    Ok(())
}

/// Returns how many updates were lost.
fn race() -> Result<usize, Failure> {
    let mut lost = 0;
    for _ in 0..RACES_MAX {
        let raced = with_manager(|client, _| (0..UPDATES).try_for_each(|_| get_and_set(client)))?;
        let found = raced.owned.map["x"];
        lost = ALL - found as usize;
        say!(
            "get and set, two requests: x = {found} of {ALL}; lost: {lost}",
            "先读后写，两个请求：x = {found}，应为 {ALL}；丢失：{lost}"
        );
        if lost > 0 {
            break;
        }
    }
    Ok(lost)
}

/// `d['x'] += 1`, as a program that has no other request does it.
fn get_and_set(client: &Client) -> Result<(), Failure> {
    let seen = client.get("x")?;
    client.ask(&Request::Set("x".to_owned(), seen + 1)).map(drop)
}

/// Says what came out of a cure, and fails if an update was lost.
fn told(how: [&str; 2], found: u64) -> Result<(), Failure> {
    let lost = ALL - found as usize;
    say!(
        "{}: x = {found} of {ALL}; lost: {lost}",
        "{}：x = {found}，应为 {ALL}；丢失：{lost}",
        how[usize::from(crate::stage::is_chinese())]
    );
    if lost == 0 { Ok(()) } else { Err(Failure(format!("{} lost {lost} updates", how[0]))) }
}
