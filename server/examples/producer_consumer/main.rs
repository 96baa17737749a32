//! A queue between processes: producers put items in, consumers take them out, and neither side
//! knows the other.
//!
//! In the server: the journal consumes what the workers put in the log (`journal/reading.rs`); the
//! pool of processes takes its jobs from a joinable queue (`ipc/pool.rs`).

mod joined;
mod markers;
#[path = "../stage/mod.rs"]
mod stage;

use stage::Lesson;
use std::process::ExitCode;

const CONSUMERS: u16 = 3;
const ITEMS: u64 = 12;
/// Of all items, which are the numbers from 1.
const SUM: u64 = ITEMS * (ITEMS + 1) / 2;
/// How long a consumer works at an item, in milliseconds.
const WORK_MS: u64 = 5;

const LESSON: Lesson = Lesson {
    about: ["Producers and consumers", "生产者与消费者"],
    watch_for: &[
        [
            "which consumer takes which item: each item is taken once",
            "哪个消费者取了哪一项：每一项只被取走一次",
        ],
        [
            "a consumer ends when it takes an end marker, so each consumer needs a marker",
            "消费者取到结束标记才结束，所以每个消费者都要有一个标记",
        ],
        [
            "a forgotten end marker: without a deadline the last consumer would wait for ever",
            "忘放一个结束标记：若没有超时，最后一个消费者会永远等下去",
        ],
        [
            "a joinable queue knows when all items are done, not only taken",
            "可 join 的队列知道所有项何时做完，而不只是被取走",
        ],
        ["the item of a killed consumer is not lost", "消费者被杀死，它手里的那一项不会丢"],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        markers::one_for_each()?;
        markers::one_forgotten()?;
        joined::joined()
    })
}
