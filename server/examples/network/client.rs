//! A client of the example's own, written as a tutorial's: connect, send, recv.

use super::messages::{Framing, Input, Messages};
use super::quoted;
use crate::stage::{Attempt, Failure, patience, say, slowed, text};
use forkchat_common::charset::Charset;
use std::io::{Error, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(50);

pub struct Client {
    name: &'static str,
    socket: TcpStream,
    messages: Messages<TcpStream>,
    charset: Charset,
    framing: Framing,
}

impl Client {
    pub fn connect(
        name: &'static str,
        address: SocketAddr,
        charset: Charset,
        framing: Framing,
    ) -> Result<Client, Failure> {
        let socket =
            TcpStream::connect(address).map_err(|error| cannot_connect(address, &error))?;
        // Each send is a segment of its own, as two quick messages are on a network.
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience()))?;
        let reader = socket.try_clone().cannot("duplicate a socket")?;
        say!("{name} has connected from {}", "{name} 已连接，地址 {}", socket.local_addr()?);
        Ok(Client {
            name,
            messages: Messages::new(reader, charset, framing),
            socket,
            charset,
            framing,
        })
    }

    /// Sends a message; with framing its LF, too.
    pub fn send(&mut self, text: &str) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        self.charset.encode(text, &mut bytes);
        if self.framing == Framing::Lines {
            bytes.push(b'\n');
        }
        pace();
        say!("{} sends {}", "{} 发送 {}", self.name, quoted(text));
        self.socket.write_all(&bytes).cannot("send a message")
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        pace();
        say!("{} sends the bytes {bytes:02x?}", "{} 发送字节 {bytes:02x?}", self.name);
        self.socket.write_all(bytes).cannot("send bytes")
    }

    /// The next answer; `None` if the server has closed the connection.
    pub fn answer(&mut self) -> Result<Option<String>, Failure> {
        let input = match self.messages.next() {
            // The server ended and left something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Input::End(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(no_answer()),
            input => input.cannot("receive an answer")?,
        };
        match input {
            Input::Message(answer) => {
                say!("{} receives {}", "{} 收到 {}", self.name, quoted(&answer.text));
                Ok(Some(answer.text))
            }
            Input::TooLong => Err(Failure("the answer is too long".to_owned())),
            Input::End(_) => {
                say!(
                    "{} finds that the server has closed the connection",
                    "{} 发现服务器已关闭连接",
                    self.name
                );
                Ok(None)
            }
        }
    }

    /// Whether a part of an answer was read already. A poll of the socket does not see it.
    pub fn has_more(&self) -> bool {
        self.messages.has_more()
    }

    /// Says that it will send no more, and receives the other answers to the end.
    pub fn finish(mut self) -> Result<Vec<String>, Failure> {
        self.socket.shutdown(Shutdown::Write).cannot("end the output")?;
        std::iter::from_fn(|| self.answer().transpose()).collect()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A pause for the reader, with `--slow` alone.
fn pace() {
    sleep(slowed(STEP) - STEP);
}

/// An end that frames its messages waits for a line end, which the other end never sends.
fn no_answer() -> Failure {
    let seconds = patience().as_secs();
    Failure(text!(
        "no answer in {seconds} s: were server and client both started with --lines, or both without?",
        "{seconds} 秒内没有应答：服务器和客户端的 --lines 是否一致？"
    ))
}

fn cannot_connect(address: SocketAddr, error: &Error) -> Failure {
    let remedy = match error.kind() {
        ErrorKind::ConnectionRefused => text!("; start the server first", "；请先启动服务器"),
        _ => String::new(),
    };
    Failure(text!(
        "cannot connect to {address}: {error}{remedy}",
        "无法连接 {address}：{error}{remedy}"
    ))
}
