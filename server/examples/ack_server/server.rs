//! The processes of the server: started, watched, ended; and what each of them does.

use crate::connection::{Client, receive, send};
use crate::network::address::listen;
use crate::network::messages::Framing;
use crate::network::wait::wait_for_any;
use crate::stage::interrupt::Interrupt;
use crate::stage::{Attempt, Failure, ended, exit_code, nap, say, shown, text};
use crossbeam_channel::bounded;
use forkchat_common::charset::Charset;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use forkchat_server::sys::process::watch_end;
use forkchat_server::sys::threads::can_start_threads;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

/// A process for each CPU, up to this many.
const PROCESSES_MAX: usize = 8;
/// Clients at a time, for each process. The others wait in the kernel's queue.
const CLIENTS_MAX: usize = 32;
/// Messages of a client that wait to be answered. With more the client is not read, so its kernel
/// soon makes it wait.
const QUEUE: usize = 8;
const STACK_BYTES: usize = 256 * 1024;

/// The processes of a server, as their parent has them.
pub struct Server {
    workers: Vec<(usize, Process, OwnedFd)>,
    counts: Counts,
}

/// What the processes count, in memory that they share.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Clients accepted, for each process.
    clients: Array<AtomicU64>,
    messages: Value,
}

/// Serves at `address` until Ctrl-C or SIGTERM.
pub fn serve(address: SocketAddr, charset: Charset, framing: Framing) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().cannot("watch for signals")?;
    let listener = listen(address)?;
    let address = listener.local_addr().cannot("ask for the address")?;
    let mut server = Server::start(listener, charset, framing)?;
    say!(
        "listening on {address}; Ctrl-C ends the server",
        "正在监听 {address}；按 Ctrl-C 结束服务器"
    );
    loop {
        let ends = server.workers.iter().map(|(_, _, end)| end.as_fd());
        wait_for_any(ends.chain([interrupt.as_fd()])).cannot("wait for a signal")?;
        // First: a signal may have come to all processes.
        if let Some(signal) = interrupt.came() {
            say!("{signal} came: the server ends", "收到 {signal}：服务器结束");
            break;
        }
        server.reap();
        if server.workers.is_empty() {
            return Err(Failure(text!("no process is left to serve", "已经没有进程可以提供服务")));
        }
    }
    let counts = server.counts;
    server.end();
    shown!(
        "clients accepted: {} (by process: {:?}); messages answered: {}; no process stays",
        "接受的客户端：{} 个（各进程：{:?}）；应答的消息：{} 条；没有遗留进程",
        counts.clients().iter().sum::<u64>(),
        counts.clients(),
        counts.messages()
    );
    Ok(())
}

impl Server {
    /// Starts the processes. From then on they alone have the listening socket, and whichever is
    /// free accepts.
    pub fn start(
        listener: TcpListener,
        charset: Charset,
        framing: Framing,
    ) -> Result<Server, Failure> {
        let count = available_parallelism().cannot("count the CPUs")?.get().min(PROCESSES_MAX);
        let clients = Array::map("clients", count).cannot("map the number of clients")?;
        let counts = Counts {
            clients,
            messages: Value::map("messages").cannot("map the number of messages")?,
        };
        let start = |number: usize| {
            let own = listener.try_clone()?;
            let process = Process::start_with(
                own,
                |own| vec![own.as_fd()],
                |own| exit_code(work(&own, number, counts, charset, framing)),
            )?;
            let end = watch_end(process.pid())?;
            Ok((number, process, end))
        };
        let workers =
            (0..count).map(start).collect::<io::Result<Vec<_>>>().cannot("start the processes")?;
        for (number, process, _) in &workers {
            say!(
                "started process {number} as pid {}",
                "已启动进程 {number}，pid {}",
                process.pid()
            );
        }
        Ok(Server { workers, counts })
    }

    /// Reports the processes that have ended, and returns how many these are. They are not
    /// replaced.
    pub fn reap(&mut self) -> usize {
        let before = self.workers.len();
        let mut left = before;
        self.workers.retain_mut(|(number, process, _)| {
            let is_alive = process.is_alive();
            if !is_alive {
                let end = ended(process.join());
                left -= 1;
                say!(
                    "process {number} (pid {}) {end}; its clients are disconnected; processes left: {left}",
                    "进程 {number}（pid {}）{end}；它的客户端已断开；剩余进程：{left} 个",
                    process.pid()
                );
            }
            is_alive
        });
        before - self.workers.len()
    }

    /// Ends all processes, and with them the connections.
    pub fn end(mut self) {
        self.workers.iter().for_each(|(_, process, _)| process.terminate());
        for (number, process, _) in &mut self.workers {
            let end = ended(process.join());
            say!(
                "process {number} (pid {}) {end}, as it was asked to",
                "按要求，进程 {number}（pid {}）{end}",
                process.pid()
            );
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    pub fn clients(self) -> Vec<u64> {
        self.clients.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// How many processes have accepted a client.
    pub fn accepting(self) -> usize {
        self.clients().iter().filter(|&&clients| clients > 0).count()
    }

    pub fn messages(self) -> u64 {
        self.messages.get()
    }
}

/// What a process does: it accepts clients, and gives each of them a thread of each pool.
fn work(
    listener: &TcpListener,
    number: usize,
    counts: Counts,
    charset: Charset,
    framing: Framing,
) -> Result<(), Failure> {
    Interrupt::forget_sigterm()?;
    // The pools would panic.
    if !can_start_threads(2 * CLIENTS_MAX, STACK_BYTES) {
        return Err(Failure(format!(
            "cannot start {} threads: the system gives no more; see ulimit -u",
            2 * CLIENTS_MAX
        )));
    }
    let pool = || {
        threadpool::Builder::new().num_threads(CLIENTS_MAX).thread_stack_size(STACK_BYTES).build()
    };
    let (receivers, senders) = (pool(), pool());
    // A client is accepted only when each pool has a free thread. If its second thread had to wait
    // for another client's end, it might wait for ever.
    let (come, gone) = bounded(CLIENTS_MAX);
    loop {
        come.send(())?;
        let (client, other) = match accept(listener, charset, framing) {
            Ok(both) => both,
            Err(error) => {
                say!("cannot accept a client: {error}", "无法接受客户端：{error}");
                // It may be for want of descriptors. Then the client still waits, and the next
                // accept would fail at once.
                nap(50);
                gone.recv()?;
                continue;
            }
        };
        counts.clients[number].fetch_add(1, Ordering::Relaxed);
        let ((answers, queue), gone) = (bounded(QUEUE), gone.clone());
        receivers.execute(move || receive(client, &answers));
        senders.execute(move || {
            send(other, &queue, counts.messages);
            let _ = gone.recv();
        });
    }
}

/// The next client, once for each of its threads.
fn accept(
    listener: &TcpListener,
    charset: Charset,
    framing: Framing,
) -> io::Result<(Client, Client)> {
    let (socket, address) = listener.accept()?;
    let other = socket.try_clone()?;
    say!("accepted client {address}", "接受了客户端 {address}");
    let client = |socket| Client { socket, address, charset, framing };
    Ok((client(socket), client(other)))
}
