use cached_runtime::cached;

#[cached(save, backend = "memory://")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
