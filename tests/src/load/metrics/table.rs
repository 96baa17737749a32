//! All metrics.

use super::{Better, Kind, Metric, Rank};
use crate::load::outcome::Outcome;
use crate::load::report::CONNECTIONS_MIN_OF_MODELS;

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
        reading: "Higher is better. From left to right there are more rooms of 10. Each works as \
            fast as it can.",
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
        reading: "Higher is better. From left to right each line goes to more members. A model \
            that serves many members with one wake-up pays less than a model that needs a wake-up \
            for each.",
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
        reading: "Lower is better. This is the user and system time of all processes of the \
            server, without the journal. A flat line means that a delivery costs the same however \
            many clients are connected.",
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
        reading: "Lower is better. A falling line means that all members share a cost that is paid \
            once per line. A flat line means that the cost is paid again for each member.",
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
        reading: "Lower is better. Every point has the same number of deliveries per second. So a \
            rising line is the cost of connections that have nothing to do with a line.",
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
        reading: "Lower is better. Half of all deliveries took at most this long, from the moment \
            at which a line was due until a member had read it.",
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
        reading: "Lower is better. One delivery in 1,000 took longer. A sample of a few thousand \
            deliveries has only a handful of those, so small differences mean nothing.",
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
        reading: "Lower is better. One delivery in 100 took longer, from the moment at which a \
            line was sent until a member had read it. 8 lines were always in flight.",
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
        reading: "Lower is better. This is the growth of the PSS over that of the server without \
            clients. The plot begins at 100 connections, since the memory of fewer cannot be told \
            from what the server uses anyway. The kernel's own memory for sockets, stacks and page \
            tables is not included.",
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
        reading: "Lower is better. This is the part of the plot above that no other process \
            shares, such as copies of the chat's state. The difference between the two plots is \
            shared memory. A rising line means that each connection holds something that grows \
            with the number of all connections.",
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
        reading: "Higher is better. 256 clients at a time connect, log in and enter a room; the \
            time that they take to leave is not measured. A falling line means that each login \
            takes longer when more clients are connected. The CPU time of a login is in the table \
            of all numbers.",
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
        reading: "All threads of all processes of the server, with those of the supervisor and the \
            journal, when all clients are connected.",
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
        reading: "All processes of the server, with the supervisor and the journal, when all \
            clients are connected.",
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
        reading: "Lower is better. A process that served clients was killed with kill -9 while \
            lines were said at a steady pace. This is the share of all connections that the killed \
            process served. They stay open: another process takes them over.",
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
        reading: "Lower is better. The time from the kill to the first line that was due after the \
            kill and was delivered to a client of the killed process. The client that waited \
            longest counts. The next line was due up to 5 ms after the kill in rooms of up to 100, \
            and up to 50 ms after it in a room of 1,000; that is included.",
        value: |outcome| outcome.kill.map(|kill| kill.wait_ms),
    },
];

fn some_units(outcome: &Outcome, number: f64) -> Option<f64> {
    (outcome.units > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::families::FAMILIES;

    #[test]
    fn every_metric_has_a_unique_name_and_a_family() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(
                METRICS[..index]
                    .iter()
                    .all(|other| other.id != metric.id && other.title != metric.title),
                "{}",
                metric.id
            );
            assert!(FAMILIES.iter().any(|family| family.name == metric.family), "{}", metric.id);
        }
    }
}
