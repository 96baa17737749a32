//! The report's answer: a verdict for each number of connections, and the models side by side, as a
//! table and as bars.

use super::{Report, escape, paragraph, size_of};
use crate::load::bars::{Bar, bars};
use crate::load::compared::{WAIT_CAUSES, waits};
use crate::load::decision::{Cell, Decision};
use crate::load::families::KILL_SIZE_MAX;
use crate::load::html::list;
use crate::load::metrics::{Better, METRICS, Metric, Rank, number};
use crate::load::ranking::{BEST, MeasuredMetric};
use crate::load::report::Missing;
use crate::load::subject::Subject;

/// The metrics of the bar charts, by id.
const CHARTS: [&str; 6] = ["deliveries-rooms", "cpu-paced", "p99", "memory", "storm", "kill-wait"];

/// The verdict for each number of connections.
pub fn answer(report: &Report, decision: Option<&Decision>) -> String {
    let mut text = "<section id=\"answer\">\n<h2>Which model to choose</h2>\n".to_owned();
    let Some(decision) = decision else {
        text.push_str(&paragraph(
            "Too little was measured to say: with no number of connections \
            all models have numbers.",
        ));
        return text + "</section>\n";
    };
    let rows: String = decision
        .verdicts()
        .into_iter()
        .map(|verdict| {
            let size = number(verdict.size as f64);
            format!(
                "<tr><th scope=\"row\">{size} connections</th><td data-label=\"choose\">{}</td>\
                 <td data-label=\"why\">{}</td></tr>\n",
                escape(&verdict.choose),
                escape(&verdict.why)
            )
        })
        .collect();
    text.push_str(&format!(
        "<table class=\"stack answer\">\n<thead><tr><th scope=\"col\">with</th>\
         <th scope=\"col\">choose</th><th scope=\"col\">why</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    ));
    text.extend(decision.kill().map(|kill| paragraph(&kill)));
    text.extend(report.room().map(|room| paragraph(&room)));
    let dirty = report.models().into_iter().filter(|&model| has_faults(report, model));
    text.push_str(&list(dirty.map(|model| {
        format!("{} made faults, listed above: find out why before you choose it.", model.text())
    })));
    text.push_str(
        "<p class=\"soft\">This was computed from the numbers below. Each number was measured \
         three times, and two models differ only if all three measurements of one are better than \
         all three of the other and the middle ones are clearly apart (costs and speeds more than \
         1.25 times, delays more than 1.5 to 2.5 times). All goals count the same; for you one of \
         them may count more.</p>\n",
    );
    text + "</section>\n"
}

fn has_faults(report: &Report, model: Subject) -> bool {
    report.rows.iter().filter_map(|row| row.of(model)).any(|outcome| !outcome.is_clean())
}

/// The models side by side: first at the most connections with which all were measured, then folded
/// up at all others.
pub fn comparison(report: &Report, decision: Option<&Decision>) -> String {
    let Some(decision) = decision else { return String::new() };
    let size = number(decision.size as f64);
    let mut text = format!(
        "<section id=\"comparison\">\n<h2>The models side by side</h2>\n<h3>With {size} \
         connections</h3>\n{}{}",
        paragraph(&format!(
            "{size} is the largest number of connections that all models ran with. A number is the \
             median of three samples; the lowest and the highest sample stand in brackets. Where \
             no model is marked as best, the models do not differ by more than the spread, or a \
             number is doubtful."
        )),
        side_by_side(report, decision, decision.size)
    );
    for other in decision.sizes().into_iter().filter(|&other| other != decision.size) {
        text.push_str(&format!(
            "<details>\n<summary>With {} connections</summary>\n{}</details>\n",
            number(other as f64),
            side_by_side(report, decision, other)
        ));
    }
    text.push_str("<h3>What speaks for each model</h3>\n");
    text.push_str(&when_to_choose(report, decision));
    text.push_str(&compared(report, decision));
    text + "</section>\n"
}

fn side_by_side(report: &Report, decision: &Decision, size: usize) -> String {
    table(report, decision, size) + &charts(report, size)
}

fn table(report: &Report, decision: &Decision, size: usize) -> String {
    let models = report.models();
    let head: String =
        models.iter().map(|model| format!("<th scope=\"col\">{}</th>", model.text())).collect();
    let row = |(name, measured): (&'static str, &MeasuredMetric)| {
        let cells: String = decision
            .cells(measured, size)
            .into_iter()
            .map(|(model, cell)| td(model, &cell_text(report, measured, size, model, &cell)))
            .collect();
        let uncounted = if matches!(measured.metric.rank, Rank::Shown(_)) {
            " <span class=\"soft\">(does not count in the verdict)</span>"
        } else {
            ""
        };
        format!(
            "<tr><th scope=\"row\">{}, {}{uncounted}</th>{cells}</tr>\n",
            escape(name),
            measured.metric.unit
        )
    };
    let rows: String = decision.rows().map(row).collect();
    let room = |&model: &Subject| {
        let capacity = report.capacities.get(model.key());
        let text = capacity.map_or("unknown".into(), |capacity| {
            let because = capacity.because.as_ref().map_or(String::new(), |because| {
                format!("<br><span class=\"soft\">limited by {}</span>", escape(because))
            });
            format!("{}{because}", number(capacity.connections as f64))
        });
        td(model, &text)
    };
    let room: String = models.iter().map(room).collect();
    format!(
        "<table class=\"stack\">\n<thead><tr><th scope=\"col\">goal</th>{head}</tr></thead>\n\
         <tbody>\n{rows}<tr><th scope=\"row\">connections that fit on this machine \
         <span class=\"soft\">(does not count in the verdict)</span></th>{room}</tr>\n</tbody>\n\
         </table>\n"
    )
}

fn td(model: Subject, html: &str) -> String {
    format!("<td data-label=\"{}\">{html}</td>", model.text())
}

fn cell_text(
    report: &Report,
    measured: &MeasuredMetric,
    size: usize,
    model: Subject,
    cell: &Cell,
) -> String {
    match cell {
        Cell::Measured(value, relation) if relation == BEST => {
            format!("<strong>{value}</strong><br><span class=\"best\">{BEST}</span>")
        }
        Cell::Measured(value, relation) => {
            format!("{value}<br><span class=\"soft\">{}</span>", escape(relation))
        }
        Cell::Doubtful(value, why) => {
            format!("{value}<br><span class=\"bad\">doubtful: {}</span>", escape(why))
        }
        Cell::Missing(smaller) => {
            let why = why_missing(report, measured.metric, size, model);
            let smaller =
                smaller.as_ref().map_or(String::new(), |smaller| format!("; it was {smaller}"));
            format!("<span class=\"soft\">{}{}</span>", escape(&why), escape(&smaller))
        }
    }
}

/// Why a model has no number.
fn why_missing(report: &Report, metric: &Metric, size: usize, model: Subject) -> String {
    let row =
        report.rows.iter().find(|row| row.shape.name == metric.family && row.size == Some(size));
    let missing = row.and_then(|row| row.missing.iter().find(|(subject, _)| *subject == model));
    let connections = number(size as f64);
    match (missing, report.capacities.get(model.key())) {
        (_, Some(capacity)) if capacity.connections < size => {
            format!(
                "{connections} do not fit: at most {} connections",
                number(capacity.connections as f64)
            )
        }
        (Some((_, missing @ Missing::Failed(_))), _) => missing.text(),
        _ if size < metric.size_min => {
            format!("not measurable with {connections} connections: too few")
        }
        _ if metric.family == "kill" && size > KILL_SIZE_MAX => {
            format!("not measured with {connections} connections")
        }
        (Some((_, missing)), _) => missing.text(),
        _ => "no number".into(),
    }
}

fn charts(report: &Report, size: usize) -> String {
    let chart = |id: &&str| {
        let metric = METRICS.iter().find(|metric| metric.id == *id)?;
        let row = report
            .rows
            .iter()
            .find(|row| row.shape.name == metric.family && row.size == Some(size))
            .filter(|_| size >= metric.size_min)?;
        let bar = |&subject: &Subject| {
            let number = match row.of(subject).and_then(|outcome| metric.spread(outcome)) {
                Some(spread) => Ok(spread),
                None if matches!(subject, Subject::Model(_)) => {
                    Err(escape(&why_missing(report, metric, size, subject)))
                }
                None => return None,
            };
            Some(Bar { subject, name: report.name_of(subject), number })
        };
        let all: Vec<Bar> = report.subjects.iter().filter_map(bar).collect();
        let better =
            if metric.better == Better::Higher { "longer is better" } else { "shorter is better" };
        let title = escape(metric.title);
        let label = format!("{title}, with {} connections, a bar for each model", size_of(row));
        Some(format!(
            "<figure>\n<figcaption>{title} <span class=\"soft\">({better})</span></figcaption>\n\
             {}</figure>\n",
            bars(&label, metric.unit, &all)
        ))
    };
    let charts: String = CHARTS.iter().filter_map(chart).collect();
    format!("<div class=\"charts\">\n{charts}</div>\n")
}

/// What speaks for and against each model, as measured and by its design.
fn when_to_choose(report: &Report, decision: &Decision) -> String {
    let row = |&subject: &Subject| {
        let Subject::Model(model) = subject else { return String::new() };
        let (ahead, behind) = decision.of_model(subject);
        let cell = |label: &str, measured: &[String], what: &str, property: &str| {
            let measured = match (measured.is_empty(), ahead.is_empty() && behind.is_empty()) {
                (_, true) => "it differs from no other model by more than the spread".to_owned(),
                (true, _) => format!("{what} in no goal"),
                _ => format!("{what} in {}", measured.join("; ")),
            };
            format!(
                "<td data-label=\"{label}\">Measured: {}.<br><span class=\"soft\">By design, not \
                 measured: {}.</span></td>",
                escape(&measured),
                escape(property)
            )
        };
        format!(
            "<tr><th scope=\"row\">{}</th>{}{}</tr>\n",
            model.name(),
            cell("choose it if", &ahead, "best, or as good as the best,", model.choose_if()),
            cell("not if", &behind, "behind", model.choose_not_if())
        )
    };
    let rows: String = report.models().iter().map(row).collect();
    format!(
        "<table class=\"stack\">\n<thead><tr><th scope=\"col\">model</th><th scope=\"col\">choose \
         it if</th><th scope=\"col\">not if</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    )
}

/// How the compared server compares with the models, and where it only waited.
fn compared(report: &Report, decision: &Decision) -> String {
    let Some(other) = report.compared else { return String::new() };
    let beside = decision.beside(Subject::Compared, &report.metrics(&[Subject::Compared]));
    let goals = METRICS.iter().filter(|metric| metric.goal().is_some()).count();
    let left_out = if beside.len() < goals {
        " Goals with a doubtful or missing number are left out."
    } else {
        ""
    };
    let beside = if beside.is_empty() { "no number to compare".into() } else { beside.join("; ") };
    let size = number(decision.size as f64);
    let mut text = paragraph(&format!(
        "Relative to the best model, the compared server ({}) has with {size} connections: \
         {beside}.{left_out}",
        other.address
    ));
    let waits = waits(report.rows);
    if !waits.is_empty() {
        text.push_str(&paragraph(&format!(
            "These numbers do not all show what it can do: it waited, {WAIT_CAUSES}."
        )));
        text.push_str(&list(waits));
    }
    text
}
