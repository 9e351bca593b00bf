use cached_runtime::cached;

#[cached(timeout = 60, stale_if_error = 60, cache_err)]
fn f(id: u64) -> Result<u64, String> {
    Ok(id)
}

fn main() {
    let _ = f(1);
}
