//! UDP sessions: which peer may have a session, and to which session a datagram belongs. Worker 0
//! has all UDP sessions.
//!
//! An unknown peer is answered with a cookie, which is a keyed hash of its address and the time,
//! and only if its datagram was at least as long as the answer. So the server keeps no state for
//! unknown peers, and an attacker can't make it send the chat to another address. `/hello COOKIE`
//! from that address proves that the peer receives what is sent there, and opens a session. From a
//! peer with a session it is a new proof.
//!
//! ```text
//! first line of a datagram        unknown peer   session without a key   session with a key
//! /hello COOKIE [key]             opens          a proof, then lines     a proof, then lines
//! /hello, long enough             a cookie       a cookie                a cookie
//! /key KEY, then LF or a space    a cookie       lines                   the lines after the key
//! anything else                   a cookie       lines                   dropped and counted
//! ```

use crate::admission::Admission;
use crate::chat::{CHALLENGE_BYTES, Chat, Fact, Record, Session, Transport};
use crate::proposer::push_fact;
use crate::segment::{Batch, Dropped};
use crate::worker::input::fact_of;
use forkchat_common::endpoint::{Listener, Origin, Token, UdpPath};
use forkchat_common::event::Rejection;
use forkchat_common::ids::{Micros, SessionId, Slot};
use forkchat_common::limits::{LINES_PER_DATAGRAM_MAX, RATE_BURST_LINES, UDP_SILENCE_SECONDS_MAX};
use forkchat_common::protocol::Protocol;
use forkchat_common::protocol::line::refusals::short_rejection;
use siphasher::sip::SipHasher24;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// A cookie is valid for at least this long, and at most for twice this.
const COOKIE_PERIOD: u64 = 60 * Micros::SECOND;
/// The word that a client adds to `/hello` if it wants a key.
const WANTS_KEY: &str = "key";

/// The configuration of the worker that has the UDP sessions.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The secret that cookies and session keys are made with. It is made when the server starts.
    pub cookie_key: [u8; 16],
    /// The address on which the socket listens.
    pub listener: Listener,
    /// The cells for UDP sessions.
    pub cells: Range<usize>,
    /// Decides which peers may open a session.
    pub admission: Admission,
    /// Counts dropped datagrams.
    pub dropped: &'static Dropped,
}

/// The UDP sessions of a worker.
#[derive(Debug)]
pub struct UdpSessions {
    me: Slot,
    config: UdpConfig,
    known: HashMap<UdpPath, Known>,
    paths: HashMap<SessionId, UdpPath>,
    free: BTreeSet<usize>,
    serial: u64,
}

#[derive(Debug)]
struct Known {
    session: SessionId,
    /// The key that each datagram has to begin with, if the client asked for one.
    key: Option<Token>,
    /// Input lines so far. They serve as the input's offset, which datagrams don't have.
    lines: u64,
    /// The lines of those that are not applied yet.
    unapplied: u64,
    /// When the last valid datagram arrived, in the time since the machine started: the log's clock
    /// may jump.
    last_datagram: Micros,
}

/// What to do about a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// Send this answer to the peer, and keep no state.
    Answer(Vec<u8>),
    /// Append these records of a session; they are this many lines.
    Lines(SessionId, Batch, u64),
    /// Append these records: they open a session, with the lines that followed the greeting.
    Open(SessionId, Batch),
}

/// The beginning of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// `/hello COOKIE` with a valid cookie. The next line begins at `rest`.
    Proof { rest: usize, wants_key: bool },
    /// Another `/hello`.
    Hello { wants_key: bool },
    /// Anything else.
    Line,
}

impl UdpSessions {
    /// The open UDP sessions of a predecessor. `taken` says whether a cell is still in use by an
    /// ended session with unsent output. `uptime` is the time since the machine started.
    pub fn take_over(
        me: Slot,
        mut config: UdpConfig,
        chat: &Chat,
        taken: impl Fn(usize) -> bool,
        uptime: Micros,
    ) -> UdpSessions {
        let open: Vec<(&Session, UdpPath)> =
            chat.sessions_of(me).filter_map(|session| Some((session, session.path()?))).collect();
        config.admission.take_over(open.iter().map(|(_, path)| path.peer.ip()));
        let is_free = |cell: &usize| {
            !taken(*cell) && open.iter().all(|(session, _)| session.id.cell() != *cell)
        };
        let free = config.cells.clone().filter(is_free).collect();
        // It is unknown how long each client has been silent. Each gets the whole time again.
        let known = |&(session, path): &(&Session, UdpPath)| {
            (
                path,
                Known {
                    session: session.id,
                    key: session.key(),
                    lines: session.input_end,
                    unapplied: 0,
                    last_datagram: uptime,
                },
            )
        };
        UdpSessions {
            me,
            config,
            known: open.iter().map(known).collect(),
            paths: open.iter().map(|&(session, path)| (session.id, path)).collect(),
            free,
            serial: chat.udp_serial(),
        }
    }

    /// The number of sessions.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// Decides about a datagram. `now` is the log's time, `uptime` the time since the machine
    /// started.
    pub fn receive(
        &mut self,
        path: UdpPath,
        bytes: &[u8],
        chat: &Chat,
        now: Micros,
        uptime: Micros,
    ) -> Verdict {
        match (self.beginning(path, bytes, now), self.known.get(&path)) {
            (Beginning::Proof { rest, wants_key }, None) => {
                let key = wants_key.then(|| self.new_key(path, now));
                self.open(path, key, &bytes[rest..], uptime)
                    .unwrap_or_else(|refused| answer(bytes, short_rejection(refused)))
            }
            (Beginning::Proof { wants_key, .. }, Some(known)) => {
                // A client that repeats its greeting may not have received the answer, so its key
                // stays the same.
                let key = wants_key.then(|| known.key.unwrap_or_else(|| self.new_key(path, now)));
                self.lines(path, bytes, Some(key), chat, now, uptime)
            }
            (Beginning::Hello { wants_key }, Some(_)) if bytes.len() >= CHALLENGE_BYTES => {
                self.ask_for_proof(path, bytes, wants_key, now)
            }
            (Beginning::Hello { wants_key }, None) => {
                self.ask_for_proof(path, bytes, wants_key, now)
            }
            (Beginning::Line, None) => self.ask_for_proof(path, bytes, false, now),
            (Beginning::Hello { .. } | Beginning::Line, Some(known)) => {
                match known.key.map_or(Some(bytes), |key| without_key(bytes, key)) {
                    Some(lines) => self.lines(path, lines, None, chat, now, uptime),
                    None => {
                        let dropped = self.config.dropped.datagram();
                        log::debug!(
                            "dropped a datagram of {} without its session's key; {dropped} so far",
                            path.peer
                        );
                        Verdict::Ignore
                    }
                }
            }
        }
    }

    /// The session of a path and the offset of its input, for the quarantine; [`SessionId::NONE`]
    /// if it has none.
    pub fn place_of(&self, path: UdpPath) -> (SessionId, u64) {
        self.known.get(&path).map_or((SessionId::NONE, 0), |known| (known.session, known.lines))
    }

    /// Notes that this many lines of a session have been applied.
    pub fn applied(&mut self, session: SessionId, lines: u64) {
        if let Some(known) = self.paths.get(&session).and_then(|path| self.known.get_mut(path)) {
            known.unapplied -= lines;
        }
    }

    /// A session's path, and the line with a cookie by which its client can prove its address.
    pub fn challenge(&self, session: SessionId, now: Micros) -> Option<(UdpPath, String)> {
        let path = *self.paths.get(&session)?;
        Some((path, self.cookie_line(path, now)))
    }

    /// Removes a session that is over and whose output is sent, and frees its cell. False if it
    /// isn't a UDP session.
    pub fn close(&mut self, session: SessionId) -> bool {
        if !self.config.cells.contains(&session.cell()) {
            return false;
        }
        // A session that ended before this process began is not known here, and is not counted.
        if let Some(path) = self.paths.remove(&session) {
            self.known.remove(&path);
            self.config.admission.release(path.peer.ip());
        }
        self.free.insert(session.cell());
        true
    }

    /// The sessions whose clients have been silent for too long, each with the log's time at which
    /// the client was last active.
    pub fn silent(&self, chat: &Chat, uptime: Micros) -> Vec<(SessionId, Micros)> {
        let is_silent = |known: &&Known| {
            uptime.since(known.last_datagram) > UDP_SILENCE_SECONDS_MAX * Micros::SECOND
        };
        let open =
            self.known.values().filter(is_silent).filter_map(|known| chat.session(known.session));
        let mut silent: Vec<_> = open.map(|session| (session.id, session.last_received)).collect();
        silent.sort_unstable();
        silent
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn beginning(&self, path: UdpPath, bytes: &[u8], now: Micros) -> Beginning {
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let words =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.strip_prefix("/hello"));
        let Some(words) =
            words.filter(|words| words.is_empty() || words.starts_with([' ', '\t', '\r']))
        else {
            return Beginning::Line;
        };
        let wants_key = words.split_ascii_whitespace().any(|word| word == WANTS_KEY);
        let cookie = words.split_ascii_whitespace().next().unwrap_or_default();
        let period = now.0 / COOKIE_PERIOD;
        let is_good = [period, period.saturating_sub(1)]
            .into_iter()
            .any(|period| self.cookie(path, period).to_string() == cookie);
        if is_good {
            Beginning::Proof { rest: (end + 1).min(bytes.len()), wants_key }
        } else {
            Beginning::Hello { wants_key }
        }
    }

    fn open(
        &mut self,
        path: UdpPath,
        key: Option<Token>,
        rest: &[u8],
        uptime: Micros,
    ) -> Result<Verdict, Rejection> {
        let cell = self.free.first().copied().ok_or(Rejection::Full)?;
        self.config.admission.admit(path.peer.ip(), uptime)?;
        self.free.remove(&cell);
        self.serial += 1;
        let session = SessionId::new(self.serial, cell);
        let mut batch = Batch::default();
        let transport = Transport::Udp { local: path.local, key };
        let origin = Origin { peer: path.peer, listener: self.config.listener };
        push_fact(&mut batch, session, Fact::Opened { slot: self.me, origin, transport });
        let mut lines = 0;
        push_lines(session, rest, &mut lines, LINES_PER_DATAGRAM_MAX, &mut batch);
        push_fact(&mut batch, session, Fact::Arrived);
        self.known.insert(path, Known { session, key, lines, unapplied: 0, last_datagram: uptime });
        self.paths.insert(session, path);
        Ok(Verdict::Open(session, batch))
    }

    /// Handles the lines of a datagram of an open session. With a `proof`, its client has proved
    /// its address and has the proof's key from now on.
    fn lines(
        &mut self,
        path: UdpPath,
        bytes: &[u8],
        proof: Option<Option<Token>>,
        chat: &Chat,
        now: Micros,
        uptime: Micros,
    ) -> Verdict {
        let Some(known) = self.known.get_mut(&path) else { return Verdict::Ignore };
        known.last_datagram = uptime;
        // Its first records may still wait to be applied.
        let is_opening = !chat.was_opened(known.session);
        let allowed = if is_opening { RATE_BURST_LINES } else { chat.budget(known.session, now) };
        let allowed = allowed.saturating_sub(known.unapplied).min(LINES_PER_DATAGRAM_MAX);
        let mut batch = Batch::default();
        if let Some(key) = proof.filter(|_| allowed > 0) {
            known.key = key;
            push_fact(&mut batch, known.session, Fact::Proved { key });
        }
        let before = known.lines;
        let is_whole = push_lines(known.session, bytes, &mut known.lines, allowed, &mut batch);
        if !is_whole {
            let dropped = self.config.dropped.datagram();
            log::debug!(
                "dropped a datagram of {}, or its last lines: too many; {dropped} so far",
                path.peer
            );
        }
        let lines = known.lines - before;
        known.unapplied += lines;
        if batch.is_empty() { Verdict::Ignore } else { Verdict::Lines(known.session, batch, lines) }
    }

    /// Answers with the line that the client is to send back. The line repeats the request for a
    /// key if there is room.
    fn ask_for_proof(
        &self,
        path: UdpPath,
        datagram: &[u8],
        wants_key: bool,
        now: Micros,
    ) -> Verdict {
        let line = self.cookie_line(path, now);
        let with_key = format!("{} {WANTS_KEY}\n", line.trim_end());
        answer(
            datagram,
            if wants_key && with_key.len() <= datagram.len() { &with_key } else { &line },
        )
    }

    fn cookie_line(&self, path: UdpPath, now: Micros) -> String {
        format!("* /hello {}\n", self.cookie(path, now.0 / COOKIE_PERIOD))
    }

    fn cookie(&self, path: UdpPath, period: u64) -> Token {
        self.hash(path, 0, period)
    }

    /// The key of a session that is opened, or gets a key, at this time.
    fn new_key(&self, path: UdpPath, now: Micros) -> Token {
        self.hash(path, 1 + self.serial, now.0)
    }

    /// A keyed hash. `purpose` separates cookies and the keys of different sessions.
    fn hash(&self, path: UdpPath, purpose: u64, time: u64) -> Token {
        let mut hasher = SipHasher24::new_with_key(&self.config.cookie_key);
        let mut write_ip = |ip| match ip {
            IpAddr::V4(ip) => hasher.write(&u128::from(ip.to_ipv6_mapped()).to_be_bytes()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        };
        write_ip(path.peer.ip());
        write_ip(path.local.ip.unwrap_or(IpAddr::from([0; 4])));
        hasher.write_u32(match path.peer {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(peer) => peer.scope_id(),
        });
        hasher.write_u32(path.local.interface);
        hasher.write_u16(path.peer.port());
        hasher.write_u64(purpose);
        hasher.write_u64(time);
        Token(hasher.finish())
    }
}

/// Answers a peer that has not proved its address: never with more bytes than it sent.
fn answer(datagram: &[u8], line: &str) -> Verdict {
    if line.len() <= datagram.len() { Verdict::Answer(line.into()) } else { Verdict::Ignore }
}

/// The rest of a datagram after `/key KEY` and one space or line end, if it begins with that.
fn without_key(datagram: &[u8], key: Token) -> Option<&[u8]> {
    let lines = datagram.strip_prefix(b"/key ")?.strip_prefix(key.to_string().as_bytes())?;
    if lines.is_empty() {
        return Some(lines);
    }
    [&b"\r\n"[..], b"\n", b" "].into_iter().find_map(|end| lines.strip_prefix(end))
}

/// Adds records of at most `max` lines of a datagram, and counts them in `lines`. False if there
/// were more lines.
fn push_lines(
    session: SessionId,
    bytes: &[u8],
    lines: &mut u64,
    max: u64,
    batch: &mut Batch,
) -> bool {
    let mut push = |fact| {
        *lines += 1;
        batch.push(|payload| Record { session, input_end: *lines, fact }.encode(payload));
    };
    Protocol::Line.framing().split_all(bytes, max as usize, |piece| push(fact_of(piece)))
}

#[cfg(test)]
mod tests;
