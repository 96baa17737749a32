//! Notifying sessions: renders an event once for each combination of charset and tags, and passes
//! the bytes to the worker of each session.

use super::allowance::Own;
use super::rooms::{Member, Room};
use super::{Chat, Session};
use forkchat_common::address::AddressBlock;
use forkchat_common::charset::Charset;
use forkchat_common::event::Event;
use forkchat_common::ids::{Micros, Sequence, SessionId, Slot};
use forkchat_common::names::RoomName;
use forkchat_common::protocol::line::command::Setting;
use forkchat_common::protocol::line::render::{Stamp, render};
use forkchat_common::protocol::line::telnet::double_iac;

/// Receives the bytes that result from applying records.
pub trait Output {
    /// All following calls result from the record with this stamp. `author` is the worker that
    /// serves the session of the record, and that appended it; `None` if the record belongs to no
    /// open session.
    fn begin(&mut self, stamp: Stamp, author: Option<Slot>) {
        let _ = (stamp, author);
    }
    /// A session has begun. It has received nothing before.
    fn opened(&mut self, session: &Session) {
        let _ = session;
    }
    /// Whether the bytes for a session, served by the worker in `slot`, are wanted here. It is
    /// called for every receiver, so it also shows which workers have sessions to notify.
    fn serves(&mut self, session: SessionId, slot: Slot) -> bool;
    /// Sends these bytes to the session.
    fn tell(&mut self, session: SessionId, bytes: &[u8]);
    /// The session would have received bytes, but output for this record is muted.
    fn muted(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }
    /// A line or topic that the journal stores.
    fn kept(&mut self, kept: &Kept<'_>) {
        let _ = kept;
    }
    /// There is a question for the journal.
    fn asked(&mut self) {}
    /// A session's question is answered: its input after the command is next.
    fn answered(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }
    /// The session may not receive its answer: its client has to prove its address again, and
    /// receives a cookie for that.
    fn challenged(&mut self, session: SessionId) {
        let _ = session;
    }
    /// A list for a session has more parts than so many: the worker that serves it proposes
    /// [`super::Fact::NextPart`] when it has written this one.
    fn continues(&mut self, session: SessionId, slot: Slot, list: Sequence, parts: u32) {
        let _ = (session, slot, list, parts);
    }
    /// The sessions of an address have used all of its budget, for the first time.
    fn exceeded(&mut self, address: AddressBlock) {
        let _ = address;
    }
    /// The session has ended; it receives nothing more.
    fn closed(&mut self, session: SessionId, slot: Slot, ending: Ending);
}

/// What the journal stores.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// A line that was said in a room.
    Line {
        /// Where.
        room: &'a RoomName,
        /// The sender.
        nick: &'a str,
        /// Whether it is an action.
        is_action: bool,
        /// What.
        text: &'a str,
    },
    /// A room's topic.
    Topic {
        /// Which room's.
        room: &'a RoomName,
        /// What it is now.
        text: &'a str,
    },
}

/// How the connection of an ended session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After its last bytes are written.
    Finish,
    /// At once: the client does not read.
    Drop,
}

/// One event's bytes in each form that was asked for, and memory that is used again and again.
#[derive(Debug, Default)]
pub struct Forms {
    rendered: Vec<(Form, Vec<u8>)>,
    used: usize,
    text: String,
}

/// What decides an event's bytes besides the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    charset: Charset,
    tags: bool,
    /// The client speaks Telnet, and the charset has a character whose byte is Telnet's IAC: it is
    /// sent twice.
    doubles_ff: bool,
}

impl Form {
    fn of(session: &Session) -> Form {
        let doubles_ff = session.speaks_telnet() && session.charset.has_byte_ff();
        Form { charset: session.charset, tags: session.has(Setting::Tags), doubles_ff }
    }

    fn encode(self, text: &str, bytes: &mut Vec<u8>) {
        self.charset.encode(text, bytes);
        if self.doubles_ff {
            double_iac(bytes);
        }
    }
}

impl Forms {
    /// The event's bytes in this form, rendered at the first call for it.
    fn bytes(&mut self, form: Form, event: &Event<'_>, stamp: Stamp) -> &[u8] {
        let known = self.rendered[..self.used].iter().position(|(other, _)| *other == form);
        let index = known.unwrap_or_else(|| {
            self.text.clear();
            render(event, stamp, form.tags, &mut self.text);
            if self.used == self.rendered.len() {
                self.rendered.push((form, Vec::new()));
            }
            let (rendered_form, bytes) = &mut self.rendered[self.used];
            *rendered_form = form;
            bytes.clear();
            match event {
                Event::Raw(raw) => bytes.extend_from_slice(raw),
                _ => form.encode(&self.text, bytes),
            }
            self.used += 1;
            self.used - 1
        });
        &self.rendered[index].1
    }
}

/// What is needed to notify sessions while one record is applied.
pub(super) struct Teller<'a, O> {
    /// What is shown with the event: its time is the wall clock's, which may be set back.
    pub stamp: Stamp,
    /// The record's own time, for durations and rates: it never runs backwards.
    pub now: Micros,
    forms: &'a mut Forms,
    pub out: &'a mut O,
    /// The session whose record is applied, if what it is sent for that is limited.
    pub own: Option<Own>,
}

impl<'a, O: Output> Teller<'a, O> {
    pub fn new(
        stamp: Stamp,
        now: Micros,
        author: Option<Slot>,
        forms: &'a mut Forms,
        out: &'a mut O,
    ) -> Self {
        out.begin(stamp, author);
        Teller { stamp, now, forms, out, own: None }
    }

    /// Another event: what was rendered before is another's.
    pub(super) fn begin(&mut self) {
        self.forms.used = 0;
    }

    /// To a session that is served here.
    pub(super) fn render(&mut self, session: &Session, event: &Event<'_>) {
        self.out.tell(session.id, self.forms.bytes(Form::of(session), event, self.stamp));
    }

    /// The event's bytes, as they would be for a session.
    pub(super) fn bytes(&mut self, session: &Session, event: &Event<'_>) -> &[u8] {
        self.forms.bytes(Form::of(session), event, self.stamp)
    }
}

impl Session {
    pub(super) fn has(&self, setting: Setting) -> bool {
        self.settings[setting as usize]
    }
}

impl Chat {
    pub(super) fn tell_one<O: Output>(
        &self,
        id: SessionId,
        event: &Event<'_>,
        tell: &mut Teller<'_, O>,
    ) {
        let Some(session) = self.session(id) else { return };
        tell.begin();
        // What is allowed is decided in every copy, whether it serves the session or not.
        if tell.may_send(session, event) && tell.out.serves(id, session.slot) {
            tell.render(session, event);
        }
    }

    /// Sends an event to all members of a room except `except`.
    pub(super) fn tell_room<O: Output>(
        &self,
        room: &Room,
        except: Option<SessionId>,
        event: &Event<'_>,
        tell: &mut Teller<'_, O>,
    ) {
        self.tell_each(&room.members, except, event, tell);
    }

    /// Sends an event once to each session that shares a room with a session, but not to that
    /// session.
    pub(super) fn tell_neighbours<O: Output>(
        &self,
        session: &Session,
        event: &Event<'_>,
        tell: &mut Teller<'_, O>,
    ) {
        if let [room] = session.rooms[..] {
            return self.tell_room(self.state.rooms.get(room), Some(session.id), event, tell);
        }
        let mut neighbours: Vec<Member> = session
            .rooms
            .iter()
            .flat_map(|&room| &self.state.rooms.get(room).members)
            .copied()
            .collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        self.tell_each(&neighbours, Some(session.id), event, tell);
    }

    fn tell_each<O: Output>(
        &self,
        members: &[Member],
        except: Option<SessionId>,
        event: &Event<'_>,
        tell: &mut Teller<'_, O>,
    ) {
        tell.begin();
        let own = tell.own.map(|own| own.session);
        let is_own = |session| own == Some(session);
        for &Member { session, slot } in members {
            if Some(session) != except
                && (!event.is_presence()
                    || self.session(session).is_some_and(|session| session.has(Setting::Joins)))
                && (!is_own(session)
                    || self.session(session).is_some_and(|session| tell.may_send(session, event)))
                && tell.out.serves(session, slot)
                && let Some(session) = self.session(session)
            {
                tell.render(session, event);
            }
        }
    }
}
