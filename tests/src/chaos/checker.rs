//! The checker: compares every line that a client receives with what that client must receive next.
//! Any difference is a fault.
//!
//! ```text
//! line ─► split tags ─► a sender's line? ──► same bytes, right receiver? ─┐
//!                    ├► a join or leave? ────────────────────────────────┼─► its position in the room's transcript:
//!                    └► an answer? ──► the answer that is due next? ─────┘   the next one, or which fault?
//! ```
//!
//! It has no sockets, so its tests can feed it broken streams. [`super::faults`] counts and
//! describes the faults.

use super::faults::{Faults, Kind};
use super::listener::{Attendance, Listener, Pending, Reply};
use super::tags::{Tagged, key_in, number_of, split_tags, text, to_utf8, worker_of};
use super::transcript::{Entry, Transcript, What, read_move};
use super::voice::Voice;
use crate::load::payload::Payload;

/// Pending lines at which a listener counts as faulty, and not just as faster than the others.
const PENDING_MAX: usize = 200_000;
/// How far ahead to search for a presence line, or for a line received over UDP.
const LOOK_AHEAD: usize = 20_000;

/// All lines that were sent, and what each client received.
#[derive(Debug)]
pub struct Checker {
    payload: Payload,
    /// The senders.
    pub voices: Vec<Voice>,
    /// The lines sent to each room.
    pub transcripts: Vec<Transcript>,
    /// The receivers.
    pub listeners: Vec<Listener>,
    /// The faults found.
    pub faults: Faults,
    /// Whether the server is stopping, so that its goodbye is due.
    pub is_stopping: bool,
    /// By room: how long the transcript was at the last look, to find out whether it is stuck.
    looked_at: Vec<usize>,
}

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line of this voice, with its number.
    Said(u16, u32),
    /// The answer that was due.
    Reply(Reply),
    /// The answer to `/whoami`: the worker.
    Worker(usize),
    /// Over UDP: the server doesn't know us, and asks for a greeting.
    Cookie,
    /// Over UDP: the session's key.
    Key,
    /// Something else.
    Other,
}

impl Checker {
    /// A checker without clients, for lines of this many bytes.
    pub fn new(bytes: usize) -> Checker {
        Checker {
            payload: Payload::new(bytes),
            voices: Vec::new(),
            transcripts: Vec::new(),
            listeners: Vec::new(),
            faults: Faults::default(),
            is_stopping: false,
            looked_at: Vec::new(),
        }
    }

    /// A voice says its next line, which is appended to `bytes`.
    pub fn say(&mut self, voice: u16, now: u64, bytes: &mut Vec<u8>) {
        let number = self.voices[usize::from(voice)].say(now);
        self.payload.write(voice, number, bytes);
    }

    /// From now on this client must receive all lines to its room.
    pub fn begin(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        listener.attendance = Attendance::Inside;
        listener.start = Some(0);
    }

    /// A client received a line, here without its LF.
    pub fn hear(&mut self, index: usize, line: &[u8], now: u64) -> Heard {
        let listener = &self.listeners[index];
        if listener.is_udp && !key_in(line).is_empty() {
            return Heard::Key;
        }
        if listener.attendance == Attendance::Entering {
            return self.hear_at_login(index, line);
        }
        if listener.is_udp && line.starts_with(b"* /hello ") {
            return Heard::Cookie;
        }
        let Some(tagged) = (if listener.form.tags {
            split_tags(line)
        } else {
            Some(Tagged { prose: line, ..Tagged::default() })
        }) else {
            self.wrong(index, line, "a line with tags");
            return Heard::Other;
        };
        if let Some((prefix, voice, number)) = self.payload.read(tagged.prose) {
            if !self.is_for(index, &tagged, prefix, voice, number) {
                self.wrong(index, line, "a line for this client, unchanged");
                return Heard::Other;
            }
            self.note_ids(index, &tagged, true, line);
            self.place(index, What::Said(voice, number), tagged.stamp, now);
            return Heard::Said(voice, number);
        }
        self.hear_told(index, line, &tagged, now)
    }

    /// Whether the line was sent to the room of this listener, by a voice that it must receive,
    /// with these tags.
    fn is_for(
        &self,
        index: usize,
        tagged: &Tagged<'_>,
        prefix: &[u8],
        voice: u16,
        number: u32,
    ) -> bool {
        let (listener, charset) = (&self.listeners[index], self.listeners[index].form.charset);
        self.voices.get(usize::from(voice)).is_some_and(|said| {
            said.room == listener.room
                && number < said.sent
                && said.prefixes[charset] == prefix
                && (!listener.form.tags || said.tails[charset] == tagged.tail)
                && listener.is_told(What::Said(voice, number))
                && listener.attendance == Attendance::Inside
        })
    }

    fn hear_at_login(&mut self, index: usize, line: &[u8]) -> Heard {
        let prose = if line.starts_with(b"@") {
            split_tags(line).map_or(line, |tagged| tagged.prose)
        } else {
            line
        };
        let listener = &mut self.listeners[index];
        let room = self.transcripts[listener.room].room.as_bytes();
        match listener.replies.front() {
            Some(&reply) if reply.is(prose, room) => {
                listener.replies.pop_front();
                Heard::Reply(reply)
            }
            _ if prose.starts_with(b"* /hello ") => Heard::Cookie,
            _ => worker_of(prose).map_or(Heard::Other, Heard::Worker),
        }
    }

    /// A line from the server itself: an answer, a join or leave, or its goodbye.
    fn hear_told(&mut self, index: usize, line: &[u8], tagged: &Tagged<'_>, now: u64) -> Heard {
        let listener = &mut self.listeners[index];
        let transcript = &mut self.transcripts[listener.room];
        let room = transcript.room.as_bytes();
        let due = listener.replies.iter().position(|reply| reply.is(tagged.prose, room));
        if let Some(place) = due {
            let lost: Vec<Reply> = listener.replies.drain(..place).collect();
            let reply = listener.replies.pop_front().unwrap_or(Reply::Goodbye);
            match reply {
                Reply::Joined => {
                    (listener.attendance, listener.start) = (Attendance::Inside, None);
                    listener.visits += 1;
                }
                Reply::Left | Reply::Goodbye => self.leave(index),
                Reply::Pong(_) | Reply::TooLong => {}
            }
            for lost in lost {
                self.fault(index, Kind::Lost, |_| {
                    format!("the answer {lost:?} before {}", text(line))
                });
            }
            self.note_ids(index, tagged, false, line);
            return Heard::Reply(reply);
        }
        if self.is_stopping
            && !listener.is_parted
            && tagged.prose == b"* the server is stopping; goodbye"
        {
            listener.is_parted = true;
            return Heard::Other;
        }
        // Of the lobby, on the way in.
        if listener.attendance == Attendance::Outside && tagged.prose.starts_with(b"* ") {
            return Heard::Other;
        }
        let prose = to_utf8(tagged.prose, listener.form.charset);
        if listener.form.joins
            && listener.attendance == Attendance::Inside
            && read_move(&prose, room).is_some()
        {
            let what = transcript.presence(&prose);
            self.note_ids(index, tagged, true, line);
            self.place(index, what, tagged.stamp, now);
            return Heard::Other;
        }
        // An answer that came before.
        let is_again = tagged
            .prose
            .strip_prefix(b"* pong p")
            .and_then(number_of)
            .is_some_and(|number| number <= u64::from(listener.pings));
        if is_again {
            self.fault(index, Kind::Doubled, |_| {
                format!("an answer that it had already received: {}", text(line))
            });
        } else {
            self.wrong(index, line, "anything that this client may receive");
        }
        Heard::Other
    }

    /// A client has left the room or closed its connection. What was due before is checked when its
    /// exit is in the transcript.
    fn leave(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if listener.attendance == Attendance::Inside {
            listener.attendance = Attendance::Left;
        }
    }

    /// The server has dropped a client.
    pub fn drop_out(&mut self, index: usize, why: &str) {
        self.listeners[index].attendance = Attendance::Dropped;
        self.fault(index, Kind::Dropped, |_| why.to_owned());
    }

    /// Ids grow; only answers may have the same as what came before.
    fn note_ids(&mut self, index: usize, tagged: &Tagged<'_>, is_of_room: bool, line: &[u8]) {
        let listener = &mut self.listeners[index];
        if !listener.form.tags {
            return;
        }
        let latest = if is_of_room {
            listener.last_room_id.max(listener.last_id.saturating_sub(1))
        } else {
            listener.last_id.saturating_sub(1)
        };
        let grows = tagged.id > latest || listener.is_udp;
        listener.last_id = listener.last_id.max(tagged.id);
        if is_of_room {
            listener.last_room_id = listener.last_room_id.max(tagged.id);
        }
        if !grows {
            self.fault(index, Kind::Differing, |_| {
                format!("an id that is not after {latest}: {}", text(line))
            });
        }
    }

    /// Assigns a received line to its position in the transcript.
    fn place(&mut self, index: usize, what: What, stamp: u64, now: u64) {
        let listener = &mut self.listeners[index];
        listener.pending.push_back(Pending { what, stamp });
        if listener.pending.len() > PENDING_MAX {
            self.give_up_first(index);
        }
        self.follow(index, now);
    }

    /// Compares the pending lines of a listener with the transcript; a writer appends to it.
    pub fn follow(&mut self, index: usize, now: u64) {
        if !self.finds_start(index) {
            return;
        }
        while let Some(&Pending { what, stamp }) = self.listeners[index].pending.front() {
            let listener = &mut self.listeners[index];
            let transcript = &mut self.transcripts[listener.room];
            while transcript.get(listener.cursor).is_some_and(|entry| !listener.is_told(entry.what))
            {
                listener.cursor += 1;
            }
            let place = match transcript.get(listener.cursor) {
                Some(entry) if entry.what == what => listener.cursor,
                _ => match find(transcript, &self.voices, listener, what) {
                    Some(place) => place,
                    None if listener.is_writer()
                        && listener.cursor == transcript.length()
                        && is_next(&self.voices, what) =>
                    {
                        self.write(index, what, stamp, now)
                    }
                    None => break,
                },
            };
            self.listeners[index].pending.pop_front();
            self.tick_off(index, place, what, stamp);
        }
        self.end_visit(index);
    }

    /// A visitor receives the lines after its own join.
    fn finds_start(&mut self, index: usize) -> bool {
        let listener = &mut self.listeners[index];
        if listener.start.is_none() && listener.visits > 0 {
            listener.start = self.transcripts[listener.room]
                .entrance(listener.nick.as_bytes(), listener.visits - 1)
                .map(|entrance| entrance + 1);
            listener.cursor = listener.start.unwrap_or(0);
        }
        listener.start.is_some()
    }

    fn write(&mut self, index: usize, what: What, stamp: u64, now: u64) -> usize {
        let transcript = &mut self.transcripts[self.listeners[index].room];
        let place = transcript.length();
        let is_possible = transcript.write(what, stamp, index);
        match what {
            What::Said(voice, number) => {
                let said = &self.voices[usize::from(voice)];
                if said.is_udp && number < said.written {
                    let kind =
                        if said.place(number).is_some() { Kind::Doubled } else { Kind::Reordered };
                    let client = said.client;
                    self.fault(client, kind, |_| {
                        format!("its line number {number} came again or too late")
                    });
                }
                self.voices[usize::from(voice)].write(number, place, now);
            }
            What::Presence(number) if !is_possible => {
                let line = text(transcript.presence_text(number));
                self.fault(index, Kind::Doubled, |_| {
                    format!("joined twice, or left twice: {line}")
                });
            }
            What::Presence(_) => {}
        }
        place
    }

    fn tick_off(&mut self, index: usize, place: usize, what: What, stamp: u64) {
        let listener = &mut self.listeners[index];
        let transcript = &mut self.transcripts[listener.room];
        let (is_new, cursor) = (listener.tick_off(place), listener.cursor);
        if !transcript.stamp(place, stamp) {
            let by = transcript.get(place).map_or(0, |entry| entry.by);
            let why = |checker: &Checker| {
                format!(
                    "{} with another id or time than client {by} received",
                    checker.word(index, what)
                )
            };
            self.fault(index, Kind::Differing, why);
        }
        if place == cursor {
            self.listeners[index].cursor += 1;
        } else if place > cursor {
            self.listeners[index].cursor = place + 1;
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {}",
                    checker.word_place(index, cursor),
                    checker.word(index, what)
                )
            };
            // Counted when it is certain that what was jumped over doesn't come later.
            self.describe(index, Kind::Lost, why);
        } else if !is_new {
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {} again",
                    checker.word_place(index, cursor),
                    checker.word(index, what)
                )
            };
            self.fault(index, Kind::Doubled, why);
        } else {
            // After a later line of the same voice, or only of another voice.
            let is_overtaken = |&(voice, number): &(u16, u32)| {
                let said = &self.voices[usize::from(voice)];
                (number + 1..said.written)
                    .map_while(|number| said.place(number))
                    .take_while(|&place| place < cursor)
                    .any(|place| self.listeners[index].has_heard(place))
            };
            let said =
                if let What::Said(voice, number) = what { Some((voice, number)) } else { None };
            let kind = if said.as_ref().is_some_and(is_overtaken) {
                Kind::Reordered
            } else {
                Kind::Differing
            };
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {} too late",
                    checker.word_place(index, cursor),
                    checker.word(index, what)
                )
            };
            self.fault(index, kind, why);
        }
    }

    /// A visitor has left: once that is in the transcript, it must have received everything before.
    fn end_visit(&mut self, index: usize) {
        let listener = &self.listeners[index];
        if listener.attendance != Attendance::Left {
            return;
        }
        let exit =
            self.transcripts[listener.room].exit(listener.nick.as_bytes(), listener.visits - 1);
        if let Some((start, exit)) = listener.start.zip(exit) {
            self.close(index, start, exit);
            self.listeners[index].attendance = Attendance::Outside;
            self.listeners[index].pending.clear();
        }
    }

    /// Checks what a listener should have received in these positions.
    fn close(&mut self, index: usize, start: usize, end: usize) {
        let listener = &self.listeners[index];
        let entries = self.transcripts[listener.room].from(start);
        let due = (start..end).zip(entries).filter(|(_, entry)| listener.is_told(entry.what));
        let lost: Vec<(usize, Entry)> = due
            .filter(|&(place, _)| !listener.has_heard(place))
            .map(|(place, &entry)| (place, entry))
            .collect();
        let strange = if self.has_writers(listener.room) { listener.pending.len() } else { 0 };
        let first = listener.pending.front().copied();
        for (place, entry) in lost {
            self.fault(index, Kind::Lost, |checker| {
                let what = checker.word(index, entry.what);
                format!("it never received {what}, which client {} did (position {place} of {start} to {end})", entry.by)
            });
        }
        for _ in 0..strange {
            self.fault(index, Kind::Differing, |checker| {
                let what = first.map_or(String::new(), |first| checker.word(index, first.what));
                format!(
                    "it received {what}, which no other client did ({strange} lines from there on)"
                )
            });
        }
    }

    /// A client has closed its connection: what was due before must have arrived.
    pub fn end_connection(&mut self, index: usize) {
        for reply in std::mem::take(&mut self.listeners[index].replies) {
            self.fault(index, Kind::Lost, |_| {
                format!("the answer {reply:?} did not come before the end of the connection")
            });
        }
        self.leave(index);
    }

    /// The final checks, when no more lines will arrive.
    pub fn finish(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &self.listeners[index];
            if let (Attendance::Inside | Attendance::Left, Some(start)) =
                (listener.attendance, listener.start)
            {
                let end = self.transcripts[listener.room].length();
                self.close(index, start, end);
            }
            if self.listeners[index].attendance != Attendance::Dropped {
                for reply in std::mem::take(&mut self.listeners[index].replies) {
                    self.fault(index, Kind::Lost, |_| format!("the answer {reply:?} never came"));
                }
            }
        }
        for voice in 0..self.voices.len() {
            let (client, room) = (self.voices[voice].client, self.voices[voice].room);
            // Lines of a dropped connection may never have been accepted, and without a writer this
            // is unknown.
            if self.listeners[client].attendance == Attendance::Dropped || !self.has_writers(room) {
                continue;
            }
            for number in self.voices[voice].missing().collect::<Vec<_>>() {
                self.fault(client, Kind::Lost, |checker| {
                    format!(
                        "no client received {}",
                        checker.word(client, What::Said(voice as u16, number))
                    )
                });
            }
        }
    }

    /// The server has stopped: clients that were still connected must have received its goodbye.
    pub fn part(&mut self, there: &[usize]) {
        for &index in there {
            if !self.listeners[index].is_udp && !self.listeners[index].is_parted {
                self.miss(index, "it was not told that the server stops");
            }
        }
    }

    /// Something else that a client was due.
    pub fn miss(&mut self, index: usize, what: &str) {
        self.fault(index, Kind::Lost, |_| what.to_owned());
    }

    fn fault(&mut self, index: usize, kind: Kind, why: impl FnOnce(&Checker) -> String) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.note(&self.listeners[index], index, kind, || why(self));
        self.faults = faults;
    }

    /// Describes a fault that is counted when it is certain.
    fn describe(&mut self, index: usize, kind: Kind, why: impl FnOnce(&Checker) -> String) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.describe(&self.listeners[index], index, kind, || why(self));
        self.faults = faults;
    }

    /// Skips what blocks a transcript: a line that no client received, or only one. To be called
    /// from time to time.
    pub fn unstick(&mut self, now: u64) {
        self.looked_at.resize(self.transcripts.len(), usize::MAX);
        for room in 0..self.transcripts.len() {
            let length = self.transcripts[room].length();
            if std::mem::replace(&mut self.looked_at[room], length) != length {
                continue;
            }
            let waits = |listener: &Listener| {
                listener.room == room && !listener.pending.is_empty() && listener.start.is_some()
            };
            let stuck: Vec<usize> =
                (0..self.listeners.len()).filter(|&index| waits(&self.listeners[index])).collect();
            for index in stuck {
                self.follow(index, now);
                while let Some(&Pending { what, stamp }) = self.listeners[index].pending.front() {
                    let (listener, transcript) = (&self.listeners[index], &self.transcripts[room]);
                    if listener.cursor < transcript.length() && !listener.is_udp {
                        // It did not receive its next line, and no other client received this one.
                        self.give_up_first(index);
                    } else if listener.is_writer() {
                        self.write(index, what, stamp, now);
                    } else {
                        break;
                    }
                    self.follow(index, now);
                }
            }
        }
    }

    fn give_up_first(&mut self, index: usize) {
        let Some(first) = self.listeners[index].pending.pop_front() else { return };
        let cursor = self.listeners[index].cursor;
        let why = |checker: &Checker| {
            format!(
                "expected {}, got {}",
                checker.word_place(index, cursor),
                checker.word(index, first.what)
            )
        };
        self.fault(index, Kind::Differing, why);
    }

    /// Whether all connected clients have received all lines and all answers.
    pub fn is_quiet(&self) -> bool {
        let is_done = |listener: &Listener| {
            let entries = self.transcripts[listener.room].from(listener.cursor);
            let has_all = listener.pending.is_empty()
                && !entries.iter().any(|entry| listener.is_told(entry.what));
            listener.is_udp
                || match listener.attendance {
                    Attendance::Entering | Attendance::Outside => listener.replies.is_empty(),
                    Attendance::Inside => listener.replies.is_empty() && has_all,
                    Attendance::Left => false,
                    Attendance::Dropped => true,
                }
        };
        let is_heard = |voice: &Voice| {
            voice.is_udp
                || voice.sent == voice.written
                || self.listeners[voice.client].attendance == Attendance::Dropped
        };
        self.voices.iter().all(is_heard) && self.listeners.iter().all(is_done)
    }

    /// By room: how many lines its slowest TCP listener lags.
    pub fn lags(&self) -> Vec<usize> {
        let mut lags = vec![0; self.transcripts.len()];
        for listener in &self.listeners {
            if !listener.is_udp
                && listener.attendance == Attendance::Inside
                && listener.start.is_some()
            {
                let lag = self.transcripts[listener.room].length().saturating_sub(listener.cursor);
                lags[listener.room] = lag.max(lags[listener.room]);
            }
        }
        lags
    }

    fn has_writers(&self, room: usize) -> bool {
        self.listeners.iter().any(|listener| listener.room == room && listener.is_writer())
    }

    fn wrong(&mut self, index: usize, line: &[u8], expected: &str) {
        let cursor = self.listeners[index].cursor;
        let why = |checker: &Checker| {
            format!(
                "expected {expected}, next {}, got {}",
                checker.word_place(index, cursor),
                text(line)
            )
        };
        self.fault(index, Kind::Wrong, why);
    }

    fn word_place(&self, index: usize, mut place: usize) -> String {
        let (listener, transcript) =
            (&self.listeners[index], &self.transcripts[self.listeners[index].room]);
        while transcript.get(place).is_some_and(|entry| !listener.is_told(entry.what)) {
            place += 1;
        }
        transcript.get(place).map_or("nothing that anyone was told".into(), |entry| {
            let by = &self.listeners[entry.by].nick;
            format!(
                "{} (as {by}, client {}, was told first; place {place})",
                self.word(index, entry.what),
                entry.by
            )
        })
    }

    fn word(&self, index: usize, what: What) -> String {
        match what {
            What::Said(voice, number) => {
                let mut line = self.voices[usize::from(voice)].prefixes[0].clone();
                self.payload.write(voice, number, &mut line);
                line.pop();
                format!("{} (number {number})", text(&line))
            }
            What::Presence(number) => {
                text(self.transcripts[self.listeners[index].room].presence_text(number))
            }
        }
    }
}

/// Where something stands that is not the next.
fn find(
    transcript: &Transcript,
    voices: &[Voice],
    listener: &Listener,
    what: What,
) -> Option<usize> {
    let is_same = |entry: &Entry| entry.what == what;
    let ahead = || {
        let near = transcript.from(listener.cursor);
        near[..near.len().min(LOOK_AHEAD)].iter().position(is_same).map(|at| listener.cursor + at)
    };
    let What::Said(voice, number) = what else { return ahead() };
    let said = &voices[usize::from(voice)];
    let place = said.place(number)?;
    match (said.is_udp, listener.is_udp) {
        (false, _) => Some(place),
        // Such a line may have been doubled on its way to the server, and stand twice, or will.
        (true, false) => ahead(),
        (true, true) => ahead().or(Some(place)),
    }
}

/// Whether a line follows the last one of its voice, so that its receiver has missed none.
fn is_next(voices: &[Voice], what: What) -> bool {
    match what {
        What::Said(voice, number) => {
            let voice = &voices[usize::from(voice)];
            voice.is_udp || number == voice.written
        }
        What::Presence(_) => true,
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
