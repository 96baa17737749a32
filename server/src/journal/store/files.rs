//! The database's files, as the kernel has them: whether those that are open still have their names, and how large they may become.

use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The database, its write-ahead log, and the index of that.
const NAMES: [&str; 3] = [super::FILE_NAME, super::WAL_NAME, super::SHM_NAME];
/// SQLite makes a file longer by at most so much at a time.
const STEP_BYTES: u64 = 64 << 10;

/// Which files are open.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// Each with its device and inode when it was opened; without if it was gone already.
    files: [(PathBuf, Option<(u64, u64)>); 3],
}

impl Files {
    /// Those of the database in a directory that has just been opened: all three are there then.
    pub fn opened(data_dir: &Path) -> Files {
        Files { files: NAMES.map(|name| data_dir.join(name)).map(|path| (path.clone(), identity(&path))) }
    }

    /// The first that was removed or replaced.
    pub fn missing(&self) -> Option<&Path> {
        self.files.iter().find(|(path, opened)| opened.is_none() || identity(path) != *opened).map(|(path, _)| path.as_path())
    }
}

/// The limit on the size of files (`ulimit -f`), if there is one.
pub fn file_size_limit() -> Option<u64> {
    // A limit beyond what a file can have is none: also RLIM_INFINITY.
    getrlimit(Resource::RLIMIT_FSIZE).ok().map(|(soft, _)| soft).filter(|&soft| i64::try_from(soft).is_ok())
}

/// The limit on the size of files, if one of the database's is so large that it can't grow.
pub(super) fn reached_size_limit(data_dir: &Path) -> Option<u64> {
    let limit = file_size_limit()?;
    let length = |name| fs::metadata(data_dir.join(name)).map_or(0, |metadata| metadata.len());
    NAMES.into_iter().any(|name| length(name) + STEP_BYTES > limit).then_some(limit)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
