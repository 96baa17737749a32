//! How the models rank by a metric, and how a metric grows with the number of connections, as
//! values and in sentences. Two models differ only if they differ by more than the spread of their
//! samples. No sentence depends on a number that is missing or doubtful.

use super::metrics::{Better, Curve, Kind, Metric, Point, Spread, number};
use super::phrases::{names, share};
use super::subject::Subject;
use std::time::Duration;

/// In a shorter run the slowest few deliveries are a matter of chance.
pub const TAILS_MIN: Duration = Duration::from_secs(1);

/// The relation of the best number to itself.
pub const BEST: &str = "best";

/// A metric and its curves.
#[derive(Debug)]
pub struct MeasuredMetric<'m> {
    /// The metric.
    pub metric: &'m Metric,
    /// Its curves for some subjects.
    pub curves: Vec<Curve>,
}

/// A subject in a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    pub subject: Subject,
    pub spread: Spread,
    /// Whether it is worse than the best one by more than the spread.
    pub is_behind: bool,
}

/// The subjects in the order of a metric at one number of connections.
#[derive(Debug, PartialEq)]
pub struct Ranking {
    pub size: usize,
    /// The best one first.
    pub order: Vec<Ranked>,
}

impl Ranking {
    /// The best subject, and those that do not differ from it.
    pub fn best(&self) -> Vec<Subject> {
        self.order.iter().filter(|ranked| !ranked.is_behind).map(|ranked| ranked.subject).collect()
    }

    /// The subjects that are behind the best one.
    pub fn behind(&self) -> impl Iterator<Item = &Ranked> {
        self.order.iter().filter(|ranked| ranked.is_behind)
    }

    /// Whether a subject is behind the best one.
    pub fn is_decided(&self) -> bool {
        self.behind().next().is_some()
    }

    /// A subject and its number, in relation to the best one.
    fn compared_with_best(&self, ranked: &Ranked) -> String {
        format!(
            "{} {} ({})",
            ranked.subject.text(),
            number(ranked.spread.median),
            self.relation(ranked)
        )
    }

    /// How a number relates to the best one: `best`, `the same`, `within the spread`, or a
    /// multiple.
    pub fn relation(&self, ranked: &Ranked) -> String {
        let best = &self.order[0];
        match ranked.is_behind {
            _ if ranked.subject == best.subject => BEST.into(),
            true => share(ranked.spread.median, best.spread.median, best.subject),
            false if ranked.spread == best.spread => "the same".into(),
            false => "within the spread".into(),
        }
    }
}

impl MeasuredMetric<'_> {
    /// The number of a subject.
    pub fn point(&self, subject: Subject, size: usize) -> Option<&Point> {
        self.curves.iter().find(|curve| curve.subject == subject)?.at(size)
    }

    /// The number of a subject, if it is not doubtful.
    pub fn reliable(&self, subject: Subject, size: usize) -> Option<Spread> {
        self.point(subject, size).filter(|point| point.doubt.is_none()).map(|point| point.spread)
    }

    /// The ranking at a number of connections, if at least two subjects have a reliable number
    /// there.
    pub fn ranking(&self, size: usize) -> Option<Ranking> {
        let reliable = |curve: &Curve| Some((curve.subject, self.reliable(curve.subject, size)?));
        let mut values: Vec<(Subject, Spread)> = self.curves.iter().filter_map(reliable).collect();
        let is_lower_better = self.metric.better == Better::Lower;
        values.sort_by(|(_, one), (_, other)| {
            let order = one.median.total_cmp(&other.median);
            if is_lower_better { order } else { order.reverse() }
        });
        let &(_, best) = values.first().filter(|_| values.len() >= 2)?;
        let rank = |(subject, spread): (Subject, Spread)| {
            let is_behind = spread.differs_from(&best, self.metric.same);
            Ranked { subject, spread, is_behind }
        };
        Some(Ranking { size, order: values.into_iter().map(rank).collect() })
    }

    /// The rankings at the fewest and at the most connections at which the most subjects have a
    /// number.
    fn ends(&self) -> Option<(Ranking, Ranking)> {
        let sizes = sizes(&self.curves);
        let rankings = || sizes.iter().filter_map(|&size| self.ranking(size));
        let most = rankings().map(|ranking| ranking.order.len()).max()?;
        let mut full = rankings().filter(|ranking| ranking.order.len() == most);
        let first = full.next()?;
        let last = full.next_back().or_else(|| self.ranking(first.size))?;
        Some((first, last))
    }

    /// Which model was best at the most connections, how far behind the others were, and whether
    /// another model was best with fewer.
    pub fn winner_sentence(&self) -> Option<String> {
        let (first, last) = self.ends()?;
        let (best, unit) = (last.best(), self.metric.unit);
        let mut text = format!("With {} connections ", number(last.size as f64));
        if last.is_decided() {
            let first = &last.order[0];
            let others: Vec<String> =
                last.order[1..].iter().map(|ranked| last.compared_with_best(ranked)).collect();
            text.push_str(&format!(
                "{} {}: {} {unit}; {}",
                first.subject.text(),
                self.metric.wins,
                number(first.spread.median),
                others.join(", ")
            ));
        } else {
            let all: Vec<String> = last
                .order
                .iter()
                .map(|ranked| format!("{} {}", ranked.subject.text(), number(ranked.spread.median)))
                .collect();
            text.push_str(&format!(
                "the models do not differ by more than the spread: {} {unit}",
                all.join(", ")
            ));
        }
        let before = first.best();
        if first.size < last.size
            && first.is_decided()
            && !before.iter().any(|subject| best.contains(subject))
        {
            text = format!(
                "{text}. With {} connections it was {}",
                number(first.size as f64),
                names(&before)
            );
        }
        Some(text + ".")
    }

    /// How curves grow from the fewest to the most connections, without doubtful numbers. `None` if
    /// no curve has two points, or if runs of this length are too short to say.
    pub fn growth_sentence(&self, each: Duration) -> Option<String> {
        if self.metric.kind == Kind::Tail && each < TAILS_MIN {
            return None;
        }
        let measured: Vec<(&Curve, Option<String>)> = self
            .curves
            .iter()
            .filter(|curve| curve.reliable().count() > 1)
            .map(|curve| (curve, growth_of(curve, self.metric.same)))
            .collect();
        let grown: Vec<String> = measured.iter().filter_map(|(_, growth)| growth.clone()).collect();
        let same: Vec<Subject> = measured
            .iter()
            .filter(|(_, growth)| growth.is_none())
            .map(|(curve, _)| curve.subject)
            .collect();
        let mut sentences = Vec::new();
        sentences.extend((!grown.is_empty()).then(|| format!("Growth: {}.", grown.join("; "))));
        sentences.extend(
            (!same.is_empty())
                .then(|| format!("No change larger than the spread: {}.", names(&same))),
        );
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }
}

/// How a curve grows; `None` if its ends do not differ by more than the spread.
fn growth_of(curve: &Curve, same: f64) -> Option<String> {
    let (first, last) = (curve.reliable().next()?, curve.reliable().last()?);
    if !last.spread.differs_from(&first.spread, same) {
        return None;
    }
    let times = last.spread.median / first.spread.median;
    let exponent = times.ln() / (last.size as f64 / first.size as f64).ln();
    let how = match exponent {
        ..0.0 => format!("falls to {} %", number(times * 100.0)),
        ..0.9 => {
            format!("grows to {} times, more slowly than the number of connections", number(times))
        }
        ..1.1 => format!(
            "grows to {} times, about in proportion to the number of connections",
            number(times)
        ),
        _ => format!("grows to {} times, faster than the number of connections", number(times)),
    };
    let [from, to] = [first.size, last.size].map(|size| number(size as f64));
    Some(format!("{} from {from} to {to} connections {how}", curve.subject.text()))
}

/// The numbers of connections of all points, in rising order.
pub fn sizes<'c>(curves: impl IntoIterator<Item = &'c Curve>) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        curves.into_iter().flat_map(|curve| curve.points.iter().map(|point| point.size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Curves for tests.
#[cfg(test)]
pub mod fixtures {
    use super::*;
    use crate::load::metrics::METRICS;
    use crate::load::subject::Model;

    pub const POOL: Subject = Subject::Model(Model::Pool);
    pub const THREADS: Subject = Subject::Model(Model::Threads);
    pub const PROCESS: Subject = Subject::Model(Model::Process);

    pub type Points<'p> = &'p [(usize, f64)];

    pub fn measured(id: &str, curves: &[(Subject, Points)]) -> MeasuredMetric<'static> {
        let metric = METRICS.iter().find(|metric| metric.id == id).unwrap();
        MeasuredMetric {
            metric,
            curves: curves.iter().map(|&(subject, points)| curve(subject, points)).collect(),
        }
    }

    /// Samples 5 % below and above.
    pub fn curve(subject: Subject, points: Points) -> Curve {
        let point = |&(size, value): &(usize, f64)| Point {
            size,
            spread: spread(value, 0.05),
            doubt: None,
        };
        Curve { subject, points: points.iter().map(point).collect() }
    }

    pub fn spread(value: f64, width: f64) -> Spread {
        Spread { low: value * (1.0 - width), median: value, high: value * (1.0 + width) }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    #[test]
    fn the_sentence_names_the_best_model() {
        let answer = |pool, process| {
            measured("storm", &[(POOL, &[(10, pool)]), (PROCESS, &[(10, process)])])
                .winner_sentence()
                .unwrap()
        };
        assert_eq!(
            answer(3_000.0, 1_000.0),
            "With 10 connections pool accepted the most connections per second: 3,000 \
             connections/s; process 1,000 (33.3 % of pool's)."
        );
        assert!(answer(1_000.0, 3_000.0).contains("process accepted the most"));
        assert!(
            answer(1_000.0, 1_050.0).contains("the models do not differ by more than the spread")
        );
    }

    #[test]
    fn the_sentence_names_another_model_that_is_best_with_few_connections() {
        let curves: &[(Subject, Points)] =
            &[(POOL, &[(10, 2.0), (5_000, 2.0)]), (THREADS, &[(10, 1.0), (5_000, 9.0)])];
        let answer = measured("cpu-rooms", curves).winner_sentence().unwrap();
        assert!(answer.starts_with("With 5,000 connections pool used the least"), "{answer}");
        assert!(answer.ends_with("With 10 connections it was threads."), "{answer}");
    }

    #[test]
    fn models_are_compared_at_a_size_at_which_the_most_have_a_number() {
        assert_eq!(
            measured("p99", &[(POOL, &[(10, 1.0)])]).winner_sentence(),
            None,
            "a single model wins nothing"
        );
        assert_eq!(measured("p99", &[]).winner_sentence(), None);
        // Only two models have a number with 5,000 connections. All have one with 100.
        let curves: &[(Subject, Points)] = &[
            (POOL, &[(100, 1.0), (5_000, 1.0)]),
            (THREADS, &[(100, 2.0), (5_000, 1.0)]),
            (PROCESS, &[(100, 3.0)]),
        ];
        assert!(
            measured("p99", curves).winner_sentence().unwrap().starts_with("With 100 connections")
        );
    }

    #[test]
    fn growth_is_stated_in_relation_to_the_number_of_connections() {
        let curves: &[(Subject, Points)] = &[
            (POOL, &[(10, 4.0), (1_000, 4.1)]),
            (THREADS, &[(10, 4.0), (1_000, 1.0)]),
            (PROCESS, &[(10, 1.0)]),
        ];
        let growth = measured("memory", curves).growth_sentence(TAILS_MIN).unwrap();
        assert_eq!(
            growth,
            "Growth: threads from 10 to 1,000 connections falls to 25 %. No change larger than the \
             spread: pool."
        );
        assert_eq!(measured("memory", &curves[2..]).growth_sentence(TAILS_MIN), None);
        assert!(measured("p99", curves).growth_sentence(TAILS_MIN).is_some());
        assert_eq!(
            measured("p99", curves).growth_sentence(TAILS_MIN / 2),
            None,
            "too short for tails"
        );
        let shape_of = |to: f64| {
            measured("memory", &[(POOL, &[(10, 1.0), (1_000, to)])])
                .growth_sentence(TAILS_MIN)
                .unwrap()
        };
        assert!(shape_of(3.0).contains("3 times, more slowly than"), "{}", shape_of(3.0));
        assert!(
            shape_of(100.0).contains("100 times, about in proportion to")
                && shape_of(900.0).contains("faster than")
        );
    }

    #[test]
    fn growth_within_the_spread_is_not_stated() {
        let wide = |value| Point { size: 10, spread: spread(value, 0.4), doubt: None };
        let mut measured = measured("cpu-paced", &[(POOL, &[(10, 1.0), (1_000, 1.8)])]);
        assert!(measured.growth_sentence(TAILS_MIN).unwrap().contains("grows to 1.8 times"));
        measured.curves[0].points = vec![wide(1.0), Point { size: 1_000, ..wide(1.8) }];
        assert_eq!(
            measured.growth_sentence(TAILS_MIN).unwrap(),
            "No change larger than the spread: pool."
        );
    }
}
