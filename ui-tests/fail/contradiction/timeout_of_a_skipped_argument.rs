use cached_runtime::cached;

#[cached(skip(seconds), timeout = std::time::Duration::from_secs(seconds))]
fn f(id: u64, seconds: u64) -> u64 {
    id + seconds
}

fn main() {
    f(1, 2);
}
