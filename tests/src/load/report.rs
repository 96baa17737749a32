//! What was measured, as a table for people, and as JSON and CSV for programs.

use super::measure::Outcome;
use super::shape::Shape;
use serde_json::{Value, json};

/// One row.
#[derive(Debug)]
pub struct Row {
    /// What was asked of the server.
    pub shape: Shape,
    /// Its workers, if that was said.
    pub workers: Option<u16>,
    /// What is under load is the bare broadcaster itself.
    pub is_bare: bool,
    /// What came of it.
    pub server: Outcome,
    /// What came of the same load to the bare broadcaster.
    pub bare: Option<Outcome>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// An object a line.
    Json,
    /// A header, and a line a row.
    Csv,
}

const TABLE_HEAD: &str = concat!(
    "                        connec-              each  CPU µs  journal        latency, ms        ",
    "                      re-          KiB per  server   load\n",
    "                          tions          a second    each  µs/line     p50     p99   p99.9 ",
    "   lost doubled ordered   wrong connection    CPU %  CPU %",
);

impl Format {
    /// What stands above the rows.
    pub fn head(self, machine: &str) -> Option<String> {
        match self {
            Format::Table => Some(format!("{machine}\n\n{TABLE_HEAD}")),
            Format::Json => None,
            Format::Csv => Some(CSV.map(|(name, _)| name).join(",")),
        }
    }

    /// A row.
    pub fn row(self, row: &Row) -> String {
        match self {
            Format::Table => row.text(),
            Format::Json => row.json().to_string(),
            Format::Csv => {
                let sides = row.sides();
                sides.map(|(side, outcome)| CSV.map(|(_, value)| value(row, side, outcome)).join(",")).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Row {
    /// Its name, by which it can be told from the others.
    pub fn name(&self) -> String {
        self.workers.map_or(self.shape.name.into(), |workers| format!("{}-{workers}", self.shape.name))
    }

    /// The server, and the bare broadcaster if it was there: name and outcome.
    pub fn sides(&self) -> impl Iterator<Item = (&'static str, &Outcome)> {
        let server = if self.is_bare { "bare" } else { "server" };
        [(server, &self.server)].into_iter().chain(self.bare.iter().map(|bare| ("bare", bare)))
    }

    /// How many times the bare broadcaster's CPU time a unit costs, if that was measured.
    pub fn times_cpu(&self) -> Option<f64> {
        self.server.times_cpu_of(self.bare.as_ref()?)
    }

    /// The same of the latency's 99th percentile.
    pub fn times_p99(&self) -> Option<f64> {
        Some(self.server.latency_ms(0.99)? / self.bare.as_ref()?.latency_ms(0.99)?)
    }

    fn text(&self) -> String {
        let workers = match self.workers {
            Some(1) => ", 1 worker".into(),
            Some(workers) => format!(", {workers} workers"),
            None => String::new(),
        };
        let mut text = self.line(&format!("{}{workers}", self.shape.name), &self.server);
        if let Some(times) = self.times_cpu() {
            let p99 = self.times_p99().map_or(String::new(), |times| format!(" (p99: {times:.2})"));
            text = format!("{text}   {times:.2} times a bare broadcaster{p99}");
        }
        if let Some(bare) = &self.bare {
            text = format!("{text}\n{}", self.line("  bare broadcaster", bare));
        }
        text
    }

    fn line(&self, name: &str, outcome: &Outcome) -> String {
        let or_dash = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        let percent =
            |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.*}", if share < 0.1 { 2 } else { 0 }, share * 100.0));
        let ms = |quantile| outcome.latency_ms(quantile).map_or("-".into(), |ms| format!("{ms:.*}", if ms < 10.0 { 3 } else { 1 }));
        let unit = match (self.shape.has_lines(), outcome.units) {
            (_, 0) => "-".into(),
            (true, _) => format!("{:.0} deliveries", outcome.per_second),
            (false, _) => format!("{:.0} logins", outcome.per_second),
        };
        format!(
            "{name:24}{:>7} {unit:>17} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>10} {:>8} {:>6}",
            outcome.connections,
            or_dash(outcome.cpu_micros, 2),
            or_dash(outcome.journal_micros, 2),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            outcome.tally.lost,
            outcome.tally.doubled,
            outcome.tally.reordered,
            outcome.tally.wrong,
            or_dash(outcome.memory_per_connection, 2),
            percent(outcome.server_share),
            percent(Some(outcome.generator_share)),
        )
    }

    fn json(&self) -> Value {
        let sides = self.sides().map(|(side, outcome)| (side.to_owned(), json_of(outcome)));
        let mut row = serde_json::Map::from_iter(sides);
        row.insert("row".into(), self.name().into());
        row.insert("workers".into(), json!(self.workers));
        row.insert("shape".into(), json!(self.shape));
        row.insert("times_bare_cpu".into(), json!(self.times_cpu()));
        row.insert("times_bare_p99".into(), json!(self.times_p99()));
        row.into()
    }
}

fn json_of(outcome: &Outcome) -> Value {
    json!({
        "connections": outcome.connections,
        "units": outcome.units,
        "lines": outcome.lines,
        "logins": outcome.logins,
        "per_second": outcome.per_second,
        "cpu_us_each": outcome.cpu_micros,
        "cpu_us_each_by_slice": outcome.cpu_micros_of_slices,
        "journal_us_line": outcome.journal_micros,
        "p50_ms": outcome.latency_ms(0.5),
        "p99_ms": outcome.latency_ms(0.99),
        "p999_ms": outcome.latency_ms(0.999),
        "max_ms": outcome.latency_ms(1.0),
        "lost": outcome.tally.lost,
        "doubled": outcome.tally.doubled,
        "reordered": outcome.tally.reordered,
        "wrong": outcome.tally.wrong,
        "dropped_connections": outcome.dropped,
        "kib_per_connection": outcome.memory_per_connection,
        "server_share": outcome.server_share,
        "generator_share": outcome.generator_share,
        "generator_was_limit": outcome.is_limited_by_generator(),
        "faults": outcome.faults,
    })
}

type Column = (&'static str, fn(&Row, &str, &Outcome) -> String);

const CSV: [Column; 21] = [
    ("row", |row, _, _| row.name()),
    ("side", |_, side, _| side.into()),
    ("workers", |row, _, _| row.workers.map_or(String::new(), |workers| workers.to_string())),
    ("connections", |_, _, outcome| outcome.connections.to_string()),
    ("unit", |row, _, _| if row.shape.has_lines() { "delivery".into() } else { "login".into() }),
    ("units", |_, _, outcome| outcome.units.to_string()),
    ("per_second", |_, _, outcome| outcome.per_second.to_string()),
    ("cpu_us_each", |_, _, outcome| or_empty(outcome.cpu_micros)),
    ("journal_us_line", |_, _, outcome| or_empty(outcome.journal_micros)),
    ("p50_ms", |_, _, outcome| or_empty(outcome.latency_ms(0.5))),
    ("p99_ms", |_, _, outcome| or_empty(outcome.latency_ms(0.99))),
    ("p999_ms", |_, _, outcome| or_empty(outcome.latency_ms(0.999))),
    ("lost", |_, _, outcome| outcome.tally.lost.to_string()),
    ("doubled", |_, _, outcome| outcome.tally.doubled.to_string()),
    ("reordered", |_, _, outcome| outcome.tally.reordered.to_string()),
    ("wrong", |_, _, outcome| outcome.tally.wrong.to_string()),
    ("dropped_connections", |_, _, outcome| outcome.dropped.to_string()),
    ("kib_per_connection", |_, _, outcome| or_empty(outcome.memory_per_connection)),
    ("server_share", |_, _, outcome| or_empty(outcome.server_share)),
    ("generator_share", |_, _, outcome| outcome.generator_share.to_string()),
    ("times_bare_cpu", |row, side, _| if side == "server" { or_empty(row.times_cpu()) } else { String::new() }),
];

fn or_empty(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// What one should know before one believes the rows.
pub fn remarks(rows: &[Row]) -> Vec<String> {
    let mut remarks = Vec::new();
    let limited: Vec<String> = rows.iter().filter(|row| row.server.is_limited_by_generator()).map(Row::name).collect();
    if !limited.is_empty() {
        let rows = limited.join(", ");
        remarks.push(format!(
            "warning: the load generator was the limit in {rows}: it read as fast as it could, and the server could have sent more a second \
             (its CPU time a delivery holds)"
        ));
    }
    for row in rows {
        for (side, outcome) in row.sides().filter(|(_, outcome)| outcome.dropped > 0) {
            remarks.push(format!("{}: the {side} ended {} connections", row.name(), outcome.dropped));
        }
        if let Some(faults) = row.server.faults.filter(|_| row.is_bare) {
            remarks.push(format!("{}: the bare broadcaster made {faults} faults", row.name()));
        }
    }
    remarks.extend(rows.iter().filter_map(|crowded| price_of_idle(crowded, rows)));
    remarks
}

/// What idle connections cost those who talk, beside what they cost the bare broadcaster: from two rows that differ only in them.
fn price_of_idle(crowded: &Row, rows: &[Row]) -> Option<String> {
    let (idle, unnamed) = (crowded.shape.idle, |shape: Shape| Shape { name: "", idle: 0, ..shape });
    let is_alone = |row: &&Row| row.shape.idle == 0 && unnamed(row.shape) == unnamed(crowded.shape) && row.workers == crowded.workers;
    let alone = rows.iter().find(is_alone).filter(|_| idle > 0)?;
    let own = crowded.server.cpu_micros? / alone.server.cpu_micros?;
    let bare = crowded.bare.as_ref()?.cpu_micros? / alone.bare.as_ref()?.cpu_micros?;
    let (name, other) = (crowded.name(), alone.name());
    Some(format!(
        "{name}: {idle} idle connections make a delivery cost {own:.2} times what it costs in {other}; a bare broadcaster's costs {bare:.2} times: {:.2} times that",
        own / bare
    ))
}
