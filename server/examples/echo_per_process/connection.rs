//! The process of a connection.

use crate::network::messages::{Framing, Input, Messages, refusal, report_end};
use crate::network::quoted;
use crate::stage::interrupt::Interrupt;
use crate::stage::say;
use forkchat_common::charset::Charset;
use forkchat_server::ipc::value::Value;
use nix::unistd::gettid;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

/// What an answer has after the message.
pub const SUFFIX: &str = "_sb";

/// Answers each message, until the client sends `exit` or no more. The connection ends with the
/// process.
pub fn echo(
    socket: &TcpStream,
    client: SocketAddr,
    framing: Framing,
    answered: Value,
) -> io::Result<()> {
    Interrupt::forget_sigterm()?;
    match answer_each(socket, client, framing, answered) {
        // A client that leaves in the middle is nothing unusual.
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
        {
            say!("{client} is gone: {error}", "{client} 已断开：{error}");
            Ok(())
        }
        result => result,
    }
}

fn answer_each(
    mut socket: &TcpStream,
    client: SocketAddr,
    framing: Framing,
    answered: Value,
) -> io::Result<()> {
    let (mut messages, mut count) = (Messages::new(socket, Charset::default(), framing), 0);
    loop {
        let (mut answer, is_exit) = match messages.next()? {
            Input::Message(message) => {
                message.report(client);
                if !message.has_text() {
                    continue;
                }
                count += 1;
                (format!("{}{SUFFIX}", message.text), message.is_exit())
            }
            Input::TooLong => (refusal(), false),
            Input::End(kept) => {
                report_end(client, count, kept);
                return Ok(());
            }
        };
        say!(
            "{client}: thread {} answers {}",
            "{client}：线程 {} 应答 {}",
            gettid(),
            quoted(&answer)
        );
        if framing == Framing::Lines {
            answer.push('\n');
        }
        // Counted before: a client that has its answer may end the server at once.
        answered.increase(1);
        if let Err(error) = socket.write_all(answer.as_bytes()) {
            answered.decrease(1);
            return Err(error);
        }
        if is_exit {
            say!(
                "{client} said exit: the server closes the connection",
                "{client} 发来 exit：服务器关闭连接"
            );
            return Ok(());
        }
    }
}
