use cached_runtime::cached;

#[cached(backend = "memory://", backend = "null://")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
