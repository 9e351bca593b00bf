use cached_runtime::cached;

#[cached(backend = "memory://", version = "2")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
