//! Speaking: what is said now, in a closed loop or an open one.

use super::Generator;
use crate::load::client::Stage;
use crate::load::dialect::Dialect;

/// A sender says no more than this without a look at what came in: who doesn't read is dropped, and rightly.
const LINES_AT_ONCE: usize = 256;
/// A sender that has so much to send says no more for now. In an open loop the lines stay due.
const UNSENT_BYTES_MAX: usize = 1 << 20;

impl Generator {
    /// A closed loop: as much as the windows have room for. Returns when it goes on if nothing comes in.
    pub(super) fn speak_in_window(&mut self, window: usize, now: u64) -> Result<u64, String> {
        let mut next = u64::MAX;
        for sender in 0..self.senders.len() {
            let free = self.senders[sender].free(window, now);
            if free > 0 {
                self.say(sender, free.min(LINES_AT_ONCE), now)?;
            }
            if free > LINES_AT_ONCE {
                next = now;
            }
        }
        Ok(next)
    }

    /// An open loop: what is due by now, each line with the moment at which it was. Returns when the next one is.
    pub(super) fn speak_at_rate(&mut self, now: u64) -> Result<u64, String> {
        for _ in 0..LINES_AT_ONCE {
            // Somebody else says what a blocked sender can't; if all are, one waits for a socket to take more.
            let can_speak = |&sender: &usize| self.clients[self.senders[sender].client].unsent.len() <= UNSENT_BYTES_MAX;
            let count = self.senders.len();
            let Some(sender) = (0..count).map(|i| (self.turn + i) % count).find(can_speak) else { return Ok(u64::MAX) };
            let Some(due) = self.lines.as_mut().and_then(|lines| lines.take(now)) else { break };
            self.say(sender, 1, due)?;
            self.turn = (sender + 1) % count;
        }
        Ok(self.lines.map_or(u64::MAX, |lines| lines.next()))
    }

    fn say(&mut self, sender: usize, count: usize, since: u64) -> Result<(), String> {
        let index = self.senders[sender].client;
        for _ in 0..count {
            if self.clients[index].stage != Stage::Ready {
                break;
            }
            let number = self.senders[sender].say(since);
            let unsent = &mut self.clients[index].unsent;
            unsent.extend_from_slice(&self.senders[sender].head);
            self.payload.write(sender as u16, number, unsent);
            if self.dialect == Dialect::Irc {
                unsent.truncate(unsent.len() - 1);
                unsent.extend_from_slice(b"\r\n");
            }
            // Each by itself, as people's clients do.
            self.flush(index)?;
        }
        Ok(())
    }
}
