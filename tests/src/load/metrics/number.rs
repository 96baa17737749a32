//! Numbers as text.

/// Formats a number with three significant digits, or more before the point, in groups of three.
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
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let numbers = [0.0, 0.01234, 0.5, 1.0, 12.345, 999.6, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(numbers, ["0", "0.0123", "0.5", "1", "12.3", "1,000", "1,234", "1,234,567"]);
    }
}
