//! How each session of a worker is reached, by cell. `S` is what the worker keeps for a connection.

use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::SessionId;

/// How a session is reached.
#[derive(Debug)]
pub enum Route<S> {
    /// Over its connection.
    Stream(S),
    /// Over the UDP socket, between these addresses.
    Datagrams(UdpPath),
}

/// The routes of all sessions. A session that isn't there any more has none, also when another has
/// its cell.
#[derive(Debug)]
pub struct Routes<S>(Vec<Option<(SessionId, Route<S>)>>);

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Routes(Vec::new())
    }
}

impl<S> Routes<S> {
    /// A session's route, from now on.
    pub fn insert(&mut self, session: SessionId, route: Route<S>) {
        if self.0.len() <= session.cell() {
            self.0.resize_with(session.cell() + 1, || None);
        }
        self.0[session.cell()] = Some((session, route));
    }

    /// A session's route.
    pub fn get(&mut self, session: SessionId) -> Option<&mut Route<S>> {
        let (id, route) = self.0.get_mut(session.cell())?.as_mut()?;
        (*id == session).then_some(route)
    }

    /// A session's connection, if it has one.
    pub fn stream(&mut self, session: SessionId) -> Option<&mut S> {
        match self.get(session) {
            Some(Route::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Takes a session's route out.
    pub fn take(&mut self, session: SessionId) -> Option<Route<S>> {
        let (_, route) = self.0.get_mut(session.cell())?.take_if(|(id, _)| *id == session)?;
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_the_cell_before_has_no_route() {
        let (mut routes, [earlier, later]) =
            (Routes::default(), [1, 2].map(|serial| SessionId::new(serial, 3)));
        routes.insert(earlier, Route::Stream('a'));
        routes.insert(later, Route::Stream('b'));
        assert_eq!(routes.stream(earlier), None);
        assert!(routes.take(earlier).is_none());
        assert_eq!(routes.stream(later), Some(&mut 'b'));
        assert!(
            matches!(routes.take(later), Some(Route::Stream('b'))) && routes.get(later).is_none()
        );
    }
}
