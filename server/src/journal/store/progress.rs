//! How far this run is stored, which lines are missing, and from which record on a room's lines are
//! complete.

use super::sql::{sequence, to_sql};
use forkchat_common::ids::Sequence;
use rusqlite::{Connection, OptionalExtension, Row, params};

const LOAD_PROGRESS: &str =
    "SELECT run, reached, run_line, next_line, gap_line, gap_until FROM progress";
const SAVE_PROGRESS: &str = "
    INSERT INTO progress (id, run, reached, run_line, next_line, gap_line, gap_until)
        VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (id) DO UPDATE SET run = excluded.run, reached = excluded.reached,
        run_line = excluded.run_line, next_line = excluded.next_line,
        gap_line = excluded.gap_line, gap_until = excluded.gap_until, is_closed = 0";

/// The one row of `progress`: how far the database has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The latest run; `None` in a new database.
    pub run: Option<Run>,
    /// The number of the next line. Lines are numbered from 1.
    pub next_line: i64,
    pub gap: Option<Gap>,
}

/// A run of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its first sequence, which identifies the run.
    pub first: Sequence,
    /// The last record whose entries are stored.
    pub reached: Sequence,
    /// The number of its first line.
    pub line: i64,
}

/// The lines of a room that were deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    /// The number of the last deleted line.
    pub line: i64,
    /// That line's record.
    pub until: Sequence,
}

/// A gap in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The number of the first line after the gap.
    pub line: i64,
    /// The last record in it.
    pub until: Sequence,
}

impl Progress {
    pub fn load(connection: &Connection) -> rusqlite::Result<Progress> {
        let read = |row: &Row<'_>| {
            let run =
                Run { first: sequence(row, 0)?, reached: sequence(row, 1)?, line: row.get(2)? };
            let gap = match row.get::<_, Option<i64>>(4)? {
                Some(line) => Some(Gap { line, until: sequence(row, 5)? }),
                None => None,
            };
            Ok(Progress { run: Some(run), next_line: row.get(3)?, gap })
        };
        let progress = connection.prepare_cached(LOAD_PROGRESS)?.query_row([], read).optional()?;
        Ok(progress.unwrap_or(Progress { run: None, next_line: 1, gap: None }))
    }

    pub fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let (gap_line, gap_until) =
            (self.gap.map(|gap| gap.line), self.gap.map(|gap| to_sql(gap.until.0)));
        let mut statement = connection.prepare_cached(SAVE_PROGRESS)?;
        statement.execute(params![
            to_sql(run.first.0),
            to_sql(run.reached.0),
            run.line,
            self.next_line,
            gap_line,
            gap_until
        ])?;
        Ok(())
    }

    /// Begins the run, or continues it. Returns what was reached in it before, if anything.
    pub fn begin(&mut self, first: Sequence) -> Option<Sequence> {
        if let Some(run) = self.run.filter(|run| run.first == first) {
            return Some(run.reached);
        }
        self.run = Some(Run { first, reached: Sequence(0), line: self.next_line });
        // The gap belongs to an earlier run, whatever the clock showed then.
        if let Some(gap) = &mut self.gap {
            gap.until = gap.until.min(Sequence(first.0.saturating_sub(1)));
        }
        None
    }

    pub fn reach(&mut self, reached: Sequence) {
        if let Some(run) = &mut self.run {
            run.reached = run.reached.max(reached);
        }
    }

    /// See [`super::Store::complete_since`].
    pub fn complete_since(&self, lost: Option<Lost>) -> Sequence {
        let Some(run) = self.run else { return Sequence(0) };
        // Compare by the number of the first line after what is missing. What is missing of an
        // earlier run comes before this run, whatever the clock showed then.
        let lost = lost.map(|lost| match lost.line < run.line {
            true => (lost.line + 1, after(lost.until).min(run.first)),
            false => (lost.line + 1, after(lost.until)),
        });
        let gap = self.gap.map(|gap| (gap.line, after(gap.until)));
        // If both are at the same line, the gap is the later one.
        [lost, gap]
            .into_iter()
            .flatten()
            .max_by_key(|&(line, _)| line)
            .map_or(Sequence(0), |(_, since)| since)
    }
}

fn after(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_add(1))
}
