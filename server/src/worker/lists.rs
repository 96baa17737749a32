//! Lists that sessions are sent in parts: when a part is written, the next one is proposed.

use super::outboxes::Outboxes;
use crate::chat::{Chat, Fact};
use forkchat_common::ids::{RecordId, SessionId, Slot};
use std::collections::BTreeMap;

/// By session: which list, and how many parts of it are rendered.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<SessionId, (RecordId, u32)>);

impl Lists {
    /// The lists that a predecessor's sessions wait for.
    pub fn take_over(chat: &Chat, me: Slot) -> Lists {
        Lists(chat.lists_of(me).map(|(session, list, parts)| (session, (list, parts))).collect())
    }

    /// A part of a list was rendered, and there are more.
    pub fn insert(&mut self, session: SessionId, list: RecordId, parts: u32) {
        self.0.insert(session, (list, parts));
    }

    /// The session is over.
    pub fn remove(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// Takes the lists whose last part is written, and returns what is to be proposed for each.
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
