//! Bytes to messages. TCP carries bytes and knows no messages: the two ends have to agree where one
//! ends.

use crate::stage::{say, text};
use forkchat_common::charset::{Charset, StreamDecoder};
use forkchat_common::limits::LINE_BYTES_MAX;
use nix::unistd::gettid;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use super::quoted;

/// What one recv takes at most. Many tutorials write `recv(1024)`.
pub const RECV_BYTES: usize = 1_024;

/// Where a message ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// What one recv brings is a message. Two messages may come in one recv, and half a character
    /// may.
    Reads,
    /// A line is a message.
    Lines,
}

/// What comes next.
pub enum Input {
    Message(Message),
    /// A line of more than `LINE_BYTES_MAX` bytes. It was skipped, and not kept in memory.
    TooLong,
    /// The other end sends no more. So many bytes of an incomplete character are left.
    End(usize),
}

/// A message, and what happened to its characters on the way.
pub struct Message {
    /// The text without its line end.
    pub text: String,
    bytes: usize,
    /// Bytes of the character at the end that is not complete.
    kept: usize,
    /// The first character began in an earlier recv.
    completes: bool,
}

/// The messages of one connection.
pub struct Messages<R> {
    reader: BufReader<R>,
    charset: Charset,
    framing: Framing,
    decoder: StreamDecoder,
    line: Vec<u8>,
}

impl<R: Read> Messages<R> {
    pub fn new(connection: R, charset: Charset, framing: Framing) -> Messages<R> {
        let reader = BufReader::with_capacity(RECV_BYTES, connection);
        Messages { reader, charset, framing, decoder: charset.stream_decoder(), line: Vec::new() }
    }

    /// Whether bytes were read that no message has had yet. A poll of the descriptor does not see
    /// these.
    pub fn has_more(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    /// Waits for the next message.
    pub fn next(&mut self) -> io::Result<Input> {
        match self.framing {
            Framing::Reads => self.next_read(),
            Framing::Lines => self.next_line(),
        }
    }

    fn next_read(&mut self) -> io::Result<Input> {
        let before = self.decoder.kept();
        // One recv: the buffer is always empty here.
        let bytes = loop {
            match self.reader.fill_buf() {
                Ok(bytes) => break bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let (count, mut text) = (bytes.len(), String::new());
        if count == 0 {
            return Ok(Input::End(before));
        }
        self.decoder.decode(bytes, &mut text);
        self.reader.consume(count);
        let completes = before > 0 && !text.is_empty();
        Ok(Input::Message(Message {
            text: without_line_end(&text),
            bytes: count,
            kept: self.decoder.kept(),
            completes,
        }))
    }

    fn next_line(&mut self) -> io::Result<Input> {
        self.line.clear();
        // One byte more than a line may have: the LF, or the proof that the line is too long.
        let count =
            (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.line)?;
        if count > LINE_BYTES_MAX && !self.line.ends_with(b"\n") {
            // A part of it might end in the middle of a character, so no part is a message.
            self.reader.skip_until(b'\n')?;
            return Ok(Input::TooLong);
        }
        if count == 0 {
            return Ok(Input::End(0));
        }
        // A line is whole, so no character in it is incomplete. What is left without an LF at the
        // end is a line, too.
        let text = without_line_end(&self.charset.decode_all(&self.line));
        Ok(Input::Message(Message { text, bytes: count, kept: 0, completes: false }))
    }
}

impl Message {
    /// Whether there is text to answer. Only a part of a character is none yet.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty() || self.kept == 0
    }

    /// Whether the client wants to end the connection.
    pub fn is_exit(&self) -> bool {
        self.text.trim() == "exit"
    }

    /// Prints what came from `client`, and what had to be done to its characters.
    pub fn report(&self, client: impl fmt::Display) {
        let (size, thread, text) = (in_bytes(self.bytes), gettid(), quoted(&self.text));
        say!(
            "{client}: thread {thread} received {text} ({size})",
            "{client}：线程 {thread} 收到 {text}（{size}）"
        );
        if self.completes {
            say!(
                "{client}: the half character kept before is completed by these bytes",
                "{client}：之前保留的半个字符由这些字节补全了"
            );
        }
        if self.kept > 0 {
            let kept = in_bytes(self.kept);
            say!(
                "{client}: the message ended in half a character ({kept} kept)",
                "{client}：消息以半个字符结尾（保留 {kept}）"
            );
        }
    }
}

/// Prints that `client` sends no more, after `count` messages, with `kept` bytes of an incomplete
/// character.
pub fn report_end(client: impl fmt::Display, count: u32, kept: usize) {
    match count {
        0 => say!(
            "{client} has closed the connection without a message",
            "{client} 没有发送消息就关闭了连接"
        ),
        _ => say!(
            "{client} sends no more; messages received: {count}",
            "{client} 不再发送；共收到 {count} 条消息"
        ),
    }
    if kept > 0 {
        let kept = in_bytes(kept);
        say!(
            "{client}: half a character is left ({kept}), and never completed",
            "{client}：剩下半个字符（{kept}），再也不会补全"
        );
    }
}

/// "1 byte", "2 bytes".
fn in_bytes(count: usize) -> String {
    if count == 1 { text!("1 byte", "1 字节") } else { text!("{count} bytes", "{count} 字节") }
}

/// What a line that is too long gets for an answer.
pub fn refusal() -> String {
    text!(
        "refused: a line of more than {LINE_BYTES_MAX} bytes; send it in several",
        "已拒绝：一行超过 {LINE_BYTES_MAX} 字节，请分成几行发送"
    )
}

fn without_line_end(text: &str) -> String {
    text.trim_end_matches(['\r', '\n']).to_owned()
}
