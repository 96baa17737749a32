//! Lines in rooms and private messages.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::HistoryEntry;
use super::rooms::RoomId;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::SessionId;
use forkchat_common::names::find_key;

impl Chat {
    /// Sends a session's line or action to a room. The session itself receives it only if it wants
    /// its own lines.
    pub(super) fn say<O: Deliveries>(
        &mut self,
        id: SessionId,
        room: RoomId,
        text: &str,
        is_action: bool,
        out: &mut Out<'_, O>,
    ) {
        self.announce(id, out);
        let Some(session) = self.session(id) else { return };
        let room = self.state.rooms.get(room);
        let event =
            Event::Said { room: room.name.as_str(), source: session.source(), is_action, text };
        let except = (!session.wants_echo()).then_some(id);
        self.send_room(room, except, &event, out);
        out.store(|stamp| HistoryEntry::Line {
            stamp,
            room: room.name.clone(),
            nick: session.nick.as_str().to_owned(),
            is_action,
            text: text.to_owned(),
        });
    }

    /// Sends a private message to the session with this nickname.
    ///
    /// # Errors
    /// No session has the nickname.
    pub(super) fn send_private<'t, O: Deliveries>(
        &self,
        id: SessionId,
        nick: &'t str,
        text: &str,
        out: &mut Out<'_, O>,
    ) -> Result<(), Refusal<'t>> {
        let Some(session) = self.session(id) else { return Ok(()) };
        let receiver = find_key(nick).and_then(|key| self.nicks.get(&key));
        let receiver = receiver.and_then(|&receiver| self.session(receiver));
        let receiver = receiver.ok_or(Refusal::NoSuchNick(nick))?;
        let (source, to) = (session.source(), receiver.nick.as_str());
        self.send(receiver.id, &Event::Private { source, to, is_echo: false, text }, out);
        if session.wants_echo() {
            self.send(id, &Event::Private { source, to, is_echo: true, text }, out);
        }
        Ok(())
    }
}
