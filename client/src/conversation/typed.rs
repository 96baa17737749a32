//! What a typed line will be for the server: text, a command, or a line that it refuses.

use super::line::Request;
use forkchat_common::charset::Charset;
use forkchat_common::protocol::line::input::{Input, literal, parse};

/// A line as the server reads it. The server removes some characters, and what follows them may
/// begin with a slash.
pub(super) fn as_server_reads(text: &str) -> String {
    let mut read = String::new();
    Charset::default().decode(text.as_bytes(), &mut read);
    read
}

/// Whether the server sees a slash at the beginning of a line. Such a line is a command, or is
/// refused, or begins with two slashes of which one is said.
pub fn begins_with_slash(text: &str) -> bool {
    let read = as_server_reads(text);
    literal(&read) != read
}

/// Whether the server executes or refuses a line instead of saying it.
pub fn is_command(text: &str) -> bool {
    !matches!(parse(&as_server_reads(text)), Ok(None | Some(Input::Text { .. })))
}

/// Whether a line may change the user's nickname or current room, or end the conversation.
pub fn changes_identity(text: &str) -> bool {
    Request::of(text).is_some_and(|request| request.changes_identity())
}
