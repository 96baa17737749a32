//! The report of a comparison of models: one HTML document that loads nothing, neither scripts nor
//! pictures nor fonts.
//!
//! This file has the document and its first parts. `advice` has the answer and the models side by
//! side, `terms` the definitions, `plots` the plots, `numbers` the tables of all numbers, `style`
//! the style sheet.

mod advice;
mod numbers;
mod plots;
mod style;
mod terms;

use super::decision::Decision;
use super::families::FAMILIES;
use super::metrics::{METRICS, number};
use super::models::SAMPLES;
use super::options::ComparedServer;
use super::outcome::Outcome;
use super::plot::{color_of, hex};
use super::ranking::MeasuredMetric;
use super::report::{Missing, Row};
use super::subject::Subject;
use super::target::Capacity;
use std::collections::HashMap;
use std::time::Duration;

/// The content of the report.
#[derive(Debug)]
pub struct Report<'r> {
    /// The machine and the time of the measurement.
    pub machine: String,
    /// The command that repeats the measurement.
    pub command: String,
    /// What was put under load, in the order in which it is shown.
    pub subjects: &'r [Subject],
    /// The length of a sample.
    pub seconds: Duration,
    /// The time limit of a sample.
    pub limit: Option<Duration>,
    /// By the key of a subject: how many connections fit.
    pub capacities: &'r HashMap<&'static str, Capacity>,
    /// The results.
    pub rows: &'r [Row],
    /// Another server that got the same loads.
    pub compared: Option<ComparedServer>,
    /// Why the report is not complete, if it isn't.
    pub unfinished: Option<&'r str>,
}

/// The ids and headings of the sections in the table of contents.
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
    pub fn metrics(&self, subjects: &[Subject]) -> Vec<MeasuredMetric<'static>> {
        METRICS
            .iter()
            .map(|metric| MeasuredMetric { metric, curves: metric.curves(self.rows, subjects) })
            .collect()
    }

    /// A sentence on how many connections fit in each model.
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

    /// A subject's name, escaped. The compared server's name is its address.
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
    let metrics = report.metrics(&models);
    let decision = Decision::new(&metrics, &models);
    let parts = [
        head(report, decision.is_some()),
        advice::answer(report, decision.as_ref()),
        terms::terms(),
        advice::comparison(report, decision.as_ref()),
        measured(report),
        the_models(report),
        plots::plots(report),
        loads(),
        numbers::numbers(report),
        notes(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>forkchat: which model to choose</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <main>\n{}\n</main>\n</body>\n</html>\n",
        style::style(),
        parts.join("\n")
    )
}

/// Escapes text for use between tags or in an attribute.
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
        "<h1>forkchat: which model to choose</h1>\n{}<nav aria-label=\"Contents\">\n<ul>\n\
         {links}</ul>\n</nav>\n",
        paragraph(
            "forkchat can spread its connections over processes and threads in several ways, \
             called models. All of them were put under the same loads on this machine, and \
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
        (true, true) => text.push_str(
            "<p>Nothing was lost, doubled, reordered or wrong, and no \
            connection was dropped.</p>\n",
        ),
        (true, false) => text.push_str(
            "<p>In what could be measured, nothing was lost, doubled, \
            reordered or wrong.</p>\n",
        ),
        (false, _) => {
            text.push_str(&format!("<p class=\"bad\">There were faults:</p>\n{}", list(faults)))
        }
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
        "<section id=\"measured\">\n<h2>How it was measured</h2>\n{}<p>To do it again: \
         <code>{}</code></p>\n{}",
        paragraph(&report.machine),
        escape(&report.command),
        paragraph(&format!(
            "Each model got each load with each number of connections {SAMPLES} times, each time \
             with a newly started server. A sample took {seconds} s under load{limit}. The models \
             and the bare broadcaster took turns, so that a machine that becomes slower or faster \
             meanwhile favours none of them."
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

/// All faults, cell by cell.
fn faults(report: &Report) -> Vec<String> {
    let outcomes = report
        .rows
        .iter()
        .flat_map(|row| row.sides.iter().map(move |(subject, outcome)| (row, subject, outcome)));
    let unclean = outcomes.filter(|(_, _, outcome)| !outcome.is_clean());
    let descriptions = unclean.map(|(row, subject, outcome)| {
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
    descriptions.collect()
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
        "In every model the supervisor keeps a duplicate of each connection's socket, the journal \
         writes what was said to the disk, and everything that happens is a record in one log in \
         shared memory.",
    ));
    text + "</section>\n"
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
                plots::where_used(family.name)
            )
        })
        .collect();
    format!(
        "<section id=\"loads\">\n<h2>The loads</h2>\n<ul>\n{items}</ul>\n{}</section>\n",
        paragraph(
            "A line has 100 bytes. In the tables, the row of a load with N connections is called \
             NAME-N."
        )
    )
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
        "The load generator, one thread, runs on the same CPUs as the server, over the loopback. \
         So the cost of a delivery includes both ends of TCP, and a server that leaves no CPU to \
         its clients slows them down."
            .to_owned(),
        "Compare ratios within this report. Do not compare numbers with those of other days or \
         machines: they drift by 30 % and more."
            .to_owned(),
        "Three samples show how much a number varies within minutes on one machine. They are too \
         few for more: small differences, above all those of the highest latencies, are chance."
            .to_owned(),
        "At a steady pace, latency counts from the moment at which a line was due; at full speed, \
         from the moment at which it was sent; in a connect storm, from connecting to being logged \
         in."
        .to_owned(),
        "A kill is one SIGKILL to one worker in each sample. A client's wait ends with the first \
         line that was due after the kill. Clients of other workers go on to receive lines, but \
         for those said by clients of the killed worker, which arrive when it has been replaced."
            .to_owned(),
        format!(
            "Where the load generator was the limit, and the server could have delivered more \
            per second: {}.",
            named(Outcome::is_limited_by_generator)
        ),
        format!(
            "Where no CPU was left idle, so that the speed is what both together had time for: \
            {}.",
            named(Outcome::has_used_all_cpus)
        ),
        format!(
            "Where lines could not be said at the pace that was planned: {}.",
            named(Outcome::missed_its_rate)
        ),
    ];
    let compared = report.compared.map(|other| {
        format!(
            "The compared server at {} runs as the same process under all loads, while the others \
             are started again for each. What it guarantees was not examined. It does not count in \
             the verdict.",
            other.address
        )
    });
    format!(
        "<section id=\"notes\">\n<h2>What to know before you trust the numbers</h2>\n\
         {}</section>\n",
        list(items.into_iter().chain(compared))
    )
}

#[cfg(test)]
mod tests;
