//! The store against a simple model of it.

use super::*;

/// The history as it should be.
#[derive(Default)]
struct Model {
    /// Run and line, oldest first.
    lines: Vec<(Sequence, Line)>,
    /// The rooms that have lines, in the order in which they were created.
    rooms: Vec<String>,
    reached: Option<(Sequence, Sequence)>,
}

impl Model {
    fn store(&mut self, run: Sequence, entries: &[Entry], reached: Sequence, lines_max: usize) {
        let before = self.reached.filter(|(latest, _)| *latest == run).map(|(_, reached)| reached);
        for entry in entries.iter().filter(|entry| Some(entry.position()) > before) {
            if let Entry::Line { line, .. } = entry {
                self.lines.push((run, line.clone()));
                if !self.rooms.contains(&line.room_key) {
                    self.rooms.push(line.room_key.clone());
                }
            }
        }
        let of = |lines: &[(Sequence, Line)], room: &str| {
            lines.iter().filter(|(_, line)| line.room_key == room).count()
        };
        while self.lines.len() > lines_max {
            // Of the largest rooms, `max_by_key` returns the latest.
            let largest = self.rooms.iter().max_by_key(|room| of(&self.lines, room)).unwrap();
            let oldest = self.lines.iter().position(|(_, line)| line.room_key == *largest).unwrap();
            self.lines.remove(oldest);
            let lines = &self.lines;
            self.rooms.retain(|room| of(lines, room) > 0);
        }
        self.reached = Some((run, before.map_or(reached, |before| before.max(reached))));
    }

    fn last_lines(&self, run: Sequence, room: &str, before: RecordId, count: usize) -> Vec<Line> {
        let is_before = |(said_in, line): &&(Sequence, Line)| {
            line.room_key == room && (*said_in != run || line.id < before)
        };
        let mut lines: Vec<Line> = self
            .lines
            .iter()
            .rev()
            .filter(is_before)
            .take(count)
            .map(|(_, line)| line.clone())
            .collect();
        lines.reverse();
        lines
    }
}

/// One step: begin a run, go back to an earlier position of the log, store some lines, open the
/// database again.
#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Back(u64),
    Store(Vec<u8>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1..50u64).prop_map(|run| Step::Run(run * 1_000)),
        2 => (1..20u64).prop_map(Step::Back),
        6 => prop::collection::vec(0..4u8, 0..12).prop_map(Step::Store),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_store_behaves_like_a_list(
        steps in prop::collection::vec(step(), 1..40),
        lines_max in 0..30usize,
    ) {
        let home = Home::new();
        let (mut opened, mut model) = (home.open(lines_max as u64), Model::default());
        let (mut run, mut next, mut runs) = (Sequence(60_000), 60_000, vec![Sequence(60_000)]);
        for step in steps {
            match step {
                // Two runs never have the same first sequence.
                Step::Run(first) if runs.contains(&Sequence(first)) => {}
                Step::Run(first) => {
                    (run, next) = (Sequence(first), first);
                    runs.push(run);
                }
                Step::Back(count) => next = run.0.max(next - count.min(next)),
                Step::Store(rooms) => {
                    let entry = |(room, sequence): (&u8, u64)| {
                        Entry::from(line(&format!("#{room}"), sequence))
                    };
                    let entries: Vec<_> = rooms.iter().zip(next..).map(entry).collect();
                    next += rooms.len() as u64 + 1;
                    opened.store(run, &entries, Sequence(next - 1)).unwrap();
                    model.store(run, &entries, Sequence(next - 1), lines_max);
                }
                Step::Reopen => {
                    drop(opened);
                    opened = home.open(lines_max as u64);
                }
            }
            let latest = model.reached.filter(|(latest, _)| *latest == run);
            let reached = latest.map(|(_, reached)| reached);
            prop_assert_eq!(opened.reached(run).unwrap(), reached);
            let cases = [("#0", u64::MAX, 5), ("#1", next.saturating_sub(4), 5), ("#2", next, 100)];
            for (room, before, count) in cases {
                let before = RecordId::first_of(Sequence(before));
                let expected = model.last_lines(run, room, before, count);
                let found = opened.last_lines(run, room, before, count).unwrap();
                prop_assert_eq!(found, expected);
            }
        }
    }
}

/// A room's size, as the quota's rule uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RoomSize {
    key: String,
    is_established: bool,
    lines: i64,
    bytes: i64,
}

/// The rooms' sizes, counted from their lines.
fn room_sizes(store: &Store) -> Vec<RoomSize> {
    let sql =
        "SELECT key, is_established, count(lines.id), 128 + octet_length(key) + octet_length(name)
            + sum(64 + octet_length(nick) + octet_length(text)), rooms.lines, rooms.bytes
        FROM rooms JOIN lines ON lines.room = rooms.id GROUP BY rooms.id";
    let read = |row: &Row<'_>| {
        let size = RoomSize {
            key: row.get(0)?,
            is_established: row.get(1)?,
            lines: row.get(2)?,
            bytes: row.get(3)?,
        };
        assert_eq!(
            (size.lines, size.bytes),
            (row.get(4)?, row.get(5)?),
            "the counts of {}",
            size.key
        );
        Ok(size)
    };
    store
        .connection
        .prepare(sql)
        .unwrap()
        .query_map([], read)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_room_within_its_guaranteed_share_never_loses_a_line(
        batches in prop::collection::vec(
            (prop::collection::vec((0..12u8, 0..200usize), 1..30), 0..60u64),
            1..40,
        ),
        lines_max in 1..60i64,
        bytes_max in 1_000..20_000i64,
    ) {
        let home = Home::new();
        let quota = Quota { lines_max: lines_max as u64, bytes_max: bytes_max as u64 };
        let mut opened = Store::open(&home.0, quota).unwrap();
        let mut free = Home::new();
        let (mut sequence, mut time) = (RUN.0, 0);
        for (batch, hours) in batches {
            time += hours * HOUR / 4;
            let first = sequence + 1;
            // Rooms with small numbers get more lines.
            let entry = |(&(room, length), at): (&(u8, usize), u64)| {
                said(&format!("#{}", room / (1 + at as u8 % 3)), at, time, length)
            };
            let entries: Vec<_> = batch.iter().zip(first..).map(entry).collect();
            sequence += batch.len() as u64;
            // Store the same without a bound, from the same state: this is what there is before
            // anything is deleted.
            opened.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            free = Home::new();
            fs::copy(home.file(), free.file()).unwrap();
            let mut unbounded = free.open(u64::MAX);
            store(&mut unbounded, RUN, &entries);
            let before = room_sizes(&unbounded);
            store(&mut opened, RUN, &entries);
            let after = room_sizes(&opened);
            prop_assert!(after.iter().map(|room| room.lines).sum::<i64>() <= lines_max);
            prop_assert!(after.iter().map(|room| room.bytes).sum::<i64>() <= bytes_max);
            let totals = Totals::load(&opened.connection).unwrap();
            prop_assert_eq!(opened.totals, Some(totals), "the totals in memory");
            for room in &before {
                let kept = after.iter().find(|kept| kept.key == room.key);
                let kept = kept.map_or(0, |kept| kept.lines);
                let is_alike = |other: &&RoomSize| other.is_established == room.is_established;
                let class = || before.iter().filter(is_alike);
                let is_over = |size: &dyn Fn(&RoomSize) -> i64, max: i64| {
                    let part = if room.is_established { max - max / 4 } else { max / 4 };
                    // The room has strictly more than an equal share of its part.
                    size(room) * class().count() as i64 > part
                        && before.iter().map(size).sum::<i64>() > max
                };
                if kept < room.lines {
                    let is_allowed = is_over(&|room| room.lines, lines_max)
                        || is_over(&|room| room.bytes, bytes_max);
                    prop_assert!(is_allowed, "{:?} of {:?}", room, before);
                }
                // The oldest lines are deleted, and `since` is after them.
                let found = last(&opened, RUN, &room.key, u64::MAX, usize::MAX);
                let all = last(&unbounded, RUN, &room.key, u64::MAX, usize::MAX);
                prop_assert_eq!(&found[..], &all[all.len() - found.len()..]);
                let since = opened.complete_since(&room.key).unwrap().0;
                prop_assert!(found.first().is_none_or(|&first| since <= first));
                prop_assert!(found.len() == all.len() || all[all.len() - found.len() - 1] < since);
            }
        }
        drop(free);
    }
}
