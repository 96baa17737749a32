//! Code shared by the tests of examples with `--serve`.

use forkchat_tests::example::{Ended, Example};
use forkchat_tests::processes::children_of;
use nix::sys::signal::{Signal, kill};
use std::net::SocketAddr;

/// Starts a TCP server that runs until Ctrl-C. Returns it and its address.
pub fn serve(name: &'static str, options: &[&str]) -> (Example, SocketAddr) {
    let example = Example::start(name, &[&["--serve", "127.0.0.1:0"], options].concat());
    let address = example.reads("listening on ");
    (example, address.split(';').next().unwrap().parse().unwrap())
}

/// Ends a server with a signal. SIGINT goes to its children, too, as from Ctrl-C in a terminal;
/// SIGTERM goes only to the parent, as from `kill`.
pub fn interrupted(example: Example, signal: Signal) -> Ended {
    let children = if signal == Signal::SIGINT { children_of(example.pid()) } else { Vec::new() };
    for pid in children.into_iter().chain([example.pid()]) {
        let _ = kill(pid, signal);
    }
    example.finish()
}

/// The answer of `ack_server` and `udp_talk`.
pub fn acknowledged(text: &str) -> String {
    format!("您的消息 【{text}】 已收到, over !")
}
