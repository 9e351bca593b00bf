//! Memory: how many bytes an entry takes, of all that a cache allocates.

use std::io;

use crate::caches::NAMES;
use crate::counter::Counter;
use crate::report::{Row, Unit};

const ENTRIES: u64 = 1_000_000;

/// The names that `compare-memory` has for the cases, and ours.
const CASES: [(&str, &str); 2] =
    [("u64", "u64 -> u64"), ("String", "String (20 bytes) -> String (100 bytes)")];

pub(crate) fn about(_: bool) -> String {
    format!("{ENTRIES} entries, bytes as asked of the allocator, each cache in a new process")
}

pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let counter = Counter::build()?;
    let cases = if quick { &CASES[..1] } else { &CASES[..] };
    let row = |(case, label): &(&str, &str)| {
        let figures = NAMES.iter().map(|cache| Ok((*cache, bytes_per_entry(&counter, case, cache)?)));
        Ok(Row::new(*label, Unit::BYTES_PER_ENTRY, figures.collect::<io::Result<Vec<_>>>()?))
    };
    cases.iter().map(row).collect()
}

fn bytes_per_entry(counter: &Counter, case: &str, cache: &str) -> io::Result<f64> {
    let answer = counter.ask(&["entry", case, cache, &ENTRIES.to_string()])?;
    answer.trim().parse().map_err(|_| io::Error::other(format!("compare-memory said `{answer}`")))
}
