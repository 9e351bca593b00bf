//! What is aimed at, and how far it was reached.

use crate::report::{self, Row};

/// A figure of ours in the case of a bench that begins so: beside a rival's, or by itself.
struct Target {
    bench: &'static str,
    case: &'static str,
    rival: Option<&'static str>,
    /// Where more is better the least, else the most.
    bound: f64,
}

/// As many times the figure of a rival.
const fn times(bound: f64, rival: &'static str, bench: &'static str, case: &'static str) -> Target {
    Target { bench, case, rival: Some(rival), bound }
}

/// So much by itself.
const fn absolute(bound: f64, bench: &'static str, case: &'static str) -> Target {
    Target { bench, case, rival: None, bound }
}

const TARGETS: &[Target] = &[
    times(1.0, "quick_cache", "hit", "u64 1 thread"),
    times(0.3, "cached", "hit", "u64 1 thread"),
    times(0.3, "concurrent_cached", "hit", "u64 1 thread"),
    times(0.15, "moka", "hit", "u64 1 thread"),
    absolute(1.9, "hit", "u64, 2 threads over 1"),
    absolute(1.9, "hit", "4 hot keys, 2 threads over 1"),
    times(0.6, "quick_cache", "hit", "u64 2 threads"),
    times(0.6, "quick_cache", "hit", "4 hot keys 2 threads"),
    times(1.1, "quick_cache", "hit", "1,000,000 keys 1 thread"),
    times(1.1, "quick_cache", "hit", "1,000,000 keys 2 threads"),
    times(1.15, "quick_cache", "hit", "str, bytes 1 thread"),
    absolute(0.0, "hit", "str, bytes, per hit"),
    times(1.3, "sync", "hit", "async 1 thread"),
    absolute(0.0, "hit", "async, per hit"),
    times(1.2, "quick_cache", "miss", "u64 1 thread"),
    times(1.2, "quick_cache", "miss", "u64 2 threads"),
    times(0.5, "moka", "miss", "u64 1 thread"),
    times(0.5, "moka", "miss", "u64 2 threads"),
    times(1.3, "raw", "shared", "memcached hit, sync"),
    times(1.5, "raw", "shared", "memcached hit, async"),
    times(1.3, "raw", "shared", "Redis hit, sync"),
    times(1.0, "concurrent_cached", "shared", "Redis hit, sync"),
    times(1.5, "raw", "shared", "Redis hit, async"),
    times(1.0, "concurrent_cached", "shared", "Redis hit, async"),
    absolute(4.0, "shared", "memcached, 64 async at once"),
    absolute(4.0, "shared", "Redis, 64 async at once"),
    times(1.2, "in_process", "shared", "hit in the local tier"),
    absolute(5.0, "shared", "breaker open, sync"),
    absolute(5.0, "shared", "breaker open, async"),
    absolute(64.0, "memory", "u64 -> u64"),
    absolute(0.83, "hit-ratio", "mean of all rows"),
    absolute(0.03, "hit-ratio", "most below the best peer"),
    absolute(1000.0, "expiry", "no value is left"),
    times(3.0, "idle", "expiry", "p99.9 of other hits"),
    // Two percent, and a thousandth of a core, are what differs from run to run.
    times(0.98, "without", "expiry", "hits while entries wait"),
    absolute(1.0, "expiry", "entries wait, nobody calls, 2nd"),
    // Which has its table from the beginning, so that this is what larger memory costs.
    times(1.0, "quick_cache", "growth", "mean of the last decade over the first"),
    absolute(1.0, "growth", "max of the last decade, while it had a core"),
    times(0.6, "cached", "build", "empty crate"),
    times(0.6, "cached", "build", "functions, with all dependencies"),
    times(0.6, "cached", "build", "functions, the crate alone"),
    times(1.0, "cached", "build", "built besides"),
    times(1.0, "cached", "build", "the program"),
];

/// The targets of these benches beside what was reached.
pub(crate) fn table(found: &[(&'static str, Vec<Row>)]) -> String {
    let headings = ["target", "aimed at", "reached", ""].map(str::to_owned).into();
    let lines = found.iter().flat_map(|(bench, rows)| {
        let targets = TARGETS.iter().filter(move |target| target.bench == *bench);
        targets.filter_map(|target| target.line(rows))
    });
    report::table(&[headings].into_iter().chain(lines).collect::<Vec<_>>())
}

impl Target {
    fn line(&self, rows: &[Row]) -> Option<Vec<String>> {
        let row = rows.iter().find(|row| row.case.starts_with(self.case))?;
        let ours = row.figure("ours")?;
        let reached = match self.rival {
            Some(rival) => ours / row.figure(rival)?,
            None => ours,
        };
        let (sign, met) = if row.unit.more_is_better {
            (">=", reached >= self.bound)
        } else {
            ("<=", reached <= self.bound)
        };
        let of = self.rival.map_or_else(|| row.unit.name.to_owned(), |rival| format!("x {rival}"));
        let text = |figure| match self.rival {
            Some(_) => report::number(Some(figure), 2),
            None => row.unit.text(figure),
        };
        Some(vec![
            format!("{}: {}", self.bench, row.case),
            format!("{sign} {} {of}", text(self.bound)),
            text(reached),
            if met { "" } else { "missed" }.to_owned(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    #[test]
    fn targets_are_compared_with_what_was_found() {
        let found = [
            ("memory", vec![Row::new("u64 -> u64", Unit::BYTES_PER_ENTRY, [("ours", 64.1)])]),
            ("hit-ratio", vec![Row::new("mean of all rows", Unit::OF_OPTIMUM, [("ours", 0.83)])]),
            ("miss", vec![Row::new("u64 1 thread", Unit::NANOSECONDS, [("ours", 9.0), ("moka", 18.0)])]),
        ];
        let expected = "\
target                                      aimed at  reached
memory: u64 -> u64           <= 64.0 bytes per entry     64.1  missed
hit-ratio: mean of all rows  >= 0.830 of the optimum    0.830
miss: u64 1 thread                    <= 0.50 x moka     0.50
";
        assert_eq!(table(&found), expected);
    }

    #[test]
    fn a_bench_that_did_not_run_has_no_line() {
        assert_eq!(table(&[]).lines().count(), 1);
    }
}
