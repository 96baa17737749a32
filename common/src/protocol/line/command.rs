//! The table of commands. The parser, `/help` and the client's completion all read it.

use crate::limits::{HISTORY_LINES, HISTORY_LINES_MAX, ROOM_CHARS_MAX};
use crate::names::is_seen_alone;
use std::borrow::Cow;
use std::fmt;

/// A parsed input line. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Say a text in the current room.
    Say(&'a str),
    /// Say a text in the current room that begins with blanks and a slash: the blanks, and the
    /// rest. They are two parts, because the slash between them is doubled in the line.
    SayIndented(&'a str, &'a str),
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
    /// List the members of the named or the current room.
    Who(Option<&'a str>),
    /// Show the session's own nickname, rooms, address and worker.
    Whoami,
    /// Send a private message.
    Msg {
        /// The receiver.
        nick: &'a str,
        /// The text.
        text: &'a str,
    },
    /// Send an action to the current room.
    Me(&'a str),
    /// Show, set or (with an empty text) remove the current room's topic.
    Topic(Option<&'a str>),
    /// Show this many of the last lines of the current room.
    History(usize),
    /// Use another charset from the next line on.
    Charset(&'a str),
    /// Show the settings.
    Settings,
    /// Change a setting.
    Set(Setting, bool),
    /// Ask for a pong with this text.
    Ping(&'a str),
    /// Leave the chat, with a reason.
    Quit(&'a str),
    /// The greeting over UDP. In a session that is already open it asks for the welcome again.
    Hello,
}

/// The settings that `/set` switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Whether the session receives its own lines too.
    Echo,
    /// Whether the session is notified of joins, leaves, quits and nick changes of others.
    Joins,
    /// Whether each line starts with tags for programs.
    Tags,
}

/// All settings with their names and what they do.
pub const SETTINGS: [(Setting, &str, &str); 3] = [
    (Setting::Echo, "echo", "sends you your own lines too, once accepted, as others see them"),
    (Setting::Joins, "joins", "notifies you when others join, leave, quit or change nickname"),
    (Setting::Tags, "tags", "starts each line with tags for programs"),
];

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The command's name, without its slash.
    pub name: &'static str,
    /// What follows the name.
    pub arguments: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    /// What it costs of the budget that `--rate-limit` sets, in lines: more than a line where it
    /// notifies others or has a long answer. At most [`crate::limits::COMMAND_COST_MAX`].
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
        does: "changes your nickname",
        cost: 16,
        has_long_answer: false,
        parse: |rest| Some(Command::Nick(word(rest)?)),
    },
    Row {
        name: "join",
        arguments: "#ROOM",
        does: "joins a room (creates it if new) and talks there",
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
        does: "lists the rooms that match (default: all), largest first",
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
        does: "shows your nickname, rooms, address and worker",
        cost: 2,
        has_long_answer: false,
        parse: |rest| nothing(rest).then_some(Command::Whoami),
    },
    Row {
        name: "msg",
        arguments: "NICK TEXT",
        does: "sends a private message",
        cost: 4,
        has_long_answer: false,
        parse: parse_msg,
    },
    Row {
        name: "me",
        arguments: "TEXT",
        does: "sends an action to the room: \"* NICK TEXT\"",
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
        does: "shows the room's last N lines (default 20, at most 500)",
        cost: 4,
        has_long_answer: true,
        parse: parse_history,
    },
    Row {
        name: "charset",
        arguments: "NAME",
        does: "switches to charset NAME from the next line on",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Charset(word(rest)?)),
    },
    Row {
        name: "set",
        arguments: "NAME on|off",
        does: "switches echo, joins or tags; /set alone shows them",
        cost: 1,
        has_long_answer: false,
        parse: parse_set,
    },
    Row {
        name: "ping",
        arguments: "[TEXT]",
        does: "asks the server for a pong",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Ping(rest)),
    },
    Row {
        name: "quit",
        arguments: "[REASON]",
        does: "leaves the chat",
        cost: 1,
        has_long_answer: false,
        parse: |rest| Some(Command::Quit(rest)),
    },
    // In the table so that it is parsed like the rest; `/help` leaves out what has no explanation.
    Row {
        name: "hello",
        arguments: "COOKIE",
        does: "",
        cost: 4,
        has_long_answer: false,
        parse: |_| Some(Command::Hello),
    },
];

/// Why a line that starts with a slash is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError<'a> {
    /// No command has this name.
    Unknown(&'a str),
    /// A command's name follows this character, which looks like a slash.
    Lookalike(char, &'a str),
    /// The command exists, but its arguments don't fit.
    Usage(&'static Row),
}

impl<'a> Command<'a> {
    /// The text as the current room receives it; `None` for a command or an action.
    pub fn said(&self) -> Option<Cow<'a, str>> {
        match *self {
            Command::Say(text) => Some(text.into()),
            Command::SayIndented(indent, rest) => Some(format!("{indent}{rest}").into()),
            _ => None,
        }
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.name == other.name
    }
}
impl Eq for Row {}

impl Row {
    /// Finds a command by its name, with or without its slash, in any case and width.
    pub fn by_name(name: &str) -> Option<&'static Row> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let is_same = |row: &&Row| {
            row.name.len() == name.chars().count() && row.name.chars().eq(name.chars().map(narrow))
        };
        TABLE.iter().find(is_same)
    }

    /// Whether `/help` lists it.
    pub fn is_listed(&self) -> bool {
        !self.does.is_empty()
    }
}

/// A letter in lower case, and no wider than ASCII's.
fn narrow(c: char) -> char {
    let half_width = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    };
    half_width.to_ascii_lowercase()
}

impl fmt::Display for Row {
    /// The usage: `/msg NICK TEXT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.name)?;
        if self.arguments.is_empty() { Ok(()) } else { write!(f, " {}", self.arguments) }
    }
}

/// Reads a line's text. `Ok(None)` is a line in which nothing can be seen: nothing. The row is the
/// command's own, `None` for what is said.
///
/// What was meant as a command is never said: a private message would be public. So the first
/// character that is seen decides: a command is done also when blanks or other characters that
/// show nothing stand before its slash, and when the slash is the full-width one that a Chinese or
/// Japanese keyboard types. With a character that only looks like a slash, or a backslash, it is
/// refused.
pub fn parse(line: &str) -> Result<Option<(Option<&'static Row>, Command<'_>)>, CommandError<'_>> {
    if line.chars().all(is_blank) {
        return Ok(None);
    }
    let Some(Attempt { indent, slash, rest, name, arguments, row }) = Attempt::of(line) else {
        return Ok(Some((None, Command::Say(line))));
    };
    if rest.starts_with(slash) {
        let said =
            if indent.is_empty() { Command::Say(rest) } else { Command::SayIndented(indent, rest) };
        return Ok(Some((None, said)));
    }
    let row = row.ok_or(CommandError::Unknown(name))?;
    if is_lookalike(slash) {
        return Err(CommandError::Lookalike(slash, name));
    }
    match (row.parse)(arguments.trim_matches(is_blank)) {
        Some(command) => Ok(Some((Some(row), command))),
        None => Err(CommandError::Usage(row)),
    }
}

/// Whether a line is refused for what stands where a command has its slash, and only looks like
/// one: a backslash, or another character.
pub fn begins_with_lookalike(line: &str) -> bool {
    parse(line).is_err() && Attempt::of(line).is_some_and(|attempt| is_lookalike(attempt.slash))
}

/// The line that says this text, whatever it begins with: a slash is doubled where it would make
/// the text a command.
///
/// ```
/// use forkchat_common::protocol::line::command::literal;
/// assert_eq!(literal("/usr/bin/ld: cannot find -lfoo"), "//usr/bin/ld: cannot find -lfoo");
/// assert_eq!(literal("1/2"), "1/2");
/// ```
pub fn literal(text: &str) -> Cow<'_, str> {
    match Attempt::of(text) {
        Some(Attempt { indent, slash, rest, .. }) => format!("{indent}{slash}{slash}{rest}").into(),
        None => text.into(),
    }
}

/// A line that was meant as a command, or says by doubled slashes that it isn't.
struct Attempt<'a> {
    indent: &'a str,
    slash: char,
    /// What stands after the slash.
    rest: &'a str,
    name: &'a str,
    arguments: &'a str,
    row: Option<&'static Row>,
}

impl<'a> Attempt<'a> {
    fn of(line: &'a str) -> Option<Attempt<'a>> {
        let visible = line.trim_start_matches(is_stray);
        let slash = visible
            .chars()
            .next()
            .filter(|c| matches!(*c, '/' | FULL_WIDTH_SLASH) || is_lookalike(*c))?;
        let (indent, rest) = (&line[..line.len() - visible.len()], &visible[slash.len_utf8()..]);
        let words = rest.trim_start_matches(slash);
        let (name, arguments) = words.split_once(is_blank).unwrap_or((words, ""));
        let row = Row::by_name(name);
        let is_meant = match (slash, row) {
            (_, Some(_)) => true,
            // An indented path is text, and so is a face such as ／(^o^)＼.
            ('/', None) => {
                indent.is_empty()
                    || hint(name).is_some()
                    || (!indent.chars().all(char::is_whitespace) && is_letters(name))
            }
            (_, None) if BACKSLASHES.contains(&slash) => false,
            (_, None) => is_word(name),
        };
        is_meant.then_some(Attempt { indent, slash, rest, name, arguments, row })
    }
}

const FULL_WIDTH_SLASH: char = '\u{ff0f}';
/// Fraction slash, division slash, big solidus, box drawings' diagonal, mathematical rising
/// diagonal.
const SLASH_LOOKALIKES: &[char] = &['\u{2044}', '\u{2215}', '\u{29f8}', '\u{2571}', '\u{27cb}'];
/// Backslash, its full-width and small forms, set minus, reverse solidus operator, big reverse
/// solidus. Much begins with one (`\o/`, `\n`), so only a command's name makes it an attempt.
const BACKSLASHES: &[char] =
    &['\\', '¥', '₩', '\u{ff3c}', '\u{fe68}', '\u{2216}', '\u{29f5}', '\u{29f9}'];

/// Whether it is not a slash, and may have been typed or pasted for one.
fn is_lookalike(c: char) -> bool {
    SLASH_LOOKALIKES.contains(&c) || BACKSLASHES.contains(&c)
}

/// Whether it looks like a command's name: letters of ASCII, or their full-width forms.
fn is_word(name: &str) -> bool {
    name.chars().next().is_some_and(|c| narrow(c).is_ascii_lowercase())
}

/// Whether it is one word of such letters.
fn is_letters(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| narrow(c).is_ascii_lowercase())
}

/// Whether a character before a command is there by accident: blanks, marks without a
/// letter to stand on, what isn't assigned, what couldn't be decoded.
fn is_stray(c: char) -> bool {
    is_blank(c) || (!c.is_ascii() && !is_seen_alone(c))
}

/// Whether nothing is seen of a character: spaces of every kind and width, and what has no width.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Hangul and Mongolian fillers, joiners and marks of
            // direction, invisible operators, Braille's blank, variation selectors, byte order
            // mark.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a line, as a client sent it, may be a command with a long answer. What the client sent
/// after such a line is better left in the kernel until the answer is complete.
///
/// What the line's bytes mean is decided later, by charset and Telnet state. So this says yes to
/// each line that doesn't begin as ordinary text does; a wrong yes only costs some speed.
pub fn may_have_long_answer(line: &[u8]) -> bool {
    match line.trim_ascii_start() {
        [b'/', name @ ..] => {
            // It may have full-width letters.
            if !name.split(u8::is_ascii_whitespace).next().is_none_or(<[u8]>::is_ascii) {
                return true;
            }
            let is_head = |row: &&Row| {
                name.get(..row.name.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(row.name.as_bytes()))
            };
            TABLE.iter().filter(|row| row.has_long_answer).any(|row| is_head(&row))
        }
        // What stands before the slash may be taken back.
        line @ [first, ..] => {
            !first.is_ascii_graphic() || memchr::memchr3(0x08, 0x15, 0x7f, line).is_some()
        }
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
    let rest = rest.trim_matches(is_blank);
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

/// What to use instead of a command of another chat program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This command does it.
    Command(&'static Row),
    /// This sentence explains what to do.
    Words(&'static str),
}

/// Finds a hint for a command of other chat programs; `None` if the name is not known from them.
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
    ("msg", &["query", "w", "whisper", "tell", "dm", "pm", "m", "t", "notice", "privmsg"]),
    ("me", &["action", "em", "emote"]),
    ("history", &["log", "last", "lastlog", "backlog", "scrollback", "chathistory"]),
    ("charset", &["encoding", "codepage"]),
    ("quit", &["exit", "bye", "disconnect", "logout", "signoff", "end"]),
];

/// Commands of other chat programs that have no counterpart.
const HINTS_IN_WORDS: [(&[&str], &str); 5] = [
    (&["q"], "/quit leaves the chat, /msg NICK TEXT sends a private message"),
    (&["say", "s"], "to send a line to the room, type it without a slash"),
    (
        &["away", "back", "afk", "status"],
        "there is no away status here; /me TEXT tells the room what you do",
    ),
    (
        &["whois", "wii", "whowas"],
        "/who lists who is in a room; nothing more is shown about others",
    ),
    (
        &["kick", "ban", "op", "deop", "voice", "mode", "invite", "ignore", "oper"],
        "there are no operators, bans, invitations or ignore lists here",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_and_comments_are_escaped_and_other_text_is_not() {
        for (text, sent) in [
            ("/usr/bin/ld: no", "//usr/bin/ld: no"),
            ("/quit", "//quit"),
            ("// x", "/// x"),
            ("a /b", "a /b"),
            ("", ""),
        ] {
            assert_eq!(literal(text), sent);
        }
        assert_eq!(command("/// x"), Command::Say("// x"));
    }

    #[test]
    fn names_from_other_programs_lead_to_the_command_here() {
        for (name, here) in [
            ("j", "join"),
            ("PART", "leave"),
            ("names", "who"),
            ("list", "rooms"),
            ("exit", "quit"),
            ("query", "msg"),
            ("w", "msg"),
        ] {
            assert_eq!(hint(name), Row::by_name(here).map(Hint::Command), "{name}");
        }
        assert!(matches!(hint("away"), Some(Hint::Words(_))) && hint("dance").is_none());
        let names = || {
            HINTS
                .iter()
                .flat_map(|(_, names)| *names)
                .chain(HINTS_IN_WORDS.iter().flat_map(|(names, _)| *names))
        };
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
    fn what_was_meant_as_a_command_is_never_said() {
        let secret = Command::Msg { nick: "bob", text: "a secret" };
        for line in [
            "/msg bob a secret",
            " /msg bob a secret",
            "\t/msg bob a secret",
            "\u{3000}/msg bob a secret",
            "\u{feff}/msg bob a secret",
            "\u{200b}/msg bob a secret",
            "／msg bob a secret",
            "／ｍｓｇ　bob　a secret",
            " ／MSG bob a secret",
            "/msg\u{a0}bob\u{a0}a secret\u{a0}",
            "/msg\u{2003}bob\u{3000}a secret",
            "/ｍｓｇ bob a secret",
            "\u{fffd}/msg bob a secret",
            "\u{fffd} \u{fffd}／msg bob a secret",
            "\u{301}/msg bob a secret",
            "\u{20dd}\u{93f}/msg bob a secret",
            "\u{ad}\u{200d}\u{fe0f}\u{200e}/msg bob a secret",
            "\u{f700}\u{ffff}\u{378}/msg bob a secret",
        ] {
            assert_eq!(command(line), secret, "{line:?}");
        }
        for line in [
            "⁄msg bob a secret",
            "∕msg bob a secret",
            "⧸MSG bob a secret",
            " ⁄msg bob",
            "\\msg bob a secret",
            " \\MSG bob a secret",
            "\u{301}\\msg bob a secret",
            "＼msg bob a secret",
            "¥msg bob a secret",
            "﹨msg bob a secret",
            "∖msg bob",
            "⧵msg bob",
            "⧹ｍｓｇ bob",
            "\\quit",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Lookalike(..))), "{line}");
        }
        for line in [
            "／mgs bob a secret",
            "／ｄａｎｃｅ",
            "/mgs\u{a0}bob",
            "/ msg bob a secret",
            "/",
            "/m\u{301}sg bob",
            "\u{fffd}/mgs bob a secret",
            "\u{200b}/mgs bob a secret",
            "⁄mgs bob a secret",
            " /query bob a secret",
            " /w bob a secret",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Unknown(_))), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_slash_begins_no_command() {
        for text in ["\\nick is a macro", " \\msg bob x", "\u{2044}msg bob x", "\u{2215}dance"] {
            assert!(begins_with_lookalike(text), "{text}");
        }
        for text in
            ["/nick", "/dance", "\u{ff0f}dance", "\u{200b}/dance", "/", "//nick", "\\o/", "hi", ""]
        {
            assert!(!begins_with_lookalike(text), "{text}");
        }
    }

    #[test]
    fn paths_faces_and_fractions_are_said() {
        for line in [
            " /etc/passwd",
            "  //etc",
            "／(^o^)＼",
            "／人◕ ‿‿ ◕人＼",
            "／",
            "⁄10",
            "1／2",
            "╱╲",
            "  indented",
            "\u{200f}שלום",
            "\\o/",
            "\\",
            "\\n ends a line",
            "\\\\server\\share",
            "\\begin{document}",
            "C:\\dir",
            "＼(^o^)／",
            "\u{fffd}/etc/passwd",
            "\u{fffd}/\u{fffd}",
            "\u{301}hello",
            "<3 you all",
            "❤\u{fe0f}/me",
        ] {
            assert_eq!(command(line), Command::Say(line));
        }
        assert_eq!(command("／／me"), Command::Say("／me"));
        assert_eq!(command("  //me"), Command::SayIndented("  ", "/me"));
    }

    #[test]
    fn every_text_has_a_line_that_says_it() {
        for text in [
            "hi",
            "/",
            "//",
            "/me",
            "//me",
            "///me",
            "/usr/bin",
            " /me",
            " //me",
            "\t/etc",
            "／msg bob",
            "　／ｍｓｇ",
            "／／me",
            "／mgs",
            "／(^o^)＼",
            "⁄msg x",
            "⁄⁄msg",
            " ⁄me",
            "1/2",
            "/ msg",
            "\\msg bob",
            "\\\\msg bob",
            "\\o/",
            "\u{301}/msg bob",
            "\u{fffd}/mgs",
            "\u{fffd}//mgs",
            " /query",
            "⁄mgs",
        ] {
            let line = literal(text);
            let said = match command(&line) {
                Command::Say(said) => said.to_owned(),
                Command::SayIndented(indent, rest) => format!("{indent}{rest}"),
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(said, text);
        }
    }

    proptest! {
        #[test]
        fn a_text_is_said_or_refused_and_its_literal_is_said(text in "[ \t\u{301}\u{200b}\u{fffd}]{0,2}[/／⁄＼\\\\]{0,3}(me|mgs|w|quit x|o/|(\\^))?") {
            let literal = literal(&text).into_owned();
            match parse(&literal) {
                Ok(None) => prop_assert!(text.chars().all(is_blank)),
                Ok(Some((None, said))) => prop_assert_eq!(said.said().unwrap(), text.as_str()),
                other => prop_assert!(false, "{:?} of {:?}: {:?}", literal, text, other),
            }
        }
    }

    #[test]
    fn a_line_in_which_nothing_is_seen_is_nothing() {
        for line in [
            "",
            " ",
            "\t \t",
            "\u{3000}\u{3000}",
            "\u{a0}",
            "\u{200b}\u{200d}",
            "\u{feff}",
            "\u{2800} \u{3164}",
        ] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
        assert!(matches!(parse("/me \u{200b}\u{3000}"), Err(CommandError::Usage(_))));
        assert!(matches!(parse("/msg bob \u{2060}"), Err(CommandError::Usage(_))));
    }

    #[test]
    fn arguments_are_read_or_the_usage_told() {
        assert_eq!(command("/MSG bob hi there"), Command::Msg { nick: "bob", text: "hi there" });
        assert_eq!(command("/set echo ON"), Command::Set(Setting::Echo, true));
        assert_eq!(command("/set"), Command::Settings);
        assert_eq!(command("/leave"), Command::Leave(None));
        assert_eq!(command("/topic "), Command::Topic(None));
        assert_eq!(
            ["/topic -", "/topic \"\"", "/topic - tea -"].map(command),
            ["", "", "- tea -"].map(|text| Command::Topic(Some(text)))
        );
        assert_eq!(
            ["/rooms", "/rooms rust*"].map(command),
            [Command::Rooms(None), Command::Rooms(Some("rust*"))]
        );
        assert_eq!(command("/msg\tbob\thi"), Command::Msg { nick: "bob", text: "hi" });
        assert_eq!(
            ["/history", "/history 500"].map(command),
            [Command::History(20), Command::History(500)]
        );
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
        for line in [
            "/history",
            "/HISTORY 3",
            "  /rooms",
            "/who #x",
            "\u{feff}/history",
            "／history",
            "/ｗｈｏ",
            "/hｉstory 3",
            "\u{1}/who",
        ] {
            assert!(may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        for line in ["", "hello", "/nick who", "//history", "/me asks who is here", "[a]"] {
            assert!(!may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        for line in [
            &b"\xff\xfd\x06/history"[..],
            b"x\x08/history",
            b"xy\x7f\x7f/who",
            b"xy\x15/who",
            b"\x1b[A/who",
            b"\xa0/rooms",
        ] {
            assert!(may_have_long_answer(line), "{line:?}");
        }
    }
}
