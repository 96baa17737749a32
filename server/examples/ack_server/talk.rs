//! A client of the server's own, so that there is something to see.

use crate::stage::say;
use forkchat_common::charset::Charset;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

/// Says something, in pieces that are no characters, and reads the answers to the end.
pub fn talk(address: SocketAddr, charset: &str, text: &str) -> io::Result<()> {
    let (mut server, speaks, mut bytes) = (TcpStream::connect(address)?, Charset::by_label(charset).unwrap_or_default(), Vec::new());
    writeln!(server, "/charset {charset}")?;
    speaks.encode(&format!("{text}\nin {charset}\n"), &mut bytes);
    for byte in bytes.chunks(1) {
        server.write_all(byte)?;
        sleep(Duration::from_millis(2));
    }
    server.shutdown(Shutdown::Write)?;
    let (mut answers, mut read) = (String::new(), Vec::new());
    server.read_to_end(&mut read)?;
    read.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| {
        answers += " | ";
        speaks.decode(line, &mut answers);
    });
    say!("in {charset}{answers}");
    Ok(())
}
