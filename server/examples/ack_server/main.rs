//! The smallest whole: a process for each CPU, and in it for each client two threads joined by a queue, which answer every message in the client's charset.
//!
//! Watch for: the processes share the listening socket, and whoever is free accepts; a message is a line, however the bytes arrive, and it is decoded when
//! it is whole, so a character of two bytes in two pieces is one character; a client that says that it will send no more (`nc -N`) is answered to the
//! end; a message of more than 4,096 bytes (`LINE_BYTES_MAX`) is refused as a whole; who says nothing of a charset speaks GBK.
//!
//! `ack_server ADDR` listens there, and ends when nobody has been there for 2 s. Try `printf '/charset utf-8\n你好\n' | nc -N HOST PORT`.
//!
//! At work in the server: the worker (`worker/pair.rs`). It does this for all its clients with one such pair, and everyone is told.

mod connection;
#[path = "../stage/mod.rs"]
mod stage;
mod talk;

use connection::{receive, send};
use crossbeam_channel::bounded;
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Array;
use forkchat_server::sys::threads::can_start_threads;
use stage::{Attempt, Failure, exit_code, say};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use talk::talk;

/// Clients at a time, for each process. The others wait in the kernel's queue.
const CLIENTS_MAX: usize = 16;
/// Messages that wait to be answered. With more the client is not read: its kernel soon makes it wait.
const QUEUE: usize = 8;
const STACK_BYTES: usize = 256 * 1024;
const IDLE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Failure> {
    let address = std::env::args_os().nth(1).map_or("127.0.0.1:0".to_owned(), |address| address.to_string_lossy().into_owned());
    let listener = TcpListener::bind(&address).cannot(format!("listen on {address}"))?;
    let address = listener.local_addr().cannot("ask for the address")?;
    let count = available_parallelism().cannot("count the CPUs")?.get();
    let clients: Array<AtomicU64> = Array::map("clients", count).cannot("map the number of clients")?;
    let start = |number: usize| {
        let own = listener.try_clone()?;
        Process::start_with(own, |own| vec![own.as_fd()], move |own| exit_code(serve(&own, &clients[number])))
    };
    let mut workers = (0..count).map(|number| Ok((number, start(number)?))).collect::<io::Result<Vec<_>>>().cannot("start the workers")?;
    // Whoever comes is the workers' to accept: with the last of them the socket is closed.
    drop(listener);
    say!("listening on {address}, {count} processes");

    let talkers = [(None, "你好"), (Some("utf-8"), "grüß dich"), (Some("windows-1251"), "привет")];
    let talkers = talkers.map(|(charset, text)| Process::start(move || exit_code(talk(address, charset, text))).cannot("start a client"));
    // Those who ended and should not have, or not like that.
    let mut failed = 0;
    for talker in talkers {
        let mut talker = talker?;
        failed += usize::from(talker.join() != End::Exited(0));
        say!("a client of our own, pid {}: {}", talker.pid(), talker.join());
    }
    let mut last_seen = Instant::now();
    while last_seen.elapsed() < IDLE && !workers.is_empty() {
        workers.retain_mut(|(number, worker)| {
            if !worker.is_alive() {
                say!("worker {number}, pid {}: {}", worker.pid(), worker.join());
                failed += 1;
            // Only those who live have clients.
            } else if clients[*number].load(Ordering::Relaxed) > 0 {
                last_seen = Instant::now();
            }
            worker.is_alive()
        });
        sleep(Duration::from_millis(10));
    }
    if workers.is_empty() {
        return Err(Failure("no worker is left: each has ended as told above".to_owned()));
    }
    say!("nobody has been there for {} s; the end", IDLE.as_secs());
    if failed == 0 { Ok(()) } else { Err(Failure(format!("{failed} of the processes ended that should not have, as told above"))) }
}

/// What a process does: two threads of its pool for each client.
fn serve(listener: &TcpListener, count: &'static AtomicU64) -> Result<(), Failure> {
    let threads = 2 * CLIENTS_MAX;
    // It would panic.
    if !can_start_threads(threads, STACK_BYTES) {
        return Err(Failure(format!("cannot start {threads} threads: the system gives no more; see ulimit -u")));
    }
    let pool = threadpool::Builder::new().num_threads(threads).thread_stack_size(STACK_BYTES).build();
    // A client whose second thread had to wait for another's end might wait for ever.
    let (come, gone) = bounded(CLIENTS_MAX);
    loop {
        come.send(())?;
        let (client, _) = listener.accept().cannot("accept a client")?;
        let other = client.try_clone().cannot("duplicate a client's descriptor")?;
        count.fetch_add(1, Ordering::Relaxed);
        let ((answers, queue), gone) = (bounded(QUEUE), gone.clone());
        pool.execute(move || receive(client, &answers));
        pool.execute(move || {
            send(&other, &queue);
            count.fetch_sub(1, Ordering::Relaxed);
            let _ = gone.recv();
        });
    }
}
