//! A plot of some curves, as SVG: the number of connections to the right, a metric upwards, both
//! axes logarithmic, one line for each subject. A whisker at each point spans its samples. On a
//! dark background the report's style sheet replaces the colours of ink and grid.

use super::metrics::{Curve, Point, number};
use super::subject::{Model, Subject};
use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, LogCoord};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Its size in SVG units. The page scales it; the text must be readable at 340 pixels.
const SIZE: (u32, u32) = (520, 390);
/// The height of a row of the legend, which is above the axes.
const LEGEND_HEIGHT: i32 = 28;
/// The colour of text and axes.
pub const INK: RGBColor = RGBColor(0x20, 0x21, 0x24);
/// The colour of the grid.
pub const GRID: RGBColor = RGBColor(0xd8, 0xda, 0xde);
const FONT: (&str, u32) = ("sans-serif", 18);
/// The room beside the outermost points, as a factor.
const MARGIN: f64 = 1.4;
/// The vertical axis spans at least this factor, so that small differences look small.
const SPAN_MIN: f64 = 8.0;
const MARKER: i32 = 5;
/// Half the width of a whisker's ends.
const WHISKER: i32 = 6;
/// About the width of a letter in the legend.
const LETTER: i32 = 9;

type Area<'b> = DrawingArea<SVGBackend<'b>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A subject's colour in all pictures. Source: Okabe and Ito, colours that colour-blind readers can
/// distinguish.
pub fn color_of(subject: Subject) -> RGBColor {
    match subject {
        Subject::Model(Model::Pool) | Subject::Server => RGBColor(0x00, 0x72, 0xb2),
        Subject::Model(Model::Threads) => RGBColor(0xd5, 0x5e, 0x00),
        Subject::Model(Model::Process) => RGBColor(0x00, 0x9e, 0x73),
        Subject::Bare => RGBColor(0x80, 0x80, 0x80),
        Subject::Compared => RGBColor(0xcc, 0x79, 0xa7),
    }
}

/// A colour as SVG and style sheets write it.
pub fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// Draws the curves. `label` describes the plot to readers who cannot see it, and must be escaped.
/// `axis` is the title of the vertical axis, with the unit. `compared` is the compared server's
/// name in the legend.
///
/// # Errors
/// If there is nothing to draw.
pub fn svg(label: &str, axis: &str, curves: &[Curve], compared: &str) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, axis, curves, compared)?;
    // The head that the library writes has a fixed size.
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{label}\">{body}",
        SIZE.0, SIZE.1
    ))
}

fn draw(text: &mut String, axis: &str, curves: &[Curve], compared: &str) -> Result<(), String> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let mut sizes: Vec<f64> = points().map(|point| point.size as f64).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let values: Vec<f64> =
        points().flat_map(|point| [point.spread.low, point.spread.high]).collect();
    let (Some(across), Some(upwards)) = (span(&sizes, 1.0), span(&values, SPAN_MIN)) else {
        return Err("there are no numbers".into());
    };
    let failed = |error: DrawingAreaErrorKind<_>| format!("cannot draw: {error}");

    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let names = legend(curves, compared);
    let rows = names.last().map_or(1, |(_, _, (_, row))| row + 1);
    let (strip, plot) = root.split_vertically(rows * LEGEND_HEIGHT);
    draw_legend(&strip, &names).map_err(failed)?;
    let x = LogCoord::from((across.0..across.1).log_scale()).with_key_points(sizes);
    let y = LogCoord::from((upwards.0..upwards.1).log_scale()).with_key_points(ticks(upwards));
    let mut chart = ChartBuilder::on(&plot)
        .margin(6)
        .margin_right(20)
        .x_label_area_size(48)
        .y_label_area_size(86)
        .build_cartesian_2d(x, y)
        .map_err(failed)?;
    let style = FONT.into_font().color(&INK);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("connections")
        .y_desc(axis)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y));
    mesh.label_style(style.clone())
        .axis_desc_style(style)
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT);
    mesh.draw().map_err(failed)?;
    for curve in curves {
        let (color, points) = (
            color_of(curve.subject),
            curve.points.iter().map(|point| (point.size as f64, point.spread.median)),
        );
        if is_forkchat(curve.subject) {
            chart.draw_series(LineSeries::new(points, color.stroke_width(3))).map_err(failed)?;
        } else {
            chart
                .draw_series(DashedLineSeries::new(points, 7, 5, color.stroke_width(2)))
                .map_err(failed)?;
        }
        for point in &curve.points {
            let at = |value: f64| chart.plotting_area().map_coordinate(&(point.size as f64, value));
            draw_whisker(&root, curve.subject, at(point.spread.low), at(point.spread.high))
                .map_err(failed)?;
            mark(&root, curve.subject, at(point.spread.median), is_reliable(point))
                .map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}

fn is_reliable(point: &Point) -> bool {
    point.doubt.is_none()
}

/// Draws a whisker from the lowest to the highest sample.
fn draw_whisker(area: &Area, subject: Subject, low: (i32, i32), high: (i32, i32)) -> Drawn {
    let style = color_of(subject).stroke_width(2);
    if low == high {
        return Ok(());
    }
    area.draw(&PathElement::new([low, high], style))?;
    [low, high].into_iter().try_for_each(|(x, y)| {
        area.draw(&PathElement::new([(x - WHISKER, y), (x + WHISKER, y)], style))
    })
}

/// The legend: the subject of each curve, its name, and the position of the name: x, and the row.
fn legend(curves: &[Curve], compared: &str) -> Vec<(Subject, String, (i32, i32))> {
    let (mut x, mut row) = (10, 0);
    let entry = |curve: &Curve| {
        let name = if curve.subject == Subject::Compared { compared } else { curve.subject.text() };
        let width = 44 + LETTER * name.len() as i32 + 14;
        if x + width > SIZE.0 as i32 && x > 10 {
            (x, row) = (10, row + 1);
        }
        let at = (x, row);
        x += width;
        (curve.subject, name.to_owned(), at)
    };
    curves.iter().map(entry).collect()
}

/// Draws the names, each after its line and mark.
fn draw_legend(area: &Area, names: &[(Subject, String, (i32, i32))]) -> Drawn {
    let style = FONT.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (subject, name, (x, row)) in names {
        let (x, y) = (*x, row * LEGEND_HEIGHT + LEGEND_HEIGHT / 2);
        let color = color_of(*subject);
        let gap = if is_forkchat(*subject) { 0 } else { 12 };
        for (from, to) in [(x, x + 18 - gap / 2), (x + 18 + gap / 2, x + 36)] {
            area.draw(&PathElement::new([(from, y), (to, y)], color.stroke_width(3)))?;
        }
        mark(area, *subject, (x + 18, y), true)?;
        area.draw(&Text::new(name.clone(), (x + 44, y), style.clone()))?;
    }
    Ok(())
}

/// Draws the mark of a subject, since not every reader can distinguish the colours. The mark of a
/// doubtful number is hollow.
fn mark(area: &Area, subject: Subject, at: (i32, i32), is_reliable: bool) -> Drawn {
    let color = color_of(subject);
    let style = if is_reliable { color.filled() } else { color.stroke_width(2) };
    let ((x, y), far) = (at, MARKER + 2);
    let corners = match subject {
        Subject::Bare if is_reliable => {
            return area.draw(&Cross::new(at, MARKER, color.stroke_width(2)));
        }
        Subject::Model(Model::Pool) | Subject::Server | Subject::Bare => {
            return area.draw(&Circle::new(at, MARKER, style));
        }
        Subject::Model(Model::Process) => {
            return area.draw(&Rectangle::new(
                [(x - MARKER, y - MARKER), (x + MARKER, y + MARKER)],
                style,
            ));
        }
        Subject::Model(Model::Threads) => {
            vec![(x - far, y + MARKER), (x, y - far), (x + far, y + MARKER)]
        }
        Subject::Compared => vec![(x - far, y), (x, y - far), (x + far, y), (x, y + far)],
    };
    if is_reliable {
        return area.draw(&Polygon::new(corners, style));
    }
    let closed: Vec<_> = corners.iter().chain(&corners[..2]).copied().collect();
    area.draw(&PathElement::new(closed, style))
}

fn is_forkchat(subject: Subject) -> bool {
    matches!(subject, Subject::Model(_) | Subject::Server)
}

/// The range of an axis: from below the lowest to above the highest value. It spans at least the
/// factor `span_min`.
fn span(values: &[f64], span_min: f64) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)? / MARGIN;
    let high = values.iter().copied().reduce(f64::max)? * MARGIN;
    let widened = (span_min * low / high).max(1.0).sqrt();
    Some((low / widened, high * widened))
}

/// Round numbers in a range, not too many to be readable.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = (high / low).log10();
    let mantissas: &[f64] = match decades {
        ..=1.3 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        ..=2.5 => &[1.0, 2.0, 5.0],
        ..=3.5 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = exponents.flat_map(|exponent| {
        mantissas.iter().map(move |mantissa| mantissa * 10_f64.powi(exponent))
    });
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::metrics::Spread;

    fn point(size: usize, value: f64, width: f64) -> Point {
        Point {
            size,
            spread: Spread {
                low: value * (1.0 - width),
                median: value,
                high: value * (1.0 + width),
            },
            doubt: None,
        }
    }

    #[test]
    fn a_plot_has_every_curve_and_refers_to_nothing_outside() {
        let curve = |subject, factor: f64| Curve {
            subject,
            points: vec![point(10, factor, 0.0), point(5_000, 3.0 * factor, 0.0)],
        };
        let subjects = [
            Subject::Model(Model::Pool),
            Subject::Model(Model::Process),
            Subject::Bare,
            Subject::Compared,
        ];
        let text =
            svg("a plot", "µs", &subjects.map(|subject| curve(subject, 2.0)), "127.0.0.1:6667")
                .unwrap();
        for subject in subjects {
            let name = if subject == Subject::Compared { "127.0.0.1:6667" } else { subject.text() };
            assert!(text.contains(&hex(color_of(subject))) && text.contains(name), "{name}");
        }
        assert!(["connections", "µs", "5,000"].iter().all(|part| text.contains(part)), "{text}");
        assert!(
            text.starts_with("<svg viewBox")
                && text.trim_end().ends_with("</svg>")
                && !text.contains("http")
        );
    }

    #[test]
    fn the_spread_of_the_samples_is_drawn() {
        let lines = |width: f64| {
            let curve = Curve {
                subject: Subject::Model(Model::Pool),
                points: vec![point(10, 4.0, width), point(100, 9.0, width)],
            };
            svg("", "ms", &[curve], "").unwrap().matches("<polyline").count()
        };
        assert_eq!(lines(0.2), lines(0.0) + 6, "a line and two ends at each of two points");
    }

    #[test]
    fn names_that_do_not_fit_go_to_a_second_row() {
        let curve = |subject| Curve { subject, points: vec![point(10, 1.0, 0.0)] };
        let all =
            Model::ALL.map(Subject::Model).into_iter().chain([Subject::Bare, Subject::Compared]);
        let names = legend(&all.map(curve).collect::<Vec<_>>(), "127.0.0.1:6667");
        assert!(
            names
                .iter()
                .all(|(_, name, (x, _))| x + 44 + LETTER * name.len() as i32 <= SIZE.0 as i32),
            "{names:?}"
        );
        assert_eq!((names[0].2.1, names[4].2.1), (0, 1));
    }

    #[test]
    fn one_point_is_a_plot_and_none_is_not() {
        let one = Curve { subject: Subject::Bare, points: vec![point(10, 0.001, 0.0)] };
        assert!(svg("", "ms", &[one], "").is_ok());
        assert!(svg("", "ms", &[], "").is_err());
    }

    #[test]
    fn a_doubtful_point_is_hollow() {
        let reliable =
            |subject| Curve { subject, points: vec![point(10, 1.0, 0.0), point(100, 2.0, 0.0)] };
        for model in
            Model::ALL.map(Subject::Model).into_iter().chain([Subject::Bare, Subject::Compared])
        {
            let mut doubtful = reliable(model);
            doubtful.points[1].doubt = Some("why".into());
            assert_ne!(
                svg("", "ms", &[reliable(model)], ""),
                svg("", "ms", &[doubtful], ""),
                "{}",
                model.text()
            );
        }
    }

    #[test]
    fn ticks_are_few_and_within_the_range() {
        for (low, high) in
            [(0.9, 1.1), (0.001, 5_000.0), (3.0, 30.0), (1.0, 250.0), (40.0, 40_000.0)]
        {
            let (low, high) = span(&[low, high], SPAN_MIN).unwrap();
            assert!(high / low >= SPAN_MIN * 0.99);
            let ticks = ticks((low, high));
            assert!((3..=10).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        }
    }
}
