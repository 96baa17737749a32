//! The results as a table for people, and as JSON or CSV for programs. If a cell has several
//! samples, its number is their median.

use super::outcome::Outcome;
use super::shape::Shape;
use super::subject::Subject;
use serde_json::{Value, json};

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The load.
    pub shape: Shape,
    /// The server's number of workers, if it was given.
    pub workers: Option<u16>,
    /// In a comparison of models: the number of connections.
    pub size: Option<usize>,
    /// The outcomes. The row is about the first one.
    pub sides: Vec<(Subject, Outcome)>,
    /// The subjects without an outcome, and why.
    pub missing: Vec<(Subject, Missing)>,
}

/// Why there are no measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It was not tried, which is not a fault.
    NotRun(String),
    /// It was tried and failed.
    Failed(String),
}

impl Missing {
    /// For the report.
    pub fn text(&self) -> String {
        match self {
            Missing::NotRun(why) => format!("not run: {why}"),
            Missing::Failed(why) => format!("failed: {why}"),
        }
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON object per line.
    Json,
    /// Comma-separated values: a header, and one line per outcome.
    Csv,
}

const TABLE_HEAD: &str = concat!(
    "                        connec-      deliveries  CPU µs  journal            latency, \
     ms               ",
    "                      re-           KiB per  server  load gen.\n",
    "                          tions     or logins/s    each  µs/line     p50     p99   p99.9     \
     max ",
    "   lost doubled ordered   wrong  connection   CPU %      CPU %",
);

/// With fewer connections than this, the memory that the server uses anyway hides the memory of a
/// connection.
const CONNECTIONS_MIN: usize = 500;
/// The same limit when models are compared.
pub const CONNECTIONS_MIN_OF_MODELS: usize = 100;

impl Format {
    /// The lines before the rows.
    pub fn head(self, machine: &str) -> Option<String> {
        match self {
            Format::Table => Some(format!("{machine}\n\n{TABLE_HEAD}")),
            Format::Json => None,
            Format::Csv => Some(csv_head()),
        }
    }

    /// A row as text.
    pub fn row(self, row: &Row) -> String {
        match self {
            Format::Table => row.text(),
            Format::Json => row.json().to_string(),
            Format::Csv => {
                let json = row.json();
                row.sides
                    .iter()
                    .map(|(side, _)| csv_of(&json, side.key()))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
        }
    }
}

impl Row {
    /// Its name, which no other row has.
    pub fn name(&self) -> String {
        let number = self
            .size
            .map(|size| size.to_string())
            .or(self.workers.map(|workers| workers.to_string()));
        number.map_or(self.shape.name.into(), |number| format!("{}-{number}", self.shape.name))
    }

    /// A subject's outcome.
    pub fn of(&self, subject: Subject) -> Option<&Outcome> {
        self.sides.iter().find(|(side, _)| *side == subject).map(|(_, outcome)| outcome)
    }

    /// Whether everything that was tried could be measured and was without a fault.
    pub fn is_clean(&self) -> bool {
        let has_failed =
            self.missing.iter().any(|(_, missing)| matches!(missing, Missing::Failed(_)));
        !has_failed && self.sides.iter().all(|(_, outcome)| outcome.is_clean())
    }

    /// The outcome of the row's server, and that of the bare broadcaster, which got the same load
    /// in turn. `None` in a comparison of models, which does not compare slice by slice.
    pub fn server_and_bare(&self) -> Option<(&Outcome, &Outcome)> {
        let (first, others) = self.sides.split_first().filter(|_| self.size.is_none())?;
        Some((&first.1, &others.iter().find(|(side, _)| *side == Subject::Bare)?.1))
    }

    /// The ratio of the CPU time per unit to that of the bare broadcaster, if it was measured.
    ///
    /// If there are no units, since no client sends lines, it is the ratio of all CPU time.
    pub fn times_cpu(&self) -> Option<f64> {
        let (server, bare) = self.server_and_bare()?;
        if server.units == 0 {
            return Some(server.server_share? / bare.server_share?)
                .filter(|times| times.is_finite());
        }
        server.times_cpu_of(bare)
    }

    /// The same ratio for the 99th percentile of the latency.
    pub fn times_p99(&self) -> Option<f64> {
        let (server, bare) = self.server_and_bare()?;
        Some(server.latency_ms(0.99)? / bare.latency_ms(0.99)?)
    }

    fn text(&self) -> String {
        let title = match (self.size, self.workers) {
            (Some(_), _) => self.name(),
            (_, Some(1)) => format!("{}, 1 worker", self.shape.name),
            (_, Some(workers)) => format!("{}, {workers} workers", self.shape.name),
            _ => self.shape.name.into(),
        };
        let mut lines = if self.size.is_some() { vec![title.clone()] } else { Vec::new() };
        for (index, (side, outcome)) in self.sides.iter().enumerate() {
            let is_title = index == 0 && self.size.is_none();
            lines.push(self.line(
                &if is_title { title.clone() } else { format!("  {}", side.text()) },
                outcome,
            ));
        }
        if let Some(first) = lines.first_mut().filter(|_| self.server_and_bare().is_some()) {
            first.push_str(&self.times_text());
        }
        lines.extend(
            self.missing
                .iter()
                .map(|(side, missing)| format!("  {:22}{}", side.text(), missing.text())),
        );
        lines.join("\n")
    }

    fn times_text(&self) -> String {
        let Some(times) = self.times_cpu() else {
            return "   no number of times a bare broadcaster, which used none".into();
        };
        let p99 =
            self.times_p99().map_or(String::new(), |times| format!(" (its p99: {times:.2} times)"));
        format!("   {times:.2} times a bare broadcaster{p99}")
    }

    fn line(&self, name: &str, outcome: &Outcome) -> String {
        let or_dash = |value: Option<f64>, digits: usize| {
            value.map_or("-".into(), |value| format!("{value:.digits$}"))
        };
        let ms = |quantile| {
            outcome
                .latency_ms(quantile)
                .map_or("-".into(), |ms| format!("{ms:.*}", if ms < 10.0 { 3 } else { 1 }))
        };
        let unit =
            if outcome.units == 0 { "-".into() } else { format!("{:.0}", outcome.per_second) };
        format!(
            "{name:24}{:>7} {unit:>15} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} \
             {:>11} {:>7} {:>10}",
            outcome.connections,
            or_dash(outcome.cpu_micros, 2),
            or_dash(outcome.journal_micros, 2),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0),
            outcome.tally.lost,
            outcome.tally.doubled,
            outcome.tally.reordered,
            outcome.tally.wrong,
            or_dash(self.memory_of(outcome.memory_per_connection), 2),
            percent(outcome.server_share),
            percent(Some(outcome.generator_share)),
        )
    }

    /// The memory of a connection; `None` if there are so few that the memory that the server uses
    /// anyway hides it. Models differ so much that fewer connections suffice.
    pub fn memory_of(&self, kib_per_connection: Option<f64>) -> Option<f64> {
        let size_min =
            if self.size.is_some() { CONNECTIONS_MIN_OF_MODELS } else { CONNECTIONS_MIN };
        kib_per_connection.filter(|_| self.shape.connections() >= size_min)
    }

    fn json(&self) -> Value {
        let sides =
            self.sides.iter().map(|(side, outcome)| (side.key().to_owned(), json_of(outcome)));
        let missing = self
            .missing
            .iter()
            .map(|(side, missing)| (side.key().to_owned(), json!({ "missing": missing.text() })));
        let mut row = serde_json::Map::from_iter(sides.chain(missing));
        row.insert("row".into(), self.name().into());
        row.insert("workers".into(), json!(self.workers));
        row.insert("shape".into(), json!(self.shape));
        row.insert("times_bare_cpu".into(), json!(self.times_cpu()));
        row.insert("times_bare_p99".into(), json!(self.times_p99()));
        row.into()
    }
}

/// A share of a core in percent, with more digits for the small shares of an idle server.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| {
        format!("{:.*}", if share < 0.1 { 2 } else { 0 }, share * 100.0)
    })
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
        "private_kib_per_connection": outcome.private_per_connection,
        "processes": outcome.processes,
        "threads": outcome.threads,
        "server_share": outcome.server_share,
        "generator_share": outcome.generator_share,
        "generator_was_limit": outcome.is_limited_by_generator(),
        "rate_share": outcome.rate_share,
        "complaints": outcome.complaints,
        "faults": outcome.faults,
        "kill_share": outcome.kill.map(|kill| kill.share),
        "kill_wait_ms": outcome.kill.map(|kill| kill.wait_ms),
        "kill_others_ms": outcome.kill.and_then(|kill| kill.others_ms),
        "samples": outcome.samples.iter().map(json_of).collect::<Vec<_>>(),
    })
}

/// The columns of CSV: members of a row's JSON object, of its shape, and of a side's object.
const CSV_OF_ROW: [&str; 4] = ["row", "workers", "times_bare_cpu", "times_bare_p99"];
const CSV_OF_SHAPE: [&str; 8] =
    ["clients", "rooms", "senders", "bytes", "traffic", "idle", "churn", "udp"];
const CSV_OF_SIDE: [&str; 27] = [
    "connections",
    "units",
    "lines",
    "logins",
    "per_second",
    "cpu_us_each",
    "journal_us_line",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "lost",
    "doubled",
    "reordered",
    "wrong",
    "dropped_connections",
    "kib_per_connection",
    "private_kib_per_connection",
    "processes",
    "threads",
    "server_share",
    "generator_share",
    "generator_was_limit",
    "rate_share",
    "kill_share",
    "kill_wait_ms",
    "kill_others_ms",
];

fn csv_head() -> String {
    ["side"]
        .iter()
        .chain(&CSV_OF_ROW)
        .chain(&CSV_OF_SHAPE)
        .chain(&CSV_OF_SIDE)
        .copied()
        .collect::<Vec<_>>()
        .join(",")
}

fn csv_of(row: &Value, side: &str) -> String {
    let cells = CSV_OF_ROW.iter().map(|name| &row[name]);
    let cells = cells
        .chain(CSV_OF_SHAPE.iter().map(|name| &row["shape"][name]))
        .chain(CSV_OF_SIDE.iter().map(|name| &row[side][name]));
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(object) => {
            object.iter().map(|(name, value)| format!("{name}={value}")).collect()
        }
        other => other.to_string(),
    };
    [side.to_owned()].into_iter().chain(cells.map(text)).collect::<Vec<_>>().join(",")
}
