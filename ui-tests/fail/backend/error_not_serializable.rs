use cached_runtime::cached;

#[derive(Clone)]
struct Failed;

#[cached(cache_err, backend = "memory://")]
fn f(id: u64) -> Result<u64, Failed> {
    Ok(id)
}

fn main() {}
