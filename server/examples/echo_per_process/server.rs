//! The parent: it accepts clients, forks a process for each, and waits for those that have ended.

use crate::connection::echo;
use crate::network::address::listen;
use crate::network::messages::Framing;
use crate::network::wait::wait_for_any;
use crate::stage::interrupt::Interrupt;
use crate::stage::{Attempt, Failure, ended, exit_code, nap, say, shown};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::process::watch_end;
use nix::unistd::Pid;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

/// More clients wait in the kernel until one of these has left.
const PROCESSES_MAX: usize = 16;

pub struct Server {
    listener: TcpListener,
    framing: Framing,
    /// A process for each connection, and a descriptor that becomes readable at its end.
    processes: Vec<(Process, OwnedFd)>,
    clients: u64,
    /// Messages answered, in memory that the processes share.
    messages: Value,
}

/// Serves at `address` until Ctrl-C or SIGTERM.
pub fn serve(address: SocketAddr, framing: Framing) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().cannot("watch for signals")?;
    let mut server = Server::listen(address, framing)?;
    say!(
        "listening on {}; Ctrl-C ends the server",
        "正在监听 {}；按 Ctrl-C 结束服务器",
        server.address()?
    );
    loop {
        server.wait(&interrupt).cannot("wait for clients")?;
        // First: a signal may have come to all processes.
        if let Some(signal) = interrupt.came() {
            say!("{signal} came: the server ends", "收到 {signal}：服务器结束");
            return server.end();
        }
        server.reap();
        server.accept();
    }
}

impl Server {
    pub fn listen(address: SocketAddr, framing: Framing) -> Result<Server, Failure> {
        let listener = listen(address)?;
        // A client that came may be gone before it is accepted. Then accept must not wait.
        listener.set_nonblocking(true)?;
        let messages = Value::map("messages").cannot("map the number of messages")?;
        Ok(Server { listener, framing, processes: Vec::new(), clients: 0, messages })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a signal, the end of a process, or a client; for a client only if it may have a
    /// process.
    fn wait(&self, interrupt: &Interrupt) -> io::Result<()> {
        let clients = (self.processes.len() < PROCESSES_MAX).then(|| self.listener.as_fd());
        let ends = self.processes.iter().map(|(_, end)| end.as_fd());
        wait_for_any(ends.chain(clients).chain([interrupt.as_fd()]))
    }

    /// Accepts a client, if there is one and it may have a process. Returns the pid of its process.
    pub fn accept(&mut self) -> Option<Pid> {
        if self.processes.len() >= PROCESSES_MAX {
            return None;
        }
        let (socket, client) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => {
                say!("cannot accept a client: {error}", "无法接受客户端：{error}");
                // It may be for want of descriptors. Then the client still waits, and the next
                // accept would fail at once.
                nap(50);
                return None;
            }
        };
        match self.fork(socket, client) {
            Ok(process) => {
                let pid = process.0.pid();
                say!(
                    "accepted client {client}; pid {pid} serves it",
                    "接受了客户端 {client}；由 pid {pid} 为它服务"
                );
                self.clients += 1;
                self.processes.push(process);
                Some(pid)
            }
            Err(error) => {
                say!("cannot serve {client}: {error}", "无法为 {client} 服务：{error}");
                None
            }
        }
    }

    /// Starts the process of a connection. It alone has the socket then: `start_with` closes the
    /// parent's copy. As long as a copy is open anywhere, the connection is open, too. A parent
    /// that forgets to close its copy keeps its clients from seeing the end, and runs out of
    /// descriptors some day.
    fn fork(&self, socket: TcpStream, client: SocketAddr) -> io::Result<(Process, OwnedFd)> {
        let (framing, messages) = (self.framing, self.messages);
        let process = Process::start_with(
            socket,
            |socket| vec![socket.as_fd()],
            |socket| {
                exit_code(
                    echo(&socket, client, framing, messages).cannot(format!("serve {client}")),
                )
            },
        )?;
        let end = watch_end(process.pid())?;
        Ok((process, end))
    }

    /// Waits for the processes that have ended, which takes away their zombies.
    pub fn reap(&mut self) {
        self.processes.retain_mut(|(process, _)| {
            let is_alive = process.is_alive();
            if !is_alive {
                let end = ended(process.join());
                say!("pid {} {end}", "pid {} {end}", process.pid());
            }
            is_alive
        });
    }

    /// The processes of the connections that are open.
    pub fn processes(&mut self) -> &mut [(Process, OwnedFd)] {
        &mut self.processes
    }

    /// Ends all processes, and with them the connections.
    pub fn end(mut self) -> Result<(), Failure> {
        // Those that have ended by themselves are reported as such.
        self.reap();
        let open = self.processes.len();
        self.processes.iter().for_each(|(process, _)| process.terminate());
        for (process, _) in &mut self.processes {
            let end = ended(process.join());
            say!(
                "pid {} {end}, with its client still connected",
                "pid {} {end}，它的客户端当时仍连接着",
                process.pid()
            );
        }
        shown!(
            "clients, each with a process of its own: {}; still connected at the end: {open}; messages answered: {}; no process stays",
            "客户端（各有一个进程）：{} 个；结束时仍连接着：{open} 个；应答的消息：{} 条；没有遗留进程",
            self.clients,
            self.messages.get()
        );
        Ok(())
    }
}
