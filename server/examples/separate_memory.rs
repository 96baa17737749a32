//! After a fork each process has memory of its own, at the same addresses; only what was mapped as shared before is one and the same.
//!
//! Watch for: the variable at one address that is two; that the copy is made page by page, when somebody writes (copy on write), and not by
//! the fork; that a shared value and a shared array have what any process put there.
//!
//! At work in the server: the state in each worker's memory is its own copy; the event log's slots (`event_log/layout.rs`) are a scoreboard, an entry
//! for each process.

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use stage::{Attempt, Failure, say};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

const CHILDREN: usize = 4;
const ROW_KIB: usize = 16 * 1024;

fn main() -> Result<(), Failure> {
    variable_and_value().cannot("show a variable and a shared value")?;
    copy_on_write().cannot("show copy on write")?;
    row_and_array().cannot("show a row and a shared array")
}

fn variable_and_value() -> io::Result<()> {
    let mut variable = 1;
    // Made before the fork, or there would be nothing to inherit.
    let value = Value::map("example-value")?;
    value.set(1);
    say!("before the fork: variable {variable} at {:p}, shared value {}", &variable, value.get());
    let mut child = Process::start(|| {
        variable += 41;
        value.increase(41);
        say!("in the child: variable {variable} at {:p}, shared value {}", &variable, value.get());
        0
    })?;
    child.join();
    say!("in the parent: variable {variable} at {:p}, shared value {}", &variable, value.get());
    Ok(())
}

fn copy_on_write() -> io::Result<()> {
    let mut row = vec![1_u8; ROW_KIB * 1024];
    say!("the parent fills a row of {ROW_KIB} KiB with ones");
    let mut child = Process::start(|| {
        let sum = |row: &[u8]| row.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let forked = own_memory_kib();
        let ones = sum(&row);
        let read = own_memory_kib();
        row.fill(2);
        let written = own_memory_kib();
        say!("memory that is the child's alone: {forked} KiB when forked");
        say!("memory that is the child's alone: {read} KiB when it has read the row, whose sum is {ones}");
        say!("memory that is the child's alone: {written} KiB when it has written to all of it, sum {}", sum(&row));
        0
    })?;
    child.join();
    say!("the parent's row still has {} ones", row.iter().filter(|&&byte| byte == 1).count());
    Ok(())
}

fn row_and_array() -> io::Result<()> {
    let mut row = [0; CHILDREN];
    let array = Array::<AtomicU64>::map("example-array", CHILDREN)?;
    let total = Value::map("example-total")?;
    let mut children = Vec::new();
    for place in 0..CHILDREN {
        let child = Process::start(|| {
            row[place] = std::process::id();
            // An entry has one writer, so nothing is locked.
            array[place].store(u64::from(std::process::id()), Ordering::Relaxed);
            // This one has several, at the same time.
            for _ in 0..1_000 {
                total.increase(1);
            }
            say!("child {place} has put its pid in both rows: its own is {row:?}");
            0
        })?;
        children.push(child);
    }
    for (place, child) in children.iter_mut().enumerate() {
        say!("child {place}, pid {}: {}", child.pid(), child.join());
    }
    // A join comes after everything that the child did.
    let array: Vec<u64> = array.iter().map(|entry| entry.load(Ordering::Relaxed)).collect();
    say!("the parent's own row is {row:?}");
    say!("the shared array is {array:?}");
    say!("{CHILDREN} children added 1 to a shared value 1000 times each: {}", total.get());
    Ok(())
}

/// Memory of this process that no other process has, in KiB; 0 if the kernel doesn't tell. Source: proc_pid_smaps(5), `smaps_rollup`.
fn own_memory_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
