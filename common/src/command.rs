//! The commands: one table, which the parser, `/help` and a client's completion all read.

use crate::limits::{HISTORY_LINES, HISTORY_LINES_MAX, ROOM_CHARS_MAX};
use std::fmt;

/// What a line asks for. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Say a text in the current room.
    Say(&'a str),
    /// List the commands, or explain one.
    Help(Option<&'a str>),
    /// Take a nickname.
    Nick(&'a str),
    /// Enter a room, or switch to one.
    Join(&'a str),
    /// Leave the named or the current room.
    Leave(Option<&'a str>),
    /// List the rooms, or those whose names match a pattern.
    Rooms(Option<&'a str>),
    /// Who is in the named or the current room.
    Who(Option<&'a str>),
    /// One's own name, rooms, address and worker.
    Whoami,
    /// A private message.
    Msg {
        /// Whom it is for.
        nick: &'a str,
        /// What it says.
        text: &'a str,
    },
    /// An action in the current room.
    Me(&'a str),
    /// Show, set or (with an empty text) remove the current room's topic.
    Topic(Option<&'a str>),
    /// The last lines of the current room, so many.
    History(usize),
    /// Read and be written to in another charset from the next line on.
    Charset(&'a str),
    /// Show the settings.
    Settings,
    /// Change a setting.
    Set(Setting, bool),
    /// Be answered.
    Ping(&'a str),
    /// Leave.
    Quit(&'a str),
    /// UDP's greeting; from a session that is open already it asks for the welcome again.
    Hello,
}

/// What `/set` switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Be sent one's own lines too.
    Echo,
    /// Hear of joins, leaves, quits and others' nick changes.
    Joins,
    /// Lines start with tags for programs.
    Tags,
}

/// All settings with their names and what they do.
pub const SETTINGS: [(Setting, &str, &str); 3] = [
    (Setting::Echo, "echo", "be sent your own lines too, once accepted, as the others see them"),
    (Setting::Joins, "joins", "hear of joins, leaves, quits and others' nick changes"),
    (Setting::Tags, "tags", "start each line with tags that programs read"),
];

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The command's name, without its slash.
    pub name: &'static str,
    /// What stands behind the name.
    pub arguments: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    /// What it costs of the budget that `--rate-limit` sets, in lines: more than a line where it notifies
    /// others or has a long answer. At most [`COMMAND_COST_MAX`].
    pub cost: u64,
    /// Whether its answer may take several parts, so that the session's further input waits.
    pub has_long_answer: bool,
    /// Reads the arguments; `None` if they don't fit.
    parse: for<'a> fn(&'a str) -> Option<Command<'a>>,
}

/// Every command, in the order `/help` lists them.
pub static TABLE: [Row; 16] = [
    Row {
        name: "help",
        arguments: "[COMMAND]",
        does: "lists the commands, or explains one",
        cost: 4,
        has_long_answer: false,
        parse: |rest| Some(Command::Help(optional(rest)?)),
    },
    Row {
        name: "nick",
        arguments: "NAME",
        does: "takes a nickname",
        cost: 16,
        has_long_answer: false,
        parse: |rest| Some(Command::Nick(word(rest)?)),
    },
    Row {
        name: "join",
        arguments: "#ROOM",
        does: "enters a room, made on first use, and talks there",
        cost: 8,
        has_long_answer: false,
        parse: |rest| Some(Command::Join(word(rest)?)),
    },
    Row {
        name: "leave",
        arguments: "[#ROOM]",
        does: "leaves a room",
        cost: 8,
        has_long_answer: false,
        parse: |rest| Some(Command::Leave(optional(rest)?)),
    },
    Row {
        name: "rooms",
        arguments: "[PATTERN]",
        does: "lists the rooms, the largest first, or those whose names match",
        cost: 8,
        has_long_answer: true,
        parse: parse_rooms,
    },
    Row {
        name: "who",
        arguments: "[#ROOM]",
        does: "lists who is in a room",
        cost: 8,
        has_long_answer: true,
        parse: |rest| Some(Command::Who(optional(rest)?)),
    },
    Row {
        name: "whoami",
        arguments: "",
        does: "shows your nick, rooms, address and worker",
        cost: 2,
        has_long_answer: false,
        parse: |rest| nothing(rest).then_some(Command::Whoami),
    },
    Row { name: "msg", arguments: "NICK TEXT", does: "sends a private message", cost: 4, has_long_answer: false, parse: parse_msg },
    Row {
        name: "me",
        arguments: "TEXT",
        does: "says in the room what you do",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Me(some_text(rest)?)),
    },
    Row {
        name: "topic",
        arguments: "[TEXT|-]",
        does: "shows or sets the room's topic; - removes it",
        cost: 32,
        has_long_answer: false,
        parse: parse_topic,
    },
    Row {
        name: "history",
        arguments: "[N]",
        does: "shows the room's last lines: 20, or N, at most 500",
        cost: 4,
        has_long_answer: true,
        parse: parse_history,
    },
    Row {
        name: "charset",
        arguments: "NAME",
        does: "reads and writes another charset from the next line on",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Charset(word(rest)?)),
    },
    Row {
        name: "set",
        arguments: "NAME on|off",
        does: "changes a setting: echo, joins or tags; alone, shows them",
        cost: 1,
        has_long_answer: false,
        parse: parse_set,
    },
    Row {
        name: "ping",
        arguments: "[TEXT]",
        does: "is answered with a pong",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Ping(rest)),
    },
    Row { name: "quit", arguments: "[REASON]", does: "leaves", cost: 1, has_long_answer: false, parse: |rest| Some(Command::Quit(rest)) },
    // In the table so that it is parsed like the rest; `/help` leaves out what has no explanation.
    Row { name: "hello", arguments: "COOKIE", does: "", cost: 4, has_long_answer: false, parse: |_| Some(Command::Hello) },
];

/// Why a line that starts with a slash is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError<'a> {
    /// No command has this name.
    Unknown(&'a str),
    /// The command is there, its arguments don't fit.
    Usage(&'static Row),
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.name == other.name
    }
}
impl Eq for Row {}

impl Row {
    /// Finds a command by its name, with or without its slash, in any case.
    pub fn by_name(name: &str) -> Option<&'static Row> {
        let name = name.strip_prefix('/').unwrap_or(name);
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name))
    }

    /// Whether `/help` tells of it.
    pub fn is_listed(&self) -> bool {
        !self.does.is_empty()
    }
}

impl fmt::Display for Row {
    /// The usage: `/msg NICK TEXT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.name)?;
        if self.arguments.is_empty() { Ok(()) } else { write!(f, " {}", self.arguments) }
    }
}

/// Reads a line's text. `Ok(None)` is an empty line: nothing. The row is the command's own, `None` for what is said.
pub fn parse(line: &str) -> Result<Option<(Option<&'static Row>, Command<'_>)>, CommandError<'_>> {
    if line.is_empty() {
        return Ok(None);
    }
    let Some(rest) = line.strip_prefix('/') else { return Ok(Some((None, Command::Say(line)))) };
    if rest.starts_with('/') {
        return Ok(Some((None, Command::Say(rest))));
    }
    let (name, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let row = Row::by_name(name).ok_or(CommandError::Unknown(name))?;
    match (row.parse)(rest.trim()) {
        Some(command) => Ok(Some((Some(row), command))),
        None => Err(CommandError::Usage(row)),
    }
}

/// Whether a line, as a client sent it, may be a command with a long answer. What the client sent after
/// such a line is better left in the kernel until the answer is complete.
///
/// What the line's bytes mean is decided later, by charset and Telnet state. So this says yes to each
/// line that doesn't begin as ordinary text does; a wrong yes only costs some speed.
pub fn may_have_long_answer(line: &[u8]) -> bool {
    match line.trim_ascii_start() {
        [b'/', name @ ..] => {
            let is_head = |row: &&Row| name.get(..row.name.len()).is_some_and(|head| head.eq_ignore_ascii_case(row.name.as_bytes()));
            TABLE.iter().filter(|row| row.has_long_answer).any(|row| is_head(&row))
        }
        [first, ..] => !first.is_ascii_graphic(),
        [] => false,
    }
}

fn parse_rooms(rest: &str) -> Option<Command<'_>> {
    match optional(rest)? {
        Some(pattern) if pattern.chars().count() > ROOM_CHARS_MAX + 1 => None,
        pattern => Some(Command::Rooms(pattern)),
    }
}

fn parse_msg(rest: &str) -> Option<Command<'_>> {
    let (nick, text) = rest.split_once(char::is_whitespace)?;
    Some(Command::Msg { nick, text: some_text(text)? })
}

/// `-` removes the topic, and so does `""`: that is what people try.
fn parse_topic(rest: &str) -> Option<Command<'_>> {
    Some(Command::Topic(match some_text(rest) {
        Some("-" | "\"\"" | "''") => Some(""),
        text => text,
    }))
}

fn parse_history(rest: &str) -> Option<Command<'_>> {
    let count = if rest.is_empty() { HISTORY_LINES } else { rest.parse().ok()? };
    (1..=HISTORY_LINES_MAX).contains(&count).then_some(Command::History(count))
}

fn nothing(rest: &str) -> bool {
    rest.is_empty()
}

fn word(rest: &str) -> Option<&str> {
    (!rest.is_empty() && !rest.contains(char::is_whitespace)).then_some(rest)
}

fn optional(rest: &str) -> Option<Option<&str>> {
    if rest.is_empty() { Some(None) } else { word(rest).map(Some) }
}

fn some_text(rest: &str) -> Option<&str> {
    let rest = rest.trim();
    (!rest.is_empty()).then_some(rest)
}

fn parse_set(rest: &str) -> Option<Command<'_>> {
    if rest.is_empty() {
        return Some(Command::Settings);
    }
    let (name, value) = rest.split_once(char::is_whitespace)?;
    let (setting, ..) = SETTINGS.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name))?;
    match value.trim() {
        value if value.eq_ignore_ascii_case("on") => Some(Command::Set(*setting, true)),
        value if value.eq_ignore_ascii_case("off") => Some(Command::Set(*setting, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command<'_> {
        parse(line).unwrap().unwrap().1
    }

    #[test]
    fn a_line_is_said_unless_it_starts_with_one_slash() {
        assert_eq!(command("hi /there"), Command::Say("hi /there"));
        assert_eq!(command("//me"), Command::Say("/me"));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(command("/me waves  "), Command::Me("waves"));
    }

    #[test]
    fn arguments_are_read_or_the_usage_told() {
        assert_eq!(command("/MSG bob hi there"), Command::Msg { nick: "bob", text: "hi there" });
        assert_eq!(command("/set echo ON"), Command::Set(Setting::Echo, true));
        assert_eq!(command("/set"), Command::Settings);
        assert_eq!(command("/leave"), Command::Leave(None));
        assert_eq!(command("/topic "), Command::Topic(None));
        assert_eq!(["/topic -", "/topic \"\"", "/topic - tea -"].map(command), ["", "", "- tea -"].map(|text| Command::Topic(Some(text))));
        assert_eq!(["/rooms", "/rooms rust*"].map(command), [Command::Rooms(None), Command::Rooms(Some("rust*"))]);
        assert_eq!(command("/msg\tbob\thi"), Command::Msg { nick: "bob", text: "hi" });
        assert_eq!(["/history", "/history 500"].map(command), [Command::History(20), Command::History(500)]);
        for line in [
            "/history 0",
            "/history 501",
            "/history all",
            "/msg bob",
            "/nick",
            "/nick a b",
            "/set echo",
            "/set noise on",
            "/join",
            "/rooms now please",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Usage(_))), "{line}");
        }
        assert_eq!(parse("/dance wild"), Err(CommandError::Unknown("dance")));
        assert_eq!(Row::by_name("/msg").unwrap().to_string(), "/msg NICK TEXT");
        let long = format!("/rooms {}", "x".repeat(52));
        assert!(matches!(parse(&long), Err(CommandError::Usage(_))));
    }

    #[test]
    fn what_notifies_others_costs_more_than_a_line_and_nothing_more_than_the_most() {
        for name in ["nick", "topic", "msg", "join", "leave", "rooms", "who", "history"] {
            assert!(Row::by_name(name).unwrap().cost > 1, "{name}");
        }
        assert!(TABLE.iter().all(|row| (1..=crate::limits::COMMAND_COST_MAX).contains(&row.cost)));
    }

    #[test]
    fn a_line_that_may_have_a_long_answer_is_recognised_by_its_bytes() {
        for line in ["/history", "/HISTORY 3", "  /rooms", "/who #x", "\u{feff}/history", "／history", "\u{1}/who"] {
            assert!(may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        for line in ["", "hello", "/nick who", "//history", "/me asks who is here", "[a]"] {
            assert!(!may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        assert!(may_have_long_answer(b"\xff\xfd\x06/history"));
    }
}
