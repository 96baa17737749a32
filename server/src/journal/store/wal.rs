//! The write-ahead log: bounded, and brought into the database's file.

use super::files::WAL_NAME;
use super::{Store, StoreError};
use std::fs;

impl Store {
    /// Refuses to go on while somebody's reading keeps the write-ahead log from being used again,
    /// or a full disk from being copied out of.
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

    /// Whether the write-ahead log had something in it, and has nothing any more. What another
    /// program has damaged stays as it is: see [`Store::rescue`].
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

    /// Brings the write-ahead log into the database's file. Whether another program held that up.
    pub(super) fn checkpoint(&self, mode: &str) -> Result<bool, StoreError> {
        let is_held =
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                row.get::<_, bool>(0)
            });
        is_held.map_err(|error| self.failed("store in", error))
    }
}
