//! A client of the server's own, so that there is something to see.

use crate::stage::{Attempt, Failure, say};
use forkchat_common::charset::Charset;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

/// Says something, in pieces that are no characters, and reads the answers to the end. Who names no charset speaks the server's own.
pub fn talk(address: SocketAddr, charset: Option<&str>, text: &str) -> Result<(), Failure> {
    let mut server = TcpStream::connect(address).cannot(format!("connect to {address}"))?;
    let (spoken, mut bytes) = (charset.unwrap_or("gbk"), Vec::new());
    let speaks = Charset::by_label(spoken).unwrap_or_default();
    if let Some(charset) = charset {
        writeln!(server, "/charset {charset}").cannot("name a charset")?;
    }
    speaks.encode(&format!("{text}\nin {spoken}\n"), &mut bytes);
    for byte in bytes.chunks(1) {
        server.write_all(byte).cannot(format!("talk to {address}"))?;
        sleep(Duration::from_millis(2));
    }
    server.shutdown(Shutdown::Write).cannot("end what is said")?;
    let (mut answers, mut read) = (String::new(), Vec::new());
    server.read_to_end(&mut read).cannot(format!("hear {address}"))?;
    read.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| {
        answers += " | ";
        speaks.decode(line, &mut answers);
    });
    say!("in {spoken}{}{answers}", if charset.is_none() { ", of which nothing was said" } else { "" });
    Ok(())
}
