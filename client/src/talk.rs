//! The threads, and the loop that joins them: what was typed and told goes into the session, what the session says is done.

use crate::complete::Words;
use crate::editor::{LineEditor, Typed};
use crate::link::{self, Outgoing};
use crate::look::{self, TerminalLook};
use crate::options::Options;
use crate::screen::Screen;
use crate::session::{self, Ended, Output, Session, Shown, Wishes};
use crate::terminal::Terminal;
use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use forkchat_common::charset::Charset;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Everything was said and heard.
const EXIT_DONE: i32 = 0;
/// The connection or the login was refused or lost.
const EXIT_FAILED: i32 = 1;

/// Lines that wait for the loop: whoever is faster than it is held back.
const QUEUE: usize = 256;
/// A line on standard input is read up to so many bytes more than the server takes: enough to see that it is too long.
const INPUT_LINE_BYTES_MAX: usize = 1024 * 1024;

/// What the person did.
enum FromPerson {
    Line(String),
    End,
}

/// What became of a connection. Each has a number; what comes from one that was closed is old.
enum FromNetwork {
    Connected(Outgoing),
    Line(Vec<u8>),
    Lost(String),
}

/// Runs the client to its end; returns the exit code.
pub fn run(options: &Options) -> i32 {
    match Person::meet(options) {
        Ok((person, typed)) => Talk::new(options, person).run(&typed),
        Err(error) => {
            eprintln!("forkchat-client: cannot use the terminal: {error}");
            EXIT_FAILED
        }
    }
}

/// Whoever reads what is shown.
enum Person {
    /// At a terminal that lines can be edited on.
    Here { screen: Arc<Screen>, terminal: Terminal, look: Box<TerminalLook>, words: Arc<Mutex<Words>> },
    /// At the other end of a pipe, or at a terminal that is written to like one.
    Elsewhere { format: fn(&crate::session::Told) -> String, charset: Charset, is_terminal: bool },
}

impl Person {
    /// Starts the thread that reads the person.
    fn meet(options: &Options) -> io::Result<(Person, Receiver<FromPerson>)> {
        let (typed, queue) = bounded(QUEUE);
        let can_edit =
            io::stdin().is_terminal() && io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let name = std::thread::Builder::new().name("person".to_owned());
        if options.json || !can_edit {
            let charset = options.charset;
            name.spawn(move || read_lines(io::stdin().lock(), charset, &typed))?;
            // JSON is UTF-8 (RFC 8259, section 8.1).
            let charset = if options.json { Charset::default() } else { charset };
            let format = if options.json { look::json } else { look::plain };
            return Ok((Person::Elsewhere { format, charset, is_terminal: io::stdout().is_terminal() }, queue));
        }
        let has_colors = options.color.is_used(std::env::var_os("NO_COLOR").as_deref());
        let terminal = Terminal::take()?;
        let words = Arc::new(Mutex::new(Words::default()));
        let editor = LineEditor::new(words.clone(), has_colors).map_err(io::Error::other)?;
        let screen = editor.screen();
        let look = Box::new(TerminalLook::new(has_colors, !options.no_bell, TimeZone::system()));
        name.spawn(move || edit_lines(editor, &typed))?;
        Ok((Person::Here { screen, terminal, look, words }, queue))
    }

    fn is_here(&self) -> bool {
        matches!(self, Person::Here { .. })
    }

    /// Shows something, at once or with [`Person::flush`].
    fn show(&mut self, shown: &Shown, output: &mut impl Write) -> io::Result<()> {
        match self {
            Person::Here { screen, look, .. } => screen.show(&look.render(shown, Timestamp::now())),
            Person::Elsewhere { format, charset, is_terminal } => match shown {
                Shown::Told(told) => {
                    let mut line = format(told);
                    if *is_terminal {
                        line = crate::defuse::defuse(line.trim_end_matches('\n')) + "\n";
                    }
                    let mut bytes = Vec::new();
                    charset.encode(&line, &mut bytes);
                    output.write_all(&bytes)?;
                }
                own => look::remark(own).iter().for_each(|remark| eprintln!("forkchat-client: {remark}")),
            },
        }
        Ok(())
    }

    /// Brings what stands around the lines up to date.
    fn keep_up(&mut self, session: &mut Session) {
        let Person::Here { screen, look, words, .. } = self else { return };
        look.own_nick(session.nick());
        let room = crate::defuse::defuse(session.room().unwrap_or_default());
        let label = if session.is_offline() { "(offline)" } else { &room };
        screen.prompt(label, session.is_moving());
        if let Some((nicks, rooms)) = session.words() {
            *words.lock().unwrap_or_else(PoisonError::into_inner) = Words { nicks, rooms };
        }
    }

    /// Gives the terminal back, with everything shown.
    fn part(self, output: &mut impl Write) -> io::Result<()> {
        if let Person::Here { screen, terminal, .. } = self {
            let rows = screen.close();
            // The prompt goes; what was typed behind it was never sent.
            write!(output, "\r\x1b[J{rows}")?;
            output.flush()?;
            drop(terminal);
        }
        output.flush()
    }
}

/// The conversation and what it is carried on with.
struct Talk {
    address: String,
    udp: bool,
    session: Session,
    person: Person,
    network: (Sender<(u64, FromNetwork)>, Receiver<(u64, FromNetwork)>),
    /// The number of the connection that counts.
    connection: u64,
    outgoing: Option<Outgoing>,
}

impl Talk {
    fn new(options: &Options, person: Person) -> Talk {
        let wishes = Wishes {
            nick: options.nick.clone(),
            rooms: options.join.clone(),
            charset: options.charset,
            udp: options.udp,
            interactive: person.is_here(),
        };
        let session = Session::new(wishes, Instant::now());
        Talk { address: options.address.clone(), udp: options.udp, session, person, network: bounded(QUEUE), connection: 0, outgoing: None }
    }

    fn run(mut self, typed: &Receiver<FromPerson>) -> i32 {
        let mut output = io::BufWriter::new(io::stdout());
        let ended = self.until_the_end(typed, &mut output);
        let parted = self.person.part(&mut output);
        match ended.and_then(|ended| parted.map(|()| ended)) {
            Ok(Ended::Done) => EXIT_DONE,
            // Whoever read what we print has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // What is still buffered has no reader: it must not be tried again.
                std::mem::forget(output);
                EXIT_DONE
            }
            Ok(Ended::Failed(why)) => {
                eprintln!("forkchat-client: {}: {why}", self.address);
                EXIT_FAILED
            }
            Err(error) => {
                eprintln!("forkchat-client: standard output: {error}");
                EXIT_FAILED
            }
        }
    }

    fn until_the_end(&mut self, typed: &Receiver<FromPerson>, output: &mut impl Write) -> io::Result<Ended> {
        let (nobody, no_news) = (never(), self.network.1.clone());
        let mut has_ended_input = false;
        loop {
            while let Some(next) = self.session.poll() {
                if let Some(ended) = self.carry_out(next, output)? {
                    return Ok(ended);
                }
            }
            self.person.keep_up(&mut self.session);
            if no_news.is_empty() {
                output.flush()?;
            }
            // A file is read as fast as its lines are accepted; a person is never kept waiting.
            let is_held_back = has_ended_input || !self.person.is_here() && self.session.is_full();
            let typed = if is_held_back { &nobody } else { typed };
            let tick = self.session.next_tick().map_or_else(never, |at| after(at.saturating_duration_since(Instant::now())));
            select! {
                recv(typed) -> typed => match typed {
                    Ok(FromPerson::Line(text)) => {
                        fail_on_purpose(&text);
                        self.session.typed(&text, Instant::now());
                    }
                    Ok(FromPerson::End) | Err(_) => {
                        has_ended_input = !self.person.is_here() || typed.is_err();
                        self.session.input_ended(Instant::now());
                    }
                },
                recv(no_news) -> news => match news {
                    Ok((connection, news)) if connection == self.connection => self.hear(news),
                    _ => {}
                },
                recv(tick) -> _ => self.session.tick(Instant::now()),
            }
        }
    }

    fn hear(&mut self, news: FromNetwork) {
        match news {
            FromNetwork::Connected(outgoing) => {
                self.outgoing = Some(outgoing);
                self.session.connected(Instant::now());
            }
            FromNetwork::Line(line) => self.session.told(&line, Instant::now()),
            FromNetwork::Lost(why) => {
                self.outgoing = None;
                self.session.lost(&why, Instant::now(), fastrand::f64());
            }
        }
    }

    fn carry_out(&mut self, output: Output, to: &mut impl Write) -> io::Result<Option<Ended>> {
        match output {
            Output::Send(line) => {
                // A connection that is lost is told of by the thread that reads it, behind what was still heard.
                if let Some(Err(error)) = self.outgoing.as_ref().map(|outgoing| outgoing.send(&line))
                    && error.kind() == io::ErrorKind::ConnectionRefused
                {
                    self.close();
                }
            }
            Output::Show(shown) => self.person.show(&shown, to)?,
            Output::Connect => {
                self.connection += 1;
                let (number, address, udp, news) = (self.connection, self.address.clone(), self.udp, self.network.0.clone());
                std::thread::Builder::new().name("network".to_owned()).spawn(move || read_network(number, &address, udp, &news))?;
            }
            Output::Close => self.close(),
            Output::End(ended) => return Ok(Some(ended)),
        }
        Ok(None)
    }

    fn close(&self) {
        if let Some(outgoing) = &self.outgoing {
            outgoing.close();
        }
    }
}

/// The thread that reads the network, for one connection.
fn read_network(number: u64, address: &str, udp: bool, news: &Sender<(u64, FromNetwork)>) {
    let tell = |one: FromNetwork| news.send((number, one)).is_ok();
    let why = match link::connect(address, udp) {
        Ok((outgoing, mut incoming)) => {
            if !tell(FromNetwork::Connected(outgoing)) {
                return;
            }
            loop {
                match incoming.receive(|line| tell(FromNetwork::Line(line.to_vec()))) {
                    Ok(true) => {}
                    Ok(false) => break "the server closed it".to_owned(),
                    Err(error) => break error.to_string(),
                }
            }
        }
        Err(error) => error.to_string(),
    };
    tell(FromNetwork::Lost(why));
}

/// The thread that reads a person at a terminal.
fn edit_lines(mut editor: LineEditor, queue: &Sender<FromPerson>) {
    loop {
        let is_gone = match editor.read() {
            Typed::Lines(lines) => {
                if lines.iter().any(|line| session::moves(line)) {
                    editor.screen().moves();
                }
                lines.into_iter().any(|line| queue.send(FromPerson::Line(line)).is_err())
            }
            Typed::End => queue.send(FromPerson::End).is_err(),
        };
        if is_gone {
            return;
        }
    }
}

/// The thread that reads a person elsewhere: a file, a pipe.
fn read_lines(mut source: impl BufRead, charset: Charset, queue: &Sender<FromPerson>) {
    loop {
        let mut bytes = Vec::new();
        let limit = u64::try_from(INPUT_LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut source, limit).read_until(b'\n', &mut bytes);
        if !matches!(read, Ok(1..)) {
            // An error is an end, too: nothing more can be read.
            let _ = queue.send(FromPerson::End);
            return;
        }
        let mut text = String::new();
        charset.decode(&bytes, &mut text);
        if queue.send(FromPerson::Line(text)).is_err() {
            return;
        }
    }
}

/// Lets a test see what a panic leaves behind. No release build has it.
#[cfg(debug_assertions)]
fn fail_on_purpose(text: &str) {
    assert!(std::env::var_os("FORKCHAT_CLIENT_PANICS_AT").is_none_or(|at| at != text), "panics on purpose at {text:?}");
}
#[cfg(not(debug_assertions))]
fn fail_on_purpose(_: &str) {}
