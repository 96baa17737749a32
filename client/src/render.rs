//! Formatting of output: coloured lines for a terminal, the server's own text for a pipe, or one
//! JSON object per line. Pure: from values to text.

use crate::conversation::{DeliveryState, Entry, Received};
use crate::lookalike::Lookalikes;
use crate::sanitize::sanitize;
use forkchat_common::ids::Micros;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::Kind;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::hash::Hasher;

/// Colours of the 256 that are readable on a dark and on a light background, and are told apart.
const NICK_COLORS: [u8; 18] =
    [28, 30, 32, 61, 64, 67, 71, 91, 94, 96, 97, 101, 124, 125, 130, 132, 133, 136];

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// How a person at a terminal sees things.
#[derive(Debug)]
pub struct TerminalRenderer {
    has_colors: bool,
    has_bell: bool,
    zone: TimeZone,
    lookalikes: Lookalikes,
    nick: String,
    /// The day of the last row; today before the first.
    day: Option<Date>,
}

impl TerminalRenderer {
    /// With or without colours, with or without a bell; times are told in `zone`.
    pub fn new(has_colors: bool, has_bell: bool, zone: TimeZone) -> TerminalRenderer {
        TerminalRenderer {
            has_colors,
            has_bell,
            zone,
            lookalikes: Lookalikes::default(),
            nick: String::new(),
            day: None,
        }
    }

    /// The user's own name; no other name may pass for it.
    pub fn own_nick(&mut self, nick: &str) {
        if nick != self.nick {
            nick.clone_into(&mut self.nick);
            self.lookalikes.own(nick);
        }
    }

    /// One or more rows, each with its line end. Where the day changes, forwards at midnight or
    /// backwards in a history, its date stands first.
    pub fn render(&mut self, shown: &Entry, now: Timestamp) -> String {
        let time =
            if let Entry::Received(told) = shown { told.time.map_or(now, timestamp) } else { now };
        let date = self.date_row(time, now);
        let row = match shown {
            Entry::Received(told) => self.told(told, now),
            Entry::Own { room, text, standing } => {
                let room =
                    room.as_ref().map_or_else(String::new, |room| format!("[{}] ", sanitize(room)));
                let (mark, style) = match standing {
                    DeliveryState::Waiting => ("…", DIM),
                    DeliveryState::InDoubt => ("?", YELLOW),
                    DeliveryState::NotSent => ("✗", RED),
                };
                self.row(
                    now,
                    &self.in_style(style, mark),
                    &self.in_style(
                        style,
                        &format!("{room}{}: {}", sanitize(&self.nick), sanitize(text)),
                    ),
                )
            }
            Entry::Notice(text) => self.row(now, "-", &self.in_style(DIM, &sanitize(text))),
            Entry::Refusal(text) => {
                self.row(now, &self.in_style(RED, "!"), &self.in_style(RED, &sanitize(text)))
            }
        };
        format!("{date}{row}\r\n")
    }

    /// The date, if it isn't that of the row before.
    fn date_row(&mut self, time: Timestamp, now: Timestamp) -> String {
        let day_of = |time: Timestamp| time.to_zoned(self.zone.clone()).date();
        let (day, today) = (day_of(time), day_of(now));
        if self.day.replace(day).unwrap_or(today) == day {
            return String::new();
        }
        let ago = match today.since(day).map_or(0, |span| span.get_days()) {
            0 => ", today".to_owned(),
            1 => ", yesterday".to_owned(),
            days @ 2.. => format!(", {days} days ago"),
            // The server's clock is ahead of ours.
            _ => String::new(),
        };
        format!("{}\r\n", self.in_style(DIM, &format!("— {day}{ago} —")))
    }

    fn told(&mut self, told: &Received, now: Timestamp) -> String {
        let time = told.time.map_or(now, timestamp);
        let nick = told.nick.as_deref().unwrap_or_default();
        // Who takes another name is looked at under that one.
        let face = told.target.as_deref().filter(|_| told.kind == Some(Kind::Nick)).unwrap_or(nick);
        let is_gone = matches!(told.kind, Some(Kind::Quit | Kind::Nick));
        if is_gone && face != nick {
            self.lookalikes.gone(nick);
        }
        let imitated =
            if face.is_empty() { None } else { self.lookalikes.imitated(face).map(str::to_owned) };
        if is_gone && face == nick {
            self.lookalikes.gone(nick);
        }
        let warning = imitated.map_or_else(String::new, |of| {
            self.in_style(RED, &format!(" (not {})", sanitize(&of)))
        });
        let room = self
            .in_style(DIM, &format!("[{}]", sanitize(told.room.as_deref().unwrap_or_default())));
        let name = self.name(face, !warning.is_empty());
        let text = sanitize(&told.text);
        let content = match told.kind {
            Some(Kind::Say) => format!("{room} {name}{warning}: {text}"),
            Some(Kind::Action) => format!("{room} * {name}{warning} {text}"),
            Some(Kind::Private) => {
                let whose = told.target.as_deref().filter(|_| told.is_own).unwrap_or(nick);
                format!(
                    "{} {name}{warning}: {text}",
                    self.in_style(DIM, &format!("[@{}]", sanitize(whose)))
                )
            }
            Some(Kind::Error) => self.in_style(RED, &sanitize(&told.prose)),
            _ if told.prose.starts_with("! ") => self.in_style(RED, &sanitize(&told.prose)),
            _ if warning.is_empty() => self.in_style(DIM, &sanitize(&told.prose)),
            _ => format!("{} {name}{warning}", self.in_style(DIM, &sanitize(&told.prose))),
        };
        let mark = match told {
            Received { is_own: true, .. } => self.in_style(GREEN, "✓"),
            Received { is_earlier: true, .. } => {
                self.in_style(if told.is_for_me { YELLOW } else { DIM }, "~")
            }
            Received { is_for_me: true, .. } => self.in_style(YELLOW, "»"),
            _ => " ".to_owned(),
        };
        let bell = if told.is_for_me && !told.is_earlier && self.has_bell { "\x07" } else { "" };
        format!("{bell}{}", self.row(time, &mark, &content))
    }

    fn row(&self, time: Timestamp, mark: &str, content: &str) -> String {
        let time = time.to_zoned(self.zone.clone()).strftime("%H:%M").to_string();
        format!("{} {mark} {content}", self.in_style(DIM, &time))
    }

    fn name(&self, nick: &str, is_imitation: bool) -> String {
        let shown = sanitize(nick);
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
    i64::try_from(time.0)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or_default()
}

/// A line for a pipe: what the server's prose says, as `nc` would show it.
pub fn plain(told: &Received) -> String {
    format!("{}\n", told.prose)
}

/// A line for a program: an object with what the tags say and `text`, what was said without its
/// frame. `own` is one's own line, come back accepted.
pub fn json(told: &Received) -> String {
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
    put("names", (!told.names.is_empty()).then(|| told.names.clone().into()));
    put("since", told.since.map(|since| since.0.into()));
    put("own", told.is_own.then(|| true.into()));
    put("text", Some(told.text.clone().into()));
    format!("{}\n", Value::Object(object))
}

/// What the client says itself, for standard error.
pub fn remark(shown: &Entry) -> Option<String> {
    match shown {
        Entry::Received(_) => None,
        Entry::Own { text, standing: DeliveryState::InDoubt, .. } => {
            Some(format!("perhaps not delivered: {text}"))
        }
        Entry::Own { text, standing: DeliveryState::NotSent, .. } => {
            Some(format!("not delivered: {text}"))
        }
        Entry::Own { .. } => None,
        Entry::Notice(text) | Entry::Refusal(text) => Some(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::Offset;

    /// A look without colours in a zone two hours ahead of UTC.
    fn look() -> TerminalRenderer {
        TerminalRenderer::new(false, true, TimeZone::fixed(Offset::constant(2)))
    }

    fn at(day: i8, hour: i8, minute: i8) -> Timestamp {
        date(2026, 11, day)
            .at(hour, minute, 0, 0)
            .to_zoned(TimeZone::fixed(Offset::constant(2)))
            .unwrap()
            .timestamp()
    }

    fn told(time: Timestamp, is_earlier: bool) -> Entry {
        let time = Some(Micros(u64::try_from(time.as_microsecond()).unwrap()));
        let (kind, nick, room) = (Some(Kind::Say), Some("bob".to_owned()), Some("#a".to_owned()));
        Entry::Received(Received {
            kind,
            time,
            nick,
            room,
            text: "hi".to_owned(),
            is_for_me: true,
            is_earlier,
            ..Received::default()
        })
    }

    #[test]
    fn in_a_history_dates_stand_where_they_change_and_its_lines_are_marked_without_a_bell() {
        let (mut look, now) = (look(), at(21, 9, 30));
        let times = [at(18, 23, 59), at(20, 0, 0), at(20, 8, 15), at(21, 0, 30)];
        let rows: String = times.iter().map(|&time| look.render(&told(time, true), now)).collect();
        assert_eq!(
            rows,
            "— 2026-11-18, 3 days ago —\r\n23:59 ~ [#a] bob: hi\r\n\
             — 2026-11-20, yesterday —\r\n00:00 ~ [#a] bob: hi\r\n08:15 ~ [#a] bob: hi\r\n\
             — 2026-11-21, today —\r\n00:30 ~ [#a] bob: hi\r\n"
        );
        assert_eq!(look.render(&told(now, false), now), "\x0709:30 » [#a] bob: hi\r\n");
        // Over the end of a month and of a year.
        let long_ago =
            date(2025, 10, 31).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        assert!(
            look.render(&told(long_ago, true), now).starts_with("— 2025-10-31, 386 days ago —\r\n")
        );
    }

    #[test]
    fn midnight_is_seen_while_the_client_runs_and_today_needs_no_date_at_the_start() {
        let mut look = look();
        assert_eq!(
            look.render(&told(at(21, 23, 59), false), at(21, 23, 59)),
            "\x0723:59 » [#a] bob: hi\r\n"
        );
        let notice = Entry::Notice("hm".to_owned());
        assert_eq!(look.render(&notice, at(22, 0, 1)), "— 2026-11-22, today —\r\n00:01 - hm\r\n");
        assert_eq!(look.render(&notice, at(22, 0, 2)), "00:02 - hm\r\n");
    }

    #[test]
    fn an_object_has_the_names_and_the_beginning_of_a_history() {
        let names = vec!["alice".to_owned(), "bob".to_owned()];
        let object: Value = serde_json::from_str(&json(&Received {
            names,
            since: Some(forkchat_common::ids::Sequence(7)),
            ..Received::default()
        }))
        .unwrap();
        assert_eq!(
            (&object["names"], &object["since"]),
            (&serde_json::json!(["alice", "bob"]), &serde_json::json!(7))
        );
        assert!(json(&Received::default()).find("names").is_none());
    }
}
