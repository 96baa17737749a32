//! The records of the log. A record is a fact, often one line of input, with its session and input
//! offset. The log adds the sequence and the time.
//!
//! A line is recorded as the client sent it. Its bytes are interpreted (charset, Telnet, command)
//! when the record is applied.

use super::rate::RateLimit;
use super::request::Answer;
use forkchat_common::endpoint::{LocalAddress, Origin, Token};
use forkchat_common::event::Dismissal;
use forkchat_common::ids::{Micros, RecordId, SessionId, Slot};
use forkchat_common::limits::LINE_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// A record's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The session; [`SessionId::NONE`] for a fact that belongs to no session.
    pub session: SessionId,
    /// For input: the offset in the session's input stream after this piece. Input at or below the
    /// session's latest offset was applied before. 0 for other facts.
    pub input_end: u64,
    /// What happened.
    #[serde(borrow)]
    pub fact: Fact<'a>,
}

/// An event that a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact<'a> {
    /// A session opens.
    Opened {
        /// The worker that serves it.
        slot: Slot,
        /// The client's address, and the listener, which determines the protocol.
        origin: Origin,
        /// How it is connected.
        transport: Transport,
    },
    /// A UDP client has proved again that it receives datagrams at its address.
    Proved {
        /// The key that each of the client's datagrams must carry from now on, if the client asked
        /// for one.
        key: Option<Token>,
    },
    /// All input that arrived together with the connection is recorded before this. From here on
    /// other sessions are notified of the arrival.
    Arrived,
    /// A line, without its LF.
    #[serde(with = "serde_bytes")]
    Line(#[serde(borrow)] &'a [u8]),
    /// The beginning of a line that can't stay in the kernel until its end arrives. Either urgent
    /// data follows, past which the worker can't peek; or the line fills the kernel's buffer, so
    /// its end could not arrive; or it contains Telnet negotiations: the client waits for an answer
    /// to these, and they may make the line longer than the limit.
    #[serde(with = "serde_bytes")]
    LineBegins(#[serde(borrow)] &'a [u8]),
    /// The beginning of a line that is too long.
    LongLineBegins,
    /// The end of a line that was too long.
    LongLineEnds,
    /// Another worker serves the session from here on.
    Moved {
        /// The other worker's slot.
        to: Slot,
    },
    /// A session ends.
    Closed(CloseReason),
    /// Ends a UDP session if nothing was received from it after `since`.
    Silent {
        /// The time of the client's last datagram, as the worker knew it when it appended this.
        since: Micros,
    },
    /// The server is stopping.
    Stopping,
    /// A service sent an answer, or a part of one.
    Answer(#[serde(borrow)] Answer<'a>),
    /// A part of a list was written to the client. The session may receive the next part.
    NextPart {
        /// The list, named by the record of its command.
        of: RecordId,
        /// How many parts of the list were sent.
        parts: u32,
    },
    /// A room had this topic when the last run ended.
    Topic {
        /// The room's name.
        room: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// All topics of earlier runs have been recorded.
    Restored,
    /// The part of the server's configuration that the state machine uses.
    Configured {
        /// The memory that all rooms and topics together may use, in bytes.
        rooms_bytes_max: u64,
        /// `--rate-limit`.
        rate_limit: RateLimit,
    },
    /// The wall clock was set ahead or back. From here on clients see times by the new setting.
    Clock {
        /// How far it is ahead of the records' times, in µs.
        ahead: i64,
    },
    /// A new process runs in a worker's slot. The process appends this itself, before it records
    /// any input of its clients.
    Started {
        /// The slot.
        slot: Slot,
        /// The process's pid.
        pid: u32,
    },
}

/// How a session is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp {
        /// The address to which the client sends. Answers leave from this address.
        local: LocalAddress,
        /// The key that each of its datagrams must carry, if the client asked for one.
        key: Option<Token>,
    },
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// The client sent its end of input.
    EndOfInput,
    /// The connection broke.
    Reset,
    /// The client reads too slowly.
    TooSlow,
    /// Nothing was received from a UDP client for too long.
    Silent,
    /// The worker that served it died, and the successor can't continue the session.
    WorkerDied,
    /// Its input crashed workers.
    Quarantined,
}

impl CloseReason {
    /// The quit reason that other sessions see; empty for an ordinary end.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::EndOfInput => "",
            CloseReason::Reset => "connection reset",
            CloseReason::TooSlow => "reading too slowly",
            CloseReason::Silent => "nothing received for 120 seconds",
            CloseReason::WorkerDied => "its worker process died",
            CloseReason::Quarantined => "its input crashed a server process",
        }
    }

    /// The message to the session itself; `None` if it receives none.
    pub fn dismissal(self) -> Option<Dismissal> {
        match self {
            CloseReason::Silent => Some(Dismissal::Silent),
            CloseReason::Quarantined => Some(Dismissal::Quarantined),
            CloseReason::WorkerDied => Some(Dismissal::Lost),
            CloseReason::EndOfInput | CloseReason::Reset | CloseReason::TooSlow => None,
        }
    }
}

impl Fact<'_> {
    /// How many bytes of a line this fact stands for. A line that is too long counts as long as the
    /// longest allowed line, although its bytes are not recorded.
    pub(super) fn line_len(&self) -> usize {
        match self {
            Fact::Line(bytes) | Fact::LineBegins(bytes) => bytes.len(),
            Fact::LongLineBegins => LINE_BYTES_MAX - 1,
            _ => 0,
        }
    }
}

impl<'a> Record<'a> {
    /// Appends the record's bytes, for [`Record::decode`].
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        *bytes = postcard::to_extend(self, std::mem::take(bytes))
            .expect("serialising into memory fails for no record");
    }

    /// Decodes a record from the log. `None` if the bytes are not a record, which would be a bug of
    /// the server.
    pub fn decode(payload: &'a [u8]) -> Option<Record<'a>> {
        postcard::from_bytes(payload).ok()
    }
}

#[cfg(test)]
impl Fact<'_> {
    /// The opening of a line session.
    pub fn opened(slot: Slot, transport: Transport, peer: std::net::SocketAddr) -> Fact<'static> {
        let origin = Origin { peer, listener: forkchat_common::endpoint::Listener::default() };
        Fact::Opened { slot, origin, transport }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkchat_common::endpoint::Listener;
    use std::net::SocketAddr;

    #[test]
    fn records_are_decoded_as_encoded_and_are_small() {
        let encoded = |record: &Record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes
        };
        let line =
            Record { session: SessionId::new(1, 5), input_end: 700, fact: Fact::Line(b"hello") };
        assert!(encoded(&line).len() <= 5 + 11);
        assert_eq!(Record::decode(&encoded(&line)), Some(line));
        let origin = Origin { peer: "[::1]:9000".parse().unwrap(), listener: Listener::default() };
        let opened = Record {
            session: SessionId::new(1, 5),
            input_end: 0,
            fact: Fact::Opened { slot: Slot::at(1), origin, transport: Transport::Tcp },
        };
        assert_eq!(Record::decode(&encoded(&opened)), Some(opened));
        assert_eq!(Record::decode(b"\xff"), None);
    }

    #[test]
    fn a_link_local_address_keeps_its_scope_and_a_udp_session_its_local_address_and_key() {
        let local = LocalAddress { ip: Some("fe80::2".parse().unwrap()), interface: 3 };
        for transport in [Transport::Tcp, Transport::Udp { local, key: Some(Token(7)) }] {
            let peer =
                SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 9000, 5, 3));
            let origin = Origin { peer, listener: Listener { number: 7, ..Listener::default() } };
            let opened = Record {
                session: SessionId::new(1, 5),
                input_end: 0,
                fact: Fact::Opened { slot: Slot::at(1), origin, transport },
            };
            let mut bytes = Vec::new();
            opened.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Some(opened));
        }
    }
}
