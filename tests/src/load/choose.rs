//! Which model to choose, in sentences that follow from the measured numbers and from nothing else. Where there is no number, there is no
//! sentence, or it says so.

use super::growth::{Better, Curve, Kind, Metric, number};
use super::subject::Subject;
use std::time::Duration;

/// Of a shorter run the few slowest deliveries are chance.
pub const TAILS_MIN: Duration = Duration::from_secs(1);

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

    /// Whether anybody is clearly behind.
    fn is_decided(&self) -> bool {
        self.best().len() < self.order.len()
    }

    /// A number relative to the best.
    fn beside(&self, subject: Subject, value: f64) -> String {
        let (best, of_best, _) = self.order[0];
        format!("{} {} ({})", subject.text(), number(value), share(value, of_best, best))
    }
}

impl Question<'_> {
    fn of(&self, subject: Subject, size: usize) -> Option<f64> {
        self.curves.iter().find(|curve| curve.subject == subject)?.at(size)
    }

    fn doubt(&self, subject: Subject, size: usize) -> Option<&str> {
        self.curves.iter().find(|curve| curve.subject == subject)?.doubt(size)
    }

    /// The standing at a size, if at least two have a number there that isn't doubtful.
    fn standing(&self, size: usize) -> Option<Standing> {
        let sound = |curve: &Curve| curve.at(size).filter(|_| curve.doubt(size).is_none());
        let mut values: Vec<(Subject, f64)> = self.curves.iter().filter_map(|curve| Some((curve.subject, sound(curve)?))).collect();
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
        let sizes = sizes(&self.curves);
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
            let behind = last.order.iter().filter(|(_, _, times)| *times > self.metric.same);
            let others: Vec<String> = behind.map(|&(subject, value, _)| last.beside(subject, value)).collect();
            text = format!("{text}; {}", others.join(", "));
        }
        let (before, is_other) = (first.best(), first.size < last.size);
        if is_other && !before.iter().any(|subject| best.contains(subject)) {
            text = format!("{text}. With {} it was {}", number(first.size as f64), names(&before));
        }
        Some(text + ".")
    }

    /// How each curve grows from end to end, doubtful numbers left out; `None` if none has two points, or if runs of this length say nothing.
    pub fn growth(&self, each: Duration) -> Option<String> {
        if self.metric.kind == Kind::Tail && each < TAILS_MIN {
            return None;
        }
        let grown: Vec<String> = self.curves.iter().filter_map(|curve| growth_of(curve, self.metric.same)).collect();
        (!grown.is_empty()).then(|| format!("Growth: {}.", grown.join("; ")))
    }
}

fn growth_of(curve: &Curve, same: f64) -> Option<String> {
    let ((from, before), (to, after)) = (curve.sound().next()?, curve.sound().last()?);
    let times = after / before;
    let how = match times {
        _ if (1.0 / same..=same).contains(&times) => "stays about the same".to_owned(),
        _ if times > 1.0 => format!("grows to {} times", number(times)),
        _ => format!("falls to {} %", number(times * 100.0)),
    };
    let (from_text, to_text) = (number(from as f64), number(to as f64));
    (from < to).then(|| format!("{} from {from_text} to {to_text} connections {how}", curve.subject.text()))
}

/// The numbers of connections at which there is a number, in rising order.
fn sizes<'c>(curves: impl IntoIterator<Item = &'c Curve>) -> Vec<usize> {
    let mut sizes: Vec<usize> = curves.into_iter().flat_map(|curve| curve.points.iter().map(|&(size, _)| size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The models beside each other: in goals of which none follows from another, with one number of connections.
#[derive(Debug)]
pub struct Choice<'q> {
    goals: Vec<&'q Question<'q>>,
    models: &'q [Subject],
    /// The most connections that all models reached.
    pub size: usize,
}

/// Who leads, in how many goals, and of how many.
#[derive(Debug, PartialEq, Eq)]
struct Leaders {
    subjects: Vec<Subject>,
    won: usize,
    counted: usize,
}

impl<'q> Choice<'q> {
    /// `None` if there is nothing to choose by.
    pub fn new(questions: &'q [Question<'q>], models: &'q [Subject]) -> Option<Choice<'q>> {
        let goals: Vec<_> = questions.iter().filter(|question| question.metric.goal.is_some()).collect();
        let has_all = |goal: &Question, size| !goal.curves.is_empty() && models.iter().all(|&model| goal.of(model, size).is_some());
        let answered = |size| goals.iter().filter(|goal| has_all(goal, size)).count();
        // One goal that nobody has numbers of there doesn't make it a smaller size.
        let size = sizes(goals.iter().flat_map(|goal| &goal.curves)).into_iter().max_by_key(|&size| (answered(size), size))?;
        (answered(size) > 0).then_some(Choice { goals, models, size })
    }

    /// How all models stand in a goal, if each has a number that isn't doubtful.
    fn standing(&self, goal: &Question, size: usize) -> Option<Standing> {
        goal.standing(size).filter(|standing| standing.order.len() == self.models.len())
    }

    fn leaders(&self, size: usize) -> Option<Leaders> {
        let standings: Vec<Standing> = self.goals.iter().filter_map(|goal| self.standing(goal, size)).collect();
        let is_won = |model: Subject, standing: &&Standing| standing.is_decided() && standing.best().contains(&model);
        let won = |model: Subject| standings.iter().filter(|standing| is_won(model, standing)).count();
        let most = self.models.iter().map(|&model| won(model)).max().filter(|&most| most > 0)?;
        let subjects = self.models.iter().copied().filter(|&model| won(model) == most).collect();
        Some(Leaders { subjects, won: most, counted: standings.len() })
    }

    /// Which model is the first choice by the numbers alone, if one is.
    pub fn verdict(&self) -> Option<String> {
        let Leaders { subjects, won, counted } = self.leaders(self.size)?;
        let of = format!("the best, or as good and ahead of another, in {won} of {counted} goals");
        let what = match subjects[..] {
            [one] => format!("{} is the first choice: {of}", one.text()),
            _ => format!("there is no first choice, it depends on what counts: {} are each {of}", names(&subjects)),
        };
        Some(format!("By the numbers alone, with {} connections, {what}.", number(self.size as f64)))
    }

    /// Where the order is another one with fewer connections, in a sentence.
    pub fn otherwise(&self) -> Option<String> {
        let here = self.leaders(self.size);
        let fewer = sizes(self.goals.iter().flat_map(|goal| &goal.curves)).into_iter().filter(|&size| size < self.size);
        let told: Vec<String> = fewer.filter_map(|size| self.otherwise_at(size, here.as_ref())).collect();
        (!told.is_empty()).then(|| format!("With fewer connections the order is another one: {}.", told.join("; ")))
    }

    fn otherwise_at(&self, size: usize, here: Option<&Leaders>) -> Option<String> {
        let leaders = self.leaders(size).filter(|leaders| here.is_none_or(|here| here.subjects != leaders.subjects));
        let first = leaders.map(|leaders| format!("most goals go to {}", names(&leaders.subjects)));
        let of_goal = |goal: &&Question| {
            let (now, then) = (self.standing(goal, self.size)?.best(), self.standing(goal, size)?.best());
            let is_other = !then.iter().any(|subject| now.contains(subject));
            is_other.then(|| format!("{} to {}", goal.metric.goal.unwrap_or_default(), names(&then)))
        };
        let told: Vec<String> = first.into_iter().chain(self.goals.iter().filter_map(of_goal)).collect();
        (!told.is_empty()).then(|| format!("with {} {}", number(size as f64), told.join(", ")))
    }

    /// The table: goal, who is best, and the others relative to it.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let row = |goal: &&Question| {
            let (best, others) = self.row(goal);
            [goal.metric.goal.unwrap_or_default().to_owned(), best, others]
        };
        self.goals.iter().map(row).collect()
    }

    fn row(&self, goal: &Question) -> (String, String) {
        let Some(standing) = self.standing(goal, self.size) else {
            return ("not counted".into(), self.doubts(goal));
        };
        let value_of = |(subject, value, _): &(Subject, f64, f64)| format!("{} {}", subject.text(), number(*value));
        let (best, behind): (Vec<_>, Vec<_>) = standing.order.iter().partition(|(_, _, times)| *times <= standing.same);
        let values: Vec<String> = best.iter().map(value_of).collect();
        let values = format!("{} {}", values.join(", "), goal.metric.unit);
        if !standing.is_decided() {
            return ("none clearly".into(), format!("{values}: all within {} times", number(standing.same)));
        }
        let behind: Vec<String> = behind.into_iter().map(|(subject, value, _)| standing.beside(subject, value)).collect();
        (values, behind.join(", "))
    }

    /// Why a goal is not counted.
    fn doubts(&self, goal: &Question) -> String {
        let why = |model: &Subject| match (goal.of(*model, self.size), goal.doubt(*model, self.size)) {
            (_, Some(why)) => Some(format!("{}: {why}", model.text())),
            (None, None) => Some(format!("{}: no number", model.text())),
            _ => None,
        };
        let told: Vec<String> = self.models.iter().filter_map(why).collect();
        if told.is_empty() { "one model alone can't be compared".into() } else { told.join("; ") }
    }

    /// In which goals a model is ahead of another, and how far it is behind in which.
    pub fn of_model(&self, model: Subject) -> (Vec<String>, Vec<String>) {
        let (mut ahead, mut behind) = (Vec::new(), Vec::new());
        for goal in &self.goals {
            let Some(standing) = self.standing(goal, self.size).filter(Standing::is_decided) else { continue };
            let name = goal.metric.goal.unwrap_or_default();
            match standing.order.iter().find(|(subject, _, times)| *subject == model && *times > standing.same) {
                Some(&(_, value, _)) => behind.push(format!("{name} ({})", share(value, standing.order[0].1, standing.order[0].0))),
                None => ahead.push(name.to_owned()),
            }
        }
        (ahead, behind)
    }

    /// How a server that is no model stands next to the best of them, goal by goal. `other` are the same questions, to it alone.
    pub fn beside(&self, other: Subject, questions: &[Question]) -> Vec<String> {
        let of_goal = |goal: &&Question| {
            let question = questions.iter().find(|question| question.metric.id == goal.metric.id)?;
            let value = question.of(other, self.size).filter(|_| question.doubt(other, self.size).is_none())?;
            let sound = |&&model: &&Subject| goal.doubt(model, self.size).is_none();
            let values = self.models.iter().filter(sound).filter_map(|&model| Some((model, goal.of(model, self.size)?)));
            let (best, of_best) = match goal.metric.better {
                Better::Lower => values.min_by(|(_, one), (_, other)| one.total_cmp(other)),
                Better::Higher => values.max_by(|(_, one), (_, other)| one.total_cmp(other)),
            }?;
            Some(format!("{} {}", goal.metric.goal?, share(value, of_best, best)))
        };
        self.goals.iter().filter_map(of_goal).collect()
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

/// How much of somebody's number another one is: times, or where it is less, a part.
fn share(value: f64, other: f64, whose: Subject) -> String {
    let (times, name) = (value / other, whose.text());
    let whose = if name.ends_with('s') { format!("{name}'") } else { format!("{name}'s") };
    if times >= 1.0 { format!("{} times {whose}", number(times)) } else { format!("{} % of {whose}", number(times * 100.0)) }
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
        Question { metric, curves: curves.iter().map(|&(subject, points)| curve(subject, points)).collect() }
    }

    fn curve(subject: Subject, points: &[(usize, f64)]) -> Curve {
        Curve { subject, points: points.to_vec(), doubts: Vec::new() }
    }

    #[test]
    fn the_sentence_follows_from_the_numbers_and_turns_with_them() {
        let answer = |pool, process| question("storm", &[(POOL, &[(10, pool)]), (PROCESS, &[(10, process)])]).answer().unwrap();
        assert_eq!(
            answer(3_000.0, 1_000.0),
            "With 10 connections, pool let in the most connections a second: 3,000 connections/s; process 1,000 (33.3 % of pool's)."
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
        let growth = question("memory", curves).growth(TAILS_MIN).unwrap();
        assert_eq!(
            growth,
            "Growth: pool from 10 to 1,000 connections stays about the same; threads from 10 to 1,000 connections falls to 25 %."
        );
        assert_eq!(question("memory", &curves[2..]).growth(TAILS_MIN), None);
        assert!(question("p99", curves).growth(TAILS_MIN).is_some());
        assert_eq!(question("p99", curves).growth(TAILS_MIN / 2), None, "too short for tails");
    }

    #[test]
    fn no_sentence_follows_from_a_doubtful_number() {
        let mut question = question("cpu-paced", &[(POOL, &[(10, 1.0), (100, 1.0), (1_000, 9.0)]), (THREADS, &[(100, 5.0)])]);
        let growth = |question: &Question| question.growth(TAILS_MIN);
        assert_eq!(growth(&question).unwrap(), "Growth: pool from 10 to 1,000 connections grows to 9 times.");
        question.curves[0].doubts = vec![(100, "it stood still".into()), (1_000, "only 40 % of the pace was kept".into())];
        assert_eq!(growth(&question), None);
        assert_eq!(question.answer(), None);
        let (questions, models) = ([question], [POOL, THREADS]);
        let choice = Choice::new(&questions, &models).unwrap();
        assert_eq!((choice.size, choice.verdict()), (100, None));
        assert_eq!(choice.rows()[0][1..], ["not counted", "pool: it stood still"]);
    }

    #[test]
    fn the_choice_counts_goals_only_where_all_models_are() {
        let questions = [
            question("memory", &[(POOL, &[(100, 1.0), (900, 1.0)]), (PROCESS, &[(100, 9.0)])]),
            question("memory-private", &[(POOL, &[(100, 9.0)]), (PROCESS, &[(100, 1.0)])]),
            question("storm", &[(POOL, &[(10, 1.0), (100, 4.0)]), (PROCESS, &[(10, 4.0), (100, 1.0)])]),
            question("p99", &[(POOL, &[(10, 1.0), (100, 1.0)]), (PROCESS, &[(10, 1.0), (100, 1.0)])]),
        ];
        let models = [POOL, PROCESS];
        let choice = Choice::new(&questions, &models).unwrap();
        assert_eq!(
            choice.verdict().unwrap(),
            "By the numbers alone, with 100 connections, pool is the first choice: the best, or as good and ahead of another, in 2 of 3 goals."
        );
        assert_eq!(
            choice.otherwise().unwrap(),
            "With fewer connections the order is another one: with 10 most goals go to process, connections/s in a storm to process."
        );
        let rows = choice.rows();
        assert_eq!(rows[0], ["memory a connection", "pool 1 KiB", "process 9 (9 times pool's)"]);
        assert_eq!(rows[2][1..], ["none clearly", "pool 1, process 1 ms: all within 2 times"]);
        assert_eq!(choice.of_model(PROCESS).1, ["memory a connection (9 times pool's)", "connections/s in a storm (25 % of pool's)"]);
        assert_eq!(choice.of_model(POOL).0.len(), 2);
        let other = [question("storm", &[(Subject::Compared, &[(100, 2.0)])])];
        assert_eq!(choice.beside(Subject::Compared, &other), ["connections/s in a storm 50 % of pool's"]);
    }
}
