//! The records of the log: one line of a session or one fact, with session and input offset. The
//! log adds sequence and time.
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
    /// For a line: the offset in the session's input after it. A line at or below the session's
    /// latest offset was applied before. 0 for facts.
    pub input_end: u64,
    /// What happened.
    #[serde(borrow)]
    pub fact: Fact<'a>,
}

/// What a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact<'a> {
    /// A session begins.
    Opened {
        /// The worker that serves it.
        slot: Slot,
        /// Where it comes from, and so what it speaks.
        origin: Origin,
        /// How it is connected.
        transport: Transport,
    },
    /// A UDP client has proved again that it receives what is sent to its address.
    Proved {
        /// What each of its datagrams has to carry from now on, if it wants that.
        key: Option<Token>,
    },
    /// What came together with the connection is all before this: now the others may hear of the
    /// arrival.
    Arrived,
    /// A line, without its LF.
    #[serde(with = "serde_bytes")]
    Line(#[serde(borrow)] &'a [u8]),
    /// The beginning of a line that can't stay in the kernel until its end is there: it is followed
    /// by urgent data, past which the worker can not peek, or it holds so much of the kernel's
    /// memory that the end couldn't come. Or it has Telnet negotiations in it: they wait for an
    /// answer, and may make it longer than a line may be.
    #[serde(with = "serde_bytes")]
    LineBegins(#[serde(borrow)] &'a [u8]),
    /// A line that is longer than lines may be begins.
    LongLineBegins,
    /// The LF of such a line.
    LongLineEnds,
    /// From here on another worker serves the session.
    Moved {
        /// That worker.
        to: Slot,
    },
    /// A session ends.
    Closed(CloseReason),
    /// A UDP session ends if nothing was received from it since.
    Silent {
        /// The last time its client was heard, as known to the worker that appended this.
        since: Micros,
    },
    /// The server ends.
    Stopping,
    /// A service answers a request, or a part of it.
    Answer(#[serde(borrow)] Answer<'a>),
    /// A part of a list was written to its session, which may be sent the next one.
    NextPart {
        /// The list: the record of the command that asked for it.
        of: RecordId,
        /// How many parts of it were sent.
        parts: u32,
    },
    /// A room had this topic when the last run ended.
    Topic {
        /// The room's name.
        room: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Nothing more is known of earlier runs.
    Restored,
    /// What the state machine reads of the server's configuration.
    Configured {
        /// What all rooms and topics together may take, in bytes.
        rooms_bytes_max: u64,
        /// `--rate-limit`.
        rate_limit: RateLimit,
    },
    /// The wall clock was set ahead or back: the times that are shown follow it from here on.
    Clock {
        /// How far it is ahead of the records' times, in µs.
        ahead: i64,
    },
    /// Another process runs in a worker's slot. The process appends this itself, before it takes on
    /// anything that its clients send.
    Started {
        /// The slot.
        slot: Slot,
        /// The process.
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
        /// The address to which the client sends, and from which it is answered.
        local: LocalAddress,
        /// What each of its datagrams has to carry, if it asked for a key.
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
    /// The client doesn't read what it is sent.
    TooSlow,
    /// A UDP client was silent for too long.
    Silent,
    /// The worker that served it died, and its successor can't go on for it.
    WorkerDied,
    /// What it sent has been the death of workers.
    Quarantined,
}

impl CloseReason {
    /// The quit reason that the others see; empty for an ordinary end.
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

    /// What is sent to the session itself, where it is told.
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
    /// How many bytes of a line it holds. Of a line too long nothing is held, but it is known that
    /// as many came as a line may have.
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

    /// Reads a record from the log; `None` if it is none, which only a mistake of ours can cause.
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
    fn records_survive_the_log_and_are_small() {
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
    fn a_link_local_address_keeps_its_scope_and_a_udp_session_its_own_end_and_key() {
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
