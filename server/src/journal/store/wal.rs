//! The write-ahead log: bounding its size, and copying it into the database's file.

use super::files::WAL_NAME;
use super::{Store, StoreError};
use std::fs;

impl Store {
    /// Keeps the write-ahead log within its bound.
    ///
    /// # Errors
    /// If the log is too large and can't be emptied: another program's reading keeps it from being
    /// reused, or a full disk from being copied into the database.
    pub(super) fn bound_wal(&mut self) -> Result<(), StoreError> {
        let bytes = self.wal_bytes();
        if bytes <= self.sizes.wal_bytes_max {
            return Ok(());
        }
        match self.checkpoint("TRUNCATE")? {
            true => Err(StoreError::Reader { path: self.path.with_file_name(WAL_NAME), bytes }),
            false => {
                self.files.written();
                Ok(())
            }
        }
    }

    /// Empties the write-ahead log. Returns whether it had contents and has none any more. A log
    /// that another program has damaged is left unchanged: see [`Store::rescue`].
    pub(super) fn empty_wal(&mut self) -> bool {
        let is_emptied = self.tampered().is_none()
            && self.wal_bytes() > 0
            && matches!(self.checkpoint("TRUNCATE"), Ok(false));
        if is_emptied {
            self.files.written();
        }
        is_emptied
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        fs::metadata(self.path.with_file_name(WAL_NAME)).map_or(0, |metadata| metadata.len())
    }

    /// Copies the write-ahead log into the database's file. Returns whether another program
    /// prevented it.
    pub(super) fn checkpoint(&self, mode: &str) -> Result<bool, StoreError> {
        let is_held =
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                row.get::<_, bool>(0)
            });
        is_held.map_err(|error| self.failed("store in", error))
    }
}
