//! Messages to sessions, before they are rendered.

use forkchat_common::event::Event;
use forkchat_common::protocol::line::render::Lines;
use forkchat_common::protocol::line::tags::Tags;

/// A message to a session.
#[derive(Clone, Copy)]
pub(super) enum Message<'m> {
    /// An event, which each protocol renders in its own way.
    Event(&'m Event<'m>),
    /// The line protocol's answer to a command, or its welcome: lines with these tags.
    Lines(Tags<'m>, &'m dyn Fn(&mut Lines<'_>)),
    /// Bytes that are sent unchanged: the answer to a client of another protocol, or to a Telnet
    /// negotiation.
    Raw(&'m [u8]),
}
