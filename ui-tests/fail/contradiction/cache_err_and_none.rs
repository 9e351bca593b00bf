use cached_runtime::cached;

#[cached(cache_err, cache_none)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
