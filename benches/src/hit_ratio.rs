//! Hit ratios: how often the entries that are kept are those that are asked for.

use std::path::Path;
use std::{env, io};

use crate::replay::{self, Replay};
use crate::report::{Row, Unit};
use crate::traces::{self, Trace};

/// The folder with the traces to replay.
const VARIABLE: &str = "CACHE_TRACES";

const OPTIMUM: &str = "optimum";

const REPLAYS: [(&str, Replay); 6] = [
    ("ours", replay::ours),
    ("moka", replay::moka),
    ("moka_lazy", replay::moka_lazy),
    ("quick_cache", replay::quick_cache),
    ("lru", replay::lru),
    (OPTIMUM, replay::optimum),
];

pub(crate) fn about(quick: bool) -> String {
    let source = env::var_os(VARIABLE).map_or_else(
        || format!("made here, as {VARIABLE} is not set"),
        |folder| format!("the traces in {}", folder.display()),
    );
    let limit = if quick { format!(", {QUICK} requests of each at most") } else { String::new() };
    format!("part of the requests that are hits, by trace and capacity; {source}{limit}")
}

pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let most = if quick { QUICK } else { usize::MAX };
    let traces = match env::var_os(VARIABLE) {
        Some(folder) => traces::read(Path::new(&folder), most)?,
        None => traces::made(most.min(1_000_000)),
    };
    let mut rows: Vec<Row> = traces.iter().flat_map(rows).collect();
    let summary = [mean_of_optimum(&rows), most_below_the_best(&rows)];
    rows.extend(summary.into_iter().flatten());
    Ok(rows)
}

/// With this many requests of each trace.
const QUICK: usize = 200_000;

/// Who may be better; one of them has more entries than it may.
const PEERS: [&str; 4] = ["moka", "moka_lazy", "quick_cache", "lru"];

fn rows(trace: &Trace) -> impl Iterator<Item = Row> {
    trace.capacities().into_iter().map(|capacity| {
        let ratio = |hits: usize| hits as f64 / trace.requests.len() as f64;
        let figures = REPLAYS.map(|(name, replay)| (name, ratio(replay(&trace.requests, capacity))));
        Row::new(format!("{} {capacity}", trace.name), Unit::HIT_RATIO, figures)
    })
}

/// How much of what is possible each reaches, in the mean over all rows.
fn mean_of_optimum(rows: &[Row]) -> Option<Row> {
    // Where nothing could be hit, nobody did well or badly.
    let optimum = |row: &Row| row.figure(OPTIMUM).filter(|optimum| *optimum > 0.0);
    let of_optimum = |row: &Row, name| Some(row.figure(name)? / optimum(row)?);
    let mean = |name| {
        let parts: Vec<_> = rows.iter().filter_map(|row| of_optimum(row, name)).collect();
        (name, parts.iter().sum::<f64>() / parts.len() as f64)
    };
    let figures = rows.first()?.figures.iter().map(|(name, _)| mean(*name));
    Some(Row::new("mean of all rows", Unit::OF_OPTIMUM, figures))
}

/// By how much we have less than the best peer, in the row where that is most; below zero if we are better
/// everywhere.
fn most_below_the_best(rows: &[Row]) -> Option<Row> {
    let below = |row: &Row| {
        let best = PEERS.iter().filter_map(|name| row.figure(name)).max_by(f64::total_cmp)?;
        Some((best - row.figure("ours")?, row.case.clone()))
    };
    let (below, case) = rows.iter().filter_map(below).max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(Row::new(format!("most below the best peer: {case}"), Unit::HIT_RATIO_LESS, [("ours", below)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_one_who_keeps_to_the_capacity_is_above_the_optimum() {
        for row in traces::made(5000).iter().flat_map(rows) {
            let names = REPLAYS.iter().map(|(name, _)| *name).filter(|name| *name != "moka_lazy");
            for name in names {
                let ratio = row.figure(name);
                assert!(ratio.is_some() && ratio <= row.figure(OPTIMUM), "{name}: {row:?}");
            }
        }
    }

    #[test]
    fn the_mean_is_that_of_the_parts_of_the_optimum() {
        let row = |ours, optimum| Row::new("", Unit::HIT_RATIO, [("ours", ours), (OPTIMUM, optimum)]);
        let mean = mean_of_optimum(&[row(0.25, 0.5), row(0.5, 0.5), row(0.0, 0.0)]);
        assert_eq!(mean.map(|row| row.figures), Some(vec![("ours", 0.75), (OPTIMUM, 1.0)]));
        assert_eq!(mean_of_optimum(&[]), None);
    }

    #[test]
    fn the_worst_row_is_the_one_with_the_largest_difference() {
        let row = |case, ours, moka, lru| {
            Row::new(case, Unit::HIT_RATIO, [("ours", ours), ("moka", moka), ("lru", lru), (OPTIMUM, 1.0)])
        };
        let rows = [row("a", 0.5, 0.25, 0.625), row("b", 0.5, 0.75, 0.0), row("c", 0.5, 0.5, 0.5)];
        let expected = Row::new("most below the best peer: b", Unit::HIT_RATIO_LESS, [("ours", 0.25)]);
        assert_eq!(most_below_the_best(&rows), Some(expected));
        assert_eq!(most_below_the_best(&[]), None);
    }
}
