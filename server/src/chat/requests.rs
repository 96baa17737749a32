//! Requests to services: a command that needs a disk, a slow computation or another machine sends a
//! request to another process.
//!
//! ```text
//!  a command ──► Request, part of the state ──► the service reads the pending requests
//!                         ▲                                   │ record Answer with the request's name
//!                         └──────── until the last part ◄─────┘
//! ```
//!
//! A request is named by the id of its record. It stays pending until its last answer is applied.
//! An answer to a request that is not pending, or a part that doesn't continue it, is ignored: a
//! service may have sent the same answer and crashed right after. So a service answers the requests
//! that are pending in the state, and need not remember its answers. A session may have several
//! requests. Each one decides whether the session's further input waits for its answer.

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
    /// The pending requests with their names, oldest first.
    pub fn requests(&self) -> impl Iterator<Item = (RecordId, &Request)> {
        self.state.requests.0.iter().map(|(&name, request)| (name, request))
    }

    /// A pending request.
    pub fn request(&self, name: RecordId) -> Option<&Request> {
        self.state.requests.0.get(&name)
    }

    /// Sends a request to a service. With `holds_input` the session's further input waits until the
    /// answer is complete.
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

    /// Applies an answer of a service, or a part of one.
    pub(super) fn apply_answer<O: Deliveries>(&mut self, answer: Answer<'_>, out: &mut Out<'_, O>) {
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
        let awaits = |waiting: &Waiting| match waiting.until {
            Awaited::Answer(name) => name == answer.request,
            Awaited::List(_) => false,
        };
        if session.waiting.as_deref().is_some_and(awaits) {
            self.resume_input(request.session, out);
        }
    }

    /// Drops the `count` pending requests of a session that was closed.
    pub(super) fn drop_requests(&mut self, id: SessionId, count: u32) {
        if count > 0 {
            self.state.requests.0.retain(|_, request| request.session != id);
        }
    }
}
