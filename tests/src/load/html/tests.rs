//! Tests of a report with synthetic numbers: its statements follow from the numbers, and its HTML
//! is well-formed.

use super::*;
use crate::load::families::FAMILIES;
use crate::load::generator::KillCost;
use crate::load::outcome::outcome_of;
use crate::load::subject::Model;
use std::sync::OnceLock;

const MODELS: [Subject; 3] =
    [Subject::Model(Model::Pool), Subject::Model(Model::Threads), Subject::Model(Model::Process)];
const SIZES: [usize; 3] = [10, 1_000, 5_000];
const PROCESS_FITS: usize = 4_259;

/// Three samples around a number, 3 % apart.
fn cell(cost: f64, memory: f64, kill: Option<f64>) -> Outcome {
    let sample = |factor: f64| Outcome {
        per_second: 100_000.0 / cost * factor,
        cpu_micros: Some(cost * factor),
        memory_per_connection: Some(memory * factor),
        private_per_connection: Some(memory * factor / 2.0),
        processes: Some(4),
        threads: Some(9),
        rate_share: Some(1.0),
        kill: kill.map(|share| KillCost { share, wait_ms: 20.0 * factor, others_ms: Some(1.0) }),
        ..outcome_of(&[1, 1, 2])
    };
    Outcome::of_samples([1.0, 0.97, 1.03].map(sample).into()).unwrap()
}

/// With 10 connections all models cost the same. With more, `threads` costs 3 times and `process`
/// 10 times what `pool` costs.
fn rows() -> Vec<Row> {
    let of_family = |size: usize, family: &crate::load::families::Family| {
        let shape = family.shape(size);
        let mut row =
            Row { shape, workers: None, size: Some(size), sides: Vec::new(), missing: Vec::new() };
        for (subject, times) in MODELS.into_iter().zip([1.0, 3.0, 10.0]) {
            if subject == MODELS[2] && size > PROCESS_FITS {
                row.missing.push((
                    subject,
                    Missing::NotRun("at most 4,259 connections fit on this machine".into()),
                ));
                continue;
            }
            let times = if size == 10 { 1.0 } else { times };
            let kill = (family.name == "kill").then_some(if subject == MODELS[2] {
                1.0 / size as f64
            } else {
                0.5
            });
            row.sides.push((subject, cell(15.0 * times, 3.0 * times, kill)));
        }
        row.sides.push((Subject::Bare, cell(5.0, 0.5, None)));
        row
    };
    SIZES
        .iter()
        .flat_map(|&size| FAMILIES.iter().map(move |family| of_family(size, family)))
        .collect()
}

/// The page, which is the same for all tests.
fn page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(make_page)
}

fn make_page() -> String {
    let subjects: Vec<Subject> = MODELS.into_iter().chain([Subject::Bare]).collect();
    let capacity = |subject: Subject, connections| {
        (subject.key(), Capacity { connections, because: Some("the memory".into()) })
    };
    let capacities = HashMap::from([
        capacity(MODELS[0], 18_932),
        capacity(MODELS[1], 14_227),
        capacity(MODELS[2], PROCESS_FITS),
    ]);
    let rows = rows();
    document(&Report {
        machine: "2 CPUs".into(),
        command: "tests/load-test.sh --models".into(),
        subjects: &subjects,
        seconds: Duration::from_secs(1),
        limit: None,
        capacities: &capacities,
        rows: &rows,
        compared: None,
        unfinished: None,
    })
}

fn section<'p>(page: &'p str, id: &str) -> &'p str {
    let start = page.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
    let end = page[start..].find("<h2>").and_then(|heading| {
        page[start + heading + 4..].find("<h2>").map(|next| start + heading + 4 + next)
    });
    &page[start..end.unwrap_or(page.len())]
}

/// The visible text of a page's body.
fn text_of(html: &str) -> String {
    let body = html.split_once("</style>").map_or(html, |(_, body)| body);
    let mut text = String::new();
    let mut is_tag = false;
    for letter in body.chars() {
        match letter {
            '<' => is_tag = true,
            '>' => (is_tag, text) = (false, text + " "),
            _ if !is_tag => text.push(letter),
            _ => {}
        }
    }
    text
}

#[test]
fn there_is_a_verdict_for_every_size_that_follows_from_the_numbers() {
    let page = page();
    let answer = section(page, "answer");
    let verdict = |size: &str| {
        let row = answer
            .split_once(&format!(">{size} connections</th>"))
            .unwrap_or_else(|| panic!("no verdict for {size}"))
            .1;
        text_of(row.split_once("</tr>").unwrap().0)
    };
    assert!(
        verdict("10").contains("any model")
            && verdict("10").contains("do not differ by more than the spread in any of 5 goals")
    );
    assert!(verdict("1,000").trim_start().starts_with("pool"), "{}", verdict("1,000"));
    assert!(
        verdict("5,000").contains("pool")
            && verdict("5,000").contains("Not measured with 5,000 connections: process.")
    );
    assert!(
        answer.contains("in pool 500 of 1,000 clients for 20 ms")
            && answer.contains("in process 1 of 1,000 clients for 20 ms")
    );
    assert!(
        answer.contains("18,932 in pool")
            && answer.contains("4,259 in process (limit: the memory)")
    );
    // The answer comes first, after the table of contents.
    assert!(page.find("id=\"answer\"") < page.find("id=\"terms\""));
}

#[test]
fn for_a_size_that_does_not_fit_the_memory_with_fewer_connections_is_stated() {
    let page = page();
    assert!(section(page, "comparison").contains(
        "5,000 do not fit: at most 4,259 connections; it was 30 KiB with 1,000 connections"
    ));
    assert!(section(page, "numbers").contains(
        "not run: at most 4,259 connections fit on this machine; a connection took \
                30 KiB (PSS) with 1,000 connections"
    ));
}

#[test]
fn every_link_has_exactly_one_target() {
    let page = page();
    let links: Vec<&str> =
        page.split("href=\"#").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert!(links.len() >= CONTENTS.len() + METRICS.len());
    for link in links {
        assert_eq!(page.matches(&format!(" id=\"{link}\"")).count(), 1, "#{link}");
    }
    let contents = page.find("<nav").unwrap();
    assert!(contents < page.find("<h2>").unwrap(), "the contents are at the top");
}

#[test]
fn terms_are_defined_before_their_first_use() {
    let text = text_of(page());
    let terms = text.find("One line that arrived at one client").unwrap();
    let list = [
        "deliver(y|ies)",
        "closed loop",
        "open loop",
        "latency",
        "p99",
        "PSS",
        "journal",
        "supervisor",
        "bare broadcaster",
        "whisker",
    ];
    for term in list {
        let words =
            if term == "deliver(y|ies)" { vec!["delivery", "deliveries"] } else { vec![term] };
        for word in words {
            let first = text
                .to_lowercase()
                .find(&word.to_lowercase())
                .unwrap_or_else(|| panic!("{word} is not in the report"));
            // The term itself comes a few words before its definition.
            assert!(
                first + "delivery  ".len() + 2 >= terms,
                "{word} is used before it is defined: {}",
                &text[first.saturating_sub(60)..first + 20]
            );
        }
    }
    for term in [
        "delivery",
        "closed loop",
        "open loop",
        "PSS",
        "supervisor, journal",
        "bare broadcaster",
        "p50, p99, p99.9",
    ] {
        assert!(terms::TERMS.iter().any(|(name, _)| *name == term), "{term} has no definition");
    }
}

#[test]
fn the_spread_is_drawn_and_growth_within_it_is_not_stated() {
    let page = page();
    // Six charts, each with three models and, except for the kill, the bare broadcaster, at the
    // size that is shown first.
    let open = section(page, "comparison").split_once("<details>").unwrap().0;
    assert_eq!(open.matches("<svg class=\"bars\"").count(), 6);
    assert_eq!(open.matches("class=\"whisker\"").count(), 6 * 4 - 1);
    let plot = page.split_once("id=\"threads\"").unwrap().1.split_once("</section>").unwrap().0;
    assert!(
        !plot.contains("grows to") && plot.contains("No change larger than the spread: "),
        "{plot}"
    );
    let plot = page.split_once("id=\"cpu-paced\"").unwrap().1.split_once("</section>").unwrap().0;
    assert!(
        plot.contains(
            "process from 10 to 1,000 connections grows to 10 times, more slowly \
        than the number of connections"
        ),
        "{plot}"
    );
    assert!(
        plot.contains("No change larger than the spread: pool and bare broadcaster."),
        "{plot}"
    );
}

#[test]
fn all_sizes_but_the_first_are_folded_up() {
    let page = page();
    let comparison = section(page, "comparison");
    assert!(
        comparison.contains("<h3>With 1,000 connections</h3>"),
        "the largest that all models ran with"
    );
    for size in ["10", "5,000"] {
        assert!(
            comparison.contains(&format!("<summary>With {size} connections</summary>")),
            "{size}"
        );
    }
}

#[test]
fn tags_are_closed_in_order() {
    const VOID: [&str; 8] = ["meta", "br", "path", "rect", "circle", "line", "polyline", "polygon"];
    let page = page();
    let mut open: Vec<&str> = Vec::new();
    for tag in page
        .split('<')
        .skip(1)
        .map(|rest| rest.split_once('>').expect("a tag ends").0)
        .filter(|tag| !tag.starts_with('!'))
    {
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn only_what_scrolls_is_wider_than_a_phone() {
    let page = page();
    assert!(
        page.contains("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
    );
    assert!(page.contains("color-scheme: light dark"));
    // Pictures have no fixed size, so that they shrink with the page.
    let pictures: Vec<&str> =
        page.split("<svg ").skip(1).map(|rest| rest.split_once('>').unwrap().0).collect();
    assert!(!pictures.is_empty());
    assert!(pictures.iter().all(|head| head.contains("viewBox=\"0 0 ")
        && !head.contains(" width=")
        && !head.contains(" height=")));
    // A table either scrolls in a container of its own or becomes a stack of cells.
    for (start, _) in page.match_indices("<table") {
        let scrolls = page[..start].ends_with("<div class=\"wide\" tabindex=\"0\">");
        assert!(
            scrolls || page[start..].starts_with("<table class=\"stack"),
            "{}",
            &page[start..start + 60]
        );
    }
    assert_eq!(
        page.matches("class=\"wide\"").count(),
        page.matches("class=\"hint\"").count(),
        "a hint at each"
    );
    // Fixed widths in the style sheet apply only to wide screens.
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert!(
        !style.contains("min-width: 3")
            && !style.contains(" width: 3")
            && style.contains("overflow-x: auto")
    );
    let narrow = style.split("@media (min-width").next().unwrap();
    let columns = narrow.matches("34rem").count();
    assert_eq!(columns, 0, "a column of 34rem is wider than a phone");
}

#[test]
fn an_empty_report_says_so_and_escapes_its_input() {
    let report = Report {
        machine: "2 CPUs (<i>fast & \"new\"</i>)".into(),
        command: "x --report '<script src=1>'".into(),
        subjects: &[Subject::Bare],
        seconds: Duration::from_millis(300),
        limit: None,
        capacities: &HashMap::new(),
        rows: &[],
        compared: None,
        unfinished: Some("nothing was measured yet"),
    };
    let text = document(&report);
    assert!(
        text.contains("&lt;i&gt;fast &amp; &quot;new&quot;")
            && text.contains("&#39;&lt;script src=1&gt;&#39;")
    );
    assert!(
        text.contains("not complete: nothing was measured yet")
            && text.contains("Too little was measured")
    );
    assert!(!text.contains("<script") && !text.contains("http"));
    assert!(!text.contains("Nothing was lost"), "nothing was delivered, either");
    assert_eq!(text.matches("No plot: there are no numbers").count(), METRICS.len());
}
