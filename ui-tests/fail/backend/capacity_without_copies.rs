use cached_runtime::cached;

#[cached(backend = "memory://", capacity = 100)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
