//! The metrics of the report, and their curves: at each number of connections the median of the
//! samples and their spread.

mod curve;
mod number;
mod table;

use super::outcome::Outcome;
use super::report::Row;
use super::shape::Traffic;
use super::subject::Subject;

pub use curve::{Curve, Point, Spread};
pub use number::number;
pub use table::METRICS;

/// Something that is measured in a family of shapes, at each number of connections.
#[derive(Debug)]
pub struct Metric {
    /// The id of its section in the report.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The axis's title, with the unit.
    pub axis: &'static str,
    /// The unit, as it follows a number in a sentence.
    pub unit: &'static str,
    /// The family of shapes in which it is measured.
    pub family: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Whether it has a row in the decision table.
    pub rank: Rank,
    /// With fewer connections than this the number means nothing.
    pub size_min: usize,
    /// Whether higher or lower is better.
    pub better: Better,
    /// Two numbers whose ratio is at most this count as the same.
    pub same: f64,
    /// What the best model did, for a sentence: "used the least CPU time per delivery".
    pub wins: &'static str,
    /// How to read the plot.
    pub reading: &'static str,
    /// Reads the number from an outcome.
    pub value: fn(&Outcome) -> Option<f64>,
}

/// Whether a metric has a row in the decision table, and the row's name. The name uses no term that
/// the report defines only later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It has a row and counts in the verdict. There are few goals, and none follows from another.
    Goal(&'static str),
    /// It has a row but does not count in the verdict.
    Shown(&'static str),
    /// It has only a plot.
    Plot,
}

/// Which of two numbers is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// The kind of a metric. It decides what makes a number doubtful and what can be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something per second.
    Speed,
    /// A cost: time, memory, threads.
    Cost,
    /// The median latency.
    Latency,
    /// A high percentile of the latency.
    Tail,
}

impl Metric {
    /// A curve for each subject that has numbers, in the given order. Zeros are omitted, since a
    /// logarithmic axis cannot show them.
    pub fn curves(&self, rows: &[Row], subjects: &[Subject]) -> Vec<Curve> {
        let of = |subject: Subject| {
            let rows = rows.iter().filter(|row| row.shape.name == self.family);
            let point = |row: &Row| {
                let outcome = row.of(subject)?;
                Some(Point {
                    size: row.size?,
                    spread: self.spread(outcome)?,
                    doubt: self.doubt(row, outcome),
                })
            };
            let mut points: Vec<_> = rows
                .filter_map(point)
                .filter(|point| point.size >= self.size_min && point.spread.low > 0.0)
                .collect();
            points.sort_by_key(|point| point.size);
            Curve { subject, points }
        };
        subjects
            .iter()
            .map(|&subject| of(subject))
            .filter(|curve| !curve.points.is_empty())
            .collect()
    }

    /// The spread of the metric over the samples of an outcome.
    pub fn spread(&self, outcome: &Outcome) -> Option<Spread> {
        if outcome.samples.is_empty() {
            return Spread::of(&[(self.value)(outcome)?]);
        }
        Spread::of(&outcome.samples.iter().filter_map(self.value).collect::<Vec<_>>())
    }

    /// Its name in the decision table, if it has a row there.
    pub fn row_name(&self) -> Option<&'static str> {
        match self.rank {
            Rank::Goal(name) | Rank::Shown(name) => Some(name),
            Rank::Plot => None,
        }
    }

    /// Its name among the goals, if it is one.
    pub fn goal(&self) -> Option<&'static str> {
        if let Rank::Goal(name) = self.rank { Some(name) } else { None }
    }

    /// Why a number is doubtful, if it is.
    fn doubt(&self, row: &Row, outcome: &Outcome) -> Option<String> {
        if let Some(share) = outcome.rate_share.filter(|_| outcome.missed_its_rate()) {
            return Some(format!("only {} % of the pace was kept", number(share * 100.0)));
        }
        // In a storm a client waits for the 255 others that log in with it. The server does not
        // stand still meanwhile.
        let is_exempt = self.kind == Kind::Cost || row.shape.traffic == Traffic::Storm;
        let stall = outcome.stall_ms().filter(|_| !is_exempt)?;
        Some(format!("the server or the machine stood still: a delivery took {} ms", number(stall)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::families::FAMILIES;
    use crate::load::outcome::outcome_of;
    use crate::load::subject::Model;

    #[test]
    fn a_point_has_the_median_and_the_spread_of_its_samples() {
        let sample = |cpu| Outcome { cpu_micros: Some(cpu), ..outcome_of(&[1]) };
        let summary = Outcome::of_samples(vec![sample(7.0), sample(2.0), sample(3.0)]).unwrap();
        let metric = METRICS.iter().find(|metric| metric.id == "cpu-paced").unwrap();
        assert_eq!(metric.spread(&summary), Some(Spread { low: 2.0, median: 3.0, high: 7.0 }));
        assert_eq!(metric.spread(&sample(4.0)), Spread::of(&[4.0]));
    }

    #[test]
    fn a_missed_pace_and_a_standstill_make_numbers_doubtful() {
        let pool = Subject::Model(Model::Pool);
        let doubts = |id: &str, outcome: Outcome| -> Vec<String> {
            let metric = METRICS.iter().find(|metric| metric.id == id).unwrap();
            let shape =
                FAMILIES.iter().find(|family| family.name == metric.family).unwrap().shape(10);
            let row = Row {
                shape,
                workers: None,
                size: Some(10),
                sides: vec![(pool, outcome)],
                missing: Vec::new(),
            };
            metric
                .curves(&[row], &[pool])
                .remove(0)
                .points
                .into_iter()
                .filter_map(|point| point.doubt)
                .collect()
        };
        let slow =
            || Outcome { rate_share: Some(0.4), cpu_micros: Some(1.0), ..outcome_of(&[1, 2]) };
        for id in ["cpu-paced", "p50", "p99"] {
            assert_eq!(doubts(id, slow()), ["only 40 % of the pace was kept"], "{id}");
        }
        let stalled = || Outcome {
            rate_share: Some(1.0),
            cpu_micros: Some(1.0),
            ..outcome_of(&[1, 1, 1, 300])
        };
        assert!(
            doubts("p99", stalled())[0].contains("stood still")
                && doubts("deliveries-room", stalled()).len() == 1
        );
        assert!(doubts("cpu-paced", stalled()).is_empty(), "the cost does not change");
        assert!(doubts("storm", stalled()).is_empty());
    }
}
