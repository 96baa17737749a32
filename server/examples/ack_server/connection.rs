//! What the two threads of a client do. A queue of messages joins them.

use crate::network::acknowledgement;
use crate::network::messages::{Framing, Input, Messages, refusal, report_end};
use crate::network::quoted;
use crate::stage::say;
use crossbeam_channel::{Receiver, Sender};
use forkchat_common::charset::Charset;
use forkchat_server::ipc::value::Value;
use nix::unistd::gettid;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A client, as each of its threads has it.
pub struct Client {
    pub socket: TcpStream,
    pub address: SocketAddr,
    pub charset: Charset,
    pub framing: Framing,
}

/// Reads messages until the client sends `exit` or no more, and puts an answer to each in the
/// queue.
pub fn receive(client: Client, answers: &Sender<String>) {
    let (address, mut count) = (client.address, 0);
    let mut messages = Messages::new(client.socket, client.charset, client.framing);
    loop {
        let (answer, is_exit) = match messages.next() {
            Ok(Input::Message(message)) => {
                message.report(address);
                if !message.has_text() {
                    continue;
                }
                count += 1;
                (acknowledgement(&message.text), message.is_exit())
            }
            Ok(Input::TooLong) => (refusal(), false),
            Ok(Input::End(kept)) => return report_end(address, count, kept),
            Err(error) => return say!("{address} is gone: {error}", "{address} 已断开：{error}"),
        };
        // It waits while the queue is full, and fails when the other thread can send no more.
        if answers.send(answer).is_err() {
            return say!(
                "{address} is gone, and takes no more answers",
                "{address} 已断开，不再接收应答"
            );
        }
        if is_exit {
            return say!(
                "{address} said exit: the server closes the connection",
                "{address} 发来 exit：服务器关闭连接"
            );
        }
    }
}

/// Sends the answers, and closes the connection when there will be no more.
pub fn send(client: Client, answers: &Receiver<String>, sent: Value) {
    let Client { mut socket, address, charset, framing } = client;
    for answer in answers {
        let mut bytes = Vec::new();
        charset.encode(&answer, &mut bytes);
        if framing == Framing::Lines {
            bytes.push(b'\n');
        }
        // Before the client has the answer, so that the lines of a conversation are in order.
        // As encoded: a character that the charset lacks is sent as a similar one, or as `?`.
        let sent_text = quoted(charset.decode_all(&bytes).trim_end_matches('\n'));
        say!(
            "{address}: thread {} answers {sent_text}",
            "{address}：线程 {} 应答 {sent_text}",
            gettid()
        );
        // Counted before: a client that has its answer may end the server at once.
        sent.increase(1);
        if let Err(error) = socket.write_all(&bytes) {
            sent.decrease(1);
            say!(
                "{address} is gone before the answer was written: {error}",
                "{address} 在应答写出之前已断开：{error}"
            );
            break;
        }
    }
    // This also ends the wait of the thread that receives, if the client is gone.
    let _ = socket.shutdown(Shutdown::Both);
}
