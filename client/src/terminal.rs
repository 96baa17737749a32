//! The terminal's modes: set at the start, restored however the program ends.
//!
//! While the program runs, the terminal neither echoes nor edits input, and keys send no signals.
//! The line editor sets further modes for each line, and afterwards restores these. So input that
//! the user types or pastes between two lines waits for the next line, and the kernel does not echo
//! it onto the screen.
//!
//! Bracketed paste stays on between two lines, too. Otherwise what is pasted there would be taken
//! for lines that the user typed, and its commands would be executed. Source: termios(3).

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

/// The modes that the terminal had before [`Terminal::take`].
static ORIGINAL_MODES: Mutex<Option<Termios>> = Mutex::new(None);

/// Stops the editing thread, so that it does not set the terminal's modes again.
static STOP_EDITING: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// How long to wait for a terminal that accepts no output, in milliseconds.
const WRITE_TIMEOUT_MS: u8 = 200;

/// Bracketed paste on: the terminal marks where a paste begins and ends.
const BRACKETED_PASTE_ON: &[u8] = b"\x1b[?2004h";

/// Bracketed paste off, synchronized output off, cursor shown, no style.
const RESET_SEQUENCE: &[u8] = b"\x1b[?2004l\x1b[?2026l\x1b[?25h\x1b[0m";

/// The terminal in the modes of this program. Its modes are restored on drop, by a panic on any
/// thread, and by a signal that ends the program.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Sets the modes of the terminal that is standard input. From then on a panic on any thread
    /// ends the program.
    ///
    /// # Errors
    /// If standard input is no terminal.
    pub fn take() -> io::Result<Terminal> {
        let modes = tcgetattr(io::stdin())?;
        set_modes(&modes)?;
        *ORIGINAL_MODES.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
        // From here on an error gives it back.
        let terminal = Terminal(());
        // Before the signals' thread is there, which may give it back at any moment.
        write(BRACKETED_PASTE_ON);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            stop_and_restore();
            report(panic);
            // The other threads must not continue without the one that failed.
            std::process::exit(101);
        }));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            for signal in signals.forever() {
                stop_and_restore();
                // Ends the program by the same signal, so that its parent sees which one it was.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        })?;
        Ok(terminal)
    }
}

/// Registers a function that stops the editing thread. It is called before a panic or a signal
/// restores the terminal. It must return even if another thread holds a lock.
pub fn before_restoring(stop_editing: impl Fn() + Send + Sync + 'static) {
    // Only the first call counts; there is only one editing thread.
    let _ = STOP_EDITING.set(Box::new(stop_editing));
}

fn stop_and_restore() {
    if let Some(stop_editing) = STOP_EDITING.get() {
        stop_editing();
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

/// Restores the terminal and stops the program, as Ctrl-Z does elsewhere. When the program
/// continues, sets the terminal's modes again.
pub fn suspend() {
    let Ok(editing) = tcgetattr(io::stdin()) else { return };
    if let Some(modes) = &*ORIGINAL_MODES.lock().unwrap_or_else(PoisonError::into_inner) {
        apply(modes);
    }
    // The whole job stops, as if the kernel had seen the key. The second signal stops this thread
    // at once; without it, it would run until another thread handles the first one.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = raise(Signal::SIGTSTP);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &editing);
    write(BRACKETED_PASTE_ON);
    // The user may have resized the window meanwhile.
    let _ = raise(Signal::SIGWINCH);
}

/// Restores the terminal's original modes. Does nothing before [`Terminal::take`].
pub fn restore() {
    if let Some(modes) = &*ORIGINAL_MODES.lock().unwrap_or_else(PoisonError::into_inner) {
        apply(modes);
    }
}

/// Ignores errors: the terminal may not exist any more.
fn apply(modes: &Termios) {
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, modes);
    write(RESET_SEQUENCE);
}

/// Writes without the lock of standard output, which a blocked thread may hold. Gives up if the
/// terminal accepts no output.
fn write(bytes: &[u8]) {
    let output = io::stdout();
    let mut writable = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut writable, PollTimeout::from(WRITE_TIMEOUT_MS)).is_ok_and(|ready| ready > 0)
        && let Ok(output) = output.as_fd().try_clone_to_owned()
    {
        let _ = File::from(output).write_all(bytes);
    }
}

/// Sets modes without echo, line editing by the kernel, and signals from keys.
fn set_modes(modes: &Termios) -> io::Result<()> {
    let mut modes = modes.clone();
    modes.local_flags -=
        LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG;
    modes.input_flags -= InputFlags::ICRNL | InputFlags::IXON;
    tcsetattr(io::stdin(), SetArg::TCSANOW, &modes)?;
    Ok(())
}
