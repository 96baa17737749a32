//! Two ends talk over UDP, and each sends and receives at the same time: two threads on one socket.
//!
//! Without `--serve` it shows itself with two processes. `--help` says how to talk with it from a
//! terminal and from other programs.
//!
//! | file | what it does |
//! |---|---|
//! | `talk.rs` | two processes, which send each other numbers; one of them leaves some out |
//! | `datagrams.rs` | what one recv takes: one datagram, and no more of it than the buffer holds |
//! | `serve.rs` | one end, in GBK: typed lines go out, and what comes in is acknowledged |
//!
//! In the server: UDP sessions have one socket with a receive thread and a send thread
//! (`worker/udp_socket.rs`), and end by silence (`worker/udp.rs`).

mod datagrams;
#[path = "../network/mod.rs"]
mod network;
mod serve;
#[path = "../stage/mod.rs"]
mod stage;
mod talk;

use network::address;
use stage::Lesson;
use std::net::SocketAddr;
use std::process::ExitCode;

const LESSON: Lesson = Lesson {
    about: ["UDP: sending and receiving at the same time", "UDP：同时收发"],
    watch_for: &[
        [
            "each process has two threads on one socket; neither waits for the other",
            "每个进程有两个线程共用一个套接字，互不等待",
        ],
        [
            "one recv brings one datagram; what does not fit in the buffer is thrown away",
            "一次 recv 只取一个数据报；缓冲区放不下的部分会被丢弃",
        ],
        [
            "UDP does not report a lost datagram: only the numbers show which are missing",
            "UDP 不会报告丢包：只有靠编号才能看出缺了哪些",
        ],
        [
            "UDP has no end of input: only a timeout ends the wait for more",
            "UDP 没有“输入结束”：只有超时才能结束等待",
        ],
    ],
};

const AFTER_HELP: &str = "\
With --serve:
  It receives datagrams in GBK, prints them, and acknowledges each to its sender with
  `您的消息 【…】 已收到, over !`. A datagram that is such an acknowledgement itself is only printed;
  so two ends that acknowledge do not acknowledge each other for ever.
  At the same time it reads lines from standard input, and sends each to the peer as a datagram in
  GBK. The peer is --peer; without --peer it is the last sender, and 127.0.0.1:8000 before the first
  datagram. At the end of standard input it goes on receiving.
  A typed `exit` is sent, and then ends this program. A received `exit` is acknowledged; it ends
  the conversation with its sender, and not this program.
  Ctrl-C or SIGTERM ends it, with exit code 0.

Exit codes: 0 all went well, 1 failure, 2 wrong command line.

Try, in two terminals: udp_talk --serve 127.0.0.1:9000 --peer 127.0.0.1:8000
                       udp_talk --serve 127.0.0.1:8000 --peer 127.0.0.1:9000
Or a program bound to port 8000, such as:
     python3 -c \"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 8000));
     s.sendto('你好'.encode('gbk'), ('127.0.0.1', 9000)); print(s.recv(1024).decode('gbk'))\"";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Own {
    /// Talks with other programs until Ctrl-C or `exit`, at this address [without ADDR:
    /// 127.0.0.1:9000; port 0: any free port]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9000", value_parser = address::parse)]
    serve: Option<SocketAddr>,
    /// Where typed lines go [without it: to the last sender, at first to 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR", requires = "serve", value_parser = address::parse)]
    peer: Option<SocketAddr>,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |own: Own| match own.serve {
        Some(address) => serve::serve(address, own.peer),
        None => talk::show().and_then(|()| datagrams::show()),
    })
}
