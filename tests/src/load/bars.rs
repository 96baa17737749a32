//! A bar chart of one metric at one number of connections: for each subject a bar with its number,
//! and a whisker that spans its samples. It is SVG without scripts, and so narrow that it needs no
//! scaling on a phone.

use super::metrics::{Spread, number};
use super::plot::{GRID, INK, color_of, hex};
use super::subject::Subject;
use std::fmt::Write;

/// The chart's width in SVG units. A unit is a pixel on a page that is at least as wide.
const WIDTH: f64 = 330.0;
/// The longest bar or whisker.
const BAR_WIDTH: f64 = WIDTH - 8.0;
const ROW_HEIGHT: f64 = 46.0;
const BAR_HEIGHT: f64 = 16.0;
const TOP: f64 = 4.0;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The subject of the number.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// The number, or the reason why there is none.
    pub number: Result<Spread, String>,
}

/// Draws the bars. `label` describes the chart to readers who cannot see it. `label`, names and
/// reasons must be escaped.
pub fn bars(label: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars
        .iter()
        .filter_map(|bar| bar.number.as_ref().ok())
        .map(|spread| spread.high)
        .fold(0.0, f64::max);
    let scale = if most > 0.0 { BAR_WIDTH / most } else { 0.0 };
    let height = TOP + ROW_HEIGHT * bars.len() as f64;
    let mut svg = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{label}\">\n"
    );
    for (index, bar) in bars.iter().enumerate() {
        let top = TOP + ROW_HEIGHT * index as f64;
        // Writing to a string does not fail.
        let _ = write!(svg, "{}", row(bar, unit, top, scale));
    }
    svg + "</svg>\n"
}

fn row(bar: &Bar, unit: &str, top: f64, scale: f64) -> String {
    let (ink, grid, color) = (hex(INK), hex(GRID), hex(color_of(bar.subject)));
    let (text_at, bar_at) = (top + 14.0, top + 20.0);
    let text = match &bar.number {
        Ok(spread) => format!("{} {unit}", number(spread.median)),
        Err(why) => why.clone(),
    };
    let mut svg = format!(
        "<text x=\"0\" y=\"{text_at}\" font-size=\"14\" fill=\"{ink}\">{}: \
         <tspan font-weight=\"bold\">{text}</tspan></text>\n\
         <path d=\"M0 {} V{}\" stroke=\"{grid}\"/>\n",
        bar.name,
        bar_at - 2.0,
        bar_at + BAR_HEIGHT + 2.0
    );
    if let Ok(spread) = &bar.number {
        let [low, median, high] =
            [spread.low, spread.median, spread.high].map(|value| (value * scale).max(0.5));
        let (middle, half) = (bar_at + BAR_HEIGHT / 2.0, BAR_HEIGHT / 4.0);
        svg.push_str(&format!(
            "<rect x=\"0\" y=\"{bar_at}\" width=\"{median:.1}\" height=\"{BAR_HEIGHT}\" \
             fill=\"{color}\"/>\n\
             <path class=\"whisker\" d=\"M{low:.1} {middle} H{high:.1} M{low:.1} {0} V{1} \
             M{high:.1} {0} V{1}\" stroke=\"{ink}\" stroke-width=\"2\" fill=\"none\"/>\n",
            middle - half,
            middle + half
        ));
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::subject::Model;

    #[test]
    fn each_bar_has_its_number_and_its_spread_or_a_reason() {
        let bar = |model, number| Bar {
            subject: Subject::Model(model),
            name: Model::name(model).into(),
            number,
        };
        let spread = Spread { low: 80.0, median: 100.0, high: 161.0 };
        let missing = Err("at most 7 fit".to_owned());
        let svg =
            bars("a chart", "µs", &[bar(Model::Pool, Ok(spread)), bar(Model::Process, missing)]);
        assert_eq!(
            (svg.matches("<rect ").count(), svg.matches("class=\"whisker\"").count()),
            (1, 1)
        );
        // The highest sample, 161, determines the scale: it is 322 units wide.
        assert!(
            svg.contains("width=\"200.0\"") && svg.contains("M160.0 ") && svg.contains("H322.0"),
            "{svg}"
        );
        assert!(svg.contains("100 µs") && svg.contains("at most 7 fit"));
    }

    #[test]
    fn zeros_are_drawn_and_nothing_is_divided_by_them() {
        let spread = Spread { low: 0.0, median: 0.0, high: 0.0 };
        let svg = bars(
            "",
            "ms",
            &[Bar { subject: Subject::Bare, name: "bare".into(), number: Ok(spread) }],
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
