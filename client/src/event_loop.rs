//! The main loop: passes input from the user and the network to the conversation, and does what the
//! conversation asks for.

use crate::connector::{Connector, NetworkEvent};
use crate::conversation::{Config, Conversation, Outcome, Output};
use crate::options::Options;
use crate::transport::SendHalf;
use crate::ui::{Ui, UserInput, print_error};
use crossbeam_channel::{Receiver, after, never, select};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Every line was accepted.
const EXIT_DONE: i32 = 0;
/// The connection, the login or a line was refused or lost.
const EXIT_FAILED: i32 = 1;

/// Runs the client to its end. Returns the exit code.
pub fn run(options: &Options) -> i32 {
    let (ui, input) = match Ui::open(options) {
        Ok(opened) => opened,
        Err(error) => {
            print_error(&format!("cannot use the terminal: {error}"));
            return EXIT_FAILED;
        }
    };
    let config = Config {
        nick: options.nick.clone(),
        rooms: options.join.clone(),
        charset: options.charset,
        udp: options.udp,
        interactive: ui.is_interactive(),
        // Standard input alone decides: if a person types `/msg bob secret`, the client must not
        // say it in public because the output goes to a file.
        commands: options.commands || io::stdin().is_terminal(),
    };
    let (connector, network) = Connector::new(&options.address, options.udp);
    let mut event_loop = EventLoop {
        conversation: Conversation::new(config, Instant::now()),
        ui,
        connector,
        send_half: None,
        unsent: Vec::new(),
        has_input_failed: false,
        is_output_closed: false,
    };
    let mut output = io::BufWriter::new(io::stdout());
    let outcome = event_loop.run(&input, &network, &mut output);
    // Nothing reads what is still buffered.
    let closed = if event_loop.is_output_closed {
        std::mem::forget(output);
        Ok(())
    } else {
        event_loop.ui.close(&mut output)
    };
    match outcome.and_then(|outcome| closed.map(|()| outcome)) {
        Ok(Outcome::Done) if event_loop.has_input_failed => EXIT_FAILED,
        Ok(Outcome::Done) => EXIT_DONE,
        Ok(Outcome::Failed(why)) => {
            print_error(&format!("{}: {why}", event_loop.connector.address()));
            EXIT_FAILED
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_DONE,
        Err(error) => {
            print_error(&format!("cannot write to standard output: {error}"));
            EXIT_FAILED
        }
    }
}

struct EventLoop {
    conversation: Conversation,
    ui: Ui,
    connector: Connector,
    /// The sending side of the connection, if there is one.
    send_half: Option<SendHalf>,
    /// Lines that are sent together. The login goes out as one piece, so others see the user arrive
    /// under the chosen nickname.
    unsent: Vec<Vec<u8>>,
    /// Standard input could not be read to its end.
    has_input_failed: bool,
    /// The reader of standard output has closed it.
    is_output_closed: bool,
}

impl EventLoop {
    fn run(
        &mut self,
        input: &Receiver<UserInput>,
        network: &Receiver<(u64, NetworkEvent)>,
        output: &mut impl Write,
    ) -> io::Result<Outcome> {
        let no_input = never();
        let mut has_input_ended = false;
        loop {
            match self.process_outputs(network.is_empty(), output) {
                Ok(None) => {}
                Ok(Some(outcome)) => return Ok(outcome),
                Err(error)
                    if error.kind() == io::ErrorKind::BrokenPipe && !self.is_output_closed =>
                {
                    // The client still sends what it has read so far. Then it ends.
                    self.is_output_closed = true;
                    has_input_ended = true;
                    while let Ok(UserInput::Line(text)) = input.try_recv() {
                        self.handle_input(UserInput::Line(text));
                    }
                    self.handle_input(UserInput::End);
                }
                Err(error) => return Err(error),
            }
            // A file is read as fast as the server accepts its lines. A person never has to wait.
            let is_input_paused =
                has_input_ended || !self.ui.is_interactive() && self.conversation.is_queue_full();
            let timeout = self
                .conversation
                .next_timeout()
                .map_or_else(never, |at| after(at.saturating_duration_since(Instant::now())));
            select! {
                recv(if is_input_paused { &no_input } else { input }) -> received => {
                    let received = received.unwrap_or(UserInput::End);
                    has_input_ended = !matches!(received, UserInput::Line(_));
                    self.handle_input(received);
                }
                recv(network) -> received => match received {
                    Ok((connection, event)) if connection == self.connector.current() => {
                        self.handle_network(event)
                    }
                    _ => {}
                },
                recv(timeout) -> _ => self.conversation.handle_timeout(Instant::now()),
            }
        }
    }

    /// Does everything that the conversation asks for. Returns its outcome if it has ended.
    /// `is_idle`: no line from the network is waiting, so the output is flushed.
    fn process_outputs(
        &mut self,
        is_idle: bool,
        output: &mut impl Write,
    ) -> io::Result<Option<Outcome>> {
        while let Some(next) = self.conversation.poll() {
            if let Some(outcome) = self.process(next, output)? {
                return Ok(Some(outcome));
            }
        }
        self.send();
        self.ui.refresh(&mut self.conversation);
        if is_idle && !self.is_output_closed {
            output.flush()?;
        }
        Ok(None)
    }

    fn process(&mut self, next: Output, output: &mut impl Write) -> io::Result<Option<Outcome>> {
        match next {
            Output::Send(line) => self.unsent.push(line),
            Output::Show(entry) if !self.is_output_closed => self.ui.show(&entry, output)?,
            Output::Show(_) => {}
            Output::Connect => {
                if let Err(error) = self.connector.connect() {
                    self.handle_disconnected(&error.to_string());
                }
            }
            Output::Close => {
                self.send();
                self.send_half.iter().for_each(SendHalf::close);
            }
            Output::End(outcome) => return Ok(Some(outcome)),
        }
        Ok(None)
    }

    fn handle_input(&mut self, input: UserInput) {
        match input {
            UserInput::Line(text) => {
                panic_for_test(&text);
                self.ui.line_processed(&text);
                self.conversation.handle_typed(&text, Instant::now());
            }
            UserInput::End => self.conversation.handle_input_end(Instant::now()),
            UserInput::Failed(error) => {
                print_error(&format!("cannot read standard input: {error}"));
                self.has_input_failed = true;
                self.conversation.handle_input_end(Instant::now());
            }
        }
    }

    fn handle_network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Connected(send_half) => {
                self.send_half = Some(send_half);
                self.conversation.handle_connected(Instant::now());
            }
            NetworkEvent::Line(line) => self.conversation.handle_line(&line, Instant::now()),
            NetworkEvent::Disconnected(why) => {
                self.send_half = None;
                self.handle_disconnected(&why);
            }
        }
    }

    fn handle_disconnected(&mut self, why: &str) {
        self.conversation.handle_disconnected(why, Instant::now(), fastrand::f64());
    }

    fn send(&mut self) {
        let lines = std::mem::take(&mut self.unsent);
        if let Some(send_half) = &self.send_half {
            // The network thread reports a lost connection, after the last lines received.
            let _ = send_half.send(&lines);
        }
    }
}

/// Panics at a line that a test has chosen, to show that a panic restores the terminal. Release
/// builds do not contain it.
#[cfg(debug_assertions)]
fn panic_for_test(text: &str) {
    assert!(
        std::env::var_os("FORKCHAT_CLIENT_PANICS_AT").is_none_or(|at| at != text),
        "panics on purpose at {text:?}"
    );
}
#[cfg(not(debug_assertions))]
fn panic_for_test(_: &str) {}
