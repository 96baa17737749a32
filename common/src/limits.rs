//! All limits of the protocol. Each constant says what happens when its limit is reached.

/// A line from a client, with its line end, in bytes. A longer one is refused once and skipped to
/// its end.
pub const LINE_BYTES_MAX: usize = 4_096;
/// A nickname, in characters. A longer one is refused.
pub const NICK_CHARS_MAX: usize = 32;
/// A room's name after its `#`, in characters. A longer one is refused.
pub const ROOM_CHARS_MAX: usize = 50;
/// Rooms that one session may be in. `/join` beyond it is refused.
pub const ROOMS_PER_SESSION_MAX: usize = 50;
/// Rooms that exist at a time. `/join` of a new one beyond it is refused.
pub const ROOMS_MAX: usize = 20_000;
/// Empty rooms that are kept because of their topic. Beyond it the one that has been empty longest
/// is removed.
pub const EMPTY_ROOMS_MAX: usize = 1_000;
/// A topic, in characters. A longer one is refused.
pub const TOPIC_CHARS_MAX: usize = 400;
/// Bytes of shared state that one address may add: rooms it made and topics it set, as long as they
/// exist. A new room or topic beyond it is refused.
pub const ADDRESS_STATE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of shared state that all rooms and topics together may take in any case. Where there is
/// memory the server allows more, see `supervisor/budget.rs`. A new room or topic beyond it is
/// refused.
pub const ROOMS_BYTES_MIN: usize = 1024 * 1024;
/// Rooms that `/rooms` lists; the answer ends with the number of the others.
pub const ROOMS_LISTED_MAX: usize = 100;
/// Rooms that one part of the answer to `/rooms` looks at, whether they are listed or not. The next
/// part goes on after them.
pub const ROOMS_PER_PART_MAX: usize = 500;
/// Characters of each topic in the answer to `/rooms`. The rest of a longer one is left out.
pub const TOPIC_LISTED_CHARS_MAX: usize = 80;
/// Names and topics in one part of a long answer, in bytes. The next part is sent when the client
/// has taken this one.
pub const ANSWER_PART_BYTES: usize = 2 * 1024;
/// Input lines of a session that wait until its long answer is complete, in bytes. A line beyond it
/// is refused.
pub const WAITING_LINES_BYTES_MAX: usize = 4 * 1024;
/// Members that `/who` lists. The answer ends with the number of the others.
pub const MEMBERS_LISTED_MAX: usize = 500;
/// Members that the welcome lists. It ends with the number of the others.
pub const WELCOME_NAMES_MAX: usize = 20;
/// Lines that `/history` shows without an argument.
pub const HISTORY_LINES: usize = 20;
/// Lines that `/history` can show. More are refused.
pub const HISTORY_LINES_MAX: usize = 500;
/// Characters of the input that a refusal quotes.
pub const QUOTED_CHARS_MAX: usize = 64;
/// Lines of one datagram that are read. The rest is dropped.
pub const LINES_PER_DATAGRAM_MAX: u64 = 256;
/// Bytes of one Telnet subnegotiation. A longer one is taken to have ended there.
pub const SUBNEGOTIATION_BYTES_MAX: usize = 512;
/// A datagram to a client, in bytes, its number included; a line that is longer by itself goes
/// alone.
pub const DATAGRAM_BYTES_MAX: usize = 1_200;
/// Silence after which a UDP session ends, in seconds.
pub const UDP_SILENCE_SECONDS_MAX: u64 = 120;
/// A UDP session without a key receives, for its own lines, at most this many times the bytes that
/// it sent. Source of the number: RFC 9000, section 8.1.
pub const UDP_ANSWER_FACTOR: u64 = 3;
/// Bytes that it may receive beyond that for each proof of its address.
pub const UDP_PROVEN_BYTES: u64 = 64 * 1024;
/// Seconds after the proof in which it may receive them.
pub const UDP_PROVEN_SECONDS: u64 = 60;
/// Lines that a session may send at once before `--rate-limit` slows it (a paste of 500 lines
/// passes).
pub const RATE_BURST_LINES: u64 = 512;
/// What all sessions of one address may send together, in the long run and at once, as a multiple
/// of what one session may.
pub const ADDRESS_RATE_SHARE: u64 = 20;
/// Lines that all sessions of one address may send at once.
pub const ADDRESS_BURST_LINES: u64 = 4_096;
/// What the opening of a session costs of its address's budget, in lines.
pub const OPENING_COST: u64 = 16;
/// The most that one command costs of the budget, in lines.
pub const COMMAND_COST_MAX: u64 = 32;
