//! Converting values from and to SQLite's types.

use forkchat_common::ids::{RecordId, Sequence};
use rusqlite::Row;

/// Reads an id from this column and the next one.
pub(super) fn record_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordId> {
    Ok(RecordId { sequence: sequence(row, column)?, index: row.get(column + 1)? })
}

pub(super) fn sequence(row: &Row<'_>, column: usize) -> rusqlite::Result<Sequence> {
    row.get(column).map(from_sql).map(Sequence)
}

/// SQLite's integers are signed: a greater value (no sequence and no time is one) becomes the
/// greatest integer.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
