//! Limits what a UDP session without a key is sent for its own lines: see
//! [`allowance`](super::allowance) for why and how much.

use super::allowance::{CHALLENGE_BYTES, Own};
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::message::Message;
use super::{Chat, Session, Transport};
use forkchat_common::endpoint::Token;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::SessionId;

impl Chat {
    /// From now on what a session is sent for its own record is limited, if it is over UDP and has
    /// no key.
    pub(super) fn limit_own<O: Deliveries>(&self, id: SessionId, out: &mut Out<'_, O>) {
        let limited =
            self.session(id).filter(|session| session.is_udp() && session.key().is_none());
        out.own =
            limited.map(|session| Own { session: id, allowance: session.allowance, now: out.now });
    }

    /// A record is applied: what is left of the allowance is part of the state again.
    pub(super) fn keep_own<O: Deliveries>(&mut self, out: &Out<'_, O>) {
        if let Some(own) = out.own
            && let Some(session) = self.session_mut(own.session)
        {
            session.allowance = own.allowance;
        }
    }

    /// The client of a UDP session has proved its address, and says whether its datagrams will
    /// carry a key.
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
        self.limit_own(id, out);
    }
}

impl<O: Deliveries> Out<'_, O> {
    /// Whether a session may be sent this. If not, it is sent a challenge in its place, once for
    /// each of its lines, if at least that is allowed.
    pub(super) fn may_send(&mut self, session: &Session, message: Message<'_>) -> bool {
        let Some(mut own) = self.own.filter(|own| own.session == session.id) else { return true };
        let is_allowed =
            !own.allowance.is_cut && own.allowance.spend(self.bytes_max(session, message), own.now);
        if !is_allowed
            && !std::mem::replace(&mut own.allowance.is_cut, true)
            && own.allowance.spend(CHALLENGE_BYTES, own.now)
        {
            let why = Event::Refused { to: None, refusal: Refusal::AddressNotProven };
            let why = Message::Event(&why);
            self.begin();
            let may_explain = own.allowance.spend(self.bytes_max(session, why), own.now);
            if self.deliveries.wants(session.id, session.slot) {
                if may_explain {
                    self.deliver(session, why);
                }
                self.effect(Effect::Challenge { session: session.id });
            }
            self.begin();
        }
        self.own = Some(own);
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

    /// A copy of the state that serves the sessions of slot 0.
    struct Copy {
        chat: Chat,
        told: Told,
        at: u64,
        now: Micros,
    }

    #[derive(Default)]
    struct Told {
        serves: bool,
        bytes: BTreeMap<SessionId, String>,
        challenged: usize,
    }

    impl Deliveries for Told {
        fn wants(&mut self, _: SessionId, _: Slot) -> bool {
            self.serves
        }
        fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
            self.bytes.entry(session).or_default().push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    impl Told {
        fn count_challenges(&mut self, effects: &[Effect]) {
            let is_challenge = |effect: &&Effect| **effect == Effect::Challenge { session: UDP };
            self.challenged += effects.iter().filter(is_challenge).count();
        }
    }

    impl Copy {
        /// With a UDP session, which has this key, and a TCP session in the lobby. The proof that
        /// opened the UDP session has expired.
        fn new(serves: bool, key: Option<Token>) -> Copy {
            let told = Told { serves, ..Told::default() };
            let mut copy = Copy { chat: Chat::default(), told, at: 0, now: Micros(0) };
            let udp = Transport::Udp { local: LocalAddress::default(), key };
            for (session, transport) in [(UDP, udp), (TCP, Transport::Tcp)] {
                let peer = "127.0.0.1:1".parse().unwrap();
                copy.apply(session, Fact::opened(Slot::at(0), transport, peer));
                copy.apply(session, Fact::Arrived);
            }
            assert!(
                !serves || copy.told.bytes[&UDP].contains("* Welcome"),
                "the cookie that opened it allows the welcome"
            );
            copy.now = Micros(UDP_PROVEN_SECONDS * Micros::SECOND + 1);
            (copy.told.bytes, copy.told.challenged) = (BTreeMap::new(), 0);
            copy
        }

        fn apply(&mut self, session: SessionId, fact: Fact<'_>) {
            self.at += 1;
            let stamp = Stamp { id: RecordId::first_of(Sequence(self.at)), time: self.now };
            let input_end = if matches!(fact, Fact::Line(_)) { self.at } else { 0 };
            let record = Record { session, input_end, fact };
            let effects = self.chat.effects_of(stamp, &record, &mut self.told);
            self.told.count_challenges(&effects);
        }

        fn types(&mut self, session: SessionId, line: &str) {
            self.apply(session, Fact::Line(line.as_bytes()));
        }

        /// What the UDP session was told, and how often it was challenged, since the last call.
        fn told(&mut self) -> (String, usize) {
            (
                self.told.bytes.remove(&UDP).unwrap_or_default(),
                std::mem::take(&mut self.told.challenged),
            )
        }
    }

    #[test]
    fn a_long_answer_is_left_out_until_the_address_is_proved() {
        let mut copy = Copy::new(true, None);
        copy.types(UDP, "/help");
        assert_eq!(copy.told(), (String::new(), 0), "nothing fits five bytes");
        copy.types(UDP, "/help          ");
        assert_eq!(copy.told(), (String::new(), 1), "only the cookie does");
        copy.types(UDP, &format!("/help{}", " ".repeat(60)));
        let (told, challenged) = copy.told();
        assert!(told.starts_with("! answer not sent: ") && challenged == 1, "{told}");
        copy.apply(UDP, Fact::Proved { key: None });
        copy.types(UDP, "/help");
        assert!(copy.told().0.contains("* what you type is sent"));
        copy.now = copy.now.plus(UDP_PROVEN_SECONDS * Micros::SECOND);
        copy.types(UDP, "/help");
        assert!(!copy.told().0.contains("* what you type is sent"), "the proof is old");
    }

    #[test]
    fn short_answers_need_no_proof_and_what_others_say_does_not_count() {
        let mut copy = Copy::new(true, None);
        for (line, answer) in [
            ("/ping", "* pong\n"),
            ("/nick bob", "* you are now bob\n"),
            ("/ping and a text", "* pong and a text\n"),
        ] {
            copy.types(UDP, line);
            assert_eq!(copy.told(), (answer.to_owned(), 0));
        }
        let long = "long ".repeat(700);
        (0..100).for_each(|_| copy.types(TCP, &long));
        assert_eq!(copy.told().0.matches("long ").count(), 70_000);
    }

    #[test]
    fn a_line_that_was_left_out_of_an_answer_cuts_off_the_rest_of_it() {
        let mut copy = Copy::new(true, None);
        let mut own = Own { session: UDP, allowance: Allowance::default(), now: Micros(0) };
        own.allowance.earn(100);
        copy.chat.session_mut(UDP).unwrap().allowance = own.allowance;
        let Copy { chat, told, .. } = &mut copy;
        let (mut cache, mut effects) = (RenderCache::default(), Vec::new());
        let stamp = Stamp::default();
        let mut out = Out::new(stamp, Micros(0), None, &mut cache, told, &mut effects);
        chat.limit_own(UDP, &mut out);
        for text in [&"0".repeat(400)[..], "1"] {
            chat.send(
                UDP,
                &Event::Past { room: "#a", nick: "b", is_action: false, text },
                &mut out,
            );
        }
        told.count_challenges(&effects);
        let (told, challenged) = copy.told();
        assert!(!told.contains(['0', '1']) && challenged == 1, "{told}");
    }

    #[test]
    fn with_a_key_nothing_is_left_out() {
        let mut copy = Copy::new(true, Some(Token(7)));
        copy.types(UDP, "/help");
        assert!(copy.told().0.contains("* what you type is sent"));
        copy.types(UDP, "/hello");
        assert!(copy.told().0.starts_with(&format!("* /key {}\n* Welcome", Token(7))));
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
        fn whoever_speaks_for_it_a_session_is_sent_at_most_three_times_what_it_sent(
            lines in prop::collection::vec(line(), 0..60),
        ) {
            let (mut copy, mut other) = (Copy::new(true, None), Copy::new(false, None));
            let (mut came, mut sent) = (0, 0);
            for line in lines {
                came += line.len();
                copy.types(UDP, &line);
                other.types(UDP, &line);
                let (told, challenged) = copy.told();
                sent += told.len() + challenged * CHALLENGE_BYTES;
                prop_assert!(sent <= 3 * came, "{} bytes for {}", sent, came);
            }
            prop_assert!(copy.chat.snapshot() == other.chat.snapshot(), "a copy that doesn't serve it has the same state");
        }
    }
}
