//! How what was measured grows with the number of connections: the metrics that the report shows, and their curves.

use super::measure::Outcome;
use super::report::{CONNECTIONS_MIN_OF_MODELS, Row};
use super::shape::Traffic;
use super::subject::Subject;

/// Something that was measured in a family of shapes, at each number of connections.
#[derive(Debug)]
pub struct Metric {
    /// By which the report's parts are found.
    pub id: &'static str,
    /// For a heading.
    pub title: &'static str,
    /// What stands beside the axis, with its unit.
    pub axis: &'static str,
    /// The unit, behind a number in a sentence.
    pub unit: &'static str,
    /// The family of shapes in which it is measured.
    pub family: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its name among the goals by which a model is chosen, if it is one. Those are few, and none follows from another.
    pub goal: Option<&'static str>,
    /// From how many connections on it says something.
    pub size_min: usize,
    /// Which is better.
    pub better: Better,
    /// What is no more times apart counts as the same: measured once, the same server differs by as much from itself.
    pub same: f64,
    /// Who is best, in words: "cost the least CPU time a delivery in small rooms".
    pub wins: &'static str,
    /// How to read the plot.
    pub reading: &'static str,
    /// The number.
    pub value: fn(&Outcome) -> Option<f64>,
}

/// Which of two numbers is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The higher.
    Higher,
    /// The lower.
    Lower,
}

/// What spoils a number, and what may be said of it, depends on what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something a second.
    Speed,
    /// What something takes: time, memory, threads.
    Cost,
    /// A latency that half of all deliveries have.
    Latency,
    /// A latency that few deliveries have.
    Tail,
}

/// One subject's numbers, by connections, in rising order.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Whose they are.
    pub subject: Subject,
    /// Connections, and the number.
    pub points: Vec<(usize, f64)>,
    /// Connections with which the number isn't what it seems, and why: drawn hollow, and no sentence follows from it.
    pub doubts: Vec<(usize, String)>,
}

impl Curve {
    /// The number at a size.
    pub fn at(&self, size: usize) -> Option<f64> {
        self.points.iter().find(|(other, _)| *other == size).map(|(_, value)| *value)
    }

    /// Why the number at a size is doubtful, if it is.
    pub fn doubt(&self, size: usize) -> Option<&str> {
        self.doubts.iter().find(|(other, _)| *other == size).map(|(_, why)| &why[..])
    }

    /// The numbers that are what they seem.
    pub fn sound(&self) -> impl Iterator<Item = (usize, f64)> {
        self.points.iter().copied().filter(|&(size, _)| self.doubt(size).is_none())
    }
}

/// All that the report shows, in its order.
pub const METRICS: [Metric; 14] = [
    Metric {
        id: "deliveries-rooms",
        title: "Deliveries a second in small rooms",
        axis: "deliveries a second",
        unit: "deliveries/s",
        family: "rooms",
        kind: Kind::Speed,
        goal: Some("deliveries/s in small rooms"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "delivered the most a second in small rooms",
        reading: "Higher is better. From left to right more rooms of 10 do the same, each as fast as it can.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "deliveries-room",
        title: "Deliveries a second in one big room",
        axis: "deliveries a second",
        unit: "deliveries/s",
        family: "room",
        kind: Kind::Speed,
        goal: Some("deliveries/s in one big room"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "delivered the most a second in one big room",
        reading: "Higher is better. From left to right one line has more to reach; a line that is fetched by many at one wake-up costs less than one wake-up for each.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "cpu-rooms",
        title: "CPU time a delivery in small rooms, at full speed",
        axis: "CPU time a delivery, µs",
        unit: "µs",
        family: "rooms",
        kind: Kind::Cost,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "cost the least CPU time a delivery in small rooms at full speed",
        reading: "Lower is better. User and system time of all of the server's processes but the journal. A flat line means that a delivery's price doesn't depend on how many are connected.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "cpu-room",
        title: "CPU time a delivery in one big room, at full speed",
        axis: "CPU time a delivery, µs",
        unit: "µs",
        family: "room",
        kind: Kind::Cost,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "cost the least CPU time a delivery in one big room at full speed",
        reading: "Lower is better. A falling line shares a price that is paid once a line among all who are told; one that doesn't fall pays for each.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "cpu-paced",
        title: "CPU time a delivery at a steady pace",
        axis: "CPU time a delivery, µs",
        unit: "µs",
        family: "paced",
        kind: Kind::Cost,
        goal: Some("CPU time a delivery, at a steady pace"),
        size_min: 0,
        better: Better::Lower,
        same: 1.25,
        wins: "cost the least CPU time a delivery at a steady pace",
        reading: "Lower is better. The number of deliveries a second is the same at every point, so a rising line is what connections cost that have nothing to do with a line.",
        value: |outcome| outcome.cpu_micros,
    },
    Metric {
        id: "p50",
        title: "Latency at a steady pace: p50",
        axis: "latency, p50, ms",
        unit: "ms",
        family: "paced",
        kind: Kind::Latency,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 1.5,
        wins: "had the lowest median latency at a steady pace",
        reading: "Lower is better. Half of all deliveries took at most so long, from when a line was due to be said until a member had read it.",
        value: |outcome| outcome.latency_ms(0.5),
    },
    Metric {
        id: "p99",
        title: "Latency at a steady pace: p99",
        axis: "latency, p99, ms",
        unit: "ms",
        family: "paced",
        kind: Kind::Tail,
        goal: Some("p99 latency at a steady pace"),
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
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 2.5,
        wins: "had the lowest p99.9 latency at a steady pace",
        reading: "Lower is better. One delivery in 1,000 took longer: of a few thousand deliveries these are a handful, so small differences say nothing.",
        value: |outcome| outcome.latency_ms(0.999),
    },
    Metric {
        id: "p99-room",
        title: "Latency in one big room at full speed: p99",
        axis: "latency, p99, ms",
        unit: "ms",
        family: "room",
        kind: Kind::Tail,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 2.0,
        wins: "had the lowest p99 latency in one big room at full speed",
        reading: "Lower is better. One delivery in 100 took longer, from when a line was sent until a member had read it, while 8 lines were always under way.",
        value: |outcome| outcome.latency_ms(0.99),
    },
    Metric {
        id: "memory",
        title: "Memory a connection",
        axis: "PSS a connection, KiB",
        unit: "KiB",
        family: "idle",
        kind: Kind::Cost,
        goal: Some("memory a connection"),
        size_min: CONNECTIONS_MIN_OF_MODELS,
        better: Better::Lower,
        same: 1.25,
        wins: "took the least memory a connection",
        reading: "Lower is better. Growth of the proportional set size (PSS) over the empty server: a process's own memory and its share of what it shares. Shown from 100 connections on, since fewer disappear in what is there anyway. The kernel's own memory for sockets, stacks and page tables is not in it.",
        value: |outcome| outcome.memory_per_connection,
    },
    Metric {
        id: "memory-private",
        title: "Memory a connection that is private",
        axis: "private memory a connection, KiB",
        unit: "KiB",
        family: "idle",
        kind: Kind::Cost,
        goal: None,
        size_min: CONNECTIONS_MIN_OF_MODELS,
        better: Better::Lower,
        same: 1.25,
        wins: "took the least private memory a connection",
        reading: "Lower is better. The part of the plot above that no other process shares: copies of the chat's state among it. The difference between the two is shared. A line that rises means that what each connection holds grows with the number of all.",
        value: |outcome| outcome.private_per_connection,
    },
    Metric {
        id: "storm",
        title: "Connections a second in a storm",
        axis: "connections a second",
        unit: "connections/s",
        family: "storm",
        kind: Kind::Speed,
        goal: Some("connections/s in a storm"),
        size_min: 0,
        better: Better::Higher,
        same: 1.25,
        wins: "let in the most connections a second",
        reading: "Higher is better. From connecting to being in a room, 256 at a time; leaving is not measured. A falling line means that fewer get in a second, the more there are; whether that is work or waiting is told by the CPU time of a login, in the table.",
        value: |outcome| some_units(outcome, outcome.per_second),
    },
    Metric {
        id: "threads",
        title: "Threads in use",
        axis: "threads",
        unit: "threads",
        family: "idle",
        kind: Kind::Cost,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 1.05,
        wins: "used the fewest threads",
        reading: "Of all of the server's processes together, supervisor and journal included, when everybody is connected.",
        value: |outcome| outcome.threads.map(|threads| threads as f64),
    },
    Metric {
        id: "processes",
        title: "Processes in use",
        axis: "processes",
        unit: "processes",
        family: "idle",
        kind: Kind::Cost,
        goal: None,
        size_min: 0,
        better: Better::Lower,
        same: 1.05,
        wins: "used the fewest processes",
        reading: "Supervisor and journal included, when everybody is connected.",
        value: |outcome| outcome.processes.map(|processes| processes as f64),
    },
];

fn some_units(outcome: &Outcome, number: f64) -> Option<f64> {
    (outcome.units > 0).then_some(number)
}

impl Metric {
    /// A curve for each subject that has numbers, in the order given. Zero is left out: no logarithm shows it.
    pub fn curves(&self, rows: &[Row], subjects: &[Subject]) -> Vec<Curve> {
        let of = |subject: Subject| {
            let rows = rows.iter().filter(|row| row.shape.name == self.family);
            let point = |row: &Row| {
                let outcome = row.of(subject)?;
                Some((row.size?, (self.value)(outcome)?, self.doubt(row, outcome)))
            };
            let mut found: Vec<_> = rows.filter_map(point).filter(|&(size, value, _)| size >= self.size_min && value > 0.0).collect();
            found.sort_by_key(|&(size, _, _)| size);
            Curve {
                subject,
                points: found.iter().map(|&(size, value, _)| (size, value)).collect(),
                doubts: found.into_iter().filter_map(|(size, _, doubt)| Some((size, doubt?))).collect(),
            }
        };
        subjects.iter().map(|&subject| of(subject)).filter(|curve| !curve.points.is_empty()).collect()
    }

    /// Why a number isn't what it seems, if so.
    fn doubt(&self, row: &Row, outcome: &Outcome) -> Option<String> {
        if let Some(share) = outcome.rate_share.filter(|_| outcome.missed_its_rate()) {
            return Some(format!("only {} % of the pace was kept", number(share * 100.0)));
        }
        // Who logs in while 255 others do waits for them: that is no standstill.
        let is_exempt = self.kind == Kind::Cost || row.shape.traffic == Traffic::Storm;
        let stall = outcome.stall_ms().filter(|_| !is_exempt)?;
        Some(format!("server or machine stood still: a delivery took {} ms", number(stall)))
    }
}

/// A number for people: three digits that count, or all of them before the point, in groups of three.
pub fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize };
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
            assert!(METRICS[..place].iter().all(|other| other.id != metric.id && other.title != metric.title), "{}", metric.id);
            assert!(FAMILIES.iter().any(|family| family.name == metric.family), "{}", metric.id);
        }
    }

    #[test]
    fn a_pace_that_was_not_kept_and_a_standstill_make_numbers_doubtful() {
        let pool = Subject::Model(Model::Pool);
        let doubts = |id: &str, outcome: Outcome| {
            let metric = METRICS.iter().find(|metric| metric.id == id).unwrap();
            let shape = FAMILIES.iter().find(|family| family.name == metric.family).unwrap().shape(10);
            let row = Row { shape, workers: None, size: Some(10), sides: vec![(pool, outcome)], missing: Vec::new() };
            metric.curves(&[row], &[pool]).remove(0).doubts
        };
        let slow = || Outcome { rate_share: Some(0.4), cpu_micros: Some(1.0), ..outcome_of(&[1, 2]) };
        for id in ["cpu-paced", "p50", "p99"] {
            assert_eq!(doubts(id, slow()), [(10, "only 40 % of the pace was kept".to_owned())], "{id}");
        }
        let stalled = || Outcome { rate_share: Some(1.0), cpu_micros: Some(1.0), ..outcome_of(&[1, 1, 1, 300]) };
        assert!(doubts("p99", stalled())[0].1.contains("stood still") && doubts("deliveries-room", stalled()).len() == 1);
        assert!(doubts("cpu-paced", stalled()).is_empty(), "what it costs is not touched by that");
        assert!(doubts("storm", stalled()).is_empty());
    }

    #[test]
    fn a_curve_is_found_at_its_sizes_only() {
        let doubts = vec![(100, "why".to_owned())];
        let curve = Curve { subject: Subject::Model(Model::Pool), points: vec![(10, 1.0), (100, 2.0)], doubts };
        assert_eq!([10, 50, 100].map(|size| curve.at(size)), [Some(1.0), None, Some(2.0)]);
        assert_eq!((curve.sound().collect::<Vec<_>>(), curve.doubt(100)), (vec![(10, 1.0)], Some("why")));
    }
}
