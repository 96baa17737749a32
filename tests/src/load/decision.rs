//! Which model to choose: a verdict for each number of connections, the cells of the decision
//! table, and the sentences that explain them. Everything is computed from the rankings.

use super::metrics::{Better, Point, number};
use super::phrases::{capitalized, goals_text, is_are_best, names, names_or, same_text, share};
use super::ranking::{MeasuredMetric, Ranking, sizes};
use super::subject::Subject;

/// Deliveries per second and connection in a lively chat: each client is in a room of ten and sends
/// a line every ten seconds.
const LIVELY_DELIVERIES: f64 = 0.9;
/// For a lively chat, a model that uses at most this share of one core is good enough,
const LIVELY_SHARE_MAX: f64 = 0.01;
/// if it delivers 99 of 100 lines within this time, in ms,
const LIVELY_MS_MAX: f64 = 20.0;
/// and uses at most this much memory for all connections together, in KiB.
const LIVELY_KIB_MAX: f64 = 64.0 * 1024.0;

/// The answer for one number of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The number of connections.
    pub size: usize,
    /// The model to choose: `pool`, `any model`.
    pub choose: String,
    /// Why, in one to three sentences.
    pub why: String,
}

/// The comparison of the models in all goals.
#[derive(Debug)]
pub struct Decision<'q> {
    metrics: &'q [MeasuredMetric<'q>],
    goals: Vec<&'q MeasuredMetric<'q>>,
    models: &'q [Subject],
    /// The most connections with which all models were measured.
    pub size: usize,
}

/// The models that are best in the largest number of goals.
#[derive(Debug, PartialEq, Eq)]
struct Leaders {
    subjects: Vec<Subject>,
    won: usize,
}

impl<'q> Decision<'q> {
    /// `None` if too little was measured.
    pub fn new(metrics: &'q [MeasuredMetric<'q>], models: &'q [Subject]) -> Option<Decision<'q>> {
        let goals: Vec<_> =
            metrics.iter().filter(|measured| measured.metric.goal().is_some()).collect();
        let has_all = |goal: &MeasuredMetric, size| {
            !goal.curves.is_empty() && models.iter().all(|&model| goal.point(model, size).is_some())
        };
        let answered = |size| goals.iter().filter(|goal| has_all(goal, size)).count();
        // The size with numbers in the most goals, because memory is not measured with few
        // connections. Of several such sizes, the largest.
        let size = sizes(goals.iter().flat_map(|goal| &goal.curves))
            .into_iter()
            .max_by_key(|&size| (answered(size), size))?;
        (answered(size) > 0).then_some(Decision { metrics, goals, models, size })
    }

    /// The numbers of connections at which some model has a number in some goal, in rising order.
    pub fn sizes(&self) -> Vec<usize> {
        sizes(self.goals.iter().flat_map(|goal| &goal.curves))
    }

    /// The models that were measured with this many connections.
    fn present(&self, size: usize) -> Vec<Subject> {
        let ran =
            |model: &Subject| self.goals.iter().any(|goal| goal.point(*model, size).is_some());
        self.models.iter().copied().filter(ran).collect()
    }

    /// The ranking in a goal, if each model that was measured has a reliable number.
    fn ranking(&self, goal: &MeasuredMetric, size: usize) -> Option<Ranking> {
        goal.ranking(size).filter(|ranking| ranking.order.len() == self.present(size).len())
    }

    fn rankings(&self, size: usize) -> Vec<(&'static str, Ranking)> {
        let of = |goal: &&MeasuredMetric| Some((goal.metric.goal()?, self.ranking(goal, size)?));
        self.goals.iter().filter_map(of).collect()
    }

    fn leaders(&self, size: usize) -> Option<Leaders> {
        let rankings = self.rankings(size);
        let is_won = |model: Subject, ranking: &Ranking| {
            ranking.is_decided() && ranking.best().contains(&model)
        };
        let won =
            |model: Subject| rankings.iter().filter(|(_, ranking)| is_won(model, ranking)).count();
        let most = self.models.iter().map(|&model| won(model)).max().filter(|&most| most > 0)?;
        let subjects = self.models.iter().copied().filter(|&model| won(model) == most).collect();
        Some(Leaders { subjects, won: most })
    }

    /// The answer for each number of connections.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.sizes().into_iter().map(|size| self.verdict(size)).collect()
    }

    /// The answer for one number of connections.
    pub fn verdict(&self, size: usize) -> Verdict {
        let (present, rankings) = (self.present(size), self.rankings(size));
        let decided = rankings.iter().filter(|(_, ranking)| ranking.is_decided()).count();
        let goals = goals_text(rankings.len());
        let verdict = |choose: String, why: String| Verdict {
            size,
            choose,
            why: why + &self.absent_text(size, &present),
        };
        let same = same_text(rankings.len() - decided);
        let ahead = |leaders: &Leaders| {
            format!("{} in {} of {goals}", is_are_best(&leaders.subjects), leaders.won)
        };
        let none_differs =
            format!("The models do not differ by more than the spread in any of {goals}.");
        match (&present[..], self.lively(size, &present), self.leaders(size)) {
            ([only], _, _) => verdict(
                only.text().into(),
                "No other model was measured with so many connections.".into(),
            ),
            (_, Some(lively), Some(leaders)) => verdict(
                "any model".into(),
                format!("{lively} At higher loads {}; {same}.", ahead(&leaders)),
            ),
            (_, Some(lively), None) if rankings.is_empty() => verdict("any model".into(), lively),
            (_, Some(lively), None) => {
                verdict("any model".into(), format!("{lively} {none_differs}"))
            }
            (_, None, _) if rankings.is_empty() => verdict(
                "unknown".into(),
                "In no goal do all models have a number that can be trusted.".into(),
            ),
            (_, None, None) => verdict("any model".into(), none_differs),
            (_, None, Some(leaders)) => {
                let behind = self.behind_text(&rankings, &leaders.subjects);
                verdict(
                    names_or(&leaders.subjects),
                    format!("{}; {same}.{behind}", capitalized(&ahead(&leaders))),
                )
            }
        }
    }

    /// A sentence with its numbers, if every model is more than good enough for a lively chat of
    /// this size.
    fn lively(&self, size: usize, present: &[Subject]) -> Option<String> {
        // Doubtful numbers are good enough here: even a pace that was not kept is hundreds of times
        // that of a lively chat.
        let worst = |id: &str| {
            let measured = self.metrics.iter().find(|measured| measured.metric.id == id)?;
            let mut medians =
                present.iter().map(|&model| Some(measured.point(model, size)?.spread.median));
            medians.try_fold(0.0, |most, median| Some(f64::max(most, median?)))
        };
        let share = worst("cpu-paced")? / 1e6 * LIVELY_DELIVERIES * size as f64;
        let (ms, kib) = (worst("p99")?, worst("memory").unwrap_or(0.0) * size as f64);
        let is_enough = share <= LIVELY_SHARE_MAX && ms <= LIVELY_MS_MAX && kib <= LIVELY_KIB_MAX;
        is_enough.then(|| {
            format!(
                "All models are equally good for people who chat: if each says a line every ten \
                 seconds in rooms of ten, that takes at most about {} % of one CPU in any model, \
                 and 99 of 100 lines arrive within {} ms.",
                number(share * 100.0),
                number(ms)
            )
        })
    }

    /// The goals in which the only leader is behind.
    fn behind_text(&self, rankings: &[(&'static str, Ranking)], leaders: &[Subject]) -> String {
        let [leader] = leaders else { return String::new() };
        let is_behind =
            |ranking: &Ranking| ranking.behind().any(|ranked| ranked.subject == *leader);
        let behind: Vec<String> = rankings
            .iter()
            .filter(|(_, ranking)| is_behind(ranking))
            .map(|(name, ranking)| format!("{} in {name}", names(&ranking.best())))
            .collect();
        if behind.is_empty() {
            String::new()
        } else {
            format!(" Ahead of it: {}.", behind.join("; "))
        }
    }

    fn absent_text(&self, size: usize, present: &[Subject]) -> String {
        let absent: Vec<Subject> =
            self.models.iter().copied().filter(|model| !present.contains(model)).collect();
        let number = number(size as f64);
        match absent.is_empty() || present.is_empty() {
            true => String::new(),
            false => format!(" Not measured with {number} connections: {}.", names(&absent)),
        }
    }

    /// The cells of a row of the decision table, one for each model.
    pub fn cells(&self, measured: &MeasuredMetric, size: usize) -> Vec<(Subject, Cell)> {
        let ranking = self.ranking(measured, size);
        let cell = |model: Subject| match measured.point(model, size) {
            Some(Point { doubt: Some(why), spread, .. }) => {
                Cell::Doubtful(spread.text(), why.clone())
            }
            Some(point) => {
                let ranked = ranking.as_ref().and_then(|ranking| {
                    ranking.order.iter().find(|ranked| ranked.subject == model)
                });
                let decided = ranking.as_ref().filter(|ranking| ranking.is_decided()).zip(ranked);
                let relation =
                    decided.map_or(String::new(), |(ranking, ranked)| ranking.relation(ranked));
                Cell::Measured(point.spread.text(), relation)
            }
            None => {
                let curve = measured.curves.iter().find(|curve| curve.subject == model);
                let smaller = curve
                    .and_then(|curve| curve.points.iter().rev().find(|point| point.size < size));
                Cell::Missing(smaller.map(|point| {
                    let [value, size] = [point.spread.median, point.size as f64].map(number);
                    format!("{value} {} with {size} connections", measured.metric.unit)
                }))
            }
        };
        self.models.iter().map(|&model| (model, cell(model))).collect()
    }

    /// The metrics that have a row in the decision table.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'q MeasuredMetric<'q>)> {
        self.metrics.iter().filter_map(|measured| Some((measured.metric.row_name()?, measured)))
    }

    /// The goals in which a model is among the best, and those in which it is behind, with the
    /// relation to the best.
    pub fn of_model(&self, model: Subject) -> (Vec<String>, Vec<String>) {
        let (mut ahead, mut behind) = (Vec::new(), Vec::new());
        for (name, ranking) in self.rankings(self.size) {
            match ranking.behind().find(|ranked| ranked.subject == model) {
                _ if !ranking.is_decided() => {}
                Some(ranked) => {
                    let best = &ranking.order[0];
                    behind.push(format!(
                        "{name} ({})",
                        share(ranked.spread.median, best.spread.median, best.subject)
                    ));
                }
                None => ahead.push(name.to_owned()),
            }
        }
        (ahead, behind)
    }

    /// A sentence on what a kill costs, at the most connections at which all models have the
    /// numbers.
    pub fn kill(&self) -> Option<String> {
        let of = |id: &str| self.metrics.iter().find(|measured| measured.metric.id == id);
        let (shares, waits) = (of("kill-share")?, of("kill-wait")?);
        let size = sizes(&shares.curves).into_iter().rev().find(|&size| {
            let has_both = |&model: &Subject| {
                shares.point(model, size).is_some() && waits.point(model, size).is_some()
            };
            self.models.iter().all(has_both)
        })?;
        let parts = self.models.iter().filter_map(|&model| {
            let [share, wait] = [shares, waits]
                .map(|measured| measured.point(model, size).map(|point| point.spread.median));
            let clients = (share? / 100.0 * size as f64).round();
            Some(format!(
                "in {} {} of {} clients for {} ms",
                model.text(),
                number(clients),
                number(size as f64),
                number(wait?)
            ))
        });
        let parts: Vec<String> = parts.collect();
        Some(format!(
            "When a process of the server is killed, no connection ends and no line is lost, but \
             clients wait: {}.",
            parts.join(", ")
        ))
    }

    /// How another server compares with the best model, goal by goal. `metrics` has its numbers.
    pub fn beside(&self, other: Subject, metrics: &[MeasuredMetric]) -> Vec<String> {
        let of_goal = |goal: &&MeasuredMetric| {
            let measured = metrics.iter().find(|measured| measured.metric.id == goal.metric.id)?;
            let value = measured.reliable(other, self.size)?.median;
            let values = self
                .models
                .iter()
                .filter_map(|&model| Some((model, goal.reliable(model, self.size)?.median)));
            let (best, of_best) = match goal.metric.better {
                Better::Lower => values.min_by(|(_, one), (_, other)| one.total_cmp(other)),
                Better::Higher => values.max_by(|(_, one), (_, other)| one.total_cmp(other)),
            }?;
            Some(format!("{}: {}", goal.metric.goal()?, share(value, of_best, best)))
        };
        self.goals.iter().filter_map(of_goal).collect()
    }
}

/// A cell of the decision table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The number with its spread, and its relation to the best; the relation is empty if the
    /// models do not differ.
    Measured(String, String),
    /// The number, and why it is doubtful.
    Doubtful(String, String),
    /// There is no number. The number with fewer connections, if there is one.
    Missing(Option<String>),
}

#[cfg(test)]
mod tests;
