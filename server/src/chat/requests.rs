//! Requests to services: what needs a disk, a slow computation or the outside is asked of another
//! process.
//!
//! ```text
//!  a command ──► Request, part of the state ──► the service reads the pending requests, and works
//!                         ▲                                   │ Answer, a record that names the request
//!                         └──────── while there is more ◄─────┘
//! ```
//!
//! A request is named by the sequence of its record. It stays pending until its last answer is
//! applied. An answer to a request that is not pending, or a part that doesn't continue it, is
//! ignored: a service may have sent the same answer and crashed right after. So a service answers
//! what is pending in the state, and needs no memory of its answers. A session may have several
//! requests; each says whether the session's further input waits for it.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::request::{Answer, Part, Query, Request};
use super::waiting::{Awaited, Waiting};
use forkchat_common::ids::{RecordId, SessionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The pending requests of all sessions, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Requests(BTreeMap<RecordId, Request>);

impl Chat {
    /// The pending requests, in the order in which they were made, by name.
    pub fn requests(&self) -> impl Iterator<Item = (RecordId, &Request)> {
        self.state.requests.0.iter().map(|(&name, request)| (name, request))
    }

    /// A pending request.
    pub fn request(&self, name: RecordId) -> Option<&Request> {
        self.state.requests.0.get(&name)
    }

    /// Asks a service. If the session's input waits for the answer (`holds_input`), what it sends
    /// meanwhile is done after it.
    pub(super) fn ask<O: Deliveries>(
        &mut self,
        id: SessionId,
        query: Query,
        holds_input: bool,
        out: &mut Out<'_, O>,
    ) {
        let name = out.stamp.id;
        let Some(session) = self.session_mut(id) else { return };
        session.requests += 1;
        if holds_input {
            session.waiting = Some(Waiting::new(Awaited::Answer(name)));
        }
        self.state.requests.0.insert(name, Request { session: id, query });
        out.effect(Effect::Requested);
    }

    /// A service has answered.
    pub(super) fn take_answer<O: Deliveries>(&mut self, answer: Answer<'_>, out: &mut Out<'_, O>) {
        let Some(mut request) = self.state.requests.0.remove(&answer.request) else { return };
        let is_complete = match (&mut request.query, answer.part) {
            (Query::History(history), Part::History(part)) => {
                self.continue_history(request.session, history, part, out)
            }
        };
        if !is_complete {
            self.state.requests.0.insert(answer.request, request);
            return;
        }
        let Some(session) = self.session_mut(request.session) else { return };
        session.requests -= 1;
        let awaits = |waiting: &Waiting| matches!(waiting.until, Awaited::Answer(name) if name == answer.request);
        if session.waiting.as_deref().is_some_and(awaits) {
            self.end_waiting(request.session, out);
        }
    }

    /// A session that has `count` pending requests is over: nobody gets their answers.
    pub(super) fn drop_requests(&mut self, id: SessionId, count: u32) {
        if count > 0 {
            self.state.requests.0.retain(|_, request| request.session != id);
        }
    }
}
