//! A server with a process for each connection. It sends back each message with `_sb` after it.
//!
//! Without `--serve` it shows itself with clients of its own. `--help` says how to use it with
//! other clients.
//!
//! | file | what it does |
//! |---|---|
//! | `show.rs` | the clients of its own |
//! | `server.rs` | accepts, forks, and takes away the zombies |
//! | `connection.rs` | the process of a connection |
//! | `converse.rs` | `--client` |
//!
//! In the server: `--model process` (`models/process.rs`), whose supervisor accepts, forks and
//! reaps (`supervisor/listeners.rs`).

mod connection;
mod converse;
#[path = "../network/mod.rs"]
mod network;
mod server;
mod show;
#[path = "../stage/mod.rs"]
mod stage;

use network::address;
use network::messages::Framing;
use stage::Lesson;
use std::net::SocketAddr;
use std::process::ExitCode;

const LESSON: Lesson = Lesson {
    about: ["A server with a process for each connection", "每个连接一个进程的服务器"],
    watch_for: &[
        [
            "each client has a pid of its own, whose only thread receives and answers",
            "每个客户端对应一个独立的 pid，该进程唯一的线程负责收和发",
        ],
        [
            "when one of these processes is killed, its client is disconnected and the others go on",
            "杀死其中一个进程，只有它的客户端断开，其余不受影响",
        ],
        [
            "the parent waits for each process that ends, so no zombie stays",
            "父进程回收每个结束的子进程，因此没有僵尸进程",
        ],
        [
            "TCP carries bytes, not messages: two quick messages may arrive glued together, unless a line end frames each",
            "TCP 传输的是字节流而不是消息：连续发送的两条消息可能会粘在一起（粘包），除非用换行符分隔",
        ],
    ],
};

const AFTER_HELP: &str = "\
With --serve:
  What one recv (of up to 1024 bytes) brings is a message in UTF-8, and is sent back at once with
  `_sb` after it, without a line end. No message needs a line end; one at its end is not part of it.
  The message `exit` is answered, and then the server closes the connection.
  With --lines a message is a line of at most 4096 bytes, and each answer ends with an LF.
  16 clients have a process at a time; more clients wait until another one leaves.
  Ctrl-C or SIGTERM ends the server, with exit code 0. To try: kill the process of one client.

Exit codes: 0 all went well, 1 failure, 2 wrong command line.

Try: echo_per_process --serve
     echo_per_process --client
     python3 -c \"import socket; s = socket.create_connection(('127.0.0.1', 9595));
     s.send('你好'.encode()); print(s.recv(1024).decode())\"
     echo_per_process --serve --lines    and then    nc 127.0.0.1 9595";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Own {
    /// Serves other programs until Ctrl-C, at this address [without ADDR: 127.0.0.1:9595; port 0:
    /// any free port]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9595", value_parser = address::parse)]
    serve: Option<SocketAddr>,
    /// Sends the lines of standard input to a server, and prints each answer [without ADDR:
    /// 127.0.0.1:9595]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9595", value_parser = address::parse)]
    #[arg(conflicts_with = "serve")]
    client: Option<SocketAddr>,
    /// A message is a line, and not what one recv brings
    #[arg(long)]
    lines: bool,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |own: Own| {
        let framing = if own.lines { Framing::Lines } else { Framing::Reads };
        match own {
            Own { serve: Some(address), .. } => server::serve(address, framing),
            Own { client: Some(address), .. } => converse::converse(address, framing),
            _ => show::show(),
        }
    })
}
