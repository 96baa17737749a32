//! The metrics that the report shows, and their curves: the median of the samples at each number of
//! connections, with the samples' spread.

use super::measure::{Outcome, median_of};
use super::report::{CONNECTIONS_MIN_OF_MODELS, Row};
use super::shape::Traffic;
use super::subject::Subject;

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
    /// With fewer connections the number means nothing.
    pub size_min: usize,
    /// Which is better.
    pub better: Better,
    /// Numbers whose ratio is at most this count as the same.
    pub same: f64,
    /// What the best model did, in words: "used the least CPU time per delivery".
    pub wins: &'static str,
    /// How to read the plot.
    pub reading: &'static str,
    /// The number in an outcome.
    pub value: fn(&Outcome) -> Option<f64>,
}

/// Whether a metric has a row in the decision table. The row's name uses no term that the report
/// defines further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It has a row and counts in the verdict. Goals are few, and none follows from another.
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
    /// A latency that few deliveries exceed.
    Tail,
}

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
    /// Of some samples; `None` if there are none.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let low = samples.iter().copied().reduce(f64::min)?;
        let high = samples.iter().copied().reduce(f64::max)?;
        Some(Spread { low, median: median_of(samples.iter().copied())?, high })
    }

    /// Whether two differ by more than the spread: no sample of one lies within the samples of the
    /// other, and the medians' ratio is more than `same`.
    pub fn differs_from(&self, other: &Spread, same: f64) -> bool {
        let is_apart = self.low > other.high || self.high < other.low;
        let ratio = self.median / other.median;
        is_apart && !(1.0 / same..=same).contains(&ratio)
    }

    /// The median, and the lowest and highest sample where they differ from it: `3.1 (2.9–3.4)`.
    pub fn text(&self) -> String {
        let [low, median, high] = [self.low, self.median, self.high].map(number);
        if low == high { median } else { format!("{median} ({low}–{high})") }
    }
}

/// A number at one number of connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The number of connections.
    pub size: usize,
    /// The samples.
    pub spread: Spread,
    /// Why the number is doubtful, if it is. A doubtful point is drawn hollow, and no sentence is
    /// computed from it.
    pub doubt: Option<String>,
}

/// The numbers of one subject, by rising number of connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The subject.
    pub subject: Subject,
    /// Its numbers.
    pub points: Vec<Point>,
}

impl Curve {
    /// The point at a size.
    pub fn at(&self, size: usize) -> Option<&Point> {
        self.points.iter().find(|point| point.size == size)
    }

    /// The points that are not doubtful.
    pub fn reliable(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.doubt.is_none())
    }
}

/// All metrics, in the order of the report.
pub const METRICS: [Metric; 16] = [
    Metric {
        id: "deliveries-rooms",
        title: "Deliveries per second in small rooms",
        axis: "deliveries per second",
        unit: "deliveries/s",
        family: "rooms",
        kind: Kind::Speed,
        rank: Rank::Goal("lines delivered per second in small rooms"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "delivered the most per second in small rooms",
        reading: "Higher is better. From left to right there are more rooms of 10. Each works as fast as it can.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "deliveries-room",
        title: "Deliveries per second in one big room",
        axis: "deliveries per second",
        unit: "deliveries/s",
        family: "room",
        kind: Kind::Speed,
        rank: Rank::Goal("lines delivered per second in one big room"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "delivered the most per second in one big room",
        reading: "Higher is better. From left to right each line goes to more members. A model that serves many members with one wake-up pays less than a model that needs a wake-up for each.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "cpu-rooms",
        title: "CPU time per delivery in small rooms, at full speed",
        axis: "CPU time per delivery, µs",
        unit: "µs",
        family: "rooms",
        kind: Kind::Cost,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "used the least CPU time per delivery in small rooms at full speed",
        reading: "Lower is better. This is the user and system time of all processes of the server, without the journal. A flat line means that a delivery costs the same however many clients are connected.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "cpu-room",
        title: "CPU time per delivery in one big room, at full speed",
        axis: "CPU time per delivery, µs",
        unit: "µs",
        family: "room",
        kind: Kind::Cost,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "used the least CPU time per delivery in one big room at full speed",
        reading: "Lower is better. A falling line means that all members share a cost that is paid once per line. A flat line means that the cost is paid again for each member.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "cpu-paced",
        title: "CPU time per delivery at a steady pace",
        axis: "CPU time per delivery, µs",
        unit: "µs",
        family: "paced",
        kind: Kind::Cost,
        rank: Rank::Goal("CPU time for each line delivered, at a steady pace"),
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "used the least CPU time per delivery at a steady pace",
        reading: "Lower is better. Every point has the same number of deliveries per second. So a rising line is the cost of connections that have nothing to do with a line.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "p50",
        title: "Latency at a steady pace: p50",
        axis: "latency, p50, ms",
        unit: "ms",
        family: "paced",
        kind: Kind::Latency,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 1.5,
        wins: "had the lowest median latency at a steady pace",
        reading: "Lower is better. Half of all deliveries took at most this long, from the moment at which a line was due until a member had read it.",
        value: |outcome| outcome.latency_ms(0.5),
    },
    Metric {
        id: "p99",
        title: "Latency at a steady pace: p99",
        axis: "latency, p99, ms",
        unit: "ms",
        family: "paced",
        kind: Kind::Tail,
        rank: Rank::Goal("delay that 99 of 100 lines stay below, at a steady pace"),
        size_min: 0,
        better: Better::Lower,
        same: 2.0,
        wins: "had the lowest p99 latency at a steady pace",
        reading: "Lower is better. One delivery in 100 took longer.",
        value: |outcome| outcome.latency_ms(0.99),
    },
    Metric {
        id: "p999",
        title: "Latency at a steady pace: p99.9",
        axis: "latency, p99.9, ms",
        unit: "ms",
        family: "paced",
        kind: Kind::Tail,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 2.5,
        wins: "had the lowest p99.9 latency at a steady pace",
        reading: "Lower is better. One delivery in 1,000 took longer. A sample of a few thousand deliveries has only a handful of those, so small differences mean nothing.",
        value: |outcome| outcome.latency_ms(0.999),
    },
    Metric {
        id: "p99-room",
        title: "Latency in one big room at full speed: p99",
        axis: "latency, p99, ms",
        unit: "ms",
        family: "room",
        kind: Kind::Tail,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 2.0,
        wins: "had the lowest p99 latency in one big room at full speed",
        reading: "Lower is better. One delivery in 100 took longer, from the moment at which a line was sent until a member had read it. 8 lines were always in flight.",
        value: |outcome| outcome.latency_ms(0.99),
    },
    Metric {
        id: "memory",
        title: "Memory per connection",
        axis: "PSS per connection, KiB",
        unit: "KiB",
        family: "idle",
        kind: Kind::Cost,
        rank: Rank::Goal("memory for each connection"),
        size_min: CONNECTIONS_MIN_OF_MODELS,
        better: Better::Lower,
        same: 1.25,
        wins: "used the least memory per connection",
        reading: "Lower is better. This is the growth of the PSS over that of the server without clients. The plot begins at 100 connections, since the memory of fewer cannot be told from what the server uses anyway. The kernel's own memory for sockets, stacks and page tables is not included.",
        value: |outcome| outcome.memory_per_connection,
    },
    Metric {
        id: "memory-private",
        title: "Private memory per connection",
        axis: "private memory per connection, KiB",
        unit: "KiB",
        family: "idle",
        kind: Kind::Cost,
        rank: Rank::Plot,
        size_min: CONNECTIONS_MIN_OF_MODELS,
        better: Better::Lower,
        same: 1.25,
        wins: "used the least private memory per connection",
        reading: "Lower is better. This is the part of the plot above that no other process shares, such as copies of the chat's state. The difference between the two plots is shared memory. A rising line means that each connection holds something that grows with the number of all connections.",
        value: |outcome| outcome.private_per_connection,
    },
    Metric {
        id: "storm",
        title: "Connections accepted per second",
        axis: "connections per second",
        unit: "connections/s",
        family: "storm",
        kind: Kind::Speed,
        rank: Rank::Goal("connections accepted per second when all connect at once"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "accepted the most connections per second",
        reading: "Higher is better. 256 clients at a time connect, log in and enter a room; the time that they take to leave is not measured. A falling line means that each login takes longer when more clients are connected. The CPU time of a login is in the table of all numbers.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "threads",
        title: "Threads",
        axis: "threads",
        unit: "threads",
        family: "idle",
        kind: Kind::Cost,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 1.05,
        wins: "used the fewest threads",
        reading: "All threads of all processes of the server, with those of the supervisor and the journal, when all clients are connected.",
        value: |outcome| outcome.threads.map(|threads| threads as f64),
    },
    Metric {
        id: "processes",
        title: "Processes",
        axis: "processes",
        unit: "processes",
        family: "idle",
        kind: Kind::Cost,
        rank: Rank::Plot,
        size_min: 0,
        better: Better::Lower,
        same: 1.05,
        wins: "used the fewest processes",
        reading: "All processes of the server, with the supervisor and the journal, when all clients are connected.",
        value: |outcome| outcome.processes.map(|processes| processes as f64),
    },
    Metric {
        id: "kill-share",
        title: "Connections that wait after a kill",
        axis: "share of all connections, %",
        unit: "%",
        family: "kill",
        kind: Kind::Cost,
        rank: Rank::Shown("connections that wait when a process is killed"),
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "made the fewest connections wait after a kill",
        reading: "Lower is better. A process that served clients was killed with kill -9 while lines were said at a steady pace. This is the share of all connections that the killed process served. They stay open: another process takes them over.",
        value: |outcome| outcome.kill.map(|kill| kill.share * 100.0),
    },
    Metric {
        id: "kill-wait",
        title: "How long clients wait after a kill",
        axis: "wait after a kill, ms",
        unit: "ms",
        family: "kill",
        kind: Kind::Cost,
        rank: Rank::Shown("how long they wait for the next line"),
        size_min: 0,
        better: Better::Lower,
        same: 1.5,
        wins: "made its clients wait the shortest time after a kill",
        reading: "Lower is better. The time from the kill to the first line that was due after the kill and was delivered to a client of the killed process. The client that waited longest counts. The next line was due up to 5 ms after the kill in rooms of up to 100, and up to 50 ms after it in a room of 1,000; that is included.",
        value: |outcome| outcome.kill.map(|kill| kill.wait_ms),
    },
];

fn some_units(outcome: &Outcome, number: f64) -> Option<f64> {
    (outcome.units > 0).then_some(number)
}

impl Metric {
    /// A curve for each subject that has numbers, in the order given. Zeros are left out, since a
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

    /// The number in each sample.
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
        // A client that logs in together with 255 others waits for them. The server does not stand
        // still.
        let is_exempt = self.kind == Kind::Cost || row.shape.traffic == Traffic::Storm;
        let stall = outcome.stall_ms().filter(|_| !is_exempt)?;
        Some(format!("the server or the machine stood still: a delivery took {} ms", number(stall)))
    }
}

/// A number for people: three digits that count, or all of them before the point, in groups of
/// three.
pub fn number(value: f64) -> String {
    let digits = if value == 0.0 {
        0
    } else {
        (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", in_groups(whole))
}

fn in_groups(whole: &str) -> String {
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::outcome_of;
    use crate::load::models::FAMILIES;
    use crate::load::subject::Model;

    #[test]
    fn numbers_are_readable() {
        let numbers = [0.0, 0.01234, 0.5, 1.0, 12.345, 999.6, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(numbers, ["0", "0.0123", "0.5", "1", "12.3", "1,000", "1,234", "1,234,567"]);
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_family() {
        for (place, metric) in METRICS.iter().enumerate() {
            assert!(
                METRICS[..place]
                    .iter()
                    .all(|other| other.id != metric.id && other.title != metric.title),
                "{}",
                metric.id
            );
            assert!(FAMILIES.iter().any(|family| family.name == metric.family), "{}", metric.id);
        }
    }

    #[test]
    fn two_numbers_differ_only_beyond_their_spread() {
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
