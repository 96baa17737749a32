//! Parses a line with tags (`/set tags on`), which [`super::render`] renders.
//!
//! Unknown input may come from a newer server, so it is no error: unknown tags are skipped, an
//! unknown event is [`Kind::Other`], and a value that can't be parsed counts as absent. If a tag is
//! repeated, the last one counts.
//! Source: <https://ircv3.net/specs/extensions/message-tags.html>.

use crate::ids::{Micros, RecordId};

/// One line from a server that sends tags, read. A tag that the line lacks, or has without a value,
/// is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// The record that caused the line; lines of one record have it in common.
    pub id: Option<RecordId>,
    /// When it happened, to the millisecond.
    pub time: Option<Micros>,
    /// What happened.
    pub event: Kind,
    /// The room it is about.
    pub room: Option<String>,
    /// Whose doing it is.
    pub nick: Option<String>,
    /// Whom it is done to, or what comes of it: the receiver, the new nick, the room that is
    /// current now.
    pub target: Option<String>,
    /// The command that is answered or refused.
    pub to: Option<String>,
    /// The names that stand in this line of a list.
    pub names: Vec<String>,
    /// In the answer to `/history`: from which id on the history has everything that was said in
    /// the room.
    pub since: Option<RecordId>,
    /// Over UDP: the number of the datagram that begins with this line.
    pub datagram: Option<u64>,
    /// The line after its tags, as people see it.
    pub prose: &'a str,
}

/// What a line tells of: the value of its `event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something was said in a room.
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
    /// Something that a newer server tells, or nothing at all.
    #[default]
    Other,
}

/// The kinds that are known, by their names.
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

    /// The value of the tag `event`; `other` for what is not known.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("other", |(name, _)| name)
    }
}

impl<'a> Tagged<'a> {
    /// Reads a line, given without its line end. `None` for a line without tags: it doesn't start
    /// with `@` and a tag, or no space ends them.
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

    /// What was said, without what the printer puts around it; all of the prose if that isn't
    /// around it.
    pub fn text(&self) -> &'a str {
        self.unframed().unwrap_or(self.prose)
    }

    /// The frame is made from the tags: what was said may itself look like a frame.
    fn unframed(&self) -> Option<&'a str> {
        let behind = |frame: &str| self.prose.strip_prefix(frame);
        let (room, nick) = (self.room.as_deref(), self.nick.as_deref());
        match self.event {
            Kind::Say => behind(&format!("[{}] {}: ", room?, nick?)),
            Kind::Action => behind(&format!("[{}] * {} ", room?, nick?)),
            Kind::Private => {
                let nick = nick?;
                // Only one of them fits: no name has a space in it. An echo is framed with whom it
                // went to.
                let mut with = [Some(nick), self.target.as_deref()].into_iter().flatten();
                with.find_map(|with| behind(&format!("[@{with}] {nick}: ")))
            }
            Kind::Pong if self.prose == "* pong" => Some(""),
            Kind::Pong => behind("* pong "),
            Kind::Error => behind("! "),
            _ => behind("* "),
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
        // A backslash that nothing follows is dropped.
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

    /// An event, and what its lines must read as: kind, room, nick, target, to.
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

    /// What must be left when the frame is gone.
    fn bare<'a>(event: &Event<'a>, prose: &'a str) -> &'a str {
        match event {
            Event::Said { text, .. } | Event::Past { text, .. } | Event::Private { text, .. } => {
                text
            }
            _ => &prose[2..],
        }
    }

    #[test]
    fn what_a_command_answers_is_read_back() {
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
        fn what_is_printed_is_read_back(
            // More than names may have; without the space that ends them in a frame, and the comma
            // in a list.
            room in "#[^ ,\\p{C}]{1,50}",
            nick in "[^ ,\\p{C}]{1,32}",
            other in "[^ ,\\p{C}]{1,32}",
            text in "\\PC{0,80}",
            names in prop::collection::vec("[^ ,\\p{C}]{1,32}", 0..60),
            id: u64,
            // To the year 9999, which is as far as the printer's times go.
            time in 0..253_000_000_000_000_000u64,
        ) {
            let stamp = Stamp { id: RecordId::first_of(Sequence(id)), time: Micros(time) };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            for (event, kind, [room, nick, target, to]) in cases(&room, &nick, &other, &text, &names) {
                let (tagged, plain) = (lines(&event, stamp, true), lines(&event, stamp, false));
                prop_assert_eq!(tagged.len(), plain.len());
                let mut listed = Vec::new();
                for (tagged, plain) in tagged.iter().zip(&plain) {
                    let read = Tagged::parse(tagged).unwrap();
                    let tags = [&read.room, &read.nick, &read.target, &read.to].map(Option::as_deref);
                    prop_assert_eq!((read.event, tags), (kind, [room, nick, target, to]), "{}", tagged);
                    prop_assert_eq!((read.id, read.time), (Some(stamp.id), Some(Micros(time / 1_000 * 1_000))));
                    prop_assert_eq!((read.prose, read.datagram), (plain.as_str(), None));
                    prop_assert_eq!(read.text(), bare(&event, plain));
                    listed.extend(read.names);
                }
                let has_list = matches!(event, Event::Members { .. });
                prop_assert_eq!(listed, if has_list { names.clone() } else { vec![] });
            }
        }

        #[test]
        fn anything_is_read_or_not(line: String, tags in "@[a-z=;:\\\\ 0-9]{0,60}", time in "[-+0-9TZ:.\\[\\]]{0,30}") {
            for line in [&line, &format!("@{line}"), &tags, &format!("@time={time} x"), &format!("@event=private;nick= {line}")] {
                if let Some(read) = Tagged::parse(line) {
                    prop_assert!(line.ends_with(read.prose) && read.prose.ends_with(read.text()));
                }
            }
        }
    }

    #[test]
    fn values_are_unescaped_as_the_standard_says() {
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
    fn what_a_newer_server_adds_is_skipped_and_what_it_leaves_out_is_missed() {
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
    fn a_line_without_tags_is_none() {
        for line in ["", "@", "@ ", "@ hi", "@id=1", "[#a] @b: c d", " @id=1 x"] {
            assert_eq!(Tagged::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn without_its_frame_the_prose_is_the_text() {
        let text = |line| Tagged::parse(line).unwrap().text();
        assert_eq!(text("@event=say;nick=a [#r] a: hi"), "[#r] a: hi");
        assert_eq!(text("@event=say;nick=a;room=#r [#other] a: hi"), "[#other] a: hi");
        assert_eq!(text("@event=pong * pongs"), "* pongs");
        assert_eq!(text("@event=private;nick=a;target=b [@b] a: [@a] a: hi"), "[@a] a: hi");
        assert_eq!(text("@event=private;nick=a [@a] a: hi"), "hi");
    }
}
