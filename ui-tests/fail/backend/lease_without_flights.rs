use cached_runtime::cached;

#[cached(backend = "memory://", lease = "10s", single_flight = false)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
