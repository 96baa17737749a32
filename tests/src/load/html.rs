//! The report of a comparison of models: one HTML document that needs nothing besides itself, no script, no picture, no font.

use super::choose::{Choice, Question, TAILS_MIN};
use super::compared::{WAIT_CAUSES, waits};
use super::growth::{Kind, METRICS, Metric, number};
use super::measure::Outcome;
use super::models::FAMILIES;
use super::options::Other;
use super::plot::{GRID, INK, color_of, hex, svg};
use super::report::{Missing, Row, percent};
use super::subject::Subject;
use std::time::Duration;

/// What the report is made of.
#[derive(Debug)]
pub struct Report<'r> {
    /// Where and when it was measured.
    pub machine: String,
    /// How to do it again.
    pub command: String,
    /// Who was put under load, in the order in which they are shown.
    pub subjects: &'r [Subject],
    /// How long each was, each time.
    pub seconds: Duration,
    /// After which time one gave up.
    pub limit: Option<Duration>,
    /// What came of it.
    pub rows: &'r [Row],
    /// Somebody else's server beside them.
    pub compared: Option<Other>,
    /// Why it isn't all.
    pub unfinished: Option<&'r str>,
}

/// The whole document.
pub fn document(report: &Report) -> String {
    let parts = [head(report), advice(report), models(report), plots(report), loads(), table(report), notes(report)];
    let style = style();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>forkchat: which model</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n</body>\n</html>\n",
        parts.join("\n")
    )
}

/// Text as it stands between tags, or in an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: String = items.into_iter().map(|item| format!("<li>{}</li>\n", escape(&item))).collect();
    if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
}

/// The light colours are the plots' own; in the dark the style sheet finds them in the plots and exchanges them.
fn style() -> String {
    let (ink, grid) = (hex(INK), hex(GRID));
    format!(
        ":root {{ color-scheme: light dark; --ink: {ink}; --soft: #5a5f66; --grid: {grid}; --back: #ffffff; --bad: #b3261e; }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e6ea; --soft: #a3a8b0; --grid: #3c4047; --back: #17191c; --bad: #ff8a80; }} }}\n\
         body {{ margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}\n\
         main {{ max-width: 60rem; margin: 0 auto; padding: 1rem; }}\n\
         h1, h2, h3 {{ line-height: 1.2; margin: 2em 0 .5em; }}\n\
         h1 {{ margin-top: .5em; }}\n\
         a {{ color: inherit; }}\n\
         code, pre {{ font-family: ui-monospace, monospace; font-size: .85rem; }}\n\
         code {{ overflow-wrap: anywhere; }}\n\
         pre, .wide {{ overflow-x: auto; }}\n\
         pre {{ line-height: 1.25; }}\n\
         figure {{ margin: 0 0 .5em; overflow-x: auto; }}\n\
         svg {{ display: block; width: 100%; min-width: 30rem; max-width: 48rem; height: auto; }}\n\
         svg [fill=\"{ink}\"] {{ fill: var(--ink); }}\n\
         svg [stroke=\"{ink}\"] {{ stroke: var(--ink); }}\n\
         svg [stroke=\"{grid}\"] {{ stroke: var(--grid); }}\n\
         table {{ border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }}\n\
         th, td {{ padding: .2em .6em; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; }}\n\
         th:first-child, td:first-child, td.text {{ text-align: left; }}\n\
         table.prose th, table.prose td {{ text-align: left; white-space: normal; vertical-align: top; }}\n\
         tr.first td {{ border-top: 2px solid var(--grid); }}\n\
         .soft {{ color: var(--soft); }}\n\
         .bad {{ color: var(--bad); font-weight: bold; }}\n\
         .dot {{ display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em; }}\n"
    )
}

fn head(report: &Report) -> String {
    let mut text = format!("<h1>forkchat: which model to choose</h1>\n{}", paragraph(&report.machine));
    text.push_str(&format!("<p>To do it again: <code>{}</code></p>\n", escape(&report.command)));
    let seconds = number(report.seconds.as_secs_f64());
    let limit = report.limit.map_or(String::new(), |limit| format!(", and was given up after {} s", number(limit.as_secs_f64())));
    text.push_str(&paragraph(&format!(
        "The same server can be run in several models: ways to spread its connections over processes and threads. Each was put under the same load, \
         each time in a server of its own, with each number of connections. A measurement took {seconds} s{limit}. The bare broadcaster is the yardstick: \
         one thread that copies lines and knows nothing of chat. Every line that any client was sent was checked."
    )));
    if let Some(other) = report.compared {
        text.push_str(&paragraph(&format!("The compared server is the one at {}, spoken to in {}.", other.address, other.dialect.name())));
    }
    if let Some(why) = report.unfinished {
        text.push_str(&format!("<p class=\"bad\">This report is not complete: {}.</p>\n", escape(why)));
    }
    let (faults, failures) = (faults(report), failures(report));
    match (faults.is_empty(), failures.is_empty()) {
        (true, _) if report.rows.is_empty() => {}
        (true, true) => text.push_str("<p>Nothing was lost, doubled, reordered or wrong, and no connection was dropped.</p>\n"),
        (true, false) => text.push_str("<p>In what could be measured, nothing was lost, doubled, reordered or wrong.</p>\n"),
        (false, _) => text.push_str(&format!("<p class=\"bad\">There were faults:</p>\n{}", list(faults))),
    }
    if !failures.is_empty() {
        text.push_str(&format!("<p class=\"bad\">Not everything could be measured:</p>\n{}", list(failures)));
    }
    text
}

/// What was tried in vain.
fn failures(report: &Report) -> Vec<String> {
    let missing = report.rows.iter().flat_map(|row| row.missing.iter().map(move |(subject, missing)| (row, subject, missing)));
    let failed = missing.filter(|(_, _, missing)| matches!(missing, Missing::Failed(_)));
    failed.map(|(row, subject, missing)| format!("{}, {}: {}", row.name(), subject.text(), missing.text())).collect()
}

/// What was not as it should be, cell by cell.
fn faults(report: &Report) -> Vec<String> {
    let outcomes = report.rows.iter().flat_map(|row| row.sides.iter().map(move |(subject, outcome)| (row, subject, outcome)));
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
        let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", number(count as f64)));
        let all: Vec<String> = counts.chain(outcome.complaints.iter().cloned()).collect();
        format!("{}, {}: {}", row.name(), subject.text(), all.join(", "))
    });
    told.collect()
}

fn is_model(subject: &Subject) -> bool {
    matches!(subject, Subject::Model(_))
}

fn models_of(report: &Report) -> Vec<Subject> {
    report.subjects.iter().copied().filter(is_model).collect()
}

fn questions(report: &Report, subjects: &[Subject]) -> Vec<Question<'static>> {
    METRICS.iter().map(|metric| Question { metric, curves: metric.curves(report.rows, subjects) }).collect()
}

fn advice(report: &Report) -> String {
    let models = models_of(report);
    let questions = questions(report, &models);
    let mut text = "<h2>Which to choose</h2>\n".to_owned();
    let Some(choice) = Choice::new(&questions, &models) else {
        return text + &paragraph("Too little was measured to say: there is no number of connections that all models reached.");
    };
    text.push_str(&choice.verdict().map_or(String::new(), |verdict| format!("<p><strong>{}</strong></p>\n", escape(&verdict))));
    text.push_str(&choice.otherwise().map_or(String::new(), |otherwise| paragraph(&otherwise)));
    if models.len() > 1 {
        let size = number(choice.size as f64);
        text.push_str(&paragraph(&format!("With {size} connections, the most that all models reached:")));
        text.push_str(&prose_table(
            ["goal", "best", "others, relative to it"],
            choice.rows().into_iter().map(|row| row.map(|cell| escape(&cell))),
        ));
    }
    text.push_str(&prose_table(["model", "choose it if", "not if"], models.iter().map(|&model| when_to_choose(model, &choice))));
    text.push_str(&paragraph(
        "What no number here shows is what else stops for a moment when a process dies: with pool and threads all connections of a worker, with process one.",
    ));
    text.push_str(&compared(report, &choice));
    text.push_str(&list(dirty_models(report, &models)));
    text.push_str(
        "<p class=\"soft\">What is said to be measured was computed from the numbers below. The goals weigh alike here; with you they may not. Each load was measured once, and the same server differs from itself: what is no more \
         than 1.25 times apart counts as the same, of latencies 1.5 to 2.5 times.</p>\n",
    );
    text
}

/// A table of sentences. The cells are HTML.
fn prose_table(head: [&str; 3], rows: impl IntoIterator<Item = [String; 3]>) -> String {
    let head = head.map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).concat();
    let line = |cells: [String; 3]| format!("<tr>{}</tr>\n", cells.map(|cell| format!("<td>{cell}</td>")).concat());
    let rows: String = rows.into_iter().map(line).collect();
    format!("<div class=\"wide\"><table class=\"prose\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

/// A model's row: what was measured, and what it is by its nature.
fn when_to_choose(subject: Subject, choice: &Choice) -> [String; 3] {
    let Subject::Model(model) = subject else { return [subject.text().into(), String::new(), String::new()] };
    let (ahead, behind) = choice.of_model(subject);
    let cell = |measured: &[String], what: &str, property: &str| {
        let measured = if ahead.is_empty() && behind.is_empty() {
            "nothing sets it clearly apart from another model".into()
        } else if measured.is_empty() {
            format!("{what} in nothing")
        } else {
            format!("{what} in {}", measured.join("; "))
        };
        format!("Measured: {}.<br><span class=\"soft\">By design, not measured: {}.</span>", escape(&measured), escape(property))
    };
    [
        format!("<strong>{}</strong>", model.name()),
        cell(&ahead, "the best, or as good and ahead of another,", model.choose_if()),
        cell(&behind, "behind", model.choose_not_if()),
    ]
}

/// How somebody else's server stands next to the models, and where it only waited.
fn compared(report: &Report, choice: &Choice) -> String {
    let Some(other) = report.compared else { return String::new() };
    let beside = choice.beside(Subject::Compared, &questions(report, &[Subject::Compared]));
    let goals = METRICS.iter().filter(|metric| metric.goal.is_some()).count();
    let left_out = if beside.len() < goals { " Goals in which a number is doubtful or missing are left out." } else { "" };
    let beside = if beside.is_empty() { "no number that could be held against theirs".into() } else { beside.join("; ") };
    let size = number(choice.size as f64);
    let mut text = paragraph(&format!(
        "Next to the best model, the compared server ({}) has with {size} connections: {beside}.{left_out}",
        other.address
    ));
    let waits = waits(report.rows);
    if !waits.is_empty() {
        text.push_str(&paragraph(&format!("Not all of that is what it can do: it waited, {WAIT_CAUSES}.")));
        text.push_str(&list(waits));
    }
    text
}

/// Speed is nothing where lines are lost.
fn dirty_models(report: &Report, models: &[Subject]) -> Vec<String> {
    let has_faults = |&&model: &&Subject| report.rows.iter().filter_map(|row| row.of(model)).any(|outcome| !outcome.is_clean());
    let warn = |model: &Subject| format!("{} made faults, listed at the top: find out why before you choose it.", model.text());
    models.iter().filter(has_faults).map(warn).collect()
}

fn models(report: &Report) -> String {
    let mut text = "<h2>The models</h2>\n".to_owned();
    for subject in models_of(report) {
        let Subject::Model(model) = subject else { continue };
        let (name, color) = (model.name(), hex(color_of(subject)));
        text.push_str(&format!("<h3><span class=\"dot\" style=\"background:{color}\"></span>{name}</h3>\n{}", paragraph(model.about())));
        text.push_str(&format!("<pre>{}</pre>\n", escape(model.picture())));
    }
    text.push_str(&paragraph(
        "In every model a supervisor starts the processes and keeps a duplicate of each connection's socket, a journal writes what was said to the disk, \
         and everything that happens is a record in one log in shared memory.",
    ));
    text
}

fn plots(report: &Report) -> String {
    let plots: String = METRICS.iter().map(|metric| plot(report, metric)).collect();
    format!(
        "<h2>How it grows with the number of connections</h2>\n{}{plots}",
        paragraph("Both axes are logarithmic: equal distances are equal ratios. A point is a measurement; lines only join them.")
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
    let doubts: Vec<String> =
        curves.iter().flat_map(|curve| curve.doubts.iter().map(|(size, why)| doubt(curve.subject, *size, why))).collect();
    let mut told = vec![metric.reading.to_owned()];
    told.extend((metric.kind == Kind::Speed).then(|| cpus_used_up(report, metric)));
    told.extend(Question { metric, curves: metric.curves(report.rows, &models_of(report)) }.answer());
    let is_chance = metric.kind == Kind::Tail && report.seconds < TAILS_MIN && !curves.is_empty();
    told.extend(
        is_chance.then(|| "Of runs of less than a second the few slowest deliveries are chance: of how they grow nothing is said.".into()),
    );
    told.extend(Question { metric, curves }.growth(report.seconds));
    told.extend((metric.id == "memory").then(|| memory_split(report)));
    told.extend((!doubts.is_empty()).then(|| "Hollow points are not what they seem, and no sentence follows from them:".into()));
    let told: String = told.iter().map(|sentence| paragraph(sentence)).collect();
    format!(
        "<section id=\"{}\">\n<h3>{}</h3>\n{figure}{told}{}{}</section>\n",
        metric.id,
        escape(metric.title),
        list(doubts),
        list(gaps(report, metric))
    )
}

fn doubt(subject: Subject, size: usize, why: &str) -> String {
    format!("{} with {} connections: {why}", subject.text(), number(size as f64))
}

/// Who could not do more, since no CPU was left.
fn cpus_used_up(report: &Report, metric: &Metric) -> String {
    let of = |subject: &Subject| {
        let rows = report.rows.iter().filter(|row| row.shape.name == metric.family);
        let full = rows.filter(|row| row.of(*subject).is_some_and(Outcome::has_used_all_cpus));
        let sizes: Vec<String> = full.map(size_of).collect();
        (!sizes.is_empty()).then(|| format!("{} (with {})", subject.text(), sizes.join(", ")))
    };
    let full: Vec<String> = report.subjects.iter().filter_map(of).collect();
    match full.is_empty() {
        true => "Nowhere here did server and load generator, as far as one could see, use up all CPUs.".into(),
        false => format!("No CPU was left idle, so that no more could be done a second, for {}.", full.join("; ")),
    }
}

/// How much of a connection's memory nobody shares, for each at the most connections that were measured.
fn memory_split(report: &Report) -> String {
    let of = |subject: &Subject| {
        let row = report.rows.iter().rev().find(|row| row.shape.name == "idle" && row.of(*subject).is_some())?;
        let outcome = row.of(*subject)?;
        let (all, private) = (row.memory_of(outcome.memory_per_connection)?, row.memory_of(outcome.private_per_connection)?);
        let shared = number((all - private).max(0.0));
        Some(format!("{} {} KiB private and {shared} shared, with {} connections", subject.text(), number(private), size_of(row)))
    };
    let parts: Vec<String> = report.subjects.iter().filter_map(of).collect();
    if parts.is_empty() { "There are no numbers.".into() } else { format!("Of it is, for each connection: {}.", parts.join("; ")) }
}

/// Points that aren't there, and why.
fn gaps(report: &Report, metric: &Metric) -> Vec<String> {
    let point = |row: &Row, subject: Subject, why: &str| format!("{} with {} connections: {why}", subject.text(), size_of(row));
    let rows = report.rows.iter().filter(|row| row.shape.name == metric.family && row.size >= Some(metric.size_min));
    let of_row = |row: &Row| {
        let missing = row.missing.iter().map(|(subject, missing)| point(row, *subject, &missing.text()));
        let is_zero = |outcome: &Outcome| (metric.value)(outcome).is_some_and(|value| value <= 0.0);
        let zero = row.sides.iter().filter(|(_, outcome)| is_zero(outcome));
        missing.chain(zero.map(|(subject, _)| point(row, *subject, "0, which no logarithmic axis shows"))).collect::<Vec<_>>()
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
            format!("<li><b>{title}</b> (<code>{}</code>): {about}. {}</li>\n", family.name, where_used(family.name))
        })
        .collect();
    format!(
        "<h2>The loads</h2>\n<ul>\n{items}</ul>\n{}",
        paragraph("Lines have 100 bytes. With N connections a load's row is called NAME-N in the table.")
    )
}

/// Where a family's numbers are, as HTML.
fn where_used(family: &str) -> String {
    let of_family = METRICS.iter().filter(|metric| metric.family == family);
    let links: Vec<String> = of_family.map(|metric| format!("<a href=\"#{}\">{}</a>", metric.id, escape(metric.title))).collect();
    match links.is_empty() {
        true => "It has no plot: its numbers are in the table below, and no sentence about models is made of them.".into(),
        false => format!("Its plots: {}; the rest is in the table below.", links.join(", ")),
    }
}

const COLUMNS: [&str; 18] = [
    "load",
    "",
    "deliveries or logins/s",
    "CPU µs each",
    "journal µs/line",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "lost",
    "doubled",
    "reordered",
    "wrong",
    "KiB PSS per connection",
    "private",
    "processes",
    "threads",
    "CPU %, server / generator",
];

fn table(report: &Report) -> String {
    let head: String = COLUMNS.iter().map(|column| format!("<th scope=\"col\">{}</th>", escape(column))).collect();
    let rows: String = report.rows.iter().map(table_row).collect();
    format!("<h2>All numbers</h2>\n<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

fn table_row(row: &Row) -> String {
    let measured = row.sides.iter().map(|(subject, outcome)| (*subject, Ok(outcome)));
    let missing = row.missing.iter().map(|(subject, missing)| (*subject, Err(missing)));
    let lines = measured.chain(missing).enumerate().map(|(place, (subject, result))| {
        let (name, class) = if place == 0 { (row.name(), " class=\"first\"") } else { (String::new(), "") };
        let cells = result.map_or_else(missing_cells, |outcome| measured_cells(row, outcome));
        format!("<tr{class}><td>{}</td><td class=\"text\">{}</td>{cells}</tr>\n", escape(&name), subject.text())
    });
    lines.collect()
}

fn missing_cells(missing: &Missing) -> String {
    format!("<td class=\"text\" colspan=\"{}\">{}</td>", COLUMNS.len() - 2, escape(&missing.text()))
}

fn measured_cells(row: &Row, outcome: &Outcome) -> String {
    let or_dash = |value: Option<f64>| value.map_or("-".into(), number);
    let count = |count: Option<usize>| or_dash(count.map(|count| count as f64));
    let numbers = [
        if outcome.units > 0 { number(outcome.per_second) } else { "-".into() },
        or_dash(outcome.cpu_micros),
        or_dash(outcome.journal_micros),
        or_dash(outcome.latency_ms(0.5)),
        or_dash(outcome.latency_ms(0.99)),
        or_dash(outcome.latency_ms(0.999)),
        or_dash(outcome.latency_ms(1.0)),
    ];
    let tally = [outcome.tally.lost, outcome.tally.doubled, outcome.tally.reordered, outcome.tally.wrong];
    let usage = [
        or_dash(row.memory_of(outcome.memory_per_connection)),
        or_dash(row.memory_of(outcome.private_per_connection)),
        count(outcome.processes),
        count(outcome.threads),
        format!("{} / {}", percent(outcome.server_share), percent(Some(outcome.generator_share))),
    ];
    let plain = |text: String| format!("<td>{text}</td>");
    let checked = |faults: u64| if faults == 0 { plain("0".into()) } else { format!("<td class=\"bad\">{}</td>", number(faults as f64)) };
    numbers.into_iter().map(plain).chain(tally.into_iter().map(checked)).chain(usage.into_iter().map(plain)).collect()
}

fn notes(report: &Report) -> String {
    let named = |is_so: fn(&Outcome) -> bool| {
        let cells = report.rows.iter().flat_map(|row| row.sides.iter().map(move |(subject, outcome)| (row, subject, outcome)));
        let names: Vec<String> = cells
            .filter(|(_, _, outcome)| is_so(outcome))
            .map(|(row, subject, _)| format!("{} ({})", row.name(), subject.text()))
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let items = [
        "The load generator, one thread, runs on the same CPUs as the server, over the loopback: a delivery's price has both ends of TCP in it, and a server that leaves \
         no CPU to its clients slows them down.".to_owned(),
        "Compare ratios within this report, not numbers with those of other days or machines: these drift by 30 % and more.".to_owned(),
        "Small differences, the tails of latencies above all, are chance: each point was measured once.".to_owned(),
        format!("Where the load generator was the limit, and the server could have sent more a second: {}.", named(Outcome::is_limited_by_generator)),
        format!("Where no CPU was left idle, so that the number a second is what both together had time for: {}.", named(Outcome::has_used_all_cpus)),
        format!("Where lines could not be said at the pace that was asked for: {}.", named(Outcome::missed_its_rate)),
        "Latency counts, at a steady pace, from when a line was due, so that a server that stands still can't hide it; at full speed from when it was sent; in a storm \
         from connecting to being logged in.".to_owned(),
        "The bare broadcaster isn't a choice: it has no names, no commands, no log, and keeps nothing. It shows what the machine can do.".to_owned(),
    ];
    let compared = report.compared.map(|other| {
        format!(
            "The compared server is the one at {}, spoken to in {}. It is one process for all loads, while the others are started anew for each; what it guarantees is \
             its own affair. In no sentence about which model to choose is it counted.",
            other.address,
            other.dialect.name()
        )
    });
    format!("<h2>What to know before you believe it</h2>\n{}", list(items.into_iter().chain(compared)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_nothing_says_so_and_escapes_what_it_is_told() {
        let report = Report {
            machine: "2 CPUs (<i>fast & \"new\"</i>)".into(),
            command: "x --report '<script src=1>'".into(),
            subjects: &[Subject::Bare],
            seconds: Duration::from_millis(300),
            limit: None,
            rows: &[],
            compared: None,
            unfinished: Some("nothing was measured yet"),
        };
        let text = document(&report);
        assert!(text.contains("&lt;i&gt;fast &amp; &quot;new&quot;") && text.contains("&#39;&lt;script src=1&gt;&#39;"));
        assert!(text.contains("not complete: nothing was measured yet") && text.contains("Too little was measured"));
        assert!(!text.contains("<script") && !text.contains("http"));
        assert!(!text.contains("Nothing was lost"), "nor was anything delivered");
        assert_eq!(text.matches("No plot: there are no numbers").count(), METRICS.len());
    }
}
