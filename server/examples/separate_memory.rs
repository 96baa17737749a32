//! After a fork each process has memory of its own, at the same addresses. Only memory that was
//! mapped as shared before the fork is the same for all.
//!
//! Each part is a function below, in the order in which it runs.
//!
//! In the server: each worker has its own copy of the chat (`replica.rs`), and all share one
//! segment (`segment/mod.rs`).

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use stage::{Attempt, Failure, Lesson, ended, part, say, shown, went_well};
use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

const LESSON: Lesson = Lesson {
    about: ["Memory: what a fork copies, and what it shares", "内存：fork 复制什么，共享什么"],
    watch_for: &[
        [
            "one address, and yet two variables: the child changes only its own",
            "地址相同，却是两个变量：子进程只改了自己的那个",
        ],
        [
            "a shared value, mapped before the fork, is the same for both processes",
            "fork 之前映射的共享值，对两个进程是同一个",
        ],
        [
            "copy on write: the fork copies no pages, reading copies none, writing copies them",
            "写时复制：fork 不复制页面，读也不复制，写才复制",
        ],
        [
            "each child has its own copy of a list; a shared array has the entries of all",
            "列表每个子进程各有一份；共享数组里有所有子进程写入的内容",
        ],
    ],
};

const CHILDREN: usize = 4;
const ADDITIONS: u64 = 1_000;
const BUFFER_KIB: usize = 16 * 1024;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        variable_and_value()?;
        copy_on_write()?;
        list_and_array()
    })
}

fn variable_and_value() -> Result<(), Failure> {
    part!("a variable and a shared value", "普通变量与共享值");
    let mut variable = 1;
    // Mapped before the fork. Otherwise there would be nothing to inherit.
    let value = Value::map("example-value").cannot("map a shared value")?;
    value.set(1);
    say!(
        "before the fork: variable {variable} at {:p}, shared value {}",
        "fork 之前：变量 {variable}，地址 {:p}，共享值 {}",
        &variable,
        value.get()
    );
    let mut child = Process::start(|| {
        variable += 41;
        value.increase(41);
        say!(
            "in the child: variable {variable} at {:p}, shared value {}",
            "子进程中：变量 {variable}，地址 {:p}，共享值 {}",
            &variable,
            value.get()
        );
        0
    })
    .cannot("start a child")?;
    went_well("the child", child.join())?;
    say!(
        "in the parent: variable {variable} at {:p}, shared value {}",
        "父进程中：变量 {variable}，地址 {:p}，共享值 {}",
        &variable,
        value.get()
    );
    shown!(
        "the child added 41 to both: the parent's variable is still {variable}, the shared value is {}",
        "子进程给两者都加了 41：父进程的变量仍是 {variable}，共享值是 {}",
        value.get()
    );
    Ok(())
}

fn copy_on_write() -> Result<(), Failure> {
    part!("copy on write", "写时复制");
    let mut buffer = vec![1_u8; BUFFER_KIB * 1024];
    say!(
        "the parent fills a buffer of {BUFFER_KIB} KiB with ones",
        "父进程把 {BUFFER_KIB} KiB 的缓冲区填满 1"
    );
    let own = Array::<AtomicU64>::map("example-own", 3).cannot("map a shared array")?;
    let mut child = Process::start(|| {
        let sum = |buffer: &[u8]| buffer.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let forked = own_memory_kib();
        let ones = sum(&buffer);
        let read = own_memory_kib();
        buffer.fill(2);
        let written = own_memory_kib();
        say!("only the child's: {forked} KiB right after the fork", "子进程独占的内存：刚 fork 之后 {forked} KiB");
        say!(
            "only the child's: {read} KiB after it read the buffer, whose sum is {ones}",
            "子进程独占的内存：读完缓冲区（总和 {ones}）之后 {read} KiB"
        );
        say!(
            "only the child's: {written} KiB after it wrote to all of the buffer, whose sum is now {}",
            "子进程独占的内存：写完整个缓冲区（现在总和 {}）之后 {written} KiB",
            sum(&buffer)
        );
        for (entry, kib) in own.iter().zip([forked, read, written]) {
            entry.store(kib, Ordering::Relaxed);
        }
        0
    })
    .cannot("start a child")?;
    went_well("the child", child.join())?;
    let ones = buffer.iter().filter(|&&byte| byte == 1).count();
    say!("the parent's buffer still has {ones} ones", "父进程的缓冲区里仍有 {ones} 个 1");
    let own: Vec<u64> = own.iter().map(|entry| entry.load(Ordering::Relaxed)).collect();
    shown!(
        "of {BUFFER_KIB} KiB, reading copied {} KiB and writing {} KiB (the few KiB beyond the buffer are the child's own stack and heap)",
        "{BUFFER_KIB} KiB 之中，读引起的复制为 {} KiB，写引起的复制为 {} KiB（多出的几到十几 KiB 是子进程自己的栈和堆）",
        own[1].saturating_sub(own[0]),
        own[2].saturating_sub(own[1])
    );
    Ok(())
}

fn list_and_array() -> Result<(), Failure> {
    part!(
        "a list and a shared array, filled by {CHILDREN} children",
        "普通列表与共享数组，由 {CHILDREN} 个子进程填写"
    );
    let mut list = [0; CHILDREN];
    let array = Array::<AtomicU64>::map("example-array", CHILDREN).cannot("map a shared array")?;
    let total = Value::map("example-total").cannot("map a shared value")?;
    let mut children = Vec::new();
    for place in 0..CHILDREN {
        let child = Process::start(|| {
            list[place] = std::process::id();
            // Each entry has only one writer, so nothing is locked.
            array[place].store(u64::from(std::process::id()), Ordering::Relaxed);
            // This value has several writers at the same time, so each addition is atomic. Python's
            // `Value += 1` without its lock loses some.
            for _ in 0..ADDITIONS {
                total.increase(1);
            }
            say!(
                "child {place} has put its pid in both; its own list is {list:?}",
                "子进程 {place} 把 pid 写进两处；它自己的列表是 {list:?}"
            );
            0
        });
        children.push(child.cannot(format!("start child {place}"))?);
    }
    for (place, child) in children.iter_mut().enumerate() {
        let end = child.join();
        say!("child {place} (pid {}) {}", "子进程 {place}（pid {}）{}", child.pid(), ended(end));
        went_well(format!("child {place}"), end)?;
    }
    // After the join the parent sees everything that the children did.
    let array: Vec<u64> = array.iter().map(|entry| entry.load(Ordering::Relaxed)).collect();
    say!("the parent's own list is {list:?}", "父进程自己的列表是 {list:?}");
    say!("the shared array is {array:?}", "共享数组是 {array:?}");
    shown!(
        "{} entries of the parent's list were changed, {} of the shared array; {CHILDREN} children added 1 to a shared value {ADDITIONS} times each, by atomic addition: {}",
        "父进程的列表有 {} 项被改，共享数组有 {} 项被改；{CHILDREN} 个子进程各用原子加法给共享值加 1，每个 {ADDITIONS} 次，总计 {}",
        list.iter().filter(|&&entry| entry != 0).count(),
        array.iter().filter(|&&entry| entry != 0).count(),
        total.get()
    );
    Ok(())
}

/// Memory of this process that no other process has, in KiB; 0 if the kernel does not report it.
/// Source: proc_pid_smaps(5), `smaps_rollup`.
fn own_memory_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
