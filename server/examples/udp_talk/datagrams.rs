//! What one recv takes: one datagram, and no more of it than the buffer holds.

use crate::network::quoted;
use crate::stage::{Attempt, Failure, part, patience, say, shown};
use crate::talk::connected;
use std::io;
use std::net::UdpSocket;

const LONG: &str = "0123456789";

pub fn show() -> Result<(), Failure> {
    part!("one recv takes one datagram", "一次 recv 只取一个数据报");
    let (sender, receiver) = connected().cannot("make two UDP sockets on 127.0.0.1")?;
    receiver.set_read_timeout(Some(patience()))?;
    // Both are in the receive queue before the first recv. Over TCP one recv would take both.
    send(&sender, "one")?;
    send(&sender, "two")?;
    let apart = [receive(&receiver, &mut [0; 100])?, receive(&receiver, &mut [0; 100])?];
    send(&sender, LONG)?;
    send(&sender, "next")?;
    let (start, next) = (receive(&receiver, &mut [0; 4])?, receive(&receiver, &mut [0; 100])?);
    shown!(
        "two quick sends arrived as {apart:?}; of {LONG:?} a recv with a buffer of 4 bytes took {start:?}, and the next recv took {next:?}: {} bytes were thrown away",
        "连续两次 send 到达为 {apart:?}；对 {LONG:?}，缓冲区为 4 字节的 recv 取到 {start:?}，下一次 recv 取到 {next:?}：丢弃了 {} 字节",
        LONG.len() - start.len()
    );
    Ok(())
}

fn send(socket: &UdpSocket, text: &str) -> Result<(), Failure> {
    say!("sends {}", "发送 {}", quoted(text));
    socket.send(text.as_bytes()).cannot("send a datagram")?;
    Ok(())
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<String, Failure> {
    let size = buffer.len();
    let length = loop {
        match socket.recv(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.cannot("receive a datagram")?,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    say!(
        "recv with a buffer of {size} bytes takes {}",
        "缓冲区为 {size} 字节的 recv 取到 {}",
        quoted(&text)
    );
    Ok(text)
}
