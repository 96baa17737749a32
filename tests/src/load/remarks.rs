//! Remarks after the table: warnings and comparisons that a reader must know.

use super::compared::{WAIT_CAUSES, waits};
use super::outcome::Outcome;
use super::report::Row;
use super::shape::Shape;
use super::subject::Subject;

/// What a reader must know before trusting the rows.
pub fn remarks(rows: &[Row]) -> Vec<String> {
    let mut remarks = Vec::new();
    let sides = || {
        rows.iter().flat_map(|row| {
            row.sides
                .iter()
                .map(|(side, outcome)| (format!("{} ({})", row.name(), side.key()), outcome))
        })
    };
    let named = |is_so: fn(&Outcome) -> bool| {
        sides()
            .filter(|(_, outcome)| is_so(outcome))
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let limited = named(Outcome::is_limited_by_generator);
    if !limited.is_empty() {
        remarks.push(format!(
            "warning: the load generator was the limit in {limited}: the server \
            could have delivered more per second"
        ));
    }
    let full = named(Outcome::has_used_all_cpus);
    if !full.is_empty() {
        remarks.push(format!(
            "warning: no CPU was left idle in {full}: the speed is what server \
            and load generator together had time for"
        ));
    }
    for (name, outcome) in sides() {
        if let Some(share) = outcome.rate_share.filter(|_| outcome.missed_its_rate()) {
            remarks.push(format!(
                "{name}: only {:.0} % of the rate that was asked for was kept",
                share * 100.0
            ));
        }
        if outcome.dropped > 0 {
            remarks
                .push(format!("{name}: {} connections were ended by the server", outcome.dropped));
        }
        remarks.extend(outcome.complaints.iter().map(|complaint| format!("{name}: {complaint}")));
    }
    for (row, faults) in rows.iter().filter_map(|row| Some((row, row.of(Subject::Bare)?.faults?))) {
        let tested = if faults == 0 { ": nothing was tested; give more --seconds" } else { "" };
        remarks.push(format!("{}: the bare broadcaster made {faults} faults{tested}", row.name()));
    }
    let waits = waits(rows);
    if !waits.is_empty() {
        remarks.push(format!("{}; {WAIT_CAUSES}", waits.join("; ")));
    }
    remarks.extend(rows.iter().filter_map(|crowded| price_of_idle(crowded, rows)));
    remarks
}

/// How much idle connections increase the cost of a delivery, in comparison with the bare
/// broadcaster. It compares two rows that differ only in the idle connections.
fn price_of_idle(crowded: &Row, rows: &[Row]) -> Option<String> {
    let (idle, unnamed) = (crowded.shape.idle, |shape: Shape| Shape { name: "", idle: 0, ..shape });
    let is_alone = |row: &&Row| {
        row.shape.idle == 0
            && unnamed(row.shape) == unnamed(crowded.shape)
            && row.workers == crowded.workers
    };
    let alone = rows.iter().find(is_alone).filter(|_| idle > 0)?;
    let ((own, bare), (own_alone, bare_alone)) =
        (crowded.server_and_bare()?, alone.server_and_bare()?);
    let own = own.cpu_micros? / own_alone.cpu_micros?;
    let bare = bare.cpu_micros? / bare_alone.cpu_micros?;
    let (name, other) = (crowded.name(), alone.name());
    Some(format!(
        "{name}: {idle} idle connections make a delivery cost {own:.2} times what it costs in \
         {other}; with a bare broadcaster it is {bare:.2} times: a ratio of {:.2}",
        own / bare
    ))
}
