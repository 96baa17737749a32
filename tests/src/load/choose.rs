//! Which model to choose, in sentences that follow from the measured numbers and from nothing else. Where there is no number, there is no
//! sentence, or it says so.

use super::growth::{Better, Curve, Metric, number};
use super::subject::Subject;

/// A metric and its curves.
#[derive(Debug)]
pub struct Question<'m> {
    /// What was measured.
    pub metric: &'m Metric,
    /// The models' numbers. Yardsticks have no place here.
    pub curves: Vec<Curve>,
}

/// How the models stand at one number of connections.
#[derive(Debug, PartialEq)]
struct Standing {
    size: usize,
    /// The best first: the number, and how many times worse than the best it is.
    order: Vec<(Subject, f64, f64)>,
    /// Who is no more times worse is as good.
    same: f64,
}

impl Standing {
    /// Those who are the best, or as good.
    fn best(&self) -> Vec<Subject> {
        self.order.iter().filter(|(_, _, times)| *times <= self.same).map(|&(subject, _, _)| subject).collect()
    }
}

impl Question<'_> {
    /// The standing at a size, if at least two have a number there.
    fn standing(&self, size: usize) -> Option<Standing> {
        let mut values: Vec<(Subject, f64)> = self.curves.iter().filter_map(|curve| Some((curve.subject, curve.at(size)?))).collect();
        let is_lower_better = self.metric.better == Better::Lower;
        values.sort_by(|(_, one), (_, other)| if is_lower_better { one.total_cmp(other) } else { other.total_cmp(one) });
        let &(_, best) = values.first().filter(|_| values.len() >= 2)?;
        let times = |value: f64| if is_lower_better { value / best } else { best / value };
        Some(Standing {
            size,
            order: values.into_iter().map(|(subject, value)| (subject, value, times(value))).collect(),
            same: self.metric.same,
        })
    }

    /// The standings at the fewest and at the most connections at which most of the models have a number.
    fn ends(&self) -> Option<(Standing, Standing)> {
        let mut sizes: Vec<usize> = self.curves.iter().flat_map(|curve| curve.points.iter().map(|&(size, _)| size)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let standings = || sizes.iter().filter_map(|&size| self.standing(size));
        let most = standings().map(|standing| standing.order.len()).max()?;
        let mut full = standings().filter(|standing| standing.order.len() == most);
        let first = full.next()?;
        let last = full.next_back().or_else(|| self.standing(first.size))?;
        Some((first, last))
    }

    /// Who was best with how many connections, how far the others were behind, and whether it was another one with fewer.
    pub fn answer(&self) -> Option<String> {
        let (first, last) = self.ends()?;
        let best = last.best();
        let (_, value, _) = last.order[0];
        let (unit, same) = (self.metric.unit, number(self.metric.same));
        let mut text = format!("With {} connections, ", number(last.size as f64));
        if best.len() == last.order.len() {
            let text_of = |(subject, value, _): &(Subject, f64, f64)| format!("{} {}", subject.text(), number(*value));
            let all: Vec<String> = last.order.iter().map(text_of).collect();
            text = format!("{text}no model clearly {} (all within {same} times): {} {unit}", self.metric.wins, all.join(", "));
        } else {
            let also = if best.len() > 1 { format!(" (within {same} times of each other)") } else { String::new() };
            text = format!("{text}{}{also} {}: {} {unit}", names(&best), self.metric.wins, number(value));
            let behind =
                |(subject, other, _): &(Subject, f64, f64)| format!("{} {} ({})", subject.text(), number(*other), share(other / value));
            let others: Vec<String> = last.order.iter().filter(|(_, _, times)| *times > self.metric.same).map(behind).collect();
            text = format!("{text}; {}", others.join(", "));
        }
        let (before, is_other) = (first.best(), first.size < last.size);
        if is_other && !before.iter().any(|subject| best.contains(subject)) {
            text = format!("{text}. With {} it was {}", number(first.size as f64), names(&before));
        }
        Some(text + ".")
    }

    /// How each curve grows from end to end; `None` if none has two points.
    pub fn growth(&self) -> Option<String> {
        let grown: Vec<String> = self.curves.iter().filter_map(|curve| growth_of(curve, self.metric.same)).collect();
        (!grown.is_empty()).then(|| format!("Growth: {}.", grown.join("; ")))
    }
}

fn growth_of(curve: &Curve, same: f64) -> Option<String> {
    let (&(from, before), &(to, after)) = (curve.points.first()?, curve.points.last()?);
    let times = after / before;
    let how = match times {
        _ if (1.0 / same..=same).contains(&times) => "stays about the same".to_owned(),
        _ if times > 1.0 => format!("grows to {} times", number(times)),
        _ => format!("falls to {} %", number(times * 100.0)),
    };
    let (from_text, to_text) = (number(from as f64), number(to as f64));
    (from < to).then(|| format!("{} from {from_text} to {to_text} connections {how}", curve.subject.text()))
}

/// What speaks for a model.
#[derive(Debug)]
pub struct Strengths<'m> {
    /// The model.
    pub model: Subject,
    /// Where it is the best, or as good and ahead of another.
    pub won: Vec<&'m Metric>,
    /// In how many metrics it could be held against another model.
    pub compared: usize,
}

impl Strengths<'_> {
    /// How often, in words.
    pub fn text(&self) -> String {
        match (self.compared, self.won.len()) {
            (0, _) => "without a number that could be held against another model's".into(),
            (all, 0) => format!("in none of {all} comparisons the best, or as good as the best and clearly ahead of another"),
            (all, won) => format!("the best, or as good as the best and clearly ahead of another, in {won} of {all} comparisons"),
        }
    }
}

/// What speaks for a model: the questions that have an answer, at the most connections at which they have one.
pub fn strengths<'m>(model: Subject, questions: &[Question<'m>]) -> Strengths<'m> {
    let answered = questions.iter().filter_map(|question| Some((question.metric, question.ends()?.1)));
    let answered: Vec<_> = answered.filter(|(_, standing)| standing.order.iter().any(|(subject, _, _)| *subject == model)).collect();
    let is_won = |standing: &Standing| standing.best().contains(&model) && standing.best().len() < standing.order.len();
    let won = answered.iter().filter(|(_, standing)| is_won(standing)).map(|&(metric, _)| metric).collect();
    Strengths { model, won, compared: answered.len() }
}

/// Which model is the first choice by the numbers alone, if one is.
pub fn verdict(all: &[Strengths]) -> Option<String> {
    let most = all.iter().map(|strengths| strengths.won.len()).max().filter(|&most| most > 0)?;
    let first: Vec<Subject> = all.iter().filter(|strengths| strengths.won.len() == most).map(|strengths| strengths.model).collect();
    match first[..] {
        [one] if all.len() > 1 => Some(format!("By the numbers alone, {} is the first choice.", one.text())),
        [_] => None,
        _ => Some(format!("By the numbers alone there is no first choice: it depends on what counts. {} stand equal.", names(&first))),
    }
}

/// `a, b and c`.
fn names(subjects: &[Subject]) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.text()).collect();
    match &names[..] {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => names.concat(),
    }
}

/// How much of another number one is: times, or where it is less, a part.
fn share(times: f64) -> String {
    if times >= 1.0 { format!("{} times that", number(times)) } else { format!("{} % of that", number(times * 100.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::growth::METRICS;
    use crate::load::subject::Model;

    const POOL: Subject = Subject::Model(Model::Pool);
    const THREADS: Subject = Subject::Model(Model::Threads);
    const PROCESS: Subject = Subject::Model(Model::Process);

    fn question(id: &str, curves: &[(Subject, &[(usize, f64)])]) -> Question<'static> {
        let metric = METRICS.iter().find(|metric| metric.id == id).unwrap();
        Question { metric, curves: curves.iter().map(|&(subject, points)| Curve { subject, points: points.to_vec() }).collect() }
    }

    #[test]
    fn the_sentence_follows_from_the_numbers_and_turns_with_them() {
        let answer = |pool, process| question("storm", &[(POOL, &[(10, pool)]), (PROCESS, &[(10, process)])]).answer().unwrap();
        assert_eq!(
            answer(3_000.0, 1_000.0),
            "With 10 connections, pool let in the most connections a second: 3,000 connections/s; process 1,000 (33.3 % of that)."
        );
        assert!(answer(1_000.0, 3_000.0).contains("process let in the most"));
        assert!(answer(1_000.0, 1_050.0).contains("no model clearly let in the most connections a second"));
    }

    #[test]
    fn it_is_told_when_few_connections_have_another_winner() {
        let curves: &[(Subject, &[(usize, f64)])] = &[(POOL, &[(10, 2.0), (5_000, 2.0)]), (THREADS, &[(10, 1.0), (5_000, 9.0)])];
        let answer = question("cpu-rooms", curves).answer().unwrap();
        assert!(answer.starts_with("With 5,000 connections, pool cost the least"), "{answer}");
        assert!(answer.ends_with("With 10 it was threads."), "{answer}");
    }

    #[test]
    fn where_most_have_no_number_nobody_is_compared() {
        assert_eq!(question("p99", &[(POOL, &[(10, 1.0)])]).answer(), None, "one alone wins nothing");
        assert_eq!(question("p99", &[]).answer(), None);
        // With 5,000 only two are left: it is the 100 that all have at which they are compared.
        let curves: &[(Subject, &[(usize, f64)])] =
            &[(POOL, &[(100, 1.0), (5_000, 1.0)]), (THREADS, &[(100, 2.0), (5_000, 1.0)]), (PROCESS, &[(100, 3.0)])];
        assert!(question("p99", curves).answer().unwrap().starts_with("With 100 connections"));
    }

    #[test]
    fn growth_is_told_for_each() {
        let curves: &[(Subject, &[(usize, f64)])] =
            &[(POOL, &[(10, 4.0), (1_000, 4.1)]), (THREADS, &[(10, 4.0), (1_000, 1.0)]), (PROCESS, &[(10, 1.0)])];
        let growth = question("memory", curves).growth().unwrap();
        assert_eq!(
            growth,
            "Growth: pool from 10 to 1,000 connections stays about the same; threads from 10 to 1,000 connections falls to 25 %."
        );
        assert_eq!(question("memory", &curves[2..]).growth(), None);
    }

    #[test]
    fn a_models_strengths_are_what_it_won() {
        let questions = [
            question("memory", &[(POOL, &[(100, 1.0)]), (PROCESS, &[(100, 9.0)])]),
            question("p99", &[(POOL, &[(100, 1.0)]), (PROCESS, &[(100, 9.0)])]),
            question("p50", &[(POOL, &[(100, 1.0)]), (PROCESS, &[(100, 1.0)])]),
        ];
        let strengths = [POOL, PROCESS, THREADS].map(|model| strengths(model, &questions));
        assert_eq!(strengths[0].won.iter().map(|metric| metric.id).collect::<Vec<_>>(), ["memory", "p99"]);
        assert!(strengths[0].text().ends_with("in 2 of 3 comparisons"), "{}", strengths[0].text());
        assert!(strengths[1].text().starts_with("in none of 3 comparisons"));
        assert!(strengths[2].text().starts_with("without a number"));
        assert_eq!(verdict(&strengths).unwrap(), "By the numbers alone, pool is the first choice.");
        assert_eq!(verdict(&strengths[1..]), None, "nothing speaks for either");
    }
}
