//! Opening the database: checks that it is ours, locks it for this process, and updates its schema.

use super::files::{FILE_NAME, Files, file_size_limit};
use super::migrations::{self, APPLICATION_ID, MIGRATIONS};
use super::rooms::RoomNumbers;
use super::sizes::{LIMIT_MIN, Sizes};
use super::{Quota, Store, StoreError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The file that the server which stores here keeps locked.
const LOCK_NAME: &str = "lock";
/// How long a call waits for another process's lock on the database before it fails.
const BUSY_MILLIS: u64 = 250;
/// The size of the cache of prepared statements: room for all statements.
const STATEMENTS_MAX: usize = 40;

impl Store {
    /// Opens or creates the database `history.sqlite3` (mode 0600) in `data_dir`, which is created
    /// if need be (mode 0700), and updates its schema. What is kept is bounded by `quota`, and by
    /// what fits a file (`ulimit -f`): [`Quota::within`]. Until the store is dropped, or its
    /// process has ended, no other store opens there.
    ///
    /// # Errors
    /// If the file isn't ours, comes from a newer version, is damaged or can't be written. It is
    /// left unchanged.
    pub fn open(data_dir: &Path, quota: Quota) -> Result<Store, StoreError> {
        Store::open_within(data_dir, quota, file_size_limit())
    }

    pub(super) fn open_within(
        data_dir: &Path,
        quota: Quota,
        limit: Option<u64>,
    ) -> Result<Store, StoreError> {
        if let Some(limit) = limit.filter(|&limit| limit < LIMIT_MIN) {
            return Err(StoreError::NoFileSize { limit });
        }
        let lock = lock(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        // Only the room's members may read its lines. SQLite gives its other files the same mode.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::Create { path, error }),
        }
        let failed = |error| StoreError::sqlite("open", &path, error);
        let (quota, sizes) = (quota.within(limit), Sizes::within(limit));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MILLIS)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // This check comes before the first change.
        match identify(&connection).map_err(failed)? {
            Identity::Ours => {}
            Identity::Foreign => return Err(StoreError::Foreign { path }),
            Identity::Newer(version) => {
                return Err(StoreError::Newer { path, version, known: MIGRATIONS.len() });
            }
        }
        connection.execute_batch(&settings(sizes)).map_err(failed)?;
        migrations::migrate(&mut connection, MIGRATIONS).map_err(failed)?;
        let files = Files::opened(data_dir);
        Ok(Store {
            connection,
            files,
            _lock: lock,
            path,
            quota,
            sizes,
            rooms: RoomNumbers::default(),
            totals: None,
        })
    }
}

fn settings(sizes: Sizes) -> String {
    let Sizes { checkpoint_pages, wal_bytes_kept, .. } = sizes;
    format!(
        "
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        PRAGMA wal_autocheckpoint = {checkpoint_pages};
        PRAGMA journal_size_limit = {wal_bytes_kept};
        PRAGMA cache_size = -8192;
        PRAGMA temp_store = MEMORY;
        "
    )
}

/// Which program the database belongs to.
enum Identity {
    /// This program, or the database is new and empty.
    Ours,
    Foreign,
    /// A newer version of this program.
    Newer(i64),
}

fn identify(connection: &Connection) -> rusqlite::Result<Identity> {
    let application_id: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = migrations::version(connection)?;
    let is_empty: bool =
        connection
            .query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    let is_known = usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len());
    Ok(match application_id {
        APPLICATION_ID if is_known => Identity::Ours,
        APPLICATION_ID => Identity::Newer(version),
        0 if version == 0 && is_empty => Identity::Ours,
        _ => Identity::Foreign,
    })
}

/// Creates the directory if need be, and locks it for this process.
fn lock(data_dir: &Path) -> Result<Flock<File>, StoreError> {
    let failed = |error| StoreError::Create { path: data_dir.to_owned(), error };
    // Other users must not read the history.
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_dir.join(LOCK_NAME))
        .map_err(failed)?;
    // The kernel releases the lock when the process ends, however it ends. Source: flock(2).
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StoreError::InUse { path: data_dir.to_owned() },
        errno => failed(errno.into()),
    })
}
