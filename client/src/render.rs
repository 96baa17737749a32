//! Formatting of output: coloured lines for a terminal, the server's own text for a pipe, or one
//! JSON object per line.

use crate::conversation::{DeliveryState, Entry, Received};
use crate::lookalike::Lookalikes;
use crate::sanitize::sanitize;
use forkchat_common::ids::{Micros, RecordId};
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::Kind;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::hash::Hasher;

/// Those of the 256 colours that are readable on a dark and on a light background, and easy to
/// distinguish.
const NICK_COLORS: [u8; 18] =
    [28, 30, 32, 61, 64, 67, 71, 91, 94, 96, 97, 101, 124, 125, 130, 132, 133, 136];

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Formats entries for a terminal.
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
    /// Times are shown in `zone`.
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

    /// Sets the user's own nickname. A name that looks like it gets a warning.
    pub fn set_own_nick(&mut self, nick: &str) {
        if nick != self.nick {
            nick.clone_into(&mut self.nick);
            self.lookalikes.set_own(nick);
        }
    }

    /// One or more rows, each with its line end. If the day differs from that of the previous row,
    /// at midnight or in a history, its date comes first.
    pub fn render(&mut self, entry: &Entry, now: Timestamp) -> String {
        let time = if let Entry::Received(received) = entry {
            received.time.map_or(now, timestamp)
        } else {
            now
        };
        let date = self.date_row(time, now);
        let row = match entry {
            Entry::Received(received) => self.received_row(received, now),
            Entry::Own { room, text, state } => {
                let room =
                    room.as_ref().map_or_else(String::new, |room| format!("[{}] ", sanitize(room)));
                let (mark, style) = match state {
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

    /// A row with the date, if it isn't that of the previous row.
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

    fn received_row(&mut self, received: &Received, now: Timestamp) -> String {
        let time = received.time.map_or(now, timestamp);
        let nick = received.nick.as_deref().unwrap_or_default();
        // Of a user who takes another nickname, that nickname is checked and shown.
        let shown_nick = received
            .target
            .as_deref()
            .filter(|_| received.kind == Some(Kind::Nick))
            .unwrap_or(nick);
        let is_unused = matches!(received.kind, Some(Kind::Quit | Kind::Nick));
        if is_unused && shown_nick != nick {
            self.lookalikes.forget(nick);
        }
        let imitated = if shown_nick.is_empty() {
            None
        } else {
            self.lookalikes.imitated(shown_nick).map(str::to_owned)
        };
        if is_unused && shown_nick == nick {
            self.lookalikes.forget(nick);
        }
        let warning = imitated.map_or_else(String::new, |of| {
            self.in_style(RED, &format!(" (not {})", sanitize(&of)))
        });
        let room = self.in_style(
            DIM,
            &format!("[{}]", sanitize(received.room.as_deref().unwrap_or_default())),
        );
        let name = self.name(shown_nick, !warning.is_empty());
        let text = sanitize(&received.text);
        let content = match received.kind {
            Some(Kind::Say) => format!("{room} {name}{warning}: {text}"),
            Some(Kind::Action) => format!("{room} * {name}{warning} {text}"),
            Some(Kind::Private) => {
                let other = received.target.as_deref().filter(|_| received.is_own).unwrap_or(nick);
                format!(
                    "{} {name}{warning}: {text}",
                    self.in_style(DIM, &format!("[@{}]", sanitize(other)))
                )
            }
            Some(Kind::Error) => self.in_style(RED, &sanitize(&received.prose)),
            _ if received.prose.starts_with("! ") => self.in_style(RED, &sanitize(&received.prose)),
            _ if warning.is_empty() => self.in_style(DIM, &sanitize(&received.prose)),
            _ => format!("{} {name}{warning}", self.in_style(DIM, &sanitize(&received.prose))),
        };
        let mark = match received {
            Received { is_own: true, .. } => self.in_style(GREEN, "✓"),
            Received { is_earlier: true, .. } => {
                self.in_style(if received.is_for_me { YELLOW } else { DIM }, "~")
            }
            Received { is_for_me: true, .. } => self.in_style(YELLOW, "»"),
            _ => " ".to_owned(),
        };
        let bell =
            if received.is_for_me && !received.is_earlier && self.has_bell { "\x07" } else { "" };
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

/// The colour of a nickname. It depends only on the nickname.
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

/// A line for a pipe: the server's text, as `nc` would show it.
pub fn plain(received: &Received) -> String {
    format!("{}\n", received.prose)
}

/// A line for a program: a JSON object with the tags, and `text`, which is what was said. `own`
/// marks the echo of a line of the user's own.
pub fn json(received: &Received) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    put("event", Some(received.kind.unwrap_or(Kind::Other).name().into()));
    // Numbers as long as the server makes its own order: then the index is always 0.
    let number = |id: RecordId| match id.index {
        0 => Value::from(id.sequence.0),
        _ => id.to_string().into(),
    };
    put("id", received.id.map(number));
    put("time", received.time.map(|time| format!("{:.3}", timestamp(time)).into()));
    put("room", text(&received.room));
    put("nick", text(&received.nick));
    put("target", text(&received.target));
    put("to", text(&received.to));
    put("names", (!received.names.is_empty()).then(|| received.names.clone().into()));
    put("since", received.since.map(number));
    put("own", received.is_own.then(|| true.into()));
    put("text", Some(received.text.clone().into()));
    format!("{}\n", Value::Object(object))
}

/// An entry of the client itself, for standard error. `None` if a filter doesn't show it.
pub fn for_stderr(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Received(_) => None,
        Entry::Own { text, state: DeliveryState::InDoubt, .. } => {
            Some(format!("perhaps not delivered: {text}"))
        }
        Entry::Own { text, state: DeliveryState::NotSent, .. } => {
            Some(format!("not delivered: {text}"))
        }
        Entry::Own { .. } => None,
        Entry::Notice(text) | Entry::Refusal(text) => Some(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkchat_common::ids::Sequence;
    use jiff::civil::date;
    use jiff::tz::Offset;

    /// A renderer without colours, in a zone two hours ahead of UTC.
    fn renderer() -> TerminalRenderer {
        TerminalRenderer::new(false, true, TimeZone::fixed(Offset::constant(2)))
    }

    fn at(day: i8, hour: i8, minute: i8) -> Timestamp {
        date(2026, 11, day)
            .at(hour, minute, 0, 0)
            .to_zoned(TimeZone::fixed(Offset::constant(2)))
            .unwrap()
            .timestamp()
    }

    fn received(time: Timestamp, is_earlier: bool) -> Entry {
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
    fn a_history_has_dates_where_the_day_changes_and_marks_instead_of_bells() {
        let (mut renderer, now) = (renderer(), at(21, 9, 30));
        let times = [at(18, 23, 59), at(20, 0, 0), at(20, 8, 15), at(21, 0, 30)];
        let rows: String =
            times.iter().map(|&time| renderer.render(&received(time, true), now)).collect();
        assert_eq!(
            rows,
            "— 2026-11-18, 3 days ago —\r\n23:59 ~ [#a] bob: hi\r\n\
             — 2026-11-20, yesterday —\r\n00:00 ~ [#a] bob: hi\r\n08:15 ~ [#a] bob: hi\r\n\
             — 2026-11-21, today —\r\n00:30 ~ [#a] bob: hi\r\n"
        );
        assert_eq!(renderer.render(&received(now, false), now), "\x0709:30 » [#a] bob: hi\r\n");
        // Across the end of a month and of a year.
        let long_ago =
            date(2025, 10, 31).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        assert!(
            renderer
                .render(&received(long_ago, true), now)
                .starts_with("— 2025-10-31, 386 days ago —\r\n")
        );
    }

    #[test]
    fn at_midnight_the_date_is_shown_and_at_the_start_it_is_not() {
        let mut renderer = renderer();
        assert_eq!(
            renderer.render(&received(at(21, 23, 59), false), at(21, 23, 59)),
            "\x0723:59 » [#a] bob: hi\r\n"
        );
        let notice = Entry::Notice("hm".to_owned());
        assert_eq!(
            renderer.render(&notice, at(22, 0, 1)),
            "— 2026-11-22, today —\r\n00:01 - hm\r\n"
        );
        assert_eq!(renderer.render(&notice, at(22, 0, 2)), "00:02 - hm\r\n");
    }

    #[test]
    fn an_object_has_the_names_of_a_list_and_the_beginning_of_a_history() {
        let names = vec!["alice".to_owned(), "bob".to_owned()];
        let since = RecordId::first_of(Sequence(7));
        let id = RecordId { sequence: Sequence(9), index: 2 };
        let received = Received { id: Some(id), names, since: Some(since), ..Received::default() };
        let object: Value = serde_json::from_str(&json(&received)).unwrap();
        assert_eq!(
            (&object["id"], &object["names"], &object["since"]),
            (&"9.2".into(), &serde_json::json!(["alice", "bob"]), &serde_json::json!(7))
        );
        assert!(json(&Received::default()).find("names").is_none());
    }
}
