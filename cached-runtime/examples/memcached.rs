//! Pages that processes share through memcached. Run it twice: the second run finds what the first computed.
//!
//! ```sh
//! MEMCACHED_URL=memcached://127.0.0.1 cargo run -p cached-runtime --features memcached,tokio --example memcached
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use cached_runtime::{Backend, Stats, backends, cached};
use tokio::runtime::Runtime;

static PAGES: Backend = Backend::env("MEMCACHED_URL", "null://");

/// An `Err` would be returned and not stored.
#[cached(timeout = "5m", backend = PAGES)]
fn page(slug: &str) -> Result<String, io::Error> {
    thread::sleep(Duration::from_millis(200)); // slow
    Ok(format!("<h1>{slug}</h1>"))
}

/// The same awaited: the tasks of a runtime share one connection.
#[cached(timeout = "5m", backend = PAGES)]
async fn title(slug: &str, lang: &str) -> String {
    tokio::time::sleep(Duration::from_millis(200)).await;
    format!("{slug} ({lang})")
}

/// Shows a call, and whether the server had its value.
fn show(call: &str, value: &str, begun: Instant, before: &Stats, after: &Stats) {
    let outcome = if after.backend_hits > before.backend_hits { "hit" } else { "miss" };
    println!("{call:<20}  {value:<14}  {outcome:<4}  {:>8.1?}", begun.elapsed());
}

fn main() -> Result<ExitCode, io::Error> {
    if env::var_os("MEMCACHED_URL").is_none() {
        eprintln!("memcached: MEMCACHED_URL is not set; it names the server: memcached://127.0.0.1:11211");
        return Ok(ExitCode::from(2));
    }
    for slug in ["home", "about", "home"] {
        let (before, begun) = (page::stats(), Instant::now());
        show(&format!("page({slug:?})"), &page(slug)?, begun, &before, &page::stats());
    }
    Runtime::new()?.block_on(async {
        for lang in ["en", "de", "en"] {
            let (before, begun) = (title::stats().await, Instant::now());
            let value = title("home", lang).await;
            show(&format!("title(\"home\", {lang:?})"), &value, begun, &before, &title::stats().await);
        }
    });
    for backend in backends() {
        if let Some(failure) = backend.last_failure {
            eprintln!("memcached: {} cannot be used, pages were computed: {}", backend.name, failure.message);
        }
    }
    Ok(ExitCode::SUCCESS)
}
