//! The last sequence that was used, in a small file beside the database. So a run begins above all
//! earlier runs, also if the clock was set back.
//!
//! A run's first sequence is its start time in µs, or the number in the file if that is larger. The
//! file is written ahead: it names a sequence that the log has not reached, and is written again
//! when the log has come half the way there. So it is right also after a crash.

use forkchat_common::ids::Sequence;
use nix::libc::O_NONBLOCK;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// In the data directory: a decimal number.
const FILE_NAME: &str = "sequences";
const NEW_NAME: &str = "sequences.new";
/// Written ahead: 16 GiB of the log. A run that begins right after a crash begins so many µs ahead
/// of its clock, four minutes.
const AHEAD: u64 = 1 << 28;
/// The same when the server ends: what the workers still append then is far less.
const AHEAD_AT_END: u64 = 1 << 20;
/// No clock is that wrong: more is no sequence. The word that names the published snapshot has room
/// for twice as much.
const SEQUENCE_MAX: u64 = 1 << 60;

/// The sequence that no earlier run with this data directory has come to; `None` if none is known.
/// For the start of a server.
///
/// # Errors
/// The file can't be read, or is none of ours.
pub fn used(data_dir: &Path) -> io::Result<Option<Sequence>> {
    // Nothing else that may have the name makes the caller wait.
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(data_dir.join(FILE_NAME))
    {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(32).read_to_string(&mut text)?;
    let number = text.trim_end().parse().ok().filter(|&number| number < SEQUENCE_MAX);
    number
        .map(|number| Some(Sequence(number)))
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it holds no sequence"))
}

/// Keeps the file ahead of the log. For the one process that has the database open.
#[derive(Debug)]
pub struct Ahead {
    data_dir: PathBuf,
    /// What the file says.
    written: Sequence,
}

impl Ahead {
    /// Of a data directory. Nothing is written yet.
    pub fn new(data_dir: &Path) -> Ahead {
        Ahead { data_dir: data_dir.to_owned(), written: Sequence(0) }
    }

    /// The log has come to `tail`.
    pub fn follow(&mut self, tail: Sequence) -> io::Result<()> {
        if self.written.blocks_since(tail) > AHEAD / 2 {
            return Ok(());
        }
        self.write(Sequence(tail.0 + AHEAD))
    }

    /// The log has come to `tail`, and goes hardly any further.
    pub fn end(&mut self, tail: Sequence) -> io::Result<()> {
        self.write(Sequence(tail.0 + AHEAD_AT_END))
    }

    fn write(&mut self, ahead: Sequence) -> io::Result<()> {
        let new = self.data_dir.join(NEW_NAME);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{ahead}")?;
        // Else a crash of the machine might leave an empty file under the name.
        file.sync_data()?;
        fs::rename(new, self.data_dir.join(FILE_NAME))?;
        self.written = ahead;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::store::tests::Home;

    #[test]
    fn what_is_noted_is_always_ahead_and_seldom_written() {
        let home = Home::new();
        assert_eq!(used(&home.0).unwrap(), None);
        let mut ahead = Ahead::new(&home.0);
        let mut written = std::collections::BTreeSet::new();
        for tail in (0..1_000).map(|step| Sequence(1_000_000 + step * (AHEAD / 100))) {
            ahead.follow(tail).unwrap();
            let noted = used(&home.0).unwrap().unwrap();
            assert!(noted.0 > tail.0 + AHEAD / 4, "{noted} at {tail}");
            written.insert(noted);
        }
        assert!(written.len() < 30, "{}", written.len());
        ahead.end(Sequence(5)).unwrap();
        assert_eq!(used(&home.0).unwrap(), Some(Sequence(5 + AHEAD_AT_END)));
    }

    #[test]
    fn what_is_no_sequence_is_refused() {
        let home = Home::new();
        for text in ["", "x", "-1", "1152921504606846976", "1 2", &"1".repeat(100_000)] {
            fs::write(home.0.join(FILE_NAME), text).unwrap();
            assert_eq!(used(&home.0).unwrap_err().kind(), ErrorKind::InvalidData, "{text:.20}");
        }
        fs::remove_file(home.0.join(FILE_NAME)).unwrap();
        nix::unistd::mkfifo(&home.0.join(FILE_NAME), nix::sys::stat::Mode::S_IRWXU).unwrap();
        used(&home.0).unwrap_err();
    }
}
