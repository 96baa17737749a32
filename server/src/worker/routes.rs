//! How each session is reached: through a stream, or by datagrams.

use forkchat_common::by_cell::ByCell;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::SessionId;

/// How a session is reached. `S` is the model's type of a stream.
#[derive(Debug)]
pub enum Route<S> {
    /// Through this connection.
    Stream(S),
    /// By datagrams on this path.
    Datagrams(UdpPath),
}

/// The routes of a worker's sessions.
#[derive(Debug)]
pub struct Routes<S>(ByCell<Route<S>>);

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Routes(ByCell::default())
    }
}

impl<S> Routes<S> {
    /// Sets the route of a session.
    pub fn insert(&mut self, session: SessionId, route: Route<S>) {
        self.0.insert(session, route);
    }

    /// A session's route.
    pub fn get(&mut self, session: SessionId) -> Option<&mut Route<S>> {
        self.0.get_mut(session)
    }

    /// A session's stream, if it has one.
    pub fn stream(&mut self, session: SessionId) -> Option<&mut S> {
        match self.get(session)? {
            Route::Stream(stream) => Some(stream),
            Route::Datagrams(_) => None,
        }
    }

    /// Removes and returns a session's route.
    pub fn take(&mut self, session: SessionId) -> Option<Route<S>> {
        self.0.take(session)
    }
}
