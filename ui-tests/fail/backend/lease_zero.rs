use cached_runtime::cached;

#[cached(backend = "memory://", lease = "0s")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
