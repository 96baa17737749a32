//! A plot of some curves, as SVG: connections to the right, a metric upwards, both axes logarithmic, one line for each subject. Ink and grid
//! have colours that the report's style sheet finds and changes where the background is dark.

use super::growth::{Curve, number};
use super::subject::{Model, Subject};
use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, LogCoord};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Its size, in units of its own; the page stretches it.
const SIZE: (u32, u32) = (720, 400);
/// The strip above the axes with everybody's name.
const LEGEND_HEIGHT: u32 = 34;
/// Text and axes.
pub const INK: RGBColor = RGBColor(0x20, 0x21, 0x24);
/// The lines behind the curves.
pub const GRID: RGBColor = RGBColor(0xd8, 0xda, 0xde);
const FONT: (&str, u32) = ("sans-serif", 18);
/// Room beside the outermost points, as a factor.
const MARGIN: f64 = 1.4;
/// The axis upwards spans at least so much, as a factor: small differences shall look small.
const SPAN_MIN: f64 = 8.0;
const MARKER: i32 = 5;

type Area<'b> = DrawingArea<SVGBackend<'b>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The same for a subject everywhere. Source: Okabe and Ito, colours that the colour-blind can tell apart.
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

/// Draws the curves. `label` is for who can't see it, without markup; `axis` names what goes upwards, with its unit; `compared` is the
/// compared server's name in the legend.
///
/// # Errors
/// If there is nothing to draw.
pub fn svg(label: &str, axis: &str, curves: &[Curve], compared: &str) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, axis, curves, compared)?;
    // Its own head has a fixed size.
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{label}\">{body}", SIZE.0, SIZE.1))
}

fn draw(text: &mut String, axis: &str, curves: &[Curve], compared: &str) -> Result<(), String> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let mut sizes: Vec<f64> = points().map(|&(size, _)| size as f64).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let values: Vec<f64> = points().map(|&(_, value)| value).collect();
    let (Some(across), Some(upwards)) = (span(&sizes, 1.0), span(&values, SPAN_MIN)) else { return Err("there are no numbers".into()) };
    let failed = |error: DrawingAreaErrorKind<_>| format!("cannot draw: {error}");

    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let (legend, plot) = root.split_vertically(LEGEND_HEIGHT);
    draw_legend(&legend, curves, compared).map_err(failed)?;
    let x = LogCoord::from((across.0..across.1).log_scale()).with_key_points(sizes);
    let y = LogCoord::from((upwards.0..upwards.1).log_scale()).with_key_points(ticks(upwards));
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(92)
        .build_cartesian_2d(x, y)
        .map_err(failed)?;
    let style = FONT.into_font().color(&INK);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("connections").y_desc(axis).x_label_formatter(&|x| number(*x)).y_label_formatter(&|y| number(*y));
    mesh.label_style(style.clone()).axis_desc_style(style).axis_style(INK).bold_line_style(GRID).light_line_style(TRANSPARENT);
    mesh.draw().map_err(failed)?;
    for curve in curves {
        let (color, points) = (color_of(curve.subject), curve.points.iter().map(|&(size, value)| (size as f64, value)));
        if is_forkchat(curve.subject) {
            chart.draw_series(LineSeries::new(points, color.stroke_width(3))).map_err(failed)?;
        } else {
            chart.draw_series(DashedLineSeries::new(points, 7, 5, color.stroke_width(2))).map_err(failed)?;
        }
        for &(size, value) in &curve.points {
            let at = chart.plotting_area().map_coordinate(&(size as f64, value));
            mark(&root, curve.subject, at, curve.doubt(size).is_none()).map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}

/// The names in a row, each behind its line and marker.
fn draw_legend(area: &Area, curves: &[Curve], compared: &str) -> Drawn {
    let style = FONT.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    let (mut x, y) = (10, LEGEND_HEIGHT as i32 / 2);
    for curve in curves {
        let color = color_of(curve.subject);
        let gap = if is_forkchat(curve.subject) { 0 } else { 12 };
        for (from, to) in [(x, x + 18 - gap / 2), (x + 18 + gap / 2, x + 36)] {
            area.draw(&PathElement::new([(from, y), (to, y)], color.stroke_width(3)))?;
        }
        mark(area, curve.subject, (x + 18, y), true)?;
        let name = if curve.subject == Subject::Compared { compared } else { curve.subject.text() };
        area.draw(&Text::new(name, (x + 44, y), style.clone()))?;
        x += 44 + 8 * name.len() as i32 + 14;
    }
    Ok(())
}

/// A mark of its own for each, since colours alone don't tell everybody enough. Hollow, if the number is doubtful.
fn mark(area: &Area, subject: Subject, at: (i32, i32), is_sound: bool) -> Drawn {
    let color = color_of(subject);
    let style = if is_sound { color.filled() } else { color.stroke_width(2) };
    let ((x, y), far) = (at, MARKER + 2);
    let corners = match subject {
        Subject::Bare if is_sound => return area.draw(&Cross::new(at, MARKER, color.stroke_width(2))),
        Subject::Model(Model::Pool) | Subject::Server | Subject::Bare => return area.draw(&Circle::new(at, MARKER, style)),
        Subject::Model(Model::Process) => {
            return area.draw(&Rectangle::new([(x - MARKER, y - MARKER), (x + MARKER, y + MARKER)], style));
        }
        Subject::Model(Model::Threads) => vec![(x - far, y + MARKER), (x, y - far), (x + far, y + MARKER)],
        Subject::Compared => vec![(x - far, y), (x, y - far), (x + far, y), (x, y + far)],
    };
    if is_sound {
        return area.draw(&Polygon::new(corners, style));
    }
    let closed: Vec<_> = corners.iter().chain(&corners[..2]).copied().collect();
    area.draw(&PathElement::new(closed, style))
}

fn is_forkchat(subject: Subject) -> bool {
    matches!(subject, Subject::Model(_) | Subject::Server)
}

/// From below the lowest to above the highest, at least so many times as high.
fn span(values: &[f64], span_min: f64) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)? / MARGIN;
    let high = values.iter().copied().reduce(f64::max)? * MARGIN;
    let widened = (span_min * low / high).max(1.0).sqrt();
    Some((low / widened, high * widened))
}

/// Round numbers between these, as many as can be read.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = (high / low).log10();
    let mantissas: &[f64] = match decades {
        ..=1.3 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        ..=2.5 => &[1.0, 2.0, 5.0],
        ..=3.5 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = exponents.flat_map(|exponent| mantissas.iter().map(move |mantissa| mantissa * 10_f64.powi(exponent)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_curve_and_nothing_from_outside() {
        let curve = |subject, factor: f64| Curve { subject, points: vec![(10, factor), (5_000, 3.0 * factor)], doubts: Vec::new() };
        let subjects = [Subject::Model(Model::Pool), Subject::Model(Model::Process), Subject::Bare, Subject::Compared];
        let text = svg("a plot", "µs", &subjects.map(|subject| curve(subject, 2.0)), "127.0.0.1:6667").unwrap();
        for subject in subjects {
            let name = if subject == Subject::Compared { "127.0.0.1:6667" } else { subject.text() };
            assert!(text.contains(&hex(color_of(subject))) && text.contains(name), "{name}");
        }
        assert!(["connections", "µs", "5,000"].iter().all(|part| text.contains(part)), "{text}");
        assert!(text.starts_with("<svg viewBox") && text.trim_end().ends_with("</svg>") && !text.contains("http"));
    }

    #[test]
    fn one_point_is_a_plot_and_none_is_not() {
        let one = Curve { subject: Subject::Bare, points: vec![(10, 0.001)], doubts: Vec::new() };
        assert!(svg("", "ms", &[one], "").is_ok());
        assert!(svg("", "ms", &[], "").is_err());
    }

    #[test]
    fn a_doubtful_point_is_hollow() {
        let sound = |subject| Curve { subject, points: vec![(10, 1.0), (100, 2.0)], doubts: Vec::new() };
        for model in Model::ALL.map(Subject::Model).into_iter().chain([Subject::Bare, Subject::Compared]) {
            let doubtful = Curve { doubts: vec![(100, "why".into())], ..sound(model) };
            assert_ne!(svg("", "ms", &[sound(model)], ""), svg("", "ms", &[doubtful], ""), "{}", model.text());
        }
    }

    #[test]
    fn ticks_are_few_and_within() {
        for (low, high) in [(0.9, 1.1), (0.001, 5_000.0), (3.0, 30.0), (1.0, 250.0), (40.0, 40_000.0)] {
            let (low, high) = span(&[low, high], SPAN_MIN).unwrap();
            assert!(high / low >= SPAN_MIN * 0.99);
            let ticks = ticks((low, high));
            assert!((3..=10).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        }
    }
}
