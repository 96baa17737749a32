//! A sender: what the others must receive of its lines, and their positions in the room's
//! transcript.

/// The charsets that clients ask for.
pub const CHARSETS: [&str; 2] = ["utf-8", "windows-1251"];
/// The first letter of every nickname, in each charset. Its bytes differ between the charsets.
pub const LETTER: [&[u8]; 2] = ["ж".as_bytes(), b"\xe6"];
/// The position of a line that no client has received yet.
const UNKNOWN_POSITION: u32 = u32::MAX;
/// After this time a line that no client has received leaves the window: it may be lost, and the
/// traffic continues. In ns.
const TIMEOUT: u64 = 2_000_000_000;
const UDP_WINDOW_TIMEOUT: u64 = 250_000_000;

/// A client that sends lines.
#[derive(Debug)]
pub struct Sender {
    /// The index of the client.
    pub client: usize,
    /// The index of its room.
    pub room: usize,
    /// Whether its lines may be lost or doubled on their way to the server.
    pub is_udp: bool,
    /// By charset: what the server puts before its lines.
    pub prefixes: [Vec<u8>; 2],
    /// By charset: the tags that follow id and time, and the space after them.
    pub tails: [Vec<u8>; 2],
    /// How many lines it has sent.
    pub sent: u32,
    /// One more than the highest of its numbers in the transcript.
    pub written: u32,
    positions: Vec<u32>,
    /// When it last sent a line into an empty window, or one of its lines was written, in ns.
    moved_at: u64,
}

impl Sender {
    /// A sender that has sent nothing. `nick_rest` is its nickname without the first letter.
    pub fn new(
        client: usize,
        room: usize,
        room_name: &str,
        nick_rest: &str,
        is_udp: bool,
    ) -> Sender {
        let nicks = LETTER.map(|letter| [letter, nick_rest.as_bytes()].concat());
        let prefixes = nicks
            .each_ref()
            .map(|nick| [b"[", room_name.as_bytes(), b"] ", nick.as_slice(), b": "].concat());
        let tails = nicks.map(|nick| {
            [b";event=say;room=", room_name.as_bytes(), b";nick=", &nick, b" "].concat()
        });
        Sender {
            client,
            room,
            is_udp,
            prefixes,
            tails,
            sent: 0,
            written: 0,
            positions: Vec::new(),
            moved_at: 0,
        }
    }

    /// Sends a line. Returns the line's number.
    pub fn say(&mut self, now: u64) -> u32 {
        if self.sent == self.written {
            self.moved_at = now;
        }
        self.sent += 1;
        self.sent - 1
    }

    /// How many lines it may send now if at most `window` may be in flight.
    pub fn sendable(&mut self, window: u32, now: u64) -> u32 {
        let under_way = self.sent - self.written;
        if under_way >= window
            && now > self.moved_at + if self.is_udp { UDP_WINDOW_TIMEOUT } else { TIMEOUT }
        {
            self.moved_at = now;
            return 1;
        }
        window.saturating_sub(under_way)
    }

    /// One of its lines was written to this position of the transcript.
    pub fn record_position(&mut self, number: u32, position: usize, now: u64) {
        if self.positions.len() <= number as usize {
            self.positions.resize(number as usize + 1, UNKNOWN_POSITION);
        }
        self.positions[number as usize] = position as u32;
        self.written = self.written.max(number + 1);
        self.moved_at = now;
    }

    /// The position of one of its lines; the last position if the line was doubled on its way to
    /// the server.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.positions
            .get(number as usize)
            .filter(|&&position| position != UNKNOWN_POSITION)
            .map(|&position| position as usize)
    }

    /// The numbers of the lines that are not in the transcript.
    pub fn missing(&self) -> impl Iterator<Item = u32> {
        (0..self.sent).filter(|&number| self.position(number).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_when_lines_are_written_or_when_they_are_late() {
        let mut sender = Sender::new(0, 0, "#r", "1", false);
        assert_eq!([sender.say(10), sender.say(20)], [0, 1]);
        assert_eq!((sender.sendable(2, 30), sender.sendable(3, 30)), (0, 1));
        sender.record_position(0, 7, 40);
        assert_eq!(
            (sender.sendable(2, 50), sender.position(0), sender.position(1)),
            (1, Some(7), None)
        );
        sender.say(50);
        assert_eq!(
            (
                sender.sendable(2, 40 + TIMEOUT),
                sender.sendable(2, 41 + TIMEOUT),
                sender.sendable(2, 42 + TIMEOUT)
            ),
            (0, 1, 0)
        );
        sender.record_position(2, 8, 60 + TIMEOUT);
        assert_eq!(
            (sender.sendable(2, 70 + TIMEOUT), sender.missing().collect::<Vec<_>>()),
            (2, vec![1])
        );
    }

    #[test]
    fn prefix_and_tags_are_known_in_each_charset() {
        let sender = Sender::new(0, 0, "#r", "1", false);
        assert_eq!(sender.prefixes, ["[#r] ж1: ".as_bytes(), b"[#r] \xe61: "]);
        assert_eq!(sender.tails[1], b";event=say;room=#r;nick=\xe61 ");
    }
}
