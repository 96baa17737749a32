//! The table of commands. A row has everything about a command that server and client share. The
//! parser, `/help`, the usage message, the client's completion and the tags of the answer read it.
//! The handler, which executes the command on the server, is in `server/src/chat/line/commands.rs`.

use std::fmt;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The command's name, without its slash.
    pub name: &'static str,
    /// The arguments, as the usage message shows them.
    pub arguments: &'static str,
    /// A short description; empty for commands that `/help` does not list.
    pub does: &'static str,
    /// The cost for the budget that `--rate-limit` sets, in lines. More than 1 if the command
    /// notifies others or has a long answer; at most [`crate::limits::COMMAND_COST_MAX`].
    pub cost: u64,
    /// The kind of its answer.
    pub answer: Answer,
}

/// The kind of answer to a command that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Lines at once, with the command in their tag `to`.
    Reply,
    /// Lines with such a tag, perhaps in several parts. The session's further input waits for the
    /// last part.
    Parts,
    /// The echo: a line in the room.
    Said,
    /// The echo: an action in the room.
    Action,
    /// The echo: a private message.
    Private,
}

/// Every command, in the order in which `/help` lists them.
pub static TABLE: &[Row] = &[
    Row {
        name: "help",
        arguments: "[COMMAND]",
        does: "lists the commands, or explains one",
        cost: 4,
        answer: Answer::Reply,
    },
    Row {
        name: "nick",
        arguments: "NAME",
        does: "changes your nickname",
        cost: 16,
        answer: Answer::Reply,
    },
    Row {
        name: "join",
        arguments: "#ROOM",
        does: "joins a room (creates it if new) and talks there",
        cost: 8,
        answer: Answer::Reply,
    },
    Row {
        name: "leave",
        arguments: "[#ROOM]",
        does: "leaves a room",
        cost: 8,
        answer: Answer::Reply,
    },
    Row {
        name: "rooms",
        arguments: "[PATTERN]",
        does: "lists the rooms that match (default: all), largest first",
        cost: 8,
        answer: Answer::Parts,
    },
    Row {
        name: "who",
        arguments: "[#ROOM]",
        does: "lists who is in a room",
        cost: 8,
        answer: Answer::Parts,
    },
    Row {
        name: "whoami",
        arguments: "",
        does: "shows your nickname, rooms, address and worker",
        cost: 2,
        answer: Answer::Reply,
    },
    Row {
        name: "msg",
        arguments: "NICK TEXT",
        does: "sends a private message",
        cost: 4,
        answer: Answer::Private,
    },
    Row {
        name: "me",
        arguments: "TEXT",
        does: "sends an action to the room: \"* NICK TEXT\"",
        cost: 1,
        answer: Answer::Action,
    },
    Row {
        name: "topic",
        arguments: "[TEXT|-]",
        does: "shows or sets the room's topic; - removes it",
        cost: 32,
        answer: Answer::Reply,
    },
    Row {
        name: "history",
        arguments: "[N]",
        does: "shows the room's last N lines (default 20, at most 500)",
        cost: 4,
        answer: Answer::Parts,
    },
    Row {
        name: "charset",
        arguments: "NAME",
        does: "switches to charset NAME from the next line on",
        cost: 1,
        answer: Answer::Reply,
    },
    Row {
        name: "set",
        arguments: "NAME on|off",
        does: "switches echo, joins or tags; /set alone shows them",
        cost: 1,
        answer: Answer::Reply,
    },
    Row {
        name: "ping",
        arguments: "[TEXT]",
        does: "asks the server for a pong",
        cost: 1,
        answer: Answer::Reply,
    },
    Row {
        name: "quit",
        arguments: "[REASON]",
        does: "leaves the chat",
        cost: 1,
        answer: Answer::Reply,
    },
    // In the table so that it is parsed like the rest. `/help` does not list it, since it has no
    // description.
    Row { name: "hello", arguments: "COOKIE", does: "", cost: 4, answer: Answer::Reply },
];

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

/// Converts a letter to lower case and normal width.
pub(super) fn narrow(c: char) -> char {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_notify_others_cost_more_than_a_line_and_all_costs_are_bounded() {
        for name in ["nick", "topic", "msg", "join", "leave", "rooms", "who", "history"] {
            assert!(Row::by_name(name).unwrap().cost > 1, "{name}");
        }
        assert!(TABLE.iter().all(|row| (1..=crate::limits::COMMAND_COST_MAX).contains(&row.cost)));
    }

    #[test]
    fn a_command_is_found_by_its_name_and_shows_its_usage() {
        assert_eq!(Row::by_name("/ｍｓＧ").unwrap().to_string(), "/msg NICK TEXT");
        assert_eq!(Row::by_name("dance"), None);
    }
}
