//! Errors of the history's database, worded for the operator: what failed, and what to do about it.

use super::files::reached_size_limit;
use super::sizes::LIMIT_MIN;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why the history can't be read or written. No file is deleted or overwritten because of an error.
#[derive(Debug)]
pub enum StoreError {
    /// The file doesn't exist and can't be created.
    Create {
        /// The database.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// Another server uses the directory.
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The file is a database of another program.
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file was written by a newer forkchat.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that this forkchat reads.
        known: usize,
    },
    /// Another process has been reading for so long that the write-ahead log has reached its bound.
    Reader {
        /// The write-ahead log.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The limit on the size of files is reached.
    FileSize {
        /// What was attempted, as the words before the path.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The limit on the size of files leaves no room for a history.
    NoFileSize {
        /// The limit, in bytes.
        limit: u64,
    },
    /// SQLite returned an error.
    Sqlite {
        /// What was attempted, as the words before the path.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
    },
}

impl StoreError {
    /// SQLite's error, or [`StoreError::FileSize`] if a file has reached the limit on its size,
    /// which SQLite reports as a failure of the disk.
    pub(super) fn sqlite(action: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
        use ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
        let is_growing =
            matches!(error.sqlite_error_code(), Some(CannotOpen | DiskFull | SystemIoFailure));
        match path.parent().filter(|_| is_growing).and_then(reached_size_limit) {
            Some(limit) => StoreError::FileSize { action, path: path.to_owned(), limit },
            None => StoreError::Sqlite { action, path: path.to_owned(), error },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Create { path, error } => {
                write!(
                    f,
                    "cannot make the history {}: {error}; choose another directory with --data-dir",
                    path.display()
                )
            }
            StoreError::InUse { path } => {
                write!(
                    f,
                    "another server stores in {}; end it or choose another directory with \
                     --data-dir",
                    path.display()
                )
            }
            StoreError::Foreign { path } => {
                write!(
                    f,
                    "{} is another program's database; move it away or choose another directory \
                     with --data-dir",
                    path.display()
                )
            }
            StoreError::Newer { path, version, known } => write!(
                f,
                "the history {} has version {version} and this forkchat reads up to {known}; \
                 run the forkchat that wrote it or choose another directory with --data-dir",
                path.display()
            ),
            StoreError::Reader { path, bytes } => {
                let kib = bytes >> 10;
                write!(
                    f,
                    "cannot store in the history: another program reads it and holds back {} \
                     ({kib} KiB); end it",
                    path.display()
                )
            }
            StoreError::FileSize { action, path, limit } => write!(
                f,
                "cannot {action} the history {}: its files have reached the limit on the size of \
                 files, {} KiB (ulimit -f); raise it and start the server again",
                path.display(),
                limit >> 10
            ),
            StoreError::NoFileSize { limit } => write!(
                f,
                "files may not be larger than {} KiB (ulimit -f), and a history takes {} KiB at \
                 least; raise it and start the server again",
                limit >> 10,
                LIMIT_MIN >> 10
            ),
            StoreError::Sqlite { action, path, error } => {
                let path = path.display();
                match remedy(error) {
                    Some((reason, remedy)) => {
                        write!(f, "cannot {action} the history {path}: {reason}; {remedy}")
                    }
                    None => write!(f, "cannot {action} the history {path}: {error}"),
                }
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Create { error, .. } => Some(error),
            StoreError::Sqlite { error, .. } => Some(error),
            StoreError::InUse { .. }
            | StoreError::Foreign { .. }
            | StoreError::Newer { .. }
            | StoreError::Reader { .. }
            | StoreError::FileSize { .. }
            | StoreError::NoFileSize { .. } => None,
        }
    }
}

/// The reason, and what the operator can do about it, if anything.
fn remedy(error: &rusqlite::Error) -> Option<(&'static str, &'static str)> {
    const WRITABLE: &str = "let the server's user write to it and to its directory, or choose \
         another directory with --data-dir";
    Some(match error.sqlite_error_code()? {
        ErrorCode::DiskFull => ("the disk is full", "make room on its file system"),
        ErrorCode::CannotOpen => ("it can't be opened as a file", WRITABLE),
        ErrorCode::ReadOnly => ("it is read-only", WRITABLE),
        ErrorCode::PermissionDenied => ("permission denied", WRITABLE),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            ("another program has it locked", "end that program")
        }
        ErrorCode::SystemIoFailure => (
            "the disk can't be read or written",
            "look into the kernel's log, and at the quota of the server's user",
        ),
        ErrorCode::DatabaseCorrupt => (
            "it is damaged",
            "stop the server, move the file and those with -wal and -shm behind its name away, and \
             start with an empty history; sqlite3's .recover may save what is in it",
        ),
        ErrorCode::NotADatabase => {
            ("it is no SQLite database", "move it away or choose another directory with --data-dir")
        }
        _ => return None,
    })
}
