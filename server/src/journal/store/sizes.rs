//! How large the database's files may become, and how much is kept in them where the size of files
//! is limited (`ulimit -f`).
//!
//! | part of the limit | used by |
//! |---|---|
//! | an eighth | the write-ahead log, before it is copied into the database and reused from its beginning |
//! | a quarter, less 32 KiB | lines and rooms as the quota counts them; they take at most twice that and 64 KiB of the database's file |
//! | a 32nd | topics, which take at most twice that of the file |
//!
//! The store deletes what is too much after each 32nd of the limit that a batch adds, so that the
//! file does not grow meanwhile. The file therefore stays below five eighths of the limit. One
//! transaction adds each changed page to the write-ahead log once, so at most the file's size, and
//! no transaction begins while that log is larger than a quarter of the limit. So neither file
//! reaches the limit, if the database was created under it.

use super::quota::Quota;

/// The write-ahead log grows while another process reads an old state. Above this size nothing is
/// stored until that process is done.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// The write-ahead log is copied into the database when it has this many pages (4 MiB),
const CHECKPOINT_PAGES: u64 = 1_000;
/// and truncated to this many bytes when it is reused from its beginning.
const WAL_BYTES_KEPT: u64 = 8 << 20;
const PAGE_BYTES: u64 = 4_096;
/// The schema's pages take twice this many bytes.
const SCHEMA_BYTES: u64 = 32 << 10;

/// A file size limit below this leaves no space for a history.
pub(super) const LIMIT_MIN: u64 = 256 << 10;

/// Bounds on the sizes of the database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The number of pages at which the write-ahead log is copied into the database.
    pub checkpoint_pages: u64,
    /// The size to which its file is truncated then, in bytes.
    pub wal_bytes_kept: u64,
    /// The largest write-ahead log with which a transaction may begin, in bytes.
    pub wal_bytes_max: u64,
    /// How much a transaction may add before the store deletes what is too much, in bytes.
    pub untrimmed_bytes_max: u64,
    /// How many bytes topics may take, as they are counted; `None` if their number is bound enough.
    pub topics_bytes_max: Option<u64>,
}

impl Sizes {
    /// The bounds for a limit on the size of files, if there is one.
    pub fn within(limit: Option<u64>) -> Sizes {
        let part = |divisor| limit.map_or(u64::MAX, |limit| limit / divisor);
        Sizes {
            checkpoint_pages: CHECKPOINT_PAGES.min(part(8) / PAGE_BYTES),
            wal_bytes_kept: WAL_BYTES_KEPT.min(part(8)),
            wal_bytes_max: WAL_BYTES_MAX.min(part(4)),
            untrimmed_bytes_max: part(32),
            topics_bytes_max: limit.map(|limit| limit / 32),
        }
    }
}

impl Quota {
    /// The part of this quota that fits a file of at most `limit` bytes; 0 bytes if a history
    /// doesn't fit at all.
    pub fn within(self, limit: Option<u64>) -> Quota {
        let fits = limit
            .map_or(u64::MAX, |limit| if limit < LIMIT_MIN { 0 } else { limit / 4 - SCHEMA_BYTES });
        Quota { bytes_max: self.bytes_max.min(fits), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_or_with_a_high_one_the_usual_bounds_apply() {
        let usual = Sizes {
            checkpoint_pages: 1_000,
            wal_bytes_kept: 8 << 20,
            wal_bytes_max: 256 << 20,
            untrimmed_bytes_max: u64::MAX,
            topics_bytes_max: None,
        };
        assert_eq!(Sizes::within(None), usual);
        let with_a_high_one =
            Sizes { untrimmed_bytes_max: 32 << 20, topics_bytes_max: Some(32 << 20), ..usual };
        assert_eq!(Sizes::within(Some(1 << 30)), with_a_high_one);
        let quota = Quota { lines_max: 7, bytes_max: 1 << 20 };
        assert_eq!((quota.within(None), quota.within(Some(1 << 30))), (quota, quota));
        assert_eq!(quota.within(Some(1_024_000)), Quota { lines_max: 7, bytes_max: 223_232 });
        assert_eq!(quota.within(Some(LIMIT_MIN - 1)), Quota { lines_max: 7, bytes_max: 0 });
    }

    #[test]
    fn the_files_stay_below_every_limit() {
        for limit in (LIMIT_MIN..100 << 20).step_by(1_000_003) {
            let (sizes, quota) = (
                Sizes::within(Some(limit)),
                Quota { lines_max: 7, bytes_max: u64::MAX }.within(Some(limit)),
            );
            let file = 2 * (quota.bytes_max + sizes.topics_bytes_max.unwrap() + SCHEMA_BYTES);
            // A frame of the write-ahead log is a page and 24 bytes. Source:
            // sqlite.org/fileformat.html.
            let wal = sizes.wal_bytes_max
                + (file + 2 * sizes.untrimmed_bytes_max) / PAGE_BYTES * (PAGE_BYTES + 24);
            assert!(file <= limit * 5 / 8 && wal < limit, "{limit}: {file}, {wal}");
            assert!(sizes.checkpoint_pages >= 8 && quota.bytes_max >= 32 << 10, "{limit}");
        }
    }
}
