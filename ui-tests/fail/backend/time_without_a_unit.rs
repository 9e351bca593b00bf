use cached_runtime::cached;

#[cached(backend = "redis://127.0.0.1/0?timeout=100")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
