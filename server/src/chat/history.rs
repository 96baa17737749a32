//! The history: earlier lines of a room, and the topics of earlier runs. Only the journal has them.
//! It sends both through the log.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::request::{HistoryPart, HistoryRequest, PartEnd, PastLine, Query};
use super::rooms::RoomId;
use forkchat_common::event::{Event, Refusal, Stamp};
use forkchat_common::ids::{Micros, RecordId, SessionId};
use forkchat_common::limits::TOPIC_CHARS_MAX;
use forkchat_common::names::RoomName;

/// The length of a day in µs.
const MICROS_PER_DAY: u64 = 86_400 * Micros::SECOND;

impl Chat {
    /// Whether the topics of earlier runs are restored.
    pub fn is_restored(&self) -> bool {
        self.state.is_restored
    }

    /// The rooms that have a topic, and their topics.
    pub fn topics(&self) -> impl Iterator<Item = (&RoomName, &str)> {
        let rooms = self.state.rooms.list(None).map(|(_, room)| room);
        let with_topic = rooms.filter(|room| !room.topic.is_empty());
        with_topic.map(|room| (&room.name, &*room.topic))
    }

    /// Requests the last lines of a room from the journal. The session's further input waits for
    /// them.
    pub(super) fn request_history<O: Deliveries>(
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

    /// Sends a part of a history. True if it was the last one.
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
                // If all requested lines were sent, there may be earlier ones: only the lines from
                // the first one on are known to be complete.
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

    /// Restores a room's topic of an earlier run, unless the room has a topic.
    pub(super) fn restore_topic(&mut self, room: &str, topic: &str, at: RecordId) {
        if !self.state.is_restored
            && let Ok(name) = RoomName::parse(room)
        {
            // An earlier version did not bound topics.
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
    struct Outputs {
        text: String,
        /// How often the session's input was resumed.
        resumed: usize,
    }

    impl Deliveries for Outputs {
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            true
        }
        fn deliver(&mut self, _: SessionId, bytes: &[u8]) {
            self.text.push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    /// A session that requested three lines at sequence 2.
    fn session_with_request() -> (Chat, Outputs) {
        let (mut chat, mut outputs) = (Chat::default(), Outputs::default());
        let peer = "127.0.0.1:1".parse().unwrap();
        apply(&mut chat, &mut outputs, 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
        apply(&mut chat, &mut outputs, 2, Fact::Line(b"/history 3"));
        outputs.text.clear();
        (chat, outputs)
    }

    fn apply(chat: &mut Chat, outputs: &mut Outputs, at: u64, fact: Fact<'_>) {
        let stamp = Stamp { id: RecordId::first_of(Sequence(at)), time: Micros(at) };
        let effects = chat.effects_of(stamp, &Record { session: ME, input_end: at, fact }, outputs);
        let is_resume = |effect: &&Effect| matches!(effect, Effect::InputResumed { .. });
        outputs.resumed += effects.iter().filter(is_resume).count();
    }

    fn answer(
        chat: &mut Chat,
        outputs: &mut Outputs,
        at: u64,
        after: u64,
        sequences: &[u64],
        end: PartEnd,
    ) {
        let mut lines = Vec::new();
        for &sequence in sequences {
            PastLine {
                id: RecordId::first_of(Sequence(sequence)),
                time: Micros(sequence),
                nick: "a",
                is_action: false,
                text: &sequence.to_string(),
            }
            .encode(&mut lines);
        }
        let answer = Answer {
            request: RecordId::first_of(Sequence(2)),
            part: Part::History(HistoryPart {
                after: RecordId::first_of(Sequence(after)),
                lines: &lines,
                end,
            }),
        };
        apply(chat, outputs, at, Fact::Answer(answer));
    }

    #[test]
    fn repeated_parts_and_answers_without_a_request_are_ignored() {
        let (mut chat, mut outputs) = session_with_request();
        answer(&mut chat, &mut outputs, 3, 0, &[10, 11], PartEnd::More);
        answer(&mut chat, &mut outputs, 4, 0, &[10, 11], PartEnd::More);
        assert_eq!(outputs.text, "* 1970-01-01\n[#lobby] a: 10\n[#lobby] a: 11\n");
        assert!(chat.is_waiting(ME) && chat.requests().count() == 1);
        // A copy that starts from a snapshot knows which lines were sent.
        let mut copy = Chat::restore(&chat.snapshot()).unwrap();
        let (_, request) = copy.requests().next().unwrap();
        let Query::History(history) = &request.query;
        assert_eq!(
            (history.sent, history.more, history.after, history.sent_at),
            (2, 1, RecordId::first_of(Sequence(11)), RecordId::first_of(Sequence(3)))
        );
        answer(&mut copy, &mut outputs, 5, 11, &[12, 13], PartEnd::Since(RecordId::ZERO));
        assert!(
            outputs.text.contains("a: 12\n* end of the history of #lobby: 3 lines since ")
                && !outputs.text.contains("13"),
            "{}",
            outputs.text
        );
        assert_eq!((outputs.resumed, copy.requests().count(), copy.is_waiting(ME)), (1, 0, false));
        let before = outputs.text.clone();
        answer(&mut copy, &mut outputs, 6, 11, &[12], PartEnd::Since(RecordId::ZERO));
        assert_eq!((outputs.text, outputs.resumed), (before, 1));
    }

    #[test]
    fn a_date_precedes_the_first_line_and_each_change_of_day_across_parts() {
        let (mut chat, mut outputs) = session_with_request();
        answer(&mut chat, &mut outputs, 3, 0, &[MICROS_PER_DAY - 1], PartEnd::More);
        let mut copy = Chat::restore(&chat.snapshot()).unwrap();
        let before = outputs.text.clone();
        for chat in [&mut chat, &mut copy] {
            outputs.text.clone_from(&before);
            let end = PartEnd::Since(RecordId::ZERO);
            answer(
                chat,
                &mut outputs,
                4,
                MICROS_PER_DAY - 1,
                &[MICROS_PER_DAY, MICROS_PER_DAY + 1],
                end,
            );
            let words: Vec<&str> =
                outputs.text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
            assert_eq!(
                words[..5],
                ["1970-01-01", "86399999999", "1970-01-02", "86400000000", "86400000001"]
            );
        }
    }

    #[test]
    fn with_tags_a_history_contains_no_dates() {
        let (mut chat, mut outputs) = session_with_request();
        answer(&mut chat, &mut outputs, 3, 0, &[10], PartEnd::Since(RecordId::ZERO));
        apply(&mut chat, &mut outputs, 4, Fact::Line(b"/set tags on"));
        apply(&mut chat, &mut outputs, 5, Fact::Line(b"/history 3"));
        outputs.text.clear();
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
        apply(&mut chat, &mut outputs, 6, Fact::Answer(answer));
        assert_eq!(
            outputs.text,
            "@id=10;time=1970-01-01T00:00:00.000Z;event=say;to=history;room=#lobby;nick=a \
             [#lobby] a: hi\n"
        );
    }

    #[test]
    fn an_unreadable_history_is_reported_as_such_not_as_empty() {
        let (mut chat, mut outputs) = session_with_request();
        answer(&mut chat, &mut outputs, 3, 0, &[10], PartEnd::Unreadable);
        assert_eq!(
            outputs.text,
            "* 1970-01-01\n[#lobby] a: 10\n! the history can't be read now; try again later\n"
        );
        assert_eq!((outputs.resumed, chat.is_waiting(ME)), (1, false));
    }

    #[test]
    fn input_after_a_request_waits_for_its_answer() {
        let (mut chat, mut outputs) = session_with_request();
        for (at, line) in (3..).zip([&b"/ping one"[..], b"/history 3", b"/ping two"]) {
            apply(&mut chat, &mut outputs, at, Fact::Line(line));
        }
        apply(&mut chat, &mut outputs, 6, Fact::Closed(CloseReason::EndOfInput));
        assert_eq!(outputs.text, "");
        // A replica that starts from a snapshot has the waiting input.
        let mut chat = Chat::restore(&chat.snapshot()).unwrap();
        answer(&mut chat, &mut outputs, 7, 0, &[], PartEnd::Since(RecordId::ZERO));
        assert_eq!(outputs.text, "* no earlier lines of #lobby are stored\n* pong one\n");
        outputs.text.clear();
        let (name, _) = chat.requests().next().unwrap();
        let second = Answer {
            request: name,
            part: Part::History(HistoryPart {
                after: RecordId::ZERO,
                lines: &[],
                end: PartEnd::Since(RecordId::ZERO),
            }),
        };
        apply(&mut chat, &mut outputs, 8, Fact::Answer(second));
        assert_eq!(outputs.text, "* no earlier lines of #lobby are stored\n* pong two\n");
        assert!(chat.session(ME).is_none(), "its input had ended");
        assert_eq!(outputs.resumed, 2);
    }

    #[test]
    fn a_last_command_without_a_line_end_is_answered_before_the_session_ends() {
        let (mut chat, mut outputs) = (Chat::default(), Outputs::default());
        let peer = "127.0.0.1:1".parse().unwrap();
        apply(&mut chat, &mut outputs, 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
        apply(&mut chat, &mut outputs, 2, Fact::LineBegins(b"/history 3"));
        apply(&mut chat, &mut outputs, 3, Fact::Closed(CloseReason::EndOfInput));
        assert!(chat.is_waiting(ME));
        outputs.text.clear();
        let (request, _) = chat.requests().next().unwrap();
        let part = Part::History(HistoryPart {
            after: RecordId::ZERO,
            lines: &[],
            end: PartEnd::Since(RecordId::ZERO),
        });
        apply(&mut chat, &mut outputs, 4, Fact::Answer(Answer { request, part }));
        assert_eq!(outputs.text, "* no earlier lines of #lobby are stored\n");
        assert!(chat.session(ME).is_none());
    }

    #[test]
    fn waiting_input_is_bounded_and_closing_a_session_drops_its_requests() {
        let (mut chat, mut outputs) = session_with_request();
        for at in 3..6 {
            apply(&mut chat, &mut outputs, at, Fact::Line(&[b'x'; 2_000]));
        }
        assert_eq!(
            outputs.text,
            "! you sent too much before the last answer was complete; \
             this line was ignored, send it again\n"
        );
        apply(&mut chat, &mut outputs, 7, Fact::Closed(CloseReason::Reset));
        assert_eq!(chat.requests().count(), 0);
    }

    #[test]
    fn topics_of_earlier_runs_are_restored_once_and_do_not_replace_newer_topics() {
        let (mut chat, mut outputs) = session_with_request();
        answer(&mut chat, &mut outputs, 3, 0, &[], PartEnd::Since(RecordId::ZERO));
        apply(&mut chat, &mut outputs, 3, Fact::Line(b"/topic mine"));
        for room in ["#lobby", "#old"] {
            apply(&mut chat, &mut outputs, 4, Fact::Topic { room, topic: "theirs" });
        }
        apply(&mut chat, &mut outputs, 5, Fact::Restored);
        apply(&mut chat, &mut outputs, 6, Fact::Topic { room: "#late", topic: "too late" });
        outputs.text.clear();
        apply(&mut chat, &mut outputs, 7, Fact::Line(b"/rooms"));
        assert_eq!(outputs.text, "* #lobby (1): mine\n* #old (0): theirs\n");
    }
}
