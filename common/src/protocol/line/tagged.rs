//! Parses a line with tags (`/set tags on`), which [`super::render`] renders.
//!
//! Unknown input may come from a newer server, so it is not an error: unknown tags are skipped, an
//! unknown event is [`Kind::Other`], and an invalid value counts as absent. If a tag is repeated,
//! the last one counts. Source: <https://ircv3.net/specs/extensions/message-tags.html>.

use crate::ids::{Micros, RecordId};

/// A parsed line with tags. A tag that is missing or has no value is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// The record that caused the line. All lines of one record have the same id.
    pub id: Option<RecordId>,
    /// The time of the event, to the millisecond.
    pub time: Option<Micros>,
    /// The kind of event.
    pub event: Kind,
    /// The room of the event.
    pub room: Option<String>,
    /// The nickname of the session that caused it.
    pub nick: Option<String>,
    /// The receiver, the new nickname, or the new current room.
    pub target: Option<String>,
    /// The command that this line answers or refuses.
    pub to: Option<String>,
    /// The names in this line of a list.
    pub names: Vec<String>,
    /// In the answer to `/history`: the id from which on the history is complete.
    pub since: Option<RecordId>,
    /// Over UDP: the number of the datagram, in its first line.
    pub datagram: Option<u64>,
    /// The line after its tags, as users see it.
    pub prose: &'a str,
}

/// The kind of event in a line: the value of its tag `event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A line in a room.
    Say,
    /// An action in a room.
    Action,
    /// A private message, or the echo of one.
    Private,
    /// Another user joined a room.
    Join,
    /// Another user left a room.
    Leave,
    /// Another user left the chat.
    Quit,
    /// Another user changed the nickname.
    Nick,
    /// Another user set a room's topic.
    Topic,
    /// The welcome of this session.
    Welcome,
    /// The answer to a command.
    Reply,
    /// The answer to `/ping`.
    Pong,
    /// A refusal.
    Error,
    /// An unknown event, from a newer server, or none.
    #[default]
    Other,
}

/// The known kinds by their names.
const KINDS: [(&str, Kind); 12] = [
    ("say", Kind::Say),
    ("action", Kind::Action),
    ("private", Kind::Private),
    ("join", Kind::Join),
    ("leave", Kind::Leave),
    ("quit", Kind::Quit),
    ("nick", Kind::Nick),
    ("topic", Kind::Topic),
    ("welcome", Kind::Welcome),
    ("reply", Kind::Reply),
    ("pong", Kind::Pong),
    ("error", Kind::Error),
];

impl Kind {
    fn by_name(name: &str) -> Kind {
        KINDS.iter().find(|(known, _)| *known == name).map_or(Kind::Other, |(_, kind)| *kind)
    }

    /// The value of the tag `event`; `other` for an unknown event.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("other", |(name, _)| name)
    }
}

impl<'a> Tagged<'a> {
    /// Parses a line without its line end. `None` for a line without tags: one that doesn't start
    /// with `@` and a tag, or has no space after the tags.
    ///
    /// ```
    /// use forkchat_common::protocol::line::tagged::{Kind, Tagged};
    /// let line = Tagged::parse("@id=7;event=say;room=#lobby;nick=alice [#lobby] alice: hi").unwrap();
    /// assert_eq!((line.event, line.nick.as_deref(), line.text()), (Kind::Say, Some("alice"), "hi"));
    /// assert_eq!(Tagged::parse("[#lobby] alice: hi"), None);
    /// ```
    pub fn parse(line: &'a str) -> Option<Tagged<'a>> {
        let (tags, prose) = line.strip_prefix('@')?.split_once(' ')?;
        if tags.is_empty() {
            return None;
        }
        let mut read = Tagged { prose, ..Tagged::default() };
        for tag in tags.split(';') {
            let (name, value) = tag.split_once('=').unwrap_or((tag, ""));
            read.take(name, unescape(value));
        }
        Some(read)
    }

    fn take(&mut self, name: &str, value: String) {
        match name {
            "id" => self.id = value.parse().ok(),
            "time" => self.time = read_time(&value),
            "event" => self.event = Kind::by_name(&value),
            "room" => self.room = some(value),
            "nick" => self.nick = some(value),
            "target" => self.target = some(value),
            "to" => self.to = some(value),
            "names" => {
                self.names =
                    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
            }
            "since" => self.since = value.parse().ok(),
            "datagram" => self.datagram = value.parse().ok(),
            _ => {}
        }
    }

    /// The text without the frame that [`super::render`] adds; all of `prose` if it has no such
    /// frame.
    pub fn text(&self) -> &'a str {
        self.unframed().unwrap_or(self.prose)
    }

    /// Builds the expected frame from the tags, since the text itself may look like a frame.
    fn unframed(&self) -> Option<&'a str> {
        let after = |frame: &str| self.prose.strip_prefix(frame);
        let (room, nick) = (self.room.as_deref(), self.nick.as_deref());
        match self.event {
            Kind::Say => after(&format!("[{}] {}: ", room?, nick?)),
            Kind::Action => after(&format!("[{}] * {} ", room?, nick?)),
            Kind::Private => {
                let nick = nick?;
                // Only one of them can match, since names contain no space. An echo's frame has the
                // receiver.
                let mut with = [Some(nick), self.target.as_deref()].into_iter().flatten();
                with.find_map(|with| after(&format!("[@{with}] {nick}: ")))
            }
            Kind::Pong if self.prose == "* pong" => Some(""),
            Kind::Pong => after("* pong "),
            Kind::Error => after("! "),
            _ => after("* "),
        }
    }
}

fn some(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

fn read_time(value: &str) -> Option<Micros> {
    let timestamp: jiff::Timestamp = value.parse().ok()?;
    u64::try_from(timestamp.as_microsecond()).ok().map(Micros)
}

fn unescape(value: &str) -> String {
    let mut chars = value.chars();
    let mut text = String::with_capacity(value.len());
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        // A backslash at the end is dropped.
        text.extend(chars.next().map(|escaped| match escaped {
            ':' => ';',
            's' => ' ',
            'r' => '\r',
            'n' => '\n',
            other => other,
        }));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Dismissal, Event, ListEnd, Refusal, Source, Stamp};
    use crate::ids::Sequence;
    use crate::protocol::line::render::{Lines, render};
    use crate::protocol::line::tags::Tags;
    use proptest::prelude::*;

    /// An event, and the expected tags of its lines: kind, room, nick, target, to.
    type Case<'a> = (Event<'a>, Kind, [Option<&'a str>; 4]);

    /// Every kind of event.
    fn cases<'a>(
        room: &'a str,
        nick: &'a str,
        other: &'a str,
        text: &'a str,
        names: &[&'a str],
    ) -> Vec<Case<'a>> {
        let (r, n, o) = (Some(room), Some(nick), Some(other));
        let source = Source { nick, user: "", host: "", account: None };
        let names = || names.to_vec();
        let private = |is_echo| {
            let event = Event::Private { source, to: other, is_echo, text };
            (event, Kind::Private, [None, n, o, None])
        };
        let said = |is_action| Event::Said { room, source, is_action, text };
        let past = |is_action| Event::Past { room, nick, is_action, text };
        let history = [r, n, None, Some("history")];
        let end = |first| Event::HistoryEnd {
            room,
            lines: 1,
            first,
            since: RecordId::first_of(Sequence(7)),
        };
        let end_tags = [r, None, None, Some("history")];
        let no_such_nick = Event::Refused { to: Some("msg"), refusal: Refusal::NoSuchNick(text) };
        let part = Event::Rooms { rooms: vec![(room, 2, text)], end: ListEnd::Part };
        let last = Event::Rooms { rooms: vec![], end: ListEnd::LeftOut(3) };
        let members = Event::Members { room, names: names(), end: ListEnd::LeftOut(3) };
        vec![
            (said(false), Kind::Say, [r, n, None, None]),
            (said(true), Kind::Action, [r, n, None, None]),
            (past(false), Kind::Say, history),
            (past(true), Kind::Action, history),
            private(false),
            private(true),
            (Event::Joined { room, source }, Kind::Join, [r, n, None, None]),
            (Event::Left { room, source }, Kind::Leave, [r, n, None, None]),
            (Event::Quit { source, reason: text }, Kind::Quit, [None, n, None, None]),
            (Event::Renamed { source, new: other }, Kind::Nick, [None, n, o, None]),
            (Event::TopicSet { room, source, topic: text }, Kind::Topic, [r, n, None, None]),
            (part, Kind::Reply, [r, None, None, Some("rooms")]),
            (last, Kind::Reply, [None, None, None, Some("rooms")]),
            (members, Kind::Reply, [r, None, None, Some("who")]),
            (end(None), Kind::Reply, end_tags),
            (end(Some(Micros(7))), Kind::Reply, end_tags),
            (no_such_nick, Kind::Error, [None, None, None, Some("msg")]),
            (Event::Refused { to: None, refusal: Refusal::LineTooLong }, Kind::Error, [None; 4]),
            (Event::Stopping, Kind::Reply, [None; 4]),
            (Event::Dismissed { why: Dismissal::Silent }, Kind::Error, [None; 4]),
        ]
    }

    fn lines(event: &Event<'_>, stamp: Stamp, wants_tags: bool) -> Vec<String> {
        let mut out = String::new();
        render(event, stamp, wants_tags, &mut out);
        out.split_terminator('\n').map(str::to_owned).collect()
    }

    /// The expected text without the frame.
    fn bare<'a>(event: &Event<'a>, prose: &'a str) -> &'a str {
        match event {
            Event::Said { text, .. } | Event::Past { text, .. } | Event::Private { text, .. } => {
                text
            }
            _ => &prose[2..],
        }
    }

    #[test]
    fn an_answer_is_parsed_as_rendered() {
        let mut out = String::new();
        let tags = Tags::reply("dance").with("nick", "bob").with_some("room", None);
        Lines::new(&mut out, Stamp::default(), true, tags).line(format_args!("* one; two"));
        let read = Tagged::parse(out.trim_end()).unwrap();
        assert_eq!((read.event, read.to.as_deref()), (Kind::Reply, Some("dance")));
        assert_eq!((read.nick.as_deref(), read.text()), (Some("bob"), "one; two"));
        assert_eq!(read.room, None);
    }

    proptest! {
        #[test]
        fn every_event_is_parsed_as_rendered(
            // More characters than names may have, but no space, which ends them in a frame, and no
            // comma, which separates them in a list.
            room in "#[^ ,\\p{C}]{1,50}",
            nick in "[^ ,\\p{C}]{1,32}",
            other in "[^ ,\\p{C}]{1,32}",
            text in "\\PC{0,80}",
            names in prop::collection::vec("[^ ,\\p{C}]{1,32}", 0..60),
            id: u64,
            // Up to the year 9999, the last one that can be rendered.
            time in 0..253_000_000_000_000_000u64,
        ) {
            let stamp = Stamp { id: RecordId::first_of(Sequence(id)), time: Micros(time) };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let cases = cases(&room, &nick, &other, &text, &names);
            for (event, kind, [room, nick, target, to]) in cases {
                let (tagged, plain) = (lines(&event, stamp, true), lines(&event, stamp, false));
                prop_assert_eq!(tagged.len(), plain.len());
                let mut listed = Vec::new();
                for (tagged, plain) in tagged.iter().zip(&plain) {
                    let read = Tagged::parse(tagged).unwrap();
                    let tags = [&read.room, &read.nick, &read.target, &read.to];
                    prop_assert_eq!(read.event, kind, "{}", tagged);
                    prop_assert_eq!(tags.map(Option::as_deref), [room, nick, target, to]);
                    let millis = Micros(time / 1_000 * 1_000);
                    prop_assert_eq!((read.id, read.time), (Some(stamp.id), Some(millis)));
                    prop_assert_eq!((read.prose, read.datagram), (plain.as_str(), None));
                    prop_assert_eq!(read.text(), bare(&event, plain));
                    listed.extend(read.names);
                }
                let has_list = matches!(event, Event::Members { .. });
                prop_assert_eq!(listed, if has_list { names.clone() } else { vec![] });
            }
        }

        #[test]
        fn any_input_is_parsed_or_rejected(
            line: String,
            tags in "@[a-z=;:\\\\ 0-9]{0,60}",
            time in "[-+0-9TZ:.\\[\\]]{0,30}",
        ) {
            for line in [
                &line,
                &format!("@{line}"),
                &tags,
                &format!("@time={time} x"),
                &format!("@event=private;nick= {line}"),
            ] {
                if let Some(read) = Tagged::parse(line) {
                    prop_assert!(line.ends_with(read.prose) && read.prose.ends_with(read.text()));
                }
            }
        }
    }

    #[test]
    fn values_are_unescaped_as_specified() {
        for (escaped, value) in [
            (r"a\:b\sc\\d\r\n", "a;b c\\d\r\n"),
            (r"\x\y", "xy"),
            (r"end\", "end"),
            (r"\\\", r"\"),
            ("", ""),
        ] {
            assert_eq!(unescape(escaped), value, "{escaped}");
        }
    }

    #[test]
    fn unknown_tags_are_skipped_and_missing_ones_are_none() {
        let read = Tagged::parse(
            "@id=x;+new/tag=1;flag;time=late;;event=dance;nick;room=;=;to=a;to=b;datagram=7 * hm",
        )
        .unwrap();
        let expected = Tagged {
            to: Some("b".to_owned()),
            datagram: Some(7),
            prose: "* hm",
            ..Tagged::default()
        };
        assert_eq!((read.text(), read), ("hm", expected));
    }

    #[test]
    fn a_line_without_tags_is_not_parsed() {
        for line in ["", "@", "@ ", "@ hi", "@id=1", "[#a] @b: c d", " @id=1 x"] {
            assert_eq!(Tagged::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn text_is_the_prose_without_its_frame() {
        let text = |line| Tagged::parse(line).unwrap().text();
        assert_eq!(text("@event=say;nick=a [#r] a: hi"), "[#r] a: hi");
        assert_eq!(text("@event=say;nick=a;room=#r [#other] a: hi"), "[#other] a: hi");
        assert_eq!(text("@event=pong * pongs"), "* pongs");
        assert_eq!(text("@event=private;nick=a;target=b [@b] a: [@a] a: hi"), "[@a] a: hi");
        assert_eq!(text("@event=private;nick=a [@a] a: hi"), "hi");
    }
}
