//! How fast lines are stored.

use super::*;

/// `cargo test --release -p forkchat-server store::tests::speed::how_fast -- --ignored --nocapture
/// --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn how_fast_lines_are_stored() {
    const BATCH: u64 = 1_000;
    for (rooms, lines_max) in [
        (1, u64::MAX),
        (100, u64::MAX),
        (20_000, u64::MAX),
        (1, 200_000),
        (100, 200_000),
        (20_000, 200_000),
    ] {
        let home = Home::new();
        let mut opened = home.open(lines_max);
        let names: Vec<String> = (0..rooms).map(|room| format!("#room-{room}")).collect();
        let mut said: Vec<Entry> = lines("#x", 0..BATCH);
        let (begun, mut cpu) = (Instant::now(), 0);
        for batch in 0..1_000 {
            let first = RUN.0 * 1_000_000_000 + batch * BATCH;
            for (entry, sequence) in said.iter_mut().zip(first..) {
                // The rooms come in an order that doesn't suit the index.
                let name = &names
                    [(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % names.len()];
                let text = "x".repeat(100);
                *entry = Entry::from(Line {
                    room: name.clone(),
                    room_key: name.clone(),
                    text,
                    ..line("#x", sequence)
                });
            }
            let before = cpu_micros();
            opened.store(RUN, &said, Sequence(first + BATCH - 1)).unwrap();
            cpu += cpu_micros() - before;
        }
        let (count, wal) = (
            number(&opened, "SELECT count(*) FROM lines"),
            fs::metadata(home.0.join(WAL_NAME)).unwrap().len(),
        );
        let (first, asked) = (RUN.0 * 1_000_000_000, Instant::now());
        let found = opened
            .last_lines(RUN, &names[0], RecordId::first_of(Sequence(first + 900_000)), 100)
            .unwrap()
            .len();
        let asked = asked.elapsed();
        drop(opened);
        let bytes = fs::metadata(home.file()).unwrap().len() as i64 / count;
        let per_second = 1_000 * BATCH as i64 * 1_000_000 / cpu;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{rooms} rooms, at most {lines_max} lines: {per_second} lines per second of CPU time \
             ({seconds:.1} s in all), {bytes} bytes a line, WAL {wal} bytes, \
             {found} lines read in {asked:?}"
        );
    }
}

fn cpu_micros() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}
