//! Limits the answers to a UDP session without a key: see [`allowance`](super::allowance) for why
//! and how much.

use super::allowance::{AnswerBudget, CHALLENGE_BYTES};
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::message::Message;
use super::{Chat, Session, Transport};
use forkchat_common::endpoint::Token;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::SessionId;

impl Chat {
    /// Limits the answers to the record's session from here on, if it is a UDP session without a
    /// key.
    pub(super) fn limit_answers<O: Deliveries>(&self, id: SessionId, out: &mut Out<'_, O>) {
        let limited =
            self.session(id).filter(|session| session.is_udp() && session.key().is_none());
        out.budget = limited.map(|session| AnswerBudget {
            session: id,
            allowance: session.allowance,
            now: out.now,
        });
    }

    /// Stores what is left of the allowance in the session, after a record was applied.
    pub(super) fn save_allowance<O: Deliveries>(&mut self, out: &Out<'_, O>) {
        if let Some(budget) = out.budget
            && let Some(session) = self.session_mut(budget.session)
        {
            session.allowance = budget.allowance;
        }
    }

    /// The client of a UDP session has proved its address. With `key` its datagrams must carry this
    /// key from now on.
    pub(super) fn prove<O: Deliveries>(
        &mut self,
        id: SessionId,
        key: Option<Token>,
        out: &mut Out<'_, O>,
    ) {
        let now = out.now;
        if let Some(session) = self.session_mut(id)
            && let Transport::Udp { local, .. } = session.transport
        {
            session.transport = Transport::Udp { local, key };
            session.allowance.prove(now);
        }
        self.limit_answers(id, out);
    }
}

impl<O: Deliveries> Out<'_, O> {
    /// Whether a message may be sent to a session. If not, the session is sent a challenge instead,
    /// once for each of its lines, if the allowance suffices for that.
    pub(super) fn may_send(&mut self, session: &Session, message: Message<'_>) -> bool {
        let Some(mut budget) = self.budget.filter(|budget| budget.session == session.id) else {
            return true;
        };
        let is_allowed = !budget.allowance.is_cut
            && budget.allowance.spend(self.bytes_max(session, message), budget.now);
        if !is_allowed
            && !std::mem::replace(&mut budget.allowance.is_cut, true)
            && budget.allowance.spend(CHALLENGE_BYTES, budget.now)
        {
            let why = Event::Refused { to: None, refusal: Refusal::AddressNotProven };
            let why = Message::Event(&why);
            self.begin();
            let may_explain = budget.allowance.spend(self.bytes_max(session, why), budget.now);
            if self.deliveries.wants(session.id, session.slot) {
                if may_explain {
                    self.deliver(session, why);
                }
                self.effect(Effect::Challenge { session: session.id });
            }
            self.begin();
        }
        self.budget = Some(budget);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::allowance::Allowance;
    use crate::chat::{Fact, Record, RenderCache};
    use forkchat_common::endpoint::LocalAddress;
    use forkchat_common::event::Stamp;
    use forkchat_common::ids::{Micros, RecordId, Sequence, Slot};
    use forkchat_common::limits::UDP_PROVEN_SECONDS;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const UDP: SessionId = SessionId::new(1, 0);
    const TCP: SessionId = SessionId::new(1, 1);

    /// A replica of the state, with its outputs.
    struct Replica {
        chat: Chat,
        outputs: Outputs,
        at: u64,
        now: Micros,
    }

    #[derive(Default)]
    struct Outputs {
        serves: bool,
        bytes: BTreeMap<SessionId, String>,
        challenged: usize,
    }

    impl Deliveries for Outputs {
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            self.serves
        }
        fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
            self.bytes.entry(session).or_default().push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    impl Outputs {
        fn count_challenges(&mut self, effects: &[Effect]) {
            let is_challenge = |effect: &&Effect| **effect == Effect::Challenge { session: UDP };
            self.challenged += effects.iter().filter(is_challenge).count();
        }
    }

    impl Replica {
        /// A replica with a UDP session, which has this key, and a TCP session, both in the lobby.
        /// The proof that opened the UDP session has expired.
        fn new(serves: bool, key: Option<Token>) -> Replica {
            let outputs = Outputs { serves, ..Outputs::default() };
            let mut replica = Replica { chat: Chat::default(), outputs, at: 0, now: Micros(0) };
            let udp = Transport::Udp { local: LocalAddress::default(), key };
            for (session, transport) in [(UDP, udp), (TCP, Transport::Tcp)] {
                let peer = "127.0.0.1:1".parse().unwrap();
                replica.apply(session, Fact::opened(Slot::at(0), transport, peer));
                replica.apply(session, Fact::Arrived);
            }
            assert!(
                !serves || replica.outputs.bytes[&UDP].contains("* Welcome"),
                "the cookie that opened it allows the welcome"
            );
            replica.now = Micros(UDP_PROVEN_SECONDS * Micros::SECOND + 1);
            (replica.outputs.bytes, replica.outputs.challenged) = (BTreeMap::new(), 0);
            replica
        }

        fn apply(&mut self, session: SessionId, fact: Fact<'_>) {
            self.at += 1;
            let stamp = Stamp { id: RecordId::first_of(Sequence(self.at)), time: self.now };
            let input_end = if matches!(fact, Fact::Line(_)) { self.at } else { 0 };
            let record = Record { session, input_end, fact };
            let effects = self.chat.effects_of(stamp, &record, &mut self.outputs);
            self.outputs.count_challenges(&effects);
        }

        fn types(&mut self, session: SessionId, line: &str) {
            self.apply(session, Fact::Line(line.as_bytes()));
        }

        /// What the UDP session received, and how often it was challenged, since the last call.
        fn received(&mut self) -> (String, usize) {
            (
                self.outputs.bytes.remove(&UDP).unwrap_or_default(),
                std::mem::take(&mut self.outputs.challenged),
            )
        }
    }

    #[test]
    fn a_long_answer_is_withheld_until_the_address_is_proved() {
        let mut replica = Replica::new(true, None);
        replica.types(UDP, "/help");
        assert_eq!(replica.received(), (String::new(), 0), "nothing fits five bytes");
        replica.types(UDP, "/help          ");
        assert_eq!(replica.received(), (String::new(), 1), "only the cookie does");
        replica.types(UDP, &format!("/help{}", " ".repeat(60)));
        let (received, challenged) = replica.received();
        assert!(received.starts_with("! answer not sent: ") && challenged == 1, "{received}");
        replica.apply(UDP, Fact::Proved { key: None });
        replica.types(UDP, "/help");
        assert!(replica.received().0.contains("* what you type is sent"));
        replica.now = replica.now.plus(UDP_PROVEN_SECONDS * Micros::SECOND);
        replica.types(UDP, "/help");
        assert!(!replica.received().0.contains("* what you type is sent"), "the proof is old");
    }

    #[test]
    fn short_answers_need_no_proof_and_lines_of_others_are_not_counted() {
        let mut replica = Replica::new(true, None);
        for (line, answer) in [
            ("/ping", "* pong\n"),
            ("/nick bob", "* you are now bob\n"),
            ("/ping and a text", "* pong and a text\n"),
        ] {
            replica.types(UDP, line);
            assert_eq!(replica.received(), (answer.to_owned(), 0));
        }
        let long = "long ".repeat(700);
        (0..100).for_each(|_| replica.types(TCP, &long));
        assert_eq!(replica.received().0.matches("long ").count(), 70_000);
    }

    #[test]
    fn after_a_withheld_line_the_rest_of_the_answer_is_withheld_too() {
        let mut replica = Replica::new(true, None);
        let mut budget =
            AnswerBudget { session: UDP, allowance: Allowance::default(), now: Micros(0) };
        budget.allowance.earn(100);
        replica.chat.session_mut(UDP).unwrap().allowance = budget.allowance;
        let Replica { chat, outputs, .. } = &mut replica;
        let (mut cache, mut effects) = (RenderCache::default(), Vec::new());
        let stamp = Stamp::default();
        let mut out = Out::new(stamp, Micros(0), None, &mut cache, outputs, &mut effects);
        chat.limit_answers(UDP, &mut out);
        for text in [&"0".repeat(400)[..], "1"] {
            chat.send(
                UDP,
                &Event::Past { room: "#a", nick: "b", is_action: false, text },
                &mut out,
            );
        }
        outputs.count_challenges(&effects);
        let (received, challenged) = replica.received();
        assert!(!received.contains(['0', '1']) && challenged == 1, "{received}");
    }

    #[test]
    fn with_a_key_no_answer_is_withheld() {
        let mut replica = Replica::new(true, Some(Token(7)));
        replica.types(UDP, "/help");
        assert!(replica.received().0.contains("* what you type is sent"));
        replica.types(UDP, "/hello");
        assert!(replica.received().0.starts_with(&format!("* /key {}\n* Welcome", Token(7))));
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "/help",
                "/rooms",
                "/who",
                "/whoami",
                "/history",
                "/set",
                "/set tags on",
                "/set echo on",
                "/hello",
                "/topic"
            ])
            .prop_map(str::to_owned),
            prop::sample::select(vec![
                "/quit x",
                "/dance",
                "/msg nobody hi",
                "/nick \u{1f600}",
                "hi",
                "/charset utf-16",
                "/join #a",
                "/leave"
            ])
            .prop_map(str::to_owned),
            "[a-z]{0,300}",
        ]
    }

    proptest! {
        #[test]
        fn a_session_receives_at_most_three_times_the_bytes_it_sent(
            lines in prop::collection::vec(line(), 0..60),
        ) {
            let (mut replica, mut other) = (Replica::new(true, None), Replica::new(false, None));
            let (mut input_bytes, mut sent) = (0, 0);
            for line in lines {
                input_bytes += line.len();
                replica.types(UDP, &line);
                other.types(UDP, &line);
                let (received, challenged) = replica.received();
                sent += received.len() + challenged * CHALLENGE_BYTES;
                prop_assert!(sent <= 3 * input_bytes, "{} bytes for {}", sent, input_bytes);
            }
            prop_assert!(
                replica.chat.snapshot() == other.chat.snapshot(),
                "a replica that doesn't serve the session has the same state"
            );
        }
    }
}
