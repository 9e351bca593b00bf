use cached_runtime::cached;

#[cached(backend = "memory://", codec = String)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
