//! The history: earlier lines of a room, which only the journal has, and the topics of earlier runs.
//! The journal sends both through the log.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::request::{HistoryPart, HistoryRequest, PartEnd, PastLine, Query};
use super::rooms::RoomId;
use forkchat_common::event::{Event, Refusal, Stamp};
use forkchat_common::ids::{Micros, RecordId, SessionId};
use forkchat_common::limits::TOPIC_CHARS_MAX;
use forkchat_common::names::RoomName;

/// A day's length in the times of lines.
const MICROS_PER_DAY: u64 = 86_400 * Micros::SECOND;

impl Chat {
    /// Whether this run has what was kept of earlier ones.
    pub fn is_restored(&self) -> bool {
        self.state.is_restored
    }

    /// The rooms that have a topic, and their topics.
    pub fn topics(&self) -> impl Iterator<Item = (&RoomName, &str)> {
        let rooms = self.state.rooms.list(None).map(|(_, room)| room);
        let with_topic = rooms.filter(|room| !room.topic.is_empty());
        with_topic.map(|room| (&room.name, &*room.topic))
    }

    /// Asks the journal for the last lines of a room. The session's further input waits for them.
    pub(super) fn ask_history<O: Deliveries>(
        &mut self,
        id: SessionId,
        room: RoomId,
        count: usize,
        out: &mut Out<'_, O>,
    ) {
        let (room, sent_at) = (self.state.rooms.get(room).name.clone(), out.stamp.id);
        let after = RecordId::ZERO;
        let request =
            HistoryRequest { room, more: count, sent: 0, after, sent_at, first: None, day: None };
        self.ask(id, Query::History(request), true, out);
    }

    /// Sends a part of a history. Whether it was the last one.
    pub(super) fn continue_history<O: Deliveries>(
        &mut self,
        id: SessionId,
        request: &mut HistoryRequest,
        part: HistoryPart<'_>,
        out: &mut Out<'_, O>,
    ) -> bool {
        if part.after != request.after {
            return false;
        }
        let stamp = out.stamp;
        for line in part.past_lines().take(request.more) {
            let PastLine { id: line_id, time, nick, is_action, text } = line;
            (request.sent, request.more, request.after) =
                (request.sent + 1, request.more - 1, line_id);
            request.first = request.first.or(Some((line_id, time)));
            out.stamp = Stamp { id: line_id, time };
            let day = Some(time.0 / MICROS_PER_DAY);
            if std::mem::replace(&mut request.day, day) != day {
                self.send(id, &Event::Day, out);
            }
            let room = request.room.as_str();
            self.send(id, &Event::Past { room, nick, is_action, text }, out);
        }
        (out.stamp, request.sent_at) = (stamp, stamp.id);
        match part.end {
            PartEnd::More => return false,
            PartEnd::Since(since) => {
                let HistoryRequest { room, sent, first, more, .. } = request;
                // There may be earlier ones that weren't asked for.
                let since = first.filter(|_| *more == 0).map_or(since, |(line, _)| line.max(since));
                let first = first.map(|(_, time)| time);
                let room = room.as_str();
                self.send(id, &Event::HistoryEnd { room, lines: *sent, first, since }, out);
            }
            PartEnd::Unreadable => {
                let (to, refusal) = (Some("history"), Refusal::HistoryUnreadable);
                self.send(id, &Event::Refused { to, refusal }, out);
            }
        }
        true
    }

    /// A topic of an earlier run, for a room that has none in this one.
    pub(super) fn restore_topic(&mut self, room: &str, topic: &str, at: RecordId) {
        if !self.state.is_restored
            && let Ok(name) = RoomName::parse(room)
        {
            // An earlier version had no bound.
            let end = topic.char_indices().nth(TOPIC_CHARS_MAX).map_or(topic.len(), |(end, _)| end);
            self.state.rooms.restore(name, &topic[..end], at, &mut self.state.addresses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Answer, CloseReason, Effect, Fact, Part, Record, Transport};
    use forkchat_common::ids::{Sequence, Slot};

    const ME: SessionId = SessionId::new(1, 0);

    #[derive(Default)]
    struct Told(String, usize, u64);

    impl Deliveries for Told {
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            true
        }
        fn deliver(&mut self, _: SessionId, bytes: &[u8]) {
            self.0.push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    /// A session that has asked for three lines at place 2.
    fn asked() -> (Chat, Told) {
        let (mut chat, mut told) = (Chat::default(), Told::default());
        let peer = "127.0.0.1:1".parse().unwrap();
        apply(&mut chat, &mut told, 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
        apply(&mut chat, &mut told, 2, Fact::Line(b"/history 3"));
        told.0.clear();
        (chat, told)
    }

    fn apply(chat: &mut Chat, told: &mut Told, at: u64, fact: Fact<'_>) {
        let stamp = Stamp { id: RecordId::first_of(Sequence(at)), time: Micros(at) };
        let effects = chat.effects_of(stamp, &Record { session: ME, input_end: at, fact }, told);
        let goes_on = |effect: &&Effect| matches!(effect, Effect::InputGoesOn { .. });
        told.1 += effects.iter().filter(goes_on).count();
    }

    fn answer(
        chat: &mut Chat,
        told: &mut Told,
        at: u64,
        behind: u64,
        places: &[u64],
        end: PartEnd,
    ) {
        let mut lines = Vec::new();
        for &place in places {
            PastLine {
                id: RecordId::first_of(Sequence(place)),
                time: Micros(place),
                nick: "a",
                is_action: false,
                text: &place.to_string(),
            }
            .encode(&mut lines);
        }
        let answer = Answer {
            request: RecordId::first_of(Sequence(2)),
            part: Part::History(HistoryPart {
                after: RecordId::first_of(Sequence(behind)),
                lines: &lines,
                end,
            }),
        };
        apply(chat, told, at, Fact::Answer(answer));
    }

    #[test]
    fn a_part_that_was_told_before_is_ignored_and_so_is_an_answer_to_no_question() {
        let (mut chat, mut told) = asked();
        answer(&mut chat, &mut told, 3, 0, &[10, 11], PartEnd::More);
        answer(&mut chat, &mut told, 4, 0, &[10, 11], PartEnd::More);
        assert_eq!(told.0, "* 1970-01-01\n[#lobby] a: 10\n[#lobby] a: 11\n");
        assert!(chat.is_waiting(ME) && chat.requests().count() == 1);
        // A copy that starts from a snapshot knows what was told.
        let mut copy = Chat::restore(&chat.snapshot()).unwrap();
        let (_, request) = copy.requests().next().unwrap();
        let Query::History(question) = &request.query;
        assert_eq!(
            (question.sent, question.more, question.after, question.sent_at),
            (2, 1, RecordId::first_of(Sequence(11)), RecordId::first_of(Sequence(3)))
        );
        answer(&mut copy, &mut told, 5, 11, &[12, 13], PartEnd::Since(RecordId::ZERO));
        assert!(
            told.0.contains("a: 12\n* end of the history of #lobby: 3 lines since ")
                && !told.0.contains("13"),
            "{}",
            told.0
        );
        assert_eq!((told.1, copy.requests().count(), copy.is_waiting(ME)), (1, 0, false));
        let before = told.0.clone();
        answer(&mut copy, &mut told, 6, 11, &[12], PartEnd::Since(RecordId::ZERO));
        assert_eq!((told.0, told.1), (before, 1));
    }

    #[test]
    fn a_date_stands_before_the_first_line_and_wherever_the_day_changes_across_parts() {
        let (mut chat, mut told) = asked();
        answer(&mut chat, &mut told, 3, 0, &[MICROS_PER_DAY - 1], PartEnd::More);
        let mut copy = Chat::restore(&chat.snapshot()).unwrap();
        let before = told.0.clone();
        for chat in [&mut chat, &mut copy] {
            told.0.clone_from(&before);
            let end = PartEnd::Since(RecordId::ZERO);
            answer(
                chat,
                &mut told,
                4,
                MICROS_PER_DAY - 1,
                &[MICROS_PER_DAY, MICROS_PER_DAY + 1],
                end,
            );
            let told: Vec<&str> =
                told.0.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
            assert_eq!(
                told[..5],
                ["1970-01-01", "86399999999", "1970-01-02", "86400000000", "86400000001"]
            );
        }
    }

    #[test]
    fn with_tags_no_date_stands_between_the_lines_of_a_history() {
        let (mut chat, mut told) = asked();
        answer(&mut chat, &mut told, 3, 0, &[10], PartEnd::Since(RecordId::ZERO));
        apply(&mut chat, &mut told, 4, Fact::Line(b"/set tags on"));
        apply(&mut chat, &mut told, 5, Fact::Line(b"/history 3"));
        told.0.clear();
        let mut lines = Vec::new();
        PastLine {
            id: RecordId::first_of(Sequence(10)),
            time: Micros(10),
            nick: "a",
            is_action: false,
            text: "hi",
        }
        .encode(&mut lines);
        let answer = Answer {
            request: RecordId::first_of(Sequence(5)),
            part: Part::History(HistoryPart {
                after: RecordId::ZERO,
                lines: &lines,
                end: PartEnd::More,
            }),
        };
        apply(&mut chat, &mut told, 6, Fact::Answer(answer));
        assert_eq!(
            told.0,
            "@id=10;time=1970-01-01T00:00:00.000Z;event=say;to=history;room=#lobby;nick=a [#lobby] a: hi\n"
        );
    }

    #[test]
    fn a_history_that_cannot_be_read_is_no_empty_one() {
        let (mut chat, mut told) = asked();
        answer(&mut chat, &mut told, 3, 0, &[10], PartEnd::Unreadable);
        assert_eq!(
            told.0,
            "* 1970-01-01\n[#lobby] a: 10\n! the history can't be read now; try again later\n"
        );
        assert_eq!((told.1, chat.is_waiting(ME)), (1, false));
    }

    #[test]
    fn what_is_sent_after_a_question_waits_for_its_answer() {
        let (mut chat, mut told) = asked();
        for line in [&b"/ping one"[..], b"/history 3", b"/ping two"] {
            let at = 3 + told.2;
            told.2 += 1;
            apply(&mut chat, &mut told, at, Fact::Line(line));
        }
        apply(&mut chat, &mut told, 6, Fact::Closed(CloseReason::EndOfInput));
        assert_eq!(told.0, "");
        // A copy that starts from a snapshot knows what waits.
        let mut chat = Chat::restore(&chat.snapshot()).unwrap();
        answer(&mut chat, &mut told, 7, 0, &[], PartEnd::Since(RecordId::ZERO));
        assert_eq!(told.0, "* no earlier lines of #lobby are stored\n* pong one\n");
        told.0.clear();
        let (name, _) = chat.requests().next().unwrap();
        let second = Answer {
            request: name,
            part: Part::History(HistoryPart {
                after: RecordId::ZERO,
                lines: &[],
                end: PartEnd::Since(RecordId::ZERO),
            }),
        };
        apply(&mut chat, &mut told, 8, Fact::Answer(second));
        assert_eq!(told.0, "* no earlier lines of #lobby are stored\n* pong two\n");
        assert!(chat.session(ME).is_none(), "its input had ended");
        assert_eq!(told.1, 2);
    }

    #[test]
    fn a_last_command_without_a_line_end_is_answered_before_the_session_ends() {
        let (mut chat, mut told) = (Chat::default(), Told::default());
        let peer = "127.0.0.1:1".parse().unwrap();
        apply(&mut chat, &mut told, 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
        apply(&mut chat, &mut told, 2, Fact::LineBegins(b"/history 3"));
        apply(&mut chat, &mut told, 3, Fact::Closed(CloseReason::EndOfInput));
        assert!(chat.is_waiting(ME));
        told.0.clear();
        let (name, _) = chat.requests().next().unwrap();
        let part = Part::History(HistoryPart {
            after: RecordId::ZERO,
            lines: &[],
            end: PartEnd::Since(RecordId::ZERO),
        });
        apply(&mut chat, &mut told, 4, Fact::Answer(Answer { request: name, part }));
        assert_eq!(told.0, "* no earlier lines of #lobby are stored\n");
        assert!(chat.session(ME).is_none());
    }

    #[test]
    fn what_waits_is_bounded_and_a_session_that_ends_is_forgotten() {
        let (mut chat, mut told) = asked();
        for at in 3..6 {
            apply(&mut chat, &mut told, at, Fact::Line(&[b'x'; 2_000]));
        }
        assert_eq!(
            told.0,
            "! you sent too much before the last answer was complete; this line was ignored, send it again\n"
        );
        apply(&mut chat, &mut told, 7, Fact::Closed(CloseReason::Reset));
        assert_eq!(chat.requests().count(), 0);
    }

    #[test]
    fn topics_of_earlier_runs_come_back_once_and_give_way_to_what_is_set_now() {
        let (mut chat, mut told) = asked();
        answer(&mut chat, &mut told, 3, 0, &[], PartEnd::Since(RecordId::ZERO));
        apply(&mut chat, &mut told, 3, Fact::Line(b"/topic mine"));
        for room in ["#lobby", "#old"] {
            apply(&mut chat, &mut told, 4, Fact::Topic { room, topic: "theirs" });
        }
        apply(&mut chat, &mut told, 5, Fact::Restored);
        apply(&mut chat, &mut told, 6, Fact::Topic { room: "#late", topic: "too late" });
        told.0.clear();
        apply(&mut chat, &mut told, 7, Fact::Line(b"/rooms"));
        assert_eq!(told.0, "* #lobby (1): mine\n* #old (0): theirs\n");
    }
}
