//! What users rely on, by behaviour.

mod backends;
mod bulk;
mod companion;
mod drops;
mod expiry;
mod flights;
mod freshness;
mod limits;
mod panics;
mod reentry;
mod saved;
mod shapes;
mod tags;
mod tasks;
mod values;
mod writers;
