//! The result of a run, as a table for people and as JSON for programs.

use super::faults::Count;
use super::killer::KillKind;
use super::server::Recovery;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The seed of the run.
    pub seed: u64,
    /// The duration of the traffic in seconds.
    pub seconds: f64,
    /// The number of TCP clients and of UDP clients.
    pub clients: [u32; 2],
    /// Killed processes, by kind of kill.
    pub kills: [u64; KillKind::ALL.len()],
    /// The number of lines sent.
    pub lines: u64,
    /// The number of lines received, all clients together.
    pub deliveries: u64,
    /// Faults over TCP.
    pub tcp: Count,
    /// Faults over UDP.
    pub udp: Count,
    /// Whether there are no faults, apart from those that UDP allows.
    pub is_clean: bool,
    /// In ns.
    pub plain: Histogram<u64>,
    /// In ns.
    pub disturbed: Histogram<u64>,
    /// The recoveries of workers, as the server logs them.
    pub recoveries: Vec<Recovery>,
    /// Descriptions of faults and other problems.
    pub complaints: Vec<String>,
}

impl Outcome {
    /// The table.
    pub fn table(&self) -> String {
        let [worker, all, successor, journal, stopped, crashed] = self.kills;
        let [tcp, udp] = self.clients;
        let mut text = format!(
            "{} lines sent in {:.1} s, delivered {} times to {tcp} TCP and {udp} UDP clients\n\
             {} processes killed: {worker} single workers, {all} workers all at once, {successor} \
             successors, {journal} journals, {stopped} workers by SIGSTOP, {crashed} by \
             SIGSEGV\n\n",
            self.lines,
            self.seconds,
            self.deliveries,
            self.kill_count(),
        );
        text += "       dropped      lost   doubled reordered differing     wrong\n";
        for (name, count) in [("TCP", self.tcp), ("UDP", self.udp)] {
            let tally = count.tally;
            let cells = [
                count.dropped,
                tally.lost,
                tally.doubled,
                tally.reordered,
                count.differing,
                tally.wrong,
            ];
            text += &format!("{name:4}{}\n", cells.map(|cell| format!("{cell:>10}")).concat());
        }
        text += "\n                                 count       p50       p99       max\n";
        for (name, histogram) in [
            ("pause after a kill, ms", &self.plain),
            ("  stopped, crashed, again, ms", &self.disturbed),
        ] {
            let cells = if histogram.is_empty() {
                [f64::NAN; 3]
            } else {
                quantiles(histogram).map(|nanos| nanos as f64 / 1e6)
            };
            text += &row(name, histogram.len(), cells);
        }
        text +=
            &row("recovery by the server, ms", self.recoveries.len() as u64, self.recovery_ms());
        text +=
            &row("  sessions taken over", self.recoveries.len() as u64, self.recovery_sessions());
        text
    }

    /// The JSON object.
    pub fn json(&self) -> Value {
        let ms = |histogram: &Histogram<u64>| {
            let [p50, p99, max] = quantiles(histogram).map(|nanos| nanos as f64 / 1e6);
            json!({ "count": histogram.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max })
        };
        let [p50, p99, max] = self.recovery_ms();
        let kills: serde_json::Map<String, Value> = KillKind::ALL
            .iter()
            .zip(self.kills)
            .map(|(kind, count)| {
                (json!(kind).as_str().unwrap_or_default().to_owned(), count.into())
            })
            .collect();
        json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "kills": self.kill_count(),
            "kills_by": kills,
            "lines": self.lines,
            "deliveries": self.deliveries,
            "tcp": self.tcp,
            "udp": self.udp,
            "clean": self.is_clean,
            "pauses": ms(&self.plain),
            "pauses_disturbed": ms(&self.disturbed),
            "recoveries": {
                "count": self.recoveries.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            },
            "complaints": self.complaints,
        })
    }

    /// One line that sums up the run.
    pub fn verdict(&self) -> String {
        let Count { dropped, tally, differing } = self.tcp;
        let wrong =
            if tally.wrong > 0 { format!(", {} wrong", tally.wrong) } else { String::new() };
        format!(
            "seed {}: {} kills, {dropped} dropped, {} lost, {} doubled, {} reordered, {differing} \
             differing{wrong}",
            self.seed,
            self.kill_count(),
            tally.lost,
            tally.doubled,
            tally.reordered,
        )
    }

    fn kill_count(&self) -> u64 {
        self.kills.iter().sum()
    }

    fn recovery_ms(&self) -> [f64; 3] {
        quantiles_of(self.recoveries.iter().map(|recovery| recovery.ms).collect())
    }

    fn recovery_sessions(&self) -> [f64; 3] {
        quantiles_of(self.recoveries.iter().map(|recovery| recovery.sessions as f64).collect())
    }
}

fn row(name: &str, count: u64, cells: [f64; 3]) -> String {
    let cell =
        |value: f64| if value.is_nan() { format!("{:>10}", "-") } else { format!("{value:>10.1}") };
    format!("{name:30}{count:>8}{}\n", cells.map(cell).concat())
}

fn quantiles(histogram: &Histogram<u64>) -> [u64; 3] {
    [0.5, 0.99, 1.0].map(|quantile| histogram.value_at_quantile(quantile))
}

fn quantiles_of(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        values
            .get(((values.len() as f64 * quantile).ceil() as usize).max(1) - 1)
            .copied()
            .unwrap_or(f64::NAN)
    };
    [0.5, 0.99, 1.0].map(at)
}
