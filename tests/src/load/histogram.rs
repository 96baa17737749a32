//! Writes latencies as HdrHistogram's percentile text (`.hgrm`), which its plotters read.

use hdrhistogram::Histogram;
use std::fmt::Write;

/// The number of lines for each halving of the remaining share.
const TICKS_PER_HALF: u32 = 5;

/// The distribution of latencies in ns, as text in ms.
pub fn text_of(latency: &Histogram<u64>) -> String {
    let ms = |nanos: f64| nanos / 1e6;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut below = 0;
    // Writing to a string does not fail.
    for step in latency.iter_quantiles(TICKS_PER_HALF) {
        let (value, quantile) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        below += step.count_since_last_iteration();
        let _ = match quantile {
            1.0 => writeln!(text, "{value:12.3} {quantile:2.12} {below:10}"),
            _ => writeln!(
                text,
                "{value:12.3} {quantile:2.12} {below:10} {:14.2}",
                1.0 / (1.0 - quantile)
            ),
        };
    }
    let (mean, deviation, max) =
        (ms(latency.mean()), ms(latency.stdev()), ms(latency.max() as f64));
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", latency.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_the_distribution() {
        let mut latency = Histogram::new_with_max(60_000_000_000, 3).unwrap();
        (1..=1_000).for_each(|i| latency.record(i * 1_000_000).unwrap());
        let text = text_of(&latency);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|part| part.parse().unwrap()).collect())
            .collect();
        let half = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!(
            (499.0..502.0).contains(&half[0])
                && (499.0..502.0).contains(&half[2])
                && half[3] == 2.0,
            "{half:?}"
        );
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2]), (1.0, 1_000.0));
        assert!(rows.is_sorted_by(|one, other| one[0] <= other[0] && one[2] <= other[2]));
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
