//! One end of a conversation: a thread receives and acknowledges, another one sends the lines that
//! are typed.

use crate::network::messages::{Framing, Input, Messages};
use crate::network::wait::wait_for_any;
use crate::network::{acknowledgement, address, is_acknowledgement, quoted};
use crate::stage::interrupt::Interrupt;
use crate::stage::{Attempt, Failure, nap, say, shown};
use forkchat_common::charset::Charset;
use nix::unistd::gettid;
use std::io::{self, PipeWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where many tutorials have the other end.
const FIRST_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_000);
/// The largest payload of a datagram over IPv4. A larger one can't come.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// What both threads have.
struct End {
    socket: UdpSocket,
    gbk: Charset,
    /// Given by `--peer`, so that no sender becomes the peer.
    fixed: Option<SocketAddr>,
    /// Where typed lines go.
    peer: Mutex<SocketAddr>,
    received: AtomicU64,
    acknowledged: AtomicU64,
    sent: AtomicU64,
}

/// Talks until Ctrl-C, SIGTERM, or a typed `exit`.
pub fn serve(address: SocketAddr, peer: Option<SocketAddr>) -> Result<(), Failure> {
    // Before the threads, which inherit that the signals are blocked.
    let interrupt = Interrupt::watch().cannot("watch for signals")?;
    let socket = UdpSocket::bind(address).map_err(|error| address::cannot_bind(address, &error))?;
    let end = Arc::new(End::new(socket, peer));
    let (exit, typed_exit) = io::pipe().cannot("make a pipe")?;
    say!(
        "at {}; typed lines go to {}",
        "地址 {}；输入的行发往 {}",
        end.socket.local_addr()?,
        end.peer()
    );
    say!("`exit` or Ctrl-C ends the program", "输入 exit 或按 Ctrl-C 结束程序");
    // Both threads may wait for ever. They end with the process.
    let (receiving, typing) = (end.clone(), end.clone());
    thread::Builder::new().spawn(move || receiving.receive()).cannot("start the receive thread")?;
    thread::Builder::new()
        .spawn(move || typing.send_typed(typed_exit))
        .cannot("start the send thread")?;
    wait_for_any([interrupt.as_fd(), exit.as_fd()]).cannot("wait for a signal")?;
    match interrupt.came() {
        Some(signal) => say!("{signal} came: the program ends", "收到 {signal}：程序结束"),
        None => say!("exit was typed: the program ends", "输入了 exit：程序结束"),
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    shown!(
        "datagrams received: {}; acknowledged: {}; typed lines sent: {}",
        "收到的数据报：{}；已确认：{}；发出的输入行：{}",
        count(&end.received),
        count(&end.acknowledged),
        count(&end.sent)
    );
    Ok(())
}

impl End {
    fn new(socket: UdpSocket, fixed: Option<SocketAddr>) -> End {
        let gbk = Charset::by_label("gbk").unwrap_or_default();
        let peer = Mutex::new(fixed.unwrap_or(FIRST_PEER));
        End {
            socket,
            gbk,
            fixed,
            peer,
            received: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    fn peer(&self) -> SocketAddr {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_peer(&self, peer: SocketAddr) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = peer;
    }

    /// The receive thread: prints and acknowledges each datagram.
    fn receive(&self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, sender)) => self.take(&buffer[..length], sender),
                Err(error) => {
                    say!("cannot receive: {error}", "无法接收：{error}");
                    nap(50);
                }
            }
        }
    }

    fn take(&self, bytes: &[u8], sender: SocketAddr) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let text = self.gbk.decode_all(bytes);
        let text = text.trim_end_matches(['\r', '\n']);
        let (thread, shown) = (gettid(), quoted(text));
        say!("{sender}: thread {thread} received {shown}", "{sender}：线程 {thread} 收到 {shown}");
        let has_left = text.trim() == "exit";
        self.set_peer(self.fixed.unwrap_or(if has_left { FIRST_PEER } else { sender }));
        if is_acknowledgement(text) {
            return;
        }
        self.send(&acknowledgement(text), sender, &self.acknowledged);
        if has_left {
            say!("{sender} said exit; this program goes on", "{sender} 发来 exit；本程序继续运行");
        }
    }

    /// The send thread: sends each typed line to the peer.
    fn send_typed(&self, mut typed_exit: PipeWriter) {
        let mut input = Messages::new(io::stdin(), Charset::default(), Framing::Lines);
        loop {
            match input.next() {
                Ok(Input::Message(line)) => {
                    self.send(&line.text, self.peer(), &self.sent);
                    if line.is_exit() {
                        let _ = typed_exit.write_all(b"e");
                        return;
                    }
                }
                Ok(Input::TooLong) => {
                    say!("the line is too long, and is not sent", "这一行太长，没有发送")
                }
                Ok(Input::End(_)) => return self.end_of_input(typed_exit, None),
                Err(error) => return self.end_of_input(typed_exit, Some(error)),
            }
        }
    }

    /// The pipe must stay open: to close it would end the program.
    fn end_of_input(&self, typed_exit: PipeWriter, error: Option<io::Error>) {
        match error {
            None => say!(
                "standard input has ended; datagrams are still received",
                "标准输入已结束；仍继续接收数据报"
            ),
            Some(error) => {
                say!(
                    "cannot read standard input: {error}; datagrams are still received",
                    "无法读标准输入：{error}；仍继续接收数据报"
                )
            }
        }
        loop {
            thread::park();
            let _ = &typed_exit;
        }
    }

    /// Sends a datagram, and counts it. Whether it arrives is unknown.
    fn send(&self, text: &str, to: SocketAddr, count: &AtomicU64) {
        let mut bytes = Vec::new();
        self.gbk.encode(text, &mut bytes);
        let (thread, sent) = (gettid(), self.gbk.decode_all(&bytes));
        let shown = quoted(&sent);
        say!("thread {thread} sends {shown} to {to}", "线程 {thread} 向 {to} 发送 {shown}");
        if sent != text {
            let typed = quoted(text);
            say!(
                "characters that GBK lacks were replaced in {typed}",
                "{typed} 中 GBK 没有的字符已被替换"
            );
        }
        // Counted before: a peer that has the datagram may end this program at once.
        count.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.socket.send_to(&bytes, to) {
            count.fetch_sub(1, Ordering::Relaxed);
            say!("cannot send to {to}: {error}", "无法发送到 {to}：{error}");
        }
    }
}
