use cached_runtime::cached;

#[cached(timeout = 60, refresh_ahead = 0.8, max_wait = "50ms")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
