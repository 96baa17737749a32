//! The smallest whole server: a process for each CPU, and in it two threads for each client, joined
//! by a queue.
//!
//! Without `--serve` it shows itself with clients of its own. `--help` says how to use it with
//! other clients.
//!
//! | file | what it does |
//! |---|---|
//! | `show.rs` | the clients of its own: one part without framing, one with |
//! | `server.rs` | starts the processes, watches and ends them; what one of them does |
//! | `connection.rs` | the two threads of a client |
//!
//! In the server: `worker/pair.rs` has one such pair of threads for all its clients.

mod connection;
#[path = "../network/mod.rs"]
mod network;
mod server;
mod show;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_common::charset::Charset;
use network::address;
use network::messages::Framing;
use server::serve;
use stage::Lesson;
use std::net::SocketAddr;
use std::process::ExitCode;

const LESSON: Lesson = Lesson {
    about: [
        "A server: a process for each CPU, two threads for each client",
        "服务器：每个 CPU 一个进程，每个客户端两个线程",
    ],
    watch_for: &[
        [
            "the processes share one listening socket: the pid shows which of them accepted a client",
            "各进程共享同一个监听套接字：由 pid 可见哪个进程接受了客户端",
        ],
        [
            "one thread receives and another one answers; a queue joins them",
            "一个线程接收，另一个线程应答，两者由队列相连",
        ],
        [
            "TCP carries bytes, not messages: two quick messages may arrive glued together in one recv, unless a line end frames each",
            "TCP 传输的是字节流而不是消息：连续发送的两条消息可能会粘在一次 recv 里（粘包），除非用换行符分隔",
        ],
        [
            "a recv may end in half a character, which is kept until its other half comes",
            "一次 recv 可能止于半个字符，要保留到另一半到达",
        ],
    ],
};

const AFTER_HELP: &str = "\
With --serve:
  What one recv (of up to 1024 bytes) brings is a message, and is answered at once with
  `您的消息 【…】 已收到, over !`, without a line end. No message needs a line end; one at its
  end is not part of it. The message `exit` is answered, and then the server closes the connection.
  With --lines a message is a line of at most 4096 bytes, and each answer ends with an LF.
  Each process serves 32 clients at a time; more clients wait until another one leaves.
  A process that dies is not replaced, and its clients are disconnected.
  Ctrl-C or SIGTERM ends the server, with exit code 0.

Exit codes: 0 all went well, 1 failure, 2 wrong command line.

Try: ack_server --serve
     python3 -c \"import socket; s = socket.create_connection(('127.0.0.1', 9000));
     s.send('你好'.encode('gbk')); print(s.recv(1024).decode('gbk'))\"
     ack_server --serve --lines --charset utf-8    and then    nc 127.0.0.1 9000";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Own {
    /// Serves other programs until Ctrl-C, at this address [without ADDR: 127.0.0.1:9000; port 0:
    /// any free port]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9000", value_parser = address::parse)]
    serve: Option<SocketAddr>,
    /// A message is a line, and not what one recv brings
    #[arg(long, requires = "serve")]
    lines: bool,
    /// The charset of the clients: gbk, utf-8, big5 and others
    #[arg(long, value_name = "NAME", default_value = "gbk", requires = "serve", hide_default_value = false, value_parser = charset)]
    charset: Charset,
}

fn charset(name: &str) -> Result<Charset, String> {
    Charset::by_label(name)
        .map_err(|_| "give a charset that contains ASCII, such as gbk or utf-8".to_owned())
}

fn main() -> ExitCode {
    stage::play(&LESSON, |own: Own| match own.serve {
        Some(address) => {
            serve(address, own.charset, if own.lines { Framing::Lines } else { Framing::Reads })
        }
        None => show::show(),
    })
}
