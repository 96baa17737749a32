//! The database's files: whether the open files still have their names, and how large they may
//! become.

use nix::sys::resource::{Resource, getrlimit};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The database's name in the data directory. SQLite keeps two files with longer names beside it.
pub(super) const FILE_NAME: &str = "history.sqlite3";
pub(super) const WAL_NAME: &str = "history.sqlite3-wal";
pub(super) const SHM_NAME: &str = "history.sqlite3-shm";
/// The database, its write-ahead log, and the index of that.
const NAMES: [&str; 3] = [FILE_NAME, WAL_NAME, SHM_NAME];
/// SQLite extends a file by at most this much at a time.
const STEP_BYTES: u64 = 64 << 10;

/// Which files are open, and how long they were when SQLite wrote them last.
#[derive(Clone, Debug)]
pub(super) struct Files {
    files: [Opened; 3],
}

#[derive(Clone, Debug)]
struct Opened {
    path: PathBuf,
    /// Device and inode when the file was opened; `None` if it was gone already.
    identity: Option<(u64, u64)>,
    length: u64,
}

/// What another program did to the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tampered {
    /// It removed or replaced a file: the open file is intact, but has no name any more.
    Taken(PathBuf),
    /// It truncated a file: the open file is damaged.
    Shortened(PathBuf),
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tampered::Taken(path) => {
                write!(f, "another program has removed or replaced {}", path.display())
            }
            Tampered::Shortened(path) => {
                write!(f, "another program has made {} shorter", path.display())
            }
        }
    }
}

impl Files {
    /// The files of a database that has just been opened in `data_dir`: all three exist then.
    pub fn opened(data_dir: &Path) -> Files {
        let opened = |name| {
            let path = data_dir.join(name);
            let metadata = fs::metadata(&path).ok();
            let length = metadata.as_ref().map_or(0, Metadata::len);
            Opened { path, identity: metadata.as_ref().map(identity), length }
        };
        Files { files: NAMES.map(opened) }
    }

    /// Updates the files' lengths after SQLite has written to them. It extends them, and sometimes
    /// truncates them.
    pub fn written(&mut self) {
        for file in &mut self.files {
            file.length = fs::metadata(&file.path).map_or(file.length, |metadata| metadata.len());
        }
    }

    /// What another program did to the first file that isn't as SQLite left it; `None` if all are.
    pub fn tampered(&self) -> Option<Tampered> {
        self.files.iter().find_map(|file| match fs::metadata(&file.path) {
            Ok(metadata) if file.identity == Some(identity(&metadata)) => {
                (metadata.len() < file.length).then(|| Tampered::Shortened(file.path.clone()))
            }
            _ => Some(Tampered::Taken(file.path.clone())),
        })
    }
}

/// The limit on the size of files (`ulimit -f`), if there is one.
pub fn file_size_limit() -> Option<u64> {
    // A limit beyond the largest possible file is none, RLIM_INFINITY included.
    getrlimit(Resource::RLIMIT_FSIZE)
        .ok()
        .map(|(soft, _)| soft)
        .filter(|&soft| i64::try_from(soft).is_ok())
}

/// The limit on the size of files, if one of the database's files is so large that it can't grow.
pub(super) fn reached_size_limit(data_dir: &Path) -> Option<u64> {
    let limit = file_size_limit()?;
    let length = |name| fs::metadata(data_dir.join(name)).map_or(0, |metadata| metadata.len());
    NAMES.into_iter().any(|name| length(name) + STEP_BYTES > limit).then_some(limit)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
