//! UDP sessions: which peer may have one, and to which session a datagram belongs. Worker 0 has
//! them all.
//!
//! An unknown peer is answered with a cookie, a keyed hash of its address and the time, and only if
//! its datagram was at least as long as the answer. So the server keeps no state for it, and an
//! attacker can't have the chat sent to another address. `/hello COOKIE` from that address proves
//! that the peer receives what is sent there, and opens a session. From a peer that has a session
//! it is a new proof.
//!
//! ```text
//! first line of a datagram        unknown peer   session without a key   session with a key
//! /hello COOKIE [key]             opens          a proof, then lines     a proof, then lines
//! /hello, long enough             a cookie       a cookie                a cookie
//! /key KEY, then LF or a space    a cookie       lines                   lines, without what is before them
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

/// A cookie is good for this long at least, and twice that at most.
const COOKIE_PERIOD: u64 = 60 * Micros::SECOND;
/// What a client puts behind `/hello` that wants a key.
const WANTS_KEY: &str = "key";

/// What the supervisor gives to the worker that keeps the UDP sessions.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The key of cookies and session keys, made when the server starts.
    pub cookie_key: [u8; 16],
    /// The address on which it listens.
    pub listener: Listener,
    /// Cells that are for UDP sessions.
    pub cells: Range<usize>,
    /// Who may come in.
    pub admission: Admission,
    /// Counts the datagrams that are dropped.
    pub dropped: &'static Dropped,
}

/// The UDP sessions, as their worker knows them.
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
    /// What each datagram has to carry, if the client asked for a key.
    key: Option<Token>,
    /// Input lines so far: a datagram has no offset of its own.
    lines: u64,
    /// Lines of those that are on their way to the log.
    unapplied: u64,
    /// When a datagram last came, by the time since the machine started: the log's clock may make a
    /// step.
    heard: Micros,
}

/// What is to be done about a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// It is sent this, and forgotten.
    Answer(Vec<u8>),
    /// These lines go to the log.
    Lines(SessionId, Batch, u64),
    /// A session is opened, with what came with the greeting.
    Open(SessionId, Batch),
}

/// What a datagram begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// `/hello COOKIE` with a good cookie. The next line begins at `rest`.
    Proof { rest: usize, wants_key: bool },
    /// Another `/hello`.
    Hello { wants_key: bool },
    /// Anything else.
    Line,
}

impl UdpSessions {
    /// A desk with the sessions that are open, which a predecessor let in. In `taken` cells one
    /// that is over still has something to be sent. `uptime` is the machine's time.
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
        // How long each has been silent before is not known here; it is given the whole time again.
        let known = |&(session, path): &(&Session, UdpPath)| {
            (
                path,
                Known {
                    session: session.id,
                    key: session.key(),
                    lines: session.input_end,
                    unapplied: 0,
                    heard: uptime,
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

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// What to do about a datagram. `now` is the log's time, `uptime` the machine's.
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
                // A client that repeats its greeting has perhaps not got the answer, so its key
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

    /// The session that a path has, if any, and how far its input has come.
    pub fn place_of(&self, path: UdpPath) -> (SessionId, u64) {
        self.known.get(&path).map_or((SessionId::NONE, 0), |known| (known.session, known.lines))
    }

    /// So many of a session's lines have been applied.
    pub fn applied(&mut self, session: SessionId, lines: u64) {
        if let Some(known) = self.paths.get(&session).and_then(|path| self.known.get_mut(path)) {
            known.unapplied -= lines;
        }
    }

    /// Where a session's client is, and the line with a cookie that lets it prove its address.
    pub fn challenge(&self, session: SessionId, now: Micros) -> Option<(UdpPath, String)> {
        let path = *self.paths.get(&session)?;
        Some((path, self.cookie_line(path, now)))
    }

    /// A session is over, and all that it was told is sent. False if it wasn't one over UDP.
    pub fn close(&mut self, session: SessionId) -> bool {
        if !self.config.cells.contains(&session.cell()) {
            return false;
        }
        // One that was over before this process began is not known here, and counts no more.
        if let Some(path) = self.paths.remove(&session) {
            self.known.remove(&path);
            self.config.admission.release(path.peer.ip());
        }
        self.free.insert(session.cell());
        true
    }

    /// Those of whom nothing was heard for too long, with the time they were heard.
    pub fn silent(&self, chat: &Chat, uptime: Micros) -> Vec<(SessionId, Micros)> {
        let is_silent =
            |known: &&Known| uptime.since(known.heard) > UDP_SILENCE_SECONDS_MAX * Micros::SECOND;
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
        self.known.insert(path, Known { session, key, lines, unapplied: 0, heard: uptime });
        self.paths.insert(session, path);
        Ok(Verdict::Open(session, batch))
    }

    /// The lines of a datagram whose session is open. With a `proof` its client receives what is
    /// sent to its address, and has that key from now on.
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
        known.heard = uptime;
        // Its greeting may still be on its way to the log.
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

    /// The answer has what the client is to send back: with the wish for a key, if there is room
    /// for it.
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

    /// The key of a session that is opened at this time, or is given one later.
    fn new_key(&self, path: UdpPath, now: Micros) -> Token {
        self.hash(path, 1 + self.serial, now.0)
    }

    /// A keyed hash. `purpose` keeps those for different ends apart.
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

/// A peer that hasn't proved its address is never sent more than it sent.
fn answer(datagram: &[u8], line: &str) -> Verdict {
    if line.len() <= datagram.len() { Verdict::Answer(line.into()) } else { Verdict::Ignore }
}

/// What is behind `/key KEY` and one space or line end, if a datagram begins with that.
fn without_key(datagram: &[u8], key: Token) -> Option<&[u8]> {
    let lines = datagram.strip_prefix(b"/key ")?.strip_prefix(key.to_string().as_bytes())?;
    if lines.is_empty() {
        return Some(lines);
    }
    [&b"\r\n"[..], b"\n", b" "].into_iter().find_map(|end| lines.strip_prefix(end))
}

/// Adds records of a datagram's lines, at most `max`, and counts them in `lines`. False if there
/// were more.
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
mod tests {
    use super::*;
    use crate::worker::Bounds;
    use crate::worker::fakes::{FakeSockets, path, udp_config};
    use crate::worker::outgoing::Outgoing;
    use forkchat_common::endpoint::LocalAddress;
    use forkchat_common::event::Stamp;
    use forkchat_common::ids::{RecordId, Sequence};
    use proptest::prelude::*;

    /// A desk with one session, opened from port 1, whose chat knows it; and its key.
    fn desk_with_session(wants_key: bool) -> (UdpSessions, Chat, Option<Token>) {
        let (mut desk, mut chat) = desk(None);
        let asks = if wants_key {
            "/hello key                     \n"
        } else {
            "/hello                     \n"
        };
        let Verdict::Answer(answer) = desk.receive(path(1), asks.as_bytes(), &chat, NOW, NOW)
        else {
            panic!("it is long enough")
        };
        assert_eq!(answer.ends_with(b" key\n"), wants_key);
        let Verdict::Open(session, _) = desk.receive(path(1), &answer[2..], &chat, NOW, NOW) else {
            panic!("its cookie is good")
        };
        let key = desk.known[&path(1)].key;
        let transport = Transport::Udp { local: path(1).local, key };
        let opened = Record {
            session,
            input_end: 0,
            fact: Fact::opened(Slot::at(0), transport, path(1).peer),
        };
        let stamp = Stamp { id: RecordId::first_of(Sequence(1)), time: NOW };
        let bounds = Bounds { sendq: 1, together: 1 };
        let mut outgoing = Outgoing::new(Slot::at(0), bounds, FakeSockets::open());
        chat.effects_of(stamp, &opened, &mut outgoing);
        (desk, chat, key)
    }

    const NOW: Micros = Micros(COOKIE_PERIOD * 1_000);

    #[test]
    fn without_its_key_nobody_speaks_for_a_session_nor_keeps_it_alive() {
        let (mut desk, chat, key) = desk_with_session(true);
        let key = key.unwrap();
        let later = NOW.plus(Micros::SECOND);
        let mut send = |bytes: &str| desk.receive(path(1), bytes.as_bytes(), &chat, NOW, later);
        for forged in [
            "/quit\n",
            "hi\n",
            "/key aaaaaaaaaaaaa\n/quit\n",
            &format!("/key {key}x\n"),
            &format!("hi\n/key {key}\n"),
            "/hello\n",
        ] {
            assert_eq!(send(forged), Verdict::Ignore, "{forged}");
        }
        for own in
            [format!("/key {key}\nhi\n"), format!("/key {key} hi"), format!("/key {key}\r\nhi\r\n")]
        {
            assert!(matches!(send(&own), Verdict::Lines(_, _, 1)), "{own}");
        }
        assert_eq!(desk.known[&path(1)].heard, later);
        assert_eq!(desk.config.dropped.datagram(), 7, "and 6 before");
    }

    #[test]
    fn forged_datagrams_do_not_keep_a_session_with_a_key_alive() {
        let (mut desk, chat, _) = desk_with_session(true);
        let silence = NOW.plus((UDP_SILENCE_SECONDS_MAX + 1) * Micros::SECOND);
        assert_eq!(desk.receive(path(1), b"/ping\n", &chat, NOW, silence), Verdict::Ignore);
        assert_eq!(desk.silent(&chat, silence).len(), 1);
    }

    #[test]
    fn a_greeting_that_is_repeated_keeps_the_key_and_one_without_the_wish_drops_it() {
        let (mut desk, chat, key) = desk_with_session(true);
        let cookie = desk.cookie(path(1), 1_000);
        for (greeting, then) in
            [(format!("/hello {cookie} key\n"), key), (format!("/hello {cookie}\n"), None)]
        {
            assert!(matches!(
                desk.receive(path(1), greeting.as_bytes(), &chat, NOW, NOW),
                Verdict::Lines(_, _, 1)
            ));
            assert_eq!(desk.known[&path(1)].key, then);
        }
        assert!(matches!(desk.receive(path(1), b"hi\n", &chat, NOW, NOW), Verdict::Lines(_, _, 1)));
    }

    #[test]
    fn a_long_hello_of_an_open_session_is_answered_with_a_cookie_and_a_short_one_is_a_line() {
        let (mut desk, chat, _) = desk_with_session(false);
        let cookie_line = desk.cookie_line(path(1), NOW);
        let long = desk.receive(path(1), b"/hello                  \n/rooms\n", &chat, NOW, NOW);
        assert_eq!(
            long,
            Verdict::Answer(cookie_line.into_bytes()),
            "and nothing else is answered, it would be more than three times as much"
        );
        assert!(matches!(
            desk.receive(path(1), b"/hello again\n", &chat, NOW, NOW),
            Verdict::Lines(_, _, 1)
        ));
        assert!(matches!(
            desk.receive(path(1), b"/helloween and other long words\n", &chat, NOW, NOW),
            Verdict::Lines(_, _, 1)
        ));
    }

    #[test]
    fn another_address_of_ours_is_another_session_with_another_cookie() {
        let (mut desk, chat, _) = desk_with_session(false);
        let local = LocalAddress { ip: Some([127, 0, 0, 2].into()), interface: 0 };
        let other = UdpPath { local, ..path(1) };
        assert_ne!(desk.cookie(other, 1_000), desk.cookie(path(1), 1_000));
        assert!(matches!(
            desk.receive(other, b"a line that is long enough\n", &chat, NOW, NOW),
            Verdict::Answer(_)
        ));
        let greeting = format!("/hello {}\n", desk.cookie(other, 1_000));
        assert!(matches!(
            desk.receive(other, greeting.as_bytes(), &chat, NOW, NOW),
            Verdict::Open(..)
        ));
    }

    #[test]
    fn another_link_is_another_peer() {
        let (desk, ..) = desk_with_session(false);
        let on = |scope| UdpPath {
            peer: std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, scope).into(),
            ..path(1)
        };
        assert_ne!(desk.cookie(on(2), 1_000), desk.cookie(on(3), 1_000));
    }

    fn desk(per_address_max: Option<u32>) -> (UdpSessions, Chat) {
        let chat = Chat::default();
        (
            UdpSessions::take_over(
                Slot::at(0),
                udp_config(10..20, per_address_max),
                &chat,
                |_| false,
                Micros(0),
            ),
            chat,
        )
    }

    fn hello(desk: &mut UdpSessions, chat: &Chat, port: u16, now: Micros) -> Verdict {
        let Verdict::Answer(answer) = desk.receive(path(port), &[b'x'; 30], chat, now, now) else {
            panic!("a long datagram is answered")
        };
        let cookie = String::from_utf8(answer).unwrap();
        desk.receive(
            path(port),
            cookie.trim_start_matches("* ").trim_end().as_bytes(),
            chat,
            now,
            now,
        )
    }

    #[test]
    fn a_cookie_opens_a_session_for_its_address_only_and_not_for_ever() {
        let (mut desk, chat) = desk(None);
        let start = Micros(COOKIE_PERIOD * 1_000);
        assert!(
            matches!(hello(&mut desk, &chat, 1, start), Verdict::Open(session, _) if session.cell() == 10)
        );
        let cookie = desk.cookie(path(2), 1_000);
        let greeting = format!("/hello {cookie}\n/nick udp\n");
        assert!(
            matches!(
                desk.receive(path(3), greeting.as_bytes(), &chat, start, start),
                Verdict::Answer(_)
            ),
            "another address"
        );
        let late = start.plus(COOKIE_PERIOD * 2);
        assert!(
            matches!(
                desk.receive(path(2), greeting.as_bytes(), &chat, late, late),
                Verdict::Answer(_)
            ),
            "too late"
        );
        assert!(matches!(
            desk.receive(path(2), greeting.as_bytes(), &chat, start.plus(COOKIE_PERIOD), start),
            Verdict::Open(..)
        ));
    }

    #[test]
    fn sessions_are_bounded_in_all_and_per_address_and_given_back() {
        let (mut desk, chat) = desk(Some(2));
        let opened: Vec<_> = (0..2).map(|port| hello(&mut desk, &chat, port, Micros(0))).collect();
        assert_eq!(
            hello(&mut desk, &chat, 2, Micros(0)),
            Verdict::Answer(short_rejection(Rejection::TooManyFromAddress).into())
        );
        let Verdict::Open(first, _) = opened[0] else { panic!("opened") };
        desk.close(first);
        assert!(
            matches!(hello(&mut desk, &chat, 3, Micros(0)), Verdict::Open(session, _) if session.cell() == first.cell() && session != first)
        );
        let elsewhere = [10, 0, 0, 1].into();
        assert_eq!(
            [(); 2].map(|()| desk.config.admission.admit(elsewhere, Micros(0))),
            [Ok(()), Err(Rejection::Full)]
        );
    }

    #[test]
    fn the_cell_of_one_who_is_over_is_given_again_only_when_what_it_was_told_is_sent() {
        let chat = Chat::default();
        let mut desk = UdpSessions::take_over(
            Slot::at(0),
            udp_config(10..12, None),
            &chat,
            |cell| cell == 10,
            Micros(0),
        );
        assert!(
            matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(session, _) if session.cell() == 11)
        );
        assert_eq!(
            hello(&mut desk, &chat, 2, Micros(0)),
            Verdict::Answer(short_rejection(Rejection::Full).into())
        );
        assert!(
            desk.close(SessionId::new(1, 10)),
            "it was over before the desk was made, so only its cell is known"
        );
        assert!(
            matches!(hello(&mut desk, &chat, 2, Micros(0)), Verdict::Open(session, _) if session.cell() == 10)
        );
        assert_eq!(desk.count(), 2);
    }

    #[test]
    fn what_comes_right_behind_the_greeting_counts() {
        let (mut desk, chat) = desk(None);
        assert!(matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(..)));
        let behind = desk.receive(path(1), b"/nick udp\nhi\n", &chat, Micros(0), Micros(0));
        assert!(matches!(behind, Verdict::Lines(_, _, 2)), "{behind:?}");
    }

    proptest! {
        #[test]
        fn an_unknown_peer_is_never_answered_with_more_than_it_sent(bytes in prop::collection::vec(any::<u8>(), 0..60), greets: bool, wants_key: bool) {
            let (mut desk, chat) = desk(None);
            let bytes = if greets { [if wants_key { &b"/hello key "[..] } else { b"/hello " }, bytes.as_slice()].concat() } else { bytes };
            match desk.receive(path(9), &bytes, &chat, Micros(5), Micros(5)) {
                Verdict::Answer(answer) => prop_assert!(answer.len() <= bytes.len()),
                verdict => prop_assert_eq!(verdict, Verdict::Ignore),
            }
        }
    }
}
