//! The last sequence that was used, in a small file beside the database. With it a run's sequences
//! begin above those of all earlier runs, even if the clock was set back.
//!
//! A run's first sequence is its start time in µs, or the number in the file if that is larger. The
//! number in the file is always ahead of the log: it is a sequence that the log has not reached,
//! and is replaced when the log has come half the way there. So it is valid also after a crash.

use forkchat_common::ids::Sequence;
use nix::libc::O_NONBLOCK;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file's name in the data directory. It contains a decimal number.
const FILE_NAME: &str = "sequences";
const NEW_NAME: &str = "sequences.new";
/// How many blocks the file is ahead of the log: 16 GiB of it. A run that begins right after a
/// crash begins this many µs ahead of its clock, four minutes.
const AHEAD_BLOCKS: u64 = 1 << 28;
/// The same when the server ends: the workers append far less than this afterwards.
const AHEAD_BLOCKS_AT_END: u64 = 1 << 20;
/// A greater number is invalid: no clock is that wrong. The word that names the published snapshot
/// has one bit more.
const SEQUENCE_MAX: u64 = 1 << 60;

/// A sequence that no earlier run with this data directory has reached; `None` if there is no file.
/// Called when the server starts.
///
/// # Errors
/// If the file can't be read, or doesn't contain a sequence.
pub fn used(data_dir: &Path) -> io::Result<Option<Sequence>> {
    // If the name belongs to a FIFO or a device, opening it must not block the caller.
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

/// Keeps the file ahead of the log. Only the process that has the database open may use it.
#[derive(Debug)]
pub struct SequenceFile {
    data_dir: PathBuf,
    /// The number in the file.
    written: Sequence,
}

impl SequenceFile {
    /// For the file in `data_dir`. Writes nothing yet.
    pub fn new(data_dir: &Path) -> SequenceFile {
        SequenceFile { data_dir: data_dir.to_owned(), written: Sequence(0) }
    }

    /// Updates the file if the log's tail, now at `tail`, has come close to its number.
    pub fn advance(&mut self, tail: Sequence) -> io::Result<()> {
        if self.written.blocks_since(tail) > AHEAD_BLOCKS / 2 {
            return Ok(());
        }
        self.write(Sequence(tail.0 + AHEAD_BLOCKS))
    }

    /// Writes the file for the last time: the log's tail hardly moves any more.
    pub fn end(&mut self, tail: Sequence) -> io::Result<()> {
        self.write(Sequence(tail.0 + AHEAD_BLOCKS_AT_END))
    }

    fn write(&mut self, ahead: Sequence) -> io::Result<()> {
        let new = self.data_dir.join(NEW_NAME);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{ahead}")?;
        // Without this a crash of the machine might leave an empty file under the name.
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
    fn the_number_in_the_file_is_always_ahead_and_rarely_rewritten() {
        let home = Home::new();
        assert_eq!(used(&home.0).unwrap(), None);
        let mut file = SequenceFile::new(&home.0);
        let mut written = std::collections::BTreeSet::new();
        for tail in (0..1_000).map(|step| Sequence(1_000_000 + step * (AHEAD_BLOCKS / 100))) {
            file.advance(tail).unwrap();
            let found = used(&home.0).unwrap().unwrap();
            assert!(found.0 > tail.0 + AHEAD_BLOCKS / 4, "{found} at {tail}");
            written.insert(found);
        }
        assert!(written.len() < 30, "{}", written.len());
        file.end(Sequence(5)).unwrap();
        assert_eq!(used(&home.0).unwrap(), Some(Sequence(5 + AHEAD_BLOCKS_AT_END)));
    }

    #[test]
    fn a_file_without_a_sequence_is_an_error() {
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
