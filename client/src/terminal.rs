//! The terminal's modes: set at the start, restored however the program ends.
//!
//! While the program runs, the terminal neither echoes nor edits input, and keys send no signals.
//! This also holds between two lines, when the editor has restored the modes: input typed or pasted
//! at that moment waits for the next line, and the kernel does not echo it onto the screen.
//! Bracketed paste is on all the time, so that a paste is one also between two lines: what is pasted
//! there must not be taken for commands that were typed. Source: termios(3).

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

/// As the terminal was when it was taken; `None` before.
static TAKEN: Mutex<Option<Termios>> = Mutex::new(None);

/// Makes the thread that edits stand still, so that it takes no terminal again that was given back.
static STAND_STILL: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// A terminal that takes nothing is written to for so long, in milliseconds.
const STALLED: u8 = 200;

/// The terminal says where a paste begins and ends.
const BRACKETED_PASTE_ON: &[u8] = b"\x1b[?2004h";

/// Bracketed paste and a synchronised update off, the cursor shown, no style.
const SOFT_MODES_OFF: &[u8] = b"\x1b[?2004l\x1b[?2026l\x1b[?25h\x1b[0m";

/// The terminal, until it is dropped. A panic, on whatever thread, and the signals that end a program give it back too.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Takes the terminal that is standard input. From then on a panic ends the program.
    ///
    /// # Errors
    /// Those of a standard input that is no terminal.
    pub fn take() -> io::Result<Terminal> {
        let modes = tcgetattr(io::stdin())?;
        quiet(&modes)?;
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
        // From here on an error gives it back.
        let terminal = Terminal(());
        // Before the signals' thread is there, which may give it back at any moment.
        write(BRACKETED_PASTE_ON);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
            // The other threads would go on without the one that failed.
            std::process::exit(101);
        }));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
        let name = std::thread::Builder::new().name("signals".to_owned());
        name.spawn(move || {
            for signal in signals.forever() {
                give_back();
                // Ends the program as the signal would have, so that its parent sees which one.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        })?;
        Ok(terminal)
    }
}

/// Says what makes the thread that edits stand still. It is called once, before the terminal is given back; it must return, whatever lock is held.
pub fn on_giving_back(stand_still: impl Fn() + Send + Sync + 'static) {
    // A second one has nothing to add.
    let _ = STAND_STILL.set(Box::new(stand_still));
}

fn give_back() {
    if let Some(stand_still) = STAND_STILL.get() {
        stand_still();
    }
    restore();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// The window's columns and rows; 0 if unknown.
pub fn size() -> (usize, usize) {
    tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Stops the program, as Ctrl-Z does everywhere, with the terminal as it was; takes it again when it goes on.
pub fn suspend() {
    let Ok(editing) = tcgetattr(io::stdin()) else { return };
    if let Some(modes) = &*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
        give(modes);
    }
    // The whole job stops, as if the kernel had seen the key; and this thread first of all, or it would go on until another one has taken the signal.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = raise(Signal::SIGTSTP);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &editing);
    write(BRACKETED_PASTE_ON);
    // The window may have another size by now.
    let _ = raise(Signal::SIGWINCH);
}

/// Gives the terminal back as it was. Does nothing if it was never taken.
pub fn restore() {
    if let Some(modes) = &*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
        give(modes);
    }
}

/// A terminal that is gone can't be given back: nothing to be done about errors here.
fn give(modes: &Termios) {
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, modes);
    write(SOFT_MODES_OFF);
}

/// Writes past the lock of standard output, which a thread may hold that is stuck in writing; nothing to a terminal that takes nothing.
fn write(bytes: &[u8]) {
    let output = io::stdout();
    let mut writable = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut writable, PollTimeout::from(STALLED)).is_ok_and(|ready| ready > 0)
        && let Ok(output) = output.as_fd().try_clone_to_owned()
    {
        let _ = File::from(output).write_all(bytes);
    }
}

fn quiet(modes: &Termios) -> io::Result<()> {
    let mut modes = modes.clone();
    modes.local_flags -= LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG;
    modes.input_flags -= InputFlags::ICRNL | InputFlags::IXON;
    tcsetattr(io::stdin(), SetArg::TCSANOW, &modes)?;
    Ok(())
}
