//! Sends the lines that are due now, in a closed loop or an open loop.

use super::Generator;
use crate::load::chat_protocol::ChatProtocol;
use crate::load::client::Stage;

/// A sender sends at most this many lines before input is read again, since a server drops clients
/// that do not read.
const LINES_AT_ONCE: usize = 256;
/// A sender with this many unsent bytes sends no more for now. In an open loop its lines stay due.
const UNSENT_BYTES_MAX: usize = 1 << 20;

impl Generator {
    /// A closed loop: sends as many lines as the windows allow. Returns when to call it again if no
    /// input comes.
    pub(super) fn send_in_windows(&mut self, window: usize, now: u64) -> Result<u64, String> {
        let mut next = u64::MAX;
        for sender in 0..self.senders.len() {
            let free = self.senders[sender].sendable(window, now);
            if free > 0 {
                self.say(sender, free.min(LINES_AT_ONCE), now)?;
            }
            if free > LINES_AT_ONCE {
                next = now;
            }
        }
        Ok(next)
    }

    /// An open loop: sends the lines that are due, each with the time at which it was due. Returns
    /// when the next line is due.
    pub(super) fn send_at_rate(&mut self, now: u64) -> Result<u64, String> {
        for _ in 0..LINES_AT_ONCE {
            // If a sender is blocked, the next one sends the line. If all are blocked, the
            // generator waits until a socket accepts more.
            let can_speak = |&sender: &usize| {
                self.clients[self.senders[sender].client].unsent.len() <= UNSENT_BYTES_MAX
            };
            let count = self.senders.len();
            let Some(sender) = (0..count).map(|i| (self.turn + i) % count).find(can_speak) else {
                return Ok(u64::MAX);
            };
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
            let number = self.senders[sender].send(since);
            let unsent = &mut self.clients[index].unsent;
            unsent.extend_from_slice(&self.senders[sender].head);
            self.payload.write(sender as u16, number, unsent);
            if self.protocol == ChatProtocol::Irc {
                unsent.truncate(unsent.len() - 1);
                unsent.extend_from_slice(b"\r\n");
            }
            // One send per line, as real clients do.
            self.flush(index)?;
        }
        Ok(())
    }
}
