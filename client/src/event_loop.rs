//! The main loop: passes typed and received lines to the session, and carries out what the session
//! asks for.

use crate::connector::{Connector, NetworkEvent};
use crate::conversation::{Config, Conversation, Outcome, Output};
use crate::options::Options;
use crate::transport::SendHalf;
use crate::ui::{Ui, UserInput, aside};
use crossbeam_channel::{Receiver, after, never, select};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Everything was sent and received.
const EXIT_DONE: i32 = 0;
/// The connection or the login was refused or lost.
const EXIT_FAILED: i32 = 1;

/// Runs the client to its end; returns the exit code.
pub fn run(options: &Options) -> i32 {
    let (person, typed) = match Ui::meet(options) {
        Ok(met) => met,
        Err(error) => {
            aside(&format!("cannot use the terminal: {error}"));
            return EXIT_FAILED;
        }
    };
    let config = Config {
        nick: options.nick.clone(),
        rooms: options.join.clone(),
        charset: options.charset,
        udp: options.udp,
        interactive: person.is_here(),
        // The input alone decides: a person who types `/msg bob secret` must not say it in public
        // because the output goes to a file.
        commands: options.commands || io::stdin().is_terminal(),
    };
    let (network, heard) = Connector::new(&options.address, options.udp);
    let mut talk = EventLoop {
        session: Conversation::new(config, Instant::now()),
        person,
        network,
        outgoing: None,
        unsent: Vec::new(),
        is_input_broken: false,
        is_unread: false,
    };
    let mut output = io::BufWriter::new(io::stdout());
    let ended = talk.until_the_end(&typed, &heard, &mut output);
    // What is still buffered for a reader who has gone has none.
    let parted = if talk.is_unread {
        std::mem::forget(output);
        Ok(())
    } else {
        talk.person.part(&mut output)
    };
    match ended.and_then(|ended| parted.map(|()| ended)) {
        Ok(Outcome::Done) if talk.is_input_broken => EXIT_FAILED,
        Ok(Outcome::Done) => EXIT_DONE,
        Ok(Outcome::Failed(why)) => {
            aside(&format!("{}: {why}", talk.network.address()));
            EXIT_FAILED
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_DONE,
        Err(error) => {
            aside(&format!("cannot write to standard output: {error}"));
            EXIT_FAILED
        }
    }
}

/// The conversation and whom it is between.
struct EventLoop {
    session: Conversation,
    person: Ui,
    network: Connector,
    outgoing: Option<SendHalf>,
    /// Lines that are sent together: the whole login at once, so that others see the arrival under
    /// the chosen name.
    unsent: Vec<Vec<u8>>,
    /// Standard input could not be read to its end.
    is_input_broken: bool,
    /// The reader of standard output has closed it.
    is_unread: bool,
}

impl EventLoop {
    fn until_the_end(
        &mut self,
        typed: &Receiver<UserInput>,
        heard: &Receiver<(u64, NetworkEvent)>,
        output: &mut impl Write,
    ) -> io::Result<Outcome> {
        let nobody = never();
        let mut has_input_ended = false;
        loop {
            match self.do_what_is_to_do(heard.is_empty(), output) {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(ended),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.is_unread => {
                    // What was read so far is still said, then it ends.
                    self.is_unread = true;
                    has_input_ended = true;
                    while let Ok(UserInput::Line(text)) = typed.try_recv() {
                        self.take(UserInput::Line(text));
                    }
                    self.take(UserInput::End);
                }
                Err(error) => return Err(error),
            }
            // A file is read as fast as its lines are accepted; a person is never kept waiting.
            let is_held_back = has_input_ended || !self.person.is_here() && self.session.is_full();
            let tick = self
                .session
                .next_timeout()
                .map_or_else(never, |at| after(at.saturating_duration_since(Instant::now())));
            select! {
                recv(if is_held_back { &nobody } else { typed }) -> typed => {
                    let typed = typed.unwrap_or(UserInput::End);
                    has_input_ended = !matches!(typed, UserInput::Line(_));
                    self.take(typed);
                }
                recv(heard) -> heard => match heard {
                    Ok((connection, news)) if connection == self.network.current() => self.hear(news),
                    _ => {}
                },
                recv(tick) -> _ => self.session.tick(Instant::now()),
            }
        }
    }

    /// Carries out everything that the session asks for. Returns how it ended, if it did.
    /// `is_all_heard`: no input is waiting, so buffered output is flushed.
    fn do_what_is_to_do(
        &mut self,
        is_all_heard: bool,
        output: &mut impl Write,
    ) -> io::Result<Option<Outcome>> {
        while let Some(next) = self.session.poll() {
            if let Some(ended) = self.carry_out(next, output)? {
                return Ok(Some(ended));
            }
        }
        self.send();
        self.person.keep_up(&mut self.session);
        if is_all_heard && !self.is_unread {
            output.flush()?;
        }
        Ok(None)
    }

    fn take(&mut self, typed: UserInput) {
        match typed {
            UserInput::Line(text) => {
                fail_on_purpose(&text);
                self.person.taken(&text);
                self.session.typed(&text, Instant::now());
            }
            UserInput::End => self.session.input_ended(Instant::now()),
            UserInput::Broken(error) => {
                aside(&format!("cannot read standard input: {error}"));
                self.is_input_broken = true;
                self.session.input_ended(Instant::now());
            }
        }
    }

    fn hear(&mut self, news: NetworkEvent) {
        match news {
            NetworkEvent::Connected(outgoing) => {
                self.outgoing = Some(outgoing);
                self.session.connected(Instant::now());
            }
            NetworkEvent::Line(line) => self.session.told(&line, Instant::now()),
            NetworkEvent::Lost(why) => {
                self.outgoing = None;
                self.session.lost(&why, Instant::now(), fastrand::f64());
            }
        }
    }

    fn send(&mut self) {
        let lines = std::mem::take(&mut self.unsent);
        if let Some(outgoing) = &self.outgoing {
            // The reading thread reports a lost connection, after the last lines received.
            let _ = outgoing.send(&lines);
        }
    }

    fn carry_out(&mut self, next: Output, output: &mut impl Write) -> io::Result<Option<Outcome>> {
        match next {
            Output::Send(line) => self.unsent.push(line),
            Output::Show(shown) if !self.is_unread => self.person.show(&shown, output)?,
            Output::Show(_) => {}
            Output::Connect => {
                if let Err(error) = self.network.connect() {
                    self.session.lost(&error.to_string(), Instant::now(), fastrand::f64());
                }
            }
            Output::Close => {
                self.send();
                self.outgoing.iter().for_each(SendHalf::close);
            }
            Output::End(ended) => return Ok(Some(ended)),
        }
        Ok(None)
    }
}

/// Lets a test see what a panic leaves behind. No release build has it.
#[cfg(debug_assertions)]
fn fail_on_purpose(text: &str) {
    assert!(
        std::env::var_os("FORKCHAT_CLIENT_PANICS_AT").is_none_or(|at| at != text),
        "panics on purpose at {text:?}"
    );
}
#[cfg(not(debug_assertions))]
fn fail_on_purpose(_: &str) {}
