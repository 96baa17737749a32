//! What the two threads of a client do, which a queue of answers joins.

use crossbeam_channel::{Receiver, Sender};
use forkchat_common::charset::Charset;
use forkchat_common::limits::LINE_BYTES_MAX;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

/// An answer, and the charset that its client speaks.
pub type Answer = (Charset, String);

/// Reads messages until the client ends. What is left without an LF at the end is a message, too.
pub fn receive(client: TcpStream, answers: &Sender<Answer>) {
    let mut charset = Charset::by_label("gbk").unwrap_or_default();
    let (mut reader, mut line) = (BufReader::new(client), Vec::new());
    // One byte more, which is the LF, or shows that the line is too long.
    while matches!((&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line), Ok(1..)) {
        let answer = if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            // Cut anywhere it might be cut in the middle of a character. The rest is read and not kept.
            if reader.skip_until(b'\n').is_err() {
                return;
            }
            format!("refused: a line of more than {LINE_BYTES_MAX} bytes; send it in several")
        } else {
            let mut text = String::new();
            charset.decode(line.trim_ascii_end(), &mut text);
            charset = text.strip_prefix("/charset ").and_then(|label| Charset::by_label(label).ok()).unwrap_or(charset);
            format!("received: {text}")
        };
        if answers.send((charset, answer)).is_err() {
            return;
        }
        line.clear();
    }
}

/// Sends the answers. When there will be no more the client is told so.
pub fn send(mut client: &TcpStream, answers: &Receiver<Answer>) {
    for (charset, text) in answers {
        let mut bytes = Vec::new();
        charset.encode(&format!("{text}\n"), &mut bytes);
        if client.write_all(&bytes).is_err() {
            break;
        }
    }
    // Also ends the wait of the thread that reads, if it was the client that went away.
    let _ = client.shutdown(Shutdown::Both);
}
