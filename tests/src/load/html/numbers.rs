//! The tables of all numbers.

use super::{Report, escape, paragraph, size_of};
use crate::load::metrics::number;
use crate::load::outcome::Outcome;
use crate::load::report::{Missing, Row, percent};
use crate::load::subject::Subject;

const SPEED: [&str; 9] = [
    "load",
    "deliveries or logins per s",
    "CPU µs each",
    "journal µs per line",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "CPU %, server / load generator",
];
const REST: [&str; 12] = [
    "load",
    "lost",
    "doubled",
    "reordered",
    "wrong",
    "PSS per connection, KiB",
    "private, KiB",
    "processes",
    "threads",
    "kill: connections that wait, %",
    "kill: their longest wait, ms",
    "kill: longest wait of the others, ms",
];

pub fn numbers(report: &Report) -> String {
    format!(
        "<section id=\"numbers\">\n<h2>All numbers</h2>\n{}<h3>Speed, CPU time and latency</h3>\n\
         {}<h3>Faults, memory, processes and kills</h3>\n{}</section>\n",
        paragraph(
            "Each number is the median of the samples; the longest latency is that of all samples, \
             and faults are added up. A dash means that the load does not measure it, or that it \
             means nothing with so few connections."
        ),
        table(report, &SPEED, speed_cells),
        table(report, &REST, rest_cells)
    )
}

fn table(report: &Report, columns: &[&str], cells: fn(&Row, &Outcome) -> String) -> String {
    let head: String =
        columns.iter().map(|column| format!("<th scope=\"col\">{}</th>", escape(column))).collect();
    let rows: String =
        report.rows.iter().map(|row| table_row(report, row, columns.len(), cells)).collect();
    format!(
        "<p class=\"hint\">If columns are cut off, scroll the table sideways.</p>\n\
         <div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n\
         {rows}</tbody>\n</table></div>\n"
    )
}

fn table_row(
    report: &Report,
    row: &Row,
    columns: usize,
    cells: fn(&Row, &Outcome) -> String,
) -> String {
    let measured = row.sides.iter().map(|(subject, outcome)| (*subject, Ok(outcome)));
    let missing = row.missing.iter().map(|(subject, missing)| (*subject, Err(missing)));
    let lines = measured.chain(missing).map(|(subject, result)| {
        let cells = result.map_or_else(
            |missing| {
                format!(
                    "<td class=\"text\" colspan=\"{}\">{}</td>",
                    columns - 1,
                    escape(&missing_text(report, row, subject, missing))
                )
            },
            |outcome| cells(row, outcome),
        );
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", subject.text())
    });
    let lines: String = lines.collect();
    format!(
        "<tr class=\"first\"><th scope=\"rowgroup\" colspan=\"{columns}\"><span>{}</span></th>\
         </tr>\n{lines}",
        escape(&row.name())
    )
}

/// Why a subject has no numbers in a row. In rows of memory it adds the number with fewer
/// connections.
fn missing_text(report: &Report, row: &Row, subject: Subject, missing: &Missing) -> String {
    let memory = report
        .rows
        .iter()
        .rev()
        .filter(|other| other.shape.name == row.shape.name && other.shape.name == "idle")
        .find_map(|other| {
            let kib = other.memory_of(other.of(subject)?.memory_per_connection)?;
            Some(format!(
                "; a connection took {} KiB (PSS) with {} connections",
                number(kib),
                size_of(other)
            ))
        });
    missing.text() + &memory.unwrap_or_default()
}

fn plain(text: String) -> String {
    format!("<td>{text}</td>")
}

fn or_dash(value: Option<f64>) -> String {
    plain(value.map_or("-".into(), number))
}

fn speed_cells(_: &Row, outcome: &Outcome) -> String {
    [
        or_dash((outcome.units > 0).then_some(outcome.per_second)),
        or_dash(outcome.cpu_micros),
        or_dash(outcome.journal_micros),
        or_dash(outcome.latency_ms(0.5)),
        or_dash(outcome.latency_ms(0.99)),
        or_dash(outcome.latency_ms(0.999)),
        or_dash(outcome.latency_ms(1.0)),
        plain(format!(
            "{} / {}",
            percent(outcome.server_share),
            percent(Some(outcome.generator_share))
        )),
    ]
    .concat()
}

fn rest_cells(row: &Row, outcome: &Outcome) -> String {
    let count = |count: Option<usize>| or_dash(count.map(|count| count as f64));
    let checked = |faults: u64| match faults {
        0 => plain("0".into()),
        _ => format!("<td class=\"bad\">{}</td>", number(faults as f64)),
    };
    let tally = &outcome.tally;
    [
        checked(tally.lost),
        checked(tally.doubled),
        checked(tally.reordered),
        checked(tally.wrong),
        or_dash(row.memory_of(outcome.memory_per_connection)),
        or_dash(row.memory_of(outcome.private_per_connection)),
        count(outcome.processes),
        count(outcome.threads),
        or_dash(outcome.kill.map(|kill| kill.share * 100.0)),
        or_dash(outcome.kill.map(|kill| kill.wait_ms)),
        or_dash(outcome.kill.and_then(|kill| kill.others_ms)),
    ]
    .concat()
}
