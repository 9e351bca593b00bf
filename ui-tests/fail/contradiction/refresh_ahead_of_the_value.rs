use cached_runtime::cached;
#[cached(timeout = |v| std::time::Duration::from_secs(*v), refresh_ahead = 0.8)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
