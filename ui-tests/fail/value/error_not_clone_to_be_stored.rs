use cached_runtime::cached;

struct Failed;

#[cached(cache_err)]
fn f(id: u64) -> Result<u64, Failed> {
    Ok(id)
}

fn main() {}
