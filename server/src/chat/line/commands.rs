//! The handlers of the commands. A handler either executes the command and answers it, or refuses
//! it and changes nothing. Each row of the common table (`common/src/protocol/line/commands.rs`)
//! has its handler: without one the server does not compile.

mod rooms;

use crate::chat::Chat;
use crate::chat::deliver::{Deliveries, Out};
use crate::chat::effect::Ending;
use crate::chat::rooms::RoomId;
use forkchat_common::charset::{Charset, CharsetError};
use forkchat_common::endpoint::plain;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::SessionId;
use forkchat_common::protocol::line::arguments::{
    nothing, optional_word, text, word, word_and_text,
};
use forkchat_common::protocol::line::commands::{Row, TABLE};
use forkchat_common::protocol::line::input::{Input, InputError, parse};
use forkchat_common::protocol::line::settings::{SETTINGS, parse_setting};
use forkchat_common::protocol::line::tags::Tags;
use std::fmt::Arguments;
use std::marker::PhantomData;

/// A command that a session has sent.
#[derive(Clone, Copy)]
struct Call<'t> {
    session: SessionId,
    row: &'static Row,
    arguments: &'t str,
}

type Done<'t> = Result<(), Refusal<'t>>;
type Handler<O> = for<'t> fn(&mut Chat, Call<'t>, &mut Out<'_, O>) -> Done<'t>;

struct Handlers<O>(PhantomData<O>);

impl<O: Deliveries> Handlers<O> {
    /// The handler of each command, in the order of [`TABLE`].
    const ALL: [(&'static str, Handler<O>); TABLE.len()] = [
        ("help", Chat::help),
        ("nick", Chat::nick),
        ("join", Chat::join),
        ("leave", Chat::leave),
        ("rooms", Chat::rooms),
        ("who", Chat::who),
        ("whoami", Chat::whoami),
        ("msg", Chat::msg),
        ("me", Chat::me),
        ("topic", Chat::topic),
        ("history", Chat::history),
        ("charset", Chat::charset),
        ("set", Chat::set),
        ("ping", Chat::ping),
        ("quit", Chat::quit),
        ("hello", Chat::hello),
    ];

    /// Checks at compile time that the handlers are in the order of the rows. (If one is missing,
    /// the array has the wrong length.)
    const CHECKED: () = {
        let mut row = 0;
        while row < TABLE.len() {
            let is_matching = is_same(TABLE[row].name, Self::ALL[row].0);
            assert!(is_matching, "the handlers stand in the order of the commands' table");
            row += 1;
        }
    };

    fn of(row: &'static Row) -> Handler<O> {
        let () = Self::CHECKED;
        let index = TABLE.iter().position(|other| other == row);
        Self::ALL[index.expect("a row is one of the table's")].1
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl<'t> Call<'t> {
    /// The tags of the answer.
    fn tags(self) -> Tags<'t> {
        Tags::reply(self.row.name)
    }

    /// Reads the arguments.
    fn read<T>(self, read: impl FnOnce(&'t str) -> Option<T>) -> Result<T, Refusal<'t>> {
        read(self.arguments).ok_or(Refusal::Usage)
    }
}

impl Chat {
    /// Executes a line of text: sends it to the current room, or calls the command's handler.
    pub(super) fn execute<O: Deliveries>(
        &mut self,
        id: SessionId,
        line: &str,
        out: &mut Out<'_, O>,
    ) {
        let (to, done) = match parse(line) {
            Ok(None) => return,
            Ok(Some(Input::Command(row, arguments))) => {
                (Some(row.name), self.call(Call { session: id, row, arguments }, out))
            }
            Ok(Some(input)) => {
                (None, self.say_in_current(id, &input.said().unwrap_or_default(), false, out))
            }
            Err(InputError::Unknown(name)) => (Some(name), Err(Refusal::UnknownCommand(name))),
            Err(InputError::Lookalike(slash, name)) => {
                (Some(name), Err(Refusal::SlashLookalike(slash, name)))
            }
        };
        if let Err(refusal) = done {
            self.send(id, &Event::Refused { to, refusal }, out);
        }
    }

    fn call<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        if call.row.cost > 1
            && !self.is_login(call)
            && self.is_address_overdrawn(call.session, out.now)
        {
            return Err(Refusal::AddressTooFast);
        }
        let cost = call.row.cost - 1;
        let done = Handlers::of(call.row)(self, call, out);
        if !matches!(done, Err(Refusal::Usage)) {
            // One line was already charged when the input was processed.
            self.charge(call.session, cost, out);
        }
        done
    }

    /// Whether a command belongs to a login: other sessions have not yet been notified of this one.
    /// Logins are exempt from the address's limit, so that many clients of one address can log in
    /// at once.
    fn is_login(&self, call: Call<'_>) -> bool {
        matches!(call.row.name, "nick" | "join")
            && self.session(call.session).is_some_and(|session| !session.is_announced)
    }

    /// Answers a command with one line.
    fn answer<O: Deliveries>(
        &self,
        call: Call<'_>,
        tags: Tags<'_>,
        text: Arguments<'_>,
        out: &mut Out<'_, O>,
    ) {
        self.send_lines(call.session, tags, out, |lines| lines.line(text));
    }

    fn say_in_current<O: Deliveries>(
        &mut self,
        id: SessionId,
        text: &str,
        is_action: bool,
        out: &mut Out<'_, O>,
    ) -> Done<'static> {
        let room = self.current_room(id)?;
        self.say(id, room, text, is_action, out);
        Ok(())
    }

    fn me<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let text = call.read(text)?;
        self.say_in_current(call.session, text, true, out)
    }

    fn msg<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let (nick, text) = call.read(word_and_text)?;
        self.send_private(call.session, nick, text, out)
    }

    fn nick<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let name = call.read(word)?;
        let Some(old) = self.rename(call.session, name)? else { return Ok(()) };
        let Some(session) = self.session(call.session) else { return Ok(()) };
        let nick = session.nick.as_str();
        self.answer(
            call,
            call.tags().with("nick", nick),
            format_args!("* you are now {nick}"),
            out,
        );
        self.send_renamed(session, &old, out);
        Ok(())
    }

    fn whoami<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        call.read(nothing)?;
        let Some(session) = self.session(call.session) else { return Ok(()) };
        let name = |room: &RoomId| self.state.rooms.get(*room).name.as_str();
        let (nick, current) = (session.nick.as_str(), session.line().current.as_ref().map(name));
        let rooms: Vec<&str> = session.rooms.iter().map(name).collect();
        let rooms = if rooms.is_empty() { "no room".to_owned() } else { rooms.join(" ") };
        let talks = current.map(|room| format!(", talking in {room}")).unwrap_or_default();
        // A socket for both IP versions shows IPv4 addresses mapped into IPv6. People expect the
        // plain form.
        let (peer, worker) = (plain(session.origin.peer), session.slot.worker_number());
        // The pid comes from the log, so each process that renders this record shows the same one.
        let pid = self.state.pids.get(&session.slot);
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let tags = call.tags().with_some("room", current).with("nick", nick);
        let text = format_args!(
            "* you are {nick}, in {rooms}{talks}, from {peer}, served by worker {worker}{pid}"
        );
        self.answer(call, tags, text, out);
        Ok(())
    }

    fn help<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let about = call.read(optional_word)?;
        let find = |name| Row::by_name(name).filter(|row| row.is_listed()).ok_or(name);
        let row = about.map(find).transpose().map_err(Refusal::UnknownCommand)?;
        self.send_lines(call.session, call.tags(), out, |lines| match row {
            None => {
                lines.line(format_args!(
                    "* what you type is sent to the current room; to send \"/text\", \
                     type //text; commands:"
                ));
                for row in TABLE.iter().filter(|row| row.is_listed()) {
                    lines.line(format_args!("*   {:<20} {}", row.to_string(), row.does));
                }
            }
            Some(row) => {
                lines.line(format_args!("* {row}: {}", row.does));
                if row.name == "set" {
                    for (_, name, does) in SETTINGS {
                        lines.line(format_args!("*   /set {name} on|off: {does}"));
                    }
                }
            }
        });
        Ok(())
    }

    fn charset<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let name = call.read(word)?;
        let charset = Charset::by_label(name).map_err(|why| match why {
            CharsetError::Unknown => Refusal::UnknownCharset(name),
            CharsetError::NotAscii(_) => Refusal::CharsetNotAscii(name),
        })?;
        let text = format_args!("* charset is {} from the next line on", charset.name());
        self.answer(call, call.tags(), text, out);
        if let Some(session) = self.session_mut(call.session) {
            session.line_mut().charset = charset;
        }
        Ok(())
    }

    fn set<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        let changed = match call.arguments {
            "" => None,
            arguments => Some(parse_setting(arguments).ok_or(Refusal::Usage)?),
        };
        let Some(session) = self.session_mut(call.session) else { return Ok(()) };
        if let Some((setting, is_on)) = changed {
            session.line_mut().settings[setting as usize] = is_on;
        }
        let values = session.line().settings;
        self.send_lines(call.session, call.tags(), out, |lines| {
            let shown = SETTINGS.iter().zip(values);
            for ((setting, name, does), is_on) in shown {
                if changed.is_none_or(|(changed, _)| changed == *setting) {
                    let state = if is_on { "on" } else { "off" };
                    lines.line(format_args!("* {name} is {state} ({does})"));
                }
            }
        });
        Ok(())
    }

    fn ping<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        self.send_pong(call.session, call.arguments, out);
        Ok(())
    }

    /// The answer to `/ping`, and to Telnet's "are you there".
    pub(super) fn send_pong<O: Deliveries>(&self, id: SessionId, text: &str, out: &mut Out<'_, O>) {
        let space = if text.is_empty() { "" } else { " " };
        self.send_lines(id, Tags::event("pong").with("to", "ping"), out, |lines| {
            lines.line(format_args!("* pong{space}{text}"));
        });
    }

    /// Sends the welcome again, which may have been lost over UDP.
    fn hello<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        if self.session(call.session).is_none_or(|session| !session.is_udp()) {
            return Err(Refusal::HelloIsForUdp);
        }
        self.welcome(call.session, out);
        Ok(())
    }

    fn quit<'t, O: Deliveries>(&mut self, call: Call<'t>, out: &mut Out<'_, O>) -> Done<'t> {
        self.answer(call, call.tags(), format_args!("* goodbye"), out);
        self.send_quit(call.session, call.arguments, out);
        self.remove(call.session, Ending::Finish, out);
        Ok(())
    }
}
