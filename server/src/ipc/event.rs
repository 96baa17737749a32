//! An event between processes: a flag that one process sets and clears, and that others wait for.
//!
//! Costs: a load to look at it (1.5 ns); an atomic exchange to set it (2.5 ns), and a system call
//! if a process waits. A process that is killed while it sets or clears the event has done so or
//! not. At worst it has woken no waiter: these find the flag set within
//! [`LOOK_AGAIN`](super::event_count::LOOK_AGAIN).

use super::event_count::EventCount;
use crate::sys::memory;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

/// An event, cleared at first. It is set while its count is odd: so who waits also notices that it
/// was set and cleared again in between.
#[derive(Clone, Copy, Debug)]
pub struct Event(&'static EventCount);

impl Event {
    /// An event in shared memory. Zeroes are one that is cleared.
    pub fn new(count: &'static EventCount) -> Event {
        Event(count)
    }

    /// Makes one, to be shared with the processes forked afterwards. `name` is what
    /// `/proc/PID/maps` shows.
    pub fn map(name: &str) -> io::Result<Event> {
        memory::map_shared(name).map(Event)
    }

    /// Sets it: all who wait go on, and nobody waits until it is cleared.
    pub fn set(self) {
        self.make(true);
    }

    /// Clears it.
    pub fn clear(self) {
        self.make(false);
    }

    /// Whether it is set.
    pub fn is_set(self) -> bool {
        is_set(self.0.read())
    }

    /// Waits until it is set, at most for `timeout`. False if it wasn't.
    pub fn wait(self, timeout: Duration) -> bool {
        let before = self.0.read();
        let attempt = || {
            let now = self.0.read();
            Ok::<_, Infallible>((is_set(now) || now != before).then_some(()))
        };
        matches!(self.0.wait_for(timeout, attempt), Ok(Some(())))
    }

    fn make(self, set: bool) {
        loop {
            let seen = self.0.read();
            if is_set(seen) == set || self.0.advance_from(seen) {
                return;
            }
        }
    }
}

fn is_set(count: u32) -> bool {
    count & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_goes_on_when_it_is_set_and_waits_again_when_it_is_cleared() {
        let event = Event::map("test-event").unwrap();
        assert!(!event.wait(Duration::from_millis(1)));
        let waiter = std::thread::spawn(move || event.wait(Duration::from_secs(60)));
        event.set();
        event.set();
        assert!(waiter.join().unwrap() && event.is_set() && event.wait(Duration::ZERO));
        event.clear();
        event.clear();
        assert!(!event.is_set() && !event.wait(Duration::ZERO));
    }

    #[test]
    fn several_who_set_and_clear_at_once_leave_it_as_the_last_says() {
        let event = Event::map("test-event").unwrap();
        let play = move || {
            for _ in 0..10_000 {
                event.set();
                event.clear();
            }
            event.set();
        };
        let players = [(); 4].map(|()| std::thread::spawn(play));
        players.into_iter().for_each(|player| player.join().unwrap());
        assert!(event.is_set());
    }
}
