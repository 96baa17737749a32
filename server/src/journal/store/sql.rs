//! Values as SQLite has them.

use forkchat_common::ids::{RecordId, Sequence};
use rusqlite::Row;

/// From this column and the next one.
pub(super) fn record_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordId> {
    Ok(RecordId { sequence: sequence(row, column)?, index: row.get(column + 1)? })
}

pub(super) fn sequence(row: &Row<'_>, column: usize) -> rusqlite::Result<Sequence> {
    row.get(column).map(from_sql).map(Sequence)
}

/// SQLite's integers have a sign: what is more than they hold (no sequence is, and no time) becomes
/// the greatest.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
