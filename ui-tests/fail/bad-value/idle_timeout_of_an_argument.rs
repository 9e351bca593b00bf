use cached_runtime::cached;

#[cached(idle_timeout = std::time::Duration::from_secs(id))]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
