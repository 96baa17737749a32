//! The sessions of the chat, by node and cell.

use super::Session;
use forkchat_common::ids::SessionId;
use serde::{Deserialize, Serialize};

/// All cells that were ever used, by node and then by cell.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Cells(Vec<Vec<Cell>>);

/// A cell, which has at most one session at a time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cell {
    /// The latest session that was opened here; may be closed. Each session is opened once.
    latest: SessionId,
    session: Option<Box<Session>>,
}

impl Cells {
    /// The open sessions in the order of their cells.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.0.iter().flatten().filter_map(|cell| cell.session.as_deref())
    }

    /// A session, if it is open.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.cell(id)?.session.as_deref().filter(|session| session.id == id)
    }

    /// A session, mutable, if it is open.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let cell = self.0.get_mut(usize::from(id.node().0))?.get_mut(id.cell())?;
        cell.session.as_deref_mut().filter(|session| session.id == id)
    }

    /// Whether a session was opened. Stays true after the session is closed.
    pub fn was_opened(&self, id: SessionId) -> bool {
        self.cell(id).is_some_and(|cell| cell.latest >= id)
    }

    /// The open session in the cell of `id`.
    pub fn holder(&self, id: SessionId) -> Option<SessionId> {
        Some(self.cell(id)?.session.as_ref()?.id)
    }

    /// Adds a session. Its cell must have no open session.
    pub fn insert(&mut self, session: Session) {
        let (node, cell) = (usize::from(session.id.node().0), session.id.cell());
        if self.0.len() <= node {
            self.0.resize_with(node + 1, Vec::new);
        }
        let cells = &mut self.0[node];
        if cells.len() <= cell {
            cells.resize_with(cell + 1, Cell::default);
        }
        cells[cell] = Cell { latest: session.id, session: Some(Box::new(session)) };
    }

    /// Removes a session and returns it, if it is open.
    pub fn take(&mut self, id: SessionId) -> Option<Box<Session>> {
        let cell = self.0.get_mut(usize::from(id.node().0))?.get_mut(id.cell())?;
        cell.session.take_if(|session| session.id == id)
    }

    fn cell(&self, id: SessionId) -> Option<&Cell> {
        self.0.get(usize::from(id.node().0))?.get(id.cell())
    }
}
