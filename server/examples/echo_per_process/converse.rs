//! `--client`: sends the lines of standard input, and waits for the answer to each, as the client
//! of a tutorial does.

use crate::connection::SUFFIX;
use crate::network::client::Client;
use crate::network::messages::{Framing, Input, Message, Messages, RECV_BYTES};
use crate::network::wait::readable;
use crate::stage::{Attempt, Failure, say, shown};
use forkchat_common::charset::Charset;
use forkchat_common::limits::LINE_BYTES_MAX;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// Ends with the input, or when the server has closed the connection: after `exit`, say.
pub fn converse(address: SocketAddr, framing: Framing) -> Result<(), Failure> {
    let mut client = Client::connect("the client", address, Charset::default(), framing)?;
    // A descriptor of its own: a poll would not see what `Stdin` keeps in its buffer.
    let input =
        File::from(io::stdin().as_fd().try_clone_to_owned().cannot("duplicate standard input")?);
    let mut lines = Messages::new(input, Charset::default(), Framing::Lines);
    let mut answers = 0;
    while let Some(line) = next_line(&mut client, &mut lines)? {
        if !can_send(&line, framing) {
            continue;
        }
        client.send(&line.text)?;
        if client.answer()?.is_none() {
            break;
        }
        answers += 1;
        if line.is_exit() {
            // The server closes the connection.
            while client.answer()?.is_some() {}
            break;
        }
    }
    shown!("messages answered: {answers}", "得到应答的消息：{answers} 条");
    Ok(())
}

/// Waits for the next line. `None` at the end of the input, and when the server closes the
/// connection in the meantime.
fn next_line(client: &mut Client, lines: &mut Messages<File>) -> Result<Option<Message>, Failure> {
    loop {
        let (mut from_server, mut typed) = (client.has_more(), lines.has_more());
        if !from_server && !typed {
            let ready =
                readable([client.as_fd(), io::stdin().as_fd()]).cannot("wait for a line")?;
            (from_server, typed) = (ready[0], ready[1]);
        }
        if from_server {
            // No answer is awaited, so this is the end, or a further part of an answer.
            if client.answer()?.is_none() {
                return Ok(None);
            }
        } else if typed {
            match lines.next().cannot("read standard input")? {
                Input::Message(line) => return Ok(Some(line)),
                Input::TooLong => {
                    say!("the line is too long, and is not sent", "这一行太长，没有发送")
                }
                Input::End(_) => return Ok(None),
            }
        }
    }
}

/// Whether the message is not empty, and fits with its answer in what the two ends take.
fn can_send(line: &Message, framing: Framing) -> bool {
    let (bytes, with_answer) = (line.text.len(), line.text.len() + SUFFIX.len());
    match framing {
        // TCP can't carry an empty message without a frame around it.
        Framing::Reads if bytes == 0 => return false,
        Framing::Reads if with_answer > RECV_BYTES => {
            let count = with_answer.div_ceil(RECV_BYTES);
            say!(
                "{bytes} bytes: not sent; one recv takes at most {RECV_BYTES}, so the message or its answer would arrive as {count} or more messages; use --lines on both sides",
                "{bytes} 字节：没有发送；一次 recv 最多取 {RECV_BYTES} 字节，这条消息或它的应答会被当作 {count} 条或更多消息；请在两端都使用 --lines"
            );
        }
        Framing::Lines if with_answer > LINE_BYTES_MAX => {
            say!(
                "{bytes} bytes: not sent; a line has at most {LINE_BYTES_MAX}, its answer too",
                "{bytes} 字节：没有发送；一行（包括应答）最多 {LINE_BYTES_MAX} 字节"
            );
        }
        _ => return true,
    }
    false
}
