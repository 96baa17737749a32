//! A table of sessions, indexed by cell. Cells are reused, so each entry contains its session's id:
//! a lookup for an earlier session of the cell finds nothing.

use crate::ids::SessionId;

/// Values by session. A lookup costs an index and a comparison.
#[derive(Clone, Debug)]
pub struct ByCell<T> {
    table: Vec<Option<(SessionId, T)>>,
    len: usize,
}

impl<T> Default for ByCell<T> {
    fn default() -> Self {
        ByCell { table: Vec::new(), len: 0 }
    }
}

impl<T> ByCell<T> {
    /// Stores a session's value in its cell. Returns the replaced value, of this or an earlier
    /// session.
    pub fn insert(&mut self, session: SessionId, value: T) -> Option<T> {
        let cell = session.cell();
        if self.table.len() <= cell {
            self.table.resize_with(cell + 1, || None);
        }
        let before = self.table[cell].replace((session, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    /// A session's value.
    pub fn get(&self, session: SessionId) -> Option<&T> {
        let (id, value) = self.table.get(session.cell())?.as_ref()?;
        (*id == session).then_some(value)
    }

    /// A session's value, mutable.
    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut T> {
        let (id, value) = self.table.get_mut(session.cell())?.as_mut()?;
        (*id == session).then_some(value)
    }

    /// Whether a session has a value.
    pub fn contains(&self, session: SessionId) -> bool {
        self.get(session).is_some()
    }

    /// Removes a session's value and returns it.
    pub fn take(&mut self, session: SessionId) -> Option<T> {
        let (_, value) = self.table.get_mut(session.cell())?.take_if(|(id, _)| *id == session)?;
        self.len -= 1;
        Some(value)
    }

    /// The session that has a value in a cell.
    pub fn holder(&self, cell: usize) -> Option<SessionId> {
        self.table.get(cell)?.as_ref().map(|(session, _)| *session)
    }

    /// All values, in the order of the cells.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &T)> {
        self.table.iter().flatten().map(|(session, value)| (*session, value))
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_session_of_a_cell_finds_nothing() {
        let (mut table, [earlier, later]) =
            (ByCell::default(), [1, 2].map(|serial| SessionId::new(serial, 3)));
        assert_eq!((table.insert(earlier, 'a'), table.insert(later, 'b')), (None, Some('a')));
        assert_eq!(table.get(earlier), None);
        assert_eq!((table.take(earlier), table.len()), (None, 1));
        assert_eq!((table.get(later), table.holder(3)), (Some(&'b'), Some(later)));
        assert_eq!((table.take(later), table.is_empty(), table.holder(3)), (Some('b'), true, None));
        assert!(!table.contains(later) && table.get_mut(later).is_none());
    }
}
