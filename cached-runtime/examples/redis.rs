//! Exchange rates that processes share through Redis or Valkey: of all of them, one asks for a rate.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/0 cargo run -p cached-runtime --features redis,tokio --example redis
//! ```

use std::process::ExitCode;
use std::time::Duration;
use std::{env, io, thread};

use cached_runtime::{Backend, backends, cached};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

static RATES: Backend = Backend::env("REDIS_URL", "null://");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rate {
    bid: f64,
    ask: f64,
}

/// `lease`: however many processes want it at the same time, one computes it and the others wait for that.
#[cached(timeout = 60, lease = "10s", backend = RATES)]
fn rate(from: &str, to: &str) -> Option<Rate> {
    thread::sleep(Duration::from_millis(200)); // slow
    (from != to).then_some(Rate { bid: 1.0812, ask: 1.0814 })
}

/// The same awaited. For five seconds each process serves a copy of its own.
#[cached(timeout = 60, local_timeout = "5s", backend = RATES)]
async fn history(from: &str, to: &str) -> Vec<Rate> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    if from == to { Vec::new() } else { vec![Rate { bid: 1.0807, ask: 1.0809 }; 3] }
}

fn main() -> Result<ExitCode, io::Error> {
    if env::var_os("REDIS_URL").is_none() {
        eprintln!("redis: REDIS_URL is not set; it names the server, as in redis://127.0.0.1:6379/0");
        return Ok(ExitCode::from(2));
    }
    for (from, to) in [("EUR", "USD"), ("EUR", "USD")] {
        let found = if rate::peek(from, to).is_some() { "hit" } else { "miss" };
        println!("{found:<4}  rate({from}, {to}) = {:?}", rate(from, to));
    }
    let runtime = Runtime::new()?;
    for (from, to) in [("EUR", "USD"), ("EUR", "USD")] {
        let found = if runtime.block_on(history::peek(from, to)).is_some() { "hit" } else { "miss" };
        println!("{found:<4}  history({from}, {to}) of {} days", runtime.block_on(history(from, to)).len());
    }
    for backend in backends() {
        if let Some(failure) = backend.last_failure {
            eprintln!("redis: {} cannot be used, so rates were computed: {}", backend.name, failure.message);
        }
    }
    Ok(ExitCode::SUCCESS)
}
