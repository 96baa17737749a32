//! All limits of the protocol. The doc of each constant says what happens at its limit.

/// Length of a line from a client in bytes, including its line end. A longer line is refused once
/// and skipped to its end.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Length of a nickname in characters. A longer one is refused.
pub const NICK_CHARS_MAX: usize = 32;
/// Length of a room's name after its `#`, in characters. A longer one is refused.
pub const ROOM_CHARS_MAX: usize = 50;
/// Rooms that one session may be in. A further `/join` is refused.
pub const ROOMS_PER_SESSION_MAX: usize = 50;
/// Rooms that may exist at a time. A `/join` that would create another is refused.
pub const ROOMS_MAX: usize = 20_000;
/// Empty rooms that exist because of their topic. Beyond it the room that has been empty longest is
/// removed.
pub const EMPTY_ROOMS_MAX: usize = 1_000;
/// Length of a topic in characters. A longer one is refused.
pub const TOPIC_CHARS_MAX: usize = 400;
/// Bytes of shared state that one address may use with the existing rooms that it created and
/// topics that it set. A further room or topic is refused.
pub const ADDRESS_STATE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of shared state that all rooms and topics together may use at least. With enough memory
/// the server allows more, see `supervisor/budget.rs`. A further room or topic is refused.
pub const ROOMS_BYTES_MIN: usize = 1024 * 1024;
/// Rooms that `/rooms` lists. The answer ends with the number of the others.
pub const ROOMS_LISTED_MAX: usize = 100;
/// Rooms that one part of the answer to `/rooms` looks at, listed or not. The next part continues
/// after them.
pub const ROOMS_PER_PART_MAX: usize = 500;
/// Characters of each topic in the answer to `/rooms`. The rest of a longer one is left out.
pub const TOPIC_LISTED_CHARS_MAX: usize = 80;
/// Bytes of names and topics in one part of a long answer. The next part is sent when this one was
/// written to the client.
pub const ANSWER_PART_BYTES: usize = 2 * 1024;
/// Bytes of input lines of a session that wait until a long answer is complete. A further line is
/// refused.
pub const WAITING_LINES_BYTES_MAX: usize = 4 * 1024;
/// Members that `/who` lists. The answer ends with the number of the others.
pub const MEMBERS_LISTED_MAX: usize = 500;
/// Members that the welcome lists. It ends with the number of the others.
pub const WELCOME_NAMES_MAX: usize = 20;
/// Lines that `/history` shows without an argument.
pub const HISTORY_LINES: usize = 20;
/// Lines that `/history` can show. A request for more is refused.
pub const HISTORY_LINES_MAX: usize = 500;
/// Characters of the input that a refusal quotes.
pub const QUOTED_CHARS_MAX: usize = 64;
/// Lines of one datagram that are processed. The rest is dropped.
pub const LINES_PER_DATAGRAM_MAX: u64 = 256;
/// Length of a Telnet subnegotiation in bytes. A longer one counts as ended there.
pub const SUBNEGOTIATION_BYTES_MAX: usize = 512;
/// Length of a datagram to a client in bytes, including its number. A longer line is sent alone in
/// a larger datagram.
pub const DATAGRAM_BYTES_MAX: usize = 1_200;
/// Seconds without input after which a UDP session ends.
pub const UDP_SILENCE_SECONDS_MAX: u64 = 120;
/// A UDP session without a key receives in answer to its lines at most this many times the bytes
/// that it sent. Source of the number: RFC 9000, section 8.1.
pub const UDP_ANSWER_FACTOR: u64 = 3;
/// Bytes that such a session may receive in addition after each proof of its address.
pub const UDP_PROVEN_BYTES: u64 = 64 * 1024;
/// Seconds after the proof until these bytes expire.
pub const UDP_PROVEN_SECONDS: u64 = 60;
/// Lines that a session may send at once before `--rate-limit` slows it (a paste of 500 lines
/// passes).
pub const RATE_BURST_LINES: u64 = 512;
/// The average rate of all sessions of one address together, as a multiple of the rate of one
/// session.
pub const ADDRESS_RATE_SHARE: u64 = 20;
/// Lines that all sessions of one address may send at once.
pub const ADDRESS_BURST_LINES: u64 = 4_096;
/// The cost of opening a session for the budget of its address, in lines.
pub const OPENING_COST: u64 = 16;
/// The largest cost of a command, in lines.
pub const COMMAND_COST_MAX: u64 = 32;
