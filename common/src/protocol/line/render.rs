//! The text of the line protocol: renders each event as the lines that a client receives.
//!
//! | form | means |
//! |---|---|
//! | `[#room] nick: text` | said in a room |
//! | `[#room] * nick text` | an action |
//! | `[@nick] nick: text` | a private message |
//! | `* text` | a notice or an answer from the server |
//! | `! text` | a refusal: what is wrong and what to do |
//!
//! With tags, each line starts with `@id=…;time=…;event=…` and further tags for programs, escaped
//! as IRCv3 message tags. A line of a list has the tag `names=` with the names that it shows, or
//! `room=` with the room that it describes.
//! Source of the escaping: <https://ircv3.net/specs/extensions/message-tags.html>.

use crate::event::{Event, ListEnd, Refusal, Reply};
use crate::ids::{Micros, Sequence};
use crate::limits::{
    ADDRESS_STATE_BYTES_MAX, LINE_BYTES_MAX, QUOTED_CHARS_MAX, ROOMS_PER_SESSION_MAX,
    TOPIC_CHARS_MAX, TOPIC_LISTED_CHARS_MAX,
};
use crate::names::{NameError, is_seen_alone};
use crate::protocol::line::command::{Hint, SETTINGS, TABLE, hint};
use std::fmt::Write;

/// What all lines caused by one record have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The record's sequence, sent as the tag `id`.
    pub id: Sequence,
    /// When it happened, by the wall clock. If the clock was set back, it may be earlier than the
    /// time of the record before.
    pub time: Micros,
}

/// Lists of names are wrapped after this many bytes so that a line stays readable at a terminal.
const LIST_LINE_BYTES: usize = 400;

/// Appends `event` as one or more lines, each with its LF.
pub fn render(event: &Event<'_>, stamp: Stamp, tags: bool, out: &mut String) {
    let mut lines = Lines { out, stamp, tags, event };
    match event {
        Event::Said { room, nick, text } | Event::Past { room, nick, text, is_action: false } => {
            lines.line(format_args!("[{room}] {nick}: {text}"));
        }
        Event::Action { room, nick, text } | Event::Past { room, nick, text, is_action: true } => {
            lines.line(format_args!("[{room}] * {nick} {text}"));
        }
        // With tags each line has its time.
        Event::Day if tags => {}
        Event::Day => {
            let mut time = String::new();
            push_time(stamp.time, &mut time);
            lines.line(format_args!("* {}", time.split('T').next().unwrap_or_default()));
        }
        Event::Private { from, to, is_echo, text } => {
            let with = if *is_echo { to } else { from };
            lines.line(format_args!("[@{with}] {from}: {text}"));
        }
        Event::Joined { room, nick } => lines.line(format_args!("* {nick} joined {room}")),
        Event::Left { room, nick } => lines.line(format_args!("* {nick} left {room}")),
        Event::Quit { nick, reason: "" } => lines.line(format_args!("* {nick} quit")),
        Event::Quit { nick, reason } => lines.line(format_args!("* {nick} quit: {reason}")),
        Event::Renamed { old, new } => lines.line(format_args!("* {old} is now {new}")),
        Event::TopicSet { room, nick, topic: "" } => {
            lines.line(format_args!("* {nick} removed the topic of {room}"))
        }
        Event::TopicSet { room, nick, topic } => {
            lines.line(format_args!("* {nick} set the topic of {room}: {topic}"))
        }
        Event::Welcome { nick, room, topic, members, names } => {
            welcome(&mut lines, nick, *room, topic, *members, names)
        }
        Event::Pong { text: "" } => lines.line(format_args!("* pong")),
        Event::Pong { text } => lines.line(format_args!("* pong {text}")),
        Event::Reply(reply) => render_reply(reply, &mut lines),
        Event::Refused { refusal, .. } => lines.line(format_args!("! {}", explain(refusal))),
        // No text: the sender takes the bytes from the event.
        Event::Raw(_) => {}
        Event::Stopping => lines.line(format_args!("* the server is stopping; goodbye")),
        Event::Dismissed { reason } => lines.line(format_args!("! {reason}")),
    }
}

/// Writes lines that all carry one event's tags.
struct Lines<'a, 'e> {
    out: &'a mut String,
    stamp: Stamp,
    tags: bool,
    event: &'a Event<'e>,
}

impl Lines<'_, '_> {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.line_about("", "", text);
    }

    /// A line with a tag of its own after those of the event; without it if the value is empty.
    fn line_about(&mut self, tag: &str, value: &str, text: std::fmt::Arguments<'_>) {
        if self.tags {
            push_tags(self.event, self.stamp, self.out);
            if !value.is_empty() {
                push_tag(tag, value, self.out);
            }
            self.out.push(' ');
        }
        // Writing to a String can't fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    /// A list on as many lines as it needs. Each line starts with `head` and is tagged with its
    /// names.
    fn list<'i>(&mut self, head: &str, names: impl Iterator<Item = &'i str>, tail: &'i str) {
        let (mut line, mut tag) = (String::new(), Vec::new());
        let tail = (!tail.is_empty()).then_some((tail, None));
        for (item, name) in names.map(|name| (name, Some(name))).chain(tail) {
            if line.len() + item.len() > LIST_LINE_BYTES && !line.is_empty() {
                self.line_about("names", &tag.join(","), format_args!("* {head}:{line}"));
                line.clear();
                tag.clear();
            }
            line.push(' ');
            line.push_str(item);
            tag.extend(name);
        }
        if !line.is_empty() {
            self.line_about("names", &tag.join(","), format_args!("* {head}:{line}"));
        }
    }
}

fn welcome(
    lines: &mut Lines<'_, '_>,
    nick: &str,
    room: Option<&str>,
    topic: &str,
    members: usize,
    names: &[&str],
) {
    let Some(room) = room else {
        return lines
            .line(format_args!("* Welcome to forkchat, {nick}. You are in no room; join one with /join #ROOM, /help lists the commands"));
    };
    let people = people(members);
    lines.line(format_args!(
        "* Welcome to forkchat, {nick}. You are in {room}; {people}. /help lists the commands, /nick NAME changes your name"
    ));
    if members > 1 {
        lines.list(&format!("in {room}"), names.iter().copied(), &and_more(members - names.len()));
    }
    if !topic.is_empty() {
        lines.line(format_args!("* topic of {room}: {topic}"));
    }
}

/// How many members a room has, for one of them.
fn people(members: usize) -> String {
    if members == 1 {
        "nobody else is here".to_owned()
    } else {
        format!("{members} people are here")
    }
}

fn render_reply(reply: &Reply<'_>, lines: &mut Lines<'_, '_>) {
    match reply {
        Reply::Help(None) => {
            lines.line(format_args!("* what you type is sent to the current room; to send \"/text\", type //text; commands:"));
            for row in TABLE.iter().filter(|row| row.is_listed()) {
                lines.line(format_args!("*   {:<20} {}", row.to_string(), row.does));
            }
        }
        Reply::Help(Some(row)) => {
            lines.line(format_args!("* {row}: {}", row.does));
            if row.name == "set" {
                for (_, name, does) in SETTINGS {
                    lines.line(format_args!("*   /set {name} on|off: {does}"));
                }
            }
        }
        Reply::Nick(nick) => lines.line(format_args!("* you are now {nick}")),
        Reply::Joined { room, was_in: true, .. } => {
            lines.line(format_args!("* you are now talking in {room}"))
        }
        Reply::Joined { room, topic, members, .. } => {
            lines.line(format_args!("* you joined {room}; {}", people(*members)));
            if !topic.is_empty() {
                lines.line(format_args!("* topic of {room}: {topic}"));
            }
        }
        Reply::Left { room, current: Some(current) } => {
            lines.line(format_args!("* you left {room}; you are now talking in {current}"))
        }
        Reply::Left { room, current: None } => lines.line(format_args!(
            "* you left {room}; you are in no room now, join one with /join #ROOM"
        )),
        Reply::Rooms { rooms, end } => {
            for (room, members, topic) in rooms {
                let colon = if topic.is_empty() { "" } else { ": " };
                let (topic, cut) = cut(topic, TOPIC_LISTED_CHARS_MAX);
                let dots = if cut { " …" } else { "" };
                lines.line_about(
                    "room",
                    room,
                    format_args!("* {room} ({members}){colon}{topic}{dots}"),
                );
            }
            match end {
                ListEnd::Empty => {
                    lines.line(format_args!(
                        "* no room matches; /rooms lists all rooms, /join #ROOM creates one"
                    ));
                }
                ListEnd::LeftOut(more @ 1..) => {
                    lines.line(format_args!(
                        "* … and {more} more rooms; /rooms PATTERN lists those whose names match"
                    ));
                }
                ListEnd::LeftOut(0) | ListEnd::Part => {}
            }
        }
        Reply::Who { room, names, end } => {
            let more = match end {
                ListEnd::LeftOut(more) => *more,
                ListEnd::Part | ListEnd::Empty => 0,
            };
            if *end == ListEnd::Empty {
                lines.line(format_args!("* nobody is in {room}"));
            }
            lines.list(&format!("in {room}"), names.iter().copied(), &and_more(more));
        }
        Reply::Whoami { nick, rooms, current, peer, worker, pid } => {
            let rooms = if rooms.is_empty() { "no room".to_owned() } else { rooms.join(" ") };
            let talks = current.map(|room| format!(", talking in {room}")).unwrap_or_default();
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            lines.line(format_args!(
                "* you are {nick}, in {rooms}{talks}, from {peer}, served by worker {worker}{pid}"
            ));
        }
        Reply::Topic { room, topic: "" } => {
            lines.line(format_args!("* {room} has no topic; /topic TEXT sets one"))
        }
        Reply::Topic { room, topic } => lines.line(format_args!("* topic of {room}: {topic}")),
        Reply::History { room, first: None, .. } => {
            lines.line(format_args!("* no earlier lines of {room} are stored"))
        }
        Reply::History { room, lines: count, first: Some(first), .. } => {
            let mut time = String::new();
            push_time(*first, &mut time);
            let (date, time) = (&time[..10], &time[11..16]);
            let plural = if *count == 1 { "" } else { "s" };
            lines.line(format_args!(
                "* end of the history of {room}: {count} line{plural} since {date} {time} UTC"
            ));
        }
        Reply::Charset(name) => {
            lines.line(format_args!("* charset is {name} from the next line on"))
        }
        Reply::Set(setting, on) => {
            let (_, name, does) = SETTINGS[*setting as usize];
            lines.line(format_args!("* {name} is {} ({does})", on_or_off(*on)));
        }
        Reply::Key(key) => lines.line(format_args!("* /key {key}")),
        Reply::Goodbye => lines.line(format_args!("* goodbye")),
        Reply::Settings(values) => {
            for ((_, name, does), on) in SETTINGS.iter().zip(values) {
                lines.line(format_args!("* {name} is {} ({does})", on_or_off(*on)));
            }
        }
    }
}

/// The text's first characters, and whether more follow.
fn cut(text: &str, chars_max: usize) -> (&str, bool) {
    text.char_indices().nth(chars_max).map_or((text, false), |(end, _)| (&text[..end], true))
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("… and {more} more") }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// How the refusal of a private message begins if its receiver does not exist. The client
/// recognises it by this.
pub const NO_USER_NAMED: &str = "no user named ";

/// What was wrong and what to do, in one line.
fn explain(refusal: &Refusal<'_>) -> String {
    match &brief(refusal) {
        Refusal::UnknownCommand(name) => match hint(name) {
            Some(Hint::Command(row)) => format!("no command /{name}; {row} {}", row.does),
            Some(Hint::Words(words)) => format!("no command /{name}; {words}"),
            None => format!("no command /{name}; /help lists the commands; to send \"/{name}\", type //{name}"),
        },
        Refusal::SlashLookalike(slash, name) => {
            let code = u32::from(*slash);
            format!(
                "not sent: {slash}{name} starts with U+{code:04X}, not with /; \
                type /{name} for the command, {slash}{slash}{name} to send it as text"
            )
        }
        Refusal::Usage(row) => format!("usage: {row}"),
        Refusal::LineTooLong => format!("line too long: at most {} bytes are allowed; not sent, split it into parts", LINE_BYTES_MAX - 1),
        Refusal::NoSuchNick(nick) => format!("{NO_USER_NAMED}{nick}; /who lists who is in the room"),
        Refusal::NoSuchRoom(room) => format!("no room {room}; /rooms lists all rooms, /join {room} creates it"),
        Refusal::NotInRoom(room) => format!("you are not in {room}; /whoami lists your rooms"),
        Refusal::InNoRoom => "you are in no room; /join #ROOM first".to_owned(),
        Refusal::NickTaken(nick) => format!("the nickname {nick} is taken; choose another with /nick NAME"),
        Refusal::BadNick(nick, why) => {
            format!("{nick} is not a valid nickname: {}", explain_name(why, "a nickname is 1 to 32 letters, digits and _ - [ ] { } \\ ^ |"))
        }
        Refusal::BadRoom(room, why) => {
            format!(
                "{room} is not a valid room name: {}",
                explain_name(why, "a room name is # and 1 to 50 letters, digits and _ - . [ ] { } \\ ^ |, as in #lobby")
            )
        }
        Refusal::TooManyRooms => format!("you are in {ROOMS_PER_SESSION_MAX} rooms, the most allowed; /leave one first"),
        Refusal::NoMoreRooms => {
            "the server can hold no more rooms and topics; /rooms lists rooms to join, /topic - removes a topic".to_owned()
        }
        Refusal::UnknownCharset(name) => {
            format!("no charset {name}; use utf-8, gbk, gb18030, big5, shift_jis, euc-kr, windows-1251, iso-8859-1 or another WHATWG name")
        }
        Refusal::CharsetNotAscii(name) => {
            format!("charset {name} can't be used: it lacks ASCII, or some of its bytes are not text; utf-8 has all its characters")
        }
        Refusal::TopicTooLong => format!("topic too long (at most {TOPIC_CHARS_MAX} characters), not set; shorten it"),
        Refusal::TooMuchState => format!(
            "rooms and topics from your address take {} KiB, the most allowed; /topic - removes a topic",
            ADDRESS_STATE_BYTES_MAX / 1024
        ),
        Refusal::TooMuchWaiting => "you sent too much before the last answer was complete; this line was ignored, send it again".to_owned(),
        Refusal::AddressTooFast => "your address sends too much; this command was not executed, wait a moment and try again".to_owned(),
        Refusal::HistoryUnreadable => "the history can't be read now; try again later".to_owned(),
        Refusal::AddressNotProven => "answer not sent: prove your address with /hello COOKIE first, then ask again".to_owned(),
        Refusal::HelloIsForUdp => "/hello opens a session over UDP; yours is already open".to_owned(),
    }
}

/// The refusal with the quoted input cut to a readable length, so that an answer is never many
/// times as long as the line.
fn brief<'a>(refusal: &Refusal<'a>) -> Refusal<'a> {
    let cut = |text: &'a str| cut(text, QUOTED_CHARS_MAX).0;
    match refusal.clone() {
        Refusal::UnknownCommand(name) => Refusal::UnknownCommand(cut(name)),
        Refusal::SlashLookalike(slash, name) => Refusal::SlashLookalike(slash, cut(name)),
        Refusal::NoSuchNick(nick) => Refusal::NoSuchNick(cut(nick)),
        Refusal::NoSuchRoom(room) => Refusal::NoSuchRoom(cut(room)),
        Refusal::NotInRoom(room) => Refusal::NotInRoom(cut(room)),
        Refusal::BadNick(nick, why) => Refusal::BadNick(cut(nick), why),
        Refusal::BadRoom(room, why) => Refusal::BadRoom(cut(room), why),
        Refusal::UnknownCharset(name) => Refusal::UnknownCharset(cut(name)),
        Refusal::CharsetNotAscii(name) => Refusal::CharsetNotAscii(cut(name)),
        other => other,
    }
}

fn explain_name(error: &NameError, rule: &str) -> String {
    match error {
        NameError::Empty | NameError::NoHash => rule.to_owned(),
        NameError::TooLong(max) => format!("it is longer than {max} characters; {rule}"),
        NameError::Character(c) if c.is_whitespace() => {
            format!("it may not contain a space; {rule}")
        }
        NameError::Character(c) if is_seen_alone(*c) => format!("it may not contain {c}; {rule}"),
        NameError::Character(c) => format!("U+{:04X} is not allowed there; {rule}", u32::from(*c)),
        NameError::MixedScripts(c) => {
            format!(
                "it mixes scripts: {c} (U+{:04X}) looks like a letter of the other script; {rule}",
                u32::from(*c)
            )
        }
    }
}

fn push_tags(event: &Event<'_>, stamp: Stamp, out: &mut String) {
    let _ = write!(out, "@id={};time=", stamp.id);
    push_time(stamp.time, out);
    let mut tag = |name: &str, value: &str| push_tag(name, value, out);
    match event {
        Event::Said { room, nick, .. } => {
            tag("event", "say");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Action { room, nick, .. } => {
            tag("event", "action");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Past { room, nick, is_action, .. } => {
            tag("event", if *is_action { "action" } else { "say" });
            tag("to", "history");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Day => {}
        Event::Private { from, to, .. } => {
            tag("event", "private");
            tag("nick", from);
            tag("target", to);
        }
        Event::Joined { room, nick } => {
            tag("event", "join");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Left { room, nick } => {
            tag("event", "leave");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Quit { nick, .. } => {
            tag("event", "quit");
            tag("nick", nick);
        }
        Event::Renamed { old, new } => {
            tag("event", "nick");
            tag("nick", old);
            tag("target", new);
        }
        Event::TopicSet { room, nick, .. } => {
            tag("event", "topic");
            tag("room", room);
            tag("nick", nick);
        }
        Event::Welcome { nick, room, .. } => {
            tag("event", "welcome");
            if let Some(room) = room {
                tag("room", room);
            }
            tag("nick", nick);
        }
        Event::Pong { .. } => {
            tag("event", "pong");
            tag("to", "ping");
        }
        Event::Reply(reply) => {
            tag("event", "reply");
            let (to, room, nick) = reply_tags(reply);
            tag("to", to);
            if let Some(room) = room {
                tag("room", room);
            }
            if let Some(nick) = nick {
                tag("nick", nick);
            }
            match reply {
                Reply::Left { current: Some(current), .. } => tag("target", current),
                Reply::History { since, .. } => tag("since", &since.to_string()),
                _ => {}
            }
        }
        Event::Refused { to, .. } => {
            tag("event", "error");
            if let Some(to) = to {
                tag("to", to);
            }
        }
        Event::Raw(_) => {}
        Event::Stopping => tag("event", "reply"),
        Event::Dismissed { .. } => tag("event", "error"),
    }
}

fn push_tag(name: &str, value: &str, out: &mut String) {
    let _ = write!(out, ";{name}=");
    push_escaped(value, out);
}

/// The command that a reply answers, and the room and nickname that it is about.
fn reply_tags<'a>(reply: &Reply<'a>) -> (&'static str, Option<&'a str>, Option<&'a str>) {
    match reply {
        Reply::Help(_) => ("help", None, None),
        Reply::Nick(nick) => ("nick", None, Some(nick)),
        Reply::Joined { room, .. } => ("join", Some(room), None),
        Reply::Left { room, .. } => ("leave", Some(room), None),
        Reply::Rooms { .. } => ("rooms", None, None),
        Reply::Who { room, .. } => ("who", Some(room), None),
        Reply::Whoami { nick, current, .. } => ("whoami", *current, Some(nick)),
        Reply::Topic { room, .. } => ("topic", Some(room), None),
        Reply::History { room, .. } => ("history", Some(room), None),
        Reply::Charset(_) => ("charset", None, None),
        Reply::Set(..) | Reply::Settings(_) => ("set", None, None),
        Reply::Key(_) => ("hello", None, None),
        Reply::Goodbye => ("quit", None, None),
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn push_time(time: Micros, out: &mut String) {
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

    const STAMP: Stamp = Stamp { id: Sequence(1042), time: Micros(1_795_262_401_123_456) };

    fn rendered(event: Event<'_>, tags: bool) -> String {
        let mut out = String::new();
        render(&event, STAMP, tags, &mut out);
        out
    }

    #[test]
    fn what_is_said_looks_as_the_protocol_says() {
        let said = Event::Said { room: "#lobby", nick: "alice", text: "hi" };
        assert_eq!(rendered(said.clone(), false), "[#lobby] alice: hi\n");
        assert_eq!(
            rendered(said, true),
            "@id=1042;time=2026-11-21T12:00:01.123Z;event=say;room=#lobby;nick=alice [#lobby] alice: hi\n"
        );
        assert_eq!(
            rendered(Event::Action { room: "#a", nick: "bob", text: "waves" }, false),
            "[#a] * bob waves\n"
        );
        let private = |is_echo| Event::Private { from: "bob", to: "eve", is_echo, text: "psst" };
        assert_eq!(rendered(private(false), false), "[@bob] bob: psst\n");
        assert_eq!(rendered(private(true), false), "[@eve] bob: psst\n");
    }

    #[test]
    fn a_history_is_lines_as_they_were_and_an_end() {
        let past = Event::Past { room: "#lobby", nick: "alice", text: "hi", is_action: false };
        assert_eq!(
            rendered(past, true),
            "@id=1042;time=2026-11-21T12:00:01.123Z;event=say;to=history;room=#lobby;nick=alice [#lobby] alice: hi\n"
        );
        let end = |lines, first| {
            Event::Reply(Reply::History { room: "#lobby", lines, first, since: Sequence(7) })
        };
        assert_eq!(rendered(end(0, None), false), "* no earlier lines of #lobby are stored\n");
        let some = rendered(end(2, Some(Micros(1_795_262_401_123_000))), true);
        assert!(
            some.contains(";event=reply;to=history;room=#lobby;since=7 * end of the history of #lobby: 2 lines since 2026-11-21 12:00 UTC"),
            "{some}"
        );
    }

    #[test]
    fn the_day_of_a_history_stands_alone_and_only_without_tags() {
        assert_eq!(rendered(Event::Day, false), "* 2026-11-21\n");
        assert_eq!(rendered(Event::Day, true), "");
    }

    #[test]
    fn a_command_of_another_program_is_refused_with_its_name_here() {
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
    fn tags_are_escaped() {
        let tagged = rendered(Event::Renamed { old: "a\\b", new: "c" }, true);
        assert!(tagged.contains(";event=nick;nick=a\\\\b;target=c "), "{tagged}");
    }

    #[test]
    fn long_lists_wrap_and_each_line_is_tagged() {
        let names: Vec<String> = (0..200).map(|i| format!("guest{i}")).collect();
        let reply = Reply::Who {
            room: "#lobby",
            names: names.iter().map(String::as_str).collect(),
            end: ListEnd::LeftOut(3),
        };
        let text = rendered(Event::Reply(reply), true);
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
    fn each_line_of_the_rooms_names_its_room_and_untagged_lists_have_only_prose() {
        let rooms = Event::Reply(Reply::Rooms {
            rooms: vec![("#a", 2, "tea"), ("#b", 1, "")],
            end: ListEnd::LeftOut(4),
        });
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
            "* #a (2): tea\n* #b (1)\n* … and 4 more rooms; /rooms PATTERN lists those whose names match\n"
        );
        let who = Reply::Who { room: "#a", names: vec!["bob", "eve"], end: ListEnd::LeftOut(1) };
        assert_eq!(rendered(Event::Reply(who), false), "* in #a: bob eve … and 1 more\n");
        let topic = "x".repeat(TOPIC_LISTED_CHARS_MAX + 1);
        let long = Reply::Rooms { rooms: vec![("#a", 2, &topic)], end: ListEnd::Part };
        assert_eq!(rendered(Event::Reply(long), false), format!("* #a (2): {} …\n", &topic[1..]));
    }

    #[test]
    fn every_refusal_says_what_to_do_in_one_line() {
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
