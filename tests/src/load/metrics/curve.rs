//! The curve of a metric: at each number of connections the median of the samples and their spread.

use super::number;
use crate::load::outcome::median_of;
use crate::load::subject::Subject;

/// The samples of one number: the lowest, the median and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The lowest sample.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The highest sample.
    pub high: f64,
}

impl Spread {
    /// The spread of some samples; `None` if there are none.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let low = samples.iter().copied().reduce(f64::min)?;
        let high = samples.iter().copied().reduce(f64::max)?;
        Some(Spread { low, median: median_of(samples.iter().copied())?, high })
    }

    /// Whether two numbers differ by more than the spread: no sample of one lies between samples of
    /// the other, and the ratio of the medians is more than `same`.
    pub fn differs_from(&self, other: &Spread, same: f64) -> bool {
        let is_apart = self.low > other.high || self.high < other.low;
        let ratio = self.median / other.median;
        is_apart && !(1.0 / same..=same).contains(&ratio)
    }

    /// The median, with the lowest and highest sample if they differ: `3.1 (2.9–3.4)`.
    pub fn text(&self) -> String {
        let [low, median, high] = [self.low, self.median, self.high].map(number);
        if low == high { median } else { format!("{median} ({low}–{high})") }
    }
}

/// A metric at one number of connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The number of connections.
    pub size: usize,
    /// The samples.
    pub spread: Spread,
    /// Why the number is doubtful, if it is. The plot shows a doubtful point hollow, and no
    /// sentence depends on it.
    pub doubt: Option<String>,
}

/// A metric of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The subject.
    pub subject: Subject,
    /// By rising number of connections.
    pub points: Vec<Point>,
}

impl Curve {
    /// The point at a number of connections.
    pub fn at(&self, size: usize) -> Option<&Point> {
        self.points.iter().find(|point| point.size == size)
    }

    /// The points that are not doubtful.
    pub fn reliable(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.doubt.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::subject::Model;

    #[test]
    fn two_numbers_differ_only_by_more_than_their_spread() {
        let spread = |samples: &[f64]| Spread::of(samples).unwrap();
        let (low, high) = (spread(&[1.0, 1.1, 0.9]), spread(&[2.0, 1.9, 2.2]));
        assert!(low.differs_from(&high, 1.25) && high.differs_from(&low, 1.25));
        assert!(!low.differs_from(&high, 2.5), "the ratio is too small");
        assert!(
            !low.differs_from(&spread(&[2.0, 1.05, 2.2]), 1.25),
            "one sample lies within the other's"
        );
        assert_eq!((low.text(), spread(&[3.0]).text()), ("1 (0.9–1.1)".to_owned(), "3".to_owned()));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_curve_has_points_only_at_its_sizes() {
        let point = |size, value, doubt: Option<&str>| Point {
            size,
            spread: Spread::of(&[value]).unwrap(),
            doubt: doubt.map(str::to_owned),
        };
        let points = vec![point(10, 1.0, None), point(100, 2.0, Some("why"))];
        let curve = Curve { subject: Subject::Model(Model::Pool), points };
        assert_eq!(
            [10, 50, 100].map(|size| curve.at(size).map(|point| point.spread.median)),
            [Some(1.0), None, Some(2.0)]
        );
        assert_eq!(curve.reliable().map(|point| point.size).collect::<Vec<_>>(), [10]);
    }
}
