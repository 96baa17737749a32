//! Which model to choose, in sentences that are computed from the measured numbers. Where a number
//! is missing or doubtful, no sentence depends on it. Two models differ only if they differ by more
//! than the spread of their samples.

use super::metrics::{Better, Curve, Kind, Metric, Point, Spread, number};
use super::subject::Subject;
use std::time::Duration;

/// In a shorter run the few slowest deliveries are chance.
pub const TAILS_MIN: Duration = Duration::from_secs(1);

/// In a lively chat each client is in a room of ten and says a line every ten seconds: deliveries
/// per second for each connection.
const LIVELY_DELIVERIES: f64 = 0.9;
/// All models are good enough for a lively chat if it takes at most this share of one core,
const LIVELY_SHARE_MAX: f64 = 0.01;
/// 99 of 100 lines arrive within this time, in ms,
const LIVELY_MS_MAX: f64 = 20.0;
/// and all connections together use at most this much memory, in KiB.
const LIVELY_KIB_MAX: f64 = 64.0 * 1024.0;

/// How the best number relates to itself.
pub const BEST: &str = "best";

/// A metric and its curves.
#[derive(Debug)]
pub struct MetricCurves<'m> {
    /// What was measured.
    pub metric: &'m Metric,
    /// The models' numbers, without those of other servers.
    pub curves: Vec<Curve>,
}

/// One model's place in a standing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ranked {
    subject: Subject,
    spread: Spread,
    /// Whether it is worse than the best by more than the spread.
    is_behind: bool,
}

/// How the models compare at one number of connections.
#[derive(Debug, PartialEq)]
struct Ranking {
    size: usize,
    /// The best first.
    order: Vec<Ranked>,
}

impl Ranking {
    /// The best, and those that do not differ from it.
    fn best(&self) -> Vec<Subject> {
        self.order.iter().filter(|place| !place.is_behind).map(|place| place.subject).collect()
    }

    fn behind(&self) -> impl Iterator<Item = &Ranked> {
        self.order.iter().filter(|place| place.is_behind)
    }

    /// Whether a model is behind.
    fn is_decided(&self) -> bool {
        self.behind().next().is_some()
    }

    /// A number relative to the best.
    fn beside(&self, place: &Ranked) -> String {
        format!(
            "{} {} ({})",
            place.subject.text(),
            number(place.spread.median),
            self.relation(place)
        )
    }

    /// How a number relates to the best: `best`, `within the spread`, or as a multiple.
    fn relation(&self, place: &Ranked) -> String {
        let best = &self.order[0];
        match place.is_behind {
            _ if place.subject == best.subject => BEST.into(),
            true => share(place.spread.median, best.spread.median, best.subject),
            false if place.spread == best.spread => "the same".into(),
            false => "within the spread".into(),
        }
    }
}

impl MetricCurves<'_> {
    fn of(&self, subject: Subject, size: usize) -> Option<&Point> {
        self.curves.iter().find(|curve| curve.subject == subject)?.at(size)
    }

    fn reliable(&self, subject: Subject, size: usize) -> Option<Spread> {
        self.of(subject, size).filter(|point| point.doubt.is_none()).map(|point| point.spread)
    }

    /// The standing at a size, if at least two models have a sound number there.
    fn ranking(&self, size: usize) -> Option<Ranking> {
        let reliable = |curve: &Curve| Some((curve.subject, self.reliable(curve.subject, size)?));
        let mut values: Vec<(Subject, Spread)> = self.curves.iter().filter_map(reliable).collect();
        let is_lower_better = self.metric.better == Better::Lower;
        values.sort_by(|(_, one), (_, other)| {
            let order = one.median.total_cmp(&other.median);
            if is_lower_better { order } else { order.reverse() }
        });
        let &(_, best) = values.first().filter(|_| values.len() >= 2)?;
        let place = |(subject, spread): (Subject, Spread)| {
            let is_behind = spread.differs_from(&best, self.metric.same);
            Ranked { subject, spread, is_behind }
        };
        Some(Ranking { size, order: values.into_iter().map(place).collect() })
    }

    /// The standings at the fewest and at the most connections at which most of the models have a
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
    pub fn answer(&self) -> Option<String> {
        let (first, last) = self.ends()?;
        let (best, unit) = (last.best(), self.metric.unit);
        let mut text = format!("With {} connections ", number(last.size as f64));
        if last.is_decided() {
            let first = &last.order[0];
            let others: Vec<String> =
                last.order[1..].iter().map(|place| last.beside(place)).collect();
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
                .map(|place| format!("{} {}", place.subject.text(), number(place.spread.median)))
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

    /// How each curve grows from end to end, for those that grow by more than their spread; without
    /// doubtful numbers. `None` if no curve has two points, or if runs of this length are too short
    /// to say.
    pub fn growth(&self, each: Duration) -> Option<String> {
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

/// `None` if the ends do not differ by more than the spread.
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

/// The numbers of connections at which there is a number, in rising order.
fn sizes<'c>(curves: impl IntoIterator<Item = &'c Curve>) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        curves.into_iter().flat_map(|curve| curve.points.iter().map(|point| point.size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

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

/// The models beside each other, goal by goal.
#[derive(Debug)]
pub struct Decision<'q> {
    questions: &'q [MetricCurves<'q>],
    goals: Vec<&'q MetricCurves<'q>>,
    models: &'q [Subject],
    /// The most connections that all models ran with.
    pub size: usize,
}

/// The models that are best in the most goals.
#[derive(Debug, PartialEq, Eq)]
struct Leaders {
    subjects: Vec<Subject>,
    won: usize,
}

impl<'q> Decision<'q> {
    /// `None` if nothing was measured to choose by.
    pub fn new(questions: &'q [MetricCurves<'q>], models: &'q [Subject]) -> Option<Decision<'q>> {
        let goals: Vec<_> =
            questions.iter().filter(|question| question.metric.goal().is_some()).collect();
        let has_all = |goal: &MetricCurves, size| {
            !goal.curves.is_empty() && models.iter().all(|&model| goal.of(model, size).is_some())
        };
        let answered = |size| goals.iter().filter(|goal| has_all(goal, size)).count();
        // Of sizes with fewer goals, such as memory that is not measured with few connections, the
        // largest still wins: most goals first.
        let size = sizes(goals.iter().flat_map(|goal| &goal.curves))
            .into_iter()
            .max_by_key(|&size| (answered(size), size))?;
        (answered(size) > 0).then_some(Decision { questions, goals, models, size })
    }

    /// The numbers of connections with which a model has a number in a goal, in rising order.
    pub fn sizes(&self) -> Vec<usize> {
        sizes(self.goals.iter().flat_map(|goal| &goal.curves))
    }

    /// The models that ran with so many connections.
    fn present(&self, size: usize) -> Vec<Subject> {
        let ran = |model: &Subject| self.goals.iter().any(|goal| goal.of(*model, size).is_some());
        self.models.iter().copied().filter(ran).collect()
    }

    /// The standing in a goal of the models that ran, if each has a sound number.
    fn ranking(&self, goal: &MetricCurves, size: usize) -> Option<Ranking> {
        goal.ranking(size).filter(|ranking| ranking.order.len() == self.present(size).len())
    }

    fn rankings(&self, size: usize) -> Vec<(&'static str, Ranking)> {
        let of = |goal: &&MetricCurves| Some((goal.metric.goal()?, self.ranking(goal, size)?));
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

    /// Whether every model is more than good enough for a lively chat of this size, and the numbers
    /// from which that follows.
    fn lively(&self, size: usize, present: &[Subject]) -> Option<String> {
        // Doubtful numbers are good enough here: a pace that was not kept is still hundreds of
        // times that of a lively chat.
        let worst = |id: &str| {
            let question = self.questions.iter().find(|question| question.metric.id == id)?;
            let mut medians =
                present.iter().map(|&model| Some(question.of(model, size)?.spread.median));
            medians.try_fold(0.0, |most, median| Some(f64::max(most, median?)))
        };
        let share = worst("cpu-paced")? / 1e6 * LIVELY_DELIVERIES * size as f64;
        let (ms, kib) = (worst("p99")?, worst("memory").unwrap_or(0.0) * size as f64);
        let is_enough = share <= LIVELY_SHARE_MAX && ms <= LIVELY_MS_MAX && kib <= LIVELY_KIB_MAX;
        is_enough.then(|| {
            format!(
                "All models are equally good for people who chat: if each says a line every ten seconds in rooms of ten, that takes at most about {} % of one CPU \
                 in any model, and 99 of 100 lines arrive within {} ms.",
                number(share * 100.0),
                number(ms)
            )
        })
    }

    /// What speaks against the leaders: the goals in which they are behind.
    fn behind_text(&self, rankings: &[(&'static str, Ranking)], leaders: &[Subject]) -> String {
        let [leader] = leaders else { return String::new() };
        let is_behind = |ranking: &Ranking| ranking.behind().any(|place| place.subject == *leader);
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

    /// The cells of a row of the decision table: for each model what it measured at this size, and
    /// whether it is the best or as good.
    pub fn cells(&self, question: &MetricCurves, size: usize) -> Vec<(Subject, Cell)> {
        let ranking = self.ranking(question, size);
        let cell = |model: Subject| match question.of(model, size) {
            Some(Point { doubt: Some(why), spread, .. }) => {
                Cell::Doubtful(spread.text(), why.clone())
            }
            Some(point) => {
                let place = ranking
                    .as_ref()
                    .and_then(|ranking| ranking.order.iter().find(|place| place.subject == model));
                let decided = ranking.as_ref().filter(|ranking| ranking.is_decided()).zip(place);
                let relation =
                    decided.map_or(String::new(), |(ranking, place)| ranking.relation(place));
                Cell::Measured(point.spread.text(), relation)
            }
            None => {
                let curve = question.curves.iter().find(|curve| curve.subject == model);
                let smaller = curve
                    .and_then(|curve| curve.points.iter().rev().find(|point| point.size < size));
                Cell::Missing(smaller.map(|point| {
                    let [value, size] = [point.spread.median, point.size as f64].map(number);
                    format!("{value} {} with {size} connections", question.metric.unit)
                }))
            }
        };
        self.models.iter().map(|&model| (model, cell(model))).collect()
    }

    /// The questions that have a row in the decision table.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'q MetricCurves<'q>)> {
        self.questions.iter().filter_map(|question| Some((question.metric.row_name()?, question)))
    }

    /// The goals in which a model is ahead of another, and those in which it is behind, with how
    /// far.
    pub fn of_model(&self, model: Subject) -> (Vec<String>, Vec<String>) {
        let (mut ahead, mut behind) = (Vec::new(), Vec::new());
        for (name, ranking) in self.rankings(self.size) {
            match ranking.behind().find(|place| place.subject == model) {
                _ if !ranking.is_decided() => {}
                Some(place) => {
                    let best = &ranking.order[0];
                    behind.push(format!(
                        "{name} ({})",
                        share(place.spread.median, best.spread.median, best.subject)
                    ));
                }
                None => ahead.push(name.to_owned()),
            }
        }
        (ahead, behind)
    }

    /// What a kill costs at the most connections with which all models had one, in a sentence;
    /// `None` without numbers.
    pub fn kill(&self) -> Option<String> {
        let of = |id: &str| self.questions.iter().find(|question| question.metric.id == id);
        let (shares, waits) = (of("kill-share")?, of("kill-wait")?);
        let size = sizes(&shares.curves).into_iter().rev().find(|&size| {
            let has_both = |&model: &Subject| {
                shares.of(model, size).is_some() && waits.of(model, size).is_some()
            };
            self.models.iter().all(has_both)
        })?;
        let told = self.models.iter().filter_map(|&model| {
            let [share, wait] = [shares, waits]
                .map(|question| question.of(model, size).map(|point| point.spread.median));
            let clients = (share? / 100.0 * size as f64).round();
            Some(format!(
                "in {} {} of {} clients for {} ms",
                model.text(),
                number(clients),
                number(size as f64),
                number(wait?)
            ))
        });
        let told: Vec<String> = told.collect();
        Some(format!(
            "When a process of the server is killed, no connection ends and no line is lost, but clients wait: {}.",
            told.join(", ")
        ))
    }

    /// How a server that is no model compares with the best model, goal by goal. `questions` are
    /// the same questions, to it alone.
    pub fn beside(&self, other: Subject, questions: &[MetricCurves]) -> Vec<String> {
        let of_goal = |goal: &&MetricCurves| {
            let question =
                questions.iter().find(|question| question.metric.id == goal.metric.id)?;
            let value = question.reliable(other, self.size)?.median;
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

/// What stands in a cell of the decision table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The number with its spread; and `best`, how it relates to the best, or nothing if no model
    /// is ahead.
    Measured(String, String),
    /// The number, and why it is doubtful.
    Doubtful(String, String),
    /// There is no number; perhaps there is one with fewer connections.
    Missing(Option<String>),
}

fn goals_text(count: usize) -> String {
    if count == 1 { "one goal".into() } else { format!("{count} goals") }
}

fn same_text(count: usize) -> String {
    match count {
        0 => "in every goal the models differ by more than the spread".into(),
        1 => "in one goal the models do not differ by more than the spread".into(),
        _ => format!("in {count} goals the models do not differ by more than the spread"),
    }
}

fn is_are_best(subjects: &[Subject]) -> String {
    match subjects {
        [one] => format!("{} is the best, or as good as the best,", one.text()),
        _ => format!("{} are each the best, or as good as the best,", names(subjects)),
    }
}

fn capitalized(text: &str) -> String {
    text.char_indices()
        .map(|(place, letter)| if place == 0 { letter.to_ascii_uppercase() } else { letter })
        .collect()
}

/// `a, b and c`.
fn names(subjects: &[Subject]) -> String {
    joined(subjects, "and")
}

/// `a, b or c`.
fn names_or(subjects: &[Subject]) -> String {
    joined(subjects, "or")
}

fn joined(subjects: &[Subject], word: &str) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.text()).collect();
    match &names[..] {
        [most @ .., last] if !most.is_empty() => format!("{} {word} {last}", most.join(", ")),
        _ => names.concat(),
    }
}

/// A number as a multiple or, if it is less, as a part of another subject's.
fn share(value: f64, other: f64, subject: Subject) -> String {
    let (times, name) = (value / other, subject.text());
    let whose = if name.ends_with('s') { format!("{name}'") } else { format!("{name}'s") };
    if times >= 1.0 {
        format!("{} times {whose}", number(times))
    } else {
        format!("{} % of {whose}", number(times * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::metrics::METRICS;
    use crate::load::subject::Model;

    const POOL: Subject = Subject::Model(Model::Pool);
    const THREADS: Subject = Subject::Model(Model::Threads);
    const PROCESS: Subject = Subject::Model(Model::Process);

    type Points<'p> = &'p [(usize, f64)];

    fn question(id: &str, curves: &[(Subject, Points)]) -> MetricCurves<'static> {
        let metric = METRICS.iter().find(|metric| metric.id == id).unwrap();
        MetricCurves {
            metric,
            curves: curves.iter().map(|&(subject, points)| curve(subject, points)).collect(),
        }
    }

    /// Samples 5 % below and above.
    fn curve(subject: Subject, points: Points) -> Curve {
        let point = |&(size, value): &(usize, f64)| Point {
            size,
            spread: spread(value, 0.05),
            doubt: None,
        };
        Curve { subject, points: points.iter().map(point).collect() }
    }

    fn spread(value: f64, width: f64) -> Spread {
        Spread { low: value * (1.0 - width), median: value, high: value * (1.0 + width) }
    }

    #[test]
    fn the_sentence_follows_from_the_numbers_and_turns_with_them() {
        let answer = |pool, process| {
            question("storm", &[(POOL, &[(10, pool)]), (PROCESS, &[(10, process)])])
                .answer()
                .unwrap()
        };
        assert_eq!(
            answer(3_000.0, 1_000.0),
            "With 10 connections pool accepted the most connections per second: 3,000 connections/s; process 1,000 (33.3 % of pool's)."
        );
        assert!(answer(1_000.0, 3_000.0).contains("process accepted the most"));
        assert!(
            answer(1_000.0, 1_050.0).contains("the models do not differ by more than the spread")
        );
    }

    #[test]
    fn it_is_said_when_another_model_is_best_with_few_connections() {
        let curves: &[(Subject, Points)] =
            &[(POOL, &[(10, 2.0), (5_000, 2.0)]), (THREADS, &[(10, 1.0), (5_000, 9.0)])];
        let answer = question("cpu-rooms", curves).answer().unwrap();
        assert!(answer.starts_with("With 5,000 connections pool used the least"), "{answer}");
        assert!(answer.ends_with("With 10 connections it was threads."), "{answer}");
    }

    #[test]
    fn models_are_compared_where_most_have_a_number() {
        assert_eq!(
            question("p99", &[(POOL, &[(10, 1.0)])]).answer(),
            None,
            "a single model wins nothing"
        );
        assert_eq!(question("p99", &[]).answer(), None);
        // Only two have a number with 5,000 connections. All have one with 100.
        let curves: &[(Subject, Points)] = &[
            (POOL, &[(100, 1.0), (5_000, 1.0)]),
            (THREADS, &[(100, 2.0), (5_000, 1.0)]),
            (PROCESS, &[(100, 3.0)]),
        ];
        assert!(question("p99", curves).answer().unwrap().starts_with("With 100 connections"));
    }

    #[test]
    fn growth_is_stated_with_its_shape() {
        let curves: &[(Subject, Points)] = &[
            (POOL, &[(10, 4.0), (1_000, 4.1)]),
            (THREADS, &[(10, 4.0), (1_000, 1.0)]),
            (PROCESS, &[(10, 1.0)]),
        ];
        let growth = question("memory", curves).growth(TAILS_MIN).unwrap();
        assert_eq!(
            growth,
            "Growth: threads from 10 to 1,000 connections falls to 25 %. No change larger than the spread: pool."
        );
        assert_eq!(question("memory", &curves[2..]).growth(TAILS_MIN), None);
        assert!(question("p99", curves).growth(TAILS_MIN).is_some());
        assert_eq!(question("p99", curves).growth(TAILS_MIN / 2), None, "too short for tails");
        let shape_of = |to: f64| {
            question("memory", &[(POOL, &[(10, 1.0), (1_000, to)])]).growth(TAILS_MIN).unwrap()
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
        let mut question = question("cpu-paced", &[(POOL, &[(10, 1.0), (1_000, 1.8)])]);
        assert!(question.growth(TAILS_MIN).unwrap().contains("grows to 1.8 times"));
        question.curves[0].points = vec![wide(1.0), Point { size: 1_000, ..wide(1.8) }];
        assert_eq!(question.growth(TAILS_MIN).unwrap(), "No change larger than the spread: pool.");
    }

    #[test]
    fn no_sentence_follows_from_a_doubtful_number() {
        let mut question = question(
            "cpu-paced",
            &[(POOL, &[(10, 1.0), (100, 1.0), (1_000, 9.0)]), (THREADS, &[(100, 5.0)])],
        );
        let growth = |question: &MetricCurves| question.growth(TAILS_MIN);
        assert!(
            growth(&question)
                .unwrap()
                .starts_with("Growth: pool from 10 to 1,000 connections grows to 9 times")
        );
        question.curves[0].points[1].doubt = Some("it stood still".into());
        question.curves[0].points[2].doubt = Some("only 40 % of the pace was kept".into());
        assert_eq!(growth(&question), None);
        assert_eq!(question.answer(), None);
        let (questions, models) = ([question], [POOL, THREADS]);
        let decision = Decision::new(&questions, &models).unwrap();
        assert_eq!((decision.size, &decision.verdict(100).choose[..]), (100, "unknown"));
        let cells = decision.cells(&questions[0], 100);
        assert_eq!(cells[0].1, Cell::Doubtful("1 (0.95–1.05)".into(), "it stood still".into()));
    }

    #[test]
    fn every_size_has_a_verdict() {
        let questions = [
            question("memory", &[(POOL, &[(100, 1.0), (900, 1.0)]), (PROCESS, &[(100, 9.0)])]),
            question("memory-private", &[(POOL, &[(100, 9.0)]), (PROCESS, &[(100, 1.0)])]),
            question(
                "storm",
                &[(POOL, &[(10, 2.0), (100, 4.0)]), (PROCESS, &[(10, 2.0), (100, 1.0)])],
            ),
            question(
                "deliveries-room",
                &[(POOL, &[(10, 1.0), (100, 1.0)]), (PROCESS, &[(10, 1.0), (100, 1.0)])],
            ),
        ];
        let models = [POOL, PROCESS];
        let decision = Decision::new(&questions, &models).unwrap();
        let verdicts = decision.verdicts();
        assert_eq!(
            verdicts.iter().map(|verdict| (verdict.size, &verdict.choose[..])).collect::<Vec<_>>(),
            [(10, "any model"), (100, "pool"), (900, "pool")]
        );
        assert_eq!(
            verdicts[0].why,
            "The models do not differ by more than the spread in any of 2 goals."
        );
        assert_eq!(
            verdicts[1].why,
            "Pool is the best, or as good as the best, in 2 of 3 goals; in one goal the models do not differ by more than the spread."
        );
        assert!(
            verdicts[2].why.ends_with("Not measured with 900 connections: process."),
            "{}",
            verdicts[2].why
        );
        let memory = decision.cells(&questions[0], 100);
        assert_eq!(memory[0].1, Cell::Measured("1 (0.95–1.05)".into(), "best".into()));
        assert_eq!(memory[1].1, Cell::Measured("9 (8.55–9.45)".into(), "9 times pool's".into()));
        assert_eq!(
            decision.cells(&questions[0], 900)[1].1,
            Cell::Missing(Some("9 KiB with 100 connections".into()))
        );
        assert_eq!(
            decision.cells(&questions[3], 100)[0].1,
            Cell::Measured("1 (0.95–1.05)".into(), String::new())
        );
        assert_eq!(decision.of_model(PROCESS).1[0], "memory for each connection (9 times pool's)");
        assert_eq!(decision.of_model(POOL).0.len(), 2);
        let other = [question("storm", &[(Subject::Compared, &[(100, 2.0)])])];
        assert_eq!(
            decision.beside(Subject::Compared, &other),
            ["connections accepted per second when all connect at once: 50 % of pool's"]
        );
    }

    #[test]
    fn all_models_are_as_good_where_a_lively_chat_takes_next_to_nothing() {
        let verdict = |cpu: f64, p99: f64, size: usize| {
            let questions = [
                question("cpu-paced", &[(POOL, &[(size, 10.0)]), (PROCESS, &[(size, cpu)])]),
                question("p99", &[(POOL, &[(size, 0.4)]), (PROCESS, &[(size, p99)])]),
            ];
            let models = [POOL, PROCESS];
            Decision::new(&questions, &models).unwrap().verdict(size)
        };
        let small = verdict(34.0, 0.4, 10);
        assert_eq!(small.choose, "any model");
        assert!(
            small.why.contains("at most about 0.0306 % of one CPU")
                && small.why.contains("within 0.4 ms"),
            "{}",
            small.why
        );
        assert!(
            small.why.contains(
                "At higher loads pool is the best, or as good as the best, in 1 of 2 goals"
            ),
            "{}",
            small.why
        );
        assert_eq!(verdict(130.0, 0.4, 1_000).choose, "pool", "12 % of a core");
        assert_eq!(verdict(34.0, 50.0, 10).choose, "pool", "people notice that");
    }

    #[test]
    fn a_pace_that_was_not_quite_kept_is_still_enough_for_a_lively_chat() {
        let mut questions = [
            question("cpu-paced", &[(POOL, &[(10, 10.0)]), (PROCESS, &[(10, 30.0)])]),
            question("p99", &[(POOL, &[(10, 0.4)]), (PROCESS, &[(10, 0.9)])]),
        ];
        for curve in questions.iter_mut().flat_map(|question| &mut question.curves) {
            curve.points[0].doubt = Some("only 94 % of the pace was kept".into());
        }
        let models = [POOL, PROCESS];
        let verdict = Decision::new(&questions, &models).unwrap().verdict(10);
        assert!(
            verdict.choose == "any model" && verdict.why.ends_with("within 0.9 ms."),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_kill_is_told_for_all_models_at_once() {
        let questions = [
            question("storm", &[(POOL, &[(100, 4.0)]), (PROCESS, &[(100, 1.0)])]),
            question("kill-share", &[(POOL, &[(100, 50.0)]), (PROCESS, &[(100, 1.0)])]),
            question("kill-wait", &[(POOL, &[(100, 12.0)]), (PROCESS, &[(100, 9.0)])]),
        ];
        let models = [POOL, PROCESS];
        let kill = Decision::new(&questions, &models).unwrap().kill().unwrap();
        assert!(
            kill.ends_with(
                "in pool 50 of 100 clients for 12 ms, in process 1 of 100 clients for 9 ms."
            ),
            "{kill}"
        );
        assert_eq!(Decision::new(&questions[..1], &models).unwrap().kill(), None);
    }
}
