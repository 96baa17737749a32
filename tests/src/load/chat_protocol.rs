//! The protocol between clients and a server: forkchat's line protocol, the bare broadcaster's
//! protocol, or the part of IRC (RFC 2812) that a room needs. Composes what clients send and
//! classifies what they receive, without I/O.

use super::broadcaster::READY;

/// The longest line that a client may say in IRC. An IRC line has at most 512 bytes with its end
/// and with what the server puts before it; the longest `:nick!user@host PRIVMSG #room :` takes the
/// rest.
pub const IRC_BYTES_MAX: usize = 400;

/// A protocol: how a client enters a room, and what a line from the room looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatProtocol {
    /// forkchat's line protocol.
    Lines,
    /// The bare broadcaster's protocol.
    Bare,
    /// IRC.
    Irc,
}

/// What a client sends to enter its room.
#[derive(Debug)]
pub struct Login {
    /// Sent at once.
    pub first: String,
    /// Sent when the server has welcomed the client.
    pub then: String,
}

/// A line that the server itself sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLine<'l> {
    /// The client is in the room.
    Ready,
    /// The client is welcome and must send [`Login::then`].
    Welcome,
    /// Over UDP: the client must send this to log in.
    Cookie(&'l [u8]),
    /// The client must answer with this.
    Ping(&'l [u8]),
    /// A notice of the server.
    Notice,
    /// The server has rejected something.
    Refusal,
    /// It is no line of this protocol.
    Unknown,
}

impl ChatProtocol {
    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            ChatProtocol::Lines => "forkchat's line protocol",
            ChatProtocol::Bare => "the bare broadcaster's protocol",
            ChatProtocol::Irc => "IRC",
        }
    }

    /// A nickname that no other client of any run has. In IRC it has at most nine letters and
    /// digits, which every server accepts. Source: RFC 2812, 1.2.1.
    pub fn nick(self, run: &str, serial: usize) -> String {
        match self {
            ChatProtocol::Irc => format!("{}{}", &run[..3], base36(serial)),
            _ => format!("{run}u{serial}"),
        }
    }

    /// What a client sends to enter its room.
    pub fn login(self, nick: &str, room: &str) -> Login {
        let (first, then) = match self {
            ChatProtocol::Lines => (
                format!("/set joins off\n/nick {nick}\n/join {room}\n/leave #lobby\n/ping ready\n"),
                String::new(),
            ),
            ChatProtocol::Bare => (format!("{room}\n"), String::new()),
            ChatProtocol::Irc => {
                (format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n"), format!("JOIN {room}\r\n"))
            }
        };
        Login { first, then }
    }

    /// What a client puts before a line.
    pub fn head(self, room: &str) -> String {
        if self == ChatProtocol::Irc { format!("PRIVMSG {room} :") } else { String::new() }
    }

    /// What the server puts before a line that `nick` says in a room. In IRC it is not completely
    /// known: see [`ChatProtocol::is_prefix`].
    pub fn prefix(self, nick: &str, room: &str) -> String {
        match self {
            ChatProtocol::Lines => format!("[{room}] {nick}: "),
            ChatProtocol::Bare => String::new(),
            // Between `!` and the blank, the server inserts the user and the host.
            ChatProtocol::Irc => format!(":{nick}! PRIVMSG {room} :"),
        }
    }

    /// Whether `seen` is the prefix `known`, which [`ChatProtocol::prefix`] returned.
    pub fn is_prefix(self, known: &[u8], seen: &[u8]) -> bool {
        let Some((bang, space)) = memchr::memchr(b'!', seen)
            .zip(memchr::memchr(b' ', seen))
            .filter(|_| self == ChatProtocol::Irc)
        else {
            return known == seen;
        };
        bang < space
            && known.len() == bang + 1 + seen.len() - space
            && known.starts_with(&seen[..=bang])
            && known.ends_with(&seen[space..])
    }

    /// What a client sends before it leaves; empty if it just closes the connection.
    pub fn quit_command(self) -> &'static [u8] {
        match self {
            ChatProtocol::Lines => b"/quit\n",
            ChatProtocol::Bare => b"",
            ChatProtocol::Irc => b"QUIT\r\n",
        }
    }

    /// A line without its end.
    pub fn trimmed(self, line: &[u8]) -> &[u8] {
        if self == ChatProtocol::Irc { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
    }

    /// The meaning of a line that the server itself sends.
    pub fn classify(self, line: &[u8]) -> ServerLine<'_> {
        match self {
            ChatProtocol::Irc => classify_irc(line),
            ChatProtocol::Bare if line == READY => ServerLine::Ready,
            ChatProtocol::Bare => ServerLine::Unknown,
            ChatProtocol::Lines if line == b"* pong ready" => ServerLine::Ready,
            ChatProtocol::Lines if line.starts_with(b"* /hello ") => ServerLine::Cookie(&line[2..]),
            ChatProtocol::Lines if line.starts_with(b"* ") => ServerLine::Notice,
            ChatProtocol::Lines if line.starts_with(b"! ") => ServerLine::Refusal,
            ChatProtocol::Lines => ServerLine::Unknown,
        }
    }
}

/// Source: RFC 2812, 2.3.1 and 5.
fn classify_irc(line: &[u8]) -> ServerLine<'_> {
    let after = |line: &'_ [u8]| memchr::memchr(b' ', line).map_or(line.len(), |space| space + 1);
    let has_source = line.starts_with(b":");
    let command_and_rest = if has_source { &line[after(line)..] } else { line };
    let (command, rest) = command_and_rest.split_at(after(command_and_rest));
    match command.trim_ascii_end() {
        // Servers of other protocols greet with numbers, too, but put no name before them.
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] if !has_source => ServerLine::Unknown,
        b"001" => ServerLine::Welcome,
        b"366" => ServerLine::Ready,
        b"PING" => ServerLine::Ping(rest),
        // There is no message of the day.
        b"422" => ServerLine::Notice,
        b"ERROR" | [b'4' | b'5', _, _] => ServerLine::Refusal,
        b"NOTICE" | b"JOIN" | b"PART" | b"QUIT" | b"MODE" | b"NICK" | b"TOPIC" | b"PONG"
        | b"CAP" => ServerLine::Notice,
        [b'0'..=b'3', b'0'..=b'9', b'0'..=b'9'] => ServerLine::Notice,
        _ => ServerLine::Unknown,
    }
}

fn base36(mut number: usize) -> String {
    let mut digits = Vec::new();
    while digits.is_empty() || number > 0 {
        digits.push(char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[number % 36]));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irc_lines_are_classified() {
        for (line, expected) in [
            (&b":irc.example 001 abc :Welcome"[..], ServerLine::Welcome),
            (b":irc.example 005 abc NICKLEN=9 :are supported by this server", ServerLine::Notice),
            (b":irc.example 366 abc #room :End of NAMES list", ServerLine::Ready),
            (b"PING :12 34", ServerLine::Ping(b":12 34")),
            (b":irc.example PING 7", ServerLine::Ping(b"7")),
            (b":irc.example 422 abc :MOTD file is missing", ServerLine::Notice),
            (b":irc.example 433 * abc :Nickname already in use", ServerLine::Refusal),
            (b"ERROR :Closing Link: too many connections", ServerLine::Refusal),
            (b":abd!~abd@127.0.0.1 JOIN :#room", ServerLine::Notice),
            (b":abd!~abd@127.0.0.1 PRIVMSG #room :who said that", ServerLine::Unknown),
            (b"* Welcome to forkchat", ServerLine::Unknown),
            (b"220 mail.example ESMTP", ServerLine::Unknown),
            (b"", ServerLine::Unknown),
        ] {
            assert_eq!(
                ChatProtocol::Irc.classify(line),
                expected,
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn in_irc_a_prefix_is_recognized_whatever_user_and_host_it_names() {
        let known = ChatProtocol::Irc.prefix("abc1", "#room").into_bytes();
        let is_known = |seen: &str| ChatProtocol::Irc.is_prefix(&known, seen.as_bytes());
        assert!(
            is_known(":abc1!~abc1@localhost PRIVMSG #room :")
                && is_known(":abc1!x@[::1] PRIVMSG #room :")
        );
        assert!(
            !is_known(":abc2!~abc1@localhost PRIVMSG #room :")
                && !is_known(":abc1!~abc1@localhost PRIVMSG #other :")
        );
        assert!(
            !is_known("")
                && !is_known(":abc1 PRIVMSG #room :")
                && !is_known(":abc1!x@y PRIVMSG #room :more ")
        );
    }

    #[test]
    fn a_nickname_in_irc_is_short_and_unique() {
        let nicks: Vec<String> =
            [0, 35, 36, 50_000_000].map(|serial| ChatProtocol::Irc.nick("abcd", serial)).into();
        assert_eq!(nicks, ["abc0", "abcz", "abc10", "abctro8w"]);
        assert!(nicks.iter().all(|nick| nick.len() <= 9));
    }
}
