//! cached-runtime measured against its peers: what the programs of this package do.

#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod build;
mod caches;
mod cli;
mod counted;
mod counter;
mod expiry;
mod growth;
mod histogram;
mod hit;
mod hit_ratio;
mod lookups;
mod machine;
mod measure;
mod memory;
mod miss;
mod pinning;
mod plot;
mod processes;
mod random;
mod replay;
mod report;
mod round_trip;
mod scheduler;
mod shared;
mod targets;
mod traces;

pub use cli::compare;
pub use counted::count;
