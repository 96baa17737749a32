//! What the examples with a server share.
//!
//! | file | what it does |
//! |---|---|
//! | `address.rs` | the address of `--serve`: reads it, listens there, and says what to do if that fails |
//! | `messages.rs` | bytes to messages: one read is a message, or one line |
//! | `client.rs` | the example's own clients |
//! | `wait.rs` | waiting for several descriptors at a time |

#[allow(dead_code, reason = "a UDP example does not listen")]
pub mod address;
#[allow(dead_code, reason = "a UDP example has no such clients")]
pub mod client;
#[allow(dead_code, reason = "a datagram needs no framing")]
pub mod messages;
pub mod wait;

use crate::stage::text;

/// The answer of the servers that acknowledge, in the words that many tutorials use. It is the same
/// in both languages of the output.
#[allow(dead_code, reason = "the echo server has another answer")]
pub fn acknowledgement(text: &str) -> String {
    format!("您的消息 【{text}】 已收到, over !")
}

/// Whether a message is itself an acknowledgement. To acknowledge those, too, would never end
/// between two ends that both do.
#[allow(dead_code, reason = "over TCP only the server acknowledges")]
pub fn is_acknowledgement(text: &str) -> bool {
    text.starts_with("您的消息 【") && text.ends_with("】 已收到, over !")
}

/// Characters of a message that the output shows.
const SHOWN_CHARS_MAX: usize = 40;

/// A message as the output shows it: in quotes, control characters escaped, the rest of a long one
/// left out.
pub fn quoted(message: &str) -> String {
    let count = message.chars().count();
    if count <= SHOWN_CHARS_MAX {
        return format!("{message:?}");
    }
    let start: String = message.chars().take(SHOWN_CHARS_MAX).collect();
    text!("{start:?}… ({count} characters)", "{start:?}…（共 {count} 个字符）")
}
