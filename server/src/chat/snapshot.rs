//! The serialised state, from which a process starts. Another version of the server may read it, so
//! it begins with a version number. A server reads all versions up to its own.

use super::{Chat, Session, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A snapshot, by version. A variant is never changed. When the state changes, the newest variant
/// gets a type of its own that converts into the state, and the changed state becomes a further
/// variant.
#[derive(Deserialize)]
enum Snapshot {
    V1(State),
}

/// The same for writing, which borrows the state.
#[derive(Serialize)]
enum Written<'a> {
    V1(&'a State),
}

/// A snapshot that can't be read, because it comes from a later version or is damaged.
#[derive(Debug)]
pub struct BadSnapshot(postcard::Error);

impl std::fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read the snapshot of the state: {}", self.0)
    }
}

impl Chat {
    /// Restores the state from a snapshot.
    ///
    /// # Errors
    /// The snapshot comes from a later version or is damaged.
    pub fn restore(snapshot: &[u8]) -> Result<Chat, BadSnapshot> {
        let Snapshot::V1(mut state) = postcard::from_bytes(snapshot).map_err(BadSnapshot)?;
        state.rooms.index();
        state.addresses.index();
        let named = state.cells.sessions().filter(|session| session.is_registered);
        let by_nick = |session: &Session| (session.nick.key().into(), session.id);
        let nicks: BTreeMap<_, _> = named.map(by_nick).collect();
        Ok(Chat { state, nicks, text: String::new() })
    }

    /// The state as bytes, for [`Chat::restore`]. Equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        // Serialising into memory does not fail for any state.
        postcard::to_stdvec(&Written::V1(&self.state)).unwrap_or_default()
    }
}
