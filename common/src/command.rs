//! The commands: one table, which the parser, `/help` and a client's completion all read.

use crate::limits::{HISTORY_LINES, HISTORY_LINES_MAX};
use std::borrow::Cow;
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
    /// List the rooms.
    Rooms,
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
    /// Show or set the current room's topic.
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
    /// Reads the arguments; `None` if they don't fit.
    parse: for<'a> fn(&'a str) -> Option<Command<'a>>,
}

/// Every command, in the order `/help` lists them.
pub static TABLE: [Row; 16] = [
    Row {
        name: "help",
        arguments: "[COMMAND]",
        does: "lists the commands, or explains one",
        parse: |rest| Some(Command::Help(optional(rest)?)),
    },
    Row { name: "nick", arguments: "NAME", does: "takes a nickname", parse: |rest| Some(Command::Nick(word(rest)?)) },
    Row {
        name: "join",
        arguments: "#ROOM",
        does: "enters a room, made on first use, and talks there",
        parse: |rest| Some(Command::Join(word(rest)?)),
    },
    Row { name: "leave", arguments: "[#ROOM]", does: "leaves a room", parse: |rest| Some(Command::Leave(optional(rest)?)) },
    Row { name: "rooms", arguments: "", does: "lists the rooms", parse: |rest| nothing(rest).then_some(Command::Rooms) },
    Row { name: "who", arguments: "[#ROOM]", does: "tells who is in a room", parse: |rest| Some(Command::Who(optional(rest)?)) },
    Row {
        name: "whoami",
        arguments: "",
        does: "tells your nick, rooms, address and worker",
        parse: |rest| nothing(rest).then_some(Command::Whoami),
    },
    Row {
        name: "msg",
        arguments: "NICK TEXT",
        does: "says something to one person only",
        parse: |rest| {
            let (nick, text) = rest.split_once(char::is_whitespace)?;
            Some(Command::Msg { nick, text: some_text(text)? })
        },
    },
    Row { name: "me", arguments: "TEXT", does: "tells the room what you do", parse: |rest| Some(Command::Me(some_text(rest)?)) },
    Row { name: "topic", arguments: "[TEXT]", does: "shows or sets the room's topic", parse: |rest| Some(Command::Topic(some_text(rest))) },
    Row { name: "history", arguments: "[N]", does: "tells the room's last lines: 20, or N, at most 500", parse: parse_history },
    Row {
        name: "charset",
        arguments: "NAME",
        does: "reads and writes another charset from the next line on",
        parse: |rest| Some(Command::Charset(word(rest)?)),
    },
    Row { name: "set", arguments: "NAME on|off", does: "changes a setting: echo, joins or tags; alone, shows them", parse: parse_set },
    Row { name: "ping", arguments: "[TEXT]", does: "is answered", parse: |rest| Some(Command::Ping(rest)) },
    Row { name: "quit", arguments: "[REASON]", does: "leaves", parse: |rest| Some(Command::Quit(rest)) },
    // In the table so that it is parsed like the rest; `/help` leaves out what has no explanation.
    Row { name: "hello", arguments: "COOKIE", does: "", parse: |_| Some(Command::Hello) },
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

/// What to send so that exactly `text` is said, whatever it looks like: a slash before a line that would be read as a command.
pub fn escape(text: &str) -> Cow<'_, str> {
    match parse(text) {
        Ok(None) => Cow::Borrowed(text),
        Ok(Some((_, Command::Say(said)))) if said == text => Cow::Borrowed(text),
        _ => Cow::Owned(format!("/{text}")),
    }
}

/// Whether a line, as a client sent it, asks what is answered later than the lines behind it could be: those wait until it is.
pub fn is_question(line: &[u8]) -> bool {
    const QUESTION: &[u8] = b"/history";
    line.get(..QUESTION.len()).is_some_and(|head| head.eq_ignore_ascii_case(QUESTION))
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

/// What other chat programs call a command, and what to use here instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This command does it.
    Command(&'static Row),
    /// A sentence says what there is.
    Words(&'static str),
}

/// Finds what a command of other chat programs is called here; `None` for a name that is not known from them.
pub fn hint(name: &str) -> Option<Hint> {
    let is_same = |known: &&str| known.eq_ignore_ascii_case(name);
    let command = HINTS.iter().find(|(_, names)| names.iter().any(is_same));
    let words = || HINTS_IN_WORDS.iter().find(|(names, _)| names.iter().any(is_same));
    match command {
        Some((here, _)) => Row::by_name(here).map(Hint::Command),
        None => words().map(|(_, words)| Hint::Words(words)),
    }
}

/// Commands, and what other chat programs call them.
const HINTS: [(&str, &[&str]); 11] = [
    ("help", &["?", "h", "commands", "man"]),
    ("nick", &["name", "rename"]),
    ("join", &["j", "channel", "enter", "room", "switch", "create"]),
    ("leave", &["part", "close", "wc"]),
    ("rooms", &["list", "channels"]),
    ("who", &["names", "users", "n"]),
    ("msg", &["query", "w", "whisper", "tell", "dm", "pm", "m", "t", "notice"]),
    ("me", &["action", "em", "emote"]),
    ("history", &["log", "last", "lastlog", "backlog", "scrollback", "chathistory"]),
    ("charset", &["encoding", "codepage"]),
    ("quit", &["exit", "bye", "disconnect", "logout", "signoff", "end"]),
];

/// Commands of other chat programs that have no counterpart.
const HINTS_IN_WORDS: [(&[&str], &str); 5] = [
    (&["q"], "/quit leaves, /msg NICK TEXT says something to one person only"),
    (&["say", "s"], "what is typed without a slash is said"),
    (&["away", "back", "afk", "status"], "nobody is marked as away here; /me TEXT tells the room what you do"),
    (&["whois", "wii", "whowas"], "/who lists who is in a room, and no more is told of others"),
    (&["kick", "ban", "op", "deop", "voice", "mode", "invite", "ignore", "oper"], "nobody has power over others here"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_escaped_text_is_said_exactly(text in "[ \\t\u{3000}\u{feff}]{0,2}[/\u{ff0f}\u{2044}]{0,3}(msg bob|who|quit|usr|)[^\\p{C}]{0,20}") {
            match parse(&escape(&text)) {
                Ok(Some((_, Command::Say(said)))) => prop_assert_eq!(said, text.as_str()),
                // Where nothing can be seen, nothing is said.
                Ok(None) => prop_assert_eq!(parse(&text), Ok(None)),
                other => prop_assert!(false, "{:?}: {:?}", text, other),
            }
        }
    }

    #[test]
    fn paths_and_comments_are_escaped_and_other_text_is_not() {
        for (text, sent) in [("/usr/bin/ld: no", "//usr/bin/ld: no"), ("/quit", "//quit"), ("// x", "/// x"), ("a /b", "a /b"), ("", "")] {
            assert_eq!(escape(text), sent);
        }
        assert_eq!(command("/// x"), Command::Say("// x"));
    }

    #[test]
    fn names_from_other_programs_lead_to_the_command_here() {
        for (name, here) in
            [("j", "join"), ("PART", "leave"), ("names", "who"), ("list", "rooms"), ("exit", "quit"), ("query", "msg"), ("w", "msg")]
        {
            assert_eq!(hint(name), Row::by_name(here).map(Hint::Command), "{name}");
        }
        assert!(matches!(hint("away"), Some(Hint::Words(_))) && hint("dance").is_none());
        let names = || HINTS.iter().flat_map(|(_, names)| *names).chain(HINTS_IN_WORDS.iter().flat_map(|(names, _)| *names));
        for (here, _) in HINTS {
            assert!(Row::by_name(here).is_some(), "{here}");
        }
        for name in names() {
            assert!(Row::by_name(name).is_none(), "{name} is a command itself");
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name} is there twice");
        }
    }

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
            "/rooms now",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Usage(_))), "{line}");
        }
        assert_eq!(parse("/dance wild"), Err(CommandError::Unknown("dance")));
        assert_eq!(Row::by_name("/msg").unwrap().to_string(), "/msg NICK TEXT");
    }
}
