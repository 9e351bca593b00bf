use cached_runtime::cached;

#[cached(timeout = 60, error_backoff = 5)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
