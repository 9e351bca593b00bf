use cached_runtime::cached;

#[cached(backend = "memory://", lease = std::time::Duration::from_secs(id))]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
