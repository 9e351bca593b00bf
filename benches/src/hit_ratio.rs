//! Hit ratios: how often the entries that are kept are those that are asked for.

use std::path::Path;
use std::{env, io};

use crate::replay::{self, Replay};
use crate::report::{Findings, Row, Unit};
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

pub(crate) fn run(quick: bool) -> io::Result<Findings> {
    let most = if quick { 200_000 } else { usize::MAX };
    let (traces, source) = if let Some(folder) = env::var_os(VARIABLE) {
        (traces::read(Path::new(&folder), most)?, format!("the traces in {}", folder.display()))
    } else {
        (traces::made(most.min(1_000_000)), format!("made here, as {VARIABLE} is not set"))
    };
    let limit = if quick { format!(", {most} requests of each at most") } else { String::new() };
    let mut rows: Vec<Row> = traces.iter().flat_map(rows).collect();
    rows.extend(mean_of_optimum(&rows));
    let about = format!("part of the requests that are hits, by trace and capacity; {source}{limit}");
    Ok(Findings { about, rows, footer: String::new() })
}

fn rows(trace: &Trace) -> impl Iterator<Item = Row> {
    trace.capacities().into_iter().map(|capacity| {
        let ratio = |hits: usize| hits as f64 / trace.requests.len() as f64;
        let figures = REPLAYS.map(|(name, replay)| (name, ratio(replay(&trace.requests, capacity))));
        Row { case: format!("{} {capacity}", trace.name), figures: figures.into(), unit: Unit::HIT_RATIO }
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
    let figures = rows.first()?.figures.iter().map(|(name, _)| mean(*name)).collect();
    Some(Row { case: "mean of all rows".to_owned(), figures, unit: Unit::OF_OPTIMUM })
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
        let row = |ours, optimum| Row {
            case: String::new(),
            figures: vec![("ours", ours), (OPTIMUM, optimum)],
            unit: Unit::HIT_RATIO,
        };
        let mean = mean_of_optimum(&[row(0.25, 0.5), row(0.5, 0.5), row(0.0, 0.0)]);
        assert_eq!(mean.map(|row| row.figures), Some(vec![("ours", 0.75), (OPTIMUM, 1.0)]));
        assert_eq!(mean_of_optimum(&[]), None);
    }
}
