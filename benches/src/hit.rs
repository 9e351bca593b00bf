//! Hits: what a call costs whose value is there and fresh.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use crate::counter::Counter;
use crate::lookups::{self, AllPeers, COMPUTED};
use crate::measure::{Effort, LOOP, measure, with_throughputs};
use crate::report::Row;

pub(crate) fn about(quick: bool) -> String {
    format!(
        "ns per hit, median of {} rounds; each time includes `{LOOP}`, which picks the key; allocations per hit",
        Effort::new(quick).rounds
    )
}

/// Fails if a call was not a hit.
pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let mut rows = times(quick)?;
    let allocations = Counter::build()?.ask(&["hit"])?;
    rows.extend(allocations.lines().filter_map(Row::parse));
    Ok(rows)
}

fn times(quick: bool) -> io::Result<Vec<Row>> {
    let (peers, names) = (AllPeers::new(), lookups::names());
    let [numbers, texts, pairs, awaited] = lookups::kinds(&peers, &names);
    let [hot, hot_4, million] = lookups::numbers(&peers);
    let cases = [numbers, hot, hot_4, million, texts, pairs, awaited];

    let computed = COMPUTED.load(Relaxed);
    let measured = measure(&cases, Effort::new(quick));
    let misses = COMPUTED.load(Relaxed) - computed;
    if misses > 0 {
        return Err(io::Error::other(format!("{misses} calls were misses; the times are not those of hits")));
    }
    Ok(with_throughputs(&measured))
}
