//! The result of a measurement, and the summary of several samples.

use super::generator::KillCost;
use super::sequence_tracker::Tally;
use hdrhistogram::Histogram;

/// If the load generator uses more than this share of a core, it was the limit.
const GENERATOR_SHARE_MAX: f64 = 0.9;
/// If server and load generator use more than this share of all CPUs, the machine was the limit.
const CPUS_SHARE_MAX: f64 = 0.95;
/// An open loop that has sent less than this share of its lines did not keep its rate.
const RATE_SHARE_MIN: f64 = 0.95;
/// Server or machine stood still if a delivery took longer than this, in ms, and this many times
/// longer than usual.
const STALL_MS_MIN: f64 = 200.0;
const STALL_TIMES_MIN: f64 = 20.0;
/// The result of one side, or the summary of several samples.
#[derive(Debug)]
pub struct Outcome {
    /// The connections that stay, or in a storm log in together.
    pub connections: usize,
    /// Deliveries, or logins in a storm.
    pub units: u64,
    /// Lines sent.
    pub lines: u64,
    /// Logins during the measurement.
    pub logins: u64,
    /// Units per second.
    pub per_second: f64,
    /// CPU time of the server without the journal, in µs per unit.
    pub cpu_micros: Option<f64>,
    /// CPU time of the journal, in µs per line.
    pub journal_micros: Option<f64>,
    /// CPU time of the server without the journal in each slice, in µs per unit; `None` for a slice
    /// without units.
    pub cpu_micros_of_slices: Vec<Option<f64>>,
    /// CPU time of the server with the journal, as a share of one core.
    pub server_share: Option<f64>,
    /// CPU time of the load generator, as a share of one core.
    pub generator_share: f64,
    /// Latencies, in ns.
    pub latency: Histogram<u64>,
    /// Faults.
    pub tally: Tally,
    /// Connections that the server ended.
    pub dropped: u64,
    /// Growth of the server's PSS per connection, in KiB.
    pub memory_per_connection: Option<f64>,
    /// The part of this growth that no other process shares, in KiB.
    pub private_per_connection: Option<f64>,
    /// The number of the server's processes when all clients were connected.
    pub processes: Option<usize>,
    /// The number of their threads.
    pub threads: Option<usize>,
    /// In an open loop, the share of the due lines that were sent.
    pub rate_share: Option<f64>,
    /// Warnings of a server that this program started.
    pub complaints: Vec<String>,
    /// Faults that the bare broadcaster made on request.
    pub faults: Option<u64>,
    /// What the kill of a process cost, if there was one.
    pub kill: Option<KillCost>,
    /// In a summary, its samples; empty in a sample.
    pub samples: Vec<Outcome>,
}

impl Outcome {
    /// Whether the load generator, not the server, was the limit.
    pub fn is_limited_by_generator(&self) -> bool {
        self.generator_share > GENERATOR_SHARE_MAX
    }

    /// Whether server and load generator together used almost all of the machine's CPUs.
    pub fn has_used_all_cpus(&self) -> bool {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.server_share.is_some_and(|share| share + self.generator_share > CPUS_SHARE_MAX * cpus)
    }

    /// Whether an open loop could not keep its rate.
    pub fn missed_its_rate(&self) -> bool {
        self.rate_share.is_some_and(|share| share < RATE_SHARE_MIN)
    }

    /// The longest latency in ms, if the server or the machine stood still. A server that is always
    /// slow has not stood still. In a summary most samples must have stood still, since a single
    /// one does not move the median.
    pub fn stall_ms(&self) -> Option<f64> {
        if !self.samples.is_empty() {
            let stalls: Vec<f64> = self.samples.iter().filter_map(Outcome::stall_ms).collect();
            return stalls
                .iter()
                .copied()
                .reduce(f64::max)
                .filter(|_| stalls.len() * 2 > self.samples.len());
        }
        let (usual, longest) = (self.latency_ms(0.5)?, self.latency_ms(1.0)?);
        (longest > STALL_MS_MIN && longest > usual * STALL_TIMES_MIN).then_some(longest)
    }

    /// Whether there was no fault and no process of the server died.
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.dropped == 0 && self.complaints.is_empty()
    }

    /// A quantile of the latencies, in ms; `None` if there are none. In a summary it is the median
    /// of the samples' quantiles; the maximum is that of all samples.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        if !self.samples.is_empty() && quantile < 1.0 {
            return median_of(self.samples.iter().filter_map(|sample| sample.latency_ms(quantile)));
        }
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// The ratio of CPU time per unit to that of another outcome: the median over pairs of slices.
    pub fn times_cpu_of(&self, other: &Outcome) -> Option<f64> {
        let pairs = self.cpu_micros_of_slices.iter().zip(&other.cpu_micros_of_slices);
        median_of(pairs.filter_map(|(own, others)| Some((*own)? / (*others)?)))
    }

    /// Summarizes several samples of the same load: medians of what is measured, sums of what is
    /// counted. `None` without samples.
    pub fn of_samples(samples: Vec<Outcome>) -> Option<Outcome> {
        let first = samples.first()?;
        let sum = |part: fn(&Outcome) -> u64| samples.iter().map(part).sum();
        let median = |part: fn(&Outcome) -> Option<f64>| median_of(samples.iter().filter_map(part));
        let count = |part: fn(&Outcome) -> Option<usize>| {
            median_of(samples.iter().filter_map(part).map(|count| count as f64))
        };
        let (mut latency, mut tally) = (first.latency.clone(), Tally::default());
        samples.iter().for_each(|sample| tally += sample.tally);
        // It can't fail: all histograms have the same bounds.
        for sample in &samples[1..] {
            let _ = latency.add(&sample.latency);
        }
        let kill = Option::zip(
            median(|sample| Some(sample.kill?.share)),
            median(|sample| Some(sample.kill?.wait_ms)),
        );
        let others_ms = median(|sample| sample.kill?.others_ms);
        Some(Outcome {
            connections: first.connections,
            units: sum(|sample| sample.units),
            lines: sum(|sample| sample.lines),
            logins: sum(|sample| sample.logins),
            per_second: median(|sample| Some(sample.per_second))?,
            cpu_micros: median(|sample| sample.cpu_micros),
            journal_micros: median(|sample| sample.journal_micros),
            cpu_micros_of_slices: samples
                .iter()
                .flat_map(|sample| sample.cpu_micros_of_slices.clone())
                .collect(),
            server_share: median(|sample| sample.server_share),
            generator_share: median(|sample| Some(sample.generator_share))?,
            latency,
            tally,
            dropped: sum(|sample| sample.dropped),
            memory_per_connection: median(|sample| sample.memory_per_connection),
            private_per_connection: median(|sample| sample.private_per_connection),
            processes: count(|sample| sample.processes).map(|count| count as usize),
            threads: count(|sample| sample.threads).map(|count| count as usize),
            rate_share: median(|sample| sample.rate_share),
            complaints: samples.iter().flat_map(|sample| sample.complaints.clone()).collect(),
            faults: first.faults.map(|_| sum(|sample| sample.faults.unwrap_or(0))),
            kill: kill.map(|(share, wait_ms)| KillCost { share, wait_ms, others_ms }),
            samples,
        })
    }
}

/// The median of some numbers; `None` if there are none.
pub fn median_of(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// An outcome with these latencies in ms and without any other numbers.
#[cfg(test)]
pub fn outcome_of(latencies_ms: &[u64]) -> Outcome {
    let mut latency = Histogram::new(3).expect("three digits are allowed");
    latencies_ms.iter().for_each(|ms| latency.record(ms * 1_000_000).expect("it grows as needed"));
    let units = latencies_ms.len() as u64;
    Outcome {
        connections: 10,
        units,
        lines: units,
        logins: units,
        per_second: units as f64,
        cpu_micros: None,
        journal_micros: None,
        cpu_micros_of_slices: Vec::new(),
        server_share: None,
        generator_share: 0.0,
        latency,
        tally: Tally::default(),
        dropped: 0,
        memory_per_connection: None,
        private_per_connection: None,
        processes: None,
        threads: None,
        rate_share: None,
        complaints: Vec::new(),
        faults: None,
        kill: None,
        samples: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_much_longer_than_usual_is_a_standstill() {
        let stalled = |latencies: &[u64]| outcome_of(latencies).stall_ms().is_some();
        assert!(stalled(&[1, 1, 1, 300]));
        assert!(!stalled(&[1, 1, 1, 150]) && !stalled(&[100, 100, 100, 300]) && !stalled(&[]));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(
            [&[][..], &[1.0], &[2.0, 1.0], &[9.0, 1.0, 2.0]]
                .map(|numbers| median_of(numbers.iter().copied())),
            [None, Some(1.0), Some(1.5), Some(2.0)]
        );
    }

    #[test]
    fn a_summary_has_medians_of_what_is_measured_and_sums_of_what_is_counted() {
        let sample = |ms: u64, cost: f64| Outcome {
            cpu_micros: Some(cost),
            tally: Tally { lost: 1, ..Tally::default() },
            kill: Some(KillCost { share: 0.5, wait_ms: cost, others_ms: None }),
            ..outcome_of(&[ms, ms])
        };
        let summary =
            Outcome::of_samples(vec![sample(1, 7.0), sample(9, 5.0), sample(3, 6.0)]).unwrap();
        assert_eq!((summary.units, summary.tally.lost, summary.cpu_micros), (6, 3, Some(6.0)));
        assert_eq!(summary.kill.unwrap().wait_ms, 6.0);
        let [half, longest] =
            [0.5, 1.0].map(|quantile| summary.latency_ms(quantile).unwrap().round());
        assert_eq!(
            (half, longest),
            (3.0, 9.0),
            "the median of three medians, and the longest of all"
        );
        assert!(Outcome::of_samples(Vec::new()).is_none());
    }

    #[test]
    fn one_sample_that_stood_still_does_not_spoil_the_median() {
        let (calm, stalled) = (|| outcome_of(&[1, 1, 1, 2]), || outcome_of(&[1, 1, 1, 300]));
        let stall_of = |samples| Outcome::of_samples(samples).unwrap().stall_ms().is_some();
        assert!(
            !stall_of(vec![calm(), stalled(), calm()])
                && stall_of(vec![stalled(), stalled(), calm()])
        );
    }
}
