use cached_runtime::cached;

use std::time::Duration;

#[cached(
    timeout = "5m",
    idle_timeout = Duration::from_secs(60),
    jitter = "10%",
    capacity = 1 << 10,
    weigh = |text: &Result<String, ()>| text.as_ref().map_or(1, String::len),
    skip(verbose),
    name = "every.option",
    cache_err,
    negative_timeout = 5,
    cache_if = |_| true,
    bypass_if = verbose && id == 0,
    refresh_if = false,
    single_flight = true,
    handle = item_cache,
    crate = ::cached_runtime
)]
fn item(id: u64, verbose: bool) -> Result<String, ()> {
    if verbose { Ok(id.to_string()) } else { Err(()) }
}

fn main() {
    assert_eq!(item(1, false), Err(()));
    assert_eq!(item_cache::peek(1), Some(Err(())));
}
