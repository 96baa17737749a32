//! UDP sessions: who may have one, and whose a datagram is. Worker 0 keeps them all.
//!
//! A stranger is answered with a cookie, a keyed hash of its address and the time, and only if it sent at least as many bytes as the answer
//! has: so no state is kept for it, and nobody can have the chat sent to somebody else's address. `/hello COOKIE` from that address
//! proves that it receives what is sent there, and opens a session.

use crate::admission::{Admission, Refused};
use crate::chat::{Chat, Fact, Record, Session, Transport};
use crate::event_log::Batch;
use crate::ipc::value::Value;
use crate::replica::push_fact;
use forkchat_common::ids::{Micros, SessionId, Slot};
use forkchat_common::limits::{LINES_PER_DATAGRAM_MAX, RATE_BURST_LINES, UDP_SILENCE_SECONDS_MAX};
use forkchat_common::lines::{Piece, cut};
use siphasher::sip::SipHasher24;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::{ControlFlow, Range};

/// A cookie is good for this long at least, and twice that at most.
const COOKIE_PERIOD: u64 = 60 * Micros::SECOND;

/// What the supervisor gives to the worker that keeps the UDP sessions.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The cookies' key, made when the server starts.
    pub cookie_key: [u8; 16],
    /// Cells that are for UDP sessions.
    pub cells: Range<usize>,
    /// Who may come in.
    pub admission: Admission,
    /// Datagrams that were dropped because their sender sends too much.
    pub dropped: Value,
}

/// The UDP sessions, as their worker knows them.
#[derive(Debug)]
pub struct UdpDesk {
    me: Slot,
    config: UdpConfig,
    known: HashMap<SocketAddr, Known>,
    peers: HashMap<SessionId, SocketAddr>,
    free: BTreeSet<usize>,
    serial: u64,
}

#[derive(Debug)]
struct Known {
    session: SessionId,
    /// Input lines so far: a datagram has no offset of its own.
    lines: u64,
    /// Lines of those that are on their way to the log.
    unapplied: u64,
    /// When a datagram last came, by the time since the machine started: the log's clock may make a step.
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

impl UdpDesk {
    /// A desk with the sessions that are open, which a predecessor let in. In `taken` cells one that is over still has something to be sent.
    /// `uptime` is the machine's time.
    pub fn take_over(me: Slot, mut config: UdpConfig, chat: &Chat, taken: impl Fn(usize) -> bool, uptime: Micros) -> UdpDesk {
        let open: Vec<&Session> = chat.sessions_of(me).filter(|session| session.transport == Transport::Udp).collect();
        config.admission.take_over(open.iter().map(|session| session.peer.ip()));
        let is_free = |cell: &usize| !taken(*cell) && open.iter().all(|session| session.id.cell() != *cell);
        let free = config.cells.clone().filter(is_free).collect();
        // How long each has been silent before is not known here; it is given the whole time again.
        let known =
            |session: &&Session| (session.peer, Known { session: session.id, lines: session.input_end, unapplied: 0, heard: uptime });
        UdpDesk {
            me,
            config,
            known: open.iter().map(known).collect(),
            peers: open.iter().map(|session| (session.id, session.peer)).collect(),
            free,
            serial: chat.udp_serial(),
        }
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// What to do about a datagram. `now` is the log's time, `uptime` the machine's.
    pub fn receive(&mut self, peer: SocketAddr, bytes: &[u8], chat: &Chat, now: Micros, uptime: Micros) -> Verdict {
        if let Some(known) = self.known.get_mut(&peer) {
            known.heard = uptime;
            // Its greeting may still be on its way to the log.
            let is_opening = !chat.was_opened(known.session);
            let allowed = if is_opening { RATE_BURST_LINES } else { chat.budget(known.session, now) };
            let allowed = allowed.saturating_sub(known.unapplied).min(LINES_PER_DATAGRAM_MAX);
            let mut batch = Batch::default();
            let before = known.lines;
            let is_whole = push_lines(known.session, bytes, &mut known.lines, allowed, &mut batch);
            if !is_whole {
                let dropped = self.config.dropped.increase(1);
                log::debug!("dropped a datagram of {peer}, or its last lines: too many; {dropped} so far");
            }
            let lines = known.lines - before;
            known.unapplied += lines;
            return if batch.is_empty() { Verdict::Ignore } else { Verdict::Lines(known.session, batch, lines) };
        }
        match self.greeting(peer, bytes, now) {
            Some(rest) => self.open(peer, &bytes[rest..], uptime).unwrap_or_else(|refused| answer(bytes, refused.short_line())),
            None => answer(bytes, &format!("* /hello {}\n", self.cookie(peer, now.0 / COOKIE_PERIOD))),
        }
    }

    /// The session that an address has, if any, and how far its input has come.
    pub fn place_of(&self, peer: SocketAddr) -> (SessionId, u64) {
        self.known.get(&peer).map_or((SessionId::NONE, 0), |known| (known.session, known.lines))
    }

    /// So many of a session's lines have been applied.
    pub fn applied(&mut self, session: SessionId, lines: u64) {
        if let Some(known) = self.peers.get(&session).and_then(|peer| self.known.get_mut(peer)) {
            known.unapplied -= lines;
        }
    }

    /// A session is over, and all that it was told is sent. False if it wasn't one over UDP.
    pub fn close(&mut self, session: SessionId) -> bool {
        if !self.config.cells.contains(&session.cell()) {
            return false;
        }
        // One that was over before this process began is not known here, and counts no more.
        if let Some(peer) = self.peers.remove(&session) {
            self.known.remove(&peer);
            self.config.admission.release(peer.ip());
        }
        self.free.insert(session.cell());
        true
    }

    /// Those of whom nothing was heard for too long, with the time they were heard.
    pub fn silent(&self, chat: &Chat, uptime: Micros) -> Vec<(SessionId, Micros)> {
        let is_silent = |known: &&Known| uptime.since(known.heard) > UDP_SILENCE_SECONDS_MAX * Micros::SECOND;
        let open = self.known.values().filter(is_silent).filter_map(|known| chat.session(known.session));
        let mut silent: Vec<_> = open.map(|session| (session.id, session.last_heard)).collect();
        silent.sort_unstable();
        silent
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// If the datagram begins with a good `/hello COOKIE`: where the next line begins.
    fn greeting(&self, peer: SocketAddr, bytes: &[u8], now: Micros) -> Option<usize> {
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let cookie = std::str::from_utf8(&bytes[..end]).ok()?.trim_end().strip_prefix("/hello ")?.trim();
        let period = now.0 / COOKIE_PERIOD;
        let is_good = [period, period.saturating_sub(1)].into_iter().any(|period| self.cookie(peer, period) == cookie);
        is_good.then_some((end + 1).min(bytes.len()))
    }

    fn open(&mut self, peer: SocketAddr, rest: &[u8], uptime: Micros) -> Result<Verdict, Refused> {
        let cell = self.free.first().copied().ok_or(Refused::Full)?;
        self.config.admission.admit(peer.ip(), uptime)?;
        self.free.remove(&cell);
        self.serial += 1;
        let session = SessionId::new(self.serial, cell);
        let mut batch = Batch::default();
        let opened = Fact::Opened { slot: self.me, transport: Transport::Udp, peer };
        push_fact(&mut batch, session, opened);
        let mut lines = 0;
        push_lines(session, rest, &mut lines, LINES_PER_DATAGRAM_MAX, &mut batch);
        push_fact(&mut batch, session, Fact::Arrived);
        self.known.insert(peer, Known { session, lines, unapplied: 0, heard: uptime });
        self.peers.insert(session, peer);
        Ok(Verdict::Open(session, batch))
    }

    /// 64 bits as 13 characters that can be read aloud and typed.
    fn cookie(&self, peer: SocketAddr, period: u64) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.config.cookie_key);
        match peer.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(peer.port());
        hasher.write_u64(period);
        let hash = hasher.finish();
        (0..13).map(|digit| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[(hash >> (digit * 5) & 31) as usize])).collect()
    }
}

/// One who has no session is never sent more than it sent.
fn answer(datagram: &[u8], line: &str) -> Verdict {
    if line.len() <= datagram.len() { Verdict::Answer(line.into()) } else { Verdict::Ignore }
}

/// Adds records of a datagram's lines, at most `max`, and counts them in `lines`. False if there were more.
fn push_lines(session: SessionId, bytes: &[u8], lines: &mut u64, max: u64, batch: &mut Batch) -> bool {
    let mut push = |fact| {
        *lines += 1;
        batch.push(|payload| Record { session, input_end: *lines, fact }.encode(payload));
    };
    let cut = cut(bytes, false, true, max as usize, |piece, _| {
        push(match piece {
            Piece::Line(line) => Fact::Line(line),
            Piece::LongLineBegins => Fact::LongLineBegins,
            Piece::LongLineEnds => Fact::LongLineEnds,
        });
        ControlFlow::Continue(())
    });
    cut.committed + cut.skipped == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RateLimit;
    use crate::worker::fakes::{peer, udp_config};
    use proptest::prelude::*;

    fn desk(per_address_max: Option<u32>) -> (UdpDesk, Chat) {
        let chat = Chat::new(RateLimit::OFF);
        (UdpDesk::take_over(Slot(0), udp_config(10..20, per_address_max), &chat, |_| false, Micros(0)), chat)
    }

    fn hello(desk: &mut UdpDesk, chat: &Chat, port: u16, now: Micros) -> Verdict {
        let Verdict::Answer(answer) = desk.receive(peer(port), &[b'x'; 30], chat, now, now) else { panic!("a long datagram is answered") };
        let cookie = String::from_utf8(answer).unwrap();
        desk.receive(peer(port), cookie.trim_start_matches("* ").trim_end().as_bytes(), chat, now, now)
    }

    #[test]
    fn a_cookie_opens_a_session_for_its_address_only_and_not_for_ever() {
        let (mut desk, chat) = desk(None);
        let start = Micros(COOKIE_PERIOD * 1_000);
        assert!(matches!(hello(&mut desk, &chat, 1, start), Verdict::Open(session, _) if session.cell() == 10));
        let cookie = desk.cookie(peer(2), 1_000);
        let greeting = format!("/hello {cookie}\n/nick udp\n");
        assert!(matches!(desk.receive(peer(3), greeting.as_bytes(), &chat, start, start), Verdict::Answer(_)), "another address");
        let late = start.plus(COOKIE_PERIOD * 2);
        assert!(matches!(desk.receive(peer(2), greeting.as_bytes(), &chat, late, late), Verdict::Answer(_)), "too late");
        assert!(matches!(desk.receive(peer(2), greeting.as_bytes(), &chat, start.plus(COOKIE_PERIOD), start), Verdict::Open(..)));
    }

    #[test]
    fn sessions_are_bounded_in_all_and_per_address_and_given_back() {
        let (mut desk, chat) = desk(Some(2));
        let opened: Vec<_> = (0..2).map(|port| hello(&mut desk, &chat, port, Micros(0))).collect();
        assert_eq!(hello(&mut desk, &chat, 2, Micros(0)), Verdict::Answer(Refused::TooManyFromAddress.short_line().into()));
        let Verdict::Open(first, _) = opened[0] else { panic!("opened") };
        desk.close(first);
        assert!(
            matches!(hello(&mut desk, &chat, 3, Micros(0)), Verdict::Open(session, _) if session.cell() == first.cell() && session != first)
        );
        let elsewhere = [10, 0, 0, 1].into();
        assert_eq!([(); 2].map(|()| desk.config.admission.admit(elsewhere, Micros(0))), [Ok(()), Err(Refused::Full)]);
    }

    #[test]
    fn the_cell_of_one_who_is_over_is_given_again_only_when_what_it_was_told_is_sent() {
        let chat = Chat::new(RateLimit::OFF);
        let mut desk = UdpDesk::take_over(Slot(0), udp_config(10..12, None), &chat, |cell| cell == 10, Micros(0));
        assert!(matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(session, _) if session.cell() == 11));
        assert_eq!(hello(&mut desk, &chat, 2, Micros(0)), Verdict::Answer(Refused::Full.short_line().into()));
        assert!(desk.close(SessionId::new(1, 10)), "it was over before the desk was made, so only its cell is known");
        assert!(matches!(hello(&mut desk, &chat, 2, Micros(0)), Verdict::Open(session, _) if session.cell() == 10));
        assert_eq!(desk.count(), 2);
    }

    #[test]
    fn what_comes_right_behind_the_greeting_counts() {
        let (mut desk, chat) = desk(None);
        assert!(matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(..)));
        let behind = desk.receive(peer(1), b"/nick udp\nhi\n", &chat, Micros(0), Micros(0));
        assert!(matches!(behind, Verdict::Lines(_, _, 2)), "{behind:?}");
    }

    proptest! {
        #[test]
        fn a_stranger_is_never_answered_with_more_than_it_sent(bytes in prop::collection::vec(any::<u8>(), 0..60), greets: bool) {
            let (mut desk, chat) = desk(None);
            let bytes = if greets { [b"/hello ", bytes.as_slice()].concat() } else { bytes };
            match desk.receive(peer(9), &bytes, &chat, Micros(5), Micros(5)) {
                Verdict::Answer(answer) => prop_assert!(answer.len() <= bytes.len()),
                verdict => prop_assert_eq!(verdict, Verdict::Ignore),
            }
        }
    }
}
