//! The statistics of all functions, for people.

use std::fmt;
use std::time::Duration;

use crate::function::FunctionInfo;

/// One aligned row a function; from [`Store::report`](crate::Store::report), to be displayed.
#[derive(Clone, Debug)]
pub struct Report(Vec<FunctionInfo>);

const HEADINGS: [&str; 8] =
    ["function", "hits", "stale", "misses", "hit ratio", "entries", "evicted", "time saved"];

impl Report {
    pub(crate) fn new(functions: Vec<FunctionInfo>) -> Self {
        Self(functions)
    }
}

fn row(function: FunctionInfo) -> [String; HEADINGS.len()] {
    let stats = function.stats();
    // A caller does not care where a value was.
    let (hits, misses) = (stats.hits + stats.backend_hits, stats.misses.saturating_sub(stats.backend_hits));
    [
        one_line(function.name()),
        hits.to_string(),
        stats.stale.to_string(),
        misses.to_string(),
        format!("{:.1}%", stats.hit_ratio() * 100.0),
        stats.entries.to_string(),
        stats.evictions.to_string(),
        for_people(stats.time_saved()),
    ]
}

/// Whether a letter is shown as itself, and not as something else, or as nothing.
pub(crate) fn is_seen(letter: char) -> bool {
    letter.escape_debug().len() == 1 || matches!(letter, '\'' | '"' | '\\')
}

/// The text with control characters, and others that cannot be seen, escaped: nothing in it begins a line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_seen(letter) {
            line.push(letter);
        } else {
            line.extend(letter.escape_debug());
        }
    }
    line
}

/// A duration with about three digits.
fn for_people(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{duration:.1?}"),
        1..120 => format!("{:.1}s", duration.as_secs_f64()),
        seconds @ 120..7200 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = HEADINGS.map(str::to_owned);
        let rows: Vec<_> = std::iter::once(headings).chain(self.0.iter().copied().map(row)).collect();
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{:<width$}", row[0], width = widths[0])?;
            for (cell, width) in row.iter().zip(widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(one_line("größe C:\\x \"y\""), "größe C:\\x \"y\"");
        assert_eq!(one_line("a\nb\t\u{1b}[2J\u{202e}"), "a\\nb\\t\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn durations_are_short() {
        for (nanoseconds, expected) in [
            (0, "0.0ns"),
            (1_234_567, "1.2ms"),
            (1_500_000_000, "1.5s"),
            (150_000_000_000, "2m 30s"),
            (7_260_000_000_000, "2h 1m"),
        ] {
            assert_eq!(for_people(Duration::from_nanos(nanoseconds)), expected);
        }
    }
}
