use cached_runtime::cached;

#[cached(backend = 11211)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
