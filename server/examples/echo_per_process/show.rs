//! The server with clients of its own. The parent plays the clients, too: it connects, then accepts
//! and forks, then sends.

use crate::network::client::Client;
use crate::network::messages::Framing;
use crate::server::Server;
use crate::stage::proc::state;
use crate::stage::{Attempt, Failure, part, say, shown, wait_until};
use forkchat_common::charset::Charset;
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddr};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub fn show() -> Result<(), Failure> {
    one_is_killed()?;
    part!("two quick messages, without framing and with", "连续发送两条消息：没有分隔与有分隔");
    let unframed = two_quick_messages(Framing::Reads)?;
    let framed = two_quick_messages(Framing::Lines)?;
    shown!(
        "answers to two quick messages: {unframed} without framing, {framed} with a line end after each",
        "连续两条消息得到的应答数：没有分隔 {unframed} 个，每条以换行符结尾 {framed} 个"
    );
    Ok(())
}

fn one_is_killed() -> Result<(), Failure> {
    part!("two clients; the process of one is killed", "两个客户端；杀死其中一个的进程");
    let mut server = Server::listen(ANY_PORT, Framing::Reads)?;
    let (mut anna, annas) = connect("anna", &mut server)?;
    let (mut berta, bertas) = connect("berta", &mut server)?;
    for client in [&mut anna, &mut berta] {
        client.send("你好")?;
        client.answer()?;
    }
    say!("the parent kills pid {annas}, which serves anna", "父进程杀死为 anna 服务的 pid {annas}");
    server.processes().iter().for_each(|(process, _)| {
        if process.pid() == annas {
            process.kill()
        }
    });
    let is_disconnected = anna.answer()?.is_none();
    berta.send("still here")?;
    let bertas_answer = berta.answer()?.unwrap_or_default();
    wait_until("the end of anna's process", || state(annas) == Some('Z'))?;
    say!(
        "pid {annas} has ended, and is a zombie until its parent waits for it",
        "pid {annas} 已结束；父进程回收它之前，它是僵尸进程"
    );
    server.reap();
    shown!(
        "after pid {annas} was killed, was anna disconnected? {is_disconnected}; berta got {bertas_answer:?} from pid {bertas}; is pid {annas} still a zombie? {}",
        "杀死 pid {annas} 之后，anna 断开了吗？{is_disconnected}；berta 从 pid {bertas} 得到 {bertas_answer:?}；pid {annas} 还是僵尸进程吗？{}",
        state(annas) == Some('Z')
    );
    berta.send("exit")?;
    berta.answer()?;
    berta.answer()?;
    wait_for_all(&mut server)?;
    server.end()
}

/// Two messages are sent before the process starts, so its first recv finds both. Returns how many
/// answers came.
fn two_quick_messages(framing: Framing) -> Result<usize, Failure> {
    let mut server = Server::listen(ANY_PORT, framing)?;
    say!(
        "both messages are sent before the server reads, so one recv finds both",
        "两条消息都在服务器读之前发出，因此一次 recv 就能读到两条"
    );
    let mut clara = Client::connect("clara", server.address()?, Charset::default(), framing)?;
    clara.send("你好")?;
    clara.send("再见")?;
    accept(&mut server)?;
    let answers = clara.finish()?.len();
    wait_for_all(&mut server)?;
    server.end()?;
    Ok(answers)
}

/// A client, and the process that serves it.
fn connect(name: &'static str, server: &mut Server) -> Result<(Client, Pid), Failure> {
    let client = Client::connect(name, server.address()?, Charset::default(), Framing::Reads)?;
    Ok((client, accept(server)?))
}

fn accept(server: &mut Server) -> Result<Pid, Failure> {
    server
        .accept()
        .ok_or(())
        .map_err(|()| Failure("no process was started for the client".to_owned()))
}

/// Waits until all processes have ended by themselves.
fn wait_for_all(server: &mut Server) -> Result<(), Failure> {
    wait_until("the ends of all connections", || {
        server.reap();
        server.processes().is_empty()
    })
    .cannot("wait for the processes")
}
