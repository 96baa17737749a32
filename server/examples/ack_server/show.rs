//! The server with clients of its own, so that there is something to see: without framing, and
//! with.

use crate::network::client::Client;
use crate::network::messages::Framing;
use crate::server::{Counts, Server};
use crate::stage::{Attempt, Failure, part, say, shown, wait_until};
use forkchat_common::charset::Charset;
use std::net::{SocketAddr, TcpListener, TcpStream};

const CLIENTS_MORE_MAX: u32 = 20;

pub fn show() -> Result<(), Failure> {
    part!(
        "without framing: what one recv brings is a message",
        "没有分隔：一次 recv 收到的就是一条消息"
    );
    let unframed = serve_clients(Framing::Reads)?;
    part!("with framing: a line is a message", "有分隔：一行就是一条消息");
    let framed = serve_clients(Framing::Lines)?;
    shown!(
        "answers to two quick messages: {unframed} without framing, {framed} with a line end after each",
        "连续发送的两条消息：没有分隔时得到 {unframed} 个应答，每条以换行符结尾时得到 {framed} 个应答"
    );
    Ok(())
}

/// Starts the server, and has clients talk with it. Returns how many answers the two quick messages
/// got.
fn serve_clients(framing: Framing) -> Result<usize, Failure> {
    let gbk = Charset::by_label("gbk").unwrap_or_default();
    let listener = TcpListener::bind("127.0.0.1:0").cannot("listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    // The kernel accepts connections and bytes although no process has called accept yet. So the
    // first recv finds both messages.
    say!(
        "both messages are sent before the server reads, so one recv finds both",
        "两条消息都在服务器读之前发出，因此一次 recv 就能读到两条"
    );
    let mut anna = Client::connect("anna", address, gbk, framing)?;
    anna.send("你好")?;
    anna.send("再见")?;
    let mut server = Server::start(listener, gbk, framing)?;
    let answers = anna.finish()?;
    half_a_character(address, gbk, framing)?;
    exit(address, gbk, framing)?;
    let counts = server.counts();
    if framing == Framing::Reads {
        until_each_has_accepted(address, counts)?;
    }

    let lost = server.reap();
    server.end();
    shown!(
        "clients: {}, accepted by {} of {} processes; messages answered: {}",
        "{} 个客户端，由 {} 个进程接受（共 {} 个进程）；应答了 {} 条消息",
        counts.clients().iter().sum::<u64>(),
        counts.accepting(),
        counts.clients().len(),
        counts.messages()
    );
    if lost == 0 {
        Ok(answers.len())
    } else {
        Err(Failure(format!("{lost} of the processes ended before they were asked to")))
    }
}

/// A client whose second character comes in two pieces. In GBK 你好 is four bytes.
fn half_a_character(address: SocketAddr, gbk: Charset, framing: Framing) -> Result<(), Failure> {
    let mut berta = Client::connect("berta", address, gbk, framing)?;
    berta.send_bytes(b"\xc4\xe3\xba")?;
    let mut answers = Vec::new();
    if framing == Framing::Reads {
        // The answer proves that the server has the first piece. A server of lines does not answer
        // half a line.
        answers.extend(berta.answer()?);
        berta.send_bytes(b"\xc3")?;
    } else {
        berta.send_bytes(b"\xc3\n")?;
    }
    answers.extend(berta.finish()?);
    shown!(
        "你好, cut in the middle of 好, was answered with {answers:?}",
        "在“好”字中间切开的“你好”，得到的应答是 {answers:?}"
    );
    Ok(())
}

fn exit(address: SocketAddr, gbk: Charset, framing: Framing) -> Result<(), Failure> {
    let mut clara = Client::connect("clara", address, gbk, framing)?;
    clara.send("exit")?;
    clara.answer()?;
    match clara.answer()? {
        None => Ok(()),
        Some(answer) => Err(Failure(format!("the connection goes on after exit, with {answer:?}"))),
    }
}

/// Clients that leave at once, until each process has accepted a client. The kernel chooses the
/// process, so there may be no such moment.
fn until_each_has_accepted(address: SocketAddr, counts: Counts) -> Result<(), Failure> {
    if counts.accepting() < counts.clients().len() {
        say!(
            "more clients connect and leave, until each process has accepted one",
            "又有一些客户端连接后就离开，直到每个进程都接受过一个客户端"
        );
    }
    for _ in 0..CLIENTS_MORE_MAX {
        let before = counts.clients().iter().sum::<u64>();
        if counts.accepting() == counts.clients().len() {
            break;
        }
        drop(TcpStream::connect(address).cannot(format!("connect to {address}"))?);
        wait_until("a process to accept", || counts.clients().iter().sum::<u64>() > before)?;
    }
    Ok(())
}
