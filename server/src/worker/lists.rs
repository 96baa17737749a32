//! Lists that are sent in parts, such as the list of rooms: when a part is written, the worker
//! proposes the next part.

use super::outboxes::Outboxes;
use crate::chat::{Chat, Fact};
use forkchat_common::ids::{RecordId, SessionId, Slot};
use std::collections::BTreeMap;

/// By session: the list, and how many of its parts are rendered.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<SessionId, (RecordId, u32)>);

impl Lists {
    /// The unfinished lists of a predecessor's sessions.
    pub fn take_over(chat: &Chat, me: Slot) -> Lists {
        Lists(chat.lists_of(me).map(|(session, list, parts)| (session, (list, parts))).collect())
    }

    /// Notes that a part of a list was rendered and is not the last one.
    pub fn insert(&mut self, session: SessionId, list: RecordId, parts: u32) {
        self.0.insert(session, (list, parts));
    }

    /// Removes a session that is over.
    pub fn remove(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// Takes the lists whose latest part is written, and returns the fact to propose for each.
    pub fn take_written(
        &mut self,
        outboxes: &Outboxes,
    ) -> impl Iterator<Item = (SessionId, Fact<'static>)> + use<> {
        let (unwritten, written): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|&(session, _)| outboxes.has_unwritten(session));
        self.0 = unwritten;
        let next = |(session, (of, parts))| (session, Fact::NextPart { of, parts });
        written.into_iter().map(next)
    }
}
