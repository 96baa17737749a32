//! How things look: coloured lines for a terminal, the server's own prose for a pipe, or an object a line. Pure: from values to text.

use crate::defuse::defuse;
use crate::lookalike::Lookalikes;
use crate::session::{Shown, Standing, Told};
use forkchat_common::ids::Micros;
use forkchat_common::names::key_of;
use forkchat_common::wire::tagged::Kind;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::hash::Hasher;

/// Colours of the 256 that are readable on a dark and on a light background, and are told apart.
const NICK_COLORS: [u8; 18] = [28, 30, 32, 61, 64, 67, 71, 91, 94, 96, 97, 101, 124, 125, 130, 132, 133, 136];

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// How a person at a terminal sees things.
#[derive(Debug)]
pub struct TerminalLook {
    has_colors: bool,
    has_bell: bool,
    zone: TimeZone,
    lookalikes: Lookalikes,
    nick: String,
}

impl TerminalLook {
    /// With or without colours, with or without a bell; times are told in `zone`.
    pub fn new(has_colors: bool, has_bell: bool, zone: TimeZone) -> TerminalLook {
        TerminalLook { has_colors, has_bell, zone, lookalikes: Lookalikes::default(), nick: String::new() }
    }

    /// One's own name, which nobody else's is taken for.
    pub fn own_nick(&mut self, nick: &str) {
        if nick != self.nick {
            nick.clone_into(&mut self.nick);
            self.lookalikes.own(nick);
        }
    }

    /// One or more rows, each with its line end.
    pub fn render(&mut self, shown: &Shown, now: Timestamp) -> String {
        let row = match shown {
            Shown::Told(told) => self.told(told, now),
            Shown::Own { room, text, standing } => {
                let room = room.as_ref().map_or_else(String::new, |room| format!("[{}] ", defuse(room)));
                let (mark, style) = match standing {
                    Standing::Waiting => ("…", DIM),
                    Standing::Doubtful => ("?", YELLOW),
                    Standing::NotSent => ("✗", RED),
                };
                self.row(
                    now,
                    &self.in_style(style, mark),
                    &self.in_style(style, &format!("{room}{}: {}", defuse(&self.nick), defuse(text))),
                )
            }
            Shown::Notice(text) => self.row(now, "-", &self.in_style(DIM, &defuse(text))),
            Shown::Refusal(text) => self.row(now, &self.in_style(RED, "!"), &self.in_style(RED, &defuse(text))),
        };
        format!("{row}\r\n")
    }

    fn told(&mut self, told: &Told, now: Timestamp) -> String {
        let time = told.time.map_or(now, timestamp);
        let nick = told.nick.as_deref().unwrap_or_default();
        // Who takes another name is looked at under that one.
        let face = told.target.as_deref().filter(|_| told.kind == Some(Kind::Nick)).unwrap_or(nick);
        let is_gone = matches!(told.kind, Some(Kind::Quit | Kind::Nick));
        if is_gone && face != nick {
            self.lookalikes.gone(nick);
        }
        let imitated = if face.is_empty() { None } else { self.lookalikes.imitated(face).map(str::to_owned) };
        if is_gone && face == nick {
            self.lookalikes.gone(nick);
        }
        let warning = imitated.map_or_else(String::new, |of| self.in_style(RED, &format!(" (not {})", defuse(&of))));
        let room = self.in_style(DIM, &format!("[{}]", defuse(told.room.as_deref().unwrap_or_default())));
        let name = self.name(face, !warning.is_empty());
        let text = defuse(&told.text);
        let content = match told.kind {
            Some(Kind::Say) => format!("{room} {name}{warning}: {text}"),
            Some(Kind::Action) => format!("{room} * {name}{warning} {text}"),
            Some(Kind::Private) => {
                let whose = told.target.as_deref().filter(|_| told.is_own).unwrap_or(nick);
                format!("{} {name}{warning}: {text}", self.in_style(DIM, &format!("[@{}]", defuse(whose))))
            }
            Some(Kind::Error) => self.in_style(RED, &defuse(&told.prose)),
            _ if told.prose.starts_with("! ") => self.in_style(RED, &defuse(&told.prose)),
            _ if warning.is_empty() => self.in_style(DIM, &defuse(&told.prose)),
            _ => format!("{} {name}{warning}", self.in_style(DIM, &defuse(&told.prose))),
        };
        let mark = match told {
            Told { is_own: true, .. } => self.in_style(GREEN, "✓"),
            Told { is_for_me: true, .. } => self.in_style(YELLOW, "»"),
            _ => " ".to_owned(),
        };
        let bell = if told.is_for_me && self.has_bell { "\x07" } else { "" };
        format!("{bell}{}", self.row(time, &mark, &content))
    }

    fn row(&self, time: Timestamp, mark: &str, content: &str) -> String {
        let time = time.to_zoned(self.zone.clone()).strftime("%H:%M").to_string();
        format!("{} {mark} {content}", self.in_style(DIM, &time))
    }

    fn name(&self, nick: &str, is_imitation: bool) -> String {
        let shown = defuse(nick);
        if is_imitation {
            return self.in_style(REVERSE, &shown);
        }
        if key_of(nick) == key_of(&self.nick) {
            return self.in_style(BOLD, &shown);
        }
        self.in_style(&format!("\x1b[38;5;{}m", color_of(nick)), &shown)
    }

    fn in_style(&self, style: &str, text: &str) -> String {
        if self.has_colors { format!("{style}{text}{RESET}") } else { text.to_owned() }
    }
}

/// A nickname's colour: the same wherever it is seen.
fn color_of(nick: &str) -> u8 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(key_of(nick).as_bytes());
    let index = hasher.finish() % NICK_COLORS.len() as u64;
    NICK_COLORS[usize::try_from(index).unwrap_or(0)]
}

fn timestamp(time: Micros) -> Timestamp {
    i64::try_from(time.0).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or_default()
}

/// A line for a pipe: what the server's prose says, as `nc` would show it.
pub fn plain(told: &Told) -> String {
    format!("{}\n", told.prose)
}

/// A line for a program: an object with what the tags say and `text`, what was said without its frame. `own` is one's own line, come back accepted.
pub fn json(told: &Told) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    put("event", Some(told.kind.unwrap_or(Kind::Other).name().into()));
    put("id", told.id.map(|id| id.0.into()));
    put("time", told.time.map(|time| format!("{:.3}", timestamp(time)).into()));
    put("room", text(&told.room));
    put("nick", text(&told.nick));
    put("target", text(&told.target));
    put("to", text(&told.to));
    put("own", told.is_own.then(|| true.into()));
    put("text", Some(told.text.clone().into()));
    format!("{}\n", Value::Object(object))
}

/// What the client says itself, for standard error.
pub fn remark(shown: &Shown) -> Option<String> {
    match shown {
        Shown::Told(_) => None,
        Shown::Own { text, standing: Standing::Doubtful, .. } => Some(format!("perhaps not said: {text}")),
        Shown::Own { text, standing: Standing::NotSent, .. } => Some(format!("not said: {text}")),
        Shown::Own { .. } => None,
        Shown::Notice(text) | Shown::Refusal(text) => Some(text.clone()),
    }
}
