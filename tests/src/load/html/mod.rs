//! The report of a comparison of models: a single HTML document without scripts, pictures, fonts or
//! anything else from outside.
//!
//! `advice` has the answer and the models side by side, `terms` the definitions, `style` the style
//! sheet. Here are the document, the plots, the loads, all numbers and the notes.

mod advice;
mod style;
mod terms;

use super::decision::{Decision, MetricCurves, TAILS_MIN};
use super::measure::Outcome;
use super::metrics::{Kind, METRICS, Metric, number};
use super::models::{FAMILIES, SAMPLES};
use super::options::ComparedServer;
use super::plot::{color_of, hex, svg};
use super::report::{Missing, Row, percent};
use super::subject::Subject;
use super::target::Capacity;
use std::collections::HashMap;
use std::time::Duration;

/// What the report is made of.
#[derive(Debug)]
pub struct Report<'r> {
    /// Where and when it was measured.
    pub machine: String,
    /// The command that does it again.
    pub command: String,
    /// What was put under load, in the order in which it is shown.
    pub subjects: &'r [Subject],
    /// How long each sample was.
    pub seconds: Duration,
    /// The time limit of a sample.
    pub limit: Option<Duration>,
    /// By subject's key, how many connections fit.
    pub capacities: &'r HashMap<&'static str, Capacity>,
    /// The results.
    pub rows: &'r [Row],
    /// Another server that got the same loads.
    pub compared: Option<ComparedServer>,
    /// Why the report is not complete, if it isn't.
    pub unfinished: Option<&'r str>,
}

/// The sections, with their headings in the table of contents.
const CONTENTS: [(&str, &str); 9] = [
    ("answer", "Which model to choose"),
    ("terms", "Terms"),
    ("comparison", "The models side by side"),
    ("measured", "How it was measured"),
    ("models", "The models"),
    ("plots", "Plots by number of connections"),
    ("loads", "The loads"),
    ("numbers", "All numbers"),
    ("notes", "What to know before you trust the numbers"),
];

impl Report<'_> {
    /// The models that were put under load.
    pub fn models(&self) -> Vec<Subject> {
        self.subjects
            .iter()
            .copied()
            .filter(|subject| matches!(subject, Subject::Model(_)))
            .collect()
    }

    /// All metrics with the curves of some subjects.
    pub fn questions(&self, subjects: &[Subject]) -> Vec<MetricCurves<'static>> {
        METRICS
            .iter()
            .map(|metric| MetricCurves { metric, curves: metric.curves(self.rows, subjects) })
            .collect()
    }

    /// How many connections fit in each model, in a sentence.
    pub fn room(&self) -> Option<String> {
        let of = |subject: Subject| {
            let capacity = self.capacities.get(subject.key())?;
            let because = capacity
                .because
                .as_ref()
                .map_or(String::new(), |because| format!(" (limit: {because})"));
            Some(format!("{} in {}{because}", number(capacity.connections as f64), subject.text()))
        };
        let room: Vec<String> = self.models().into_iter().filter_map(of).collect();
        (!room.is_empty()).then(|| {
            format!(
                "Connections that fit on this machine, as the server states at its start: {}.",
                room.join(", ")
            )
        })
    }

    /// A subject's name, escaped; the compared server's is its address.
    fn name_of(&self, subject: Subject) -> String {
        match (subject, self.compared) {
            (Subject::Compared, Some(other)) => other.address.to_string(),
            _ => subject.text().into(),
        }
    }
}

/// The whole document.
pub fn document(report: &Report) -> String {
    let models = report.models();
    let questions = report.questions(&models);
    let decision = Decision::new(&questions, &models);
    let parts = [
        head(report, decision.is_some()),
        advice::answer(report, decision.as_ref()),
        terms::terms(),
        advice::comparison(report, decision.as_ref()),
        measured(report),
        the_models(report),
        plots(report),
        loads(),
        numbers(report),
        notes(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>forkchat: which model to choose</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n</body>\n</html>\n",
        style::style(),
        parts.join("\n")
    )
}

/// Text as it stands between tags, or in an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: String =
        items.into_iter().map(|item| format!("<li>{}</li>\n", escape(&item))).collect();
    if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
}

fn head(report: &Report, has_comparison: bool) -> String {
    let links = CONTENTS.iter().filter(|(id, _)| has_comparison || *id != "comparison");
    let links: String =
        links.map(|(id, title)| format!("<li><a href=\"#{id}\">{title}</a></li>\n")).collect();
    let mut text = format!(
        "<h1>forkchat: which model to choose</h1>\n{}<nav aria-label=\"Contents\">\n<ul>\n{links}</ul>\n</nav>\n",
        paragraph(
            "forkchat can spread its connections over processes and threads in several ways, called models. All of them were put under the same loads on this machine, and \
             everything that any client received was checked."
        )
    );
    if let Some(why) = report.unfinished {
        text.push_str(&format!(
            "<p class=\"bad\">This report is not complete: {}.</p>\n",
            escape(why)
        ));
    }
    let (faults, failures) = (faults(report), failures(report));
    match (faults.is_empty(), failures.is_empty()) {
        (true, _) if report.rows.is_empty() => {}
        (true, true) => text.push_str("<p>Nothing was lost, doubled, reordered or wrong, and no connection was dropped.</p>\n"),
        (true, false) => text.push_str("<p>In what could be measured, nothing was lost, doubled, reordered or wrong.</p>\n"),
        (false, _) => text.push_str(&format!("<p class=\"bad\">There were faults:</p>\n{}", list(faults))),
    }
    if !failures.is_empty() {
        text.push_str(&format!(
            "<p class=\"bad\">Not everything could be measured:</p>\n{}",
            list(failures)
        ));
    }
    text
}

fn measured(report: &Report) -> String {
    let seconds = number(report.seconds.as_secs_f64());
    let limit = report.limit.map_or(String::new(), |limit| {
        format!(", with a time limit of {} s", number(limit.as_secs_f64()))
    });
    let mut text = format!(
        "<section id=\"measured\">\n<h2>How it was measured</h2>\n{}<p>To do it again: <code>{}</code></p>\n{}",
        paragraph(&report.machine),
        escape(&report.command),
        paragraph(&format!(
            "Each model got each load with each number of connections {SAMPLES} times, each time with a newly started server. A sample took {seconds} s under load{limit}. \
             The models and the bare broadcaster took turns, so that a machine that becomes slower or faster meanwhile favours none of them."
        ))
    );
    if let Some(other) = report.compared {
        text.push_str(&paragraph(&format!(
            "The compared server is the server at {}, spoken to in {}.",
            other.address,
            other.protocol.name()
        )));
    }
    text + "</section>\n"
}

/// What could not be measured although it was tried.
fn failures(report: &Report) -> Vec<String> {
    let missing = report
        .rows
        .iter()
        .flat_map(|row| row.missing.iter().map(move |(subject, missing)| (row, subject, missing)));
    let failed = missing.filter(|(_, _, missing)| matches!(missing, Missing::Failed(_)));
    failed
        .map(|(row, subject, missing)| {
            format!("{}, {}: {}", row.name(), subject.text(), missing.text())
        })
        .collect()
}

/// What was wrong, cell by cell.
fn faults(report: &Report) -> Vec<String> {
    let outcomes = report
        .rows
        .iter()
        .flat_map(|row| row.sides.iter().map(move |(subject, outcome)| (row, subject, outcome)));
    let unclean = outcomes.filter(|(_, _, outcome)| !outcome.is_clean());
    let told = unclean.map(|(row, subject, outcome)| {
        let tally = &outcome.tally;
        let counts = [
            (tally.lost, "lost"),
            (tally.doubled, "doubled"),
            (tally.reordered, "reordered"),
            (tally.wrong, "wrong"),
            (outcome.dropped, "connections dropped"),
        ];
        let counts = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", number(count as f64)));
        let all: Vec<String> = counts.chain(outcome.complaints.iter().cloned()).collect();
        format!("{}, {}: {}", row.name(), subject.text(), all.join(", "))
    });
    told.collect()
}

fn the_models(report: &Report) -> String {
    let mut text = "<section id=\"models\">\n<h2>The models</h2>\n".to_owned();
    for subject in report.models() {
        let Subject::Model(model) = subject else { continue };
        let (name, color) = (model.name(), hex(color_of(subject)));
        text.push_str(&format!(
            "<h3><span class=\"dot\" style=\"background:{color}\"></span>{name}</h3>\n{}",
            paragraph(model.about())
        ));
        text.push_str(&format!("<pre>{}</pre>\n", escape(model.picture())));
    }
    text.push_str(&paragraph(
        "In every model the supervisor keeps a duplicate of each connection's socket, the journal writes what was said to the disk, and everything that happens is a record \
         in one log in shared memory.",
    ));
    text + "</section>\n"
}

fn plots(report: &Report) -> String {
    let links: String = METRICS
        .iter()
        .map(|metric| format!("<li><a href=\"#{}\">{}</a></li>\n", metric.id, escape(metric.title)))
        .collect();
    let plots: String = METRICS.iter().map(|metric| plot(report, metric)).collect();
    format!(
        "<section id=\"plots\">\n<h2>Plots by number of connections</h2>\n{}<nav aria-label=\"Plots\">\n<ul>\n{links}</ul>\n</nav>\n{plots}</section>\n",
        paragraph(
            "Both axes are logarithmic: equal distances are equal ratios. A point is the median of three samples, the whisker at it spans them; where there is no whisker, it is \
             smaller than the point. The lines between the points are only a guide for the eye. Growth is stated only where it is larger than the spread."
        )
    )
}

fn plot(report: &Report, metric: &Metric) -> String {
    let curves = metric.curves(report.rows, report.subjects);
    let label = format!("{}, by the number of connections, a line for each model", metric.title);
    let other = report.compared.map_or(String::new(), |other| other.address.to_string());
    let figure = match svg(&escape(&label), metric.axis, &curves, &other) {
        Ok(svg) => format!("<figure>{svg}</figure>\n"),
        Err(why) => paragraph(&format!("No plot: {why}.")),
    };
    let doubt = |subject: Subject, size: usize, why: &str| {
        format!("{} with {} connections: {why}", subject.text(), number(size as f64))
    };
    let doubts: Vec<String> = curves
        .iter()
        .flat_map(|curve| {
            curve
                .points
                .iter()
                .filter_map(|point| Some(doubt(curve.subject, point.size, point.doubt.as_ref()?)))
        })
        .collect();
    let mut told = vec![metric.reading.to_owned()];
    told.extend((metric.kind == Kind::Speed).then(|| cpus_used_up(report, metric)));
    told.extend(
        MetricCurves { metric, curves: metric.curves(report.rows, &report.models()) }.answer(),
    );
    let is_chance = metric.kind == Kind::Tail && report.seconds < TAILS_MIN && !curves.is_empty();
    told.extend(is_chance.then(|| {
        "The samples were shorter than a second, so the few slowest deliveries are chance: nothing is said about how they grow.".into()
    }));
    told.extend(MetricCurves { metric, curves }.growth(report.seconds));
    told.extend((metric.id == "memory").then(|| memory_split(report)));
    told.extend(
        (!doubts.is_empty())
            .then(|| "Hollow points are doubtful, and no sentence is computed from them:".into()),
    );
    let told: String = told.iter().map(|sentence| paragraph(sentence)).collect();
    format!(
        "<section class=\"plot\" id=\"{}\">\n<h3>{}</h3>\n{figure}<div>\n{told}{}{}</div>\n</section>\n",
        metric.id,
        escape(metric.title),
        list(doubts),
        list(gaps(report, metric))
    )
}

/// Which subjects could not do more, since no CPU was left.
fn cpus_used_up(report: &Report, metric: &Metric) -> String {
    let of = |subject: &Subject| {
        let rows = report.rows.iter().filter(|row| row.shape.name == metric.family);
        let full = rows.filter(|row| row.of(*subject).is_some_and(Outcome::has_used_all_cpus));
        let sizes: Vec<String> = full.map(size_of).collect();
        (!sizes.is_empty()).then(|| format!("{} (with {})", subject.text(), sizes.join(", ")))
    };
    let full: Vec<String> = report.subjects.iter().filter_map(of).collect();
    match full.is_empty() {
        true => "At no point did server and load generator together use up all CPUs, as far as that can be seen.".into(),
        false => format!("No CPU was left idle, so that no more could be done per second, for {}.", full.join("; ")),
    }
}

/// How much of a connection's memory is private, for each subject at the most connections that were
/// measured.
fn memory_split(report: &Report) -> String {
    let of = |subject: &Subject| {
        let row = report
            .rows
            .iter()
            .rev()
            .find(|row| row.shape.name == "idle" && row.of(*subject).is_some())?;
        let outcome = row.of(*subject)?;
        let (all, private) = (
            row.memory_of(outcome.memory_per_connection)?,
            row.memory_of(outcome.private_per_connection)?,
        );
        let shared = number((all - private).max(0.0));
        Some(format!(
            "{} {} KiB private and {shared} shared, with {} connections",
            subject.text(),
            number(private),
            size_of(row)
        ))
    };
    let parts: Vec<String> = report.subjects.iter().filter_map(of).collect();
    if parts.is_empty() {
        "There are no numbers.".into()
    } else {
        format!("Each connection uses: {}.", parts.join("; "))
    }
}

/// Points that are missing, and why.
fn gaps(report: &Report, metric: &Metric) -> Vec<String> {
    let point = |row: &Row, subject: Subject, why: &str| {
        format!("{} with {} connections: {why}", subject.text(), size_of(row))
    };
    let rows = report
        .rows
        .iter()
        .filter(|row| row.shape.name == metric.family && row.size >= Some(metric.size_min));
    let of_row = |row: &Row| {
        let missing =
            row.missing.iter().map(|(subject, missing)| point(row, *subject, &missing.text()));
        let is_zero =
            |outcome: &Outcome| metric.spread(outcome).is_some_and(|spread| spread.low <= 0.0);
        let zero = row.sides.iter().filter(|(_, outcome)| is_zero(outcome));
        missing
            .chain(zero.map(|(subject, _)| {
                point(row, *subject, "0, which a logarithmic axis cannot show")
            }))
            .collect::<Vec<_>>()
    };
    rows.flat_map(of_row).collect()
}

fn size_of(row: &Row) -> String {
    row.size.map_or("-".into(), |size| number(size as f64))
}

fn loads() -> String {
    let items: String = FAMILIES
        .iter()
        .map(|family| {
            let (title, about) = (escape(family.title), escape(family.about));
            format!(
                "<li><b>{title}</b> (<code>{}</code>): {about}. {}</li>\n",
                family.name,
                where_used(family.name)
            )
        })
        .collect();
    format!(
        "<section id=\"loads\">\n<h2>The loads</h2>\n<ul>\n{items}</ul>\n{}</section>\n",
        paragraph(
            "A line has 100 bytes. In the tables, the row of a load with N connections is called NAME-N."
        )
    )
}

/// Where the numbers of a family are, as HTML.
fn where_used(family: &str) -> String {
    let of_family = METRICS.iter().filter(|metric| metric.family == family);
    let links: Vec<String> = of_family
        .map(|metric| format!("<a href=\"#{}\">{}</a>", metric.id, escape(metric.title)))
        .collect();
    match links.is_empty() {
        true => {
            "It has no plot and does not count in the verdict; its numbers are in the tables below."
                .into()
        }
        false => format!("Its plots: {}.", links.join(", ")),
    }
}

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

fn numbers(report: &Report) -> String {
    format!(
        "<section id=\"numbers\">\n<h2>All numbers</h2>\n{}<h3>Speed, CPU time and latency</h3>\n{}<h3>Faults, memory, processes and kills</h3>\n{}</section>\n",
        paragraph(
            "Each number is the median of the samples; the longest latency is that of all samples, and faults are added up. A dash means that the load does not measure it, or \
             that it means nothing with so few connections."
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
         <div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
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
        "<tr class=\"first\"><th scope=\"rowgroup\" colspan=\"{columns}\"><span>{}</span></th></tr>\n{lines}",
        escape(&row.name())
    )
}

/// Why a row has no numbers; in the row for memory with the number that there is.
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

fn notes(report: &Report) -> String {
    let named = |is_so: fn(&Outcome) -> bool| {
        let cells = report.rows.iter().flat_map(|row| {
            row.sides.iter().map(move |(subject, outcome)| (row, subject, outcome))
        });
        let names: Vec<String> = cells
            .filter(|(_, _, outcome)| is_so(outcome))
            .map(|(row, subject, _)| format!("{} ({})", row.name(), subject.text()))
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let items = [
        "The load generator, one thread, runs on the same CPUs as the server, over the loopback. So the cost of a delivery includes both ends of TCP, and a server that \
         leaves no CPU to its clients slows them down."
            .to_owned(),
        "Compare ratios within this report. Do not compare numbers with those of other days or machines: they drift by 30 % and more.".to_owned(),
        "Three samples show how much a number varies within minutes on one machine. They are too few for more: small differences, above all those of the highest latencies, \
         are chance."
            .to_owned(),
        "At a steady pace, latency counts from the moment at which a line was due; at full speed, from the moment at which it was sent; in a connect storm, from connecting to \
         being logged in."
            .to_owned(),
        "A kill is one SIGKILL to one worker in each sample. A client's wait ends with the first line that was due after the kill. Clients of other workers go on to receive \
         lines, but for those said by clients of the killed worker, which arrive when it has been replaced."
            .to_owned(),
        format!("Where the load generator was the limit, and the server could have delivered more per second: {}.", named(Outcome::is_limited_by_generator)),
        format!("Where no CPU was left idle, so that the speed is what both together had time for: {}.", named(Outcome::has_used_all_cpus)),
        format!("Where lines could not be said at the pace that was planned: {}.", named(Outcome::missed_its_rate)),
    ];
    let compared = report.compared.map(|other| {
        format!(
            "The compared server at {} runs as the same process under all loads, while the others are started again for each. What it guarantees was not examined. It does not \
             count in the verdict.",
            other.address
        )
    });
    format!(
        "<section id=\"notes\">\n<h2>What to know before you trust the numbers</h2>\n{}</section>\n",
        list(items.into_iter().chain(compared))
    )
}

#[cfg(test)]
mod tests;
