//! Renders events as the lines that a client receives.
//!
//! | form | means |
//! |---|---|
//! | `[#room] nick: text` | said in a room |
//! | `[#room] * nick text` | an action |
//! | `[@nick] nick: text` | a private message |
//! | `* text` | a notice or an answer from the server |
//! | `! text` | a refusal: what is wrong and what to do |
//!
//! With tags ([`super::tags`]), a line of a list has the tag `names=` with its names, or `room=`
//! with its room.

use super::refusals::{explain, farewell};
use super::tags::{Tags, push_tag, push_time};
use crate::event::{Event, ListEnd, Stamp};
use crate::limits::TOPIC_LISTED_CHARS_MAX;
use std::fmt::{Arguments, Write};

/// Lists of names are wrapped after this many bytes, so that lines stay readable in a terminal.
const LIST_LINE_BYTES: usize = 400;

/// Writes lines that share their tags.
#[derive(Debug)]
pub struct Lines<'a> {
    out: &'a mut String,
    stamp: Stamp,
    /// `None` for a session that receives no tags.
    tags: Option<Tags<'a>>,
}

impl<'a> Lines<'a> {
    /// A writer that appends to `out`; with `tags` if the session `wants_tags`.
    pub fn new(out: &'a mut String, stamp: Stamp, wants_tags: bool, tags: Tags<'a>) -> Lines<'a> {
        Lines { out, stamp, tags: wants_tags.then_some(tags) }
    }

    /// Writes a line.
    pub fn line(&mut self, text: Arguments<'_>) {
        self.line_about("", "", text);
    }

    /// Writes a line with a tag of its own after the shared ones; without it if the value is empty.
    fn line_about(&mut self, tag: &str, value: &str, text: Arguments<'_>) {
        if let Some(tags) = &self.tags {
            tags.write(self.stamp, self.out);
            if !value.is_empty() {
                push_tag(tag, value, self.out);
            }
            self.out.push(' ');
        }
        // Writing to a String can't fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    /// Writes the names of members of a room, on as many lines as they need, and the number of
    /// members that are left out. Each line is tagged with its names.
    pub fn members(&mut self, room: &str, names: &[&str], left_out: usize) {
        let and_more = and_more(left_out);
        let (mut line, mut tag) = (String::new(), Vec::new());
        let tail = (left_out > 0).then_some((and_more.as_str(), None));
        for (item, name) in names.iter().map(|&name| (name, Some(name))).chain(tail) {
            if line.len() + item.len() > LIST_LINE_BYTES && !line.is_empty() {
                self.line_about("names", &tag.join(","), format_args!("* in {room}:{line}"));
                line.clear();
                tag.clear();
            }
            line.push(' ');
            line.push_str(item);
            tag.extend(name);
        }
        if !line.is_empty() {
            self.line_about("names", &tag.join(","), format_args!("* in {room}:{line}"));
        }
    }
}

/// Appends the lines of `event`, each with its LF.
pub fn render(event: &Event<'_>, stamp: Stamp, wants_tags: bool, out: &mut String) {
    // The text for the tag `since`.
    let since = match event {
        Event::HistoryEnd { since, .. } if wants_tags => since.to_string(),
        _ => String::new(),
    };
    let tags = if wants_tags { tags_of(event, &since) } else { Tags::NONE };
    let mut lines = Lines::new(out, stamp, wants_tags, tags);
    match event {
        Event::Said { room, source, is_action, text } => {
            said(&mut lines, room, source.nick, *is_action, text);
        }
        Event::Past { room, nick, is_action, text } => {
            said(&mut lines, room, nick, *is_action, text);
        }
        // With tags each line has its time, so the date is not needed.
        Event::Day if wants_tags => {}
        Event::Day => {
            let mut time = String::new();
            push_time(stamp.time, &mut time);
            lines.line(format_args!("* {}", time.split('T').next().unwrap_or_default()));
        }
        Event::Private { source, to, is_echo, text } => {
            let with = if *is_echo { to } else { source.nick };
            lines.line(format_args!("[@{with}] {}: {text}", source.nick));
        }
        Event::Joined { room, source } => {
            lines.line(format_args!("* {} joined {room}", source.nick));
        }
        Event::Left { room, source } => lines.line(format_args!("* {} left {room}", source.nick)),
        Event::Quit { source, reason: "" } => lines.line(format_args!("* {} quit", source.nick)),
        Event::Quit { source, reason } => {
            lines.line(format_args!("* {} quit: {reason}", source.nick));
        }
        Event::Renamed { source, new } => {
            lines.line(format_args!("* {} is now {new}", source.nick));
        }
        Event::TopicSet { room, source, topic: "" } => {
            lines.line(format_args!("* {} removed the topic of {room}", source.nick));
        }
        Event::TopicSet { room, source, topic } => {
            lines.line(format_args!("* {} set the topic of {room}: {topic}", source.nick));
        }
        Event::Rooms { rooms, end } => list_rooms(&mut lines, rooms, *end),
        Event::Members { room, end: ListEnd::Empty, .. } => {
            lines.line(format_args!("* nobody is in {room}"));
        }
        Event::Members { room, names, end } => {
            let left_out = if let ListEnd::LeftOut(more) = end { *more } else { 0 };
            lines.members(room, names, left_out);
        }
        Event::HistoryEnd { room, first: None, .. } => {
            lines.line(format_args!("* no earlier lines of {room} are stored"));
        }
        Event::HistoryEnd { room, lines: count, first: Some(first), .. } => {
            let mut time = String::new();
            push_time(*first, &mut time);
            let (date, time) = (&time[..10], &time[11..16]);
            let plural = if *count == 1 { "" } else { "s" };
            lines.line(format_args!(
                "* end of the history of {room}: {count} line{plural} since {date} {time} UTC"
            ));
        }
        Event::Refused { to, refusal } => lines.line(format_args!("! {}", explain(*to, refusal))),
        Event::Stopping => lines.line(format_args!("* the server is stopping; goodbye")),
        Event::Dismissed { why } => lines.line(format_args!("! {}", farewell(*why))),
    }
}

fn said(lines: &mut Lines<'_>, room: &str, nick: &str, is_action: bool, text: &str) {
    match is_action {
        true => lines.line(format_args!("[{room}] * {nick} {text}")),
        false => lines.line(format_args!("[{room}] {nick}: {text}")),
    }
}

fn list_rooms(lines: &mut Lines<'_>, rooms: &[(&str, usize, &str)], end: ListEnd) {
    for (room, members, topic) in rooms {
        let colon = if topic.is_empty() { "" } else { ": " };
        let (topic, is_cut) = cut(topic, TOPIC_LISTED_CHARS_MAX);
        let dots = if is_cut { " …" } else { "" };
        lines.line_about("room", room, format_args!("* {room} ({members}){colon}{topic}{dots}"));
    }
    match end {
        ListEnd::Empty => lines.line(format_args!(
            "* no room matches; /rooms lists all rooms, /join #ROOM creates one"
        )),
        ListEnd::LeftOut(more @ 1..) => lines.line(format_args!(
            "* … and {more} more rooms; /rooms PATTERN lists those whose names match"
        )),
        ListEnd::LeftOut(0) | ListEnd::Part => {}
    }
}

/// The tags of an event's lines. `since` is the text of `since` in [`Event::HistoryEnd`].
fn tags_of<'a>(event: &Event<'a>, since: &'a str) -> Tags<'a> {
    let of_said = |is_action| Tags::event(if is_action { "action" } else { "say" });
    match event {
        Event::Said { room, source, is_action, .. } => {
            of_said(*is_action).with("room", room).with("nick", source.nick)
        }
        Event::Past { room, nick, is_action, .. } => {
            of_said(*is_action).with("to", "history").with("room", room).with("nick", nick)
        }
        Event::Day => Tags::NONE,
        Event::Private { source, to, .. } => {
            Tags::event("private").with("nick", source.nick).with("target", to)
        }
        Event::Joined { room, source } => {
            Tags::event("join").with("room", room).with("nick", source.nick)
        }
        Event::Left { room, source } => {
            Tags::event("leave").with("room", room).with("nick", source.nick)
        }
        Event::Quit { source, .. } => Tags::event("quit").with("nick", source.nick),
        Event::Renamed { source, new } => {
            Tags::event("nick").with("nick", source.nick).with("target", new)
        }
        Event::TopicSet { room, source, .. } => {
            Tags::event("topic").with("room", room).with("nick", source.nick)
        }
        Event::Rooms { .. } => Tags::reply("rooms"),
        Event::Members { room, .. } => Tags::reply("who").with("room", room),
        Event::HistoryEnd { room, .. } => {
            Tags::reply("history").with("room", room).with("since", since)
        }
        Event::Refused { to, .. } => Tags::event("error").with_some("to", *to),
        Event::Stopping => Tags::event("reply"),
        Event::Dismissed { .. } => Tags::event("error"),
    }
}

/// The first `chars_max` characters of a text, and whether more follow.
pub(super) fn cut(text: &str, chars_max: usize) -> (&str, bool) {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("… and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Refusal, Source};
    use crate::ids::{Micros, RecordId, Sequence};
    use crate::names::NameError;

    const STAMP: Stamp =
        Stamp { id: RecordId::first_of(Sequence(1042)), time: Micros(1_795_262_401_123_456) };

    fn by(nick: &str) -> Source<'_> {
        Source { nick, user: "", host: "", account: None }
    }

    fn rendered(event: Event<'_>, tags: bool) -> String {
        let mut out = String::new();
        render(&event, STAMP, tags, &mut out);
        out
    }

    #[test]
    fn lines_have_the_form_of_the_protocol() {
        let said =
            Event::Said { room: "#lobby", source: by("alice"), is_action: false, text: "hi" };
        assert_eq!(rendered(said.clone(), false), "[#lobby] alice: hi\n");
        assert_eq!(
            rendered(said, true),
            "@id=1042;time=2026-11-21T12:00:01.123Z;event=say;room=#lobby;nick=alice \
             [#lobby] alice: hi\n"
        );
        let action = Event::Said { room: "#a", source: by("bob"), is_action: true, text: "waves" };
        assert_eq!(rendered(action, false), "[#a] * bob waves\n");
        let private =
            |is_echo| Event::Private { source: by("bob"), to: "eve", is_echo, text: "psst" };
        assert_eq!(rendered(private(false), false), "[@bob] bob: psst\n");
        assert_eq!(rendered(private(true), false), "[@eve] bob: psst\n");
    }

    #[test]
    fn a_history_has_its_lines_and_an_end() {
        let past = Event::Past { room: "#lobby", nick: "alice", text: "hi", is_action: false };
        assert_eq!(
            rendered(past, true),
            "@id=1042;time=2026-11-21T12:00:01.123Z;event=say;to=history;room=#lobby;nick=alice \
             [#lobby] alice: hi\n"
        );
        let end = |lines, first| Event::HistoryEnd {
            room: "#lobby",
            lines,
            first,
            since: RecordId::first_of(Sequence(7)),
        };
        assert_eq!(rendered(end(0, None), false), "* no earlier lines of #lobby are stored\n");
        let some = rendered(end(2, Some(Micros(1_795_262_401_123_000))), true);
        assert!(
            some.contains(
                ";event=reply;to=history;room=#lobby;since=7 \
                 * end of the history of #lobby: 2 lines since 2026-11-21 12:00 UTC"
            ),
            "{some}"
        );
    }

    #[test]
    fn the_day_of_a_history_is_shown_only_without_tags() {
        assert_eq!(rendered(Event::Day, false), "* 2026-11-21\n");
        assert_eq!(rendered(Event::Day, true), "");
    }

    #[test]
    fn a_command_of_another_program_is_refused_with_a_hint() {
        let refused = |name| {
            rendered(Event::Refused { to: None, refusal: Refusal::UnknownCommand(name) }, false)
        };
        assert_eq!(refused("part"), "! no command /part; /leave [#ROOM] leaves a room\n");
        assert_eq!(
            refused("q"),
            "! no command /q; /quit leaves the chat, /msg NICK TEXT sends a private message\n"
        );
        assert_eq!(
            refused("dance"),
            "! no command /dance; /help lists the commands; to send \"/dance\", type //dance\n"
        );
    }

    #[test]
    fn long_lists_wrap_and_each_line_is_tagged() {
        let names: Vec<String> = (0..200).map(|i| format!("guest{i}")).collect();
        let names_of = names.iter().map(String::as_str).collect();
        let members = Event::Members { room: "#lobby", names: names_of, end: ListEnd::LeftOut(3) };
        let text = rendered(members, true);
        assert!(text.lines().count() > 3);
        assert!(text.ends_with(" … and 3 more\n"));
        let mut tagged = Vec::new();
        for line in text.lines() {
            let (tags, prose) = line.split_once(" * in #lobby: ").unwrap();
            let (_, names) = tags.split_once(";event=reply;to=who;room=#lobby;names=").unwrap();
            assert!(prose.starts_with(&names.replace(',', " ")), "{line}");
            tagged.extend(names.split(','));
        }
        assert_eq!(tagged, names);
    }

    #[test]
    fn each_line_of_the_room_list_is_tagged_with_its_room() {
        let rooms =
            Event::Rooms { rooms: vec![("#a", 2, "tea"), ("#b", 1, "")], end: ListEnd::LeftOut(4) };
        let text = rendered(rooms.clone(), true);
        let tags: Vec<&str> =
            text.lines().map(|line| line.split_once(";event=reply;to=rooms").unwrap().1).collect();
        assert_eq!(
            tags,
            [
                ";room=#a * #a (2): tea",
                ";room=#b * #b (1)",
                " * … and 4 more rooms; /rooms PATTERN lists those whose names match"
            ]
        );
        assert_eq!(
            rendered(rooms, false),
            "* #a (2): tea\n* #b (1)\n\
             * … and 4 more rooms; /rooms PATTERN lists those whose names match\n"
        );
        let members =
            Event::Members { room: "#a", names: vec!["bob", "eve"], end: ListEnd::LeftOut(1) };
        assert_eq!(rendered(members, false), "* in #a: bob eve … and 1 more\n");
        let topic = "x".repeat(TOPIC_LISTED_CHARS_MAX + 1);
        let long = Event::Rooms { rooms: vec![("#a", 2, &topic)], end: ListEnd::Part };
        assert_eq!(rendered(long, false), format!("* #a (2): {} …\n", &topic[1..]));
    }

    #[test]
    fn every_refusal_is_one_line_with_advice() {
        for refusal in [
            Refusal::UnknownCommand("dance"),
            Refusal::SlashLookalike('\u{2044}', "msg"),
            Refusal::BadNick("a\u{200b}", NameError::Character('\u{200b}')),
            Refusal::NickTaken("alice"),
            Refusal::BadRoom("lobby", NameError::NoHash),
            Refusal::BadNick("w\u{430}tch", NameError::MixedScripts('\u{430}')),
            Refusal::BadNick("a b", NameError::Character(' ')),
            Refusal::LineTooLong,
            Refusal::AddressTooFast,
            Refusal::InNoRoom,
        ] {
            let text = rendered(Event::Refused { to: None, refusal }, false);
            assert!(
                text.starts_with("! ")
                    && text.matches('\n').count() == 1
                    && text.contains(['/', '#', ';']),
                "{text}"
            );
        }
    }
}
