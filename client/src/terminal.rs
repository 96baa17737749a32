//! The terminal's modes: taken at the start, given back however the program ends.
//!
//! While the program runs the terminal neither echoes nor edits nor makes signals of keys, also between two lines, when the editor has handed it back:
//! what is typed or pasted just then waits for the next line instead of being drawn into the screen by the kernel.
//! Source: termios(3).

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// As the terminal was when it was taken; `None` before.
static TAKEN: Mutex<Option<Termios>> = Mutex::new(None);

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
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
            // The other threads would go on without the one that failed. Meanwhile one may have taken the terminal again.
            restore();
            std::process::exit(101);
        }));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
        let name = std::thread::Builder::new().name("signals".to_owned());
        name.spawn(move || {
            for signal in signals.forever() {
                restore();
                let _ = io::stdout().write_all(b"\r\n");
                // Ends the program as the signal would have, so that whoever started it is told by which.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        })?;
        Ok(Terminal(()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Stops the program, as Ctrl-Z does everywhere, with the terminal as it was; takes it again when it goes on.
pub fn suspend() {
    let Ok(editing) = tcgetattr(io::stdin()) else { return };
    if let Some(modes) = &*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
        give(modes);
    }
    // The whole job stops, as if the kernel had seen the key.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &editing);
    let _ = io::stdout().write_all(b"\x1b[?2004h");
}

/// Gives the terminal back as it was. Does nothing if it was never taken.
pub fn restore() {
    if let Some(modes) = &*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
        give(modes);
    }
}

/// A terminal that is gone can't be given back: nothing to be done about errors here.
fn give(modes: &Termios) {
    let mut output = io::stdout();
    let _ = output.write_all(SOFT_MODES_OFF);
    let _ = output.flush();
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, modes);
}

fn quiet(modes: &Termios) -> io::Result<()> {
    let mut modes = modes.clone();
    modes.local_flags -= LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG;
    modes.input_flags -= InputFlags::ICRNL | InputFlags::IXON;
    tcsetattr(io::stdin(), SetArg::TCSANOW, &modes)?;
    Ok(())
}
