//! The plots of the report, each with the sentences that follow from it.

use super::{Report, escape, list, paragraph, size_of};
use crate::load::metrics::{Kind, METRICS, Metric, number};
use crate::load::outcome::Outcome;
use crate::load::plot::svg;
use crate::load::ranking::{MeasuredMetric, TAILS_MIN};
use crate::load::report::Row;
use crate::load::subject::Subject;

pub fn plots(report: &Report) -> String {
    let links: String = METRICS
        .iter()
        .map(|metric| format!("<li><a href=\"#{}\">{}</a></li>\n", metric.id, escape(metric.title)))
        .collect();
    let plots: String = METRICS.iter().map(|metric| plot(report, metric)).collect();
    format!(
        "<section id=\"plots\">\n<h2>Plots by number of connections</h2>\n\
         {}<nav aria-label=\"Plots\">\n<ul>\n{links}</ul>\n</nav>\n{plots}</section>\n",
        paragraph(
            "Both axes are logarithmic: equal distances are equal ratios. A point is the median of \
             three samples, the whisker at it spans them; where there is no whisker, it is smaller \
             than the point. The lines between the points are only a guide for the eye. Growth is \
             stated only where it is larger than the spread."
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
    let mut sentences = vec![metric.reading.to_owned()];
    sentences.extend((metric.kind == Kind::Speed).then(|| cpus_used_up(report, metric)));
    sentences.extend(
        MeasuredMetric { metric, curves: metric.curves(report.rows, &report.models()) }
            .winner_sentence(),
    );
    let is_chance = metric.kind == Kind::Tail && report.seconds < TAILS_MIN && !curves.is_empty();
    sentences.extend(is_chance.then(|| {
        "The samples were shorter than a second, so the few slowest deliveries are chance: nothing \
         is said about how they grow."
            .into()
    }));
    sentences.extend(MeasuredMetric { metric, curves }.growth_sentence(report.seconds));
    sentences.extend((metric.id == "memory").then(|| memory_split(report)));
    sentences.extend(
        (!doubts.is_empty())
            .then(|| "Hollow points are doubtful, and no sentence is computed from them:".into()),
    );
    let sentences: String = sentences.iter().map(|sentence| paragraph(sentence)).collect();
    format!(
        "<section class=\"plot\" id=\"{}\">\n<h3>{}</h3>\n{figure}<div>\n{sentences}{}{}</div>\n\
         </section>\n",
        metric.id,
        escape(metric.title),
        list(doubts),
        list(gaps(report, metric))
    )
}

/// A sentence on which subjects were limited because no CPU was idle.
fn cpus_used_up(report: &Report, metric: &Metric) -> String {
    let of = |subject: &Subject| {
        let rows = report.rows.iter().filter(|row| row.shape.name == metric.family);
        let full = rows.filter(|row| row.of(*subject).is_some_and(Outcome::has_used_all_cpus));
        let sizes: Vec<String> = full.map(size_of).collect();
        (!sizes.is_empty()).then(|| format!("{} (with {})", subject.text(), sizes.join(", ")))
    };
    let full: Vec<String> = report.subjects.iter().filter_map(of).collect();
    match full.is_empty() {
        true => "At no point did server and load generator together use up all CPUs, as far as \
            that can be seen."
            .into(),
        false => format!(
            "No CPU was left idle, so that no more could be done per second, for {}.",
            full.join("; ")
        ),
    }
}

/// A sentence on how much of a connection's memory is private, for each subject at the most
/// connections that were measured.
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

/// Links to the plots of a family, as HTML.
pub fn where_used(family: &str) -> String {
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
