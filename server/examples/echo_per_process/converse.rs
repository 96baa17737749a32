//! `--client`: sends the lines of standard input, and waits for the answer to each, as the client of a tutorial does.

use crate::network::client::Client;
use crate::network::messages::{Framing, Input, Messages};
use crate::stage::{Attempt, Failure, shown};
use forkchat_common::charset::Charset;
use std::io;
use std::net::SocketAddr;

/// Ends with the input, or when the server has closed the connection: after `exit`, say.
pub fn converse(address: SocketAddr, framing: Framing) -> Result<(), Failure> {
    let mut client = Client::connect("the client", address, Charset::default(), framing)?;
    let mut input = Messages::new(io::stdin(), Charset::default(), Framing::Lines);
    let mut answers = 0;
    while let Input::Message(message) = input.next().cannot("read standard input")? {
        // TCP can't carry an empty message without a frame around it.
        if message.text.is_empty() && framing == Framing::Reads {
            continue;
        }
        client.send(&message.text)?;
        if client.answer()?.is_none() {
            break;
        }
        answers += 1;
    }
    shown!("{answers} messages were answered", "{answers} 条消息得到了应答");
    Ok(())
}
