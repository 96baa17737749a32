//! The smallest whole: a process for each CPU, and in it for each client two threads joined by a queue, which answer every message in the client's charset.
//!
//! Watch for: the processes share the listening socket, and whoever is free accepts; a message is a line, however the bytes arrive, and it is decoded when
//! it is whole, so a character of two bytes in two pieces is one character; a client that says that it will send no more (`nc -N`) is answered to the
//! end. `ack_server ADDR` listens there, and ends when nobody has been there for 2 s. Try `printf 'hi\n/charset utf-8\n你好\n' | nc -N ADDR`.
//!
//! At work in the server: the worker (`worker/pair.rs`). It does this for all its clients with one such pair, and everyone is told.

#[path = "../stage/mod.rs"]
mod stage;
mod talk;

use crossbeam_channel::{Receiver, Sender, bounded};
use forkchat_common::charset::Charset;
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Array;
use stage::say;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use talk::talk;
use threadpool::ThreadPool;

/// Clients at a time, for each process. The others wait in the kernel's queue.
const CLIENTS_MAX: usize = 16;
/// Messages that wait to be answered. With more the client is not read: its kernel soon makes it wait.
const QUEUE: usize = 8;
const IDLE: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:0"))?;
    let (address, count) = (listener.local_addr()?, available_parallelism()?.get());
    let clients: Array<AtomicU64> = Array::map("clients", count)?;
    let start = |number: usize| {
        let own = listener.try_clone()?;
        Process::start_with(own, |own| vec![own.as_fd()], move |own| serve(&own, &clients[number]))
    };
    let mut workers = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
    // Whoever comes is the workers' to accept: with the last of them the socket is closed.
    drop(listener);
    say!("listening on {address}, {count} processes");

    let mut talkers = [("gbk", "你好"), ("utf-8", "grüß dich"), ("windows-1251", "привет")]
        .map(|(charset, text)| Process::start(move || talk(address, charset, text).map_or(1, |()| 0)));
    talkers.iter_mut().flatten().for_each(|talker| drop(talker.join().to_string()));
    let mut last_seen = Instant::now();
    while last_seen.elapsed() < IDLE && workers.iter_mut().any(Process::is_alive) {
        // Only those who live have clients.
        if clients.iter().zip(&mut workers).any(|(clients, worker)| worker.is_alive() && clients.load(Ordering::Relaxed) > 0) {
            last_seen = Instant::now();
        }
        sleep(Duration::from_millis(10));
    }
    say!("nobody has been there for {} s; the end", IDLE.as_secs());
    Ok(())
}

/// What a process does: two threads of its pool for each client.
fn serve(listener: &TcpListener, count: &'static AtomicU64) -> i32 {
    let pool = ThreadPool::new(2 * CLIENTS_MAX);
    // A client whose second thread had to wait for another's end might wait for ever.
    let (come, gone) = bounded(CLIENTS_MAX);
    while let (Ok(()), Ok((client, _))) = (come.send(()), listener.accept()) {
        let Ok(other) = client.try_clone() else { continue };
        count.fetch_add(1, Ordering::Relaxed);
        let ((messages, answers), gone) = (bounded(QUEUE), gone.clone());
        pool.execute(move || receive(client, &messages));
        pool.execute(move || {
            send(&other, &answers);
            count.fetch_sub(1, Ordering::Relaxed);
            let _ = gone.recv();
        });
    }
    1
}

/// Reads messages until the client ends. What is left without an LF at the end is a message, too.
fn receive(client: TcpStream, messages: &Sender<(Charset, String)>) {
    let mut charset = Charset::by_label("gbk").unwrap_or_default();
    let (mut reader, mut line) = (BufReader::new(client), Vec::new());
    while matches!((&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line), Ok(1..)) {
        let mut text = String::new();
        charset.decode(line.trim_ascii_end(), &mut text);
        charset = text.strip_prefix("/charset ").and_then(|label| Charset::by_label(label).ok()).unwrap_or(charset);
        if messages.send((charset, text)).is_err() {
            return;
        }
        line.clear();
    }
}

/// Answers each message. When there will be no more the client is told so.
fn send(mut client: &TcpStream, messages: &Receiver<(Charset, String)>) {
    for (charset, text) in messages {
        let mut bytes = Vec::new();
        charset.encode(&format!("received: {text}\n"), &mut bytes);
        if client.write_all(&bytes).is_err() {
            break;
        }
    }
    // Also ends the wait of the thread that reads, if it was the client that went away.
    let _ = client.shutdown(Shutdown::Both);
}
