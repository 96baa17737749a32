//! The tags at the beginning of a line, for programs: `@id=…;time=…;event=…`, escaped as IRCv3
//! message tags. [`super::tagged`] reads them. Source of the escaping:
//! <https://ircv3.net/specs/extensions/message-tags.html>.

use crate::event::Stamp;
use crate::ids::Micros;
use std::fmt::Write;

/// The largest number of tags besides `id` and `time` that all lines of an event share.
const TAGS_MAX: usize = 5;

/// The tags that all lines of an event share, in order.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    tags: [(&'static str, &'a str); TAGS_MAX],
    count: usize,
}

impl<'a> Tags<'a> {
    /// No tags.
    pub const NONE: Tags<'static> = Tags { tags: [("", ""); TAGS_MAX], count: 0 };

    /// The tags of an event with this name.
    pub fn event(name: &'a str) -> Tags<'a> {
        Tags::NONE.with("event", name)
    }

    /// The tags of the answer to a command.
    pub fn reply(command: &'a str) -> Tags<'a> {
        Tags::event("reply").with("to", command)
    }

    /// Adds a tag.
    pub fn with(mut self, name: &'static str, value: &'a str) -> Tags<'a> {
        self.tags[self.count] = (name, value);
        self.count += 1;
        self
    }

    /// Adds a tag, if there is a value.
    pub fn with_some(self, name: &'static str, value: Option<&'a str>) -> Tags<'a> {
        value.map_or(self, |value| self.with(name, value))
    }

    /// Appends the text of the tags, with `id` and `time`.
    pub(super) fn write(&self, stamp: Stamp, out: &mut String) {
        // Writing to a String can't fail.
        let _ = write!(out, "@id={};time=", stamp.id);
        push_time(stamp.time, out);
        self.tags[..self.count].iter().for_each(|(name, value)| push_tag(name, value, out));
    }
}

pub(super) fn push_tag(name: &str, value: &str, out: &mut String) {
    let _ = write!(out, ";{name}=");
    push_escaped(value, out);
}

/// Appends a time as RFC 3339 in UTC, to the millisecond.
pub(super) fn push_time(time: Micros, out: &mut String) {
    let millis = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let _ = write!(out, "{timestamp:.3}");
}

fn push_escaped(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            ';' => out.push_str("\\:"),
            ' ' => out.push_str("\\s"),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RecordId, Sequence};

    #[test]
    fn tags_are_escaped() {
        let mut out = String::new();
        let stamp =
            Stamp { id: RecordId::first_of(Sequence(1042)), time: Micros(1_795_262_401_123_456) };
        Tags::event("nick")
            .with("nick", "a\\b; c")
            .with_some("target", None)
            .write(stamp, &mut out);
        assert_eq!(out, "@id=1042;time=2026-11-21T12:00:01.123Z;event=nick;nick=a\\\\b\\:\\sc");
    }
}
